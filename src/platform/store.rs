//! What both sides of [`Store`](super::Store) tell.

use thiserror::Error;

/// Why a folder of fetched files refuses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StoreError {
    #[error("there is no room left")]
    Full,
    #[error("{0}")]
    Other(String),
}
