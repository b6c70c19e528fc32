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
mod packed_cases;
pub mod patchify;
pub mod place;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod splice;
pub mod sum_squares;
pub mod swiglu;
pub mod verify;

use crate::gpu::{Constant, Recorder, Sabotage};
use BlockKind::{DecoderLayer, Embedding, Head, Link, LinkedLayer, Patches, Projector, TowerBlock, TowerNorm};
use case::Case;

/// A kind of block of a model: what its parts are called, and what an op serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// Picture to patch embeddings.
    Patches,
    /// A transformer block of the tower.
    TowerBlock,
    /// The tower's last norm.
    TowerNorm,
    /// A link: projector, image keys and values of one decoder layer.
    Link,
    /// The control's projector: image tokens into the text.
    Projector,
    /// Token embeddings.
    Embedding,
    /// A decoder layer that attends to text alone.
    DecoderLayer,
    /// A decoder layer whose attention is linked to the tower.
    LinkedLayer,
    /// Last norm, output head and loss.
    Head,
}

/// An op by name, with the function that makes its cases.
pub struct OpEntry {
    /// Folder name in `shaders/` and file stem in `src/ops/`.
    pub name: &'static str,
    /// Its cases.
    pub cases: fn() -> Vec<Case>,
    /// Faults that its cases must notice.
    pub sabotages: &'static [Sabotage],
    /// Blocks that it computes, forward or backward; none where it serves the model as a whole, or measurements.
    pub used_by: &'static [BlockKind],
    /// Why it has no backward, where it has none.
    pub no_gradient: Option<&'static str>,
}

impl OpEntry {
    const fn new(
        name: &'static str,
        cases: fn() -> Vec<Case>,
        sabotages: &'static [Sabotage],
        used_by: &'static [BlockKind],
    ) -> Self {
        Self { name, cases, sabotages, used_by, no_gradient: None }
    }

    const fn without_gradient(self, reason: &'static str) -> Self {
        Self { no_gradient: Some(reason), ..self }
    }
}

/// Every op of the project.
pub const ALL: &[OpEntry] = &[
    OpEntry::new(
        "matmul",
        matmul::cases,
        matmul::SABOTAGES,
        &[Patches, TowerBlock, Link, Projector, DecoderLayer, LinkedLayer, Head],
    ),
    OpEntry::new(
        "bias",
        bias::cases,
        bias::SABOTAGES,
        &[Patches, TowerBlock, Link, Projector, DecoderLayer, LinkedLayer],
    ),
    OpEntry::new("add", add::cases, add::SABOTAGES, &[]),
    OpEntry::new("layer_norm", layer_norm::cases, layer_norm::SABOTAGES, &[TowerBlock, TowerNorm, Link]),
    OpEntry::new("rms_norm", rms_norm::cases, rms_norm::SABOTAGES, &[Link, DecoderLayer, LinkedLayer, Head]),
    OpEntry::new("gelu", gelu::cases, gelu::SABOTAGES, &[TowerBlock, Link, Projector]),
    OpEntry::new("swiglu", swiglu::cases, swiglu::SABOTAGES, &[DecoderLayer, LinkedLayer]),
    OpEntry::new("rope", rope::cases, rope::SABOTAGES, &[Link, DecoderLayer, LinkedLayer]),
    OpEntry::new("attention", attention::cases, attention::SABOTAGES, &[TowerBlock, DecoderLayer, LinkedLayer]),
    OpEntry::new("embed", embed::cases, embed::SABOTAGES, &[Embedding]),
    OpEntry::new("packed", packed_cases::cases, packed_cases::SABOTAGES, &[])
        .without_gradient("packed weights are frozen"),
    OpEntry::new("gemv", gemv::cases, gemv::SABOTAGES, &[]).without_gradient("decoding only"),
    OpEntry::new("cached_attention", cached_attention::cases, cached_attention::SABOTAGES, &[])
        .without_gradient("decoding only"),
    OpEntry::new("patchify", patchify::cases, patchify::SABOTAGES, &[Patches])
        .without_gradient("pixels are never trained"),
    OpEntry::new("place", place::cases, place::SABOTAGES, &[])
        .without_gradient("pictures at many places of a text are read, not trained on"),
    OpEntry::new("sample", sample::cases, sample::SABOTAGES, &[]).without_gradient("decoding only"),
    OpEntry::new("splice", splice::cases, splice::SABOTAGES, &[Projector]),
    OpEntry::new("mean", mean::cases, mean::SABOTAGES, &[]),
    OpEntry::new("cross_entropy", cross_entropy::cases, cross_entropy::SABOTAGES, &[Head]),
    OpEntry::new("sum_squares", sum_squares::cases, sum_squares::SABOTAGES, &[]).without_gradient("works on gradients"),
    OpEntry::new("adamw", adamw::cases, adamw::SABOTAGES, &[]).without_gradient("works on gradients"),
];

/// Invocations per workgroup of element-wise and row kernels: one subgroup on a CPU driver, where barriers are costly.
pub(crate) fn lanes(r: &Recorder) -> usize {
    if r.gpu().is_software() { 8 } else { 64 }
}

/// An override that switches something on.
pub(crate) fn flag(name: &'static str, on: bool) -> Constant {
    (name, f64::from(u8::from(on)))
}

/// Grid and `WG` override of a kernel with one invocation per element.
pub(crate) fn elementwise(r: &Recorder, count: usize) -> ([usize; 3], Constant) {
    let lanes = if r.gpu().is_software() { 64 } else { 256 };
    (Recorder::fold(count.div_ceil(lanes)), ("WG", lanes as f64))
}

/// How a column sum over `rows` is cut: number of parts and rows per part.
pub(crate) fn parts(rows: usize) -> (usize, usize) {
    let per_part = rows.div_ceil(64).max(16);
    (rows.div_ceil(per_part), per_part)
}
