//! Rows of pictures at many places of a prompt. See `docs/MATH.md#place`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::place as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// Rows that a row of a picture is blended of.
pub const TAPS: usize = 4;

/// (R, C): rows of x (R, C), and where the first of `taps` (R, 4) is a row of `image` (M, C), those rows by `weights` (R, 4).
#[track_caller]
pub fn forward(r: &mut Recorder, taps: &Tensor, weights: &Tensor, x: &Tensor, image: &Tensor) -> Tensor {
    let (rows, cols) = (x.shape().rows(), x.shape().cols());
    assert!(taps.shape().len() == TAPS * rows && image.shape().cols() == cols, "place: {taps:?}, {x:?}, {image:?}");
    let y = r.alloc([rows, cols], "placed");
    let (groups, lanes) = elementwise(r, rows * cols);
    let params = k::Params { rows: rows as u32, image: image.shape().rows() as u32, cols: cols as u32 };
    r.dispatch(&k::FORWARD, &[lanes], &params, &[taps, weights, x, image, &y], groups);
    y
}

/// Plain f64 loops.
pub mod oracle {
    use super::TAPS;

    /// The placed rows.
    #[must_use]
    pub fn forward(taps: &[f64], weights: &[f64], x: &[f64], image: &[f64], cols: usize) -> Vec<f64> {
        let mut y = x.to_vec();
        let all = taps.chunks(TAPS).zip(weights.chunks(TAPS)).zip(y.chunks_mut(cols));
        for ((taps, weights), y) in all.filter(|((taps, _), _)| (taps[0] as usize) < image.len() / cols) {
            y.fill(0.0);
            for (tap, weight) in taps.iter().zip(weights) {
                y.iter_mut().zip(&image[*tap as usize * cols..]).for_each(|(y, x)| *y += weight * x);
            }
        }
        y
    }
}

/// Text before, between and after; nothing but text; one row.
#[must_use]
pub fn cases() -> Vec<Case> {
    let text = u32::MAX;
    let all: [(usize, usize, Vec<u32>); 3] =
        [(7, 5, vec![text, 0, 6, text, 3, 2, text]), (3, 37, vec![text; 4]), (1, 1, vec![0])];
    all.map(|(image, cols, first)| {
        let rows = first.len();
        let taps: Vec<u32> = first
            .iter()
            .flat_map(|f| (0..TAPS as u32).map(move |k| if *f == text { *f } else { (f + k) % image as u32 }))
            .collect();
        Case {
            name: format!("R={rows} M={image} C={cols}"),
            inputs: vec![
                Array::whole(&[rows, TAPS], &taps),
                Array::random(&[rows, TAPS], 1),
                Array::random(&[rows, cols], 2),
                Array::random(&[image, cols], 3),
            ],
            wrt: vec![],
            record: Box::new(|r, x, _| Built { outs: vec![forward(r, &x[0], &x[1], &x[2], &x[3])], grads: vec![] }),
            forward: Box::new(move |x| vec![oracle::forward(&x[0], &x[1], &x[2], &x[3], cols)]),
            backward: None,
            tolerance: 1e-6,
        }
    })
    .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] =
    &[Sabotage { kernel: "place/forward", find: "taps[4u * r + k], p", replace: "taps[4u * r], p" }];
