//! MME's release: a folder a category, and beside or near each picture a text with its two questions.

use serde_json::json;

use super::super::Item;
use super::{Entry, Files, LoadError, Place, Set, wrong};

/// The categories, in the order of the release.
const CATEGORIES: [&str; 14] = [
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
];
/// The folder of texts where pictures have one of their own.
const TEXTS: &str = "questions_answers_YN";
/// Ends of pictures' names.
const ENDS: [&str; 6] = ["jpg", "png", "jpeg", "JPG", "PNG", "webp"];

/// Category, folder of the picture, and name without end, of a text.
fn parts(name: &str) -> Option<(&str, String, &str)> {
    let stem = name.strip_suffix(".txt")?;
    let (folder, stem) = stem.rsplit_once('/')?;
    let (category, pictures) = match folder.strip_suffix(TEXTS) {
        Some(above) => (above.trim_end_matches('/'), format!("{above}images")),
        None => (folder, folder.to_owned()),
    };
    Some((category.rsplit('/').next().unwrap_or(category), pictures, stem))
}

pub(super) fn load(files: &Files<'_>) -> Result<Set, LoadError> {
    let mut texts: Vec<_> = files.names.iter().filter_map(|name| Some((name, parts(name)?))).collect();
    let rank = |category: &str| CATEGORIES.iter().position(|known| *known == category).unwrap_or(CATEGORIES.len());
    texts.sort_by_key(|(name, (category, ..))| (rank(category), (*category).to_owned(), (*name).clone()));
    let mut set = Set::default();
    for (name, (category, folder, stem)) in texts {
        if rank(category) == CATEGORIES.len() && !set.notes.iter().any(|note| note.contains(category)) {
            set.notes.push(format!("\"{category}\" is no category of MME: it counts as cognition, as with lmms-eval"));
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
