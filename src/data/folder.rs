//! A user's own pictures: `LLaVA` conversation data, as JSON array or JSON lines, beside a folder of pictures.
//!
//! Gives the same [`Sample`]s as `scene` does, for `batch`. Files are not touched here: the text of the list and a closure
//! that fetches a picture's bytes come from the caller, and pictures are only read when a row needs them.
//!
//! An entry: `{"id": "7", "image": "images/7.png", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
//! {"from": "gpt", "value": "A duck."}, ...]}`. A question that is `<image>` alone asks for a caption.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::folder_cache::{Cache, Room};
pub use super::folder_cache::{Files, Read, Stamp};
pub use super::folder_fault::{FolderError, Problem, Problems};
use super::folder_list::{End, entries, keys_of_no_entry, record, text_of};
pub use super::folder_list::{KINDS, Record};
use super::image::Preprocess;
use super::rng::{Rng, hash_bytes, splitmix64};
use super::worlds::{Sample, Split};

/// One of so many entries is held out.
const HELD_OUT_EVERY: u64 = 8;
/// Bytes of prepared pictures that are kept in memory: 50,000 of 40 pixels a side.
const MEMORY: u64 = 256 << 20;
/// The same on the disk: 27,000 of 224 pixels a side.
const DISK: u64 = 4 << 30;

/// What decides which part an entry belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// Its id, as earlier versions did: several entries about one picture may then be in both parts.
    #[default]
    Id,
    /// What its picture shows.
    Picture,
}

impl SplitBy {
    /// Is it the id?
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        *self == Self::Id
    }
}

impl Record {
    /// Which split the entry belongs to, decided by its id alone.
    #[must_use]
    pub fn split(&self) -> Split {
        part_of(hash_bytes(self.id.as_bytes()))
    }
}

fn part_of(hash: u64) -> Split {
    if hash.is_multiple_of(HELD_OUT_EVERY) { Split::HeldOut } else { Split::Train }
}

/// Pictures of distinct contents in parts. With enough of them one at least is held out, and one at least is trained on.
fn parts_of(contents: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut held_out: BTreeSet<u64> = contents.iter().copied().filter(|c| part_of(*c) == Split::HeldOut).collect();
    if held_out.is_empty() && contents.len() as u64 >= HELD_OUT_EVERY {
        held_out.extend(contents.first());
    }
    if held_out.len() == contents.len() {
        held_out.pop_last();
    }
    held_out
}

/// The usable entries of a list, split into training and held-out ones.
#[derive(Debug)]
pub struct Folder {
    file: String,
    records: Vec<Record>,
    train: Vec<usize>,
    held_out: Vec<usize>,
    by: SplitBy,
    fingerprint: u64,
    pictures: RefCell<Cache>,
}

impl Folder {
    /// The text of a list's bytes.
    ///
    /// # Errors
    /// When they are neither UTF-8 nor UTF-16.
    pub fn text<'a>(bytes: &'a [u8], file_name: &str) -> Result<Cow<'a, str>, FolderError> {
        text_of(bytes, file_name)
    }

    /// The entries of a list, a JSON array or JSON lines, and the problems of those that are left out.
    ///
    /// # Errors
    /// When there are no entries, more than half are unusable, or the list is cut off.
    pub fn parse(text: &str, file_name: &str) -> Result<(Vec<Record>, Problems), FolderError> {
        let file = || file_name.to_owned();
        let (mut records, mut problems) = (Vec::new(), Problems::default());
        let (mut total, mut systems, mut no_list) = (0, 0, None);
        let end = entries(text.trim_start_matches('\u{feff}'), &mut |line, entry| {
            total += 1;
            no_list = if total == 1 { keys_of_no_entry(entry) } else { None };
            match record(entry, line, total) {
                Ok(read) => {
                    systems += usize::from(read.system);
                    records.push(read.record);
                }
                Err((line, id, sentence)) => {
                    problems.push(Problem { file: file(), line, number: total, id, sentence });
                }
            }
        });
        if let Some(keys) = no_list {
            return Err(FolderError::NoList { file: file(), keys });
        }
        if total == 0 && end == End::Whole {
            return Err(FolderError::Empty { file: file() });
        }
        problems.bearable(file_name, total)?;
        match end {
            End::Whole => {}
            End::CutOff(missing) => return Err(FolderError::CutOff { file: file(), entries: records.len(), missing }),
            End::More(line) => return Err(FolderError::AfterEnd { file: file(), line }),
        }
        if systems > 0 {
            let note = format!(
                "{systems} entries of {file_name} have \"system\" turns, which are left out: the models here have no place for them"
            );
            problems.notes.push(note);
        }
        Ok((records, problems))
    }

    /// [`Self::parse`], then the split by ids. [`Self::check_pictures`] can split by what pictures show.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn load(text: &str, file_name: &str) -> Result<(Self, Problems), FolderError> {
        let (records, problems) = Self::parse(text, file_name)?;
        let mut folder = Self {
            file: file_name.to_owned(),
            records,
            train: Vec::new(),
            held_out: Vec::new(),
            by: SplitBy::Id,
            fingerprint: 0,
            pictures: RefCell::default(),
        };
        folder.split();
        Ok((folder, problems))
    }

    fn split(&mut self) {
        let held_out = parts_of(&self.pictures.borrow().contents());
        let part = |record: &Record| match self.by {
            SplitBy::Id => record.split(),
            SplitBy::Picture
                if self.pictures.borrow().content(&record.image).is_some_and(|c| held_out.contains(&c)) =>
            {
                Split::HeldOut
            }
            SplitBy::Picture => Split::Train,
        };
        let of = |split| (0..self.records.len()).filter(|i| part(&self.records[*i]) == split).collect();
        (self.train, self.held_out) = (of(Split::Train), of(Split::HeldOut));
        let mark = |record: &Record| {
            let shown = self.pictures.borrow().content(&record.image).unwrap_or(0);
            let said = record.turns.iter().flat_map(|t| [t.question.as_bytes(), &[0], t.answer.as_bytes(), &[0]]);
            splitmix64(shown ^ hash_bytes(&said.collect::<Vec<_>>().concat()))
        };
        self.fingerprint = self.records.iter().fold(0, |sum, record| sum.wrapping_add(mark(record)));
    }

    /// Leaves out the entries whose picture cannot be read or decoded, adding to `problems`, and splits the rest. Looking at all
    /// pictures before training costs seconds; a bad one found in the middle of a run would cost the run. Each is decoded once,
    /// several at a time: what `prepare` makes of it is kept, as far as there is room. `heard` is told how many pictures of how
    /// many were looked at, and says whether to go on.
    ///
    /// # Errors
    /// When more than half of all entries, those left out before included, are unusable, or `heard` said no.
    pub fn check_pictures(
        mut self,
        problems: &mut Problems,
        by: SplitBy,
        prepare: &Preprocess,
        read: Read<'_>,
        heard: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Self, FolderError> {
        let total = self.records.len() + problems.count;
        let names: Vec<String> =
            self.records.iter().map(|r| r.image.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let mut stopped = false;
        let (pictures, refused) = Cache::look(&names, Room::new(MEMORY, DISK), prepare, read, &mut |done, of| {
            stopped = !heard(done, of);
            !stopped
        });
        if stopped {
            return Err(FolderError::Stopped);
        }
        for record in std::mem::take(&mut self.records) {
            match refused.get(&record.image) {
                None => self.records.push(record),
                Some(reason) => {
                    let sentence = format!(
                        "the picture {} cannot be used ({reason}): replace it, or remove the entry",
                        record.image
                    );
                    let Record { line, number, id, .. } = record;
                    problems.push(Problem { file: self.file.clone(), line, number, id: Some(id), sentence });
                }
            }
        }
        problems.bearable(&self.file, total)?;
        (self.by, self.pictures) = (by, RefCell::new(pictures));
        self.split();
        Ok(self)
    }

    /// What the split goes by.
    #[must_use]
    pub fn split_by(&self) -> SplitBy {
        self.by
    }

    /// A number for what the entries say and show, in whatever order.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Which pictures changed after they were checked, and how many have no room, in sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.pictures.borrow().notes(&self.file)
    }

    /// The list's file name.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
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
        if let Some(square) = self.pictures.borrow_mut().square(&record.image, prepare, read) {
            sample.pixels = prepare.normal(&square);
            return Ok(sample);
        }
        let place = || (self.file.clone(), record.line);
        let bytes = read.read(&record.image).map_err(|reason| {
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
