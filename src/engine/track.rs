//! One model in training: its run, the point it can be restored to, and the tools that look into it.

use std::sync::Arc;

use super::answers::assistant::{Assistant, Options, Piece, ReplyError, Tokens};
use super::answers::look::{Looker, Prober, changed};
use super::answers::open::{OpenError, trained};
use super::assets::{AssetError, made_source};
use super::outline::{BlockId, norms_by_block};
use super::words::{Answer, AttentionMaps, Cost, Cut, Lane, Probe, ProbeKind, Question, StepEvent, Word};
use crate::data::chat::{ChatError, Message};
use crate::data::tiles::Picture as Shown;
use crate::data::tokenizer::Tokenizer;
use crate::gpu::{Gpu, GpuError};
use crate::model::decode::{DecodeError, Made, Prompt};
use crate::model::weights::WeightsError;
use crate::nn::params::Weights;
use crate::platform;
use crate::train::checkpoint::{Checkpoint, CheckpointError};
use crate::train::cost::Cost as StepCost;
use crate::train::evaluate::{EvaluateError, Picture, Scores};
use crate::train::finite::NotFinite;
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
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
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
            EvaluateError::NotFinite(e) => Self::NotFinite(e),
            EvaluateError::Weights(e) => Self::Weights(e),
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
        let shown = [Shown::of(pixels)];
        let Tokens { ids: prompt, offset, rows } = self.assistant.tokens(&[Message::question(text, true)], &shown)?;
        let word = |made: &Made| Word { text: words.decode(&[made.token]), probability: made.probability };
        let heard = |piece: Piece<'_>| piece.token.is_none_or(|made| tell(&word(&made)));
        let reply = self
            .assistant
            .go_on(Prompt { ids: &prompt, pixels, offset, rows: &rows }, &Options::default(), heard)
            .await?;
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
    pub(super) async fn open(gpu: &Gpu, lane: Lane, preset: Preset, start: &Weights) -> Result<Self, Trouble> {
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

    /// Its last safe point; what it has on its device goes.
    pub(super) fn into_safe(self) -> (Lane, Checkpoint) {
        (self.lane, self.safe)
    }

    /// Goes on from here on another device, or with another recipe.
    pub(super) async fn moved(&self, gpu: &Gpu, recipe: Option<(Stage, StageRecipe)>) -> Result<Self, Trouble> {
        let mut checkpoint = self.run.checkpoint().await?;
        match recipe {
            // More of stage 2 follows the recipe of stage 3; that of stage 2 is done with.
            Some((Stage::Adaptation, _)) if self.run.is_more() => {}
            Some((stage, recipe)) => {
                if self.run.is_more() && stage == Stage::Vision {
                    checkpoint.meta.preset.set_stage(Stage::Adaptation, recipe.clone());
                }
                checkpoint.meta.preset.set_stage(stage, recipe);
            }
            None => {}
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

    /// Stage in progress or last done. More of stage 2 stands where the other lane's stage 3 does.
    pub(super) fn stage(&self) -> Option<Stage> {
        if self.run.is_more() { Some(Stage::Vision) } else { self.run.stage() }
    }

    pub(super) async fn enter(&mut self, stage: Stage) -> Result<(), Trouble> {
        self.tools = None;
        self.run.enter(stage).await?;
        self.keep_safe().await
    }

    /// In place of entering stage 3: stage 2 goes on for as many steps, by the same recipe.
    pub(super) async fn go_on(&mut self) -> Result<(), Trouble> {
        self.tools = None;
        if let Some(recipe) = self.run.preset.stage(Stage::Vision).cloned() {
            self.run.go_on(Stage::Adaptation, recipe).await?;
        }
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
        let (Some(stage), true) = (self.stage(), self.has_work()) else { return Ok(None) };
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
        let (stage, t) = (self.stage()?, self.run.trainer()?);
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
        self.check(question)?;
        let words = self.words().clone();
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

    /// Is the picture of this model's size?
    fn check(&self, question: &Question) -> Result<(), Trouble> {
        let vision = &self.run.config().vision_config;
        let (have, need) = (question.pixels.len(), vision.image_size);
        if have == vision.num_channels * need * need {
            return Ok(());
        }
        Err(Trouble::Other(format!("the picture has {have} values; this model sees 3 x {need} x {need}")))
    }

    /// Asks the same with nothing cut, with each link cut alone, and with all of them. `tell` gets each answer, and how many
    /// there will be; false ends it.
    pub(super) async fn cut(
        &mut self,
        question: &Question,
        mut tell: impl FnMut(Cut, usize) -> bool,
    ) -> Result<(), Trouble> {
        self.check(question)?;
        let words = self.words().clone();
        let (model, params) = self.run.on_gpu();
        let config = &model.config().link_config;
        let all: Vec<(usize, usize)> =
            config.language_layers.iter().copied().zip(config.vision_layers.iter().copied()).collect();
        let mut rounds = vec![Vec::new()];
        rounds.extend(all.iter().map(|link| vec![*link]));
        rounds.extend((all.len() > 1).then(|| all.clone()));
        let of = rounds.len();
        // The weights may have moved since the question was answered: it is answered again.
        let mut whole = None;
        for links in rounds {
            let layers: Vec<usize> = links.iter().map(|(layer, _)| *layer).collect();
            let model = Arc::new(model.without(&layers));
            let prober = Prober::new(&model, &params);
            let assistant = trained(model, Arc::clone(&params), &words).await?;
            let mut tools = Tools { assistant, looker: None, prober };
            let said = tools.say(&question.pixels, &question.text, &words, |_| true).await?;
            let ids = whole.get_or_insert_with(|| said.ids.clone());
            let original = tools.prober.probability(&question.pixels, &said.prompt, ids).await?;
            if !tell(Cut { links, words: said.words, original }, of) {
                break;
            }
        }
        Ok(())
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
