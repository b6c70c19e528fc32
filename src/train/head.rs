//! A probe on a device: its inputs, what trains it and what reads it, recorded once. [`depths`](super::depths) and
//! [`class_probe`](super::class_probe) train theirs with it.

use super::recipe::StageRecipe;
use super::trainer::Optimiser;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::probe::{Kind, Probe, ProbeInputs, Sizes};
use crate::nn::params::Weights;
use crate::nn::{ParamSpec, Params};
use crate::ops::cross_entropy::NO_TARGET;
use crate::ops::embed;

/// A probe with its programs.
pub(super) struct Head {
    gpu: Gpu,
    inputs: ProbeInputs,
    loss: Tensor,
    logits: Tensor,
    step: Program,
    look: Program,
    optimiser: Optimiser,
    /// B.
    rows: usize,
}

impl Head {
    /// For B `rows` of `patches` states each at a time. `start` gives its weights, `trains` says by name which of them train.
    pub(super) fn new(
        gpu: &Gpu,
        (kind, sizes): (Kind, Sizes),
        [rows, patches]: [usize; 2],
        recipe: &StageRecipe,
        start: impl FnOnce(&[ParamSpec]) -> Weights,
        trains: impl Fn(&str) -> bool,
    ) -> Self {
        let (probe, specs) = Probe::new(kind, sizes);
        let weights = start(&specs);
        let trained = specs.iter().map(|s| s.name.clone()).filter(|name| trains(name)).collect();
        let params = Params::new(gpu, specs, &weights, &trained);
        let tensor = |shape: &[usize], of, label| gpu.tensor(shape, of, label);
        let (order, segments) = embed::sort(&vec![0; rows]);
        let inputs = ProbeInputs {
            features: tensor(&[rows * patches, sizes.width], DType::F32, "features"),
            classes: tensor(&[rows], DType::U32, "classes"),
            zeros: tensor(&[rows], DType::U32, "zeros"),
            order: gpu.upload_u32(&order, [rows], "order"),
            segments: gpu.upload_u32(&segments, [rows, 3], "segments"),
            rows: tensor(&[rows, 3], DType::U32, "rows"),
            scale: gpu.upload(&[1.0 / rows as f32], [1], "scale"),
        };
        let loss = tensor(&[1], DType::F32, "loss");
        let dfeatures = tensor(&[rows * patches, sizes.width], DType::F32, "dfeatures");
        let logits = tensor(&[rows, sizes.classes], DType::F32, "logits");
        let mut r = Recorder::new(gpu);
        let saved = probe.forward(&mut r, &params, &inputs, &loss).1;
        probe.backward(&mut r, &params, &inputs, saved, &dfeatures);
        let step = r.finish();
        let mut r = Recorder::new(gpu);
        let made = probe.logits(&mut r, &params, &inputs);
        r.copy(&made, &logits);
        let (look, optimiser) = (r.finish(), Optimiser::new(&params, recipe));
        Self { gpu: gpu.clone(), inputs, loss, logits, step, look, optimiser, rows }
    }

    /// Writes at most B rows: their features, and their classes. The rest have no class, and no part in the loss.
    pub(super) fn write(&self, features: &[f32], classes: impl Iterator<Item = Option<usize>>) {
        let mut targets: Vec<u32> = classes.map(|class| class.map_or(NO_TARGET, |class| class as u32)).collect();
        targets.resize(self.rows, NO_TARGET);
        self.gpu.write_part(&self.inputs.features, 0, features);
        self.gpu.write_u32(&self.inputs.classes, &targets);
    }

    /// Begins a step whose loss is the mean over so many rows.
    pub(super) fn begin(&self, count: usize) {
        self.optimiser.clear();
        self.gpu.write(&self.loss, &[0.0]);
        self.gpu.write(&self.inputs.scale, &[1.0 / count.max(1) as f32]);
    }

    /// Adds the loss and the gradients of the rows that were written.
    pub(super) fn add(&self) {
        self.step.run();
    }

    /// Ends a step, number `update` from 1.
    pub(super) fn end(&self, rate: f64, beta2: f64, update: u64) {
        self.optimiser.step(&self.gpu, rate, beta2, update);
    }

    /// The loss of the step in progress, or the last.
    pub(super) async fn loss(&self) -> Result<f32, GpuError> {
        Ok(self.gpu.read_f32(&self.loss).await?[0])
    }

    /// Logits (B, classes) of the rows that were written.
    pub(super) async fn logits(&self) -> Result<Vec<f32>, GpuError> {
        self.look.run();
        self.gpu.read_f32(&self.logits).await
    }
}
