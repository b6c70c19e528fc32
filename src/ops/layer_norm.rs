//! Layer norm over the last axis. See `docs/MATH.md#layer_norm`.
//!
//! y = (x - mean) rstd w + b. Used by the vision tower, the link projectors and the probes.

use super::bias::total;
use super::case::{Array, Built, Case};
use super::{elementwise, lanes, parts};
use crate::gpu::kernels::layer_norm as k;
use crate::gpu::{Dest, Recorder, Sabotage, Tensor};

/// What backward needs.
#[must_use]
pub struct Saved {
    x: Tensor,
    stats: Tensor,
}

/// y (R, C) from x (R, C), gain w (C) and bias b (C).
#[track_caller]
pub fn forward(r: &mut Recorder, x: &Tensor, w: &Tensor, b: &Tensor, eps: f32) -> (Tensor, Saved) {
    let (rows, cols) = (x.shape().rows(), x.shape().cols());
    assert!(w.shape().len() == cols && b.shape().len() == cols, "layer_norm: {x:?} with {w:?}, {b:?}");
    let y = r.alloc(x.shape().dims(), "normed");
    let stats = r.alloc([rows, 2], "mean and rstd");
    let params = k::Params { rows: rows as u32, cols: cols as u32, eps, chunks: 0, per_chunk: 0 };
    let lanes = ("WG", lanes(r) as f64);
    r.dispatch(&k::FORWARD, &[lanes], &params, &[x, w, b, &y, &stats], Recorder::fold(rows));
    (y, Saved { x: x.clone(), stats })
}

/// Gradients; a destination that nobody needs is `None` and costs nothing.
#[track_caller]
pub fn backward(
    r: &mut Recorder,
    saved: Saved,
    w: &Tensor,
    dy: &Tensor,
    dw_db: Option<(&Tensor, &Tensor)>,
    dx: Option<Dest<'_>>,
) {
    let Saved { x, stats } = saved;
    let (rows, cols) = (x.shape().rows(), x.shape().cols());
    let (chunks, per_chunk) = parts(rows);
    let params = k::Params {
        rows: rows as u32,
        cols: cols as u32,
        eps: 0.0,
        chunks: chunks as u32,
        per_chunk: per_chunk as u32,
    };
    if let Some((dw, db)) = dw_db {
        let (part_w, part_b) = (r.alloc([chunks, cols], "partial dw"), r.alloc([chunks, cols], "partial db"));
        let (groups, lanes) = elementwise(r, chunks * cols);
        r.dispatch(&k::BACKWARD_PARAMS, &[lanes], &params, &[dy, &x, &stats, &part_w, &part_b], groups);
        total(r, &part_w, Dest::Add(dw));
        total(r, &part_b, Dest::Add(db));
    }
    if let Some(dx) = dx {
        let constants = [("WG", lanes(r) as f64), dx.accumulate()];
        r.dispatch(&k::BACKWARD_X, &constants, &params, &[dy, &x, w, &stats, dx.tensor()], Recorder::fold(rows));
    }
}

/// Plain f64 loops.
pub mod oracle {
    /// Mean and reciprocal standard deviation of a row.
    fn stats(x: &[f64], eps: f64) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (mean, 1.0 / (var + eps).sqrt())
    }

    /// y.
    #[must_use]
    pub fn forward(x: &[f64], w: &[f64], b: &[f64], eps: f64) -> Vec<f64> {
        x.chunks(w.len())
            .flat_map(|row| {
                let (mean, rstd) = stats(row, eps);
                row.iter().zip(w).zip(b).map(move |((x, w), b)| (x - mean) * rstd * w + b)
            })
            .collect()
    }

    /// dx, dw, db.
    #[must_use]
    pub fn backward(x: &[f64], w: &[f64], dy: &[f64], eps: f64) -> Vec<Vec<f64>> {
        let c = w.len();
        let (mut dx, mut dw, mut db) = (Vec::new(), vec![0.0; c], vec![0.0; c]);
        for (row, dy) in x.chunks(c).zip(dy.chunks(c)) {
            let (mean, rstd) = stats(row, eps);
            let hat: Vec<f64> = row.iter().map(|v| (v - mean) * rstd).collect();
            let g: Vec<f64> = dy.iter().zip(w).map(|(d, w)| d * w).collect();
            let average = g.iter().sum::<f64>() / c as f64;
            let along = g.iter().zip(&hat).map(|(g, h)| g * h).sum::<f64>() / c as f64;
            for i in 0..c {
                dx.push(rstd * (g[i] - average - hat[i] * along));
                dw[i] += dy[i] * hat[i];
                db[i] += dy[i];
            }
        }
        vec![dx, dw, db]
    }
}

/// Textbook, prime, one row, more than a workgroup; and a row far from zero, where one-pass variances fail.
/// The input is used twice: its gradient is written, then added to.
#[must_use]
pub fn cases() -> Vec<Case> {
    const EPS: f32 = 1e-2;
    [(4, 8, 0.0), (13, 37, 0.0), (1, 5, 0.0), (70, 300, 0.0), (3, 64, 50.0)]
        .map(|(rows, cols, shift)| {
            let mut x = Array::random(&[rows, cols], 1);
            x.values.iter_mut().for_each(|v| *v += shift);
            Case {
                name: format!("R={rows} C={cols} mean={shift}"),
                inputs: vec![x, Array::random(&[cols], 2), Array::random(&[cols], 3)],
                wrt: vec![0, 1, 2],
                record: Box::new(move |r, x, dout| {
                    let [(y, saved), (again, saved_again)] = [(); 2].map(|()| forward(r, &x[0], &x[1], &x[2], EPS));
                    let [dy, dagain] = dout else { return Built { outs: vec![y, again], grads: vec![] } };
                    let (dx, dw, db) = (r.alloc([rows, cols], "dx"), r.alloc([cols], "dw"), r.alloc([cols], "db"));
                    [&dw, &db].into_iter().for_each(|t| r.zero(t));
                    backward(r, saved, &x[1], &dy.reshaped([rows, cols]), Some((&dw, &db)), Some(Dest::Write(&dx)));
                    backward(
                        r,
                        saved_again,
                        &x[1],
                        &dagain.reshaped([rows, cols]),
                        Some((&dw, &db)),
                        Some(Dest::Add(&dx)),
                    );
                    Built { outs: vec![y, again], grads: vec![dx, dw, db] }
                }),
                forward: Box::new(|x| vec![oracle::forward(&x[0], &x[1], &x[2], f64::from(EPS)); 2]),
                backward: Some(Box::new(|x, dy| {
                    let both: Vec<f64> = dy[0].iter().zip(&dy[1]).map(|(a, b)| a + b).collect();
                    oracle::backward(&x[0], &x[1], &both, f64::from(EPS))
                })),
                tolerance: 5e-5,
            }
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "layer_norm/forward", find: "+ p.eps", replace: "+ 2.0 * p.eps" },
    Sabotage { kernel: "layer_norm/backward_x", find: "- mean -", replace: "-" },
    Sabotage { kernel: "layer_norm/backward_params", find: "db += g", replace: "db = g" },
];
