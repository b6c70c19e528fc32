//! L2: operations. One file per op with its launcher, its f64 oracle and its cases; the kernels are in `shaders/<op>/`.
//!
//! Gradient contract: *parameter gradients accumulate, activation gradients are written; a place that must add says
//! [`Dest::Add`](crate::gpu::Dest).*

pub mod adamw;
pub mod add;
pub mod attention;
pub mod bias;
pub mod blocks;
pub mod cached_attention;
pub mod case;
pub mod cross_entropy;
pub mod embed;
pub mod gelu;
pub mod gemv;
pub mod layer_norm;
pub mod matmul;
pub mod mean;
pub mod packed;
pub mod patchify;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod splice;
pub mod sum_squares;
pub mod swiglu;
pub mod verify;

use crate::gpu::{Gpu, Recorder};
use case::Case;

/// An op by name, with the function that makes its cases.
pub struct OpEntry {
    /// Folder name in `shaders/` and file stem in `src/ops/`.
    pub name: &'static str,
    /// Its cases.
    pub cases: fn() -> Vec<Case>,
    /// Why it has no backward, where it has none.
    pub no_gradient: Option<&'static str>,
}

/// Every op of the project.
pub const ALL: &[OpEntry] = &[
    OpEntry { name: "matmul", cases: matmul::cases, no_gradient: None },
    OpEntry { name: "bias", cases: bias::cases, no_gradient: None },
    OpEntry { name: "add", cases: add::cases, no_gradient: None },
    OpEntry { name: "layer_norm", cases: layer_norm::cases, no_gradient: None },
    OpEntry { name: "rms_norm", cases: rms_norm::cases, no_gradient: None },
    OpEntry { name: "gelu", cases: gelu::cases, no_gradient: None },
    OpEntry { name: "swiglu", cases: swiglu::cases, no_gradient: None },
    OpEntry { name: "rope", cases: rope::cases, no_gradient: None },
    OpEntry { name: "attention", cases: attention::cases, no_gradient: None },
    OpEntry { name: "embed", cases: embed::cases, no_gradient: None },
    OpEntry { name: "packed", cases: packed::cases, no_gradient: Some("packed weights are frozen") },
    OpEntry { name: "gemv", cases: gemv::cases, no_gradient: Some("decoding only") },
    OpEntry { name: "cached_attention", cases: cached_attention::cases, no_gradient: Some("decoding only") },
    OpEntry { name: "patchify", cases: patchify::cases, no_gradient: Some("pixels are never trained") },
    OpEntry { name: "sample", cases: sample::cases, no_gradient: Some("decoding only") },
    OpEntry { name: "splice", cases: splice::cases, no_gradient: None },
    OpEntry { name: "mean", cases: mean::cases, no_gradient: None },
    OpEntry { name: "cross_entropy", cases: cross_entropy::cases, no_gradient: None },
    OpEntry { name: "sum_squares", cases: sum_squares::cases, no_gradient: Some("works on gradients") },
    OpEntry { name: "adamw", cases: adamw::cases, no_gradient: Some("works on gradients") },
];

/// Invocations per workgroup of element-wise and row kernels: one subgroup on a CPU driver, where barriers are costly.
pub(crate) fn lanes(gpu: &Gpu) -> usize {
    if gpu.is_software() { 8 } else { 64 }
}

/// Grid and `WG` override of a kernel with one invocation per element.
pub(crate) fn elementwise(r: &Recorder, count: usize) -> ([usize; 3], (&'static str, f64)) {
    let lanes = if r.gpu().is_software() { 64 } else { 256 };
    (Recorder::fold(count.div_ceil(lanes)), ("WG", lanes as f64))
}

/// How a column sum over `rows` is cut: number of parts and rows per part.
pub(crate) fn parts(rows: usize) -> (usize, usize) {
    let per_part = rows.div_ceil(64).max(16);
    (rows.div_ceil(per_part), per_part)
}
