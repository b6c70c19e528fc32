//! A user's own pictures: `LLaVA` conversation data, as JSON array or JSON lines, beside a folder of pictures.
//!
//! Gives the same [`Sample`]s as `scene` does, for `batch`. Files are not touched here: the text of the list and a closure
//! that fetches a picture's bytes come from the caller, and pictures are only read when a row needs them.
//!
//! An entry: `{"id": "7", "image": "images/7.png", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
//! {"from": "gpt", "value": "A duck."}, ...]}`. A question that is `<image>` alone asks for a caption.

use std::fmt;

pub use super::folder_list::{KINDS, Record};
use super::folder_list::{array_entries, line_entries, record};
use super::image::{ImageError, Preprocess};
use super::rng::{Rng, hash_bytes, splitmix64};
use super::worlds::{Sample, Split};

/// One of so many entries is held out.
const HELD_OUT_EVERY: u64 = 8;

impl Record {
    /// Which split the entry belongs to: decided by its id alone.
    #[must_use]
    pub fn split(&self) -> Split {
        if hash_bytes(self.id.as_bytes()).is_multiple_of(HELD_OUT_EVERY) { Split::HeldOut } else { Split::Train }
    }
}

/// An entry that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The list's file name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// Why a folder cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum FolderError {
    /// The list has no entries.
    #[error(
        "{file} has no entries: write one JSON object per picture, or a JSON array of them, with `id`, `image` and `conversations`"
    )]
    Empty { file: String },
    /// Too much is wrong to go on with the rest.
    #[error("{bad} of {total} entries in {file} are unusable, more than half; the first: {first}")]
    TooManyBad { file: String, bad: usize, total: usize, first: Problem },
    /// A split has no entries.
    #[error(
        "none of the {total} entries in {file} is in the {split} part (an eighth, by the hash of the id, is held out): add more pictures"
    )]
    EmptySplit { file: String, total: usize, split: &'static str },
    /// A picture's bytes could not be fetched.
    #[error("{file}:{line}: the picture {image} cannot be opened ({reason}): put it there, or remove the entry")]
    Missing { file: String, line: usize, image: String, reason: String },
    /// A picture's bytes are no picture.
    #[error("{file}:{line}: {source}")]
    Picture { file: String, line: usize, source: ImageError },
}

/// Fetches the bytes of a picture by its name in the list; an error is the reason in words.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// The usable entries of a list, split into training and held-out ones.
#[derive(Clone, Debug)]
pub struct Folder {
    file: String,
    records: Vec<Record>,
    train: Vec<usize>,
    held_out: Vec<usize>,
}

impl Folder {
    /// The entries of a list, a JSON array or JSON lines, and the problems of those that are left out.
    ///
    /// # Errors
    /// When there are no entries, or more than half are unusable.
    pub fn parse(text: &str, file_name: &str) -> Result<(Vec<Record>, Vec<Problem>), FolderError> {
        let text = text.trim_start_matches('\u{feff}');
        let entries = if text.trim_start().starts_with('[') { array_entries(text) } else { line_entries(text) };
        let total = entries.len();
        let (mut records, mut problems) = (Vec::new(), Vec::new());
        for (line, entry) in entries {
            match record(entry, line) {
                Ok(record) => records.push(record),
                Err((line, sentence)) => problems.push(Problem { file: file_name.to_owned(), line, sentence }),
            }
        }
        let bad = problems.len();
        if total == 0 {
            return Err(FolderError::Empty { file: file_name.to_owned() });
        }
        if bad * 2 > total {
            return Err(FolderError::TooManyBad {
                file: file_name.to_owned(),
                bad,
                total,
                first: problems.swap_remove(0),
            });
        }
        Ok((records, problems))
    }

    /// [`Self::parse`], then the split.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn load(text: &str, file_name: &str) -> Result<(Self, Vec<Problem>), FolderError> {
        let (records, problems) = Self::parse(text, file_name)?;
        Ok((Self::split(records, file_name), problems))
    }

    fn split(records: Vec<Record>, file_name: &str) -> Self {
        let of = |split| (0..records.len()).filter(|i| records[*i].split() == split).collect();
        let (train, held_out) = (of(Split::Train), of(Split::HeldOut));
        Self { file: file_name.to_owned(), records, train, held_out }
    }

    /// Leaves out the entries whose picture cannot be read or decoded, adding to `problems`. Looking at all pictures before
    /// training costs seconds; a bad one found in the middle of a run would cost the run.
    ///
    /// # Errors
    /// When more than half of all entries, those left out before included, are unusable.
    pub fn check_pictures(self, problems: &mut Vec<Problem>, read: Read<'_>) -> Result<Self, FolderError> {
        let total = self.records.len() + problems.len();
        let (file, mut records) = (self.file, Vec::new());
        for record in self.records {
            let picture = read(&record.image).and_then(|bytes| {
                super::image::decode(&bytes, &record.image, None).map(|_| ()).map_err(|e| e.to_string())
            });
            match picture {
                Ok(()) => records.push(record),
                Err(reason) => {
                    let sentence = format!(
                        "the picture {} cannot be used ({reason}): replace it, or remove the entry",
                        record.image
                    );
                    problems.push(Problem { file: file.clone(), line: record.line, sentence });
                }
            }
        }
        let bad = problems.len();
        if bad * 2 > total {
            return Err(FolderError::TooManyBad { file, bad, total, first: problems.swap_remove(0) });
        }
        Ok(Self::split(records, &file))
    }

    /// All usable entries in the order of the list.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many entries a split has.
    #[must_use]
    pub fn size(&self, split: Split) -> usize {
        self.part(split).len()
    }

    /// All questions and answers of the training entries, to build a vocabulary from.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.train.iter().flat_map(|i| &self.records[*i].turns).flat_map(|t| [t.question.as_str(), t.answer.as_str()])
    }

    /// The words of sample number `index`, without its picture. A pure function of its arguments.
    ///
    /// Train: every entry once per round, in an order of its own in every round, with up to `max_turns` turns in a row from a
    /// random start. Held out: entries in the order of the list, one turn each, the next turns in the next rounds.
    ///
    /// # Errors
    /// When the split has no entries.
    pub fn text_sample(&self, split: Split, seed: u64, index: u64, max_turns: usize) -> Result<Sample, FolderError> {
        self.chosen(split, seed, index, max_turns).map(|c| c.1)
    }

    /// Sample number `index` with its picture, prepared by `prepare` from the bytes that `read` fetches.
    ///
    /// # Errors
    /// When the split has no entries, or the picture cannot be read.
    pub fn sample(
        &self,
        split: Split,
        seed: u64,
        index: u64,
        max_turns: usize,
        prepare: &Preprocess,
        read: Read<'_>,
    ) -> Result<Sample, FolderError> {
        let (record, mut sample) = self.chosen(split, seed, index, max_turns)?;
        let place = || (self.file.clone(), record.line);
        let bytes = read(&record.image).map_err(|reason| {
            let (file, line) = place();
            FolderError::Missing { file, line, image: record.image.clone(), reason }
        })?;
        sample.pixels = prepare.decode(&bytes, &record.image).map_err(|source| {
            let (file, line) = place();
            FolderError::Picture { file, line, source }
        })?;
        Ok(sample)
    }

    fn part(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    fn chosen(&self, split: Split, seed: u64, index: u64, max_turns: usize) -> Result<(&Record, Sample), FolderError> {
        let part = self.part(split);
        let size = part.len() as u64;
        if size == 0 {
            let split = if split == Split::Train { "training" } else { "held-out" };
            return Err(FolderError::EmptySplit { file: self.file.clone(), total: self.records.len(), split });
        }
        let (round, position) = (index / size, index % size);
        let (record, turns) = match split {
            Split::Train => {
                let record = &self.records[part[shuffled(position, size, splitmix64(seed) ^ round) as usize]];
                let count = max_turns.min(record.turns.len());
                let start = Rng::new(seed, index).below(record.turns.len() - count + 1);
                (record, record.turns[start..start + count].to_vec())
            }
            Split::HeldOut => {
                let record = &self.records[part[position as usize]];
                (record, vec![record.turns[(round % record.turns.len() as u64) as usize].clone()])
            }
        };
        let description =
            record.turns.iter().find(|t| t.kind == KINDS[1]).map_or_else(String::new, |t| t.answer.clone());
        let sample = Sample {
            pixels: Vec::new(),
            things: 0,
            turns,
            patch_labels: Vec::new(),
            seen: Vec::new(),
            description,
            facts: Vec::new(),
            described: false,
        };
        Ok((record, sample))
    }
}

/// Where position `i` of `n` goes in the random order number `key`, worked out without a list of them all.
fn shuffled(i: u64, n: u64, key: u64) -> u64 {
    let bits = (64 - (n - 1).leading_zeros()).max(2);
    let mask = (1_u64 << bits) - 1;
    let mut x = i;
    loop {
        // each step can be undone within `bits` bits, so that all positions go to different places
        for round in 0..4 {
            let k = splitmix64(key.wrapping_add(round << 56));
            x = x.wrapping_mul(k | 1).wrapping_add(k >> 32) & mask;
            x ^= x >> bits.div_ceil(2);
        }
        // places beyond the end go on until they come back
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
