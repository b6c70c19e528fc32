//! Where an answer of a trained model looked, how likely it was, and pictures that are changed to see what it then says.

use super::open::TRAINED_ROOM as ROOM;
use crate::data::batch::{Batch, NO_TARGET};
use crate::data::rng::Rng;
use crate::data::tokenizer::{END, PAD, Tokenizer};
use crate::engine::words::{AttentionMaps, ProbeKind};
use crate::gpu::{Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::config::VisionConfig;
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::model::Model;
use crate::nn::Params;
use crate::train::evaluate::Evaluator;

/// Records attention over one text.
pub struct Looker {
    gpu: Gpu,
    inputs: Inputs,
    program: Program,
    attention: Vec<(usize, Tensor)>,
    depths: Vec<usize>,
    heads: usize,
    side: usize,
}

impl Looker {
    /// For a linked model; others have no image keys to look at.
    #[must_use]
    pub fn new(model: &Model, params: &Params) -> Option<Self> {
        if model.links().is_empty() {
            return None;
        }
        let gpu = params.gpu();
        let inputs = Inputs::new(gpu, model.config(), 1, ROOM, true);
        let mut r = Recorder::new(gpu);
        let look = model.look(&mut r, params, &inputs);
        Some(Self {
            gpu: gpu.clone(),
            inputs,
            program: r.finish(),
            attention: look.attention,
            depths: model.depths(),
            heads: model.language_config().num_attention_heads,
            side: model.config().vision_config.side(),
        })
    }

    /// Where each token of prompt and answer looks. `words` are those of the tokens.
    pub async fn maps(
        &self,
        pixels: &[f32],
        prompt: &[u32],
        answer: &[u32],
        words: &Tokenizer,
    ) -> Result<AttentionMaps, GpuError> {
        let mut ids: Vec<u32> = prompt.iter().chain(answer).copied().take(ROOM).collect();
        let count = ids.len();
        let tokens: Vec<String> =
            ids.iter().map(|t| words.words().get(*t as usize).cloned().unwrap_or_default()).collect();
        ids.resize(ROOM, PAD);
        let batch = HostBatch {
            ids: &ids,
            labels: &[NO_TARGET; ROOM],
            lengths: &[count as u32],
            offset: &[0],
            pixels,
            told: &[],
        };
        self.inputs.write(batch, 1);
        self.program.run_shared().await?;
        let (n, mut values) = (self.side * self.side, Vec::new());
        let tensors: Vec<Tensor> = self.attention.iter().map(|(_, t)| t.clone()).collect();
        for layer in self.gpu.read_all(&tensors).await? {
            for h in 0..self.heads {
                for t in 0..count {
                    let at = (h * ROOM + t) * (ROOM + n) + ROOM;
                    values.extend_from_slice(&layer[at..at + n]);
                }
            }
        }
        let layers = self.attention.iter().map(|(l, _)| *l).collect();
        let first_answer = prompt.len().min(count).saturating_sub(1);
        let (depths, heads, side) = (self.depths.clone(), self.heads, self.side);
        Ok(AttentionMaps { tokens, first_answer, layers, depths, heads, side, values })
    }
}

/// Scores one answer under several pictures.
pub struct Prober {
    evaluator: Evaluator,
}

impl Prober {
    /// For up to four pictures.
    #[must_use]
    pub fn new(model: &Model, params: &Params) -> Self {
        Self { evaluator: Evaluator::new(model, params, 1, ROOM, true) }
    }

    /// Probability of `answer` and its end mark after `prompt`, given the pixels.
    pub async fn probability(&self, pixels: &[f32], prompt: &[u32], answer: &[u32]) -> Result<f32, GpuError> {
        let mut ids: Vec<u32> = prompt.iter().chain(answer).copied().take(ROOM - 1).collect();
        ids.push(END);
        let length = ids.len();
        let target = |(i, id): (usize, &u32)| if i < prompt.len() { NO_TARGET } else { *id as i32 };
        let mut labels: Vec<i32> = ids.iter().enumerate().map(target).collect();
        ids.resize(ROOM, PAD);
        labels.resize(ROOM, NO_TARGET);
        let batch = Batch {
            rows: 1,
            tokens: ROOM,
            ids,
            labels,
            lengths: vec![length as u32],
            offset: vec![0],
            pixels: pixels.to_vec(),
            ..Batch::default()
        };
        let targets = HostBatch::from(&batch).target_count();
        let (_, loss) = self.evaluator.run(&batch).await?;
        Ok((-loss * targets as f64).exp() as f32)
    }
}

/// The picture of a probe; none where another picture would be needed and is not there.
#[must_use]
pub fn changed(kind: ProbeKind, pixels: &[f32], other: Option<&[f32]>, v: &VisionConfig) -> Option<Vec<f32>> {
    match kind {
        ProbeKind::Blindfold => Some(vec![0.0; pixels.len()]),
        ProbeKind::Swap => other.map(<[f32]>::to_vec),
        ProbeKind::Shuffle => Some(shuffled(pixels, v.image_size, v.patch_size)),
    }
}

/// The same patches in another order, always the same one, none at its own place.
fn shuffled(pixels: &[f32], size: usize, patch: usize) -> Vec<f32> {
    let side = size / patch;
    let n = side * side;
    // A cycle over a random order moves every patch.
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = Rng::new(0x5b0f, 0);
    for i in (1..n).rev() {
        order.swap(i, rng.below(i + 1));
    }
    let mut out = pixels.to_vec();
    for i in 0..n {
        let (from, to) = (order[i], order[(i + 1) % n]);
        for c in 0..pixels.len() / (size * size) {
            for y in 0..patch {
                let row = |p: usize| (c * size + p / side * patch + y) * size + p % side * patch;
                out[row(to)..row(to) + patch].copy_from_slice(&pixels[row(from)..row(from) + patch]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_moves_every_patch_and_loses_none() {
        let pixels: Vec<f32> = (0..3 * 8 * 8).map(|i| i as f32).collect();
        let out = shuffled(&pixels, 8, 2);
        let mut sorted = out.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, pixels);
        assert!(out.iter().zip(&pixels).all(|(a, b)| a != b));
    }
}
