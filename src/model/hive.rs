//! HIVE: patches -> vision (keep the linked states) -> for each decoder layer linked attention if it is linked, else
//! self-attention -> loss. Backward is the same list upside down.

use super::config::HiveConfig;
use super::inputs::Inputs;
use super::language::{self, HeadSaved, Language};
use super::registry::Registry;
use super::vision::{self, Vision};
use crate::gpu::{Recorder, Tensor};
use crate::nn::decoder_layer::LinkInput;
use crate::nn::linked_attention::Link;
use crate::nn::{ParamSpec, Params, Stack};

/// The model: structure only; numbers live in [`Params`].
#[derive(Clone, Debug)]
pub struct Hive {
    /// What it was built from.
    pub config: HiveConfig,
    /// Tower.
    pub vision: Vision,
    /// Decoder.
    pub language: Language,
    /// One per linked layer.
    pub links: Vec<Link>,
}

/// What backward, and whoever wants to look, needs.
#[must_use]
pub struct Saved {
    vision: Option<vision::Saved>,
    /// Hidden states of the tower that links read, by depth.
    features: Vec<Tensor>,
    /// Layers of the decoder.
    pub language: language::Saved,
    head: HeadSaved,
}

impl Saved {
    /// (R, 4): max, sum of exponentials, target logit, greedy token of each text row.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        self.head.state()
    }

    /// Hidden states of the tower, 0 .. deepest link.
    #[must_use]
    pub fn vision_states(&self) -> &[Tensor] {
        self.vision.as_ref().map_or(&[], |v| &v.states)
    }
}

impl Hive {
    /// The structure and the parameters it names.
    #[must_use]
    pub fn new(config: &HiveConfig) -> (Self, Vec<ParamSpec>) {
        let mut g = Registry::default();
        let (v, c, l) = (&config.vision_config, &config.text_config, &config.link_config);
        let vision = Vision::new(&mut g, v);
        let language = Language::new(&mut g, c);
        let layer = |i: usize| &language.layers[i].attention;
        let links = l.language_layers.iter().enumerate().map(|(i, &at)| g.link(v, c, l, i, layer(at))).collect();
        (Self { config: config.clone(), vision, language, links }, g.specs)
    }

    /// How the weights of a model to run lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        let layer = |at: &usize| &self.language.layers[*at].attention;
        let links = self.links.iter().zip(&self.config.link_config.language_layers);
        let mut all = self.vision.stacks();
        all.extend(links.flat_map(|(link, at)| link.stacks(layer(at))));
        all.extend(self.language.stacks());
        all
    }

    /// The link of decoder layer i: its index.
    pub(super) fn link_of(&self, layer: usize) -> Option<usize> {
        self.config.link_config.language_layers.iter().position(|l| *l == layer)
    }

    pub(super) fn depth(&self) -> usize {
        self.config.link_config.vision_layers.iter().copied().max().unwrap_or(0)
    }

    /// Loss of the inputs' batch, added to `loss` (1). Without an image every layer is an ordinary one.
    pub fn forward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, loss: &Tensor) -> Saved {
        let linked = inputs.with_image && !self.links.is_empty();
        let keep = self.vision.trains(p);
        let vision = linked.then(|| self.vision.forward(r, p, &inputs.rows, &inputs.pixels, self.depth(), keep));
        let features = self.features(vision.as_ref());
        let (x, language) = self.text_forward(r, p, inputs, &features, true);
        let head = self.language.loss_forward(r, p, &x, &inputs.targets, &inputs.scale, loss);
        Saved { vision: if keep { vision } else { None }, features, language, head }
    }

    /// The state each link reads.
    fn features(&self, vision: Option<&vision::Saved>) -> Vec<Tensor> {
        vision.map_or(Vec::new(), |v| {
            self.config.link_config.vision_layers.iter().map(|depth| v.states[*depth].clone()).collect()
        })
    }

    fn text_forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        inputs: &Inputs,
        features: &[Tensor],
        keep: bool,
    ) -> (Tensor, language::Saved) {
        let (plain, linked) = (inputs.sequence(0), inputs.sequence(self.config.vision_config.tokens()));
        let x = self.language.embed(r, p, &inputs.ids);
        self.language.forward(r, p, (&plain, &linked), |i| self.link_input(i, inputs, features), x, keep)
    }

    fn link_input<'a>(&'a self, layer: usize, inputs: &'a Inputs, features: &'a [Tensor]) -> Option<LinkInput<'a>> {
        let i = self.link_of(layer)?;
        Some(LinkInput { link: &self.links[i], features: features.get(i)?, tables: &inputs.linked })
    }

    /// Adds the gradients of the loss to those of all trained parameters.
    pub fn backward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, saved: Saved) {
        let Saved { vision, features, language, head } = saved;
        let d = self.language.loss_backward(r, p, head, &inputs.targets, &inputs.scale);
        // One gradient per linked depth; links of the same depth add to the same.
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.depth() + 1];
        if vision.is_some() {
            for &depth in &self.config.link_config.vision_layers {
                if gradients[depth].is_none() {
                    let g = r.alloc(features[0].shape().dims(), "features gradient");
                    r.zero(&g);
                    gradients[depth] = Some(g);
                }
            }
        }
        let dfeatures = |layer: usize| {
            let i = self.link_of(layer)?;
            gradients[self.config.link_config.vision_layers[i]].clone()
        };
        let (plain, linked) = (inputs.sequence(0), inputs.sequence(self.config.vision_config.tokens()));
        let link = |i| self.link_input(i, inputs, &features);
        let lowest = self.lowest(p, !features.is_empty());
        self.language.backward(r, p, (&plain, &linked), link, language, &d, dfeatures, lowest);
        self.language.embed_backward(r, p, &inputs.segments, &inputs.order, &d);
        if let Some(vision) = vision {
            self.vision.backward(r, p, vision, &mut gradients);
        }
    }

    /// The lowest decoder layer that backward must reach.
    fn lowest(&self, p: &Params, linked: bool) -> usize {
        if p.trains(self.language.embed) {
            return 0;
        }
        let reaches = |i: usize| {
            let link = self.link_of(i).filter(|_| linked);
            self.language.layer_trains(p, i)
                || link.is_some_and(|l| p.trains(self.links[l].projector.fc1.w) || self.vision.trains(p))
        };
        (0..self.language.layers.len()).find(|i| reaches(*i)).unwrap_or(self.language.layers.len())
    }

    /// Inference on a batch: logits (B T, V), streams after each layer, and softmax rows of linked layers.
    pub fn look(&self, r: &mut Recorder, p: &Params, inputs: &Inputs) -> Look {
        let linked = inputs.with_image && !self.links.is_empty();
        let vision = linked.then(|| {
            self.vision.forward(r, p, &inputs.rows, &inputs.pixels, self.config.vision_config.num_hidden_layers, false)
        });
        let features = self.features(vision.as_ref());
        let (x, language) = self.text_forward(r, p, inputs, &features, true);
        let linked_layers = self.config.link_config.language_layers.iter().filter(|_| linked);
        let attention = linked_layers.filter_map(|&i| Some((i, language.probabilities(r, i)?))).collect();
        Look {
            logits: self.language.logits(r, p, &x),
            vision: vision.map_or(Vec::new(), |v| v.states),
            hidden: language.hidden,
            attention,
        }
    }
}

/// What [`Hive::look`] shows.
pub struct Look {
    /// (B T, V).
    pub logits: Tensor,
    /// Hidden states of the tower, (B N, W) each.
    pub vision: Vec<Tensor>,
    /// Text stream after each layer, (B T, C).
    pub hidden: Vec<Tensor>,
    /// Softmax rows (B, H, T, T + N) of each linked layer.
    pub attention: Vec<(usize, Tensor)>,
}
