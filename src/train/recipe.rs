//! Recipes: what a stage does, as JSON. Presets in `assets/presets/`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::schedule::Schedule;
use super::stage::{Scope, Stage};
use crate::model::config::{ConfigError, HiveConfig, Wiring};
use crate::model::limits::parameters;

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StageRecipe {
    pub steps: u64,
    pub learning_rate: f64,
    /// Share of steps that warm up.
    #[serde(default = "default_warmup")]
    pub warmup_ratio: f64,
    /// Lowest rate as a share of the peak.
    #[serde(default = "default_floor")]
    pub floor: f64,
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// Gradient norm above which gradients are scaled down; 0: never.
    #[serde(default = "default_norm")]
    pub max_grad_norm: f64,
    /// Weight decay of matrices.
    #[serde(default = "default_decay")]
    pub weight_decay: f64,
    pub batch: usize,
    /// Micro-batches per optimiser step.
    #[serde(default = "one")]
    pub accumulate: usize,
}

fn default_warmup() -> f64 {
    0.03
}
fn default_floor() -> f64 {
    0.1
}
fn default_beta2() -> f64 {
    0.95
}
fn default_norm() -> f64 {
    1.0
}
fn default_decay() -> f64 {
    1e-5
}
fn one() -> usize {
    1
}

impl StageRecipe {
    /// Its learning-rate schedule.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule { learning_rate: self.learning_rate, warmup_ratio: self.warmup_ratio, floor: self.floor }
    }
}

/// How a start weight is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Init {
    /// Standard deviation of token embeddings.
    pub embed_std: f64,
    /// Residual outputs (o, down, out, fc2) get this share of fan-in scaling, over sqrt(2 layers).
    pub residual_scale: f64,
    /// Standard deviation of position embeddings; they start as 2-D sines of about this size.
    pub position_std: f64,
    /// First value of the QK-norm gains.
    pub qk_gain: f64,
}

impl Default for Init {
    fn default() -> Self {
        Self { embed_std: 0.2, residual_scale: 0.3, position_std: 0.707, qk_gain: 1.6 }
    }
}

/// How the tower learns to name what each patch shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Naming {
    /// Nothing: by a linear head that learns too. A number: by fixed codes of the classes, of the row and of the column, each
    /// of this length; then what a name does not need only costs, and the tower drops it on the way up.
    pub codes: Option<f64>,
    /// From pictures without colour, by patch filters that see none afterwards either.
    pub grey: bool,
}

fn default_text_tokens() -> usize {
    64
}

/// What training rows are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataRecipe {
    /// Weight of each kind of question, in the data set's order; empty: the data set's own.
    pub mix: Vec<f32>,
    /// Share of the scenes with a single thing that are kept.
    pub keep_single: f64,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self { mix: Vec::new(), keep_single: 1.0 }
    }
}

/// A whole run: data, model, pre-training and the three stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Preset {
    pub name: String,
    /// One line for people.
    pub about: String,
    /// A generated data set, or `folder`.
    pub data: String,
    pub model: HiveConfig,
    #[serde(default)]
    pub wiring: Wiring,
    /// What stages 2 and 3 train of the language model.
    #[serde(default)]
    pub scope: Scope,
    /// Do image keys and values keep the text's projections in stages 2 and 3?
    #[serde(default)]
    pub shared_image_kv: bool,
    /// Mix of questions and scenes.
    #[serde(default)]
    pub mix: DataRecipe,
    /// Text tokens per training row.
    pub tokens: usize,
    /// Text tokens per row of language pre-training.
    #[serde(default = "default_text_tokens")]
    pub text_tokens: usize,
    /// Turns per training row at most.
    pub turns: usize,
    #[serde(default)]
    pub init: Init,
    #[serde(default)]
    pub naming: Naming,
    #[serde(default)]
    pub pretrain_vision: Option<StageRecipe>,
    #[serde(default)]
    pub pretrain_language: Option<StageRecipe>,
    /// The three stages; a stage may be left out.
    pub stages: Vec<(Stage, StageRecipe)>,
    /// Seed of data and start values.
    #[serde(default)]
    pub seed: u64,
}

/// Parameters at most: they are drawn on the host.
const MOST_PARAMETERS: f64 = (1_u64 << 31) as f64;
const MOST_TURNS: usize = 256;
/// Of a batch, and batches of a step.
const MOST_ROWS: usize = 1 << 16;
const MOST_STEPS: u64 = 1_000_000_000;
/// Of a stage; the next one's lie 2^40 behind.
const MOST_SAMPLES: f64 = 1e12;

/// Names of the orders of links.
pub const ORDERS: [&str; 3] = ["paper", "deep-first", "last"];

/// A preset that cannot be used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum PresetError {
    /// Not JSON of that form.
    #[error("the preset is not valid: {0}. Compare it with assets/presets/pictures.json")]
    Json(#[from] serde_json::Error),
    /// A model that cannot be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Links that the model cannot have.
    #[error(
        "links can be paper (shallow states to early layers), deep-first, last, or {count} depths such as {example}, each at most {blocks}; not \"{given}\""
    )]
    Links { given: String, count: usize, blocks: usize, example: String },
    /// A number out of range.
    #[error("the preset's {what} is {value}; it must be {need}")]
    Range { what: String, value: f64, need: &'static str },
}

impl Preset {
    /// From JSON, checked.
    pub fn parse(text: &str) -> Result<Self, PresetError> {
        let preset: Self = serde_json::from_str(text)?;
        preset.check()?;
        Ok(preset)
    }

    /// Can it run?
    pub fn check(&self) -> Result<(), PresetError> {
        self.model.check()?;
        let range = |what: String, value: f64, ok: bool, need| {
            if ok { Ok(()) } else { Err(PresetError::Range { what, value, need }) }
        };
        let v = &self.model.vision_config;
        range(
            "model.vision_config.image_size".into(),
            v.image_size as f64,
            v.image_size.is_multiple_of(v.patch_size),
            "a multiple of patch_size, or pixels at two sides are never seen",
        )?;
        let all = parameters(&self.model);
        range(
            "number of parameters".into(),
            all,
            all <= MOST_PARAMETERS,
            "at most 2^31, as they are drawn on the host",
        )?;
        for (name, tokens) in [("tokens", self.tokens), ("text_tokens", self.text_tokens)] {
            range(name.into(), tokens as f64, (4..=4096).contains(&tokens), "from 4 to 4096")?;
        }
        range("turns".into(), self.turns as f64, (1..=MOST_TURNS).contains(&self.turns), "from 1 to 256")?;
        let init = &self.init;
        for (name, value) in [
            ("init.embed_std", init.embed_std),
            ("init.residual_scale", init.residual_scale),
            ("init.position_std", init.position_std),
            ("init.qk_gain", init.qk_gain),
            ("model.vision_config.layer_norm_eps", self.model.vision_config.layer_norm_eps),
            ("model.text_config.rms_norm_eps", self.model.text_config.rms_norm_eps),
        ] {
            range(name.into(), value, (value as f32).is_finite(), "a number that f32 has")?;
        }
        let codes = self.naming.codes.unwrap_or(1.0);
        range("naming.codes".into(), codes, (0.0..=1e6).contains(&codes), "from 0 to 1e6")?;
        let keep = self.mix.keep_single;
        range("mix.keep_single".into(), keep, (0.0..=1.0).contains(&keep), "from 0 to 1")?;
        for (i, weight) in self.mix.mix.iter().enumerate() {
            range(format!("mix.mix.{i}"), (*weight).into(), (0.0..=1e6).contains(weight), "from 0 to 1e6")?;
        }
        let twice = self.stages.windows(2).any(|pair| pair[0].0 >= pair[1].0);
        range("number of stages".into(), self.stages.len() as f64, !twice, "a rising list: each stage once at most")?;
        self.check_recipes(range)
    }

    fn check_recipes(
        &self,
        range: impl Fn(String, f64, bool, &'static str) -> Result<(), PresetError>,
    ) -> Result<(), PresetError> {
        let named = self.stages.iter().map(|(s, r)| (format!("stage {}", s.number()), r));
        let pre = self.pretrain_vision.iter().map(|r| ("pretrain_vision".to_owned(), r));
        let language = self.pretrain_language.iter().map(|r| ("pretrain_language".to_owned(), r));
        for (name, r) in named.chain(pre).chain(language) {
            let many = |n: usize| (1..=MOST_ROWS).contains(&n);
            range(format!("{name} batch"), r.batch as f64, many(r.batch), "from 1 to 65536")?;
            range(format!("{name} accumulate"), r.accumulate as f64, many(r.accumulate), "from 1 to 65536")?;
            // Each stage has so many samples of its own.
            let samples = r.steps as f64 * (r.batch * r.accumulate) as f64;
            let enough = samples <= MOST_SAMPLES && r.steps <= MOST_STEPS;
            let need = "at most 1e9, and steps x batch x accumulate at most 1e12";
            range(format!("{name} steps"), r.steps as f64, enough, need)?;
            let rate_ok = r.learning_rate > 0.0 && r.learning_rate <= 1.0;
            range(format!("{name} learning_rate"), r.learning_rate, rate_ok, "above 0 and at most 1")?;
            range(format!("{name} beta2"), r.beta2, (0.0..1.0).contains(&r.beta2), "from 0 to below 1")?;
            range(
                format!("{name} warmup_ratio"),
                r.warmup_ratio,
                (0.0..=1.0).contains(&r.warmup_ratio),
                "from 0 to 1",
            )?;
            range(format!("{name} floor"), r.floor, (0.0..=1.0).contains(&r.floor), "from 0 to 1")?;
            for (key, value) in [("max_grad_norm", r.max_grad_norm), ("weight_decay", r.weight_decay)] {
                let need = "at least 0, and a number that f32 has";
                range(format!("{name} {key}"), value, value >= 0.0 && (value as f32).is_finite(), need)?;
            }
        }
        Ok(())
    }

    /// The recipe of a stage.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<&StageRecipe> {
        self.stages.iter().find(|(s, _)| *s == stage).map(|(_, r)| r)
    }

    /// Which depth each linked layer reads, by name or as a list: `paper` spreads them evenly up to the deepest, shallow states
    /// to early layers; `deep-first` is that backwards; `last` is the deepest for all.
    ///
    /// # Errors
    /// Another name, another number of depths than linked layers, or a depth that the tower does not have.
    pub fn set_links(&mut self, given: &str) -> Result<(), PresetError> {
        let links = &mut self.model.link_config;
        let (count, blocks) = (links.language_layers.len(), self.model.vision_config.num_hidden_layers);
        let deepest = links.deepest().unwrap_or(blocks);
        let paper = || (1..=count).map(|i| (i as f64 * deepest as f64 / count as f64).round() as usize);
        let depths: Option<Vec<usize>> = match given {
            "paper" => Some(paper().collect()),
            "deep-first" => Some(paper().rev().collect()),
            "last" => Some(vec![deepest; count]),
            list => list.split(',').map(|d| d.trim().parse().ok()).collect(),
        };
        match depths.filter(|d| d.len() == count && d.iter().all(|d| *d <= blocks)) {
            Some(depths) => links.vision_layers = depths,
            None => {
                let example = paper().map(|d| d.to_string()).collect::<Vec<_>>().join(",");
                return Err(PresetError::Links { given: given.to_owned(), count, blocks, example });
            }
        }
        Ok(())
    }

    /// Gives a stage this recipe, in the stages' order.
    pub fn set_stage(&mut self, stage: Stage, recipe: StageRecipe) {
        self.stages.retain(|(s, _)| *s != stage);
        self.stages.push((stage, recipe));
        self.stages.sort_by_key(|(s, _)| *s);
    }
}
