//! Attention of one token against the key-value cache, with rotation, norm of queries and keys, and the growth of the cache
//! in the same dispatch. See `docs/MATH.md#cached_attention`. Linked layers have image rows after the text rows.

use super::attention::Layout;
use super::case::{Array, Built, Case};
use super::{elementwise, flag};
use crate::gpu::kernels::cached_attention as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// Keys per workgroup that are worth another part of the keys, on a graphics processor.
const KEYS_PER_SPLIT: usize = 512;
/// Invocations of a workgroup there; those that have no column of values help with another's keys. A CPU driver has a vector.
const LANES: usize = 128;

/// A cache, and where this token is.
#[derive(Clone, Copy, Debug)]
pub struct Cached<'a> {
    /// Sizes: `text` and `image` are the cache's rows; one query, one sample, causal.
    pub layout: Layout,
    /// (1, 3): length, offset, start.
    pub rows: &'a Tensor,
    /// (2, text, D): angles of queries, then of keys.
    pub angles: &'a Tensor,
    /// Gains (2, D) of queries and keys, and epsilon, where they are normed after rotation.
    pub norm: Option<(&'a Tensor, f32)>,
    /// (text + image, G D).
    pub key: &'a Tensor,
    /// (text + image, G D).
    pub value: &'a Tensor,
}

/// y (H D) from q, k and v (H D + 2 G D) of the token at `start`; its key and value join the cache.
#[track_caller]
pub fn attend(r: &mut Recorder, c: &Cached<'_>, qkv: &Tensor, y: &Tensor) {
    let keys = c.layout.text + c.layout.image;
    let splits = if r.gpu().is_software() { 1 } else { keys.div_ceil(KEYS_PER_SPLIT).min(8) };
    attend_in(r, c, qkv, y, splits);
}

/// The same in a given number of parts.
#[track_caller]
pub fn attend_in(r: &mut Recorder, c: &Cached<'_>, qkv: &Tensor, y: &Tensor, splits: usize) {
    let l = c.layout;
    let (d, cache) = (l.head, (l.text + l.image) * l.groups * l.head);
    assert!(d.is_multiple_of(4) && d <= 128 && l.heads.is_multiple_of(l.groups), "cached attention: {l:?}");
    let fits = qkv.shape().len() == (l.heads + 2 * l.groups) * d && y.shape().len() == l.heads * d;
    assert!(fits && c.angles.shape().len() == 2 * l.text * d, "cached attention: {qkv:?}, {:?} -> {y:?}", c.angles);
    assert!(c.key.shape().len() == cache && c.value.shape().len() == cache, "cached attention: {:?}, {l:?}", c.key);
    let (gains, eps) = c.norm.unwrap_or((qkv, 0.0));
    let params = k::Params {
        heads: l.heads as u32,
        groups: l.groups as u32,
        width: (d / 4) as u32,
        text: l.text as u32,
        image: l.image as u32,
        splits: splits as u32,
        scale: 1.0 / (d as f32).sqrt(),
        eps,
    };
    let (lanes, helpers) = if r.gpu().is_software() { (8, 1) } else { (LANES, LANES / (d / 4)) };
    let shape = [("WG", lanes as f64), ("PARTS", helpers as f64)];
    let constants = [shape[0], shape[1], flag("NORM", c.norm.is_some()), flag("SPLIT", splits > 1)];
    r.flops(4 * l.heads * (l.text / 2 + l.image) * d);
    if splits == 1 {
        let tensors = [c.rows, qkv, c.angles, gains, c.key, c.value, y];
        return r.dispatch(&k::PARTIAL, &constants, &params, &tensors, [l.heads, 1, 1]);
    }
    let parts = r.alloc([l.heads, splits, d + 4], "parts of attention");
    let tensors = [c.rows, qkv, c.angles, gains, c.key, c.value, &parts];
    r.dispatch(&k::PARTIAL, &constants, &params, &tensors, [l.heads, splits, 1]);
    let (groups, lanes) = elementwise(r, l.heads * d / 4);
    r.dispatch(&k::COMBINE, &[lanes], &params, &[&parts, y], groups);
}

/// Plain f64 loops.
pub mod oracle {
    use super::Layout;

    fn turned(x: &[f64], angles: &[f64], norm: Option<(&[f64], f64)>) -> Vec<f64> {
        let half = x.len() / 2;
        let mut y = vec![0.0; x.len()];
        for i in 0..half {
            let (cos, sin) = (angles[2 * i], angles[2 * i + 1]);
            y[i] = x[i] * cos - x[half + i] * sin;
            y[half + i] = x[half + i] * cos + x[i] * sin;
        }
        match norm {
            Some((gain, eps)) => crate::ops::gemv::oracle::normed(&y, gain, eps),
            None => y,
        }
    }

    /// y, and both caches afterwards. `x`: rows, qkv, angles, gains, keys, values.
    #[must_use]
    pub fn attend(l: &Layout, x: &[Vec<f64>], eps: Option<f64>) -> Vec<Vec<f64>> {
        let [rows, qkv, angles, gains, keys, values] = x else { return Vec::new() };
        let (d, t, offset) = (l.head, rows[2] as usize, rows[1] as usize);
        let (mut keys, mut values) = (keys.clone(), values.clone());
        let norm = |which: usize| eps.map(|e| (&gains[which * d..][..d], e));
        for g in 0..l.groups {
            let at = (t * l.groups + g) * d;
            let key = turned(&qkv[(l.heads + g) * d..][..d], &angles[(l.text + t) * d..][..d], norm(1));
            keys[at..at + d].copy_from_slice(&key);
            values[at..at + d].copy_from_slice(&qkv[(l.heads + l.groups + g) * d..][..d]);
        }
        let image = if t >= offset { l.image } else { 0 };
        let seen: Vec<usize> = (0..=t).chain(l.text..l.text + image).collect();
        let mut y = Vec::new();
        for h in 0..l.heads {
            let g = h * l.groups / l.heads;
            let query = turned(&qkv[h * d..][..d], &angles[t * d..][..d], norm(0));
            let row = |of: &[f64], j: usize| of[(j * l.groups + g) * d..][..d].to_vec();
            let score = |j: usize| query.iter().zip(row(&keys, j)).map(|(a, b)| a * b).sum::<f64>() / (d as f64).sqrt();
            let scores: Vec<f64> = seen.iter().map(|j| score(*j)).collect();
            let top = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
            let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            let mut out = vec![0.0; d];
            for (j, s) in seen.iter().zip(&scores) {
                out.iter_mut().zip(row(&values, *j)).for_each(|(o, v)| *o += (s - top).exp() / total * v);
            }
            y.extend(out);
        }
        vec![y, keys, values]
    }
}

fn case(layout: Layout, t: u32, offset: u32, norm: bool, splits: usize) -> Case {
    let l = layout;
    let (d, cache) = (l.head, [l.text + l.image, l.groups * l.head]);
    let turns = Array::random(&[l.text * d], 2).values;
    let angles: Vec<f64> = turns.iter().flat_map(|a| [f64::from(a.cos() as f32), f64::from(a.sin() as f32)]).collect();
    let eps = 1e-3_f32;
    Case {
        name: format!(
            "T={} N={} H={}:{} D={d} t={t} offset={offset} norm={norm} parts={splits}",
            l.text, l.image, l.heads, l.groups
        ),
        inputs: vec![
            Array::whole(&[3], &[t + 1, offset, t]),
            Array::random(&[(l.heads + 2 * l.groups) * d], 1),
            Array::floats(&[2 * l.text * d], &angles),
            Array::random(&[2 * d], 3),
            Array::random(&cache, 4),
            Array::random(&cache, 5),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let (key, value) = (r.alloc(cache, "key cache"), r.alloc(cache, "value cache"));
            r.copy(&x[4], &key);
            r.copy(&x[5], &value);
            let y = r.alloc([l.heads * d], "y");
            let norm = norm.then_some((&x[3], eps));
            let cached = Cached { layout: l, rows: &x[0], angles: &x[2], norm, key: &key, value: &value };
            attend_in(r, &cached, &x[1], &y, splits);
            Built { outs: vec![y, key, value], grads: vec![] }
        }),
        forward: Box::new(move |x| oracle::attend(&l, x, norm.then_some(f64::from(eps)))),
        backward: None,
        tolerance: 1e-5,
    }
}

/// First, middle and last rows; image seen and not yet seen; norms; groups 1:1, 3:1 and 7:1; heads of 4 to 128; several parts,
/// also more than there are keys; more keys than are scored at a time.
#[must_use]
pub fn cases() -> Vec<Case> {
    let l = |text, image, heads, groups, head| Layout {
        batch: 1,
        queries: 1,
        text,
        image,
        heads,
        groups,
        head,
        causal: true,
    };
    vec![
        case(l(8, 0, 2, 2, 16), 3, 0, false, 1),
        case(l(5, 0, 1, 1, 4), 0, 0, false, 1),
        case(l(70, 9, 3, 1, 64), 69, 1, true, 1),
        case(l(20, 25, 7, 1, 16), 4, 5, true, 1),
        case(l(20, 25, 7, 1, 16), 5, 5, true, 3),
        case(l(200, 0, 6, 2, 128), 130, 0, false, 2),
        case(l(300, 90, 9, 3, 20), 250, 0, true, 5),
        case(l(11, 3, 2, 1, 8), 1, 7, false, 8),
        case(l(2101, 7, 2, 1, 4), 2100, 9, false, 1),
    ]
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "cached_attention/partial", find: "t >= rows[1]", replace: "t > rows[1]" },
    Sabotage { kernel: "cached_attention/partial", find: "total = total * shrink +", replace: "total = total +" },
    Sabotage { kernel: "cached_attention/partial", find: "(which * p.text + t)", replace: "t" },
    Sabotage { kernel: "cached_attention/partial", find: "first += CHUNK", replace: "first += 2u * CHUNK" },
    Sabotage { kernel: "cached_attention/combine", find: "exp(parts[origin].x - top)", replace: "1.0" },
    Sabotage {
        kernel: "cached_attention/combine",
        find: "s < p.splits; s++) {\n            let",
        replace: "s < 1u; s++) {\n            let",
    },
];
