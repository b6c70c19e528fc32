//! The list of a picture folder, entry by entry: finding the entries in the text, checking them, wording what is wrong.
//!
//! The reading half of `folder`, which keeps the entries and makes samples of them.

use serde_json::Value;

use super::chat::IMAGE;
use super::worlds::Turn;

/// The kinds of turns: answers to questions, and captions (answers to the picture alone).
pub const KINDS: [&str; 2] = ["question", "caption"];

/// One entry of the list: a picture and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The entry's id, or the picture's name where it has none.
    pub id: String,
    /// The picture's name, relative to the folder.
    pub image: String,
    /// Questions (without `<image>`, empty for captions) and answers; at least one.
    pub turns: Vec<Turn>,
    /// Where the entry begins in the list, from 1.
    pub line: usize,
}

/// The lines that are not empty, with their numbers.
pub(super) fn line_entries(text: &str) -> Vec<(usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|e| !e.1.is_empty()).collect()
}

/// The texts between the commas of a JSON array, each with the line where it begins. The entries are parsed one by one, so
/// that a bad one does not spoil the others.
pub(super) fn array_entries(text: &str) -> Vec<(usize, &str)> {
    let mut entries = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut line, mut start): (usize, Option<(usize, usize)>) = (1, None);
    for (i, b) in text.bytes().enumerate() {
        if b == b'\n' {
            line += 1;
        }
        if in_string {
            in_string = escaped || b != b'"';
            escaped = b == b'\\' && !escaped;
            continue;
        }
        if depth == 1 && (b == b',' || b == b']') {
            entries.extend(start.take().map(|(line, from)| (line, text[from..i].trim())));
            if b == b']' {
                return entries;
            }
            continue;
        }
        if depth >= 1 && start.is_none() && !b.is_ascii_whitespace() {
            start = Some((line, i));
        }
        match b {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    // the array is not closed: what is left is an entry too, most likely a broken one
    entries.extend(start.map(|(line, from)| (line, text[from..].trim())));
    entries
}

/// One entry, or the line and the sentence of its problem.
pub(super) fn record(entry: &str, line: usize) -> Result<Record, (usize, String)> {
    let value: Value = serde_json::from_str(entry).map_err(|e| {
        (line + e.line().saturating_sub(1), format!("this entry is no valid JSON ({e}): correct it or remove it"))
    })?;
    let bad = |sentence: &str| Err((line, sentence.to_owned()));
    let Some(image) = value.get("image").and_then(Value::as_str).filter(|s| !s.is_empty()) else {
        return bad("this entry has no `image`: give the picture's file name as a text");
    };
    if image.starts_with(['/', '\\']) || image.contains(':') || image.split(['/', '\\']).any(|p| p == "..") {
        return bad("`image` points outside the folder: give a file name relative to it");
    }
    let id = match value.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        None | Some(Value::Null) => image.to_owned(),
        _ => {
            return bad("`id` is neither a text nor a number: correct it, or leave it out to use the picture's name");
        }
    };
    let Some(said) = value.get("conversations").and_then(Value::as_array).filter(|c| !c.is_empty()) else {
        return bad(
            "this entry has no `conversations`: give a list of {\"from\": \"human\" or \"gpt\", \"value\": text}",
        );
    };
    if said.len() % 2 == 1 {
        return bad("the conversation ends with a question: every \"human\" value needs a \"gpt\" value after it");
    }
    let turns = said.chunks_exact(2).enumerate().map(|(i, pair)| turn(i, &pair[0], &pair[1])).collect::<Result<_, _>>();
    turns.map(|turns| Record { id, image: image.to_owned(), turns, line }).map_err(|sentence| (line, sentence))
}

/// Turn number `i` of an entry.
fn turn(i: usize, human: &Value, gpt: &Value) -> Result<Turn, String> {
    let number = i + 1;
    let text = |value: &Value, from: &str| {
        let is = value.get("from").and_then(Value::as_str);
        match value.get("value").and_then(Value::as_str) {
            Some(text) if is == Some(from) => Ok(text.to_owned()),
            _ => Err(format!(
                "turn {number} has no {{\"from\": \"{from}\", \"value\": text}} where it should: let \"human\" and \"gpt\" alternate"
            )),
        }
    };
    let (question, answer) = (text(human, "human")?, text(gpt, "gpt")?.trim().to_owned());
    if question.matches(IMAGE).count() != usize::from(i == 0) || answer.contains(IMAGE) {
        return Err(format!(
            "{IMAGE} must stand once in the first \"human\" value and nowhere else, but turn {number} has it otherwise: correct it"
        ));
    }
    let question = question.replace(IMAGE, " ").trim().to_owned();
    if answer.is_empty() {
        return Err(format!("the answer of turn {number} is empty: fill it in or remove the turn"));
    }
    if question.is_empty() && i > 0 {
        return Err(format!("the question of turn {number} is empty: fill it in or remove the turn"));
    }
    Ok(Turn { kind: KINDS[usize::from(question.is_empty())], question, answer })
}
