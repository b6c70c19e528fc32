//! The decoder: embeddings, layers, final norm, head (tied or not). Layers may be linked to the vision tower.

use std::collections::BTreeMap;

use super::config::LanguageConfig;
use super::registry::Registry;
use crate::gpu::{Dest, Recorder, Tensor};
use crate::nn::decoder_layer::{self, DecoderLayer, LinkInput};
use crate::nn::linked_attention::Grads;
use crate::nn::self_attention::Sequence;
use crate::nn::{ParamId, Params, RmsNorm, Stack};
use crate::ops::cross_entropy::{self, Chunks, Loss};
use crate::ops::matmul::{self, Epilogue};
use crate::ops::{embed, packed, rms_norm};

/// Parameters.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Language {
    /// (V, C).
    pub embed: ParamId,
    pub layers: Vec<DecoderLayer>,
    pub norm: RmsNorm,
    /// (V, C); the embedding when tied.
    pub head: ParamId,
}

/// What layers read beside the stream.
pub struct Context<'a> {
    /// Rows of ordinary layers.
    pub plain: Sequence,
    /// Rows of layers whose link is shown something, by layer: there are image keys besides.
    pub linked: BTreeMap<usize, Sequence>,
    /// Links by layer.
    pub links: BTreeMap<usize, LinkInput<'a>>,
}

impl Context<'_> {
    fn of(&self, layer: usize) -> (&Sequence, Option<LinkInput<'_>>) {
        let link = self.links.get(&layer).copied();
        (self.linked.get(&layer).unwrap_or(&self.plain), link)
    }
}

/// A walk back through the layers.
pub struct Descent<'a> {
    /// Gradient of the stream, in place.
    pub d: &'a Tensor,
    /// Where the links of layers add the gradients of what they are shown.
    pub features: BTreeMap<usize, Tensor>,
    /// The layer where it ends.
    pub lowest: usize,
}

/// What backward needs of the layers.
#[must_use]
pub struct Saved {
    layers: Vec<decoder_layer::Saved>,
    /// Stream after each layer, (B T, C).
    pub hidden: Vec<Tensor>,
}

impl Saved {
    /// Softmax rows of a linked layer.
    pub fn probabilities(&self, r: &mut Recorder, layer: usize) -> Option<Tensor> {
        self.layers[layer].probabilities(r)
    }
}

/// What the loss' backward needs.
#[must_use]
pub struct HeadSaved {
    norm: rms_norm::Saved,
    x: Tensor,
    loss: cross_entropy::Saved,
}

impl HeadSaved {
    /// (R, 4): max, sum of exponentials, target logit, greedy token.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        self.loss.state()
    }
}

impl Language {
    /// Registers the model's parameters under `model.` and `lm_head.`.
    pub fn new(g: &mut Registry, c: &LanguageConfig) -> Self {
        let embed = g.add("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size]);
        Self {
            embed,
            layers: (0..c.num_hidden_layers).map(|i| g.decoder_layer(c, i)).collect(),
            norm: g.rms_norm("model.norm", c.hidden_size, c.rms_norm_eps),
            head: if c.tie_word_embeddings { embed } else { g.add("lm_head.weight", &[c.vocab_size, c.hidden_size]) },
        }
    }

    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        let tables = std::iter::once(self.embed).chain((self.head != self.embed).then_some(self.head));
        tables.map(Stack::table).chain(self.layers.iter().flat_map(DecoderLayer::stacks)).collect()
    }

    /// (B T, C) rows of the embedding.
    pub fn embed(&self, r: &mut Recorder, p: &Params, ids: &Tensor) -> Tensor {
        match p.packed_view(self.embed) {
            Some(table) => packed::gather(r, ids, &table.matrix),
            None => embed::forward(r, ids, &p.value(self.embed)),
        }
    }

    /// (R, C) sums of the embeddings of all tokens at each place, from how often each stands there, (R, V).
    pub fn embed_sums(&self, r: &mut Recorder, p: &Params, counts: &Tensor) -> Tensor {
        let table = p.value(self.embed);
        let x = r.alloc([counts.shape().rows(), table.shape().cols()], "embedded");
        matmul::backward_x(r, counts, &table, Dest::Write(&x));
        x
    }

    /// Adds to the embedding's gradient, if it trains.
    pub fn embed_sums_backward(&self, r: &mut Recorder, p: &Params, counts: &Tensor, dx: &Tensor) {
        if let Some(dtable) = p.grad(self.embed) {
            matmul::backward_w(r, counts, dx, &dtable);
        }
    }

    /// Adds to the embedding's gradient, if it trains.
    pub fn embed_backward(&self, r: &mut Recorder, p: &Params, segments: &Tensor, order: &Tensor, dx: &Tensor) {
        if let Some(dtable) = p.grad(self.embed) {
            embed::backward(r, segments, order, dx, &dtable);
        }
    }

    /// The stream through all layers. With `keep` false nothing is saved.
    pub fn forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        context: &Context<'_>,
        x: Tensor,
        keep: bool,
    ) -> (Tensor, Saved) {
        let (mut x, mut layers, mut hidden) = (x, Vec::new(), Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            let (sequence, link) = context.of(i);
            let (y, saved) = layer.forward(r, p, sequence, link, &x);
            x = y;
            if keep {
                layers.push(saved);
                hidden.push(x.clone());
            }
        }
        (x, Saved { layers, hidden })
    }

    /// Adds the gradients of the layers that `down` reaches.
    pub fn backward(&self, r: &mut Recorder, p: &Params, context: &Context<'_>, saved: Saved, down: &Descent<'_>) {
        let below_all = p.trains(self.embed);
        for (i, (layer, saved)) in self.layers.iter().zip(saved.layers).enumerate().skip(down.lowest).rev() {
            let (sequence, link) = context.of(i);
            let grads = Grads { d: down.d, features: down.features.get(&i), below: i > down.lowest || below_all };
            layer.backward(r, p, sequence, link, saved, grads);
        }
    }

    /// Does layer i have a parameter that trains?
    #[must_use]
    pub fn layer_trains(&self, p: &Params, i: usize) -> bool {
        let l = &self.layers[i];
        let (a, m) = (&l.attention, &l.mlp);
        [a.norm.w, a.q.w, a.k.w, a.v.w, a.o.w, m.norm.w, m.gate.w, m.up.w, m.down.w].iter().any(|w| p.trains(*w))
    }

    fn loss<'a>(head: &'a Tensor, x: &'a Tensor, targets: &'a Tensor, scale: &'a Tensor) -> Loss<'a> {
        Loss { x, head, bias: None, targets, scale }
    }

    /// Adds the mean next-token loss of the stream (R, C) to `loss` (1).
    pub fn loss_forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        x: &Tensor,
        targets: &Tensor,
        scale: &Tensor,
        loss: &Tensor,
    ) -> HeadSaved {
        let (x, norm) = self.norm.forward(r, p, x);
        let head = p.value(self.head);
        let (vocab, cols) = (head.shape().rows(), head.shape().cols());
        let chunks = Chunks::plan(x.shape().rows(), vocab, cols, r.gpu().max_binding);
        let saved = cross_entropy::forward(r, Self::loss(&head, &x, targets, scale), chunks, loss);
        HeadSaved { norm, x, loss: saved }
    }

    /// Gradient of the stream (R, C).
    pub fn loss_backward(
        &self,
        r: &mut Recorder,
        p: &Params,
        saved: HeadSaved,
        targets: &Tensor,
        scale: &Tensor,
    ) -> Tensor {
        let HeadSaved { norm, x, loss } = saved;
        let head = p.value(self.head);
        let dx = r.alloc(x.shape().dims(), "dx");
        let l = Self::loss(&head, &x, targets, scale);
        cross_entropy::backward(r, l, loss, Some(&dx), p.grad(self.head).as_ref(), None);
        let d = r.alloc(x.shape().dims(), "stream gradient");
        self.norm.backward(r, p, norm, &dx, Some(Dest::Write(&d)));
        d
    }

    /// Logits (R, V) of the stream (R, C): for looking and for generation; training never makes them whole.
    pub fn logits(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> Tensor {
        let (x, _) = self.norm.forward(r, p, x);
        p.linear(r, &x, self.head, Epilogue::default(), "logits")
    }
}
