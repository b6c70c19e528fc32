//! Rotary positions, and moving rows of heads between tensors. See `docs/MATH.md#rope`.
//!
//! The angles are data from the host (cos, sin per row and pair), so one kernel serves 1-D positions, 2-D image positions
//! and both published frequency layouts. Rows can be placed inside a longer tensor: that is how text and image keys meet
//! in one buffer without a separate copy, and how a key-value cache grows.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::rope as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// Rotation angles: cos and sin of each pair, (B or 1, rows, D).
#[derive(Clone, Debug)]
pub struct Table {
    /// The numbers.
    pub tensor: Tensor,
    /// Rows per sample; 0 when one table serves all samples.
    pub per_sample: usize,
    /// First row to use.
    pub start: usize,
    /// Is that the row of position 0, so that each sample begins with the row of its own `start`?
    pub by_position: bool,
}

impl Table {
    /// One table for all samples, from its first row on.
    #[must_use]
    pub fn shared(tensor: &Tensor) -> Self {
        Self { tensor: tensor.clone(), per_sample: 0, start: 0, by_position: false }
    }

    /// The angles from its row `rows` on.
    #[must_use]
    pub fn after(&self, rows: usize) -> Self {
        Self { start: self.start + rows, ..self.clone() }
    }
}

/// The row of y that the first row of x goes to, in each sample.
#[derive(Clone, Copy, Debug)]
pub enum To {
    /// This one.
    Row(usize),
    /// The sample's `start`: a key-value cache grows.
    Start,
}

/// Which rows of each sample go where, and how they are rotated on the way.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// Rows per sample.
    pub count: usize,
    /// First row of x.
    pub from: usize,
    /// First row of y.
    pub to: To,
    /// Angles of these rows, the first row's first; without them rows are copied.
    pub angles: Option<&'a Table>,
    /// Rotate back: the gradient.
    pub back: bool,
}

/// Moves rows of x (B rows, H D) to rows of y (B other rows, H D); D is the table's. `rows` is (B, 3): length, offset, start.
#[track_caller]
pub fn rotate(r: &mut Recorder, rows: &Tensor, x: &Tensor, y: &Tensor, m: Move<'_>) {
    let (batch, width) = (rows.shape().rows(), x.shape().cols());
    let head = m.angles.map_or(width, |t| t.tensor.shape().cols());
    let first = if let To::Row(row) = m.to { row } else { 0 };
    assert!(head.is_multiple_of(2) && width.is_multiple_of(head), "rope: heads of {head} in {x:?}");
    assert_eq!(y.shape().cols(), width, "rope: {x:?} to {y:?}");
    for (t, first) in [(x, m.from), (y, first)] {
        assert!(batch * (first + m.count) <= t.shape().rows(), "rope: {batch} times {} rows of {t:?}", first + m.count);
    }
    let sign = match (m.angles, m.back) {
        (None, _) => 0.0,
        (Some(_), false) => 1.0,
        (Some(_), true) => -1.0,
    };
    let params = k::Params {
        batch: batch as u32,
        count: m.count as u32,
        heads: (width / head) as u32,
        half: (head / 2) as u32,
        src_rows: (x.shape().rows() / batch) as u32,
        src_start: m.from as u32,
        dst_rows: (y.shape().rows() / batch) as u32,
        dst_start: first as u32,
        table_rows: m.angles.map_or(0, |t| t.per_sample as u32),
        table_start: m.angles.map_or(0, |t| t.start as u32),
        table_by_position: u32::from(m.angles.is_some_and(|t| t.by_position)),
        dynamic: u32::from(matches!(m.to, To::Start)),
        sign,
    };
    let (kernel, pairs) = if (head / 2).is_multiple_of(4) { (&k::ROTATE_VEC4, 4) } else { (&k::ROTATE, 1) };
    let (groups, lanes) = elementwise(r, batch * m.count * width / 2 / pairs);
    let angles = m.angles.map_or(x, |t| &t.tensor);
    r.dispatch(kernel, &[lanes], &params, &[rows, x, angles, y], groups);
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
    let angles = Array::random(&[batch, count, head / 2], 3);
    let table =
        angles.values.iter().flat_map(|a| [f64::from(a.cos() as f32), f64::from(a.sin() as f32)]).collect::<Vec<_>>();
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
            let table = Table { per_sample: count, ..Table::shared(&x[1]) };
            let y = r.alloc([batch, count + 5, width], "rotated");
            r.zero(&y);
            let there = Move { count, from: 0, to: To::Row(3), angles: Some(&table), back: false };
            rotate(r, &x[2], &x[0], &y, there);
            let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
            let dx = r.alloc([batch, count, width], "dx");
            let dy = dy.reshaped(y.shape().dims());
            rotate(r, &x[2], &dy, &dx, Move { from: 3, to: To::Row(0), back: true, ..there });
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

/// Rows from each sample's own start on, by angles of all positions, into a longer tensor at that start.
fn case_by_position(starts: [usize; 2], count: usize, heads: usize, head: usize) -> Case {
    let (width, room) = (heads * head, 9 + count);
    let angles = Array::random(&[2 + room, head / 2], 3);
    let table: Vec<f64> = angles.values.iter().flat_map(|a| [a.cos(), a.sin()].map(|v| f64::from(v as f32))).collect();
    Case {
        name: format!("by position from {starts:?} T={count} H={heads} D={head}"),
        inputs: vec![
            Array::random(&[2, count, width], 1),
            Array::floats(&[2 + room, head], &table),
            Array::whole(&[2, 3], &starts.map(|s| [0, 7, s as u32]).concat()),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let table = Table { by_position: true, ..Table::shared(&x[1]).after(2) };
            let y = r.alloc([2, room, width], "rotated");
            r.zero(&y);
            let there = Move { count, from: 0, to: To::Start, angles: Some(&table), back: false };
            rotate(r, &x[2], &x[0], &y, there);
            Built { outs: vec![y], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let mut placed = vec![0.0; 2 * room * width];
            for (b, start) in starts.into_iter().enumerate() {
                let rows = &x[0][b * count * width..(b + 1) * count * width];
                let y = oracle::rotate(rows, &x[1][(2 + start) * head..], heads, head, 1.0);
                placed[(b * room + start) * width..][..count * width].copy_from_slice(&y);
            }
            vec![placed]
        }),
        backward: None,
        tolerance: 1e-6,
    }
}

/// Textbook, one, prime.
#[must_use]
pub fn cases() -> Vec<Case> {
    let all = vec![case(2, 5, 3, 8), case(1, 1, 1, 2), case(3, 17, 7, 10), case(2, 40, 2, 64)];
    all.into_iter().chain([case_by_position([0, 9], 1, 3, 8), case_by_position([5, 2], 4, 2, 10)]).collect()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "rope/rotate", find: "v * turn.x + u * s", replace: "v * turn.x - u * s" },
    Sabotage { kernel: "rope/rotate", find: "p.table_by_position == 1u", replace: "false" },
    Sabotage { kernel: "rope/rotate_vec4", find: "vec4(low.yw, high.yw)", replace: "vec4(low.yw, high.wy)" },
    Sabotage { kernel: "rope/rotate_vec4", find: "p.table_by_position == 1u", replace: "false" },
];
