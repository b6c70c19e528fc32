//! Question sets as they are found on disk (`tests/fixtures-eval/make_formats.py` draws them): every form gives the same items
//! and pictures, and what is broken is named.

use hive::data::tasks::Task;
use hive::data::tasks::load::{Files, LoadError, Set, load};
use hive::platform::{list_tree, read_file};
use serde_json::{Value, json};

use crate::common::program::hive;
use crate::common::repository;

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&read_file(&repository("tests/fixtures-eval/formats").join(name)).unwrap()).unwrap()
}

/// Loads the set in a folder, and decodes all of its pictures: height, width, and the colour in the middle of each.
fn loaded(task: Task, folder: &str) -> Result<(Set, Vec<Option<Value>>), LoadError> {
    let root = repository("tests/fixtures-eval/formats").join(folder);
    let read = |name: &str| read_file(&root.join(name));
    let files = Files::new(list_tree(&root).unwrap(), &read);
    let set = load(task, &files)?;
    let mut pictures = Vec::new();
    for entry in &set.entries {
        let Some(place) = &entry.picture else {
            pictures.push(None);
            continue;
        };
        let rgb = place.decode(&files)?;
        let at = 3 * (rgb.height / 2 * rgb.width + rgb.width / 2);
        pictures.push(Some(json!({"width": rgb.width, "height": rgb.height, "centre": rgb.data[at..at + 3]})));
    }
    Ok((set, pictures))
}

/// Ten answers as texts, whoever gave them.
fn texts(value: &Value) -> Value {
    let text = |entry: &Value| entry.get("answer").unwrap_or(entry).clone();
    value.as_array().map_or_else(|| value.clone(), |all| all.iter().map(text).collect())
}

fn same_picture(want: &Value, got: Option<&Value>) -> bool {
    let Some(got) = got else { return want.is_null() };
    let colour = |value: &Value| -> Vec<f64> {
        value["centre"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    want["width"] == got["width"]
        && want["height"] == got["height"]
        && colour(want).iter().zip(colour(got)).all(|(a, b)| (a - b).abs() <= 4.0)
}

/// Fields that a form has no room for.
fn is_left_out(form: &str, task: Task, field: &str) -> bool {
    form == "parquet" && task == Task::ScienceQa && field == "id"
        || form == "tsv"
            && match task {
                Task::Gqa => matches!(field, "id" | "imageId"),
                Task::TextVqa => matches!(field, "question_id" | "image_id" | "ocr_tokens"),
                Task::ScienceQa => matches!(field, "grade" | "subject"),
                Task::Pope => field == "question_id",
                _ => false,
            }
}

/// Forms of sets that this program reads.
const FORMS: &[&str] = if cfg!(feature = "parquet") { &["original", "tsv", "parquet"] } else { &["original", "tsv"] };

#[test]
fn every_form_gives_the_same_items_and_pictures() {
    let mut sets = 0;
    for task in Task::ALL {
        let expected = json_of(&format!("{}/expected.json", task.name()));
        let expected = expected.as_array().unwrap();
        for form in FORMS {
            let folder = format!("{}/{form}", task.name());
            if !repository("tests/fixtures-eval/formats").join(&folder).exists() {
                continue;
            }
            sets += 1;
            let (set, pictures) = loaded(task, &folder).unwrap();
            if folder == "scienceqa/tsv" {
                let note = &set.notes[0];
                assert!(
                    set.notes.len() == 1 && note.contains("exact_match is that of lmms-eval's scienceqa_img"),
                    "{note}"
                );
            } else {
                assert_eq!(set.notes, [""; 0], "{folder}");
            }
            // This table has items with pictures alone.
            let all: Vec<&Value> = expected.iter().filter(|want| *form != "tsv" || !want["image"].is_null()).collect();
            assert_eq!(set.entries.len(), all.len(), "{folder}");
            for want in all {
                let fields = want.as_object().unwrap();
                let equal = |(field, value): (&String, &Value), i: usize| match field.as_str() {
                    "image" => same_picture(value, pictures[i].as_ref()),
                    "answers" => texts(&set.entries[i].item[field]) == *value,
                    _ => is_left_out(form, task, field) || set.entries[i].item.get(field) == Some(value),
                };
                let found = (0..set.entries.len()).find(|i| fields.iter().all(|field| equal(field, *i)));
                assert!(found.is_some(), "{folder}: nothing is {want} among {:#?}", set.entries);
                // It can be asked.
                task.prompt(&set.entries[found.unwrap()].item).unwrap();
            }
        }
    }
    assert_eq!(sets, if cfg!(feature = "parquet") { 19 } else { 12 });
}

#[test]
fn broken_sets_are_named_with_their_place() {
    let cases = json_of("malformed.json");
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for case in cases.as_array().unwrap() {
        let (path, why) = (case["path"].as_str().unwrap(), &case["why"]);
        let task = Task::ALL.into_iter().find(|task| task.name() == case["task"]).unwrap();
        match loaded(task, path) {
            Ok(_) if case["accept"] == true => accepted += 1,
            Ok(_) => wrong.push(format!("{path} was taken: {why}")),
            Err(error) => {
                let said = error.to_string().to_lowercase();
                let mut names: Vec<&str> =
                    case["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                if case["form"] == "parquet" && !cfg!(feature = "parquet") {
                    names = vec![".parquet: ", "build it with --features parquet"];
                }
                let names = names.into_iter().map(str::to_lowercase);
                let missing: Vec<String> = names.filter(|name| !said.contains(name)).collect();
                if case["accept"] == true || !missing.is_empty() {
                    wrong.push(format!("{path} ({why}): \"{error}\" does not name {missing:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.as_array().unwrap().len() > 55 && accepted > 8);
}

/// What is unusual is said, and how it is taken.
#[test]
fn what_is_taken_in_spite_of_something_is_said() {
    for (task, path, says) in [
        (Task::Mme, "mme/malformed/unknown-category", "counts as cognition"),
        (Task::OkVqa, "ok_vqa/malformed/extra-annotation", "annotations are of questions that are not asked"),
        (Task::TextVqa, "textvqa/malformed/no-ocr", "OCR"),
    ] {
        let notes = loaded(task, path).unwrap().0.notes;
        assert!(notes.iter().any(|note| note.contains(says)), "{path}: {notes:?}");
    }
}

#[test]
fn the_command_checks_a_set() {
    let folder = "tests/fixtures-eval/formats/scienceqa/original";
    let said = hive(&["eval", "--task", "scienceqa", "--data", folder, "--check", "--json"]).code(0).json();
    assert_eq!((said["items"].as_array().unwrap().len(), &said["pictures"]), (3, &json!(2)));
    assert_eq!(said["items"][0]["doc"]["question"], "Which shape is shown?");
    let said =
        hive(&["eval", "--task", "mme", "--data", "tests/fixtures-eval/formats/mme/malformed/no-tab", "--check"]);
    said.code(1).complains(&["000000000201.txt, line 2", "no tab"]);
    let said = hive(&["eval", "--task", "mme", "--data", "tests/fixtures-eval/formats/gqa/original", "--check"]);
    said.code(1).complains(&["no items of mme"]);
}

/// Which of two forms is read, and how a table's picture that is there several times counts.
#[test]
fn the_command_counts_pictures_once_whatever_the_form() {
    for task in ["pope", "textvqa"] {
        for form in FORMS {
            let folder = format!("tests/fixtures-eval/formats/{task}/{form}");
            let said = hive(&["eval", "--task", task, "--data", &folder, "--check", "--json"]).code(0).json();
            assert_eq!(said["pictures"], 2, "{folder}");
        }
    }
}
