//! How an answer is read, and what it scores.

use serde_json::Value;

use super::python::{split, strip};
use super::{Item, Rules, Task, TaskError, choices, text, vqa};

/// An answer as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// 0 to 1.
    pub score: f64,
    /// What was compared, where the rules make something of the answer.
    pub parsed: Option<String>,
}

/// What a model wrote to think is not its answer.
const THOUGHTS: [(&str, &str); 2] = [("<think>", "</think>"), ("<analysis>", "</analysis>")];

/// The answer without what is between marks of thoughts.
fn spoken(answer: &str) -> String {
    let mut out = answer.to_owned();
    for (begin, end) in THOUGHTS {
        while let Some(from) = out.find(begin) {
            let Some(length) = out[from..].find(end) else { break };
            out.replace_range(from..from + length + end.len(), "");
        }
        if let (None, Some(at)) = (out.find(begin), out.rfind(end)) {
            out.replace_range(..at + end.len(), "");
        }
    }
    strip(&out).to_owned()
}

/// Does an answer say nothing, or think only?
#[must_use]
pub fn is_empty(answer: &str) -> bool {
    spoken(answer).is_empty()
}

/// Reads an answer as it came from the model.
///
/// # Errors
/// What is wrong with the item itself.
pub fn read(task: Task, rules: Rules, item: &Item, answer: &str) -> Result<Reading, TaskError> {
    let own = rules == Rules::LmmsEval;
    let said = if own { spoken(answer) } else { answer.to_owned() };
    let equal = |parsed: String, want: &str| Reading { score: f64::from(parsed == want), parsed: Some(parsed) };
    match task {
        Task::Mme => Ok(equal(mme(rules, &said), &reference(task, item)?)),
        Task::Pope => Ok(equal(pope(rules, &said), &reference(task, item)?)),
        Task::Gqa => {
            let bare = |text: &str| text.to_lowercase().replace(|c: char| c.is_ascii_punctuation(), "");
            Ok(Reading { score: f64::from(bare(&said) == bare(text(item, "answer")?)), parsed: None })
        }
        Task::ScienceQa => {
            let right = letter(item)?;
            let mut start = said.chars();
            let (first, second) = (start.next(), start.next());
            let named = first.filter(|c| c.is_uppercase() && second == Some('.'));
            let hit = said.to_lowercase() == right.to_lowercase().to_string() || named == Some(right);
            Ok(Reading { score: f64::from(hit), parsed: None })
        }
        Task::OkVqa | Task::TextVqa | Task::VqaV2 => people(task, item, &said),
    }
}

/// Yes or no of an item.
pub(super) fn reference(task: Task, item: &Item) -> Result<String, TaskError> {
    let answer = text(item, "answer")?;
    let lower = answer.to_lowercase();
    // MME's may have a full stop, POPE's may not.
    let read = if task == Task::Mme { strip(&lower).replace('.', "") } else { strip(&lower).to_owned() };
    if ["yes", "no"].contains(&read.as_str()) { Ok(read) } else { Err(TaskError::Reference(answer.to_owned())) }
}

/// The letter of the right choice. Minus one is the last, as Python counts.
fn letter(item: &Item) -> Result<char, TaskError> {
    let (value, count) = (item.get("answer").ok_or(TaskError::Missing("answer"))?, choices(item)?.count());
    let wrong = || TaskError::Field { field: "answer", found: value.to_string(), want: "the number of a choice" };
    let answer = value.as_i64().ok_or_else(wrong)?;
    let at = if answer < 0 { answer + count as i64 } else { answer };
    let inside = usize::try_from(at).ok().filter(|at| *at < count.min(26));
    inside.map(|at| (b'A' + at as u8) as char).ok_or(TaskError::Choice { answer, choices: count })
}

/// A single word as `VLMEvalKit` finds it.
fn word_of(said: &str) -> &'static str {
    let words = vqa::without_marks(&said.to_lowercase());
    let has = |word: &str| split(&words).any(|w| w == word);
    match (has("yes"), has("no")) {
        (true, false) => "yes",
        (false, true) => "no",
        _ => "unknown",
    }
}

fn mme(rules: Rules, said: &str) -> String {
    if rules == Rules::VlmEvalKit {
        return word_of(said).to_owned();
    }
    let own = rules == Rules::LmmsEval;
    let lower = said.to_lowercase();
    let read = if own { strip(&lower).replace('.', "") } else { lower };
    let start: String = read.chars().take(4).collect();
    let found = match read.as_str() {
        "yes" | "no" => read.as_str(),
        "y" if own => "yes",
        "n" if own => "no",
        one if own && one.chars().count() == 1 => "other",
        _ if start.contains("yes") => "yes",
        _ if start.contains("no") => "no",
        _ => "other",
    };
    found.to_owned()
}

fn pope(rules: Rules, said: &str) -> String {
    match rules {
        Rules::LmmsEval => strip(&said.to_lowercase()).to_owned(),
        Rules::VlmEvalKit => word_of(said).to_owned(),
        Rules::Official => {
            // Of its first sentence; whatever denies nothing is a yes.
            let sentence = said.split('.').next().unwrap_or_default().replace(',', "");
            let denied = sentence.split(' ').any(|word| ["No", "not", "no"].contains(&word));
            (if denied { "no" } else { "yes" }).to_owned()
        }
    }
}

/// How far an answer agrees with people's.
fn people(task: Task, item: &Item, said: &str) -> Result<Reading, TaskError> {
    let all = match item.get("answers") {
        // Nobody was asked.
        None | Some(Value::Null) => None,
        Some(value) => {
            let found = || TaskError::Field { field: "answers", found: value.to_string(), want: "a list" };
            Some(value.as_array().ok_or_else(found)?)
        }
    };
    let normal = |text: &str| if task == Task::VqaV2 { vqa::plain(text) } else { vqa::spoken(text) };
    let parsed = normal(said);
    let reading = |score| Reading { score, parsed: Some(parsed.clone()) };
    let Some(all) = all else { return Ok(reading(0.0)) };
    if all.is_empty() {
        return if task == Task::OkVqa { Ok(reading(0.0)) } else { Err(TaskError::NoAnswers) };
    }
    let answer_of = |value: &Value| {
        let inner = value.as_object().map_or(value, |entry| entry.get("answer").unwrap_or(&Value::Null));
        let wrong = || TaskError::Field { field: "answers", found: value.to_string(), want: "a text each" };
        inner.as_str().map(normal).ok_or_else(wrong)
    };
    let texts = all.iter().map(answer_of).collect::<Result<Vec<String>, _>>()?;
    // Entries of VQAv2 that are alike are one and the same.
    let rest = |value: &Value| {
        value.as_object().map(|entry| {
            let mut rest = entry.clone();
            rest.remove("answer");
            rest
        })
    };
    let others = |i: usize, j: usize| match task {
        Task::VqaV2 => texts[i] != texts[j] || rest(&all[i]) != rest(&all[j]),
        _ => i != j,
    };
    Ok(reading(vqa::agreement(&parsed, &texts, others)))
}
