//! Adding a table to rows: biases and position embeddings. See `docs/MATH.md#bias`.

use super::case::{Array, Built, Case};
use super::{elementwise, parts};
use crate::gpu::kernels::bias as k;
use crate::gpu::{Dest, Recorder, Sabotage, Tensor};

/// y (R, C) = x (R, C) + table (P, C), row r taking table row r mod P.
#[track_caller]
pub fn forward(r: &mut Recorder, x: &Tensor, table: &Tensor) -> Tensor {
    let params = sizes(x, table);
    let y = r.alloc(x.shape().dims(), "biased");
    let (groups, lanes) = elementwise(r, x.shape().len());
    r.dispatch(&k::ADD, &[lanes], &params, &[x, table, &y], groups);
    y
}

/// dtable (P, C) = or += the sum of dy (R, C) over the rows of each class; two stages in fixed order.
#[track_caller]
pub fn backward(r: &mut Recorder, dy: &Tensor, dtable: Dest<'_>) {
    let mut params = sizes(dy, dtable.tensor());
    let (chunks, per_chunk) = parts((params.rows / params.period) as usize);
    (params.chunks, params.per_chunk) = (chunks as u32, per_chunk as u32);
    let width = dtable.tensor().shape().len();
    let partial = r.alloc([chunks, width], "partial sums");
    let (groups, lanes) = elementwise(r, chunks * width);
    r.dispatch(&k::PARTIAL_SUMS, &[lanes], &params, &[dy, &partial], groups);
    total(r, &partial, dtable);
}

/// dtable = or += the sum over the first axis of partial (chunks, ...).
#[track_caller]
pub fn total(r: &mut Recorder, partial: &Tensor, dtable: Dest<'_>) {
    let width = dtable.tensor().shape().len();
    let chunks = partial.shape().len() / width;
    let params = k::Params { rows: 0, cols: width as u32, period: 1, chunks: chunks as u32, per_chunk: 0 };
    let (groups, lanes) = elementwise(r, width);
    let constants = [lanes, dtable.accumulate()];
    r.dispatch(&k::TOTAL, &constants, &params, &[partial, dtable.tensor()], groups);
}

#[track_caller]
fn sizes(x: &Tensor, table: &Tensor) -> k::Params {
    let (rows, cols, period) = (x.shape().rows(), table.shape().cols(), table.shape().rows());
    assert!(x.shape().cols() == cols && rows.is_multiple_of(period), "bias: {x:?} and {table:?}");
    k::Params { rows: rows as u32, cols: cols as u32, period: period as u32, chunks: 0, per_chunk: 0 }
}

/// Plain f64 loops.
pub mod oracle {
    /// `y[i] = x[i] + table[i mod len]`.
    #[must_use]
    pub fn forward(x: &[f64], table: &[f64]) -> Vec<f64> {
        x.iter().enumerate().map(|(i, v)| v + table[i % table.len()]).collect()
    }

    /// dtable of `len` elements.
    #[must_use]
    pub fn backward(dy: &[f64], len: usize) -> Vec<f64> {
        let mut d = vec![0.0; len];
        dy.iter().enumerate().for_each(|(i, v)| d[i % len] += v);
        d
    }
}

/// Biases and position tables; the gradient adds to what is there.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(6, 8, 1), (1, 1, 1), (35, 13, 7), (2000, 67, 1), (300, 5, 25)]
        .map(|(rows, cols, period)| Case {
            name: format!("R={rows} C={cols} P={period}"),
            inputs: vec![Array::random(&[rows, cols], 1), Array::random(&[period, cols], 2)],
            wrt: vec![1],
            record: Box::new(move |r, x, dout| {
                let y = forward(r, &x[0], &x[1]);
                let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
                let d = r.alloc([period, cols], "dtable");
                r.zero(&d);
                backward(r, &dy.reshaped([rows, cols]), Dest::Add(&d));
                Built { outs: vec![y], grads: vec![d] }
            }),
            forward: Box::new(|x| vec![oracle::forward(&x[0], &x[1])]),
            backward: Some(Box::new(|x, dy| vec![oracle::backward(&dy[0], x[1].len())])),
            tolerance: 1e-5,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "bias/total", find: "q < p.chunks", replace: "q < 1u" },
    Sabotage { kernel: "bias/add", find: "% p.period", replace: "% 1u" },
];
