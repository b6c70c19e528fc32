//! Hierarchical linked attention, the heart of HIVE: text queries attend, under one softmax, to text keys and to keys made
//! from one depth of the vision tower.
//!
//! `y = x + softmax(Q [K_text ; K_image]ᵀ / sqrt D) [V_text ; V_image] Wo`
//!
//! e = norm(projector(features)) with the decoder layer's own input norm; image keys and values from e by projections of
//! their own or by the text's; keys rotated (text 1-D, image by row and column), then normed head by head.
//!
//! The joint softmax and its gradients (dQ, dK, dV) are [`crate::ops::attention`]: kernels in `shaders/attention/`, reference
//! in [`attention::oracle`], cases with N > 0. The whole layer is held against PyTorch by `tests/fixtures/hive*`.

use super::layers::shared_backward;
use super::self_attention::{Cache, ProjectionsSaved, SelfAttention, Sequence};
use super::{Footprint, LayerNorm, Linear, Params, Projector, RmsNorm, Role, Stack, projector};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::attention::Layout;
use crate::ops::rope::Table;
use crate::ops::{attention, layer_norm, rms_norm};

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

/// What image keys and values are made of.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// One depth of the tower, (B N, W); over the projector.
    Features(&'a Tensor),
    /// Rows of the decoder's own width, (B N, C), such as sums of embeddings; read like text, by the text's projections.
    Words(&'a Tensor),
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

    /// Temporaries of [`Linked::prepare`] for n image rows of width w, in a decoder of width c.
    pub fn footprint(b: &mut Footprint, n: usize, w: usize, c: usize, layout: Layout) {
        let (groups, kv) = (layout.groups, layout.groups * layout.head);
        b.scope(|b| {
            b.take([n * w, 2 * n]);
            Projector::footprint(b, n, w, c);
            b.take([n * c, n]);
        });
        b.take([n * c]);
        b.linear(n, c, kv);
        b.linear(n, c, kv);
        b.take([n * kv, n * kv, n * groups]);
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

    /// Queries and keys normed head by head, where this link does so.
    fn norm_heads(&self, r: &mut Recorder, p: &Params, query: Tensor, key: Tensor) -> (Tensor, Tensor, HeadsSaved) {
        let Some((q_norm, k_norm)) = &self.qk_norm else { return (query, key, None) };
        let ((query, q), (key, k)) = (q_norm.forward(r, p, &query), k_norm.forward(r, p, &key));
        (query, key, Some((q, k)))
    }

    fn norm_heads_backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        saved: HeadsSaved,
        dquery: Tensor,
        dkey: Tensor,
    ) -> (Tensor, Tensor) {
        let (Some((q_norm, k_norm)), Some((q, k))) = (&self.qk_norm, saved) else { return (dquery, dkey) };
        let (dq, dk) = (r.alloc(dquery.shape().dims(), "dq"), r.alloc(dkey.shape().dims(), "dk"));
        q_norm.backward(r, p, q, &dquery, Some(Dest::Write(&dq)));
        k_norm.backward(r, p, k, &dkey, Some(Dest::Write(&dk)));
        (dq, dk)
    }
}

/// What the backward of the head-wise norms needs, where there are any.
type HeadsSaved = Option<(rms_norm::Saved, rms_norm::Saved)>;

/// What the backward of what was shown needs.
#[expect(clippy::large_enum_variant, reason = "one per link while a step is recorded; a box would buy nothing")]
enum ShownSaved {
    Features(ProjectorSaved),
    Words { norm: rms_norm::Saved, e: Tensor },
}

/// What backward needs.
#[must_use]
pub struct Saved {
    shown: Option<ShownSaved>,
    projections: ProjectionsSaved,
    heads: HeadsSaved,
    attention: attention::Saved,
    attended: Tensor,
}

impl Saved {
    /// Softmax rows (B, H, T, T + N): where each token looks.
    pub fn probabilities(&self, r: &mut Recorder) -> Tensor {
        attention::probabilities(r, &self.attention)
    }
}

/// Where a layer's backward leaves gradients.
#[derive(Clone, Copy)]
pub struct Grads<'a> {
    /// Of the output, then of the input (B T, C), in place.
    pub d: &'a Tensor,
    /// Of what was shown (B N, W or C): added to, where someone needs it.
    pub features: Option<&'a Tensor>,
    /// Does anything below need the gradient of the input? If not, `d` may stay as it was.
    pub below: bool,
}

/// A decoder layer's attention together with its link.
#[allow(missing_docs, reason = "the names say it")]
pub struct Linked<'a> {
    /// The layer's own parameters.
    pub layer: &'a SelfAttention,
    pub link: &'a Link,
    pub tables: &'a LinkedTables,
}

impl Linked<'_> {
    /// x + attention(norm(x), shown), x (B T, C). `s.layout.image` is N, or 0.
    pub fn forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        x: &Tensor,
        shown: Option<Shown<'_>>,
    ) -> (Tensor, Saved) {
        let Self { layer: a, link, tables } = *self;
        let part = r.part("links");
        let seen = shown.map(|shown| match shown {
            Shown::Features(features) => {
                let saved = link.project(r, p, &a.norm, features);
                let (ki, vi) = (link.image_k.forward(r, p, &saved.e), link.image_v.forward(r, p, &saved.e));
                (ShownSaved::Features(saved), ki, vi)
            }
            Shown::Words(words) => {
                let (e, norm) = a.norm.forward(r, p, words);
                let (ki, vi) = (a.k.forward(r, p, &e), a.v.forward(r, p, &e));
                (ShownSaved::Words { norm, e }, ki, vi)
            }
        });
        r.part(part);
        let ([q, k, v], projections) = a.project(r, p, x);

        let query = s.rotate(r, &q, &tables.query);
        let (key, value, shown) = match seen {
            Some((saved, ki, vi)) => (s.join(r, &k, &ki, Some(&tables.key)), s.join(r, &v, &vi, None), Some(saved)),
            None => (s.rotate(r, &k, &tables.key), v, None),
        };
        let (query, key, heads) = link.norm_heads(r, p, query, key);
        let (attended, attention) = attention::forward(r, s.layout, &s.rows, &query, &key, &value);
        let out = a.o.forward_add(r, p, &attended, Some(x));
        (out, Saved { shown, projections, heads, attention, attended })
    }

    /// From the gradient of the output to those of both inputs.
    pub fn backward(&self, r: &mut Recorder, p: &Params, s: &Sequence, saved: Saved, grads: Grads<'_>) {
        let Self { layer: a, link, tables } = *self;
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        a.o.backward(r, p, &saved.attended, grads.d, Some(Dest::Write(&dattended)));
        let (dquery, dkey, dvalue) = attention::backward(r, saved.attention, &dattended);
        let (dquery, dkey) = link.norm_heads_backward(r, p, saved.heads, dquery, dkey);

        if let Some(saved) = saved.shown {
            let part = r.part("links, backward");
            let (dki, dvi) = (s.image_part(r, &dkey, Some(&tables.key)), s.image_part(r, &dvalue, None));
            match saved {
                ShownSaved::Features(saved) => {
                    let de = shared_backward(r, p, &saved.e, &[(&link.image_k, &dki), (&link.image_v, &dvi)]);
                    link.project_backward(r, p, &a.norm, saved, &de, grads.features);
                }
                ShownSaved::Words { norm, e } => {
                    let de = shared_backward(r, p, &e, &[(&a.k, &dki), (&a.v, &dvi)]);
                    a.norm.backward(r, p, norm, &de, grads.features.map(Dest::Add));
                }
            }
            r.part(part);
        }

        let text_trains = [&a.q, &a.k, &a.v].iter().any(|l| p.trains(l.w)) || p.trains(a.norm.w);
        if !grads.below && !text_trains {
            return;
        }
        let dq = s.rotate_back(r, &dquery, &tables.query);
        let (dk, dv) = (s.text_part(r, &dkey, Some(&tables.key)), s.text_part(r, &dvalue, None));
        a.project_backward(r, p, saved.projections, [&dq, &dk, &dv], grads.d);
    }

    /// Fills the cache's image rows (after `s.layout.text` text rows), once per picture. `tables.key` has their angles.
    pub fn prepare(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, features: &Tensor) {
        let Self { layer: a, link, tables } = *self;
        let e = link.project(r, p, &a.norm, features).e;
        let (ki, vi) = (link.image_k.forward(r, p, &e), link.image_v.forward(r, p, &e));
        let mut key = s.rotate(r, &ki, &tables.key);
        if let Some((_, k_norm)) = &link.qk_norm {
            key = k_norm.forward(r, p, &key).0;
        }
        s.put_image(r, &key, &cache.key);
        s.put_image(r, &vi, &cache.value);
    }

    /// Like forward for rows at `start` of each sample, with earlier text and the image in the cache. `tables` have the
    /// angles of these rows, of queries and of text keys.
    pub fn decode(&self, r: &mut Recorder, p: &Params, s: &Sequence, cache: &Cache, x: &Tensor) -> Tensor {
        let Self { layer: a, link, tables } = *self;
        let ([q, k, v], _) = a.project(r, p, x);
        let (query, key) = (s.rotate(r, &q, &tables.query), s.rotate(r, &k, &tables.key));
        let (query, key, _) = link.norm_heads(r, p, query, key);
        s.append(r, &key, &cache.key, None);
        s.append(r, &v, &cache.value, None);
        let (attended, _) = attention::forward(r, s.layout, &s.rows, &query, &cache.key, &cache.value);
        a.o.forward_add(r, p, &attended, Some(x))
    }
}
