//! Why commands fail, and their exit codes.

use std::path::Path;

use thiserror::Error;

use crate::engine::Trouble;
use crate::engine::answers::assistant::ReplyError;
use crate::engine::answers::open::OpenError;
use crate::engine::assets::AssetError;
use crate::gpu::GpuError;
use crate::model::weights::WeightsError;
use crate::train::checkpoint::CheckpointError;
use crate::train::evaluate::EvaluateError;
use crate::train::recipe::PresetError;
use crate::train::study::StudyError;

/// Why a command failed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say what the fields are")]
pub enum Fault {
    #[error("{0}. See hive --help")]
    Usage(String),
    /// A check found something wrong; what was said already.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// A preset, weights or data of that name.
    #[error("{0}. See hive --help")]
    Asset(#[from] AssetError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Study(#[from] StudyError),
    /// Somebody wanted it: with this exit code.
    #[error("{1}")]
    Ended(u8, String),
    #[error("{what} {path}: {reason}")]
    File { what: &'static str, path: String, reason: String },
}

impl Fault {
    /// Wrong words.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// What another error says.
    pub(super) fn failed(e: impl std::error::Error) -> Self {
        Self::Failed(e.to_string())
    }

    pub(super) fn unreadable(path: &Path, e: &std::io::Error) -> Self {
        Self::File { what: "cannot read", path: path.display().to_string(), reason: e.to_string() }
    }

    pub(super) fn unwritable(path: &Path, e: &std::io::Error) -> Self {
        Self::File { what: "cannot write", path: path.display().to_string(), reason: e.to_string() }
    }

    /// Exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Ended(code, _) => *code,
            Self::Usage(_)
            | Self::Preset(_)
            | Self::Asset(_)
            | Self::Trouble(Trouble::Asset(_) | Trouble::Other(_)) => 2,
            Self::Gpu(
                GpuError::NoAdapter
                | GpuError::AdapterNotFound { .. }
                | GpuError::NoDevice { .. }
                | GpuError::LimitTooSmall { .. },
            ) => 3,
            _ => 1,
        }
    }
}
