//! Parameters by number and by name.

/// Index of a parameter in its [`super::Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// Name (Hugging Face's where it has one) and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ParamSpec {
    pub name: String,
    pub shape: Vec<usize>,
}

impl ParamSpec {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// No elements at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `AdamW`'s weight decay touches matrices only: not biases, not norm gains.
    #[must_use]
    pub fn decays(&self) -> bool {
        self.name.ends_with("weight") && !self.name.contains("norm")
    }
}
