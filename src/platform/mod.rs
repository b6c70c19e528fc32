//! L0: the only home of `cfg(target_arch)`. Files, clock, tasks: the same names on both platforms.

mod mirror;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
mod web_mirror;

pub use mirror::{MirrorChange, MirrorNode};
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(target_arch = "wasm32")]
pub use web::*;
#[cfg(target_arch = "wasm32")]
pub use web_mirror::*;
