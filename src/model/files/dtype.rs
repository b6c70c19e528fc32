//! Element types of tensors in files.

use std::fmt;

use half::{bf16, f16};

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
    pub(super) const ALL: [(Self, &'static str, u64); 15] = [
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

    /// Whether NaN or infinity is among the numbers of a weight: their exponents are all ones.
    pub(super) fn has_no_number(self, data: &[u8]) -> bool {
        let halves = |mask: u16| {
            let wrong = |c: &[u8; 2]| u16::from_le_bytes(*c) & mask == mask;
            data.as_chunks().0.iter().fold(false, |any, c| any | wrong(c))
        };
        match self {
            Self::F32 => data.as_chunks().0.iter().fold(false, |any, c| any | !f32::from_le_bytes(*c).is_finite()),
            Self::F16 => halves(0x7c00),
            Self::BF16 => halves(0x7f80),
            _ => false,
        }
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
