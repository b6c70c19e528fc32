//! What a training step takes, counted from the programs that it would run.

use super::recipe::{Preset, StageRecipe};
use super::stage::{Stage, trainable};
use super::trainer::{Setup, Trainer};
use crate::gpu::{Gpu, Part};
use crate::model::model::{Model, Wiring};
use crate::nn::ParamSpec;

/// Of one optimiser step of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// GPU dispatches, the optimiser's included.
    pub dispatches: usize,
    /// Bytes of parameters, gradients and moments.
    pub parameter_bytes: u64,
    /// Bytes of activations and other temporaries.
    pub temporary_bytes: u64,
    /// Floating-point operations, as stated by the operations.
    pub flops: f64,
    /// Parameters that the stage trains.
    pub trained: usize,
    /// All parameters.
    pub parameters: usize,
    /// Part by part of the model, forward and backward.
    pub parts: Vec<Part>,
}

impl Cost {
    /// Of a recorded trainer.
    #[must_use]
    pub fn of(t: &Trainer) -> Self {
        let times = t.recipe().accumulate;
        let (names, specs) = (t.params.trained_names(), t.params.specs());
        let whole = |p: Part| Part { dispatches: p.dispatches * times, flops: p.flops * times as f64, ..p };
        Self {
            dispatches: t.program().dispatches() * times + t.optimiser().dispatches(),
            parameter_bytes: t.params.bytes(),
            temporary_bytes: t.program().bytes() + t.optimiser().program().bytes(),
            flops: t.program().flops() * times as f64,
            trained: specs.iter().filter(|s| names.contains(&s.name)).map(ParamSpec::len).sum(),
            parameters: specs.iter().map(ParamSpec::len).sum(),
            parts: t.program().parts().into_iter().map(whole).collect(),
        }
    }

    /// Of a stage of a preset, with another wiring; none where it has no such stage. On a device that counts
    /// ([`crate::gpu::GpuOptions::counting`]) nothing is run, whatever the size.
    #[must_use]
    pub fn of_stage(gpu: &Gpu, preset: &Preset, wiring: Wiring, stage: Stage) -> Option<Self> {
        Some(Self::of(&trainer(gpu, preset, wiring, stage, preset.stage(stage)?)))
    }
}

/// The trainer of a stage of a preset with another wiring, its weights zero: what a step takes does not depend on them.
#[must_use]
pub fn trainer(gpu: &Gpu, preset: &Preset, wiring: Wiring, stage: Stage, recipe: &StageRecipe) -> Trainer {
    let mut config = preset.model.clone();
    config.link_config.separate_image_kv = stage >= Stage::Adaptation && !preset.shared_image_kv;
    let trained = trainable(&Model::new(&config, wiring).1, &config.link_config, stage, preset.scope);
    let tokens = preset.tokens;
    let setup = Setup { config: &config, wiring, trained: &trained, recipe, tokens, with_image: true, facts: false };
    Trainer::zeroed(gpu, &setup)
}
