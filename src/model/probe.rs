//! Classifier heads on a frozen tower: attentive (one learned query), linear (mean over patches), and in the form of a link.
//! Input: hidden states (B N, W).

use super::registry::Registry;
use crate::gpu::{Dest, Recorder, Tensor};
use crate::nn::layers::shared_backward;
use crate::nn::{LayerNorm, Linear, ParamId, ParamSpec, Params};
use crate::ops::attention::{self, Layout};
use crate::ops::cross_entropy::{self, Chunks, Loss};
use crate::ops::gelu::{self, Form};
use crate::ops::{embed, layer_norm, matmul, mean};

/// Which head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// LayerNorm, one learned query, attention, Linear.
    Attentive,
    /// LayerNorm, mean, Linear.
    Linear,
    /// LayerNorm, Linear, GELU, mean, Linear: a link's projector, averaged over patches.
    Link,
}

/// Sizes of a probe.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// W.
    pub width: usize,
    /// Heads of the attentive probe.
    pub heads: usize,
    /// Classes.
    pub classes: usize,
    /// Epsilon of the norm.
    pub eps: f64,
}

/// From rows of patches to a row per sample.
enum Pooling {
    Mean,
    Attention(Pooler),
    Link(Linear),
}

struct Pooler {
    query: ParamId,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

/// Structure.
pub struct Probe {
    sizes: Sizes,
    norm: LayerNorm,
    pooling: Pooling,
    classifier: Linear,
}

/// Inputs: all on the device.
pub struct ProbeInputs {
    /// (B N, W).
    pub features: Tensor,
    /// (B) classes.
    pub classes: Tensor,
    /// B zeros: every sample takes the one query.
    pub zeros: Tensor,
    /// 0 .. B: all samples share the query's gradient.
    pub order: Tensor,
    /// One segment of B.
    pub segments: Tensor,
    /// (B, 3), unused by an unmasked attention.
    pub rows: Tensor,
    /// 1 / B.
    pub scale: Tensor,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    norm: layer_norm::Saved,
    y: Tensor,
    pooled: Tensor,
    pooling: PoolSaved,
    loss: cross_entropy::Saved,
}

enum PoolSaved {
    Mean,
    Attention(Box<AttentionSaved>),
    /// Before and after the GELU.
    Link(Tensor, Tensor),
}

struct AttentionSaved {
    query: Tensor,
    attention: attention::Saved,
    attended: Tensor,
}

impl Pooler {
    /// Gradient of the rows y that were pooled.
    fn backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        inputs: &ProbeInputs,
        saved: AttentionSaved,
        y: &Tensor,
        dpooled: &Tensor,
    ) -> Tensor {
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        self.out.backward(r, p, &saved.attended, dpooled, Some(Dest::Write(&dattended)));
        let (dq, dk, dv) = attention::backward(r, saved.attention, &dattended);
        let dquery = r.alloc(saved.query.shape().dims(), "dquery");
        self.q.backward(r, p, &saved.query, &dq, Some(Dest::Write(&dquery)));
        if let Some(dtable) = p.grad(self.query) {
            let dtable = dtable.reshaped([1, dquery.shape().cols()]);
            embed::backward(r, &inputs.segments, &inputs.order, &dquery, &dtable);
        }
        shared_backward(r, p, y, &[(&self.k, &dk), (&self.v, &dv)])
    }
}

impl Probe {
    /// Structure and parameters.
    #[must_use]
    pub fn new(kind: Kind, sizes: Sizes) -> (Self, Vec<ParamSpec>) {
        let (mut g, w) = (Registry::default(), sizes.width);
        let norm = g.layer_norm("norm", w, sizes.eps);
        let pooling = match kind {
            Kind::Linear => Pooling::Mean,
            Kind::Link => Pooling::Link(g.linear("fc1", w, w, true)),
            Kind::Attentive => Pooling::Attention(Pooler {
                query: g.add("query", &[1, 1, w]),
                q: g.linear("q_proj", w, w, true),
                k: g.linear("k_proj", w, w, true),
                v: g.linear("v_proj", w, w, true),
                out: g.linear("out_proj", w, w, true),
            }),
        };
        let classifier = g.linear("classifier", sizes.classes, w, true);
        (Self { sizes, norm, pooling, classifier }, g.specs)
    }

    fn layout(&self, inputs: &ProbeInputs) -> Layout {
        let (batch, s) = (inputs.classes.shape().len(), self.sizes);
        Layout {
            batch,
            queries: 1,
            text: inputs.features.shape().rows() / batch,
            image: 0,
            heads: s.heads,
            groups: s.heads,
            head: s.width / s.heads,
            causal: false,
        }
    }

    /// Pooled rows (B, W) and what their backward needs.
    fn pool(&self, r: &mut Recorder, p: &Params, inputs: &ProbeInputs, y: &Tensor) -> (Tensor, PoolSaved) {
        let batch = inputs.classes.shape().len();
        let a = match &self.pooling {
            Pooling::Mean => return (mean::forward(r, y, batch), PoolSaved::Mean),
            Pooling::Link(fc1) => {
                let before = fc1.forward(r, p, y);
                let after = gelu::forward(r, &before, Form::Exact);
                return (mean::forward(r, &after, batch), PoolSaved::Link(before, after));
            }
            Pooling::Attention(a) => a,
        };
        let query = embed::forward(r, &inputs.zeros, &p.value(a.query).reshaped([1, self.sizes.width]));
        let q = a.q.forward(r, p, &query);
        let (k, v) = (a.k.forward(r, p, y), a.v.forward(r, p, y));
        let (attended, attention) = attention::forward(r, self.layout(inputs), &inputs.rows, &q, &k, &v);
        let pooled = a.out.forward(r, p, &attended);
        (pooled, PoolSaved::Attention(Box::new(AttentionSaved { query, attention, attended })))
    }

    /// Logits (B, classes), and the mean loss added to `loss` (1).
    pub fn forward(&self, r: &mut Recorder, p: &Params, inputs: &ProbeInputs, loss: &Tensor) -> (Tensor, Saved) {
        let (y, norm) = self.norm.forward(r, p, &inputs.features);
        let (pooled, pooling) = self.pool(r, p, inputs, &y);
        let logits = self.classifier.forward(r, p, &pooled);
        let saved = self.with_loss(p, &pooled, inputs, |l, chunks| cross_entropy::forward(r, l, chunks, loss));
        (logits, Saved { norm, y, pooled, pooling, loss: saved })
    }

    fn with_loss<T>(&self, p: &Params, x: &Tensor, inputs: &ProbeInputs, f: impl FnOnce(Loss<'_>, Chunks) -> T) -> T {
        let (head, bias) = (p.value(self.classifier.w), self.classifier.b.map(|b| p.value(b)));
        let chunks = Chunks { rows: x.shape().rows(), words: self.sizes.classes };
        f(Loss { x, head: &head, bias: bias.as_ref(), targets: &inputs.classes, scale: &inputs.scale }, chunks)
    }

    /// Adds the gradients of all trained parameters; writes the features' gradient to `dfeatures`.
    pub fn backward(&self, r: &mut Recorder, p: &Params, inputs: &ProbeInputs, saved: Saved, dfeatures: &Tensor) {
        let Saved { norm, y, pooled, pooling, loss } = saved;
        let dpooled = r.alloc(pooled.shape().dims(), "dpooled");
        let (dw, db) = (p.grad(self.classifier.w), self.classifier.b.and_then(|b| p.grad(b)));
        self.with_loss(p, &pooled, inputs, |l, _| {
            cross_entropy::backward(r, l, loss, Some(&dpooled), dw.as_ref(), db.as_ref());
        });
        let dy = match (&self.pooling, pooling) {
            (Pooling::Attention(a), PoolSaved::Attention(saved)) => a.backward(r, p, inputs, *saved, &y, &dpooled),
            (Pooling::Link(fc1), PoolSaved::Link(before, after)) => {
                let dafter = mean::backward(r, &after, &dpooled);
                let dbefore = gelu::backward(r, &before, &dafter, Form::Exact);
                let dy = r.alloc(y.shape().dims(), "dy");
                fc1.backward(r, p, &y, &dbefore, Some(Dest::Write(&dy)));
                dy
            }
            _ => mean::backward(r, &y, &dpooled),
        };
        self.norm.backward(r, p, norm, &dy, Some(Dest::Write(dfeatures)));
    }

    /// Logits (B, classes) alone.
    pub fn logits(&self, r: &mut Recorder, p: &Params, inputs: &ProbeInputs) -> Tensor {
        let (y, _) = self.norm.forward(r, p, &inputs.features);
        let pooled = self.pool(r, p, inputs, &y).0;
        matmul::linear(
            r,
            &pooled,
            &p.value(self.classifier.w),
            matmul::Epilogue { bias: self.classifier.b.map(|b| p.value(b)).as_ref(), residual: None },
            "logits",
        )
    }
}
