//! The comparison that HIVE is about, at a size that runs here: links at several depths, in either order, against single depths
//! and the flattened control, with the same data, seeds, steps and stages; then each tower judged as the paper judges them. Every
//! number comes from a preset and a seed; nothing is chosen by held-out questions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::cost::Cost;
use super::depths::Depths;
use super::evaluate::{Asked, EvaluateError, Evaluator, Label, Picture, Scores};
use super::recipe::{Preset, PresetError};
use super::run::Run;
use super::source::Source;
use super::stage::{Scope, Stage};
use super::statistics::median;
use super::trainer::Report;
use crate::gpu::Gpu;
use crate::model::config::{RopeLayout, Wiring};
use crate::model::probe::Kind;
use crate::model::weights::WeightsError;
use crate::nn::params::Weights;
use crate::platform::now_secs;

/// The arm that the others are compared with.
pub const REFERENCE: &str = "deep first";
/// The tower as it is before any stage.
pub const UNTOUCHED: &str = "untouched tower";

/// What is compared.
#[derive(Clone, Debug)]
pub struct Arm {
    /// Its name in tables and files.
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// With its wiring and links.
    pub preset: Preset,
    /// Is it one of the comparison, whose tower is judged? Else it takes something away from [`REFERENCE`].
    pub compared: bool,
}

/// Why a study stopped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum StudyError {
    #[error(transparent)]
    Preset(#[from] PresetError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("stopped")]
    Stopped,
}

impl From<crate::gpu::GpuError> for StudyError {
    fn from(e: crate::gpu::GpuError) -> Self {
        EvaluateError::from(e).into()
    }
}

/// All arms of a preset with links: both orders, each depth for all links, the flattened control with as many trained parameters
/// and as published; then what is taken away from [`REFERENCE`].
///
/// # Errors
/// A preset whose links cannot be set so.
pub fn arms(base: &Preset) -> Result<Vec<Arm>, PresetError> {
    let mut out = Vec::new();
    let linked = |name: &str, about: String, links: &str, compared: bool| {
        let mut preset = base.clone();
        preset.set_links(links)?;
        Ok::<Arm, PresetError>(Arm { name: name.to_owned(), about, preset, compared })
    };
    let count = base.model.link_config.language_layers.len();
    let deepest = base.model.link_config.deepest().unwrap_or(0);
    out.push(linked(REFERENCE, "each link its own depth, deep states to early layers".into(), "deep-first", true)?);
    out.push(linked("paper", "each link its own depth, shallow states to early layers".into(), "paper", true)?);
    for depth in 1..=deepest {
        let list = vec![depth.to_string(); count].join(",");
        out.push(linked(&format!("depth {depth}"), format!("all links read depth {depth}"), &list, true)?);
    }
    let reference = out[0].preset.clone();
    let taking = |name: &str, about: &str, compared: bool, change: &dyn Fn(&mut Preset)| {
        let mut preset = reference.clone();
        change(&mut preset);
        Arm { name: name.to_owned(), about: about.to_owned(), preset, compared }
    };
    let flattened = |preset: &mut Preset| preset.wiring = Wiring::Flattened;
    out.push(taking(
        "flattened",
        "the last state but one as tokens of the text; the same language parameters train",
        true,
        &flattened,
    ));
    out.push(taking(
        "flattened, published",
        "the same; of the language model only the first attention trains",
        true,
        &|p| {
            flattened(p);
            p.scope = Scope::Linked;
            keep_links(p, 1);
        },
    ));
    for kept in [1, count / 2].into_iter().filter(|n| (1..count).contains(n)) {
        let about = format!("only the first {kept} of {count} links");
        out.push(taking(&format!("{kept} of {count} links"), &about, false, &|p| keep_links(p, kept)));
    }
    let layout = |p: &mut Preset| p.model.link_config.rope_layout = RopeLayout::Released;
    out.push(taking(
        "published positions",
        "image keys' frequencies in the order of the published code",
        false,
        &layout,
    ));
    let flat = |p: &mut Preset| p.model.link_config.rope_2d = false;
    out.push(taking(
        "positions in a row",
        "patches are numbered one after the other, not by row and column",
        false,
        &flat,
    ));
    let shared = |p: &mut Preset| p.shared_image_kv = true;
    out.push(taking("shared image keys", "image keys and values keep the text's projections", false, &shared));
    for stage in [Stage::Connector, Stage::Adaptation] {
        let name = format!("without stage {}", stage.number());
        out.push(taking(&name, "this stage is skipped", false, &|p| p.stages.retain(|(s, _)| *s != stage)));
    }
    Ok(out)
}

fn keep_links(preset: &mut Preset, count: usize) {
    let links = &mut preset.model.link_config;
    links.vision_layers.truncate(count);
    links.language_layers.truncate(count);
}

/// What a step took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StepCost {
    pub stage: Stage,
    /// Computed.
    #[serde(with = "super::floats")]
    pub flops: f64,
    /// Median over the stage's steps, seconds.
    #[serde(with = "super::floats")]
    pub secs: f64,
    /// Of parameters, gradients, moments and temporaries, as allocated.
    pub bytes: u64,
    pub dispatches: usize,
}

/// Scores with which questions were answered exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Row {
    pub label: Label,
    pub scores: Scores,
    /// Question by question, 1 for exact.
    pub exact: String,
}

impl Row {
    fn new(label: Label, (scores, exact): (Scores, Vec<bool>)) -> Self {
        let exact = exact.iter().map(|hit| if *hit { '1' } else { '0' }).collect();
        Self { label, scores, exact }
    }

    /// Question by question.
    #[must_use]
    pub fn hits(&self) -> Vec<bool> {
        self.exact.bytes().map(|b| b == b'1').collect()
    }
}

/// What a tower is worth to others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// A vision-language model in LLaVA's wiring, with the language model as it was at the start, on the frozen tower.
    pub downstream: Option<Row>,
    /// By kind of probe.
    pub probes: BTreeMap<String, Depths>,
}

/// What came of one arm with one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Outcome {
    pub arm: String,
    pub seed: u64,
    /// All learning rates times this, chosen by validation questions.
    #[serde(with = "super::floats")]
    pub rate: f64,
    pub rows: Vec<Row>,
    pub costs: Vec<StepCost>,
    /// Mean gradient norm of each part of the model in stage 3.
    #[serde(with = "super::floats")]
    pub norms: Vec<(String, f64)>,
    /// With the link of a decoder layer cut at answer time.
    pub cut: Vec<(usize, Row)>,
    pub judged: Option<Judged>,
}

impl Outcome {
    /// The row of that label.
    #[must_use]
    pub fn row(&self, label: Label) -> Option<&Row> {
        self.rows.iter().find(|r| r.label == label)
    }
}

/// How much is done of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Held-out questions after each stage.
    pub questions: usize,
    /// Factors of the learning rates that are tried; one: none are.
    #[serde(with = "super::floats")]
    pub rates: Vec<f64>,
    /// Share of the steps that a try takes.
    #[serde(with = "super::floats")]
    pub tried: f64,
    /// Kinds of probes, by name.
    pub probes: Vec<String>,
}

/// The kinds of probes by name.
pub const PROBES: [(&str, Kind); 3] = [("link", Kind::Link), ("attentive", Kind::Attentive), ("linear", Kind::Linear)];

/// What a study works with.
#[allow(missing_docs, reason = "the names say it")]
pub struct Bench<'a> {
    pub gpu: &'a Gpu,
    pub start: &'a Weights,
    pub settings: &'a Settings,
    /// Makes the data of a preset.
    pub source: &'a dyn Fn(&Preset) -> Source,
    /// Hears what is trained, and each step.
    pub tell: &'a dyn Fn(&str, u64, &Report),
    /// Is it to end?
    pub ended: &'a dyn Fn() -> bool,
}

impl Bench<'_> {
    fn run(&self, preset: &Preset, start: &Weights) -> Result<Run, StudyError> {
        Ok(Run::new(self.gpu, preset.clone(), (self.source)(preset), start)?)
    }

    fn go_on(&self) -> Result<(), StudyError> {
        if (self.ended)() { Err(StudyError::Stopped) } else { Ok(()) }
    }

    /// Answers of the weights as they are, with the links of these layers cut.
    async fn answers(
        &self,
        run: &Run,
        asked: Asked,
        picture: Picture,
        cut: &[usize],
    ) -> Result<(Scores, Vec<bool>), StudyError> {
        self.go_on()?;
        let (model, params) = run.on_gpu();
        let count = self.settings.questions;
        let tokens = run.source.question_tokens(run.preset.tokens);
        let evaluator = Evaluator::for_questions(&model.without(cut), &params, tokens, count, picture != Picture::None);
        Ok(evaluator.answers(&run.source, asked, picture, count).await?)
    }

    /// Held-out answers.
    async fn row(&self, run: &Run, label: Label) -> Result<Row, StudyError> {
        Ok(Row::new(label, self.answers(run, Asked::HeldOut, label.picture, &[]).await?))
    }

    /// The factor of the learning rates that serves an arm best: three short stages with each, validation questions after them.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn tune(&self, arm: &Arm, seed: u64) -> Result<Vec<(f64, f64)>, StudyError> {
        let mut found = Vec::new();
        for rate in &self.settings.rates {
            let mut preset = paced(&arm.preset, seed, *rate);
            preset.stages.iter_mut().for_each(|(_, r)| r.steps = (r.steps as f64 * self.settings.tried).ceil() as u64);
            let mut run = self.run(&preset, self.start)?;
            for (stage, _) in &preset.stages {
                self.stage(&mut run, *stage, &format!("{}, rates x {rate}", arm.name), &mut Vec::new()).await?;
            }
            let (scores, _) = self.answers(&run, Asked::Validation, Picture::Own, &[]).await?;
            found.push((*rate, scores.all.value()));
        }
        Ok(found)
    }

    /// One stage to its end; gives the cost of its steps, and adds gradient norms now and then.
    async fn stage(
        &self,
        run: &mut Run,
        stage: Stage,
        title: &str,
        norms: &mut Vec<(String, f64)>,
    ) -> Result<Option<StepCost>, StudyError> {
        let before = self.gpu.allocated_bytes();
        run.enter(stage).await?;
        let bytes = self.gpu.allocated_bytes() - before;
        let cost = run.trainer().map(Cost::of);
        let secs = self.steps(run, &format!("{title}, stage {}", stage.number()), norms).await?;
        run.leave().await?;
        Ok(cost.map(|c| StepCost { stage, flops: c.flops, secs, bytes, dispatches: c.dispatches }))
    }

    /// All steps that are left; their median time.
    async fn steps(&self, run: &mut Run, title: &str, norms: &mut Vec<(String, f64)>) -> Result<f64, StudyError> {
        let steps = run.trainer().map_or(0, |t| t.recipe().steps);
        let every = (steps / NORMS).max(1);
        let (mut times, mut start) = (Vec::new(), now_secs());
        while let Some(report) = run.step().await? {
            times.push(now_secs() - start);
            (self.tell)(title, steps, &report);
            self.go_on()?;
            if let Some(trainer) = run.trainer().filter(|_| report.update.is_multiple_of(every)) {
                norms.extend(trainer.gradient_norms().await?.into_iter().map(|(name, n)| (name, f64::from(n))));
            }
            start = now_secs();
        }
        Ok(median(times).unwrap_or(0.0))
    }

    /// An arm with a seed: its stages, stage 2 going on instead of stage 3, links cut one by one, and its tower judged. Also the
    /// model after the last stage.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn outcome(&self, arm: &Arm, seed: u64, rate: f64) -> Result<(Outcome, Checkpoint), StudyError> {
        let preset = paced(&arm.preset, seed, rate);
        let mut out = Outcome { arm: arm.name.clone(), seed, rate, ..Outcome::default() };
        let mut run = self.run(&preset, self.start)?;
        out.rows.push(self.row(&run, Label::ALONE).await?);
        let mut between = None;
        for (stage, _) in &preset.stages {
            let mut norms = Vec::new();
            out.costs.extend(self.stage(&mut run, *stage, &format!("{} {seed}", arm.name), &mut norms).await?);
            for picture in [Picture::Own, Picture::Swapped] {
                out.rows.push(self.row(&run, Label { picture, ..Label::after(*stage) }).await?);
            }
            match stage {
                Stage::Adaptation => between = Some(run.checkpoint().await?),
                Stage::Vision => out.norms = means(norms),
                Stage::Connector => {}
            }
        }
        for layer in run.config().link_config.language_layers.clone() {
            if preset.wiring == Wiring::Linked {
                let answers = self.answers(&run, Asked::HeldOut, Picture::Own, &[layer]).await?;
                out.cut.push((layer, Row::new(Label::after(Stage::Vision), answers)));
            }
        }
        let last = run.checkpoint().await?;
        drop(run);
        if let (Some(checkpoint), Some(recipe), true) = (between, preset.stage(Stage::Vision), arm.compared) {
            let mut run = Run::resume(self.gpu, checkpoint, (self.source)(&preset))?;
            run.go_on(Stage::Adaptation, recipe.clone()).await?;
            self.steps(&mut run, &format!("{} {seed}, more of stage 2", arm.name), &mut Vec::new()).await?;
            run.leave().await?;
            out.rows.push(self.row(&run, Label::INSTEAD).await?);
        }
        if arm.compared {
            out.judged = Some(self.judge(&preset, &last.weights, &format!("{} {seed}", arm.name)).await?);
        }
        Ok((out, last))
    }

    /// A tower, judged: the language model of the start learns to see through it, frozen, in LLaVA's wiring and two stages; and
    /// probes at each depth.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn judge(&self, preset: &Preset, tower: &Weights, title: &str) -> Result<Judged, StudyError> {
        let mut weights = self.start.clone();
        weights
            .extend(tower.iter().filter(|(n, _)| n.starts_with("vision_model.")).map(|(n, v)| (n.clone(), v.clone())));
        let mut downstream = Preset { wiring: Wiring::Flattened, scope: Scope::Language, ..preset.clone() };
        downstream.stages.retain(|(s, _)| *s != Stage::Vision);
        let mut run = self.run(&downstream, &weights)?;
        for (stage, _) in &downstream.stages {
            self.stage(&mut run, *stage, &format!("{title}, downstream"), &mut Vec::new()).await?;
        }
        let row = self.row(&run, Label::after(Stage::Adaptation)).await?;
        let mut probes = BTreeMap::new();
        for (name, kind) in PROBES.iter().filter(|(name, _)| self.settings.probes.iter().any(|p| p == name)) {
            let tell = |_| !(self.ended)();
            let found = Depths::measure(self.gpu, run.config(), &weights, &run.source, *kind, tell).await?;
            self.go_on()?;
            probes.extend(found.map(|found| ((*name).to_owned(), found)));
        }
        Ok(Judged { downstream: Some(row), probes })
    }
}

/// How often in a stage gradient norms are read.
const NORMS: u64 = 10;

/// With a seed and another pace.
fn paced(preset: &Preset, seed: u64, rate: f64) -> Preset {
    let mut preset = Preset { seed, ..preset.clone() };
    preset.stages.iter_mut().for_each(|(_, r)| r.learning_rate *= rate);
    preset
}

/// Mean of the values of each name.
fn means(values: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (name, value) in values {
        let sum = sums.entry(name).or_default();
        *sum = (sum.0 + value, sum.1 + 1);
    }
    sums.into_iter().map(|(name, (sum, n))| (name, sum / n as f64)).collect()
}
