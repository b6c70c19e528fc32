//! The flattened control: penultimate state -> Linear, GELU (erf), Linear -> N tokens spliced into the text at the offset.

use super::config::HiveConfig;
use super::inputs::Inputs;
use super::language::{self, HeadSaved, Language};
use super::registry::Registry;
use super::vision::{self, Vision};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::nn::{ParamSpec, Params, Projector, Stack, projector};
use crate::ops::splice::Sizes;

/// Structure.
#[derive(Clone, Debug)]
pub struct Cascade {
    /// What it was built from.
    pub config: HiveConfig,
    vision: Vision,
    projector: Projector,
    pub(super) language: Language,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    vision: vision::Saved,
    projector: projector::Saved,
    language: language::Saved,
    head: HeadSaved,
}

impl Saved {
    /// (R, 4): max, sum of exponentials, target logit, greedy token of each text row.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        self.head.state()
    }
}

impl Cascade {
    /// The structure and the parameters it names.
    #[must_use]
    pub fn new(config: &HiveConfig) -> (Self, Vec<ParamSpec>) {
        let mut g = Registry::default();
        let (v, c) = (&config.vision_config, &config.text_config);
        let model = Self {
            config: config.clone(),
            vision: Vision::new(&mut g, v),
            projector: Projector {
                fc1: g.linear("mm_projector.0", c.hidden_size, v.hidden_size, true),
                fc2: g.linear("mm_projector.2", c.hidden_size, c.hidden_size, true),
            },
            language: Language::new(&mut g, c),
        };
        (model, g.specs)
    }

    /// How the weights of a model to run lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        let mut all = self.vision.stacks();
        all.extend(self.projector.stacks());
        all.extend(self.language.stacks());
        all
    }

    fn sizes(&self, inputs: &Inputs) -> Sizes {
        Sizes {
            batch: inputs.batch,
            text: inputs.text,
            image: self.config.vision_config.tokens(),
            cols: self.config.text_config.hidden_size,
        }
    }

    /// The tower's penultimate state (B N, W).
    pub(super) fn penultimate(&self, r: &mut Recorder, p: &Params, rows: &Tensor, pixels: &Tensor) -> Tensor {
        let depth = self.config.vision_config.num_hidden_layers - 1;
        self.vision.states(r, p, rows, pixels, &[depth]).remove(0)
    }

    /// Image rows (B N, C) from that.
    pub(super) fn project(&self, r: &mut Recorder, p: &Params, state: &Tensor) -> Tensor {
        self.projector.forward(r, p, state).0
    }

    /// Text rows (B T, C) after all layers.
    fn stream(
        &self,
        r: &mut Recorder,
        p: &Params,
        inputs: &Inputs,
    ) -> (Tensor, vision::Saved, projector::Saved, language::Saved) {
        let depth = self.config.vision_config.num_hidden_layers - 1;
        let vision = self.vision.forward(r, p, &inputs.rows, &inputs.pixels, depth, self.vision.trains(p));
        let (image, projector) = self.projector.forward(r, p, &vision.states[depth]);
        let text = self.language.embed(r, p, &inputs.ids);
        let x = self.sizes(inputs).join(r, &inputs.rows, &text, &image);
        let sequence = inputs.joined_sequence();
        let (x, language) = self.language.forward(r, p, (&sequence, &sequence), |_| None, x, true);
        (self.sizes(inputs).text(r, &inputs.rows, &x), vision, projector, language)
    }

    /// Loss of the inputs' batch, added to `loss` (1).
    pub fn forward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, loss: &Tensor) -> Saved {
        let (x, vision, projector, language) = self.stream(r, p, inputs);
        let head = self.language.loss_forward(r, p, &x, &inputs.targets, &inputs.scale, loss);
        Saved { vision, projector, language, head }
    }

    /// Logits (B T, V) at the text positions.
    pub fn logits(&self, r: &mut Recorder, p: &Params, inputs: &Inputs) -> Tensor {
        let x = self.stream(r, p, inputs).0;
        self.language.logits(r, p, &x)
    }

    /// Adds the gradients of the loss to those of all trained parameters.
    pub fn backward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, saved: Saved) {
        let Saved { vision, projector, language, head } = saved;
        let (sizes, rows) = (self.sizes(inputs), &inputs.rows);
        let dx = self.language.loss_backward(r, p, head, &inputs.targets, &inputs.scale);
        let d = sizes.text_backward(r, rows, &dx);
        let sequence = inputs.joined_sequence();
        self.language.backward(r, p, (&sequence, &sequence), |_| None, language, &d, |_| None, 0);
        let dtext = sizes.text(r, rows, &d);
        self.language.embed_backward(r, p, &inputs.segments, &inputs.order, &dtext);
        let dimage = sizes.image(r, rows, &d);
        let depth = vision.states.len() - 1;
        let dfeatures = r.alloc(vision.states[depth].shape().dims(), "features gradient");
        let down = self.vision.trains(p);
        self.projector.backward(r, p, projector, &dimage, down.then_some(Dest::Write(&dfeatures)));
        if down {
            let mut gradients = vec![None; depth + 1];
            gradients[depth] = Some(dfeatures);
            self.vision.backward(r, p, vision, &mut gradients);
        }
    }
}
