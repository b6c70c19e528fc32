//! The first losses of a stage: two machines that compute the same train the same.

use thiserror::Error;

use super::assets::{self, AssetError, made_source};
use crate::gpu::{Gpu, GpuError};
use crate::model::weights::WeightsError;
use crate::train::evaluate::EvaluateError;
use crate::train::run::Run;
use crate::train::stage::Stage;

/// Why there are no losses.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LossesError {
    /// A preset, weights or data of that name.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// Start weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Step(#[from] EvaluateError),
    /// A stage that the preset lacks.
    #[error("the preset {preset} has no stage {stage}")]
    Stage { preset: String, stage: usize },
}

/// Losses of `steps` updates of a stage, from the shipped start weights, the schedule stretched to that many.
///
/// # Errors
/// No such preset or stage, or a GPU fault.
pub async fn losses(
    gpu: &Gpu,
    preset: &str,
    stage: usize,
    steps: u64,
    seed: Option<u64>,
) -> Result<Vec<f32>, LossesError> {
    let mut preset = assets::preset(preset)?;
    preset.seed = seed.unwrap_or(preset.seed);
    let missing = || LossesError::Stage { preset: preset.name.clone(), stage };
    let stage = Stage::of(stage).ok_or_else(missing)?;
    let Some((_, recipe)) = preset.stages.iter_mut().find(|(s, _)| *s == stage) else { return Err(missing()) };
    recipe.steps = steps;
    let start = assets::model(&format!("{}-start", preset.data))?.weights;
    let source = made_source(&preset)?;
    let mut run = Run::new(gpu, preset, source, &start)?;
    run.enter(stage).await?;
    let mut losses = Vec::new();
    while let Some(report) = run.step().await? {
        losses.push(report.loss);
    }
    Ok(losses)
}
