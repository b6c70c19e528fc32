//! Causal self-attention of a decoder layer, with rotary positions and grouped key-value heads.

use super::layers::shared_backward;
use super::{Linear, Params, RmsNorm};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::attention::{self, Layout};
use crate::ops::rms_norm;
use crate::ops::rope::Table;

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

/// What backward needs.
#[must_use]
pub struct Saved {
    projections: ProjectionsSaved,
    attention: attention::Saved,
    attended: Tensor,
}

/// What the backward of the projections needs.
#[must_use]
pub(super) struct ProjectionsSaved {
    norm: rms_norm::Saved,
    y: Tensor,
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
    /// Queries (B T, H D), keys and values (B T, G D) of norm(x).
    pub(super) fn project(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> ([Tensor; 3], ProjectionsSaved) {
        let (y, norm) = self.norm.forward(r, p, x);
        ([&self.q, &self.k, &self.v].map(|l| l.forward(r, p, &y)), ProjectionsSaved { norm, y })
    }

    /// From dq, dk and dv, adding to `d`, the gradient of x.
    pub(super) fn project_backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        saved: ProjectionsSaved,
        [dq, dk, dv]: [&Tensor; 3],
        d: &Tensor,
    ) {
        let dy = shared_backward(r, p, &saved.y, &[(&self.q, dq), (&self.k, dk), (&self.v, dv)]);
        self.norm.backward(r, p, saved.norm, &dy, Some(Dest::Add(d)));
    }

    /// x + attention(norm(x)), x (B T, C).
    pub fn forward(&self, r: &mut Recorder, p: &Params, s: &Sequence, x: &Tensor) -> (Tensor, Saved) {
        let ([q, k, v], projections) = self.project(r, p, x);
        let (query, key) = (s.rotate(r, &q, &s.table), s.rotate(r, &k, &s.table));
        let (attended, attention) = attention::forward(r, s.layout, &s.rows, &query, &key, &v);
        let out = self.o.forward_add(r, p, &attended, Some(x));
        (out, Saved { projections, attention, attended })
    }

    /// `d`: gradient of the output, then of the input.
    pub fn backward(&self, r: &mut Recorder, p: &Params, s: &Sequence, saved: Saved, d: &Tensor) {
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        self.o.backward(r, p, &saved.attended, d, Some(Dest::Write(&dattended)));
        let (dquery, dkey, dv) = attention::backward(r, saved.attention, &dattended);
        let (dq, dk) = (s.rotate_back(r, &dquery, &s.table), s.rotate_back(r, &dkey, &s.table));
        self.project_backward(r, p, saved.projections, [&dq, &dk, &dv], d);
    }

    /// Like forward for rows at `start` of each sample, with the keys and values of earlier rows in the cache.
    pub fn decode(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, x: &Tensor) -> Tensor {
        let (attended, _) = self.cached(r, p, s, cache, x);
        self.o.forward_add(r, p, &attended, Some(x))
    }

    /// The same; also the softmax rows (1, H, Tq, T).
    pub fn decode_looking(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        cache: &Cache,
        x: &Tensor,
    ) -> (Tensor, Tensor) {
        let (attended, saved) = self.cached(r, p, s, cache, x);
        let looked = attention::probabilities(r, &saved);
        (self.o.forward_add(r, p, &attended, Some(x)), looked)
    }

    /// What rows read of the cache, which gets their own keys and values before.
    fn cached(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        cache: &Cache,
        x: &Tensor,
    ) -> (Tensor, attention::Saved) {
        let ([q, k, v], _) = self.project(r, p, x);
        let query = s.rotate(r, &q, &s.table);
        s.append(r, &k, &cache.key, Some(&s.table));
        s.append(r, &v, &cache.value, None);
        attention::forward(r, s.layout, &s.rows, &query, &cache.key, &cache.value)
    }
}
