//! Answers that were made elsewhere, beside the items they answer.

use std::collections::BTreeMap;

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

/// An item, and what came of asking about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What was asked about.
    pub item: Item,
    /// The answer as it came from the model, or why there is none.
    pub answer: Result<String, String>,
    /// How the answer ended, where that is known: "end", "stop", "limit" or "room".
    pub end: Option<String>,
}

/// Items and answers of a JSON list, of the list `items` of a JSON object, or of lines of JSON; in their order. Of a file of this
/// program, in which an item may have been tried again, the last line of each counts, and they are in the order of its set.
///
/// # Errors
/// A sentence that names the line or the item, both counted from where its form does: lines from 1, items from 0.
pub fn answers(text: &str) -> Result<Vec<Answered>, AnswersError> {
    let text = text.trim_start_matches('\u{feff}');
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
    let own = entries.first().is_some_and(|(_, entry)| entry.get("header").is_some());
    let mut entries: Vec<_> = entries.into_iter().filter(|(_, entry)| entry.get("header").is_none()).collect();
    if entries.is_empty() {
        return Err(AnswersError::Empty);
    }
    if own {
        let index = |entry: &(String, Value)| entry.1.get("index").and_then(Value::as_u64);
        // Lines that are not this program's own come behind.
        let (numbered, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| index(entry).is_some());
        let last: BTreeMap<_, _> = numbered.into_iter().map(|entry| (index(&entry), entry)).collect();
        entries = last.into_values().chain(others).collect();
    }
    let read = |(place, mut entry): (String, Value)| {
        let missing = |field| AnswersError::Field { place: place.clone(), field };
        let said = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
        let answer = match (said("answer"), said("error")) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error),
            (None, None) => return Err(missing("answer")),
        };
        let end = said("end");
        match entry.get_mut("doc").map(Value::take) {
            Some(Value::Object(item)) => Ok(Answered { item, answer, end }),
            _ => Err(missing("doc")),
        }
    };
    entries.into_iter().map(read).collect()
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
            format!("\u{feff}{entry}\n"),
        ] {
            let all = answers(&text).unwrap();
            let right = |one: &Answered| one.item["question"] == "a" && one.answer.as_deref() == Ok("b");
            assert!(!all.is_empty() && all.iter().all(right), "{text}");
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
    #[test]
    fn of_an_item_that_was_tried_again_the_last_line_counts() {
        let line = |index: usize, rest: &str| format!("{{\"index\": {index}, \"doc\": {{\"id\": {index}}}, {rest}}}\n");
        let lines = [
            "{\"header\": {}}\n".to_owned(),
            line(2, "\"error\": \"no picture\""),
            line(1, "\"error\": \"no picture\""),
            line(0, "\"answer\": \"a\", \"end\": \"limit\""),
            line(1, "\"answer\": \"b\", \"end\": \"end\", \"error\": \"no reference\""),
        ];
        let all = answers(&lines.concat()).unwrap();
        let read: Vec<_> = all.iter().map(|one| (&one.item["id"], one.answer.as_deref(), one.end.as_deref())).collect();
        let ids = [0, 1, 2].map(Value::from);
        let want = [
            (&ids[0], Ok("a"), Some("limit")),
            (&ids[1], Ok("b"), Some("end")),
            (&ids[2], Err(&"no picture".to_owned()), None),
        ];
        assert_eq!(read, want);
    }
}
