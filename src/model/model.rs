//! A model to run, of any wiring, behind one set of names: text alone, linked, or with the image in the text.

use super::cascade::Cascade;
use super::config::{HiveConfig, LanguageConfig};
use super::hive::Hive;
use super::language::Language;
use super::registry::Registry;
use crate::gpu::{Recorder, Tensor};
use crate::nn::linked_attention::Link;
use crate::nn::{ParamSpec, Params, Stack};

/// How pictures reach the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Not at all.
    Text,
    /// By links.
    Hive,
    /// As tokens in the text.
    Cascade,
}

#[derive(Clone, Debug)]
enum Parts {
    Text(Language),
    Hive(Hive),
    Cascade(Cascade),
}

/// Structure; numbers live in [`Params`].
#[derive(Clone, Debug)]
pub struct Model {
    config: HiveConfig,
    parts: Parts,
}

impl Model {
    /// The structure and the parameters it names.
    #[must_use]
    pub fn new(config: &HiveConfig, wiring: Wiring) -> (Self, Vec<ParamSpec>) {
        let (parts, specs) = match wiring {
            Wiring::Text => {
                let mut g = Registry::default();
                (Parts::Text(Language::new(&mut g, &config.text_config)), g.specs)
            }
            Wiring::Hive => {
                let (model, specs) = Hive::new(config);
                (Parts::Hive(model), specs)
            }
            Wiring::Cascade => {
                let (model, specs) = Cascade::new(config);
                (Parts::Cascade(model), specs)
            }
        };
        (Self { config: config.clone(), parts }, specs)
    }

    /// How pictures reach the text.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        match &self.parts {
            Parts::Text(_) => Wiring::Text,
            Parts::Hive(_) => Wiring::Hive,
            Parts::Cascade(_) => Wiring::Cascade,
        }
    }

    /// What it was built from; the tower's part means nothing where there is none.
    #[must_use]
    pub fn config(&self) -> &HiveConfig {
        &self.config
    }

    /// The language model's part of that.
    #[must_use]
    pub fn language_config(&self) -> &LanguageConfig {
        &self.config.text_config
    }

    /// The decoder.
    #[must_use]
    pub fn language(&self) -> &Language {
        match &self.parts {
            Parts::Text(language) => language,
            Parts::Hive(model) => &model.language,
            Parts::Cascade(model) => &model.language,
        }
    }

    /// Can it be shown a picture?
    #[must_use]
    pub fn sees(&self) -> bool {
        match &self.parts {
            Parts::Text(_) => false,
            Parts::Hive(model) => !model.links.is_empty(),
            Parts::Cascade(_) => true,
        }
    }

    /// The links of a linked model.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        match &self.parts {
            Parts::Hive(model) => &model.links,
            Parts::Text(_) | Parts::Cascade(_) => &[],
        }
    }

    /// The link of decoder layer i.
    #[must_use]
    pub fn link_of(&self, layer: usize) -> Option<&Link> {
        match &self.parts {
            Parts::Hive(model) => model.link_of(layer).map(|i| &model.links[i]),
            Parts::Text(_) | Parts::Cascade(_) => None,
        }
    }

    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        match &self.parts {
            Parts::Text(language) => language.stacks(),
            Parts::Hive(model) => model.stacks(),
            Parts::Cascade(model) => model.stacks(),
        }
    }

    /// Hidden states of the tower, (N, W) each: one per link, or the penultimate one.
    pub fn features(&self, r: &mut Recorder, p: &Params, rows: &Tensor, pixels: &Tensor) -> Vec<Tensor> {
        match &self.parts {
            Parts::Text(_) => Vec::new(),
            Parts::Hive(model) => model.vision.states(r, p, rows, pixels, &self.config.link_config.vision_layers),
            Parts::Cascade(model) => vec![model.penultimate(r, p, rows, pixels)],
        }
    }

    /// Image rows (N, C) of a model that has them in its text, from the penultimate state.
    pub fn image_rows(&self, r: &mut Recorder, p: &Params, features: &Tensor) -> Tensor {
        match &self.parts {
            Parts::Cascade(model) => model.project(r, p, features),
            Parts::Text(_) | Parts::Hive(_) => features.clone(),
        }
    }
}
