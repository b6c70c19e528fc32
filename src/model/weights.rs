//! Weights of whole files in memory: f32, f16, bf16 and whole numbers by name.

use std::collections::BTreeMap;

use thiserror::Error;

use super::files::write::{self, NewTensor, PYTORCH};
use super::files::{FileDType, FilesError, Header, header};
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// Why a weights file cannot be used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum WeightsError {
    /// Not safetensors.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A type that Hive does not read.
    #[error("tensor {name} is {dtype}; f32, f16, bf16, i64, i32 and u32 are read")]
    Type { name: String, dtype: FileDType },
    /// A tensor is not there.
    #[error("tensor {name} is missing{hint}")]
    Missing { name: String, hint: String },
    /// A tensor has another shape.
    #[error("tensor {name} has shape {have:?}, {need:?} is expected from config.json")]
    Shape { name: String, have: Vec<usize>, need: Vec<usize> },
}

/// A tensor on the host: shape, and values as f32 (whole numbers up to 2^24 are exact).
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HostTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type HostTensors = BTreeMap<String, HostTensor>;

/// What a file without a name is called in sentences.
const FILE: &str = "the file";

/// All tensors of a safetensors file.
///
/// # Errors
/// A damaged file, or a type that is not read. Tensors of plain bytes are no weights; see [`attachments`].
pub fn parse(bytes: &[u8]) -> Result<HostTensors, WeightsError> {
    tensors(&header_of(bytes)?, bytes)
}

/// The header of a file.
///
/// # Errors
/// A damaged file.
pub fn header_of(bytes: &[u8]) -> Result<Header, FilesError> {
    header::of(FILE, bytes)
}

/// The tensors of a file with this header, but for plain bytes.
///
/// # Errors
/// A type that is not read.
pub fn tensors(header: &Header, bytes: &[u8]) -> Result<HostTensors, WeightsError> {
    let weights = parts(header, bytes).filter(|(_, dtype, ..)| *dtype != FileDType::U8);
    weights
        .map(|(name, dtype, shape, data)| {
            let values = dtype.values(data).ok_or_else(|| WeightsError::Type { name: name.clone(), dtype })?;
            Ok((name.clone(), HostTensor { shape: shape.clone(), values }))
        })
        .collect()
}

/// Plain bytes that a file carries beside its weights (tensors of type U8), by name.
#[must_use]
pub fn attachments(header: &Header, bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let plain = parts(header, bytes).filter(|(_, dtype, ..)| *dtype == FileDType::U8);
    plain.map(|(name, .., data)| (name.clone(), data.to_vec())).collect()
}

/// Name, type, shape and bytes of every tensor.
fn parts<'a>(
    header: &'a Header,
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a String, FileDType, &'a Vec<usize>, &'a [u8])> {
    let part = |start: u64, len: u64| &bytes[start as usize..][..len as usize];
    header.tensors.iter().map(move |(name, t)| (name, t.dtype, &t.shape, part(t.start, t.bytes)))
}

/// The values that `specs` ask for, checked by name and shape; further tensors are listed in the second part.
///
/// # Errors
/// The first tensor that is missing or of another shape.
pub fn select(mut tensors: HostTensors, specs: &[ParamSpec]) -> Result<(Weights, Vec<String>), WeightsError> {
    let mut weights = Weights::new();
    for spec in specs {
        let Some(t) = tensors.remove(&spec.name) else {
            let near = tensors.keys().min_by_key(|k| distance(k, &spec.name));
            let hint = near.map_or(String::new(), |k| format!("; the nearest name in the file is {k}"));
            return Err(WeightsError::Missing { name: spec.name.clone(), hint });
        };
        if t.shape != spec.shape {
            return Err(WeightsError::Shape { name: spec.name.clone(), have: t.shape, need: spec.shape.clone() });
        }
        weights.insert(spec.name.clone(), t.values);
    }
    Ok((weights, tensors.into_keys().collect()))
}

/// Number of characters that differ, by common prefix and suffix: enough to find a near name.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let prefix = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let suffix = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    (a.len() + b.len()).saturating_sub(2 * (prefix + suffix).min(a.len().min(b.len())))
}

/// Element type to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Four bytes, exact.
    F32,
    /// Two bytes.
    F16,
}

impl Precision {
    /// A tensor to be written.
    #[must_use]
    pub fn tensor(self, name: &str, shape: &[usize], values: &[f32]) -> NewTensor {
        let dtype = match self {
            Self::F32 => FileDType::F32,
            Self::F16 => FileDType::F16,
        };
        NewTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes: dtype.encode(values) }
    }
}

/// A safetensors file of `tensors` (name, shape, values).
#[must_use]
pub fn write(tensors: &[(String, Vec<usize>, &[f32])], precision: Precision) -> Vec<u8> {
    write::file(PYTORCH, tensors.iter().map(|(name, shape, values)| precision.tensor(name, shape, values)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_named_errors() {
        let values = [1.0, -2.5, 3.25, 0.0, 7.0, 8.0];
        let bytes = write(&[("a.weight".into(), vec![2, 3], &values)], Precision::F32);
        let tensors = parse(&bytes).unwrap();
        assert_eq!(tensors["a.weight"].values, values);
        let spec = |name: &str, shape: &[usize]| [ParamSpec { name: name.into(), shape: shape.into() }];
        assert!(select(tensors.clone(), &spec("b.weight", &[2, 3])).unwrap_err().to_string().contains("a.weight"));
        assert!(select(tensors, &spec("a.weight", &[3, 2])).unwrap_err().to_string().contains("[2, 3]"));
        assert!(matches!(parse(&bytes[..bytes.len() - 1]), Err(WeightsError::Files(_))));
        assert!(matches!(parse(&[]), Err(WeightsError::Files(_))));
    }
}
