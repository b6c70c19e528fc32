//! Global gradient norm and clipping factor, without a readback. See `docs/MATH.md#sum_squares`.

use super::case::{Array, Built, Case};
use super::lanes;
use crate::gpu::kernels::sum_squares as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// partials\[first ..\] = squared norms of the chunks (n, 2: start, length) of slab x.
#[track_caller]
pub fn partial(r: &mut Recorder, chunks: &Tensor, x: &Tensor, partials: &Tensor, first: usize) {
    let count = chunks.shape().rows();
    assert!(first + count <= partials.shape().len(), "sum_squares: {count} chunks from {first} into {partials:?}");
    let params =
        k::Params { chunks: count as u32, first: first as u32, partials: partials.shape().len() as u32, max_norm: 0.0 };
    let lanes = ("WG", lanes(r) as f64);
    r.dispatch(&k::PARTIAL, &[lanes], &params, &[chunks, x, partials], Recorder::fold(count));
}

/// clip (3) = factor, norm, finite. `max_norm` 0: no clipping.
#[track_caller]
pub fn clip(r: &mut Recorder, partials: &Tensor, max_norm: f32, clip: &Tensor) {
    let params = k::Params { chunks: 0, first: 0, partials: partials.shape().len() as u32, max_norm };
    let lanes = ("WG", lanes(r) as f64);
    r.dispatch(&k::CLIP, &[lanes], &params, &[partials, clip], [1, 1, 1]);
}

/// Plain f64 loops.
pub mod oracle {
    /// Factor, norm, finite.
    #[must_use]
    pub fn clip(x: &[f64], max_norm: f64) -> Vec<f64> {
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        let factor = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        vec![factor, norm, 1.0]
    }
}

/// Clipped, not clipped, unlimited; chunks of unequal length.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(1, 1, 0.5), (1000, 7, 0.5), (70_000, 333, 1e9), (129, 129, 0.0)]
        .map(|(count, chunk, max_norm)| {
            let table: Vec<u32> =
                (0..count).step_by(chunk).flat_map(|s| [s as u32, chunk.min(count - s) as u32]).collect();
            let n = table.len() / 2;
            Case {
                name: format!("count={count} chunk={chunk} max={max_norm}"),
                inputs: vec![Array::random(&[count], 1), Array::whole(&[n, 2], &table)],
                wrt: vec![],
                record: Box::new(move |r, x, _| {
                    let (partials, out) = (r.alloc([n], "partials"), r.alloc([3], "clip"));
                    partial(r, &x[1], &x[0], &partials, 0);
                    clip(r, &partials, max_norm, &out);
                    Built { outs: vec![out], grads: vec![] }
                }),
                forward: Box::new(move |x| vec![oracle::clip(&x[0], f64::from(max_norm))]),
                backward: None,
                tolerance: 1e-5,
            }
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[Sabotage { kernel: "sum_squares/clip", find: "min(1.0, ", replace: "max(1.0, " }];
