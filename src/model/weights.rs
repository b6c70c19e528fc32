//! Reading and writing safetensors: f32, f16, bf16 and whole numbers by name.

use std::collections::BTreeMap;

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thiserror::Error;

use super::files::FileDType;
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// Why a weights file cannot be used.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// Not safetensors.
    #[error("not a usable safetensors file ({0}): it may be cut off or damaged. Copy or download it again")]
    Torn(String),
    /// A type that Hive does not read.
    #[error("tensor {name} is {dtype}; f32, f16, bf16, i64, i32 and u32 are read")]
    Type {
        /// Tensor name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor is not there.
    #[error("tensor {name} is missing{hint}")]
    Missing {
        /// Tensor name.
        name: String,
        /// The nearest name that is there.
        hint: String,
    },
    /// A tensor has another shape.
    #[error("tensor {name} has shape {have:?}, {need:?} is expected from config.json")]
    Shape {
        /// Tensor name.
        name: String,
        /// Shape in the file.
        have: Vec<usize>,
        /// Shape from the configuration.
        need: Vec<usize>,
    },
}

/// A tensor on the host: shape, and values as f32 (whole numbers up to 2^24 are exact).
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type HostTensors = BTreeMap<String, HostTensor>;

/// All tensors of a safetensors file.
///
/// # Errors
/// A damaged file, or a type that is not read. Tensors of plain bytes are no weights; see [`attachments`].
pub fn parse(bytes: &[u8]) -> Result<HostTensors, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| WeightsError::Torn(e.to_string()))?;
    file.tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() != Dtype::U8)
        .map(|(name, view)| {
            let values = floats(&name, &view)?;
            Ok((name, HostTensor { shape: view.shape().to_vec(), values }))
        })
        .collect()
}

/// Plain bytes that a file carries beside its weights (tensors of type U8), by name.
///
/// # Errors
/// A damaged file.
pub fn attachments(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| WeightsError::Torn(e.to_string()))?;
    let plain = file.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::U8);
    Ok(plain.map(|(name, view)| (name, view.data().to_vec())).collect())
}

fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, WeightsError> {
    let dtype = view.dtype().to_string();
    let values = FileDType::named(&dtype).and_then(|t| t.values(view.data()));
    values.ok_or_else(|| WeightsError::Type { name: name.to_owned(), dtype })
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
    /// The values' bytes in a file, and their type there.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> (Vec<u8>, Dtype) {
        match self {
            Self::F32 => (values.iter().flat_map(|v| v.to_le_bytes()).collect(), Dtype::F32),
            Self::F16 => (values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(), Dtype::F16),
        }
    }
}

/// A safetensors file of `tensors` (name, shape, values).
///
/// # Errors
/// As the safetensors crate says.
pub fn write(tensors: &[(String, Vec<usize>, &[f32])], precision: Precision) -> Result<Vec<u8>, WeightsError> {
    let bytes: Vec<(Vec<u8>, Dtype)> = tensors.iter().map(|(_, _, values)| precision.encode(values)).collect();
    let torn = |e: safetensors::SafeTensorError| WeightsError::Torn(e.to_string());
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), (data, dtype))| {
            Ok((name, TensorView::new(*dtype, shape.clone(), data).map_err(torn)?))
        })
        .collect::<Result<Vec<_>, WeightsError>>()?;
    safetensors::serialize(views, Some([("format".to_owned(), "pt".to_owned())].into())).map_err(torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_named_errors() {
        let values = [1.0, -2.5, 3.25, 0.0, 7.0, 8.0];
        let bytes = write(&[("a.weight".into(), vec![2, 3], &values)], Precision::F32).unwrap();
        let tensors = parse(&bytes).unwrap();
        assert_eq!(tensors["a.weight"].values, values);
        let spec = |name: &str, shape: &[usize]| [ParamSpec { name: name.into(), shape: shape.into() }];
        assert!(select(tensors.clone(), &spec("b.weight", &[2, 3])).unwrap_err().to_string().contains("a.weight"));
        assert!(select(tensors, &spec("a.weight", &[3, 2])).unwrap_err().to_string().contains("[2, 3]"));
        assert!(matches!(parse(&bytes[..bytes.len() - 1]), Err(WeightsError::Torn(_))));
        assert!(matches!(parse(&[]), Err(WeightsError::Torn(_))));
    }
}
