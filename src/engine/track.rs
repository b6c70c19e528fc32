//! One model in training: its run, the point it can be restored to, and the tools that look into it.

use super::answers::look::{AnswerError, Answerer, Looker, Prober, changed};
use super::assets::{self, AssetError, made_source};
use super::outline::norms_by_block;
use super::words::{Answer, AttentionMaps, Cost, Lane, Probe, ProbeKind, Question, StepEvent, Word};
use crate::data::tokenizer::Tokenizer;
use crate::gpu::{Gpu, GpuError};
use crate::model::weights::WeightsError;
use crate::platform;
use crate::train::checkpoint::{Checkpoint, CheckpointError};
use crate::train::evaluate::{EvaluateError, Picture, Scores};
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::run::Run;
use crate::train::stage::Stage;

/// Why the session cannot go on with what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Asset(#[from] AssetError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Data(String),
    #[error("{0}")]
    Question(AnswerError),
    #[error("{0}")]
    Other(String),
}

impl From<EvaluateError> for Trouble {
    fn from(e: EvaluateError) -> Self {
        match e {
            EvaluateError::Gpu(e) => Self::Gpu(e),
            EvaluateError::Data(text) => Self::Data(text),
        }
    }
}

impl From<AnswerError> for Trouble {
    fn from(e: AnswerError) -> Self {
        match e {
            AnswerError::Gpu(e) => Self::Gpu(e),
            other => Self::Question(other),
        }
    }
}

/// What answers and looks; recorded when first needed, void once the parameters move.
struct Tools {
    answerer: Answerer,
    looker: Looker,
    prober: Prober,
}

/// One model in training.
pub(super) struct Track {
    pub(super) lane: Lane,
    pub(super) run: Run,
    /// What is restored when the device is lost.
    safe: Checkpoint,
    tools: Option<Tools>,
}

impl Track {
    /// From the shipped start weights of the preset's data.
    pub(super) async fn open(gpu: &Gpu, lane: Lane, mut preset: Preset) -> Result<Self, Trouble> {
        preset.wiring = lane.wiring();
        let start = assets::model(&format!("{}-start", preset.data))?.weights;
        let source = made_source(&preset)?;
        let run = Run::new(gpu, preset, source, &start)?;
        let safe = run.checkpoint().await?;
        Ok(Self { lane, run, safe, tools: None })
    }

    /// Where a checkpoint left off.
    pub(super) fn resume(gpu: &Gpu, lane: Lane, checkpoint: Checkpoint) -> Result<Self, Trouble> {
        let source = made_source(&checkpoint.meta.preset)?.with_tokenizer(checkpoint.meta.tokenizer.clone());
        let safe = checkpoint.clone();
        let run = Run::resume(gpu, checkpoint, source)?;
        Ok(Self { lane, run, safe, tools: None })
    }

    /// Goes on from the last safe point on another device.
    pub(super) fn restored(&self, gpu: &Gpu) -> Result<Self, Trouble> {
        Self::resume(gpu, self.lane, self.safe.clone())
    }

    /// Goes on from here on another device, or with another recipe.
    pub(super) async fn moved(&self, gpu: &Gpu, recipe: Option<(Stage, StageRecipe)>) -> Result<Self, Trouble> {
        let mut checkpoint = self.run.checkpoint().await?;
        if let Some((stage, recipe)) = recipe {
            let stages = &mut checkpoint.meta.preset.stages;
            match stages.iter_mut().find(|(s, _)| *s == stage) {
                Some((_, old)) => *old = recipe,
                None => stages.push((stage, recipe)),
            }
            stages.sort_by_key(|(s, _)| *s);
        }
        Self::resume(gpu, self.lane, checkpoint)
    }

    /// Makes now the point that is restored.
    pub(super) async fn keep_safe(&mut self) -> Result<(), Trouble> {
        self.safe = self.run.checkpoint().await?;
        Ok(())
    }

    /// Stage and updates of the safe point.
    pub(super) fn safe_point(&self) -> (Option<Stage>, u64) {
        (self.safe.meta.stage, self.safe.meta.update)
    }

    pub(super) async fn enter(&mut self, stage: Stage) -> Result<(), Trouble> {
        self.tools = None;
        self.run.enter(stage).await?;
        self.keep_safe().await
    }

    /// Updates done in the stage in progress, or made by the stage that is done.
    pub(super) fn updates(&self) -> u64 {
        match (self.run.trainer(), self.run.stage()) {
            (Some(t), _) => t.updates,
            (None, Some(stage)) => self.run.preset.stage(stage).map_or(0, |r| r.steps),
            (None, None) => 0,
        }
    }

    /// Is there a step left in the stage in progress?
    pub(super) fn has_work(&self) -> bool {
        self.run.trainer().is_some_and(|t| t.updates < t.recipe().steps)
    }

    /// One optimiser step; none where the stage is done.
    pub(super) async fn step(&mut self) -> Result<Option<StepEvent>, Trouble> {
        let (Some(stage), true) = (self.run.in_progress(), self.has_work()) else { return Ok(None) };
        let start = platform::now_secs();
        let Some(report) = self.run.step().await? else { return Ok(None) };
        let recipe = self.run.preset.stage(stage);
        Ok(Some(StepEvent {
            lane: self.lane,
            stage,
            update: report.update,
            of: recipe.map_or(0, |r| r.steps),
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            secs: platform::now_secs() - start,
            samples: recipe.map_or(0, |r| r.batch * r.accumulate),
        }))
    }

    /// Gradient norms of the last step, by block.
    pub(super) async fn norms(&self) -> Result<Vec<(String, f32)>, Trouble> {
        let Some(trainer) = self.run.trainer() else { return Ok(Vec::new()) };
        Ok(norms_by_block(&trainer.gradient_norms().await?, self.run.config()))
    }

    /// What a step costs.
    pub(super) fn cost(&self) -> Option<Cost> {
        let (stage, t) = (self.run.in_progress()?, self.run.trainer()?);
        let micro = t.recipe().accumulate;
        let names = t.params.trained_names();
        let specs = t.params.specs();
        Some(Cost {
            lane: self.lane,
            stage,
            dispatches: t.program().dispatches() * micro + t.optimiser().dispatches(),
            parameter_bytes: t.params.bytes(),
            temporary_bytes: t.program().bytes() + t.optimiser().program().bytes(),
            flops: t.program().flops() * micro as f64,
            trained: specs.iter().filter(|s| names.contains(&s.name)).map(crate::nn::ParamSpec::len).sum(),
            parameters: specs.iter().map(crate::nn::ParamSpec::len).sum(),
        })
    }

    /// Held-out accuracy with own and with swapped pictures.
    pub(super) async fn scores(&self, questions: usize) -> Result<(Scores, Scores), Trouble> {
        let [own, swapped] = self.run.evaluate_all([Picture::Own, Picture::Swapped], questions).await?;
        Ok((own, swapped))
    }

    /// Held-out accuracy without any picture: what the language model knows by itself.
    pub(super) async fn alone(&self, questions: usize) -> Result<Scores, Trouble> {
        Ok(self.run.evaluate(Picture::None, questions).await?)
    }

    pub(super) fn words(&self) -> &Tokenizer {
        self.run.source.tokenizer()
    }

    fn tools(&mut self) -> Result<&mut Tools, Trouble> {
        if self.tools.is_none() {
            let words = self.words().clone();
            let config = self.run.config().clone();
            let made = self.run.with_params(|model, params| {
                (!model.links().is_empty()).then(|| Tools {
                    answerer: Answerer::new(model, params, words, true),
                    looker: Looker::new(model, params),
                    prober: Prober::new(model, params, &config),
                })
            });
            self.tools = made;
        }
        self.tools.as_mut().ok_or(Trouble::Question(AnswerError::Control))
    }

    /// Answers a question. `tell` gets each word; false ends the answer. The second part is the answer's token ids.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        tell: impl FnMut(&Word) -> bool,
    ) -> Result<(Answer, Vec<u32>), Trouble> {
        let words = self.words().clone();
        let vision = self.run.config().vision_config.clone();
        if question.pixels.len() != vision.num_channels * vision.image_size * vision.image_size {
            let (have, need) = (question.pixels.len(), vision.image_size);
            return Err(Trouble::Other(format!("the picture has {have} values; this model sees 3 x {need} x {need}")));
        }
        let unknown = words.unknown(&question.text);
        let tools = self.tools()?;
        let prompt = tools.answerer.prompt(&question.text)?;
        let greedy = tools.answerer.ask(&question.pixels, &question.text, tell).await?;
        let maps = tools.looker.maps(&question.pixels, &prompt, &greedy.ids, &words).await?;
        let probability = tools.prober.probability(&question.pixels, &prompt, &greedy.ids).await?;
        let (maps, probes) = (Some(maps.into()), Vec::new());
        Ok((Answer { id: question.id, words: greedy.words, probability, probes, maps, unknown }, greedy.ids))
    }

    /// Asks the same of a changed picture; none where that needs another picture and there is none.
    pub(super) async fn probe(
        &mut self,
        question: &Question,
        kind: ProbeKind,
        ids: &[u32],
    ) -> Result<Option<Probe>, Trouble> {
        let vision = self.run.config().vision_config.clone();
        let other = question.other.as_ref().map(|o| o.as_slice());
        let Some(pixels) = changed(kind, &question.pixels, other, &vision) else { return Ok(None) };
        let tools = self.tools()?;
        let prompt = tools.answerer.prompt(&question.text)?;
        let original = tools.prober.probability(&pixels, &prompt, ids).await?;
        let answer = tools.answerer.ask(&pixels, &question.text, |_| true).await?;
        Ok(Some(Probe { kind, words: answer.words, original }))
    }

    /// Where the model looks now to answer a question.
    pub(super) async fn look(&mut self, question: &Question) -> Result<AttentionMaps, Trouble> {
        let words = self.words().clone();
        let tools = self.tools()?;
        let prompt = tools.answerer.prompt(&question.text)?;
        let greedy = tools.answerer.ask(&question.pixels, &question.text, |_| true).await?;
        Ok(tools.looker.maps(&question.pixels, &prompt, &greedy.ids, &words).await?)
    }
}
