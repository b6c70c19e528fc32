//! Question sets as they are found on disk: the original releases, the one table of `VLMEvalKit`, and, with the feature `parquet`,
//! the tables of lmms-lab.

#[cfg(feature = "parquet")]
mod columns;
mod json;
mod mme;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod shards;
mod tsv;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::{Item, Task, is_seen};
use crate::data::disguise::is_pointer;
use crate::data::gif;
use crate::data::picture_file::{self, ImageError, Rgb};
use crate::data::rng::hash_bytes;
#[cfg(feature = "parquet")]
use crate::platform::Blob;

/// What is wrong with a set, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{place}: {what}")]
pub struct LoadError {
    /// File, and line or item.
    pub place: String,
    /// A sentence.
    pub what: String,
}

pub(in crate::data) fn wrong<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError { place: place.into(), what: what.into() })
}

/// What UTF-8 text may begin with.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// The end of a table's name that is read with the feature `parquet`.
const PARQUET: &str = ".parquet";

/// Reads a whole file.
type Read<'a> = &'a (dyn Fn(&str) -> io::Result<Vec<u8>> + Sync);
/// Opens a file to be read in parts.
#[cfg(feature = "parquet")]
type Open<'a> = &'a (dyn Fn(&str) -> io::Result<Blob> + Sync);

/// The files of a set: their names relative to its folder, parts divided by `/`, and what reads one.
pub struct Files<'a> {
    /// Sorted.
    names: Vec<String>,
    /// Names by how they end, with the last part and with the last two: a set has a hundred thousand.
    ends: HashMap<String, Vec<usize>>,
    read: Read<'a>,
    #[cfg(feature = "parquet")]
    open: Option<Open<'a>>,
}

/// The last part of a name, or the last two.
fn end_of(name: &str, parts: usize) -> &str {
    name.rmatch_indices('/').nth(parts - 1).map_or(name, |(at, _)| &name[at + 1..])
}

impl<'a> Files<'a> {
    /// All files of a folder and those below it.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, read: Read<'a>) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let mut ends: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, name) in names.iter().enumerate() {
            for parts in 1..=1 + usize::from(name.contains('/')) {
                ends.entry(end_of(name, parts).to_owned()).or_default().push(i);
            }
        }
        Self {
            names,
            ends,
            read,
            #[cfg(feature = "parquet")]
            open: None,
        }
    }

    /// The same, where files can also be read in parts: tables that are larger than memory.
    #[cfg(feature = "parquet")]
    #[must_use]
    pub fn opened_by(self, open: Open<'a>) -> Self {
        Self { open: Some(open), ..self }
    }

    /// All names, in the order of their bytes.
    pub(in crate::data) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(in crate::data) fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|own| own.as_str().cmp(name)).is_ok()
    }

    /// The shortest name that ends so, in whatever folder.
    pub(in crate::data) fn named(&self, end: &str) -> Option<&str> {
        let whole = |name: &&str| name.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('/'));
        let all = self.ends.get(end_of(end, 2))?.iter().map(|i| self.names[*i].as_str());
        all.filter(whole).min_by_key(|name| name.len())
    }

    #[cfg(feature = "parquet")]
    fn blob(&self, name: &str) -> Result<Blob, LoadError> {
        let whole = || (self.read)(name).map(|bytes| Blob::memory(name, bytes));
        self.open.map_or_else(whole, |open| open(name)).or_else(|e| wrong(name, format!("it cannot be read: {e}")))
    }

    pub(in crate::data) fn bytes(&self, name: &str) -> Result<Vec<u8>, LoadError> {
        let bytes = (self.read)(name).or_else(|e| wrong(name, format!("it cannot be read: {e}")))?;
        if is_pointer(&bytes) { pointer(name) } else { Ok(bytes) }
    }

    /// Text in UTF-8, without its byte-order mark.
    pub(in crate::data) fn text(&self, name: &str) -> Result<String, LoadError> {
        let mut bytes = self.bytes(name)?;
        if bytes.starts_with(MARK) {
            bytes.drain(..MARK.len());
        }
        String::from_utf8(bytes).or_else(|e| {
            let until = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + until.iter().filter(|byte| **byte == b'\n').count();
            wrong(format!("{name}, line {line}"), "it is not UTF-8 text")
        })
    }
}

fn pointer<T>(name: &str) -> Result<T, LoadError> {
    wrong(name, "it is a pointer of Git LFS, not the file: git lfs pull fetches that")
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of the set.
    File(String),
    /// Base64 in a table: the table's text, where in it, and where that is.
    Cell(Arc<String>, Range<usize>, String),
    /// A square of bytes, all of red before all of green before all of blue: the file's bytes, where in them, and where that is.
    Planes(Arc<Vec<u8>>, Range<usize>, String),
    /// Bytes in a row of a table.
    #[cfg(feature = "parquet")]
    Row(parquet::Row),
}

impl Place {
    /// As people find it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File(name) | Self::Cell(_, _, name) | Self::Planes(_, _, name) => name,
            #[cfg(feature = "parquet")]
            Self::Row(row) => row.name(),
        }
    }

    /// What places that may have the same picture share.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::File(name) | Self::Cell(_, _, name) | Self::Planes(_, _, name) => name,
            #[cfg(feature = "parquet")]
            Self::Row(row) => row.source(),
        }
    }

    /// A number that changes with the picture: of all of its file, or of how large everything in its table is.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprint(&self, files: &Files<'_>) -> Result<u64, LoadError> {
        Ok(match self {
            Self::File(name) => hash_bytes(&files.bytes(name)?),
            Self::Cell(text, range, _) => hash_bytes(&text.as_bytes()[range.clone()]),
            Self::Planes(all, range, _) => hash_bytes(&all[range.clone()]),
            #[cfg(feature = "parquet")]
            Self::Row(row) => row.fingerprint(),
        })
    }

    /// The bytes of the picture: of a file, or of its part of one.
    ///
    /// # Errors
    /// A file that cannot be read, or a cell that is no base64, named.
    pub fn bytes(&self, files: &Files<'_>) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::File(name) => files.bytes(name),
            Self::Cell(text, range, name) => {
                // Some writers break it into lines.
                let cell: Vec<u8> = text[range.clone()].bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                STANDARD.decode(cell).or_else(|e| wrong(name, format!("its picture is not base64: {e}")))
            }
            Self::Planes(all, range, _) => Ok(all[range.clone()].to_vec()),
            #[cfg(feature = "parquet")]
            Self::Row(row) => row.bytes(),
        }
    }

    /// The picture in these [`Self::bytes`]: turned as its EXIF data say, as Hugging Face's `datasets` does it for lmms-eval, and with
    /// a `background` behind transparent parts where one is given. Of a GIF file, which stands in published sets under other
    /// names, it is the first frame.
    ///
    /// # Errors
    /// Bytes that are no picture, named.
    pub fn picture(&self, bytes: &[u8], background: Option<[u8; 3]>) -> Result<Rgb, LoadError> {
        if let Self::Planes(..) = self {
            let pixels = bytes.len() / 3;
            let side = pixels.isqrt();
            let data = (0..pixels).flat_map(|i| [bytes[i], bytes[pixels + i], bytes[2 * pixels + i]]).collect();
            return Ok(Rgb { width: side, height: side, data });
        }
        let short = self.name().rsplit('/').next().unwrap_or_default();
        let picture = if gif::begins(bytes) {
            gif::first_frame(bytes, short)
        } else {
            picture_file::decode(bytes, short, background)
        };
        picture.or_else(|e: ImageError| wrong(self.name(), format!("it is no picture: {e}")))
    }

    /// Both at once: transparency dropped, as lmms-eval does.
    ///
    /// # Errors
    /// As both.
    pub fn decode(&self, files: &Files<'_>) -> Result<Rgb, LoadError> {
        self.picture(&self.bytes(files)?, None)
    }
}

/// An item and its picture, if it has one.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Entry {
    pub item: Item,
    pub picture: Option<Place>,
}

/// A set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// In the order of its files.
    pub entries: Vec<Entry>,
    /// Sentences about what is unusual, and how it is taken.
    pub notes: Vec<String>,
}

/// Loads a set in whatever form its folder has: of several `VLMEvalKit`'s table, or else the original release. Pictures are found,
/// and not decoded yet.
///
/// # Errors
/// A form that is not known, or something wrong, with its place.
pub fn load(task: Task, files: &Files<'_>) -> Result<Set, LoadError> {
    let tables = files.names().any(|name| name.ends_with(PARQUET));
    let (mut set, is_table) = match tsv::file(task, files) {
        Some(name) => (tsv::load(task, files, name)?, true),
        None if tables && !is_released(task, files) => return parquet::load(task, files),
        None => (released(task, files)?, false),
    };
    if set.entries.is_empty() {
        let said: String = set.notes.iter().map(|note| format!(". {note}")).collect();
        return wrong("the folder", format!("it has no items of {}{said}", task.name()));
    }
    if tables {
        let read = if is_table { "VLMEvalKit's table" } else { "the original release" };
        set.notes.push(format!("there are {PARQUET} files, too: {read} is what is read"));
    }
    Ok(set)
}

/// Has the folder the original release?
fn is_released(task: Task, files: &Files<'_>) -> bool {
    match task {
        Task::Mme => mme::is_there(files),
        Task::Gqa => files.named(json::GQA).is_some(),
        Task::OkVqa | Task::VqaV2 => json::vqa_files(task).iter().all(|name| files.named(name).is_some()),
        Task::TextVqa => files.named(json::TEXT_VQA).is_some(),
        Task::Pope => json::POPE.iter().any(|list| files.named(&json::pope_file(list)).is_some()),
        Task::ScienceQa => files.named(json::SCIENCE_QA).is_some(),
    }
}

fn released(task: Task, files: &Files<'_>) -> Result<Set, LoadError> {
    match task {
        Task::Mme => mme::load(files),
        Task::Gqa => json::gqa(files),
        Task::OkVqa | Task::VqaV2 => json::vqa(task, files),
        Task::TextVqa => json::textvqa(files),
        Task::Pope => json::pope(files),
        Task::ScienceQa => json::scienceqa(files),
    }
}

/// A table of `ScienceQA` that has no items without a picture is not what lmms-eval calls so.
fn note_pictures_alone(set: &mut Set, name: &str) {
    if set.entries.iter().all(|entry| is_seen(&entry.item)) {
        set.notes.push(format!(
            "{name} has items with pictures alone: its exact_match is that of lmms-eval's scienceqa_img, and not of scienceqa, which has items without, too"
        ));
    }
}

#[cfg(not(feature = "parquet"))]
mod parquet {
    use super::{Files, LoadError, PARQUET, Set, Task, wrong};

    pub(super) fn load(_: Task, files: &Files<'_>) -> Result<Set, LoadError> {
        wrong(
            files.names().find(|name| name.ends_with(PARQUET)).unwrap_or_default(),
            "this program reads no tables of this kind: build it with --features parquet, or give the original release, or the .tsv of VLMEvalKit",
        )
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
