//! The trainer: records the programs of a stage once, replays them per step. It knows no channel and no screen.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::recipe::StageRecipe;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::config::HiveConfig;
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::limits::Rows;
use crate::model::model::{Model, Wiring};
use crate::nn::Params;
use crate::nn::params::Weights;
use crate::ops::adamw::{self, Constants, Range};
use crate::ops::sum_squares;

/// First-moment decay, everywhere.
pub const BETA1: f64 = 0.9;
/// `AdamW`'s epsilon, everywhere.
pub const EPS: f32 = 1e-8;

/// What one optimiser step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Update number within the stage, from 1.
    pub update: u64,
    /// Mean loss over the step's targets, before the update.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f32,
    /// Learning rate.
    pub learning_rate: f64,
}

/// Clipping and `AdamW` over the trained slabs.
pub struct Optimiser {
    clear: Program,
    update: Program,
    rate: Tensor,
    clip: Tensor,
    partials: Tensor,
    /// Parameter index of each partial sum.
    owners: Vec<usize>,
}

/// Elements of a gradient that one partial sum covers.
const CHUNK: usize = 4096;

impl Optimiser {
    /// Records zeroing, norm, clipping and update for everything that trains in `params`.
    #[must_use]
    pub fn new(params: &Params, recipe: &StageRecipe) -> Self {
        let gpu = params.gpu();
        let (rate, clip) = (gpu.tensor([3], DType::F32, "rate"), gpu.tensor([3], DType::F32, "clip"));
        let trained = || params.slabs().iter().filter_map(|s| Some((s, s.trained.as_ref()?)));
        let mut tables: Vec<Vec<u32>> = Vec::new();
        let mut owners = Vec::new();
        for (slab, _) in trained() {
            let mut table = Vec::new();
            for &(id, start, len) in &slab.members {
                for at in (0..len).step_by(CHUNK) {
                    table.extend([(start + at) as u32, CHUNK.min(len - at) as u32]);
                    owners.push(id.0);
                }
            }
            tables.push(table);
        }
        let partials = gpu.tensor([owners.len().max(1)], DType::F32, "partial norms");
        let (mut clear, mut r) = (Recorder::new(gpu), Recorder::new(gpu));
        let mut first = 0;
        for ((_, t), table) in trained().zip(&tables) {
            clear.zero(&t.grad);
            let chunks = gpu.upload_u32(table, [table.len() / 2, 2], "chunks");
            sum_squares::partial(&mut r, &chunks, &t.grad, &partials, first);
            first += table.len() / 2;
        }
        sum_squares::clip(&mut r, &partials, recipe.max_grad_norm as f32, &clip);
        for (slab, t) in trained() {
            let decay = if slab.decays { recipe.weight_decay as f32 } else { 0.0 };
            let c = Constants { beta1: BETA1 as f32, beta2: recipe.beta2 as f32, eps: EPS, decay };
            adamw::update(&mut r, c, &rate, &clip, Range { w: &slab.value, grad: &t.grad, m: &t.m, v: &t.v });
        }
        Self { clear: clear.finish(), update: r.finish(), rate, clip, partials, owners }
    }

    /// Zeroes the gradients.
    pub fn clear(&self) {
        self.clear.run();
    }

    /// One update, number `update` from 1, at learning rate `lr`.
    pub fn step(&self, gpu: &Gpu, lr: f64, beta2: f64, update: u64) {
        gpu.write(&self.rate, &adamw::rate(lr, BETA1, beta2, update));
        self.update.run();
    }

    /// Gradient norm of each trained parameter (index, norm) in the last step.
    pub async fn norms(&self, gpu: &Gpu) -> Result<Vec<(usize, f32)>, GpuError> {
        let partials = gpu.read_f32(&self.partials).await?;
        let mut out: Vec<(usize, f32)> = Vec::new();
        for (&owner, &square) in self.owners.iter().zip(&partials) {
            match out.last_mut() {
                Some((last, sum)) if *last == owner => *sum += square,
                _ => out.push((owner, square)),
            }
        }
        out.iter_mut().for_each(|(_, n)| *n = n.sqrt());
        Ok(out)
    }

    /// Dispatches of one update.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.update.dispatches()
    }

    /// The update's program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.update
    }
}

/// A model in one stage on one device.
pub struct Trainer {
    gpu: Gpu,
    /// What the model was built from.
    pub config: HiveConfig,
    /// Which wiring.
    pub wiring: Wiring,
    /// Parameters, gradients, moments.
    pub params: Arc<Params>,
    model: Arc<Model>,
    recipe: StageRecipe,
    inputs: Inputs,
    step: Program,
    optimiser: Optimiser,
    loss: Tensor,
    /// Updates done in this stage.
    pub updates: u64,
}

/// How a trainer is set up.
#[allow(missing_docs, reason = "the names say it")]
pub struct Setup<'a> {
    pub config: &'a HiveConfig,
    pub wiring: Wiring,
    pub trained: &'a BTreeSet<String>,
    pub recipe: &'a StageRecipe,
    /// T.
    pub tokens: usize,
    /// Do batches have pictures?
    pub with_image: bool,
    /// May several tokens stand at one position? Only of text alone.
    pub facts: bool,
}

impl Setup<'_> {
    /// What makes the tensors of a batch.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        let Self { config, wiring, tokens, with_image, facts, .. } = *self;
        Rows { config, wiring, tokens, with_image, facts }
    }
}

impl Trainer {
    /// Uploads the weights and records the programs.
    #[must_use]
    pub fn new(gpu: &Gpu, setup: &Setup<'_>, weights: &Weights) -> Self {
        let (model, specs) = Model::new(setup.config, setup.wiring);
        Self::with(gpu, setup, model, Params::new(gpu, specs, weights, setup.trained))
    }

    /// Of weights that are all zero: to see what a stage takes.
    #[must_use]
    pub fn zeroed(gpu: &Gpu, setup: &Setup<'_>) -> Self {
        let (model, specs) = Model::new(setup.config, setup.wiring);
        Self::with(gpu, setup, model, Params::zeroed(gpu, specs, setup.trained))
    }

    fn with(gpu: &Gpu, setup: &Setup<'_>, model: Model, params: Params) -> Self {
        let (batch, tokens) = (setup.recipe.batch, setup.tokens);
        let inputs = match setup.facts {
            true => Inputs::for_facts(gpu, setup.config, batch, tokens),
            false => Inputs::new(gpu, setup.config, batch, tokens, setup.with_image),
        };
        let loss = gpu.tensor([1], DType::F32, "loss");
        let mut r = Recorder::new(gpu);
        let saved = model.forward(&mut r, &params, &inputs, &loss);
        model.backward(&mut r, &params, &inputs, saved);
        let optimiser = Optimiser::new(&params, setup.recipe);
        Self {
            step: r.finish(),
            gpu: gpu.clone(),
            config: setup.config.clone(),
            wiring: setup.wiring,
            params: Arc::new(params),
            model: Arc::new(model),
            recipe: setup.recipe.clone(),
            inputs,
            optimiser,
            loss,
            updates: 0,
        }
    }

    /// The model's structure.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The forward and backward program of a micro-batch.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.step
    }

    /// The optimiser.
    #[must_use]
    pub fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &StageRecipe {
        &self.recipe
    }

    /// One optimiser step over the micro-batches of a window. The loss is the mean over all targets of the window.
    pub async fn step(&mut self, window: &[HostBatch<'_>]) -> Result<Report, GpuError> {
        let targets = window.iter().map(HostBatch::target_count).sum();
        self.optimiser.clear();
        self.gpu.write(&self.loss, &[0.0]);
        for batch in window {
            self.inputs.write(*batch, targets);
            self.step.run_shared().await?;
        }
        self.updates += 1;
        let lr = self.recipe.schedule().rate(self.updates, self.recipe.steps);
        self.optimiser.step(&self.gpu, lr, self.recipe.beta2, self.updates);
        self.params.changed();
        self.report().await
    }

    /// Loss and gradient norm of the last submitted step; waits for it.
    pub async fn report(&self) -> Result<Report, GpuError> {
        let read = self.gpu.read_all(&[self.loss.clone(), self.optimiser.clip.clone()]).await?;
        Ok(Report {
            update: self.updates,
            loss: read[0][0],
            grad_norm: read[1][1],
            learning_rate: self.recipe.schedule().rate(self.updates, self.recipe.steps),
        })
    }

    /// Gradient norm of each trained parameter in the last step, by name.
    pub async fn gradient_norms(&self) -> Result<Vec<(String, f32)>, GpuError> {
        let norms = self.optimiser.norms(&self.gpu).await?;
        Ok(norms.into_iter().map(|(i, n)| (self.params.specs()[i].name.clone(), n)).collect())
    }
}
