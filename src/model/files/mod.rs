//! Folders with Hugging Face's files: what `save_pretrained` writes and model hubs hand out. Headers, configurations
//! and names are read here; tensors stay in their files until somebody asks for their bytes.
//!
//! Files are not trusted: whatever they contain, the answer is a sentence, and nothing is allocated for bytes that a
//! file only claims to have.

pub mod config;
mod dtype;
mod error;
mod families;
mod family;
pub mod folder;
pub mod header;
mod json;
pub mod names;
mod preprocess;
pub mod write;

pub use config::ModelSpec;
pub use dtype::FileDType;
pub use error::FilesError;
pub(crate) use error::cut;
pub use family::Family;
pub use folder::{Checkpoint, Folder, Place};
pub use header::{Header, TensorInfo};
pub use names::{Found, Resolved, blocks_of, canonical, resolve};
pub use preprocess::recipe;
