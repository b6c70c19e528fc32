//! Answers that were made elsewhere, beside the items they answer.

use serde_json::Value;
use thiserror::Error;

use super::Item;
use crate::data::json;

/// Why a file of answers cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AnswersError {
    #[error(
        "it is no JSON: {0}. It is to be a list of objects with \"doc\" and \"answer\", or one such object per line"
    )]
    Json(String),
    #[error("{place} is no JSON: {reason}")]
    Line { place: String, reason: String },
    #[error(
        "{place} has no \"{field}\": each is an object with \"doc\", the data set's fields, and \"answer\", a text"
    )]
    Field { place: String, field: &'static str },
    #[error("it has no items")]
    Empty,
}

/// The answer of an entry, as it came from the model.
fn answer(entry: &Value) -> Option<&str> {
    entry.get("answer")?.as_str()
}

/// Items and answers of a JSON list, of the list `items` of a JSON object, or of lines of JSON; in their order.
///
/// # Errors
/// A sentence that names the line or the item, both counted from where its form does: lines from 1, items from 0.
pub fn answers(text: &str) -> Result<Vec<(Item, String)>, AnswersError> {
    let entries: Vec<(String, Value)> = match json::parse::<Value>(text) {
        Ok(Value::Array(list)) => list.into_iter().enumerate().map(|(i, entry)| (format!("item {i}"), entry)).collect(),
        Ok(Value::Object(mut whole)) if whole.get("items").is_some_and(Value::is_array) => {
            let Some(Value::Array(list)) = whole.remove("items") else { return Err(AnswersError::Empty) };
            list.into_iter().enumerate().map(|(i, entry)| (format!("item {i}"), entry)).collect()
        }
        Ok(entry @ Value::Object(_)) => vec![("line 1".to_owned(), entry)],
        Ok(other) => return Err(AnswersError::Json(format!("it is {other}"))),
        Err(whole) => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let read = |(i, line): (usize, &str)| {
                let place = format!("line {}", i + 1);
                match json::parse(line) {
                    Ok(entry) => Ok((place, entry)),
                    // A file of which not even the first line is JSON is of another form.
                    Err(_) if i == 0 => Err(AnswersError::Json(whole.to_string())),
                    Err(e) => Err(AnswersError::Line { place, reason: e.to_string() }),
                }
            };
            lines.map(read).collect::<Result<_, _>>()?
        }
    };
    // What a file of answers of this program begins with.
    let entries: Vec<_> = entries.into_iter().filter(|(_, entry)| entry.get("header").is_none()).collect();
    if entries.is_empty() {
        return Err(AnswersError::Empty);
    }
    let pair = |(place, mut entry): (String, Value)| {
        let missing = |field| AnswersError::Field { place: place.clone(), field };
        let answer = answer(&entry).ok_or_else(|| missing("answer"))?.to_owned();
        match entry.get_mut("doc").map(Value::take) {
            Some(Value::Object(item)) => Ok((item, answer)),
            _ => Err(missing("doc")),
        }
    };
    entries.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_three_forms() {
        let entry = r#"{"doc": {"question": "a"}, "answer": "b"}"#;
        for text in [
            format!("[{entry}]"),
            format!("{{\"items\": [{entry}]}}"),
            format!("{entry}\n\n{entry}\n"),
            entry.to_owned(),
        ] {
            let all = answers(&text).unwrap();
            assert!(all.iter().all(|(item, answer)| item["question"] == "a" && answer == "b"), "{text}");
        }
        for (text, says) in [
            ("", "no items"),
            ("7", "it is 7"),
            ("[]", "no items"),
            ("id,answer\n1,yes", "a list of objects"),
            ("[{\"answer\": \"b\"}]", "item 0 has no \"doc\""),
            ("[{\"doc\": {}, \"answer\": \"b\"}, {\"doc\": {}}]", "item 1 has no \"answer\""),
            ("{\"doc\": {}, \"answer\": \"b\"}\n{\"doc\": {}", "line 2 is no JSON"),
        ] {
            let error = answers(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
