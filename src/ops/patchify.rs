//! Cutting images into patches (im2col), so that the patch embedding is a matrix product. See `docs/MATH.md#patchify`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::patchify as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// (B N, channels P P) from pixels (B, channels, S, S); elements of a patch in the order of a convolution weight. What is left
/// over at the right and below is not read, as a convolution without padding leaves it.
#[track_caller]
pub fn forward(r: &mut Recorder, pixels: &Tensor, patch: usize) -> Tensor {
    let &[images, channels, size, width] = pixels.shape().dims() else { panic!("patchify: {pixels:?}") };
    assert!(size == width && size >= patch, "patchify: {pixels:?} in patches of {patch}");
    let cells = (size / patch) * (size / patch);
    let y = r.alloc([images * cells, channels * patch * patch], "patches");
    let params = k::Params { images: images as u32, channels: channels as u32, size: size as u32, side: patch as u32 };
    let (groups, lanes) = elementwise(r, y.shape().len());
    r.dispatch(&k::FORWARD, &[lanes], &params, &[pixels, &y], groups);
    y
}

/// Plain f64 loops.
pub mod oracle {
    /// Patches of one batch.
    #[must_use]
    pub fn forward(x: &[f64], channels: usize, size: usize, patch: usize) -> Vec<f64> {
        let side = size / patch;
        let mut y = Vec::new();
        for image in x.chunks(channels * size * size) {
            for cell in 0..side * side {
                for c in 0..channels {
                    for u in 0..patch {
                        let row = (c * size + cell / side * patch + u) * size + cell % side * patch;
                        y.extend_from_slice(&image[row..row + patch]);
                    }
                }
            }
        }
        y
    }
}

/// Textbook, one, prime patches, pixels left over.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(2, 3, 20, 4), (1, 1, 1, 1), (3, 2, 21, 7), (1, 3, 48, 6), (2, 3, 31, 4)]
        .map(|(images, channels, size, patch)| Case {
            name: format!("B={images} channels={channels} S={size} P={patch}"),
            inputs: vec![Array::random(&[images, channels, size, size], 1)],
            wrt: vec![],
            record: Box::new(move |r, x, _| Built { outs: vec![forward(r, &x[0], patch)], grads: vec![] }),
            forward: Box::new(move |x| vec![oracle::forward(&x[0], channels, size, patch)]),
            backward: None,
            tolerance: 0.0,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] =
    &[Sabotage { kernel: "patchify/forward", find: "e % area / p.side", replace: "e % p.side" }];
