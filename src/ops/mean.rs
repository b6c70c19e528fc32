//! Mean over the rows of each sample (the linear probe's pooling). See `docs/MATH.md#mean`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::mean as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// (B, C) from x (B, N, C).
#[track_caller]
pub fn forward(r: &mut Recorder, x: &Tensor, batch: usize) -> Tensor {
    let (params, y) = (sizes(x, batch), r.alloc([batch, x.shape().cols()], "mean"));
    let (groups, lanes) = elementwise(r, y.shape().len());
    r.dispatch(&k::FORWARD, &[lanes], &params, &[x, &y], groups);
    y
}

/// dx (B, N, C) from dy (B, C), shaped as `x`.
#[track_caller]
pub fn backward(r: &mut Recorder, x: &Tensor, dy: &Tensor) -> Tensor {
    let (params, dx) = (sizes(x, dy.shape().rows()), r.alloc(x.shape().dims(), "dmean"));
    let (groups, lanes) = elementwise(r, dx.shape().len());
    r.dispatch(&k::BACKWARD, &[lanes], &params, &[dy, &dx], groups);
    dx
}

#[track_caller]
fn sizes(x: &Tensor, batch: usize) -> k::Params {
    assert!(x.shape().rows().is_multiple_of(batch), "mean: {x:?} in {batch} samples");
    k::Params { groups: batch as u32, rows: (x.shape().rows() / batch) as u32, cols: x.shape().cols() as u32 }
}

/// Plain f64 loops.
pub mod oracle {
    /// Means.
    #[must_use]
    pub fn forward(x: &[f64], batch: usize, cols: usize) -> Vec<f64> {
        let rows = x.len() / batch / cols;
        let mut y = vec![0.0; batch * cols];
        x.iter().enumerate().for_each(|(i, v)| y[i / (rows * cols) * cols + i % cols] += v / rows as f64);
        y
    }

    /// dx of `len` elements.
    #[must_use]
    pub fn backward(dy: &[f64], cols: usize, len: usize) -> Vec<f64> {
        let rows = len / dy.len();
        (0..len).map(|i| dy[i / (rows * cols) * cols + i % cols] / rows as f64).collect()
    }
}

/// One, prime, more than a workgroup.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(2, 5, 8), (1, 1, 1), (3, 37, 101)]
        .map(|(batch, rows, cols)| Case {
            name: format!("B={batch} N={rows} C={cols}"),
            inputs: vec![Array::random(&[batch * rows, cols], 1)],
            wrt: vec![0],
            record: Box::new(move |r, x, dout| {
                let y = forward(r, &x[0], batch);
                let grads = dout.iter().map(|dy| backward(r, &x[0], &dy.reshaped([batch, cols]))).collect();
                Built { outs: vec![y], grads }
            }),
            forward: Box::new(move |x| vec![oracle::forward(&x[0], batch, cols)]),
            backward: Some(Box::new(move |x, dy| vec![oracle::backward(&dy[0], cols, x[0].len())])),
            tolerance: 1e-6,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[Sabotage { kernel: "mean/backward", find: "/ f32(p.rows)", replace: "" }];
