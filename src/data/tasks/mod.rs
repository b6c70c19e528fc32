//! Published question sets: what a model is asked, how its answer is read, and what a whole set scores.
//!
//! An item is the JSON object of its data set, without the picture. Rules are those of lmms-eval 0.7.3, or those of the set's own
//! script or of `VLMEvalKit`, where these differ: never compare numbers of two of them.

mod answers;
pub mod load;
mod python;
mod reading;
mod totals;
mod vqa;

use serde_json::{Map, Value};
use thiserror::Error;

pub use answers::{Answered, AnswersError, answers};
pub use reading::{Reading, is_empty, read};
pub use totals::{Read, totals};

/// An item: the fields of its data set.
pub type Item = Map<String, Value>;

/// What is wrong with an item: it is named, and left out of the totals.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TaskError {
    #[error("it has no \"{0}\"")]
    Missing(&'static str),
    #[error("\"{field}\" is {found}, not {want}")]
    Field { field: &'static str, found: String, want: &'static str },
    #[error("\"answer\" is \"{0}\", and is to be yes or no")]
    Reference(String),
    #[error("\"answer\" is {answer}, and there are {choices} choices")]
    Choice { answer: i64, choices: usize },
    #[error("\"answers\" is an empty list: nobody's answer can be compared")]
    NoAnswers,
}

/// A question set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// MME: two questions a picture, yes or no, in fourteen categories.
    Mme,
    /// GQA: one word.
    Gqa,
    /// OK-VQA: ten people's answers.
    OkVqa,
    /// `ScienceQA`: the letter of a choice.
    ScienceQa,
    /// `TextVQA`: ten people's answers.
    TextVqa,
    /// POPE: is there such a thing? In three lists.
    Pope,
    /// `VQAv2`: ten people's answers.
    VqaV2,
}

/// Whose rules an answer is read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// lmms-eval 0.7.3.
    #[default]
    LmmsEval,
    /// The script that the set came with.
    Official,
    /// `VLMEvalKit`, with exact matching.
    VlmEvalKit,
}

impl Rules {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LmmsEval, Self::Official, Self::VlmEvalKit];

    /// As `--rules` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LmmsEval => "lmms-0.7.3",
            Self::Official => "official",
            Self::VlmEvalKit => "vlmevalkit",
        }
    }

    /// As a report has it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LmmsEval => "lmms-eval 0.7.3",
            Self::Official => "the set's own script",
            Self::VlmEvalKit => "VLMEvalKit e8e78f05, exact matching",
        }
    }
}

const SHORT: &str = "\nAnswer the question using a single word or phrase.";
const UNANSWERABLE: &str = "\nWhen the provided information is insufficient, respond with 'Unanswerable'.";
const LETTER: &str = "\nAnswer with the option's letter from the given choices directly.";
const YES_OR_NO: &str = " Please answer yes or no.";

impl Task {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Mme, Self::Gqa, Self::OkVqa, Self::ScienceQa, Self::TextVqa, Self::Pope, Self::VqaV2];

    /// As `--task` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mme => "mme",
            Self::Gqa => "gqa",
            Self::OkVqa => "ok_vqa",
            Self::ScienceQa => "scienceqa",
            Self::TextVqa => "textvqa",
            Self::Pope => "pope",
            Self::VqaV2 => "vqav2",
        }
    }

    /// Rules that read this set otherwise than lmms-eval does, and which are known.
    #[must_use]
    pub fn has(self, rules: Rules) -> bool {
        rules == Rules::LmmsEval || matches!(self, Self::Mme | Self::Pope)
    }

    /// Tokens of an answer at most, as lmms-eval asks for them.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Mme | Self::Gqa | Self::ScienceQa | Self::VqaV2 => 16,
            Self::Pope => 128,
            Self::OkVqa | Self::TextVqa => 1024,
        }
    }

    /// What is asked, without a mark for the picture.
    ///
    /// # Errors
    /// A field that is not there, or is no text.
    pub fn prompt(self, item: &Item) -> Result<String, TaskError> {
        let question = text(item, "question")?;
        Ok(match self {
            Self::Mme => python::strip(question).replace(YES_OR_NO, "") + SHORT,
            Self::Pope => python::strip(question).to_owned() + SHORT,
            Self::Gqa | Self::VqaV2 => question.to_owned() + SHORT,
            Self::OkVqa => format!("{question}{UNANSWERABLE}{SHORT}"),
            Self::TextVqa => python::capitalize(question) + SHORT,
            Self::ScienceQa => {
                let hint = item.get("hint").and_then(Value::as_str).filter(|hint| !hint.is_empty());
                let mut all = hint.map(|hint| format!("Context: {hint}\n")).unwrap_or_default();
                all += question;
                for (letter, choice) in ('A'..).zip(choices(item)?) {
                    all += &format!("\n{letter}. {choice}");
                }
                all + LETTER
            }
        })
    }

    /// What tells an item from all others of its set.
    #[must_use]
    pub fn key(self, item: &Item) -> String {
        let part = |name: &str| item.get(name).map_or_else(String::new, shown);
        match self {
            Self::Gqa => part("id"),
            Self::Pope => format!("{}/{}", part("category"), part("question_id")),
            Self::ScienceQa => part(if item.contains_key("id") { "id" } else { "question" }),
            Self::Mme | Self::OkVqa | Self::TextVqa | Self::VqaV2 => part("question_id"),
        }
    }
}

/// The categories of MME, in the order of its release: those of perception, and then those of cognition.
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
/// How many of them are perception.
const PERCEPTION: usize = 10;

/// What is said of a category that MME has not; none of those that it has.
fn unknown_category(name: &str) -> Option<String> {
    let said = || format!("\"{name}\" is no category of MME: it counts as cognition, as with lmms-eval");
    (!CATEGORIES.contains(&name)).then(said)
}

/// A value as people write it.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text<'a>(item: &'a Item, field: &'static str) -> Result<&'a str, TaskError> {
    let value = item.get(field).ok_or(TaskError::Missing(field))?;
    value.as_str().ok_or_else(|| TaskError::Field { field, found: value.to_string(), want: "a text" })
}

fn choices(item: &Item) -> Result<impl Iterator<Item = &str>, TaskError> {
    let field = "choices";
    let value = item.get(field).ok_or(TaskError::Missing(field))?;
    let wrong = || TaskError::Field { field, found: value.to_string(), want: "a list of texts" };
    let list = value.as_array().filter(|list| list.iter().all(Value::is_string)).ok_or_else(wrong)?;
    Ok(list.iter().filter_map(Value::as_str))
}

/// Has the item a picture?
fn is_seen(item: &Item) -> bool {
    item.get("image").is_some_and(|image| !image.is_null())
}
