//! L0: the only home of `cfg(target_arch)`. Files, clock, tasks: the same names on both platforms.

mod blob;
mod calendar;
mod http;
mod mirror;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod native_blob;
#[cfg(not(target_arch = "wasm32"))]
mod native_folder;
#[cfg(not(target_arch = "wasm32"))]
mod native_http;
#[cfg(not(target_arch = "wasm32"))]
mod native_lines;
#[cfg(not(target_arch = "wasm32"))]
mod native_partial;
#[cfg(not(target_arch = "wasm32"))]
mod native_run;
#[cfg(not(target_arch = "wasm32"))]
mod native_store;
#[cfg(not(target_arch = "wasm32"))]
mod native_work;
#[cfg(not(target_arch = "wasm32"))]
mod native_write;
mod store;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
mod web_blob;
#[cfg(target_arch = "wasm32")]
mod web_http;
#[cfg(target_arch = "wasm32")]
mod web_mirror;
#[cfg(target_arch = "wasm32")]
mod web_store;

pub use blob::Blob;
pub use calendar::LocalTime;
pub use http::{
    BrowserCache, ContentRange, HttpError, HttpRequest, HttpResponse, NetworkFile, Patience, Secret,
    http_send_patiently, is_confidential, origin_of,
};
pub use mirror::{MirrorChange, MirrorNode};
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(not(target_arch = "wasm32"))]
pub use native_folder::folder_blobs;
#[cfg(not(target_arch = "wasm32"))]
pub use native_http::*;
#[cfg(not(target_arch = "wasm32"))]
pub use native_lines::{Found, Lines};
#[cfg(not(target_arch = "wasm32"))]
pub use native_partial::Claim;
#[cfg(not(target_arch = "wasm32"))]
pub use native_run::{RunFolder, interrupted, watch_signals};
#[cfg(not(target_arch = "wasm32"))]
pub use native_store::*;
#[cfg(not(target_arch = "wasm32"))]
pub use native_work::{Scratch, in_order, in_parallel};
#[cfg(not(target_arch = "wasm32"))]
pub use native_write::{NewFile, NewFolder, free_bytes, real_path};
pub use store::StoreError;
#[cfg(target_arch = "wasm32")]
pub use web::*;
#[cfg(target_arch = "wasm32")]
pub use web_http::*;
#[cfg(target_arch = "wasm32")]
pub use web_mirror::*;
#[cfg(target_arch = "wasm32")]
pub use web_store::*;
