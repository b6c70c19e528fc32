//! Safetensors files written tensor by tensor, a few megabytes at a time: from other files, in the same or in another
//! type, in one file or in shards with an index.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::dtype::FileDType;
use super::error::{FilesError, shown};
use super::folder::{Checkpoint, INDEX, Place, WHOLE};
use super::header::{METADATA, TensorInfo};
use crate::ops::blocks;
use crate::ops::packed::Format;

/// Most bytes that are read at once.
const PIECE: u64 = 4 << 20;
/// The largest number that f16 has.
const F16_MAX: f32 = 65504.0;

/// Why weights cannot be written.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum WriteError {
    /// The files that are read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Numbers that the type does not have.
    #[error(
        "tensor {tensor} has {count} values beyond 65504, the largest number of f16; the largest is {largest:e}. Choose --dtype bf16 or f32"
    )]
    Overflow { tensor: String, count: u64, largest: f32 },
    /// Whoever takes the bytes could not.
    #[error("{0}")]
    Sink(String),
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Item {
    /// Its name in the new file.
    pub name: String,
    /// Which of the files that are read.
    pub source: usize,
    pub from: String,
    /// Its type in the new file.
    pub dtype: FileDType,
    pub shape: Vec<usize>,
    elements: u64,
    /// The format whose blocks its rows become, and values of a row.
    blocks: Option<(Format, usize)>,
}

impl Item {
    /// The tensor `from` of source number `source`, at `place` there. `dtype` is the type of weights; tensors that are no
    /// weights, such as positions, stay as they are.
    #[must_use]
    pub fn new(name: &str, source: usize, from: &str, place: &Place, dtype: Option<FileDType>) -> Self {
        let info = &place.info;
        let dtype = dtype.filter(|_| info.dtype.is_weight()).unwrap_or(info.dtype);
        let (name, from) = (name.to_owned(), from.to_owned());
        let elements = info.bytes / info.dtype.bytes();
        Self { name, source, from, dtype, shape: info.shape.clone(), elements, blocks: None }
    }

    /// The same with rows of quantised values. What is no weight, or quantised already, stays as it is.
    #[must_use]
    pub fn quantised(mut self, place: &Place, format: Format) -> Self {
        let rows = self.shape.first().copied().unwrap_or(1);
        let cols = self.elements as usize / rows.max(1);
        if let Some(bytes) = blocks::row_bytes(format, cols).filter(|_| place.info.dtype.is_weight() && cols > 0) {
            self.dtype = FileDType::U8;
            self.shape = vec![rows, bytes];
            self.elements = (rows * bytes) as u64;
            self.blocks = Some((format, cols));
        }
        self
    }

    /// Bytes of the source that are read at once: whole rows where they become blocks.
    fn piece(&self, info: &TensorInfo) -> u64 {
        match self.blocks {
            Some((_, cols)) => {
                let row = cols as u64 * info.dtype.bytes();
                (PIECE / row).max(1) * row
            }
            None => PIECE,
        }
    }

    /// Bytes in the new file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.elements * self.dtype.bytes()
    }
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// File name.
    pub name: String,
    items: Vec<Item>,
}

/// Files of at most `most` bytes of data, as long as no tensor is larger; one file where nothing is said. By name.
#[must_use]
pub fn shards(mut items: Vec<Item>, most: Option<u64>) -> Vec<Shard> {
    items.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut files, mut size) = (vec![Vec::new()], 0);
    for item in items {
        let last = files.len() - 1;
        if most.is_some_and(|most| size + item.bytes() > most) && !files[last].is_empty() {
            files.push(vec![]);
            size = 0;
        }
        size += item.bytes();
        let last = files.len() - 1;
        files[last].push(item);
    }
    let count = files.len();
    let name =
        |i: usize| if count == 1 { WHOLE.to_owned() } else { format!("model-{:05}-of-{count:05}.safetensors", i + 1) };
    let ordered = |mut items: Vec<Item>| {
        // Larger elements first: then all data is aligned.
        items.sort_by_key(|item| std::cmp::Reverse(item.dtype.bytes()));
        items
    };
    files.into_iter().enumerate().map(|(i, items)| Shard { name: name(i), items: ordered(items) }).collect()
}

/// The index of several files, with its name.
#[must_use]
pub fn index(shards: &[Shard]) -> Option<(String, String)> {
    let all = || shards.iter().flat_map(|s| s.items.iter().map(move |item| (&item.name, &s.name, item.bytes())));
    let map: BTreeMap<&String, &String> = all().map(|(tensor, file, _)| (tensor, file)).collect();
    let total: u64 = all().map(|(.., bytes)| bytes).sum();
    let text = format!("{:#}\n", json!({"metadata": {"total_size": total}, "weight_map": map}));
    (shards.len() > 1).then(|| (INDEX.to_owned(), text))
}

impl Shard {
    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.header().len() as u64 + self.items.iter().map(Item::bytes).sum::<u64>()
    }

    /// Tensors in it.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    fn header(&self) -> Vec<u8> {
        header(PYTORCH, self.items.iter().map(|i| (&i.name, i.dtype, &i.shape, i.bytes())))
    }

    /// Hands the file's bytes to `put`, piece by piece.
    ///
    /// # Errors
    /// A source that cannot be read, a number that the type does not have, or what `put` says.
    pub async fn write(
        &self,
        sources: &[Checkpoint],
        put: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), WriteError> {
        put(&self.header()).map_err(WriteError::Sink)?;
        for item in &self.items {
            let source = &sources[item.source];
            let info = &source.tensors().get(&item.from).ok_or_else(|| FilesError::NoTensor(shown(&item.from)))?.info;
            let mut overflow = (0, 0.0_f32);
            let piece = item.piece(info);
            for start in (0..info.bytes).step_by(piece as usize) {
                let len = piece.min(info.bytes - start) as usize;
                let bytes = source.read_bytes(&item.from, start, len).await?;
                let bytes =
                    if info.dtype == item.dtype { bytes } else { convert(&bytes, info.dtype, item, &mut overflow)? };
                put(&bytes).map_err(WriteError::Sink)?;
            }
            if overflow.0 > 0 {
                let (count, largest) = overflow;
                return Err(WriteError::Overflow { tensor: shown(&item.from), count, largest });
            }
        }
        Ok(())
    }
}

/// Numbers in the item's type; counts those that f16 does not have.
fn convert(bytes: &[u8], from: FileDType, item: &Item, overflow: &mut (u64, f32)) -> Result<Vec<u8>, WriteError> {
    let unread = || FilesError::Unread { file: WHOLE.to_owned(), tensor: shown(&item.from), dtype: from };
    let values = from.values(bytes).ok_or_else(unread)?;
    if let Some((format, cols)) = item.blocks {
        return Ok(blocks::encode(&values, cols, format));
    }
    if !item.dtype.is_weight() {
        return Err(unread().into());
    }
    if item.dtype == FileDType::F16 {
        for v in values.iter().map(|v| v.abs()).filter(|v| v.is_finite() && *v > F16_MAX) {
            *overflow = (overflow.0 + 1, overflow.1.max(v));
        }
    }
    Ok(item.dtype.encode(&values))
}

/// What `transformers` looks for in the metadata.
pub(in crate::model) const PYTORCH: (&str, &str) = ("format", "pt");

/// The beginning of a file: its header's length, and the header, filled up with spaces so that the data begins at a multiple
/// of 8. Tensors are names, types, shapes and bytes, in the order of the data.
fn header<'a>(
    metadata: (&str, &str),
    tensors: impl Iterator<Item = (&'a String, FileDType, &'a Vec<usize>, u64)>,
) -> Vec<u8> {
    let mut map = Map::new();
    // One entry only: readers keep several in random order.
    map.insert(METADATA.to_owned(), json!({metadata.0: metadata.1}));
    let mut at = 0;
    for (name, dtype, shape, bytes) in tensors {
        let entry = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [at, at + bytes]});
        map.insert(name.clone(), entry);
        at += bytes;
    }
    let mut text = Value::Object(map).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A tensor in memory, to be written.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NewTensor {
    pub name: String,
    pub dtype: FileDType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A whole file in memory. Equal tensors and metadata give equal bytes, in whatever order they come.
#[must_use]
pub fn file(metadata: (&str, &str), mut tensors: Vec<NewTensor>) -> Vec<u8> {
    // Larger elements first: then all data is aligned.
    tensors.sort_by(|a, b| b.dtype.bytes().cmp(&a.dtype.bytes()).then_with(|| a.name.cmp(&b.name)));
    let entries = tensors.iter().map(|t| (&t.name, t.dtype, &t.shape, t.bytes.len() as u64));
    let mut out = header(metadata, entries);
    for t in tensors {
        let elements = t.shape.iter().product::<usize>() as u64;
        assert_eq!(t.bytes.len() as u64, elements * t.dtype.bytes(), "{}: {:?}", t.name, t.shape);
        out.extend(t.bytes);
    }
    out
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
