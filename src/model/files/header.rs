//! The header of a safetensors file: names, types, shapes and places of its tensors, read without reading them.
//!
//! A file is 8 bytes with the header's length (little endian), the header (JSON), and the data. Tensors cover the data
//! without gap or overlap.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::dtype::FileDType;
use super::error::{FilesError, shown};
use super::json::{Dimensions, Entries, brief, parse};
use crate::data::disguise::is_page;
use crate::platform::Blob;

/// Longest header, bytes: the format's own limit.
pub const HEADER_LIMIT: u64 = 100_000_000;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct TensorInfo {
    pub dtype: FileDType,
    pub shape: Vec<usize>,
    /// First byte, from the file's start.
    pub start: u64,
    pub bytes: u64,
}

/// What a safetensors file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Header {
    pub tensors: BTreeMap<String, TensorInfo>,
    pub metadata: BTreeMap<String, String>,
}

/// Reads and checks the header of a safetensors file: its first bytes are read, nothing else.
///
/// # Errors
/// A sentence with the file's name, and the tensor's where there is one.
pub async fn read(blob: &Blob) -> Result<Header, FilesError> {
    let first = blob.read(0, blob.len().min(8) as usize).await.map_err(FilesError::Read)?;
    let len = text_len(blob.name(), &first, blob.len())?;
    let text = blob.read(8, len).await.map_err(FilesError::Read)?;
    check(parse(blob.name(), &text)?, blob.name(), len as u64 + 8, blob.len())
}

/// The same of a file whose bytes are there.
pub fn of(name: &str, bytes: &[u8]) -> Result<Header, FilesError> {
    let len = text_len(name, bytes, bytes.len() as u64)?;
    check(parse(name, &bytes[8..8 + len])?, name, len as u64 + 8, bytes.len() as u64)
}

/// Bytes of the JSON, by the first bytes of a file of `len`.
fn text_len(name: &str, first: &[u8], len: u64) -> Result<usize, FilesError> {
    let Some(claimed) = first.first_chunk().copied().map(u64::from_le_bytes) else {
        return Err(FilesError::Short { file: shown(name), len });
    };
    if first.starts_with(b"version ") {
        return Err(FilesError::Pointer(shown(name)));
    }
    if first.starts_with(b"GGUF") {
        return Err(FilesError::Gguf(shown(name)));
    }
    if is_page(first) {
        return Err(FilesError::Page(shown(name)));
    }
    let allowed = (len - 8).min(HEADER_LIMIT);
    let too_long = || FilesError::HeaderLength { file: shown(name), claimed, allowed };
    usize::try_from(claimed).ok().filter(|_| claimed <= allowed).ok_or_else(too_long)
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Dimensions,
    data_offsets: [u64; 2],
}

struct RawHeader {
    tensors: Entries<RawTensor>,
    metadata: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the header of a safetensors file")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = RawHeader { tensors: Entries::new(), metadata: None };
                while let Some(key) = map.next_key::<String>()? {
                    if key != METADATA {
                        out.tensors.read(key, &mut map)?;
                        continue;
                    }
                    let texts = map.next_value().map_err(|e| A::Error::custom(format!("{METADATA}: {}", brief(&e))))?;
                    if out.metadata.replace(texts).is_some() {
                        return Err(A::Error::custom("it has __metadata__ twice"));
                    }
                }
                Ok(out)
            }
        }
        from.deserialize_map(All)
    }
}

/// The entry that is no tensor.
pub(super) const METADATA: &str = "__metadata__";

/// Everything that names, types, shapes and places must keep to in a file of `len` bytes whose data begins at `base`.
fn check(raw: RawHeader, file: &str, base: u64, len: u64) -> Result<Header, FilesError> {
    let file = || shown(file);
    let data = len - base;
    if let Some(name) = raw.tensors.twice {
        return Err(FilesError::Duplicate { file: file(), tensor: shown(&name) });
    }
    let mut tensors = BTreeMap::new();
    for (name, t) in raw.tensors.map {
        let tensor = || shown(&name);
        let unknown = || FilesError::DType { file: file(), tensor: tensor(), dtype: shown(&t.dtype) };
        let dtype = FileDType::named(&t.dtype).ok_or_else(unknown)?;
        let [start, end] = t.data_offsets;
        if start > end || end > data {
            return Err(FilesError::Range { file: file(), tensor: tensor(), start, end, data });
        }
        let bytes = t.shape.0.iter().try_fold(dtype.bytes(), |n, d| n.checked_mul(*d));
        // A dimension beside one of 0 may be of any size; no size of this platform may be exceeded all the same.
        let shape: Option<Vec<usize>> = t.shape.0.iter().map(|d| usize::try_from(*d).ok()).collect();
        let wrong =
            || FilesError::Size { file: file(), tensor: tensor(), shape: t.shape.0.clone(), dtype, have: end - start };
        if bytes != Some(end - start) {
            return Err(wrong());
        }
        let info = TensorInfo { dtype, shape: shape.ok_or_else(wrong)?, start: base + start, bytes: end - start };
        tensors.insert(name, info);
    }
    let mut order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    order.sort_by_key(|(_, t)| (t.start, t.bytes));
    let (mut at, mut last) = (base, "");
    for (name, t) in order {
        if t.start < at {
            return Err(FilesError::Overlap {
                file: file(),
                tensor: shown(name),
                other: shown(last),
                at: t.start - base,
            });
        }
        if t.start > at {
            return Err(FilesError::Hole { file: file(), start: at - base, end: t.start - base });
        }
        (at, last) = (t.start + t.bytes, name.as_str());
    }
    if at < len {
        return Err(FilesError::Hole { file: file(), start: at - base, end: data });
    }
    Ok(Header { tensors, metadata: raw.metadata.unwrap_or_default() })
}

/// The tensors that one of nanoVLM's stands for: queries, keys and values lie above each other, and positions in a batch of one.
pub(super) fn parted(name: String, info: TensorInfo) -> Vec<(String, TensorInfo)> {
    let tower = name.starts_with("vision_encoder.");
    match info.shape.split_first() {
        Some((1, rest)) if tower && name.ends_with(".position_embedding") => {
            let shape = rest.to_vec();
            vec![(name, TensorInfo { shape, ..info })]
        }
        Some((rows, rest)) if tower && name.contains(".qkv_proj.") && rows.is_multiple_of(3) => {
            let bytes = info.bytes / 3;
            let part = |(i, part): (u64, &str)| {
                let shape = [&[rows / 3], rest].concat();
                let info = TensorInfo { shape, start: info.start + i * bytes, bytes, ..info.clone() };
                (name.replacen(".qkv_proj.", part, 1), info)
            };
            (0..).zip([".q_proj.", ".k_proj.", ".v_proj."]).map(part).collect()
        }
        _ => vec![(name, info)],
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
pub(super) mod tests;
