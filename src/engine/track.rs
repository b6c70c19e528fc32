//! One model in training: its run, the point it can be restored to, and the tools that look into it.

use super::answers::assistant::{Assistant, Options, Piece, ReplyError, Tokens};
use super::answers::look::{Looker, Prober, changed};
use super::answers::open::{OpenError, trained};
use super::assets::{AssetError, made_source};
use super::outline::{BlockId, norms_by_block};
use super::words::{Answer, AttentionMaps, Cost, Lane, Probe, ProbeKind, Question, StepEvent, Word};
use crate::data::chat::{ChatError, Message};
use crate::data::tokenizer::Tokenizer;
use crate::gpu::{Gpu, GpuError};
use crate::model::decode::{DecodeError, Made, Prompt};
use crate::model::weights::WeightsError;
use crate::nn::params::Weights;
use crate::platform;
use crate::train::checkpoint::{Checkpoint, CheckpointError};
use crate::train::cost::Cost as StepCost;
use crate::train::evaluate::{EvaluateError, Picture, Scores};
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::run::Run;
use crate::train::stage::Stage;

/// Why a session, or what does its work elsewhere, cannot go on with what it was told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the errors within say it")]
pub enum Trouble {
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

impl From<ReplyError> for Trouble {
    fn from(e: ReplyError) -> Self {
        match e {
            ReplyError::Decode(DecodeError::Gpu(e)) => Self::Gpu(e),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ChatError> for Trouble {
    fn from(e: ChatError) -> Self {
        Self::Other(e.to_string())
    }
}

impl From<OpenError> for Trouble {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::Gpu(e) => Self::Gpu(e),
            other => Self::Other(other.to_string()),
        }
    }
}

/// What answers and looks; recorded when first needed, void once the parameters are others.
struct Tools {
    assistant: Assistant,
    looker: Option<Looker>,
    prober: Prober,
}

/// An answer, with the tokens of its question.
struct Said {
    prompt: Vec<u32>,
    ids: Vec<u32>,
    words: Vec<Word>,
}

impl Tools {
    /// The likeliest answer to a question about pixels. `tell` gets each word as it comes; false ends the answer.
    async fn say(
        &mut self,
        pixels: &[f32],
        text: &str,
        words: &Tokenizer,
        mut tell: impl FnMut(&Word) -> bool,
    ) -> Result<Said, Trouble> {
        let Tokens { ids: prompt, offset } = self.assistant.tokens(&[Message::question(text, true)])?;
        let word = |made: &Made| Word { text: words.decode(&[made.token]), probability: made.probability };
        let heard = |piece: Piece<'_>| piece.token.is_none_or(|made| tell(&word(&made)));
        let reply = self.assistant.go_on(Prompt { ids: &prompt, pixels, offset }, &Options::default(), heard).await?;
        let ids = reply.tokens.iter().map(|made| made.token).collect();
        Ok(Said { prompt, ids, words: reply.tokens.iter().map(word).collect() })
    }
}

/// One model in training.
pub(super) struct Track {
    pub(super) lane: Lane,
    pub(super) run: Run,
    /// What is restored when the device is lost.
    safe: Checkpoint,
    tools: Option<Tools>,
    /// Held-out questions and their scores, void after a step: a stage starts with what the one before ended with.
    scored: Option<(usize, (Scores, Scores))>,
}

impl Track {
    /// From start weights of the preset's data.
    pub(super) async fn open(gpu: &Gpu, lane: Lane, mut preset: Preset, start: &Weights) -> Result<Self, Trouble> {
        preset.wiring = lane.wiring();
        let source = made_source(&preset)?;
        let run = Run::new(gpu, preset, source, start)?;
        let safe = run.checkpoint().await?;
        Ok(Self { lane, run, safe, tools: None, scored: None })
    }

    /// Where a checkpoint left off.
    pub(super) fn resume(gpu: &Gpu, lane: Lane, checkpoint: Checkpoint) -> Result<Self, Trouble> {
        let source = made_source(&checkpoint.meta.preset)?.with_tokenizer(checkpoint.meta.tokenizer.clone());
        let safe = checkpoint.clone();
        let run = Run::resume(gpu, checkpoint, source)?;
        Ok(Self { lane, run, safe, tools: None, scored: None })
    }

    /// Goes on from the last safe point on another device.
    pub(super) fn restored(&self, gpu: &Gpu) -> Result<Self, Trouble> {
        Self::resume(gpu, self.lane, self.safe.clone())
    }

    /// Goes on from here on another device, or with another recipe.
    pub(super) async fn moved(&self, gpu: &Gpu, recipe: Option<(Stage, StageRecipe)>) -> Result<Self, Trouble> {
        let mut checkpoint = self.run.checkpoint().await?;
        if let Some((stage, recipe)) = recipe {
            checkpoint.meta.preset.set_stage(stage, recipe);
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
        self.scored = None;
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
    pub(super) async fn norms(&self) -> Result<Vec<(BlockId, f32)>, Trouble> {
        let Some(trainer) = self.run.trainer() else { return Ok(Vec::new()) };
        Ok(norms_by_block(&trainer.gradient_norms().await?))
    }

    /// What a step costs.
    pub(super) fn cost(&self) -> Option<Cost> {
        let (stage, t) = (self.run.in_progress()?, self.run.trainer()?);
        Some(Cost { lane: self.lane, stage, step: StepCost::of(t) })
    }

    /// Held-out accuracy with own and with swapped pictures, of at least so many questions.
    pub(super) async fn scores(&mut self, questions: usize) -> Result<(Scores, Scores), Trouble> {
        let scored = match self.scored.take() {
            Some(known) if known.0 >= questions => known,
            _ => (questions, self.run.evaluate_all([Picture::Own, Picture::Swapped], questions).await?.into()),
        };
        Ok(self.scored.insert(scored).1.clone())
    }

    /// Held-out accuracy without any picture: what the language model knows by itself.
    pub(super) async fn alone(&self, questions: usize) -> Result<Scores, Trouble> {
        Ok(self.run.evaluate(Picture::None, questions).await?)
    }

    pub(super) fn words(&self) -> &Tokenizer {
        self.run.source.tokenizer()
    }

    async fn tools(&mut self) -> Result<&mut Tools, Trouble> {
        if self.tools.is_none() {
            let (model, params) = self.run.on_gpu();
            let (looker, prober) = (Looker::new(&model, &params), Prober::new(&model, &params));
            self.tools = Some(Tools { assistant: trained(model, params, self.words()).await?, looker, prober });
        }
        self.tools.as_mut().ok_or_else(|| Trouble::Other("nothing answers yet".into()))
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
        let tools = self.tools().await?;
        let Said { prompt, ids, words: said } = tools.say(&question.pixels, &question.text, &words, tell).await?;
        let maps = match &tools.looker {
            Some(looker) => Some(looker.maps(&question.pixels, &prompt, &ids, &words).await?.into()),
            None => None,
        };
        let probability = tools.prober.probability(&question.pixels, &prompt, &ids).await?;
        Ok((Answer { id: question.id, words: said, probability, probes: Vec::new(), maps, unknown }, ids))
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
        let words = self.words().clone();
        let tools = self.tools().await?;
        let said = tools.say(&pixels, &question.text, &words, |_| true).await?;
        let original = tools.prober.probability(&pixels, &said.prompt, ids).await?;
        Ok(Some(Probe { kind, words: said.words, original }))
    }

    /// Where the model looks now to answer a question; none where it has no links.
    pub(super) async fn look(&mut self, question: &Question) -> Result<Option<AttentionMaps>, Trouble> {
        let words = self.words().clone();
        let tools = self.tools().await?;
        let said = tools.say(&question.pixels, &question.text, &words, |_| true).await?;
        let Some(looker) = &tools.looker else { return Ok(None) };
        Ok(Some(looker.maps(&question.pixels, &said.prompt, &said.ids, &words).await?))
    }
}
