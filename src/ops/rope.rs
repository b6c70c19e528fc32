//! Rotary positions, and moving rows of heads between tensors. See `docs/MATH.md#rope`.
//!
//! The angles are data from the host (cos, sin per row and pair), so one kernel serves 1-D positions, 2-D image positions
//! and both published frequency layouts. Rows can be placed inside a longer tensor: that is how text and image keys meet
//! in one buffer without a separate copy, and how a key-value cache grows.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::rope as k;
use crate::gpu::{Recorder, Tensor};

/// A run of rows per sample inside a tensor (B, rows, H, D).
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Rows per sample of the tensor.
    pub rows: usize,
    /// First row.
    pub start: usize,
}

/// Rotation angles: (B or 1, rows, D/2) pairs of cos and sin, flattened as (.., D).
#[derive(Clone, Debug)]
pub struct Table {
    /// The numbers.
    pub tensor: Tensor,
    /// Rows per sample; 0 when one table serves all samples.
    pub per_sample: usize,
    /// First row to use.
    pub start: usize,
}

/// What is moved: `count` rows of `heads` heads of width `head` for each of `batch` samples.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// B.
    pub batch: usize,
    /// Rows per sample.
    pub count: usize,
    /// H.
    pub heads: usize,
    /// D, even.
    pub head: usize,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug)]
pub enum Turn<'a> {
    /// Rotate by the table.
    Forward(&'a Table),
    /// Rotate back (the gradient).
    Backward(&'a Table),
    /// Only move.
    Not,
}

/// Moves rows from `x` to `y`. `rows` is the (B, 3) table of length, offset and start; with `dynamic` the start of each
/// sample is added to the destination row.
#[track_caller]
pub fn rotate(
    r: &mut Recorder,
    rows: &Tensor,
    extent: Extent,
    (x, from): (&Tensor, Rows),
    (y, to): (&Tensor, Rows),
    turn: Turn<'_>,
    dynamic: bool,
) {
    let Extent { batch, count, heads, head } = extent;
    assert!(head.is_multiple_of(2), "rope: odd head width {head}");
    for (t, place) in [(x, from), (y, to)] {
        assert_eq!(t.shape().len(), batch * place.rows * heads * head, "rope: {t:?} for {extent:?}, {place:?}");
        assert!(place.start + count <= place.rows, "rope: {count} rows from {} of {}", place.start, place.rows);
    }
    let (table, sign) = match turn {
        Turn::Forward(t) => (Some(t), 1.0),
        Turn::Backward(t) => (Some(t), -1.0),
        Turn::Not => (None, 0.0),
    };
    let params = k::Params {
        batch: batch as u32,
        count: count as u32,
        heads: heads as u32,
        half: (head / 2) as u32,
        src_rows: from.rows as u32,
        src_start: from.start as u32,
        dst_rows: to.rows as u32,
        dst_start: to.start as u32,
        table_rows: table.map_or(0, |t| t.per_sample as u32),
        table_start: table.map_or(0, |t| t.start as u32),
        dynamic: u32::from(dynamic),
        sign,
    };
    let (groups, lanes) = elementwise(r, batch * count * heads * head / 2);
    let angles = table.map_or(x, |t| &t.tensor);
    r.dispatch(&k::ROTATE, &[lanes], &params, &[rows, x, angles, y], groups);
}

/// Plain f64 loops.
pub mod oracle {
    /// x (rows, H, D), one (cos, sin) per pair of each row: table (rows, D/2, 2).
    #[must_use]
    pub fn rotate(x: &[f64], table: &[f64], heads: usize, head: usize, sign: f64) -> Vec<f64> {
        let half = head / 2;
        let mut y = x.to_vec();
        for (row, values) in x.chunks(heads * head).enumerate() {
            for h in 0..heads {
                for j in 0..half {
                    let (cos, sin) = (table[(row * half + j) * 2], table[(row * half + j) * 2 + 1] * sign);
                    let (a, b) = (values[h * head + j], values[h * head + j + half]);
                    y[(row * heads + h) * head + j] = a * cos - b * sin;
                    y[(row * heads + h) * head + j + half] = b * cos + a * sin;
                }
            }
        }
        y
    }
}

/// Rotation of rows placed into a longer tensor after three other rows; the rest of it stays as it was (zero).
fn case(batch: usize, count: usize, heads: usize, head: usize) -> Case {
    let extent = Extent { batch, count, heads, head };
    let angles = Array::random(&[batch, count, head / 2], 3);
    let table =
        angles.values.iter().flat_map(|a| [f64::from(a.cos() as f32), f64::from(a.sin() as f32)]).collect::<Vec<_>>();
    let (inner, outer) = (Rows { rows: count, start: 0 }, Rows { rows: count + 5, start: 3 });
    let width = heads * head;
    Case {
        name: format!("B={batch} T={count} H={heads} D={head}"),
        inputs: vec![
            Array::random(&[batch, count, width], 1),
            Array::floats(&[batch, count, head], &table),
            Array::whole(&[batch, 3], &vec![0; batch * 3]),
        ],
        wrt: vec![0],
        record: Box::new(move |r, x, dout| {
            let table = Table { tensor: x[1].clone(), per_sample: count, start: 0 };
            let y = r.alloc([batch, count + 5, width], "rotated");
            r.zero(&y);
            rotate(r, &x[2], extent, (&x[0], inner), (&y, outer), Turn::Forward(&table), false);
            let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
            let dx = r.alloc([batch, count, width], "dx");
            rotate(r, &x[2], extent, (dy, outer), (&dx, inner), Turn::Backward(&table), false);
            Built { outs: vec![y], grads: vec![dx] }
        }),
        forward: Box::new(move |x| {
            let y = oracle::rotate(&x[0], &x[1], heads, head, 1.0);
            let mut placed = vec![0.0; batch * (count + 5) * width];
            for b in 0..batch {
                let to = (b * (count + 5) + 3) * width;
                placed[to..to + count * width].copy_from_slice(&y[b * count * width..(b + 1) * count * width]);
            }
            vec![placed]
        }),
        backward: Some(Box::new(move |x, dy| {
            let inner: Vec<f64> =
                (0..batch).flat_map(|b| dy[0][(b * (count + 5) + 3) * width..][..count * width].to_vec()).collect();
            vec![oracle::rotate(&inner, &x[1], heads, head, -1.0)]
        })),
        tolerance: 1e-6,
    }
}

/// Textbook, one, prime.
#[must_use]
pub fn cases() -> Vec<Case> {
    vec![case(2, 5, 3, 8), case(1, 1, 1, 2), case(3, 17, 7, 10), case(2, 40, 2, 64)]
}
