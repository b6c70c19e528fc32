//! The header of a safetensors file: names, types, shapes and places of its tensors, read without reading them.
//!
//! A file is 8 bytes with the header's length (little endian), the header (JSON), and the data. Tensors cover the data
//! without gap or overlap.

use std::collections::BTreeMap;
use std::fmt;

use half::{bf16, f16};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::json::{Dimensions, Entries, brief, parse};
use super::{FilesError, shown};
use crate::platform::Blob;

/// Longest header, bytes: the format's own limit.
pub const HEADER_LIMIT: u64 = 100_000_000;

/// Element type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the format's names say it")]
pub enum FileDType {
    F64,
    F32,
    F16,
    BF16,
    F8E5M2,
    F8E4M3,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl FileDType {
    /// Every type, its name in files, and its bytes.
    const ALL: [(Self, &'static str, u64); 15] = [
        (Self::F64, "F64", 8),
        (Self::F32, "F32", 4),
        (Self::F16, "F16", 2),
        (Self::BF16, "BF16", 2),
        (Self::F8E5M2, "F8_E5M2", 1),
        (Self::F8E4M3, "F8_E4M3", 1),
        (Self::I64, "I64", 8),
        (Self::I32, "I32", 4),
        (Self::I16, "I16", 2),
        (Self::I8, "I8", 1),
        (Self::U64, "U64", 8),
        (Self::U32, "U32", 4),
        (Self::U16, "U16", 2),
        (Self::U8, "U8", 1),
        (Self::Bool, "BOOL", 1),
    ];

    /// The type that files call `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|t| t.1 == name).map(|t| t.0)
    }

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        Self::ALL[self as usize].2
    }

    /// Are weights of this type read?
    #[must_use]
    pub fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Elements as f32; whole numbers up to 2^24 are exact. Nothing for a type that is not read.
    #[must_use]
    pub fn values(self, data: &[u8]) -> Option<Vec<f32>> {
        fn each<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            data.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
        }
        Some(match self {
            Self::F32 => each(data, f32::from_le_bytes),
            Self::F16 => each(data, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => each(data, |b| bf16::from_le_bytes(b).to_f32()),
            Self::I64 => each(data, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(data, |b| i32::from_le_bytes(b) as f32),
            Self::U32 => each(data, |b| u32::from_le_bytes(b) as f32),
            _ => return None,
        })
    }

    /// Values as elements of this type, one of weights.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            other => {
                assert_eq!(other, Self::F32, "weights are not written in this type");
                values.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
        }
    }
}

impl fmt::Display for FileDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: FileDType,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// First byte, from the file's start.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a safetensors file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Free texts.
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
///
/// # Errors
/// See [`read`].
pub fn of(name: &str, bytes: &[u8]) -> Result<Header, FilesError> {
    let len = text_len(name, bytes, bytes.len() as u64)?;
    check(parse(name, &bytes[8..8 + len])?, name, len as u64 + 8, bytes.len() as u64)
}

/// Bytes of the JSON, by the first bytes of a file of `len`.
fn text_len(name: &str, first: &[u8], len: u64) -> Result<usize, FilesError> {
    let Some(claimed) = first.first_chunk().copied().map(u64::from_le_bytes) else {
        return Err(FilesError::Short { file: shown(name), len });
    };
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

#[cfg(test)]
#[path = "header_tests.rs"]
pub(super) mod tests;
