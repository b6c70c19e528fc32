//! L0: the only home of `cfg(target_arch)`. Files, clock, tasks: the same names on both platforms.

mod blob;
mod mirror;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod native_blob;
#[cfg(not(target_arch = "wasm32"))]
mod native_write;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
mod web_blob;
#[cfg(target_arch = "wasm32")]
mod web_mirror;

pub use blob::Blob;
pub use mirror::{MirrorChange, MirrorNode};
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(not(target_arch = "wasm32"))]
pub use native_blob::folder_blobs;
#[cfg(not(target_arch = "wasm32"))]
pub use native_write::{NewFile, NewFolder, free_bytes, real_path};
#[cfg(target_arch = "wasm32")]
pub use web::*;
#[cfg(target_arch = "wasm32")]
pub use web_mirror::*;
