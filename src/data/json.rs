//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` are no JSON, and stand in configurations all the same.

use serde::de::DeserializeOwned;

const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// The text with quotes around what Python has in place of numbers, where anything is.
fn quoted(text: &str) -> Option<String> {
    let (mut out, mut from, mut inside, mut escaped) = (String::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if at < from => {}
            _ if escaped => escaped = false,
            '\\' => escaped = inside,
            '"' => inside = !inside,
            'N' | '-' | 'I' if !inside => {
                if let Some(word) = WORDS.iter().find(|w| text[at..].starts_with(**w)) {
                    out += &text[from..at];
                    out += &format!("\"{word}\"");
                    from = at + word.len();
                }
            }
            _ => {}
        }
    }
    (from > 0).then(|| out + &text[from..])
}

/// Reads JSON. What is no finite number is a text: whoever wants a number there refuses it, and nobody else minds.
///
/// # Errors
/// Where it is no JSON, or no `T`.
pub fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|e| quoted(text).map_or(Err(e), |text| serde_json::from_str(&text)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pythons_numbers_are_texts() {
        let read: Value =
            parse(r#"{"a": NaN, "b": [Infinity,-Infinity], "c\" NaN": "-Infinity \\", "d": -1}"#).unwrap();
        assert_eq!(read, json!({"a": "NaN", "b": ["Infinity", "-Infinity"], "c\" NaN": "-Infinity \\", "d": -1}));
        assert!(parse::<Value>("{\"a\": Nan}").is_err());
        assert!(parse::<Value>("{\"a\": NaNaN}").is_err());
    }
}
