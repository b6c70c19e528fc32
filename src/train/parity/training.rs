//! A whole training log against a fixture: losses, gradient norms, rates, frozen tensors, final weights.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fixture, FixtureError, Group, batch};
use crate::gpu::Gpu;
use crate::model::config::HiveConfig;
use crate::model::inputs::HostBatch;
use crate::model::model::{Model, Wiring};
use crate::model::weights::HostTensor;
use crate::train::recipe::StageRecipe;
use crate::train::stage::{Scope, Stage, enter_stage_two, trainable};
use crate::train::trainer::{Setup, Trainer};

#[derive(Deserialize)]
struct TrainingConfig {
    #[serde(flatten)]
    model: HiveConfig,
    scope: Scope,
    steps_per_stage: u64,
    warmup_ratio: f64,
    weight_decay: f64,
    recipe: Vec<TrainingStage>,
    log: Vec<LogEntry>,
}

#[derive(Deserialize)]
struct TrainingStage {
    stage: usize,
    learning_rate: f64,
    beta2: f64,
    max_grad_norm: f64,
    floor: f64,
}

#[derive(Deserialize)]
struct LogEntry {
    learning_rate: f64,
    loss: f64,
    grad_norm: f64,
}

pub(super) async fn training(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let t = TrainingConfig::deserialize(&f.config)?;
    let mut config = t.model.clone();
    config.check()?;
    let specs = Model::new(&config, Wiring::Linked).1;
    let mut weights = f.weights(&specs).await?;
    let tolerance = f.tolerances.gradient;
    let mut log = [("losses", tolerance), ("gradient norms", tolerance), ("learning rates", 1e-9)]
        .map(|(name, tolerance)| Group::new(name, tolerance));
    let mut frozen = Group::new("frozen tensors", 0.0);
    let mut n = 0;
    for stage in &t.recipe {
        let which = Stage::of(stage.stage).ok_or_else(|| FixtureError::Kind(format!("stage {}", stage.stage)))?;
        if which == Stage::Adaptation {
            enter_stage_two(&mut config, &mut weights);
        }
        let trained = trainable(&specs, &config.link_config, which, t.scope);
        let first = batch(&f.io, &format!("step.{n}."))?;
        let recipe = StageRecipe {
            steps: t.steps_per_stage,
            learning_rate: stage.learning_rate,
            warmup_ratio: t.warmup_ratio,
            floor: stage.floor,
            beta2: stage.beta2,
            max_grad_norm: stage.max_grad_norm,
            weight_decay: t.weight_decay,
            batch: first.rows,
            accumulate: 1,
        };
        let setup = Setup {
            config: &config,
            wiring: Wiring::Linked,
            trained: &trained,
            recipe: &recipe,
            tokens: first.tokens,
            with_image: true,
            facts: false,
        };
        let mut trainer = Trainer::new(gpu, &setup, &weights);
        for _ in 0..t.steps_per_stage {
            let batch = batch(&f.io, &format!("step.{n}."))?;
            let report = trainer.step(&[HostBatch::from(&batch)]).await?;
            let want = &t.log[n];
            let name = format!("step {n}");
            for (group, got, want) in [
                (0, f64::from(report.loss), want.loss),
                (1, f64::from(report.grad_norm), want.grad_norm),
                (2, report.learning_rate, want.learning_rate),
            ] {
                log[group].record(&name, (got - want).abs() / want.abs().max(1e-30));
            }
            n += 1;
        }
        let after = trainer.params.download().await?;
        for name in after.keys().filter(|name| !trained.contains(*name)) {
            frozen.record(name, f64::from(u8::from(bits(&after[name]) != bits(&weights[name]))));
        }
        weights = after;
    }
    let mut end = Group::new("final weights", tolerance);
    let expected: BTreeMap<&str, &HostTensor> =
        f.io.iter().filter_map(|(k, v)| Some((k.strip_prefix("end.")?, v))).collect();
    for (name, want) in expected {
        match weights.get(name) {
            Some(got) => end.compare(name, got, &want.values),
            None => end.faults.push(format!("no weight called {name}")),
        }
    }
    Ok(log.into_iter().chain([frozen, end]).collect())
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
