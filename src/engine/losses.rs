//! The first losses of a stage: two machines that compute the same train the same.

use super::assets::{self, made_source};
use super::track::Trouble;
use crate::gpu::Gpu;
use crate::train::run::Run;
use crate::train::stage::Stage;

/// Losses of `steps` updates of a stage, from the shipped start weights, the schedule stretched to that many.
///
/// # Errors
/// No such preset or stage, or a GPU fault.
pub async fn losses(gpu: &Gpu, preset: &str, stage: usize, steps: u64, seed: Option<u64>) -> Result<Vec<f32>, Trouble> {
    let mut preset = assets::preset(preset)?;
    preset.seed = seed.unwrap_or(preset.seed);
    let missing = || Trouble::Other(format!("the preset {} has no stage {stage}", preset.name));
    let stage = Stage::of(stage).ok_or_else(missing)?;
    let Some((_, recipe)) = preset.stages.iter_mut().find(|(s, _)| *s == stage) else { return Err(missing()) };
    recipe.steps = steps;
    let start = assets::model(&format!("{}-start", preset.data)).await?.weights;
    let source = made_source(&preset)?;
    let mut run = Run::new(gpu, preset, source, &start)?;
    run.enter(stage).await?;
    let mut losses = Vec::new();
    while let Some(report) = run.step().await? {
        losses.push(report.loss);
    }
    Ok(losses)
}
