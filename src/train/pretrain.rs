//! Start weights. The tower learns to name what each patch shows; the language model learns to read descriptions of scenes
//! and to answer questions about them, from text alone.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoint::{Checkpoint, FORMAT, Meta};
use super::evaluate::{Asked, EvaluateError, Evaluator, Picture, Scores};
use super::finite::{self, NotFinite};
use super::init;
use super::recipe::{Naming, Preset, StageRecipe};
use super::source::Source;
use super::trainer::{Optimiser, Report, Setup, Trainer};
use crate::data::batch::{self, PatchBatch};
use crate::data::dataset::Dataset;
use crate::data::rng::Rng;
use crate::data::worlds::Split;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::inputs::HostBatch;
use crate::model::limits::Rows;
use crate::model::model::{Model, Wiring};
use crate::model::registry::Registry;
use crate::model::vision::Vision;
use crate::model::weights::WeightsError;
use crate::nn::params::Weights;
use crate::nn::{LayerNorm, Linear, ParamId, ParamSpec, Params};
use crate::ops::add;
use crate::ops::cross_entropy::{self, Chunks, Loss};

/// What a file of start weights says of itself, also one of a pre-training that was stopped after an update.
#[must_use]
pub fn meta(preset: &Preset, source: &Source, update: u64) -> Meta {
    Meta {
        format: FORMAT,
        model: preset.model.clone(),
        tokenizer: source.tokenizer().clone(),
        preset: preset.clone(),
        stage: None,
        update,
        more: false,
        split: source.split_by(),
        data: source.fingerprint(),
        scores: Vec::new(),
    }
}

/// A pre-training as it is, to go on from: a checkpoint before all stages, with moments.
async fn kept(params: &Params, meta: Meta) -> Result<Checkpoint, GpuError> {
    let (weights, moments) = (params.download().await?, params.download_moments().await?);
    Ok(Checkpoint { meta, weights, moments, attachments: BTreeMap::new() })
}

/// Puts back what trained of such a checkpoint; gives its updates.
fn put_back(params: &Params, from: &Checkpoint) -> Result<u64, WeightsError> {
    for (i, spec) in params.specs().iter().enumerate().filter(|(i, _)| params.trains(ParamId(*i))) {
        for (n, set) in [&from.moments.0, &from.moments.1, &from.weights].into_iter().enumerate() {
            let name = || spec.name.clone();
            let values =
                set.get(&spec.name).ok_or_else(|| WeightsError::Missing { name: name(), hint: String::new() })?;
            if values.len() != spec.len() {
                return Err(WeightsError::Shape { name: name(), have: vec![values.len()], need: spec.shape.clone() });
            }
            if n == 2 {
                params.write(ParamId(i), values);
            }
        }
    }
    params.upload_moments(&from.moments.0, &from.moments.1);
    Ok(from.meta.update)
}

/// The tower with one throw-away head per label on its deepest linked state.
pub struct Tower {
    gpu: Gpu,
    params: Params,
    step: Program,
    optimiser: Optimiser,
    recipe: StageRecipe,
    pixels: Tensor,
    classes: Vec<Tensor>,
    states: Vec<Tensor>,
    scale: Tensor,
    loss: Tensor,
    side: usize,
    naming: Naming,
    updates: u64,
}

impl Tower {
    /// Start values drawn, programs recorded. `classes`: number of classes of each label.
    ///
    /// # Errors
    /// A batch that the device does not take.
    pub fn new(gpu: &Gpu, preset: &Preset, classes: &[usize], recipe: &StageRecipe) -> Result<Self, GpuError> {
        let (config, naming) = (&preset.model, &preset.naming);
        Rows { config, wiring: Wiring::Linked, tokens: 1, with_image: true, facts: false }.check(gpu, recipe.batch)?;
        let c = &config.vision_config;
        let depth = config.link_config.deepest().unwrap_or(c.num_hidden_layers - 1);
        let mut g = Registry::default();
        let tower = Vision::new(&mut g, c);
        let norm = g.layer_norm("head.norm", c.hidden_size, c.layer_norm_eps);
        let mut classes = classes.to_vec();
        if naming.codes.is_some() {
            classes.extend([c.side(); 2]);
        }
        let learns = naming.codes.is_none();
        let head = |(i, n): (usize, &usize)| g.linear(&format!("head.{i}"), *n, c.hidden_size, learns);
        let heads: Vec<Linear> = classes.iter().enumerate().map(head).collect();
        let mut weights = init::draw(&g.specs, config, &preset.init, preset.seed);
        if let Some(length) = naming.codes {
            let mut codes = codes(classes.iter().sum(), c.hidden_size, length).into_iter();
            for (i, n) in classes.iter().enumerate() {
                weights.insert(format!("head.{i}.weight"), codes.by_ref().take(*n).flatten().collect());
            }
        }
        let trained = g.specs.iter().map(|s| s.name.clone()).filter(|name| learns || !name.starts_with("head."));
        let trained: BTreeSet<String> = trained.collect();
        let params = Params::new(gpu, g.specs, &weights, &trained);
        let (batch, n) = (recipe.batch, c.tokens());
        let size = c.image_size;
        let pixels = gpu.tensor([batch, c.num_channels, size, size], DType::F32, "pixels");
        let rows = gpu.tensor([batch, 3], DType::U32, "rows");
        let targets: Vec<Tensor> = classes.iter().map(|_| gpu.tensor([batch * n], DType::U32, "classes")).collect();
        let states: Vec<Tensor> = classes.iter().map(|_| gpu.tensor([batch * n, 4], DType::F32, "states")).collect();
        let scale = gpu.upload(&[1.0 / (batch * n) as f32], [1], "scale");
        let loss = gpu.tensor([1], DType::F32, "loss");
        let mut r = Recorder::new(gpu);
        let saved = tower.forward(&mut r, &params, &rows, &pixels, depth, true);
        let mut gradients: Vec<Option<Tensor>> = vec![None; depth + 1];
        let heads =
            Heads { norm: &norm, heads: &heads, targets: &targets, states: &states, scale: &scale, loss: &loss };
        gradients[depth] = Some(heads.record(&mut r, &params, &saved.states[depth]));
        tower.backward(&mut r, &params, saved, &mut gradients);
        Ok(Self {
            step: r.finish(),
            optimiser: Optimiser::new(&params, recipe),
            gpu: gpu.clone(),
            params,
            recipe: recipe.clone(),
            pixels,
            classes: targets,
            states,
            scale,
            loss,
            side: c.side(),
            naming: naming.clone(),
            updates: 0,
        })
    }

    /// One step on samples `first ..` of the source. Most batches are rolled by whole patches, so that the tower learns
    /// what a thing looks like wherever it stands.
    ///
    /// # Errors
    /// A GPU fault or a picture that cannot be read, in a sentence.
    pub async fn step(&mut self, source: &Source, seed: u64) -> Result<Report, String> {
        let first = self.updates * self.recipe.batch as u64;
        let samples = source.samples(Split::Train, first, self.recipe.batch, 0, true)?;
        let mut batch = batch::patches(&samples);
        roll(&mut batch, self.side, &mut Rng::new(seed ^ 0x7011, self.updates));
        self.write(batch);
        self.optimiser.clear();
        self.gpu.write(&self.loss, &[0.0]);
        self.step.run();
        self.updates += 1;
        let learning_rate = self.recipe.schedule().rate(self.updates, self.recipe.steps);
        self.optimiser.step(&self.gpu, learning_rate, self.recipe.beta2, self.updates);
        let loss = self.gpu.read_f32(&self.loss).await.map_err(|e| e.to_string())?[0];
        if !loss.is_finite() {
            let (title, part) = ("the tower's pre-training".to_owned(), "gradients were not looked at".to_owned());
            return Err(NotFinite::Step { title, update: self.updates, loss, grad_norm: 0.0, part }.to_string());
        }
        Ok(Report { update: self.updates, loss, grad_norm: 0.0, learning_rate })
    }

    fn write(&self, mut batch: PatchBatch) -> PatchBatch {
        if self.naming.grey {
            let shape = self.pixels.shape();
            grey(&mut batch.pixels, shape.dims()[1], shape.dims()[2] * shape.dims()[3]);
        }
        if self.naming.codes.is_some() {
            // Where a patch is, whatever stands there.
            let cells = (0..batch.rows).flat_map(|_| 0..self.side * self.side);
            let (rows, columns) = cells.map(|n| ((n / self.side) as i32, (n % self.side) as i32)).unzip();
            batch.labels.extend([rows, columns]);
        }
        self.gpu.write(&self.pixels, &batch.pixels);
        self.gpu.write(&self.scale, &[1.0 / batch.labels[0].len() as f32]);
        for (tensor, labels) in self.classes.iter().zip(&batch.labels) {
            self.gpu.write_u32(tensor, &labels.iter().map(|l| *l as u32).collect::<Vec<_>>());
        }
        batch
    }

    /// Share of right labels on patches that show a thing, in held-out scenes, per label.
    ///
    /// # Errors
    /// A GPU fault or a picture that cannot be read, in a sentence.
    pub async fn accuracy(&self, source: &Source, batches: u64) -> Result<Vec<f64>, String> {
        let mut hits = vec![(0, 0); self.classes.len()];
        for b in 0..batches {
            let rows = self.recipe.batch;
            let batch = self.write(batch::patches(&source.samples(Split::HeldOut, b * rows as u64, rows, 1, true)?));
            self.step.run();
            let read = self.gpu.read_all(&self.states).await.map_err(|e| e.to_string())?;
            for ((hits, labels), state) in hits.iter_mut().zip(&batch.labels).zip(&read) {
                for (label, s) in labels.iter().zip(state.chunks(4)).filter(|(l, _)| **l > 0) {
                    hits.1 += 1;
                    hits.0 += i32::from(*label == s[3] as i32);
                }
            }
        }
        Ok(hits.into_iter().map(|(right, all)| f64::from(right) / f64::from(all.max(1))).collect())
    }

    /// All that the next step depends on.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn checkpoint(&self, preset: &Preset, source: &Source) -> Result<Checkpoint, GpuError> {
        kept(&self.params, meta(preset, source, self.updates)).await
    }

    /// Goes on where a tower of the same preset was.
    ///
    /// # Errors
    /// A checkpoint of something else.
    pub fn go_on(&mut self, from: &Checkpoint) -> Result<(), WeightsError> {
        self.updates = put_back(&self.params, from)?;
        Ok(())
    }

    /// Updates done.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Its parameters, heads included.
    #[must_use]
    pub fn specs(&self) -> &[ParamSpec] {
        self.params.specs()
    }

    /// The tower's parameters (the heads are thrown away).
    pub async fn weights(&self) -> Result<Weights, GpuError> {
        let mut all = self.params.download().await?;
        all.retain(|name, _| name.starts_with("vision_model."));
        let filters = all.get_mut("vision_model.embeddings.patch_embedding.weight");
        if let Some(filters) = filters.filter(|_| self.naming.grey) {
            let size = self.pixels.shape().dims()[2] / self.side;
            grey(filters, self.pixels.shape().dims()[1], size * size);
        }
        Ok(all)
    }
}

/// `(N, channels, plane)` with every channel made the mean of them all.
fn grey(values: &mut [f32], channels: usize, plane: usize) {
    for one in values.chunks_mut(channels * plane) {
        for i in 0..plane {
            let mean = (0..channels).map(|c| one[c * plane + i]).sum::<f32>() / channels as f32;
            (0..channels).for_each(|c| one[c * plane + i] = mean);
        }
    }
}

/// `count` vectors of `width` values, orthogonal to each other where `count` allows, whose product with a layer-normed state
/// is at most `length` (a normed state has length sqrt(width)). The same whatever the seed.
fn codes(count: usize, width: usize, length: f64) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(3, 0);
    let mut unit: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut v: Vec<f64> = (0..width).map(|_| f64::from(rng.normal())).collect();
        for other in unit.iter().rev().take(width - 1) {
            let dot: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
        }
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        v.iter_mut().for_each(|a| *a /= norm);
        unit.push(v);
    }
    let scale = length / (width as f64).sqrt();
    unit.into_iter().map(|v| v.into_iter().map(|a| (a * scale) as f32).collect()).collect()
}

struct Heads<'a> {
    norm: &'a LayerNorm,
    heads: &'a [Linear],
    targets: &'a [Tensor],
    states: &'a [Tensor],
    scale: &'a Tensor,
    loss: &'a Tensor,
}

impl Heads<'_> {
    /// Records norm, all label losses and their gradients; returns the gradient of the state.
    fn record(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> Tensor {
        let (y, norm) = self.norm.forward(r, p, x);
        let mut sum: Option<Tensor> = None;
        for ((head, targets), state) in self.heads.iter().zip(self.targets).zip(self.states) {
            let (w, b) = (p.value(head.w), head.b.map(|b| p.value(b)));
            let l = Loss { x: &y, head: &w, bias: b.as_ref(), targets, scale: self.scale };
            let chunks = Chunks { rows: y.shape().rows(), words: w.shape().rows() };
            let saved = cross_entropy::forward(r, l, chunks, self.loss);
            r.copy(saved.state(), state);
            let dy = r.alloc(y.shape().dims(), "dy");
            let db = head.b.and_then(|b| p.grad(b));
            cross_entropy::backward(r, l, saved, Some(&dy), p.grad(head.w).as_ref(), db.as_ref());
            sum = Some(match sum {
                Some(other) => add::forward(r, &other, &dy),
                None => dy,
            });
        }
        let dx = r.alloc(x.shape().dims(), "dx");
        match sum {
            Some(dy) => self.norm.backward(r, p, norm, &dy, Some(crate::gpu::Dest::Write(&dx))),
            None => r.zero(&dx),
        }
        dx
    }
}

/// With probability 0.6, image and labels are rolled by whole patches, wrapping around. Rolls by half the side on both
/// axes are left out: they would move things exactly from one place to another, and held-out places must stay unseen.
fn roll(batch: &mut PatchBatch, side: usize, rng: &mut Rng) {
    if !rng.chance(0.6) {
        return;
    }
    let (dy, dx) = (rng.below(side), rng.below(side));
    if dy.is_multiple_of(side / 2) && dx.is_multiple_of(side / 2) {
        return;
    }
    let shift = |values: &[f32], size: usize, dy: usize, dx: usize| -> Vec<f32> {
        (0..size * size).map(|i| values[(i / size + dy) % size * size + (i % size + dx) % size]).collect()
    };
    let size = ((batch.pixels.len() / batch.rows / 3) as f64).sqrt().round() as usize;
    let patch = size / side;
    batch.pixels = batch.pixels.chunks(size * size).flat_map(|p| shift(p, size, dy * patch, dx * patch)).collect();
    for labels in &mut batch.labels {
        let floats: Vec<f32> = labels.iter().map(|l| *l as f32).collect();
        *labels = floats.chunks(side * side).flat_map(|p| shift(p, side, dy, dx)).map(|l| l as i32).collect();
    }
}

/// The language model on text alone: everything of it trains, embeddings too.
pub struct Reader {
    trainer: Trainer,
    tokens: usize,
    turns: usize,
}

impl Reader {
    /// Start values drawn, programs recorded.
    ///
    /// # Errors
    /// A batch that the device does not take.
    pub fn new(gpu: &Gpu, preset: &Preset, source: &Source, recipe: &StageRecipe) -> Result<Self, GpuError> {
        let specs = Model::new(&preset.model, Wiring::Linked).1;
        let weights = init::draw(&specs, &preset.model, &preset.init, preset.seed);
        let text = |n: &&String| n.starts_with("model.") || n.starts_with("lm_head.");
        let trained = weights.keys().filter(text).cloned().collect();
        let tokens = preset.text_tokens;
        let setup = Setup {
            config: &preset.model,
            wiring: Wiring::Linked,
            trained: &trained,
            recipe,
            tokens,
            with_image: false,
            facts: source.dataset().is_some_and(Dataset::has_facts),
        };
        setup.rows().check(gpu, recipe.batch)?;
        Ok(Self { trainer: Trainer::new(gpu, &setup, &weights), tokens, turns: preset.turns })
    }

    /// One step.
    pub async fn step(&mut self, source: &Source) -> Result<Report, String> {
        let rows = self.trainer.recipe().batch;
        let batch = source.text(self.trainer.updates * rows as u64, rows, self.tokens, self.turns)?;
        let report = self.trainer.step(&[HostBatch::from(&batch)]).await.map_err(|e| e.to_string())?;
        let wrong = finite::of_step(&self.trainer, "pre-training on text", &report).await.map_err(|e| e.to_string())?;
        wrong.map_or(Ok(report), |wrong| Err(wrong.to_string()))
    }

    /// All that the next step depends on.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn checkpoint(&self, preset: &Preset, source: &Source) -> Result<Checkpoint, GpuError> {
        kept(&self.trainer.params, meta(preset, source, self.trainer.updates)).await
    }

    /// Goes on where a reader of the same preset and text was.
    ///
    /// # Errors
    /// A checkpoint of something else.
    pub fn go_on(&mut self, from: &Checkpoint) -> Result<(), WeightsError> {
        self.trainer.updates = put_back(&self.trainer.params, from)?;
        Ok(())
    }

    /// Updates done.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.trainer.updates
    }

    /// Answers to questions about descriptions that it was not trained on, of `count` of them.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn scores(&self, source: &Source, count: usize) -> Result<Scores, EvaluateError> {
        let t = &self.trainer;
        let facts = source.dataset().is_some_and(Dataset::has_facts);
        let evaluator = Evaluator::for_text(t.model(), &t.params, self.tokens, facts);
        Ok(evaluator.answers(source, Asked::Text, Picture::None, count).await?.0)
    }

    /// The language model's parameters.
    pub async fn weights(&self) -> Result<Weights, GpuError> {
        let all = self.trainer.params.download().await?;
        Ok(all.into_iter().filter(|(n, _)| n.starts_with("model.") || n.starts_with("lm_head.")).collect())
    }
}
