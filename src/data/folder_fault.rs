//! What is wrong with a list, an entry of it or its picture, in sentences. Of many faults the first are kept and all are counted.

use std::fmt;

use super::image::ImageError;

/// An entry that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The list's file name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Which entry of the list it is, from 1.
    pub number: usize,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// What is wrong and what to do.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: entry {}", self.file, self.line, self.number)?;
        if let Some(id) = &self.id {
            // An id is whatever the file has.
            write!(f, " (id {})", id.chars().take(60).collect::<String>())?;
        }
        write!(f, ": {}", self.sentence)
    }
}

/// The entries that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first of them.
    pub first: Vec<Problem>,
    /// How many there are.
    pub count: usize,
    /// What is used otherwise than it stands there, a sentence each.
    pub notes: Vec<String>,
}

impl Problems {
    /// So many are kept.
    pub const KEPT: usize = 100;

    /// One more.
    pub fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(problem);
        }
    }

    /// Are so many of `total` entries unusable that the rest is not worth training on?
    ///
    /// # Errors
    /// When more than half are.
    pub(super) fn bearable(&self, file: &str, total: usize) -> Result<(), FolderError> {
        match self.first.first() {
            Some(first) if self.count * 2 > total => Err(FolderError::TooManyBad {
                file: file.to_owned(),
                bad: self.count,
                total,
                first: Box::new(first.clone()),
            }),
            _ => Ok(()),
        }
    }
}

/// Why a folder cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum FolderError {
    /// It was to end.
    #[error("stopped while pictures were looked at")]
    Stopped,
    /// The list has no entries.
    #[error(
        "{file} has no entries: write one JSON object per picture, or a JSON array of them, with `id`, `image` and `conversations`"
    )]
    Empty { file: String },
    /// No text in a known encoding.
    #[error("{file}:{line}: this is no UTF-8 text{hint}: save the list as UTF-8")]
    Encoding { file: String, line: usize, hint: &'static str },
    /// The end is missing.
    #[error("{file} may be cut off after {entries} entries: {missing}. Copy or download it again, or mend its end")]
    CutOff { file: String, entries: usize, missing: &'static str },
    /// More than one array.
    #[error("{file}:{line}: behind the closing ] of the list there is more: put all entries into one array")]
    AfterEnd { file: String, line: usize },
    /// An object where entries should be.
    #[error(
        "{file} is one JSON object with the keys {keys}, not a list of entries: write a JSON array of objects with `id`, `image` and `conversations`, or one object per line"
    )]
    NoList { file: String, keys: String },
    /// Too much is wrong to go on with the rest.
    #[error("{bad} of {total} entries in {file} are unusable, more than half; the first: {first}")]
    TooManyBad { file: String, bad: usize, total: usize, first: Box<Problem> },
    /// A split has no entries.
    #[error(
        "none of the {total} entries in {file} is in the {split} part (an eighth of the pictures is held out, by a hash of what they show): add more pictures"
    )]
    EmptySplit { file: String, total: usize, split: &'static str },
    /// A picture's bytes could not be fetched.
    #[error("{file}:{line}: the picture {image} cannot be opened ({reason}): put it there, or remove the entry")]
    Missing { file: String, line: usize, image: String, reason: String },
    /// A picture's bytes are no picture.
    #[error("{file}:{line}: {source}")]
    Picture { file: String, line: usize, source: ImageError },
}
