//! What both sides of [`Store`](super::Store) tell.

use thiserror::Error;

/// Why a folder of fetched files refuses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// No room left.
    #[error("there is no room left")]
    Full,
    /// The system's words.
    #[error("{0}")]
    Other(String),
}
