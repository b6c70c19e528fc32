//! A decoder layer: attention (linked or not), then the gated MLP, both with a residual.

use super::layers::SwigluSaved;
use super::linked_attention::{self, Grads, Link, Linked, LinkedTables, Shown};
use super::self_attention::{self, Cache, SelfAttention, Sequence};
use super::{Params, Role, Stack, SwigluMlp};
use crate::gpu::{Recorder, Tensor};

/// Parameters.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DecoderLayer {
    pub attention: SelfAttention,
    pub mlp: SwigluMlp,
}

/// A link with what it reads, if it is shown anything, and the angles of this batch.
#[derive(Clone, Copy)]
pub struct LinkInput<'a> {
    /// Parameters of the link.
    pub link: &'a Link,
    /// What N image keys are made of. None: the layer's queries and keys are normed as with a picture, and there is none.
    pub shown: Option<Shown<'a>>,
    /// Angles.
    pub tables: &'a LinkedTables,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    attention: AttentionSaved,
    mlp: SwigluSaved,
}

#[expect(clippy::large_enum_variant, reason = "one per layer while a step is recorded; a box would buy nothing")]
enum AttentionSaved {
    Text(self_attention::Saved),
    Linked(linked_attention::Saved),
}

impl Saved {
    /// Softmax rows (B, H, T, T + N) of a linked layer.
    pub fn probabilities(&self, r: &mut Recorder) -> Option<Tensor> {
        match &self.attention {
            AttentionSaved::Text(_) => None,
            AttentionSaved::Linked(saved) => Some(saved.probabilities(r)),
        }
    }
}

impl DecoderLayer {
    /// How its weights lie in packed matrices: q, k and v; o; gate and up; down.
    #[must_use]
    pub fn stacks(&self) -> [Stack; 4] {
        let (a, m) = (&self.attention, &self.mlp);
        [
            Stack::of(Role::Layer, &[&a.q, &a.k, &a.v]),
            Stack::of(Role::Layer, &[&a.o]),
            Stack { alternate: true, ..Stack::of(Role::Layer, &[&m.gate, &m.up]) },
            Stack::of(Role::Layer, &[&m.down]),
        ]
    }

    /// (B T, C) from x (B T, C). With a link, `s.layout.image` is its number of image keys.
    pub fn forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        link: Option<LinkInput<'_>>,
        x: &Tensor,
    ) -> (Tensor, Saved) {
        let (x, attention) = match link {
            None => {
                let (x, saved) = self.attention.forward(r, p, s, x);
                (x, AttentionSaved::Text(saved))
            }
            Some(l) => {
                let linked = Linked { layer: &self.attention, link: l.link, tables: l.tables };
                let (x, saved) = linked.forward(r, p, s, x, l.shown);
                (x, AttentionSaved::Linked(saved))
            }
        };
        let (y, mlp) = self.mlp.forward(r, p, &x);
        (y, Saved { attention, mlp })
    }

    /// From the gradient of the output to that of the input, in place, and of the features.
    pub fn backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        link: Option<LinkInput<'_>>,
        saved: Saved,
        grads: Grads<'_>,
    ) {
        self.mlp.backward(r, p, saved.mlp, grads.d);
        match (saved.attention, link) {
            (AttentionSaved::Text(saved), _) => self.attention.backward(r, p, s, saved, grads.d),
            (AttentionSaved::Linked(saved), Some(l)) => {
                let linked = Linked { layer: &self.attention, link: l.link, tables: l.tables };
                linked.backward(r, p, s, saved, grads);
            }
            (AttentionSaved::Linked(_), None) => unreachable!("a linked layer is walked back with its link"),
        }
    }

    /// Rows at `start` of each sample, with what came before in the cache.
    pub fn decode(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        link: Option<(&Link, &LinkedTables)>,
        cache: &Cache,
        x: &Tensor,
    ) -> Tensor {
        let x = match link {
            None => self.attention.decode(r, p, s, cache, x),
            Some((link, tables)) => Linked { layer: &self.attention, link, tables }.decode(r, p, s, cache, x),
        };
        self.mlp.forward(r, p, &x).0
    }

    /// The same of a layer without a link; also the softmax rows (1, H, Tq, T) of its attention.
    pub fn decode_looking(
        &self,
        r: &mut Recorder,
        p: &Params,
        s: &Sequence,
        cache: &Cache,
        x: &Tensor,
    ) -> (Tensor, Tensor) {
        let (x, looked) = self.attention.decode_looking(r, p, s, cache, x);
        (self.mlp.forward(r, p, &x).0, looked)
    }
}
