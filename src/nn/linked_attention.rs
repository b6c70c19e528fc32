//! Hierarchical linked attention, the heart of HIVE: text queries attend, under one softmax, to text keys and to keys made
//! from one depth of the vision tower.
//!
//! e = norm(projector(features)) with the decoder layer's own input norm; image keys and values from e by projections of
//! their own or by the text's; keys rotated (text 1-D, image by row and column), then normed head by head.

use super::self_attention::{Cache, SelfAttention, Sequence, whole};
use super::{LayerNorm, Linear, Params, Projector, RmsNorm, Role, Stack, projector};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::attention;
use crate::ops::rope::{self, Rows, Table, Turn};
use crate::ops::{layer_norm, rms_norm};

/// What HIVE adds to one decoder layer.
#[derive(Clone, Debug)]
pub struct Link {
    /// Norm of the vision features (W).
    pub norm: LayerNorm,
    /// From the tower's width to the decoder's.
    pub projector: Projector,
    /// Image keys (G D, C); the text's projection when shared.
    pub image_k: Linear,
    /// Image values (G D, C).
    pub image_v: Linear,
    /// Head-wise gains of queries and keys, where queries and keys are normed.
    pub qk_norm: Option<(RmsNorm, RmsNorm)>,
}

/// Angles of a linked layer: positions are shifted by the image.
#[derive(Clone, Debug)]
pub struct LinkedTables {
    /// Text queries, per sample.
    pub query: Table,
    /// Text keys, then image keys, per sample.
    pub key: Table,
}

/// What the projector's backward needs.
#[must_use]
pub struct ProjectorSaved {
    norm: layer_norm::Saved,
    projector: projector::Saved,
    input_norm: rms_norm::Saved,
    e: Tensor,
}

impl Link {
    /// How its weights lie in packed matrices; the text's projections, where they serve the image too, lie elsewhere.
    #[must_use]
    pub fn stacks(&self, layer: &SelfAttention) -> Vec<Stack> {
        let own = [&self.projector.fc1, &self.projector.fc2, &self.image_k, &self.image_v].into_iter();
        own.filter(|l| l.w != layer.k.w && l.w != layer.v.w).map(|l| Stack::of(Role::Link, &[l])).collect()
    }

    /// e (B N, C) from features (B N, W): LayerNorm, Linear, GELU (erf), Linear, then the layer's input norm.
    pub fn project(&self, r: &mut Recorder, p: &Params, input_norm: &RmsNorm, features: &Tensor) -> ProjectorSaved {
        let (y, norm) = self.norm.forward(r, p, features);
        let (projected, projector) = self.projector.forward(r, p, &y);
        let (e, input_norm) = input_norm.forward(r, p, &projected);
        ProjectorSaved { norm, projector, input_norm, e }
    }

    /// From de, adding to the gradient of the features where someone needs it.
    fn project_backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        input_norm: &RmsNorm,
        saved: ProjectorSaved,
        de: &Tensor,
        dfeatures: Option<&Tensor>,
    ) {
        let dprojected = r.alloc(saved.e.shape().dims(), "dprojected");
        input_norm.backward(r, p, saved.input_norm, de, Some(Dest::Write(&dprojected)));
        let dy = r.alloc(saved.projector.x.shape().dims(), "dy");
        self.projector.backward(r, p, saved.projector, &dprojected, Some(Dest::Write(&dy)));
        self.norm.backward(r, p, saved.norm, &dy, dfeatures.map(Dest::Add));
    }
}

/// What backward needs.
#[must_use]
pub struct Saved {
    projector: ProjectorSaved,
    norm: rms_norm::Saved,
    y: Tensor,
    qk: Option<(rms_norm::Saved, rms_norm::Saved)>,
    attention: attention::Saved,
    attended: Tensor,
}

impl Saved {
    /// Softmax rows (B, H, T, T + N): where each token looks.
    pub fn probabilities(&self, r: &mut Recorder) -> Tensor {
        attention::probabilities(r, &self.attention)
    }
}

/// A decoder layer's attention together with its link.
pub struct Linked<'a> {
    /// The layer's own parameters.
    pub layer: &'a SelfAttention,
    /// The link's.
    pub link: &'a Link,
    /// Angles.
    pub tables: &'a LinkedTables,
}

impl Linked<'_> {
    /// x + attention(norm(x), features), x (B T, C), features (B N, W). `s.layout.image` is N.
    pub fn forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        x: &Tensor,
        features: &Tensor,
    ) -> (Tensor, Saved) {
        let Self { layer: a, link, tables } = *self;
        let (t, n) = (s.layout.queries, s.layout.image);
        let (all, image) = (whole(t + n), Rows { rows: t + n, start: t });
        let projector = link.project(r, p, &a.norm, features);
        let (y, norm) = a.norm.forward(r, p, x);
        let (q, k, v) = (a.q.forward(r, p, &y), a.k.forward(r, p, &y), a.v.forward(r, p, &y));
        let (ki, vi) = (link.image_k.forward(r, p, &projector.e), link.image_v.forward(r, p, &projector.e));

        let mut query = r.alloc(q.shape().dims(), "rotated q");
        rope::rotate(r, &s.rows, s.queries(), (&q, whole(t)), (&query, whole(t)), Turn::Forward(&tables.query), false);
        let joint = [s.layout.batch * (t + n), s.layout.groups * s.layout.head];
        let (mut key, value) = (r.alloc(joint, "keys"), r.alloc(joint, "values"));
        let image_table = Table { start: t, ..tables.key.clone() };
        rope::rotate(r, &s.rows, s.keys(t), (&k, whole(t)), (&key, all), Turn::Forward(&tables.key), false);
        rope::rotate(r, &s.rows, s.keys(n), (&ki, whole(n)), (&key, image), Turn::Forward(&image_table), false);
        rope::rotate(r, &s.rows, s.keys(t), (&v, whole(t)), (&value, all), Turn::Not, false);
        rope::rotate(r, &s.rows, s.keys(n), (&vi, whole(n)), (&value, image), Turn::Not, false);
        let qk = link.qk_norm.as_ref().map(|(q_norm, k_norm)| {
            let (normed_q, saved_q) = q_norm.forward(r, p, &query);
            let (normed_k, saved_k) = k_norm.forward(r, p, &key);
            (query, key) = (normed_q, normed_k);
            (saved_q, saved_k)
        });
        let (attended, attention) = attention::forward(r, s.layout, &s.rows, &query, &key, &value);
        let out = a.o.forward_add(r, p, &attended, Some(x));
        (out, Saved { projector, norm, y, qk, attention, attended })
    }

    /// `d`: gradient of the output, then of the input unless `below` is false (then d is left as it was). Adds to the
    /// gradient of the features where someone needs it.
    #[expect(clippy::too_many_arguments, reason = "mirrors forward, plus the two destinations")]
    pub fn backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        saved: Saved,
        d: &Tensor,
        dfeatures: Option<&Tensor>,
        below: bool,
    ) {
        let Self { layer: a, link, tables } = *self;
        let (t, n) = (s.layout.queries, s.layout.image);
        let (all, image) = (whole(t + n), Rows { rows: t + n, start: t });
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        a.o.backward(r, p, &saved.attended, d, Some(Dest::Write(&dattended)));
        let (mut dquery, dkv) = attention::backward(r, saved.attention, &dattended, true);
        let Some((mut dkey, dvalue)) = dkv else { return };
        if let (Some((q_norm, k_norm)), Some((saved_q, saved_k))) = (&link.qk_norm, saved.qk) {
            let (dq, dk) = (r.alloc(dquery.shape().dims(), "dq"), r.alloc(dkey.shape().dims(), "dk"));
            q_norm.backward(r, p, saved_q, &dquery, Some(Dest::Write(&dq)));
            k_norm.backward(r, p, saved_k, &dkey, Some(Dest::Write(&dk)));
            (dquery, dkey) = (dq, dk);
        }
        let width = s.layout.groups * s.layout.head;
        let image_table = Table { start: t, ..tables.key.clone() };
        let (dki, dvi) = (r.alloc([s.layout.batch * n, width], "dki"), r.alloc([s.layout.batch * n, width], "dvi"));
        rope::rotate(r, &s.rows, s.keys(n), (&dkey, image), (&dki, whole(n)), Turn::Backward(&image_table), false);
        rope::rotate(r, &s.rows, s.keys(n), (&dvalue, image), (&dvi, whole(n)), Turn::Not, false);
        let de = r.alloc(saved.projector.e.shape().dims(), "de");
        link.image_k.backward(r, p, &saved.projector.e, &dki, Some(Dest::Write(&de)));
        link.image_v.backward(r, p, &saved.projector.e, &dvi, Some(Dest::Add(&de)));
        link.project_backward(r, p, &a.norm, saved.projector, &de, dfeatures);

        let text_trains = [&a.q, &a.k, &a.v].iter().any(|l| p.trains(l.w)) || p.trains(a.norm.w);
        if !below && !text_trains {
            return;
        }
        let (dk, dv) = (r.alloc([s.layout.batch * t, width], "dk"), r.alloc([s.layout.batch * t, width], "dv"));
        let dq = r.alloc(dquery.shape().dims(), "dq");
        rope::rotate(
            r,
            &s.rows,
            s.queries(),
            (&dquery, whole(t)),
            (&dq, whole(t)),
            Turn::Backward(&tables.query),
            false,
        );
        rope::rotate(r, &s.rows, s.keys(t), (&dkey, all), (&dk, whole(t)), Turn::Backward(&tables.key), false);
        rope::rotate(r, &s.rows, s.keys(t), (&dvalue, all), (&dv, whole(t)), Turn::Not, false);
        let dy = r.alloc(saved.y.shape().dims(), "dy");
        a.q.backward(r, p, &saved.y, &dq, Some(Dest::Write(&dy)));
        a.k.backward(r, p, &saved.y, &dk, Some(Dest::Add(&dy)));
        a.v.backward(r, p, &saved.y, &dv, Some(Dest::Add(&dy)));
        a.norm.backward(r, p, saved.norm, &dy, Some(Dest::Add(d)));
    }

    /// Fills the cache's image rows (after `s.layout.text` text rows), once per picture.
    pub fn prepare(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, features: &Tensor) {
        let Self { layer: a, link, tables } = *self;
        let (room, n) = (s.layout.text, s.layout.image);
        let image = Rows { rows: room + n, start: room };
        let e = link.project(r, p, &a.norm, features).e;
        let (ki, vi) = (link.image_k.forward(r, p, &e), link.image_v.forward(r, p, &e));
        let mut key = r.alloc(ki.shape().dims(), "image keys");
        rope::rotate(r, &s.rows, s.keys(n), (&ki, whole(n)), (&key, whole(n)), Turn::Forward(&tables.key), false);
        if let Some((_, k_norm)) = &link.qk_norm {
            key = k_norm.forward(r, p, &key).0;
        }
        rope::rotate(r, &s.rows, s.keys(n), (&key, whole(n)), (&cache.key, image), Turn::Not, false);
        rope::rotate(r, &s.rows, s.keys(n), (&vi, whole(n)), (&cache.value, image), Turn::Not, false);
    }

    /// Like forward for rows at `start` of each sample, with earlier text and the image in the cache. `tables.query` has
    /// the angles of these rows, which serve queries and (by the first T rows of `tables.key`) text keys.
    pub fn decode(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, x: &Tensor) -> Tensor {
        let Self { layer: a, link, tables } = *self;
        let (t, rows) = (s.layout.queries, whole(s.layout.text + s.layout.image));
        let (y, _) = a.norm.forward(r, p, x);
        let (q, k, v) = (a.q.forward(r, p, &y), a.k.forward(r, p, &y), a.v.forward(r, p, &y));
        let (mut query, mut key) = (r.alloc(q.shape().dims(), "rotated q"), r.alloc(k.shape().dims(), "rotated k"));
        rope::rotate(r, &s.rows, s.queries(), (&q, whole(t)), (&query, whole(t)), Turn::Forward(&tables.query), false);
        rope::rotate(r, &s.rows, s.keys(t), (&k, whole(t)), (&key, whole(t)), Turn::Forward(&tables.key), false);
        if let Some((q_norm, k_norm)) = &link.qk_norm {
            query = q_norm.forward(r, p, &query).0;
            key = k_norm.forward(r, p, &key).0;
        }
        rope::rotate(r, &s.rows, s.keys(t), (&key, whole(t)), (&cache.key, rows), Turn::Not, true);
        rope::rotate(r, &s.rows, s.keys(t), (&v, whole(t)), (&cache.value, rows), Turn::Not, true);
        let (attended, _) = attention::forward(r, s.layout, &s.rows, &query, &cache.key, &cache.value);
        a.o.forward_add(r, p, &attended, Some(x))
    }
}
