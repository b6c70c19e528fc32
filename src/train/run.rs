//! A run: a preset, its data, and the model in one of its stages. It can be stopped after any step, saved, loaded, and goes
//! on bit for bit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, FORMAT, Meta};
use super::evaluate::{EvaluateError, Evaluator, Label, Picture, Scores};
use super::finite::{self, NotFinite};
use super::init;
use super::recipe::{Preset, StageRecipe};
use super::source::Source;
use super::stage::{Stage, enter_stage_two, trainable};
use super::trainer::{Report, Setup, Trainer};
use crate::gpu::{Gpu, GpuError};
use crate::model::config::HiveConfig;
use crate::model::inputs::HostBatch;
use crate::model::model::Model;
use crate::model::weights::{WeightsError, select};
use crate::nn::Params;
use crate::nn::params::Weights;

/// A model between or in stages.
pub struct Run {
    gpu: Gpu,
    /// What it follows.
    pub preset: Preset,
    /// Where its batches come from.
    pub source: Source,
    config: HiveConfig,
    weights: Weights,
    trainer: Option<Trainer>,
    stage: Option<Stage>,
    /// Is the stage one that goes on after its end?
    more: bool,
    /// What made the weights of now worthless: they are not kept.
    broken: Option<NotFinite>,
    /// Scores so far, by label.
    pub scores: Vec<(Label, Scores)>,
}

impl Run {
    /// From start weights; links, and whatever else the start weights lack, are drawn.
    ///
    /// # Errors
    /// A start weight of another shape than the preset's model.
    pub fn new(gpu: &Gpu, mut preset: Preset, source: Source, start: &Weights) -> Result<Self, WeightsError> {
        preset.model.link_config.separate_image_kv = false;
        let specs = Model::new(&preset.model, preset.wiring).1;
        let mut weights = init::draw(&specs, &preset.model, &preset.init, preset.seed);
        for spec in &specs {
            if let Some(values) = start.get(&spec.name) {
                if values.len() != spec.len() {
                    let (name, have, need) = (spec.name.clone(), vec![values.len()], spec.shape.clone());
                    return Err(WeightsError::Shape { name, have, need });
                }
                weights.insert(spec.name.clone(), values.clone());
            }
        }
        let config = preset.model.clone();
        Ok(Self {
            gpu: gpu.clone(),
            preset,
            source,
            config,
            weights,
            trainer: None,
            stage: None,
            more: false,
            broken: None,
            scores: Vec::new(),
        })
    }

    /// Where a checkpoint left off.
    ///
    /// # Errors
    /// A checkpoint whose tensors do not fit its own configuration, or a batch that the device does not take.
    pub fn resume(gpu: &Gpu, checkpoint: Checkpoint, source: Source) -> Result<Self, EvaluateError> {
        let Checkpoint { meta, weights, moments, .. } = checkpoint;
        let specs = Model::new(&meta.model, meta.preset.wiring).1;
        let shaped = specs
            .iter()
            .filter_map(|s| {
                let tensor =
                    crate::model::weights::HostTensor { shape: s.shape.clone(), values: weights.get(&s.name)?.clone() };
                (tensor.values.len() == s.len()).then(|| (s.name.clone(), tensor))
            })
            .collect();
        let (weights, _) = select(shaped, &specs)?;
        let mut run = Self {
            gpu: gpu.clone(),
            preset: meta.preset,
            source,
            config: meta.model,
            weights,
            trainer: None,
            stage: meta.stage,
            more: meta.more,
            broken: None,
            scores: meta.scores,
        };
        if let Some(stage) = meta.stage.filter(|s| meta.update < run.preset.stage(*s).map_or(0, |r| r.steps)) {
            run.record(stage)?;
            if let Some(trainer) = &mut run.trainer {
                trainer.params.upload_moments(&moments.0, &moments.1);
                trainer.updates = meta.update;
            }
        }
        Ok(run)
    }

    /// Stage in progress or last done.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.stage
    }

    /// Is the stage one that goes on after its end ([`Self::go_on`])?
    #[must_use]
    pub fn is_more(&self) -> bool {
        self.more
    }

    /// The stage that is in progress.
    #[must_use]
    pub fn in_progress(&self) -> Option<Stage> {
        self.trainer.as_ref().and(self.stage)
    }

    /// The recorded trainer of the stage in progress.
    #[must_use]
    pub fn trainer(&self) -> Option<&Trainer> {
        self.trainer.as_ref()
    }

    /// The model as it is now.
    #[must_use]
    pub fn config(&self) -> &HiveConfig {
        &self.config
    }

    /// Model and parameters on the GPU: those of the stage in progress, which move on with it, else a copy.
    #[must_use]
    pub fn on_gpu(&self) -> (Arc<Model>, Arc<Params>) {
        if let Some(t) = &self.trainer {
            return (Arc::clone(t.model()), Arc::clone(&t.params));
        }
        let (model, specs) = Model::new(&self.config, self.preset.wiring);
        (Arc::new(model), Arc::new(Params::new(&self.gpu, specs, &self.weights, &BTreeSet::new())))
    }

    /// Begins a stage from the weights as they are. Stage 2 gives the image its own key and value projections.
    ///
    /// # Errors
    /// A GPU fault while a stage in progress is put away, or weights that are not to be kept.
    pub async fn enter(&mut self, stage: Stage) -> Result<(), EvaluateError> {
        self.leave().await?;
        self.more = false;
        let own = !self.preset.shared_image_kv && !self.config.link_config.separate_image_kv;
        if stage >= Stage::Adaptation && own {
            enter_stage_two(&mut self.config, &mut self.weights);
        }
        self.record(stage)?;
        self.stage = Some(stage);
        Ok(())
    }

    /// Goes on with a stage that is done, by this recipe and on samples of its own: what more of the same brings.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub async fn go_on(&mut self, stage: Stage, recipe: StageRecipe) -> Result<(), EvaluateError> {
        self.preset.set_stage(stage, recipe);
        self.enter(stage).await?;
        self.more = true;
        Ok(())
    }

    fn record(&mut self, stage: Stage) -> Result<(), GpuError> {
        let Some(recipe) = self.preset.stage(stage).cloned() else { return Ok(()) };
        let specs = Model::new(&self.config, self.preset.wiring).1;
        let trained = trainable(&specs, &self.config.link_config, stage, self.preset.scope);
        let setup = self.setup(&recipe, &trained);
        setup.rows().check(&self.gpu, recipe.batch)?;
        self.trainer = Some(Trainer::new(&self.gpu, &setup, &self.weights));
        Ok(())
    }

    fn setup<'a>(&'a self, recipe: &'a StageRecipe, trained: &'a BTreeSet<String>) -> Setup<'a> {
        Setup {
            config: &self.config,
            wiring: self.preset.wiring,
            trained,
            recipe,
            tokens: self.preset.tokens,
            with_image: true,
            facts: false,
        }
    }

    /// Ends the stage in progress and brings its weights home.
    ///
    /// # Errors
    /// A GPU fault, or weights that are not to be kept; the stage then stays in progress.
    pub async fn leave(&mut self) -> Result<(), EvaluateError> {
        self.is_whole()?;
        if let Some(trainer) = &self.trainer {
            let weights = trainer.params.download().await?;
            finite::check(&weights)?;
            self.weights = weights;
            self.trainer = None;
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), NotFinite> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// One optimiser step of the stage in progress; none when it is done.
    ///
    /// # Errors
    /// A GPU fault, a picture that cannot be read, or a loss or gradient norm that is no finite number: then nothing of the
    /// run can be kept any more.
    pub async fn step(&mut self) -> Result<Option<Report>, EvaluateError> {
        self.is_whole()?;
        let (Some(stage), Some(trainer)) = (self.stage, self.trainer.as_mut()) else { return Ok(None) };
        let recipe = trainer.recipe().clone();
        if trainer.updates >= recipe.steps {
            return Ok(None);
        }
        // Stages never share a sample: each has a range of indices of its own.
        let rows = (recipe.batch * recipe.accumulate) as u64;
        let range = stage.number() + if self.more { Stage::ALL.len() } else { 0 };
        let first = ((range as u64) << 40) + trainer.updates * rows;
        let batches = (0..recipe.accumulate as u64)
            .map(|i| {
                let at = first + i * recipe.batch as u64;
                self.source.conversation(at, recipe.batch, self.preset.tokens, self.preset.turns)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(EvaluateError::Data)?;
        let window: Vec<_> = batches.iter().map(HostBatch::from).collect();
        let report = trainer.step(&window).await?;
        self.broken = finite::of_step(trainer, &format!("stage {}", stage.number()), &report).await?;
        self.is_whole()?;
        Ok(Some(report))
    }

    /// Everything that a file needs.
    ///
    /// # Errors
    /// A GPU fault, or weights that are not to be kept.
    pub async fn checkpoint(&self) -> Result<Checkpoint, EvaluateError> {
        self.is_whole()?;
        let (weights, moments, update) = match &self.trainer {
            Some(t) => (t.params.download().await?, t.params.download_moments().await?, t.updates),
            None => {
                let done = self.stage.and_then(|s| self.preset.stage(s)).map_or(0, |r| r.steps);
                (self.weights.clone(), Default::default(), done)
            }
        };
        let meta = Meta {
            format: FORMAT,
            preset: self.preset.clone(),
            model: self.config.clone(),
            tokenizer: self.source.tokenizer().clone(),
            stage: self.stage,
            update,
            more: self.more,
            split: self.source.split_by(),
            data: self.source.fingerprint(),
            scores: self.scores.clone(),
        };
        [&weights, &moments.0, &moments.1].into_iter().try_for_each(finite::check)?;
        Ok(Checkpoint { meta, weights, moments, attachments: BTreeMap::new() })
    }

    /// Specs of the model, for writing checkpoints.
    #[must_use]
    pub fn specs(&self) -> Vec<crate::nn::ParamSpec> {
        Model::new(&self.config, self.preset.wiring).1
    }

    /// Scores of the weights as they are now, one per picture asked for, over `count` questions (all there are, if fewer). A
    /// stage in progress is not disturbed.
    ///
    /// # Errors
    /// A GPU fault, or a picture that cannot be read.
    pub async fn evaluate_all<const N: usize>(
        &self,
        pictures: [Picture; N],
        count: usize,
    ) -> Result<[Scores; N], EvaluateError> {
        let count = count.min(self.source.held_out_size());
        let (model, params) = self.on_gpu();
        let tokens = self.source.question_tokens(self.preset.tokens);
        let record = |with_image| Evaluator::for_questions(&model, &params, tokens, count, with_image);
        // Own and swapped pictures go through the same program.
        let (mut seeing, mut blind) = (None, None);
        let mut all = [const { None }; N];
        for (scores, picture) in all.iter_mut().zip(pictures) {
            let with_image = picture != Picture::None;
            let evaluator = if with_image { &mut seeing } else { &mut blind }.get_or_insert_with(|| record(with_image));
            *scores = Some(evaluator.scores(&self.source, picture, count).await?);
        }
        Ok(all.map(Option::unwrap_or_default))
    }

    /// The same for one kind of picture.
    ///
    /// # Errors
    /// A GPU fault, or a picture that cannot be read.
    pub async fn evaluate(&self, picture: Picture, count: usize) -> Result<Scores, EvaluateError> {
        let [scores] = self.evaluate_all([picture], count).await?;
        Ok(scores)
    }
}
