//! Releases as JSON: GQA, OK-VQA, `VQAv2`, `TextVQA`, POPE and `ScienceQA`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::super::{Item, Task, shown};
use super::{Entry, Files, LoadError, Place, Set, wrong};
use crate::data::json;

/// The questions of GQA.
pub(super) const GQA: &str = "testdev_balanced_questions.json";
/// Those of `TextVQA`.
pub(super) const TEXT_VQA: &str = "TextVQA_0.5.1_val.json";
/// Those of `ScienceQA`.
pub(super) const SCIENCE_QA: &str = "problems.json";
/// POPE's lists.
pub(super) const POPE: [&str; 3] = ["random", "popular", "adversarial"];

/// The file of one of them.
pub(super) fn pope_file(list: &str) -> String {
    format!("coco_pope_{list}.json")
}

/// Questions and annotations of OK-VQA or `VQAv2`.
pub(super) fn vqa_files(task: Task) -> [&'static str; 2] {
    match task {
        Task::VqaV2 => ["v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"],
        _ => ["OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json"],
    }
}

fn read_json(text: &str, name: &str) -> Result<Value, LoadError> {
    json::parse(text).or_else(|e| wrong(format!("{name}, line {}", e.line()), format!("it is no JSON: {e}")))
}

/// The JSON of a file.
fn parsed(files: &Files<'_>, name: &str) -> Result<Value, LoadError> {
    read_json(&files.text(name)?, name)
}

/// The one file that ends so; `what` it is for the error.
fn file<'a>(files: &'a Files<'_>, end: &str) -> Result<&'a str, LoadError> {
    files.named(end).ok_or_else(|| LoadError { place: "the folder".into(), what: format!("{end} is not there") })
}

/// The list under a key.
fn list(mut value: Value, key: &str, name: &str) -> Result<Vec<Value>, LoadError> {
    match value.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) => wrong(name, format!("\"{key}\" is {}, and is to be a list", kind(&other))),
        None => wrong(name, format!("there is no \"{key}\" in its outermost object")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn object(value: Value, place: &str) -> Result<Map<String, Value>, LoadError> {
    match value {
        Value::Object(object) => Ok(object),
        other => wrong(place, format!("it is {}, and is to be an object", kind(&other))),
    }
}

pub(super) fn field<'a>(item: &'a Map<String, Value>, key: &str, place: &str) -> Result<&'a Value, LoadError> {
    item.get(key).map_or_else(|| wrong(place, format!("there is no \"{key}\"")), Ok)
}

pub(super) fn text<'a>(item: &'a Map<String, Value>, key: &str, place: &str) -> Result<&'a str, LoadError> {
    let value = field(item, key, place)?;
    value.as_str().map_or_else(|| wrong(place, format!("\"{key}\" is {}, and is to be a text", kind(value))), Ok)
}

/// The first of these names that is a file, in whatever folder.
fn picture(files: &Files<'_>, names: &[String], place: &str) -> Result<Option<Place>, LoadError> {
    match names.iter().find_map(|name| files.named(name)) {
        Some(name) => Ok(Some(Place::File(name.to_owned()))),
        None => wrong(place, format!("its picture is not there: {}", names.join(" or "))),
    }
}

/// The members of an object in the order of its text, which a [`Map`] has not.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

pub(super) fn gqa(files: &Files<'_>) -> Result<Set, LoadError> {
    let name = file(files, GQA)?;
    let text_of_all = files.text(name)?;
    let Ok(Members(all)) = json::parse(&text_of_all) else {
        let found = kind(&read_json(&text_of_all, name)?);
        return wrong(name, format!("it is {found}, and is to be an object with a question under each id"));
    };
    drop(text_of_all);
    let (mut set, mut seen) = (Set::default(), BTreeSet::new());
    for (id, question) in all {
        let place = format!("{name}, question {id}");
        let mut item = object(question, &place)?;
        let image = text(&item, "imageId", &place)?.to_owned();
        text(&item, "question", &place)?;
        text(&item, "answer", &place)?;
        item.insert("id".into(), json!(id));
        if !seen.insert(id) {
            return wrong(place, "this id is there twice");
        }
        let picture = picture(files, &[format!("images/{image}.jpg"), format!("{image}.jpg")], &place)?;
        set.entries.push(Entry { item, picture });
    }
    Ok(set)
}

/// Makes of ten people's answers what lmms-lab's sets have: in `VQAv2` with who gave them, in all others texts.
pub(super) fn take_answers(task: Task, item: &mut Item, place: &str) -> Result<(), LoadError> {
    let value = field(item, "answers", place)?;
    let Some(all) = value.as_array().filter(|all| !all.is_empty()) else {
        let what = if value.is_array() { "an empty list" } else { kind(value) };
        return wrong(place, format!("\"answers\" is {what}: without references nothing can be scored"));
    };
    let texts = all.iter().map(|entry| match entry {
        Value::Object(entry) => text(entry, "answer", place),
        Value::String(text) => Ok(text.as_str()),
        other => wrong(place, format!("an answer is {}, and is to be a text", kind(other))),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    if task != Task::VqaV2 {
        let texts = json!(texts);
        item.insert("answers".into(), texts);
    }
    Ok(())
}

pub(super) fn vqa(task: Task, files: &Files<'_>) -> Result<Set, LoadError> {
    let [asked, answered] = vqa_files(task);
    let (asked, answered) = (file(files, asked)?, file(files, answered)?);
    let questions = list(parsed(files, asked)?, "questions", asked)?;
    let (mut set, mut by_id, mut twice) = (Set::default(), BTreeMap::new(), 0);
    for (i, annotation) in list(parsed(files, answered)?, "annotations", answered)?.into_iter().enumerate() {
        let place = format!("{answered}, annotation {i}");
        let annotation = object(annotation, &place)?;
        let id = shown(field(&annotation, "question_id", &place)?);
        twice += usize::from(by_id.insert(id, annotation).is_some());
    }
    if twice > 0 {
        set.notes.push(format!(
            "{answered}: {twice} annotations are of questions that were annotated before: the last of each is used"
        ));
    }
    let mut seen = BTreeSet::new();
    for (i, question) in questions.into_iter().enumerate() {
        let place = format!("{asked}, question {i}");
        let question = object(question, &place)?;
        let id = shown(field(&question, "question_id", &place)?);
        let place = format!("{asked}, question {id}");
        if !seen.insert(id.clone()) {
            return wrong(place, "this id is there twice");
        }
        text(&question, "question", &place)?;
        let Some(mut item) = by_id.remove(&id) else {
            return wrong(answered, format!("question {id} has no reference answers"));
        };
        take_answers(task, &mut item, &format!("{answered}, question {id}"))?;
        let image = field(&question, "image_id", &place)?;
        let number = image.as_u64().or_else(|| image.as_str()?.parse().ok());
        let Some(number) = number else {
            return wrong(place, format!("\"image_id\" is {image}, and is to be a number"));
        };
        item.extend(question);
        let picture = picture(files, &[format!("COCO_val2014_{number:012}.jpg")], &place)?;
        set.entries.push(Entry { item, picture });
    }
    if !by_id.is_empty() {
        let others = by_id.len();
        set.notes
            .push(format!("{answered}: {others} annotations are of questions that are not asked, and are not used"));
    }
    Ok(set)
}

pub(super) fn textvqa(files: &Files<'_>) -> Result<Set, LoadError> {
    let name = file(files, TEXT_VQA)?;
    let tokens: BTreeMap<String, Value> = match files.named("TextVQA_Rosetta_OCR_v0.2_val.json") {
        None => BTreeMap::new(),
        Some(name) => {
            let of = |mut entry: Value| {
                let tokens = entry.get_mut("ocr_tokens")?.take();
                Some((shown(entry.get("image_id")?), tokens))
            };
            list(parsed(files, name)?, "data", name)?.into_iter().filter_map(of).collect()
        }
    };
    let mut set = Set::default();
    for (i, entry) in list(parsed(files, name)?, "data", name)?.into_iter().enumerate() {
        let place = format!("{name}, entry {i}");
        let mut item = object(entry, &place)?;
        let place = format!("{name}, question {}", shown(field(&item, "question_id", &place)?));
        text(&item, "question", &place)?;
        take_answers(Task::TextVqa, &mut item, &place)?;
        let image = text(&item, "image_id", &place)?.to_owned();
        if let Some(tokens) = tokens.get(&image) {
            item.insert("ocr_tokens".into(), tokens.clone());
        }
        let picture = picture(files, &[format!("train_images/{image}.jpg"), format!("{image}.jpg")], &place)?;
        set.entries.push(Entry { item, picture });
    }
    if tokens.is_empty() {
        set.notes.push("the file of OCR tokens is not there: the prompt does not have them anyhow".into());
    }
    Ok(set)
}

pub(super) fn pope(files: &Files<'_>) -> Result<Set, LoadError> {
    let (mut set, mut lists) = (Set::default(), 0);
    for category in POPE {
        let Some(name) = files.named(&pope_file(category)) else { continue };
        lists += 1;
        let whole = files.text(name)?;
        for (i, line) in whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = format!("{name}, line {}", i + 1);
            let value: Value = json::parse(line).or_else(|e| wrong(&place, format!("it is no JSON: {e}")))?;
            let Some(question) = value.as_object() else {
                return wrong(place, format!("it is {}, and each line is to be an object of its own", kind(&value)));
            };
            // Files of answers have no label.
            let label = text(question, "label", &place)?.trim().to_lowercase();
            let (asked, image) = (text(question, "text", &place)?, text(question, "image", &place)?.to_owned());
            if !["yes", "no"].contains(&label.as_str()) {
                return wrong(place, format!("\"label\" is \"{label}\", and is to be yes or no"));
            }
            let fields = [
                ("id", json!(set.entries.len().to_string())),
                ("question_id", field(question, "question_id", &place)?.clone()),
                ("question", json!(asked)),
                ("answer", json!(label)),
                ("image_source", json!(image.strip_suffix(".jpg").unwrap_or(&image))),
                ("category", json!(category)),
            ];
            let item = Item::from_iter(fields.map(|(name, value)| (name.to_owned(), value)));
            let picture = picture(files, &[image], &place)?;
            set.entries.push(Entry { item, picture });
        }
    }
    if lists < 3 && lists > 0 {
        set.notes.push(format!("{lists} of POPE's three lists are there"));
    }
    Ok(set)
}

/// Checks that the answer of a problem is one of its choices.
pub(super) fn check_choice(item: &Item, place: &str) -> Result<(), LoadError> {
    let choices = field(item, "choices", place)?;
    let Some(choices) = choices.as_array().filter(|all| !all.is_empty() && all.iter().all(Value::is_string)) else {
        return wrong(place, format!("\"choices\" is {choices}, and is to be a list of texts"));
    };
    let answer = field(item, "answer", place)?;
    if answer.as_u64().is_none_or(|at| at as usize >= choices.len()) {
        let last = choices.len() - 1;
        return wrong(place, format!("\"answer\" is {answer}, and is to be the number of a choice, 0 to {last}"));
    }
    Ok(())
}

pub(super) fn scienceqa(files: &Files<'_>) -> Result<Set, LoadError> {
    let (name, splits) = (file(files, SCIENCE_QA)?, file(files, "pid_splits.json")?);
    let (mut problems, mut set) = (object(parsed(files, name)?, name)?, Set::default());
    let mut seen = BTreeSet::new();
    for id in list(parsed(files, splits)?, "test", splits)? {
        let id = shown(&id);
        let Some(problem) = problems.remove(&id) else {
            let what = if seen.contains(&id) { "twice" } else { "which problems.json has not" };
            return wrong(splits, format!("the part test names {id}, {what}"));
        };
        let place = format!("{name}, problem {id}");
        let mut item = object(problem, &place)?;
        text(&item, "question", &place)?;
        check_choice(&item, &place)?;
        item.insert("id".into(), json!(id));
        item.entry("hint").or_insert_with(|| json!(""));
        let image = item.get("image").and_then(Value::as_str).filter(|image| !image.is_empty()).map(str::to_owned);
        let picture = match &image {
            Some(image) => {
                picture(files, &[format!("images/test/{id}/{image}"), format!("test/{id}/{image}")], &place)?
            }
            None => None,
        };
        item.insert("image".into(), json!(image));
        set.entries.push(Entry { item, picture });
        seen.insert(id);
    }
    Ok(set)
}
