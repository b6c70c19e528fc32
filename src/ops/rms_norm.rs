//! RMS norm over the last axis. See `docs/MATH.md#rms_norm`.
//!
//! y = x rstd w. Used by the language model and, head by head, on queries and keys of linked layers.

use super::bias::total;
use super::case::{Array, Built, Case};
use super::{elementwise, lanes, parts};
use crate::gpu::kernels::rms_norm as k;
use crate::gpu::{Dest, Recorder, Sabotage, Tensor};

/// What backward needs.
#[must_use]
pub struct Saved {
    x: Tensor,
    stats: Tensor,
}

/// Is a row so short that one lane takes it? A workgroup's sum would take longer than the row.
fn is_short(cols: usize) -> bool {
    cols <= 64 && cols.is_multiple_of(4)
}

/// y (R, C) from x (..., C) with R * C elements and gain w (C). The shape of x is kept; C is the width of w, so that
/// the heads of a row can be normed one by one.
#[track_caller]
pub fn forward(r: &mut Recorder, x: &Tensor, w: &Tensor, eps: f32) -> (Tensor, Saved) {
    let cols = w.shape().len();
    assert!(x.shape().cols().is_multiple_of(cols), "rms_norm: {x:?} with {w:?}");
    let rows = x.shape().len() / cols;
    let y = r.alloc(x.shape().dims(), "normed");
    let stats = r.alloc([rows], "rstd");
    let params = k::Params { rows: rows as u32, cols: cols as u32, eps, chunks: 0, per_chunk: 0 };
    let (kernel, (groups, lanes)) = match is_short(cols) {
        true => (&k::SHORT, elementwise(r, rows)),
        false => (&k::FORWARD, (Recorder::fold(rows), ("WG", lanes(r) as f64))),
    };
    r.dispatch(kernel, &[lanes], &params, &[x, w, &y, &stats], groups);
    (y, Saved { x: x.clone(), stats })
}

/// Gradients; a destination that nobody needs is `None` and costs nothing.
#[track_caller]
pub fn backward(r: &mut Recorder, saved: Saved, w: &Tensor, dy: &Tensor, dw: Option<&Tensor>, dx: Option<Dest<'_>>) {
    let Saved { x, stats } = saved;
    let cols = w.shape().len();
    let rows = x.shape().len() / cols;
    let (chunks, per_chunk) = parts(rows);
    let params = k::Params {
        rows: rows as u32,
        cols: cols as u32,
        eps: 0.0,
        chunks: chunks as u32,
        per_chunk: per_chunk as u32,
    };
    if let Some(dw) = dw {
        let partial = r.alloc([chunks, cols], "partial dw");
        let (groups, lanes) = elementwise(r, chunks * cols);
        r.dispatch(&k::BACKWARD_PARAMS, &[lanes], &params, &[dy, &x, &stats, &partial], groups);
        total(r, &partial, Dest::Add(dw));
    }
    if let Some(dx) = dx {
        let (kernel, (groups, lanes)) = match is_short(cols) {
            true => (&k::SHORT_BACKWARD_X, elementwise(r, rows)),
            false => (&k::BACKWARD_X, (Recorder::fold(rows), ("WG", lanes(r) as f64))),
        };
        let constants = [lanes, dx.accumulate()];
        r.dispatch(kernel, &constants, &params, &[dy, &x, w, &stats, dx.tensor()], groups);
    }
}

/// Plain f64 loops.
pub mod oracle {
    fn rstd(x: &[f64], eps: f64) -> f64 {
        1.0 / (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + eps).sqrt()
    }

    /// y.
    #[must_use]
    pub fn forward(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
        x.chunks(w.len())
            .flat_map(|row| {
                let s = rstd(row, eps);
                row.iter().zip(w).map(move |(x, w)| x * s * w)
            })
            .collect()
    }

    /// dx, dw.
    #[must_use]
    pub fn backward(x: &[f64], w: &[f64], dy: &[f64], eps: f64) -> Vec<Vec<f64>> {
        let c = w.len();
        let (mut dx, mut dw) = (Vec::new(), vec![0.0; c]);
        for (row, dy) in x.chunks(c).zip(dy.chunks(c)) {
            let s = rstd(row, eps);
            let along = (0..c).map(|i| dy[i] * w[i] * row[i] * s).sum::<f64>() / c as f64;
            for i in 0..c {
                dx.push(s * (dy[i] * w[i] - row[i] * s * along));
                dw[i] += dy[i] * row[i] * s;
            }
        }
        vec![dx, dw]
    }
}

/// Textbook, heads of a row, the longest short row, prime, one, more than a workgroup. The input is used twice: its gradient is written, then added
/// to.
#[must_use]
pub fn cases() -> Vec<Case> {
    const EPS: f32 = 1e-2;
    [(4, 8, 1), (6, 16, 4), (70, 64, 2), (13, 37, 1), (1, 1, 1), (70, 300, 1)]
        .map(|(rows, cols, heads)| Case {
            name: format!("R={rows} C={cols} heads={heads}"),
            inputs: vec![Array::random(&[rows, heads * cols], 1), Array::random(&[cols], 2)],
            wrt: vec![0, 1],
            record: Box::new(move |r, x, dout| {
                let [(y, saved), (again, saved_again)] = [(); 2].map(|()| forward(r, &x[0], &x[1], EPS));
                let [dy, dagain] = dout else { return Built { outs: vec![y, again], grads: vec![] } };
                let (dx, dw) = (r.alloc(x[0].shape().dims(), "dx"), r.alloc([cols], "dw"));
                r.zero(&dw);
                backward(r, saved, &x[1], dy, Some(&dw), Some(Dest::Write(&dx)));
                backward(r, saved_again, &x[1], dagain, Some(&dw), Some(Dest::Add(&dx)));
                Built { outs: vec![y, again], grads: vec![dx, dw] }
            }),
            forward: Box::new(|x| vec![oracle::forward(&x[0], &x[1], f64::from(EPS)); 2]),
            backward: Some(Box::new(|x, dy| {
                let both: Vec<f64> = dy[0].iter().zip(&dy[1]).map(|(a, b)| a + b).collect();
                oracle::backward(&x[0], &x[1], &both, f64::from(EPS))
            })),
            tolerance: 5e-5,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "rms_norm/backward_x", find: "if ACCUMULATE", replace: "if !ACCUMULATE" },
    Sabotage { kernel: "rms_norm/short", find: "f32(p.cols) + p.eps", replace: "f32(p.cols)" },
    Sabotage { kernel: "rms_norm/short_backward_x", find: "x[at + i] * rstd * along", replace: "x[at + i] * along" },
    Sabotage {
        kernel: "rms_norm/forward",
        find: "c < p.cols; c += WG) {\n            y",
        replace: "c < p.cols - 1u; c += WG) {\n            y",
    },
];
