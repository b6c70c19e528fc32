//! The self-test: every case on this adapter against its oracle, and the test of the test: broken kernels must be caught.

use super::case::Failure;
use super::{ALL, OpEntry};
use crate::gpu::{Gpu, GpuError, GpuOptions, Sabotage};

/// One fault per line of thought: accuracy, masking, edges, accumulation, reduction, order.
pub const SABOTAGES: &[(&str, Sabotage)] = &[
    ("layer_norm", Sabotage { kernel: "layer_norm/forward", find: "+ p.eps", replace: "+ 2.0 * p.eps" }),
    ("layer_norm", Sabotage { kernel: "layer_norm/backward_x", find: "- mean -", replace: "-" }),
    ("layer_norm", Sabotage { kernel: "layer_norm/backward_params", find: "db += g", replace: "db = g" }),
    ("rms_norm", Sabotage { kernel: "rms_norm/backward_x", find: "if ACCUMULATE", replace: "if !ACCUMULATE" }),
    (
        "rms_norm",
        Sabotage {
            kernel: "rms_norm/forward",
            find: "c < p.cols; c += WG) {\n            y",
            replace: "c < p.cols - 1u; c += WG) {\n            y",
        },
    ),
    ("matmul", Sabotage { kernel: "matmul/tile_nt", find: "k0 += 16u", replace: "k0 += 32u" }),
    ("matmul", Sabotage { kernel: "matmul/tile_tn", find: "row0 + ty * 4u", replace: "row0 + tx * 4u" }),
    ("matmul", Sabotage { kernel: "matmul/soft_nn", find: "let last = p.n - 1u;", replace: "let last = p.n - 2u;" }),
    ("matmul", Sabotage { kernel: "matmul/soft_tn_vec4", find: "c5 = fma(vec4(a1.y)", replace: "c5 = fma(vec4(a1.x)" }),
    ("matmul", Sabotage { kernel: "matmul/naive_nn", find: "if BIAS { v += bias[col]; }", replace: "v += 1e-3;" }),
    ("matmul", Sabotage { kernel: "matmul/transpose", find: "group.y * 8u + 8u", replace: "group.y * 8u + 7u" }),
    ("matmul", Sabotage { kernel: "matmul/broadcast", find: "(a1, 5u)", replace: "(a1, 4u)" }),
    ("bias", Sabotage { kernel: "bias/total", find: "q < p.chunks", replace: "q < 1u" }),
    ("bias", Sabotage { kernel: "bias/add", find: "% p.period", replace: "% 1u" }),
    ("add", Sabotage { kernel: "add/forward", find: "a[i] + b[i]", replace: "a[i] - b[i]" }),
    ("add", Sabotage { kernel: "add/forward", find: "if i < p.count", replace: "if i < p.count + 1u" }),
    ("gelu", Sabotage { kernel: "gelu/backward", find: "3.0 * CUBIC", replace: "2.0 * CUBIC" }),
    ("gelu", Sabotage { kernel: "gelu/forward", find: "v * ROOT_HALF", replace: "v * 0.7" }),
    ("swiglu", Sabotage { kernel: "swiglu/backward", find: "fma(g, 1.0 - s, 1.0)", replace: "1.0" }),
    ("rope", Sabotage { kernel: "rope/rotate", find: "v * turn.x + u * s", replace: "v * turn.x - u * s" }),
    ("attention", Sabotage { kernel: "attention/forward", find: "t >= row.offset", replace: "true" }),
    (
        "attention",
        Sabotage { kernel: "attention/backward_kv", find: "head < (g + 1u) * share", replace: "head < g * share + 1u" },
    ),
    ("attention", Sabotage { kernel: "attention/backward_q", find: "- stat.y", replace: "" }),
    ("attention", Sabotage { kernel: "attention/probabilities", find: "j < row.length", replace: "true" }),
    ("embed", Sabotage { kernel: "embed/scatter", find: "j < end", replace: "j < start + 1u" }),
    ("packed", Sabotage { kernel: "packed/pack_int4", find: "n < TRIES", replace: "n < 1u" }),
    (
        "packed",
        Sabotage {
            kernel: "packed/pack_f16",
            find: "at % 2u == 1u);\n        } else",
            replace: "false);\n        } else",
        },
    ),
    ("packed", Sabotage { kernel: "packed/pack_int4", find: "p.source == STORED", replace: "false" }),
    ("packed", Sabotage { kernel: "packed/pack_f32", find: "28u - 4u * (i % 2u)", replace: "28u" }),
    ("packed", Sabotage { kernel: "packed/unpack_int8", find: "k / 32u % 2u == 1u", replace: "false" }),
    ("packed", Sabotage { kernel: "packed/gather_f32", find: "let row = id - p.start", replace: "let row = id" }),
    ("gemv", Sabotage { kernel: "gemv/project_f16", find: "high * v[1]", replace: "high * v[0]" }),
    ("gemv", Sabotage { kernel: "gemv/project_int8", find: "% 64u >= 32u", replace: "% 64u >= 64u" }),
    ("gemv", Sabotage { kernel: "gemv/project_f32", find: "residual[n]", replace: "residual[row]" }),
    ("gemv", Sabotage { kernel: "gemv/project_int4", find: "c += SLICES", replace: "c += 2u * SLICES" }),
    ("gemv", Sabotage { kernel: "gemv/gated_int4", find: "2u * panel + 1u", replace: "2u * panel" }),
    ("gemv", Sabotage { kernel: "gemv/gated_f32", find: "g / (1.0 + exp(-g)) * up", replace: "g * up" }),
    ("cached_attention", Sabotage { kernel: "cached_attention/partial", find: "t >= rows[1]", replace: "t > rows[1]" }),
    (
        "cached_attention",
        Sabotage { kernel: "cached_attention/partial", find: "total = total * shrink +", replace: "total = total +" },
    ),
    ("cached_attention", Sabotage { kernel: "cached_attention/partial", find: "(which * p.text + t)", replace: "t" }),
    (
        "cached_attention",
        Sabotage { kernel: "cached_attention/partial", find: "first += CHUNK", replace: "first += 2u * CHUNK" },
    ),
    (
        "cached_attention",
        Sabotage { kernel: "cached_attention/combine", find: "exp(parts[origin].x - top)", replace: "1.0" },
    ),
    (
        "cached_attention",
        Sabotage {
            kernel: "cached_attention/combine",
            find: "s < p.splits; s++) {\n            let",
            replace: "s < 1u; s++) {\n            let",
        },
    ),
    (
        "sample",
        Sabotage { kernel: "sample/choose", find: "logits[token] = weights[token]", replace: "logits[token] *= 1.0" },
    ),
    ("sample", Sabotage { kernel: "sample/choose", find: "max(least, min_p)", replace: "least" }),
    ("sample", Sabotage { kernel: "sample/choose", find: "vec4<f32>(w > vec4<f32>())", replace: "w" }),
    ("sample", Sabotage { kernel: "sample/choose", find: "-f32(best)", replace: "f32(best)" }),
    ("sample", Sabotage { kernel: "sample/choose", find: "exp(logits[token] - top) / total", replace: "1.0 / total" }),
    ("patchify", Sabotage { kernel: "patchify/forward", find: "e % area / p.side", replace: "e % p.side" }),
    ("splice", Sabotage { kernel: "splice/join", find: "s >= o && s", replace: "s > o && s" }),
    ("mean", Sabotage { kernel: "mean/backward", find: "/ f32(p.rows)", replace: "" }),
    ("cross_entropy", Sabotage { kernel: "cross_entropy/scan", find: "old.y * exp(old.x - most)", replace: "old.y" }),
    (
        "cross_entropy",
        Sabotage { kernel: "cross_entropy/gradient", find: "target_word == 0xffffffffu", replace: "false" },
    ),
    ("sum_squares", Sabotage { kernel: "sum_squares/clip", find: "min(1.0, ", replace: "max(1.0, " }),
    ("adamw", Sabotage { kernel: "adamw/update", find: "rate[0] * p.decay", replace: "rate[1] * p.decay" }),
    ("adamw", Sabotage { kernel: "adamw/update", find: "&& clip[2] == 1.0", replace: "" }),
];

/// Outcome of one case.
#[derive(Debug)]
pub struct Outcome {
    /// Op.
    pub op: &'static str,
    /// Sizes in words.
    pub case: String,
    /// Worst error against the oracle, or what went wrong.
    pub parity: Result<f64, String>,
    /// Allowed error.
    pub tolerance: f64,
    /// Worst error of the oracle's gradients against finite differences.
    pub finite_difference: Option<f64>,
}

/// Largest error of finite differences.
pub const DIFFERENCE_TOLERANCE: f64 = 1e-6;

impl Outcome {
    /// Did everything hold?
    #[must_use]
    pub fn passed(&self) -> bool {
        self.parity.is_ok() && self.finite_difference.is_none_or(|e| e <= DIFFERENCE_TOLERANCE)
    }
}

/// The first case of every op, which is a small one: a self-test of seconds.
#[must_use]
pub fn first_cases() -> Vec<(&'static str, super::case::Case)> {
    ALL.iter().filter_map(|op| Some((op.name, (op.cases)().into_iter().next()?))).collect()
}

/// All cases of all ops.
#[must_use]
pub fn all_cases() -> Vec<(&'static str, super::case::Case)> {
    ALL.iter().flat_map(|op| (op.cases)().into_iter().map(|case| (op.name, case))).collect()
}

/// Runs all cases of the ops whose name contains `filter`, telling each outcome as it comes.
///
/// # Errors
/// A lost device.
pub async fn run(gpu: &Gpu, filter: &str, mut tell: impl FnMut(&Outcome)) -> Result<Vec<Outcome>, GpuError> {
    let mut outcomes = Vec::new();
    for op in ALL.iter().filter(|op| op.name.contains(filter)) {
        for case in (op.cases)() {
            let parity = match case.parity(gpu).await {
                Ok(error) => Ok(error),
                Err(Failure::Wrong(text)) => Err(text),
                Err(Failure::Gpu(e)) => return Err(e),
            };
            let finite_difference = case.finite_difference();
            let outcome =
                Outcome { op: op.name, tolerance: case.tolerance, case: case.name, parity, finite_difference };
            tell(&outcome);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// Can this adapter run the kernel? All but one are portable; that one is an optimisation with a portable twin.
#[must_use]
pub fn runs_on(gpu: &Gpu, kernel: &str) -> bool {
    kernel != crate::gpu::kernels::matmul::BROADCAST.name || gpu.subgroup == Some(8)
}

/// Is this fault noticed? Runs the op's cases on a device whose kernel is broken.
///
/// # Errors
/// No device.
pub async fn caught(options: &GpuOptions, op: &str, fault: &Sabotage) -> Result<bool, GpuError> {
    let gpu = Gpu::new(&GpuOptions { sabotage: vec![fault.clone()], ..options.clone() }).await?;
    for OpEntry { cases, .. } in ALL.iter().filter(|o| o.name == op) {
        for case in cases() {
            if case.parity(&gpu).await.is_err() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
