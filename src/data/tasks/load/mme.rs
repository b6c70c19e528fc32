//! MME's release: a folder a category, and beside or near each picture a text with its two questions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::{CATEGORIES, Item, shown, unknown_category};
use super::{Entry, Files, LoadError, Place, Set, wrong};

/// The folder of texts where pictures have one of their own.
const TEXTS: &str = "questions_answers_YN";
/// Ends of pictures' names.
const ENDS: [&str; 6] = ["jpg", "png", "jpeg", "JPG", "PNG", "webp"];

/// Folders of what comes with the release and asks nothing: its script, and answers.
const OTHERS: [&str; 3] = ["eval_tool", "Your_Results", "LaVIN"];

/// A text with the questions about a picture.
struct Text<'a> {
    name: &'a str,
    category: &'a str,
    /// Folder of the picture, and its name without end.
    folder: String,
    stem: &'a str,
}

impl<'a> Text<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (folder, stem) = name.strip_suffix(".txt")?.rsplit_once('/')?;
        let (category, pictures) = match folder.strip_suffix(TEXTS).filter(|above| above.ends_with('/')) {
            Some(above) => (above.trim_end_matches('/'), format!("{above}images")),
            None => (folder, folder.to_owned()),
        };
        Some(Self { name, category: category.rsplit('/').next().unwrap_or(category), folder: pictures, stem })
    }

    /// Its category's place in the release; that of all others is behind.
    fn rank(&self) -> usize {
        CATEGORIES.iter().position(|known| *known == self.category).unwrap_or(CATEGORIES.len())
    }
}

/// The texts with questions in the order of the release, and sentences about those that are none.
fn texts<'a>(files: &'a Files<'_>) -> (Vec<Text<'a>>, Vec<String>) {
    let is_picture = |name: &str| name.rsplit_once('.').is_some_and(|(_, end)| ENDS.contains(&end));
    let pictured: BTreeSet<&str> =
        files.names().filter(|name| is_picture(name)).filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
    let (mut all, mut others) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for name in files.names() {
        let Some(text) = Text::of(name) else { continue };
        let other = name.split('/').rev().skip(1).find(|folder| OTHERS.contains(folder));
        let bare = text.rank() == CATEGORIES.len() && !pictured.contains(text.folder.as_str());
        match other.or(bare.then_some(text.category)) {
            Some(folder) => *others.entry(folder).or_default() += 1,
            None => all.push(text),
        }
    }
    all.sort_by_key(|text| (text.rank(), text.category, text.name));
    let said = |(folder, count)| {
        let what = if OTHERS.contains(&folder) { "that is no category" } else { "it has no pictures" };
        format!("{folder}: {count} .txt there are taken for no questions, as {what}")
    };
    (all, others.into_iter().map(said).collect())
}

/// Is there a release?
pub(super) fn is_there(files: &Files<'_>) -> bool {
    !texts(files).0.is_empty()
}

/// Checks of a table what its form does not: two questions a picture. Categories that MME has not are noted.
pub(super) fn check_table(set: &mut Set, name: &str) -> Result<(), LoadError> {
    let (mut counts, mut categories) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    for Entry { item, .. } in &set.entries {
        let part = |field: &str| item.get(field).map_or_else(String::new, shown);
        *counts.entry(part("question_id")).or_default() += 1;
        categories.insert(part("category"));
    }
    if let Some((id, count)) = counts.into_iter().find(|(_, count)| *count != 2) {
        return wrong(format!("{name}, {id}"), format!("MME has 2 questions a picture, and here are {count}"));
    }
    set.notes.extend(categories.iter().filter_map(|category| unknown_category(category)));
    Ok(())
}

pub(super) fn load(files: &Files<'_>) -> Result<Set, LoadError> {
    let (texts, notes) = texts(files);
    let (mut set, mut categories) = (Set { notes, ..Set::default() }, BTreeSet::new());
    for Text { name, category, folder, stem } in texts {
        if categories.insert(category) {
            set.notes.extend(unknown_category(category));
        }
        let picture = ENDS.iter().map(|end| format!("{folder}/{stem}.{end}")).find(|path| files.has(path));
        let Some(picture) = picture else {
            return wrong(name, format!("its picture {stem} (.jpg or .png) is not in {folder}"));
        };
        let file = picture.rsplit('/').next().unwrap_or_default();
        let text = files.text(name)?;
        let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return wrong(name, "it is empty: MME has 2 questions a picture");
        }
        for (i, line) in &lines {
            let place = format!("{name}, line {}", i + 1);
            let Some((question, answer)) = line.rsplit_once('\t') else {
                return wrong(place, "there is no tab between question and answer");
            };
            if !["yes", "no"].contains(&answer.trim().to_lowercase().as_str()) {
                return wrong(place, format!("the answer is \"{answer}\", and is to be Yes or No"));
            }
            let fields = [
                ("question_id", json!(format!("{category}/{file}"))),
                ("question", json!(question)),
                ("answer", json!(answer.trim())),
                ("category", json!(category)),
            ];
            let item = Item::from_iter(fields.map(|(name, value)| (name.to_owned(), value)));
            set.entries.push(Entry { item, picture: Some(Place::File(picture.clone())) });
        }
        if lines.len() != 2 {
            return wrong(name, format!("MME has 2 questions a picture, and here are {}", lines.len()));
        }
    }
    Ok(set)
}
