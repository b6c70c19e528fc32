//! Figures in texts: a lesson quotes what was measured by the path of a value in `assets/lessons/figures.json`, never
//! by its digits, so that a model that is trained again cannot make it lie.
//!
//! `{stages/stage 2/all}` becomes that value, with two decimals unless it is a whole number or a word. A claim such as
//! `{a > b + 0.1}`, of paths and numbers, becomes nothing. What was not measured, or does not hold, stands in the text
//! as a sentence. `hive lessons` measures.

use std::sync::OnceLock;

use serde_json::Value;
use thiserror::Error;

/// What `hive lessons` wrote.
const MEASURED: &str = include_str!("../../assets/lessons/figures.json");
/// Most characters of a text that an error quotes.
const QUOTED: usize = 40;

/// A figure that a text cannot quote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say what the fields are")]
pub enum FigureError {
    /// No such path, or no single value at its end.
    #[error("nothing was measured under \"{0}\"; measure with hive lessons")]
    Missing(String),
    /// A claim that the figures do not bear out.
    #[error("\"{claim}\" does not hold, with {left} and {right}; what is said here has to be rewritten")]
    Claim { claim: String, left: String, right: String },
    /// A brace without its fellow.
    #[error("a brace is not closed before \"{0}\"")]
    Open(String),
}

/// What was measured of the shipped models.
#[must_use]
pub fn measured() -> &'static Value {
    static FIGURES: OnceLock<Value> = OnceLock::new();
    // Of a damaged file nothing is known, and every place that quotes it says so.
    FIGURES.get_or_init(|| serde_json::from_str(MEASURED).unwrap_or_default())
}

/// The text with its figures in place, and what is wrong with those for which a sentence stands there.
#[must_use]
pub fn fill(text: &str, figures: &Value) -> (String, Vec<FigureError>) {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut errors = Vec::new();
    for part in parts {
        let (found, rest) = match part.split_once('}') {
            Some((inside, rest)) => (figure(inside, figures), rest),
            None => (Err(FigureError::Open(part.chars().take(QUOTED).collect())), part),
        };
        match found {
            Ok(figure) => out += &figure,
            Err(error) => {
                out += &format!(" **({error})** ");
                errors.push(error);
            }
        }
        out += rest;
    }
    (out, errors)
}

/// What stands in the place of one pair of braces.
fn figure(inside: &str, figures: &Value) -> Result<String, FigureError> {
    match inside.split_once(" > ") {
        Some(sides) => check(inside, sides, figures).map(|()| String::new()),
        None => value(inside, figures).map(shown),
    }
}

fn check(claim: &str, (left, right): (&str, &str), figures: &Value) -> Result<(), FigureError> {
    let (l, r) = (sum(left, figures)?, sum(right, figures)?);
    if l > r {
        return Ok(());
    }
    Err(FigureError::Claim { claim: claim.to_owned(), left: format!("{l:.3}"), right: format!("{r:.3}") })
}

/// Numbers and paths with plus signs between them.
fn sum(text: &str, figures: &Value) -> Result<f64, FigureError> {
    text.split(" + ").map(|term| term.trim().parse::<f64>().or_else(|_path| number(term, figures))).sum()
}

fn number(path: &str, figures: &Value) -> Result<f64, FigureError> {
    value(path, figures)?.as_f64().ok_or_else(|| FigureError::Missing(path.trim().to_owned()))
}

fn value<'a>(path: &str, figures: &'a Value) -> Result<&'a Value, FigureError> {
    let found = path.trim().split('/').try_fold(figures, |at, step| match at {
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    });
    found.filter(|v| v.is_number() || v.is_string()).ok_or_else(|| FigureError::Missing(path.trim().to_owned()))
}

/// Whole numbers as they are, others with two decimals, words without quotation marks.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => format!("{:.2}", n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_stand_where_their_paths_stood() {
        let figures = json!({"stage 1": {"all": 0.506, "steps": 300}, "depths": [[0.25], [1.0]], "answer": "dog"});
        let filled = |text: &str| {
            let (text, errors) = fill(text, &figures);
            assert!(errors.is_empty(), "{errors:?}");
            text
        };
        assert_eq!(filled("It had {stage 1/all}."), "It had 0.51.");
        assert_eq!(filled("{depths/1/0} {stage 1/steps} {answer}"), "1.00 300 dog");
        assert_eq!(filled("a{depths/1/0 > stage 1/all + 0.4}b{2 > stage 1/all + depths/1/0}"), "ab");
    }

    #[test]
    fn what_cannot_be_quoted_is_said_where_it_would_stand() {
        let figures = json!({"all": 0.5, "some": [0.75], "word": "dog"});
        for (text, said) in [
            ("a {none} b", "a  **(nothing was measured under \"none\"; measure with hive lessons)**  b"),
            ("{some/1}", "nothing was measured under \"some/1\""),
            ("{some}", "nothing was measured under \"some\""),
            ("{all > word}", "nothing was measured under \"word\""),
            ("{all + 0.25 > some/0}b", "\"all + 0.25 > some/0\" does not hold, with 0.750 and 0.750"),
            ("a {all", "a brace is not closed before \"all\""),
        ] {
            let (filled, errors) = fill(text, &figures);
            assert!(filled.contains(said) && errors.len() == 1, "{filled}: {errors:?}");
        }
        // The others are filled all the same.
        let (filled, errors) = fill("{none} {all} {word}", &figures);
        assert!(filled.ends_with("0.50 dog") && errors == [FigureError::Missing("none".into())], "{filled}");
        assert_eq!(fill("{all}", &Value::Null).1.len(), 1);
    }
}
