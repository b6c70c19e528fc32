//! Causal self-attention of a decoder layer, with rotary positions and grouped key-value heads.

use super::{Linear, Params, RmsNorm};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::attention::{self, Layout};
use crate::ops::rms_norm;
use crate::ops::rope::{self, Extent, Rows, Table, Turn};

/// Parameters.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// Before the projections.
    pub norm: RmsNorm,
    /// (H D, C).
    pub q: Linear,
    /// (G D, C).
    pub k: Linear,
    /// (G D, C).
    pub v: Linear,
    /// (C, H D).
    pub o: Linear,
}

/// Sizes of a sequence and where its rows are.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// (B, 3): length, offset, start of each sample.
    pub rows: Tensor,
    /// Attention sizes; `image` is zero here and the number of image keys in linked layers.
    pub layout: Layout,
    /// Angles of positions 0, 1, 2, ...
    pub table: Table,
}

impl Sequence {
    pub(super) fn queries(&self) -> Extent {
        let l = self.layout;
        Extent { batch: l.batch, count: l.queries, heads: l.heads, head: l.head }
    }

    pub(super) fn keys(&self, count: usize) -> Extent {
        let l = self.layout;
        Extent { batch: l.batch, count, heads: l.groups, head: l.head }
    }
}

/// All rows of a tensor with `rows` rows per sample.
pub(super) fn whole(rows: usize) -> Rows {
    Rows { rows, start: 0 }
}

/// What backward needs.
#[must_use]
pub struct Saved {
    norm: rms_norm::Saved,
    y: Tensor,
    attention: attention::Saved,
    attended: Tensor,
}

/// Keys and values of earlier positions (B, rows, G D); the first rows are text.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Rotated (and, in linked layers, normed) keys.
    pub key: Tensor,
    /// Values.
    pub value: Tensor,
}

impl SelfAttention {
    /// x + attention(norm(x)), x (B T, C).
    pub fn forward(&self, r: &mut Recorder, p: &Params, s: &Sequence, x: &Tensor) -> (Tensor, Saved) {
        let t = s.layout.queries;
        let (y, norm) = self.norm.forward(r, p, x);
        let (q, k, v) = (self.q.forward(r, p, &y), self.k.forward(r, p, &y), self.v.forward(r, p, &y));
        let query = r.alloc(q.shape().dims(), "rotated q");
        rope::rotate(r, &s.rows, s.queries(), (&q, whole(t)), (&query, whole(t)), Turn::Forward(&s.table), false);
        let key = r.alloc(k.shape().dims(), "rotated k");
        rope::rotate(r, &s.rows, s.keys(t), (&k, whole(t)), (&key, whole(t)), Turn::Forward(&s.table), false);
        let (attended, attention) = attention::forward(r, s.layout, &s.rows, &query, &key, &v);
        let out = self.o.forward_add(r, p, &attended, Some(x));
        (out, Saved { norm, y, attention, attended })
    }

    /// `d`: gradient of the output, then of the input.
    pub fn backward(&self, r: &mut Recorder, p: &Params, s: &Sequence, saved: Saved, d: &Tensor) {
        let t = s.layout.queries;
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        self.o.backward(r, p, &saved.attended, d, Some(Dest::Write(&dattended)));
        let (dquery, dkv) = attention::backward(r, saved.attention, &dattended, true);
        let dy = r.alloc(saved.y.shape().dims(), "dy");
        let dq = r.alloc(dquery.shape().dims(), "dq");
        rope::rotate(r, &s.rows, s.queries(), (&dquery, whole(t)), (&dq, whole(t)), Turn::Backward(&s.table), false);
        self.q.backward(r, p, &saved.y, &dq, Some(Dest::Write(&dy)));
        if let Some((dkey, dv)) = dkv {
            let dk = r.alloc(dkey.shape().dims(), "dk");
            rope::rotate(r, &s.rows, s.keys(t), (&dkey, whole(t)), (&dk, whole(t)), Turn::Backward(&s.table), false);
            self.k.backward(r, p, &saved.y, &dk, Some(Dest::Add(&dy)));
            self.v.backward(r, p, &saved.y, &dv, Some(Dest::Add(&dy)));
        }
        self.norm.backward(r, p, saved.norm, &dy, Some(Dest::Add(d)));
    }

    /// Like forward for rows at `start` of each sample, with the keys and values of earlier rows in the cache.
    pub fn decode(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, x: &Tensor) -> Tensor {
        let (t, room) = (s.layout.queries, s.layout.text);
        let (y, _) = self.norm.forward(r, p, x);
        let (q, k, v) = (self.q.forward(r, p, &y), self.k.forward(r, p, &y), self.v.forward(r, p, &y));
        let query = r.alloc(q.shape().dims(), "rotated q");
        rope::rotate(r, &s.rows, s.queries(), (&q, whole(t)), (&query, whole(t)), Turn::Forward(&s.table), false);
        rope::rotate(r, &s.rows, s.keys(t), (&k, whole(t)), (&cache.key, whole(room)), Turn::Forward(&s.table), true);
        rope::rotate(r, &s.rows, s.keys(t), (&v, whole(t)), (&cache.value, whole(room)), Turn::Not, true);
        let (attended, _) = attention::forward(r, s.layout, &s.rows, &query, &cache.key, &cache.value);
        self.o.forward_add(r, p, &attended, Some(x))
    }
}
