//! Attention with grouped heads and three masks: bidirectional, causal, and linked (text keys causal, image keys seen
//! from the offset on). See `docs/MATH.md#attention`. The score matrix is never stored unless [`probabilities`] is asked.

use super::case::{Array, Built, Case};
use super::{elementwise, flag, lanes};
use crate::gpu::kernels::attention as k;
use crate::gpu::{Constant, Recorder, Sabotage, Tensor};

/// Sizes and mask. Keys and values hold `text` rows, then `image` rows, per sample.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// B.
    pub batch: usize,
    /// Tq, query rows per sample.
    pub queries: usize,
    /// Text keys per sample.
    pub text: usize,
    /// Image keys per sample.
    pub image: usize,
    /// H.
    pub heads: usize,
    /// G; H is a multiple.
    pub groups: usize,
    /// D, a multiple of 4, at most 128.
    pub head: usize,
    /// Text key j is seen by the query at position t only if j <= t and j < length.
    pub causal: bool,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    layout: Layout,
    rows: Tensor,
    q: Tensor,
    key: Tensor,
    value: Tensor,
    y: Tensor,
    lse: Tensor,
}

impl Layout {
    fn params(&self) -> k::Params {
        k::Params {
            batch: self.batch as u32,
            queries: self.queries as u32,
            text: self.text as u32,
            image: self.image as u32,
            heads: self.heads as u32,
            groups: self.groups as u32,
            causal: u32::from(self.causal),
            width: self.head as u32,
            scale: 1.0 / (self.head as f32).sqrt(),
        }
    }

    fn keys(&self) -> usize {
        self.text + self.image
    }

    fn d4(&self) -> Constant {
        ("D4", (self.head / 4) as f64)
    }

    /// Multiply-adds of one pass over all pairs, times 2; causal pairs count half, and of rows in a cache those that come
    /// with the queries.
    fn flops(&self) -> usize {
        let text = if self.causal { self.text.min(self.queries) / 2 } else { self.text };
        let pairs = self.queries * (text + self.image);
        2 * self.batch * self.heads * pairs * self.head
    }

    #[track_caller]
    fn check(&self, q: &Tensor, key: &Tensor, value: &Tensor) {
        assert!(self.head.is_multiple_of(4) && self.head <= 128, "attention: head width {}", self.head);
        assert!(self.heads.is_multiple_of(self.groups), "attention: {} heads in {} groups", self.heads, self.groups);
        let (rows, cols) = (self.batch * self.keys(), self.groups * self.head);
        assert_eq!(q.shape().len(), self.batch * self.queries * self.heads * self.head, "attention: {q:?} {self:?}");
        assert_eq!((key.shape().len(), value.shape().len()), (rows * cols, rows * cols), "attention: {key:?} {self:?}");
    }
}

/// Are rows handed round in a subgroup of 8? On CPU drivers that have those.
fn broadcasts(r: &Recorder) -> bool {
    r.gpu().is_software() && r.gpu().subgroup == Some(8)
}

/// y (B, Tq, H D) from q (B, Tq, H, D), key and value (B, T + N, G, D), rows (B, 3: length, offset, start).
#[track_caller]
pub fn forward(
    r: &mut Recorder,
    layout: Layout,
    rows: &Tensor,
    q: &Tensor,
    key: &Tensor,
    value: &Tensor,
) -> (Tensor, Saved) {
    layout.check(q, key, value);
    let y = r.alloc([layout.batch * layout.queries, layout.heads * layout.head], "attended");
    let lse = r.alloc([layout.batch, layout.heads, layout.queries], "log-sum-exp");
    let lanes = lanes(r);
    let groups = Recorder::fold(layout.queries.div_ceil(lanes) * layout.heads * layout.batch);
    r.flops(2 * layout.flops());
    let constants = [("WG", lanes as f64), layout.d4(), flag("CACHED", layout.queries != layout.text)];
    let kernel = match layout.head {
        16.. if !broadcasts(r) => &k::FORWARD,
        16 => &k::FORWARD_BROADCAST_16,
        17..=64 => &k::FORWARD_BROADCAST_64,
        65.. => &k::FORWARD_BROADCAST_128,
        _ => &k::FORWARD,
    };
    r.dispatch(kernel, &constants, &layout.params(), &[rows, q, key, value, &y, &lse], groups);
    let saved =
        Saved { layout, rows: rows.clone(), q: q.clone(), key: key.clone(), value: value.clone(), y: y.clone(), lse };
    (y, saved)
}

/// Softmax rows (B, H, Tq, T + N), for those who want to look.
pub fn probabilities(r: &mut Recorder, saved: &Saved) -> Tensor {
    let l = saved.layout;
    let p = r.alloc([l.batch, l.heads, l.queries, l.keys()], "probabilities");
    let (groups, lanes) = elementwise(r, p.shape().len());
    let tensors = [&saved.rows, &saved.q, &saved.key, &saved.lse, &p];
    r.dispatch(&k::PROBABILITIES, &[lanes, l.d4()], &l.params(), &tensors, groups);
    p
}

/// (dq, dkey, dvalue), shaped as q, key and value.
pub fn backward(r: &mut Recorder, saved: Saved, dy: &Tensor) -> (Tensor, Tensor, Tensor) {
    let Saved { layout: l, rows, q, key, value, y, lse } = saved;
    let stats = r.alloc([l.batch, l.heads, l.queries, 2], "lse and delta");
    let (groups, wide) = elementwise(r, l.batch * l.heads * l.queries);
    r.dispatch(&k::DELTA, &[wide, l.d4()], &l.params(), &[&y, dy, &lse, &stats], groups);
    let lanes = lanes(r);
    let constants = [("WG", lanes as f64), l.d4()];
    let dq = r.alloc(q.shape().dims(), "dq");
    let groups = Recorder::fold(l.queries.div_ceil(lanes) * l.heads * l.batch);
    r.flops(3 * l.flops());
    let handed = l.head == 16 && broadcasts(r);
    let kernel = if handed { &k::BACKWARD_Q_BROADCAST } else { &k::BACKWARD_Q };
    r.dispatch(kernel, &constants, &l.params(), &[&rows, &q, &key, &value, dy, &stats, &dq], groups);
    let (dk, dv) = (r.alloc(key.shape().dims(), "dk"), r.alloc(value.shape().dims(), "dv"));
    let groups = Recorder::fold(l.keys().div_ceil(lanes) * l.groups * l.batch);
    r.flops(4 * l.flops());
    let kernel = if handed { &k::BACKWARD_KV_BROADCAST } else { &k::BACKWARD_KV };
    r.dispatch(kernel, &constants, &l.params(), &[&rows, &q, &key, &value, dy, &stats, &dk, &dv], groups);
    (dq, dk, dv)
}

/// Plain f64 loops.
pub mod oracle {
    use super::Layout;

    /// Is key j seen by query row t of sample b?
    fn visible(l: &Layout, rows: &[f64], b: usize, t: usize, j: usize) -> bool {
        let (length, offset, start) = (rows[3 * b] as usize, rows[3 * b + 1] as usize, rows[3 * b + 2] as usize);
        if j < l.text { !l.causal || (j <= t + start && j < length) } else { t + start >= offset }
    }

    fn head(x: &[f64], row: usize, heads: usize, h: usize, d: usize) -> &[f64] {
        &x[(row * heads + h) * d..][..d]
    }

    /// (B, H, Tq, T + N); rows that see nothing are zero.
    #[must_use]
    pub fn probabilities(l: &Layout, rows: &[f64], q: &[f64], key: &[f64]) -> Vec<f64> {
        let keys = l.text + l.image;
        let mut out = Vec::new();
        for b in 0..l.batch {
            for h in 0..l.heads {
                for t in 0..l.queries {
                    let query = head(q, b * l.queries + t, l.heads, h, l.head);
                    let score = |j: usize| -> f64 {
                        let k = head(key, b * keys + j, l.groups, h * l.groups / l.heads, l.head);
                        query.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() / (l.head as f64).sqrt()
                    };
                    let scores: Vec<Option<f64>> =
                        (0..keys).map(|j| visible(l, rows, b, t, j).then(|| score(j))).collect();
                    let top = scores.iter().flatten().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
                    let total: f64 = scores.iter().flatten().map(|s| (s - top).exp()).sum();
                    out.extend(scores.iter().map(|s| s.map_or(0.0, |s| (s - top).exp() / total)));
                }
            }
        }
        out
    }

    /// y (B, Tq, H D).
    #[must_use]
    pub fn forward(l: &Layout, rows: &[f64], q: &[f64], key: &[f64], value: &[f64]) -> Vec<f64> {
        let (keys, p) = (l.text + l.image, probabilities(l, rows, q, key));
        let mut y = vec![0.0; q.len()];
        for (line, p) in p.chunks(keys).enumerate() {
            let (t, h, b) = (line % l.queries, line / l.queries % l.heads, line / (l.queries * l.heads));
            for (j, p) in p.iter().enumerate() {
                let v = head(value, b * keys + j, l.groups, h * l.groups / l.heads, l.head);
                let at = ((b * l.queries + t) * l.heads + h) * l.head;
                v.iter().enumerate().for_each(|(i, v)| y[at + i] += p * v);
            }
        }
        y
    }

    /// dq, dkey, dvalue.
    #[must_use]
    pub fn backward(l: &Layout, rows: &[f64], q: &[f64], key: &[f64], value: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
        let (keys, p) = (l.text + l.image, probabilities(l, rows, q, key));
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; key.len()], vec![0.0; value.len()]);
        let scale = 1.0 / (l.head as f64).sqrt();
        for (line, p) in p.chunks(keys).enumerate() {
            let (t, h, b) = (line % l.queries, line / l.queries % l.heads, line / (l.queries * l.heads));
            let (g, row) = (h * l.groups / l.heads, b * l.queries + t);
            let above = head(dy, row, l.heads, h, l.head);
            let along: Vec<f64> = (0..keys)
                .map(|j| head(value, b * keys + j, l.groups, g, l.head).iter().zip(above).map(|(v, d)| v * d).sum())
                .collect();
            let delta: f64 = p.iter().zip(&along).map(|(p, a)| p * a).sum();
            for j in 0..keys {
                let ds = p[j] * (along[j] - delta) * scale;
                let (from_q, from_k) = ((row * l.heads + h) * l.head, ((b * keys + j) * l.groups + g) * l.head);
                for i in 0..l.head {
                    dq[from_q + i] += ds * key[from_k + i];
                    dk[from_k + i] += ds * q[from_q + i];
                    dv[from_k + i] += p[j] * above[i];
                }
            }
        }
        vec![dq, dk, dv]
    }
}

fn case(layout: Layout, rows: &[u32], scale: f64) -> Case {
    let l = layout;
    let (queries, keys) = (l.batch * l.queries, l.batch * l.keys());
    Case {
        name: format!(
            "B={} Tq={} T={} N={} H={}:{} D={} causal={}",
            l.batch, l.queries, l.text, l.image, l.heads, l.groups, l.head, l.causal
        ),
        inputs: vec![
            Array::whole(&[l.batch, 3], rows),
            Array::scaled(&[queries, l.heads * l.head], 1, scale),
            Array::scaled(&[keys, l.groups * l.head], 2, scale),
            Array::random(&[keys, l.groups * l.head], 3),
        ],
        wrt: vec![1, 2, 3],
        record: Box::new(move |r, x, dout| {
            let (y, saved) = forward(r, l, &x[0], &x[1], &x[2], &x[3]);
            let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
            let (dq, dk, dv) = backward(r, saved, dy);
            Built { outs: vec![y], grads: vec![dq, dk, dv] }
        }),
        forward: Box::new(move |x| vec![oracle::forward(&l, &x[0], &x[1], &x[2], &x[3])]),
        backward: Some(Box::new(move |x, dy| oracle::backward(&l, &x[0], &x[1], &x[2], &x[3], &dy[0]))),
        tolerance: 2e-5,
    }
}

/// Only forward: what goes backward has one kernel for all widths, which drivers compile for a minute at these.
fn forward_case(layout: Layout, rows: &[u32]) -> Case {
    Case { backward: None, wrt: vec![], ..case(layout, rows, 1.0) }
}

/// The same sizes, looking at the softmax rows.
fn probabilities_case(layout: Layout, rows: &[u32]) -> Case {
    let base = case(layout, rows, 1.0);
    Case {
        name: format!("probabilities {}", base.name),
        record: Box::new(move |r, x, _| {
            let (_, saved) = forward(r, layout, &x[0], &x[1], &x[2], &x[3]);
            Built { outs: vec![probabilities(r, &saved)], grads: vec![] }
        }),
        forward: Box::new(move |x| vec![oracle::probabilities(&layout, &x[0], &x[1], &x[2])]),
        backward: None,
        wrt: vec![],
        ..base
    }
}

/// Bidirectional, causal with ragged lengths, linked with offsets, cached queries, heads of the widths that have kernels
/// of their own, fully masked rows, groups 3:1 and 7:1, prime sizes, one, more than a workgroup.
#[must_use]
pub fn cases() -> Vec<Case> {
    let l = |batch, queries, text, image, heads, groups, head, causal| Layout {
        batch,
        queries,
        text,
        image,
        heads,
        groups,
        head,
        causal,
    };
    vec![
        case(l(2, 9, 9, 0, 3, 3, 16, false), &[9, 0, 0, 9, 0, 0], 1.0),
        case(l(1, 1, 1, 0, 1, 1, 4, true), &[1, 0, 0], 1.0),
        case(l(3, 11, 11, 0, 6, 2, 16, true), &[11, 0, 0, 7, 0, 0, 5, 0, 0], 1.0),
        case(l(2, 13, 13, 25, 7, 1, 8, true), &[13, 0, 0, 9, 2, 0], 1.5),
        case(l(2, 70, 70, 9, 3, 1, 32, true), &[70, 1, 0, 66, 69, 0], 1.0),
        case(l(2, 1, 12, 4, 2, 1, 16, true), &[6, 1, 5, 12, 0, 11], 1.0),
        case(l(2, 3, 21, 4, 2, 1, 8, true), &[6, 1, 3, 21, 0, 17], 1.0),
        case(l(2, 3, 29, 4, 2, 1, 16, true), &[21, 1, 18, 29, 0, 26], 1.0),
        case(l(2, 21, 21, 19, 4, 2, 16, true), &[21, 4, 0, 13, 20, 0], 1.0),
        case(l(2, 5, 5, 7, 2, 2, 8, true), &[0, 3, 0, 0, 9, 0], 1.0),
        case(l(2, 1, 37, 0, 2, 2, 16, false), &[1, 0, 0, 1, 0, 0], 2.0),
        forward_case(l(1, 3, 29, 4, 3, 1, 64, true), &[21, 1, 18]),
        forward_case(l(2, 9, 9, 0, 2, 2, 72, false), &[9, 0, 0, 9, 0, 0]),
        forward_case(l(1, 10, 10, 3, 2, 1, 124, true), &[9, 2, 0]),
        probabilities_case(l(2, 13, 13, 25, 7, 1, 8, true), &[13, 0, 0, 9, 2, 0]),
    ]
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "attention/forward", find: "t >= row.offset", replace: "true" },
    Sabotage { kernel: "attention/forward", find: "min(row.start + own.first", replace: "min(own.first" },
    Sabotage {
        kernel: "attention/backward_kv",
        find: "head < (own.head + 1u) * share",
        replace: "head < own.head * share + 1u",
    },
    Sabotage { kernel: "attention/backward_q", find: "- stat.y", replace: "" },
    Sabotage { kernel: "attention/forward_broadcast_16", find: "vec4(t >= row.offset)", replace: "vec4(true)" },
    Sabotage { kernel: "attention/forward_broadcast_16", find: "min(row.start + own.first", replace: "min(own.first" },
    Sabotage { kernel: "attention/forward_broadcast_64", find: "low += dots", replace: "low = dots" },
    Sabotage { kernel: "attention/forward_broadcast_128", find: "select(none, v2, i + 2u < D4)", replace: "v2" },
    Sabotage { kernel: "attention/forward_broadcast_128", find: "if i + 2u < D4 {", replace: "if i + 3u < D4 {" },
    Sabotage { kernel: "attention/backward_q_broadcast", find: "high.w, of7(rows)", replace: "high.w, of6(rows)" },
    Sabotage { kernel: "attention/backward_kv_broadcast", find: "- delta_high", replace: "" },
    Sabotage { kernel: "attention/backward_kv_broadcast", find: "t + row.start >= vec4", replace: "t >= vec4" },
    Sabotage { kernel: "attention/probabilities", find: "j < row.length", replace: "true" },
];
