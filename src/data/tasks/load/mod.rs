//! Question sets as they are found on disk: the original releases, and the one table of `VLMEvalKit`.

mod json;
mod mme;
mod tsv;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::{Item, Task};
use crate::data::gif;
use crate::data::picture_file::{self, ImageError, Rgb};

/// What is wrong with a set, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{place}: {what}")]
pub struct LoadError {
    /// File, and line or item.
    pub place: String,
    /// A sentence.
    pub what: String,
}

/// An error there, in a sentence.
pub(in crate::data) fn wrong<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError { place: place.into(), what: what.into() })
}

/// The files of a set: their names relative to its folder, parts divided by `/`, and what reads one.
pub struct Files<'a> {
    names: BTreeSet<String>,
    read: &'a (dyn Fn(&str) -> std::io::Result<Vec<u8>> + Sync),
}

impl<'a> Files<'a> {
    /// All files of a folder and those below it.
    #[must_use]
    pub fn new(
        names: impl IntoIterator<Item = String>,
        read: &'a (dyn Fn(&str) -> std::io::Result<Vec<u8>> + Sync),
    ) -> Self {
        Self { names: names.into_iter().collect(), read }
    }

    /// All names, in the order of their bytes.
    pub(in crate::data) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(in crate::data) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The shortest name that ends so, in whatever folder.
    pub(in crate::data) fn named(&self, end: &str) -> Option<&str> {
        let whole =
            |name: &&String| name.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('/'));
        self.names.iter().filter(whole).min_by_key(|name| name.len()).map(String::as_str)
    }

    pub(in crate::data) fn bytes(&self, name: &str) -> Result<Vec<u8>, LoadError> {
        (self.read)(name).or_else(|e| wrong(name, format!("it cannot be read: {e}")))
    }

    /// Text in UTF-8, without its byte-order mark.
    pub(in crate::data) fn text(&self, name: &str) -> Result<String, LoadError> {
        let bytes = self.bytes(name)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.trim_start_matches('\u{feff}').to_owned()),
            Err(e) => {
                let line = 1 + bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                wrong(format!("{name}, line {line}"), "it is not UTF-8 text")
            }
        }
    }
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of the set.
    File(String),
    /// Base64 in a table: the table's text, where in it, and where that is.
    Cell(Arc<str>, Range<usize>, String),
    /// A square of bytes, all of red before all of green before all of blue: the file's bytes, where in them, and where that is.
    Planes(Arc<Vec<u8>>, Range<usize>, String),
}

impl Place {
    /// As people find it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File(name) | Self::Cell(_, _, name) | Self::Planes(_, _, name) => name,
        }
    }

    /// Its bytes: of a file, or of its part of one.
    ///
    /// # Errors
    /// A file that cannot be read, or a cell that is not base64, named.
    pub fn bytes(&self, files: &Files<'_>) -> Result<Cow<'_, [u8]>, LoadError> {
        match self {
            Self::File(name) => files.bytes(name).map(Cow::Owned),
            Self::Cell(text, range, name) => {
                let cell = text[range.clone()].trim();
                STANDARD
                    .decode(cell)
                    .map(Cow::Owned)
                    .or_else(|e| wrong(name, format!("its picture is not base64: {e}")))
            }
            Self::Planes(all, range, _) => Ok(Cow::Borrowed(&all[range.clone()])),
        }
    }

    /// The picture: transparency dropped as lmms-eval does, and turned as its EXIF data say, which lmms-eval does not.
    ///
    /// # Errors
    /// Bytes that are no picture, named.
    pub fn decode(&self, files: &Files<'_>) -> Result<Rgb, LoadError> {
        self.picture(&self.bytes(files)?, None)
    }

    /// The picture in these [`Self::bytes`], with a `background` behind transparent parts where one is given. Of a GIF file, which
    /// stands in published sets under other names, it is the first frame.
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

/// Loads a set in whatever form its folder has; pictures are found, and not decoded yet.
///
/// # Errors
/// A form that is not known, or something wrong, with its place.
pub fn load(task: Task, files: &Files<'_>) -> Result<Set, LoadError> {
    if let Some(name) = tsv::file(task, files) {
        return tsv::load(task, files, name);
    }
    if let Some(name) = files.names.iter().find(|name| name.ends_with(".parquet")) {
        return wrong(
            name,
            "tables of this kind are not read yet: give the original release, or the .tsv of VLMEvalKit",
        );
    }
    let set = match task {
        Task::Mme => mme::load(files)?,
        Task::Gqa => json::gqa(files)?,
        Task::OkVqa | Task::VqaV2 => json::vqa(task, files)?,
        Task::TextVqa => json::textvqa(files)?,
        Task::Pope => json::pope(files)?,
        Task::ScienceQa => json::scienceqa(files)?,
    };
    if set.entries.is_empty() { wrong("the folder", format!("it has no items of {}", task.name())) } else { Ok(set) }
}
