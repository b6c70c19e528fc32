//! Pictures that questions are about.

use std::fmt;
use std::sync::Arc;

/// Where a picture comes from. As text: its name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Origin {
    /// The held-out split of the data, by index.
    HeldOut(u64),
    /// A file, by its name.
    File(String),
    Pasted,
    Drawing,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldOut(index) => write!(f, "held-out {index}"),
            Self::File(name) => f.write_str(name),
            Self::Pasted => f.write_str("pasted picture"),
            Self::Drawing => f.write_str("drawing"),
        }
    }
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Where it comes from.
    pub origin: Origin,
    /// (3, S, S), -1 to 1, S of the model that sees it.
    pub pixels: Arc<Vec<f32>>,
    /// Right answer to the question it came with, if known.
    pub right: Option<(String, String)>,
}

impl Picture {
    /// With no question of its own.
    #[must_use]
    pub fn new(origin: Origin, pixels: Vec<f32>) -> Self {
        Self { origin, pixels: Arc::new(pixels), right: None }
    }

    /// Its index in the held-out split, if it comes from there.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        if let Origin::HeldOut(index) = self.origin { Some(index) } else { None }
    }
}
