//! Token embeddings: gather, and its gradient without float atomics. See `docs/MATH.md#embed`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::embed as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// y (R, C) = table (V, C) rows by ids (R).
#[track_caller]
pub fn forward(r: &mut Recorder, ids: &Tensor, table: &Tensor) -> Tensor {
    let (rows, cols) = (ids.shape().len(), table.shape().cols());
    let y = r.alloc([rows, cols], "embedded");
    let (groups, lanes) = elementwise(r, rows * cols);
    let params = k::Params { rows: rows as u32, cols: cols as u32, vocab: table.shape().rows() as u32 };
    r.dispatch(&k::GATHER, &[lanes], &params, &[ids, table, &y], groups);
    y
}

/// dtable (V, C) += rows of dy (R, C); `order` and `segments` from [`sort`].
#[track_caller]
pub fn backward(r: &mut Recorder, segments: &Tensor, order: &Tensor, dy: &Tensor, dtable: &Tensor) {
    let (rows, cols) = (order.shape().len(), dtable.shape().cols());
    assert!(segments.shape().len() == 3 * rows && dy.shape().len() == rows * cols, "embed: {segments:?}, {dy:?}");
    let (groups, lanes) = elementwise(r, rows * cols);
    let params = k::Params { rows: rows as u32, cols: cols as u32, vocab: dtable.shape().rows() as u32 };
    r.dispatch(&k::SCATTER, &[lanes], &params, &[segments, order, dy, dtable], groups);
}

/// Positions sorted by id (stable), and segments (R, 3: id, start, end), unused ones empty.
///
/// ```
/// let (order, segments) = hive::ops::embed::sort(&[7, 3, 7]);
/// assert_eq!(order, [1, 0, 2]);
/// assert_eq!(segments, [3, 0, 1, 7, 1, 3, 0, 0, 0]);
/// ```
#[must_use]
pub fn sort(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&i| ids[i as usize]);
    let mut segments = Vec::with_capacity(3 * ids.len());
    let mut start = 0;
    for run in order.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]) {
        segments.extend([ids[run[0] as usize], start, start + run.len() as u32]);
        start += run.len() as u32;
    }
    segments.resize(3 * ids.len(), 0);
    (order, segments)
}

/// Plain f64 loops.
pub mod oracle {
    /// Rows of the table.
    #[must_use]
    pub fn forward(ids: &[f64], table: &[f64], cols: usize) -> Vec<f64> {
        ids.iter().flat_map(|&id| table[id as usize * cols..][..cols].to_vec()).collect()
    }

    /// dtable.
    #[must_use]
    pub fn backward(ids: &[f64], dy: &[f64], cols: usize, len: usize) -> Vec<f64> {
        let mut d = vec![0.0; len];
        for (row, &id) in ids.iter().enumerate() {
            (0..cols).for_each(|c| d[id as usize * cols + c] += dy[row * cols + c]);
        }
        d
    }
}

/// One, repeated ids, prime.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(1, 1, 1), (11, 8, 5), (97, 37, 13), (300, 64, 400)]
        .map(|(rows, cols, vocab)| {
            let ids: Vec<u32> = (0..rows as u32).map(|i| i * i * 7 % vocab as u32).collect();
            let (order, segments) = sort(&ids);
            Case {
                name: format!("R={rows} C={cols} V={vocab}"),
                inputs: vec![
                    Array::random(&[vocab, cols], 1),
                    Array::whole(&[rows], &ids),
                    Array::whole(&[rows, 3], &segments),
                    Array::whole(&[rows], &order),
                ],
                wrt: vec![0],
                record: Box::new(move |r, x, dout| {
                    let y = forward(r, &x[1], &x[0]);
                    let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
                    let d = r.alloc([vocab, cols], "dtable");
                    r.zero(&d);
                    backward(r, &x[2], &x[3], dy, &d);
                    Built { outs: vec![y], grads: vec![d] }
                }),
                forward: Box::new(move |x| vec![oracle::forward(&x[1], &x[0], cols)]),
                backward: Some(Box::new(move |x, dy| vec![oracle::backward(&x[1], &dy[0], cols, x[0].len())])),
                tolerance: 1e-6,
            }
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[Sabotage { kernel: "embed/scatter", find: "j < end", replace: "j < start + 1u" }];
