//! Questions about a picture: the greedy answer word by word, where it looked, and what it would say of a changed picture.

use thiserror::Error;

use super::super::words::{AttentionMaps, ProbeKind, Word};
use crate::data::batch::{Batch, NO_TARGET};
use crate::data::rng::Rng;
use crate::data::tokenizer::{END, PAD, START, Tokenizer};
use crate::gpu::{Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::config::VisionConfig;
use crate::model::generate::Generator;
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::model::{Model, Wiring};
use crate::nn::Params;
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::Evaluator;

/// Longest text, question and answer, in tokens.
pub const ROOM: usize = 96;

/// A question that cannot be answered.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The control has no generator.
    #[error("only linked models answer; this checkpoint is of the flattened control")]
    Control,
    /// A weight of another size.
    #[error("the checkpoint has {have} values for {name}, {need} are expected")]
    Weight {
        /// Tensor.
        name: String,
        /// Values there.
        have: usize,
        /// Values needed.
        need: usize,
    },
    /// More words than there is room for.
    #[error("the question has {words} words; there is room for {room}")]
    Long {
        /// Words of the question.
        words: usize,
        /// Words there is room for.
        room: usize,
    },
    /// Nothing asked.
    #[error("the question is empty. Ask, for example: what is it ?")]
    Empty,
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// A model ready to answer.
pub struct Answerer {
    generator: Generator,
    tokenizer: Tokenizer,
}

/// The greedy answer.
pub struct Greedy {
    /// Token ids, without end mark.
    pub ids: Vec<u32>,
    /// Word and probability.
    pub words: Vec<Word>,
    /// Probability of the whole answer, its end mark included.
    pub probability: f32,
}

impl Greedy {
    /// The words in one line.
    #[must_use]
    pub fn text(&self) -> String {
        self.words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl Answerer {
    /// From a checkpoint of a HIVE model.
    ///
    /// # Errors
    /// A checkpoint of the flattened control, or one whose weights do not fit.
    pub fn from_checkpoint(gpu: &Gpu, checkpoint: &Checkpoint, with_image: bool) -> Result<Self, AnswerError> {
        if checkpoint.meta.preset.wiring != Wiring::Linked {
            return Err(AnswerError::Control);
        }
        let (model, specs) = Model::new(&checkpoint.meta.model, Wiring::Linked);
        for spec in &specs {
            let have = checkpoint.weights.get(&spec.name).map_or(0, Vec::len);
            if have != spec.len() {
                return Err(AnswerError::Weight { name: spec.name.clone(), have, need: spec.len() });
            }
        }
        let params = Params::new(gpu, specs, &checkpoint.weights, &Default::default());
        Ok(Self::new(&model, &params, checkpoint.meta.tokenizer.clone(), with_image))
    }

    /// From parameters on the GPU; it answers by what they are when asked.
    #[must_use]
    pub fn new(model: &Model, params: &Params, tokenizer: Tokenizer, with_image: bool) -> Self {
        Self { generator: Generator::new(model, params, ROOM, with_image), tokenizer }
    }

    /// Token ids of a question; it ends with a question mark whether or not one was typed.
    ///
    /// # Errors
    /// An empty question, or one longer than the room.
    pub fn prompt(&self, question: &str) -> Result<Vec<u32>, AnswerError> {
        let question = question.trim().trim_end_matches('?').trim_end();
        if question.is_empty() {
            return Err(AnswerError::Empty);
        }
        let mut prompt = vec![START];
        prompt.extend(self.tokenizer.encode(&format!("{question} ?")));
        if prompt.len() + 8 > ROOM {
            return Err(AnswerError::Long { words: prompt.len() - 1, room: ROOM - 9 });
        }
        Ok(prompt)
    }

    /// The greedy answer to a question about pixels (3, S, S). `tell` gets each word as it comes; false ends the answer.
    ///
    /// # Errors
    /// A question that is empty or too long, or a GPU fault.
    pub async fn ask(
        &mut self,
        pixels: &[f32],
        question: &str,
        mut tell: impl FnMut(&Word) -> bool,
    ) -> Result<Greedy, AnswerError> {
        let prompt = self.prompt(question)?;
        self.generator.start(pixels, 0);
        prompt.iter().for_each(|t| self.generator.feed(*t));
        let mut greedy = Greedy { ids: Vec::new(), words: Vec::new(), probability: 1.0 };
        while !self.generator.is_full() {
            let choice = self.generator.choice().await?;
            greedy.probability *= choice.probability;
            if choice.token == END {
                break;
            }
            let word = Word { text: self.tokenizer.decode(&[choice.token]), probability: choice.probability };
            greedy.ids.push(choice.token);
            let go_on = tell(&word);
            greedy.words.push(word);
            if !go_on {
                break;
            }
            self.generator.feed(choice.token);
        }
        Ok(greedy)
    }
}

/// Records attention over one text.
pub struct Looker {
    gpu: Gpu,
    inputs: Inputs,
    program: Program,
    attention: Vec<(usize, Tensor)>,
    heads: usize,
    side: usize,
}

impl Looker {
    /// For a linked model.
    #[must_use]
    pub fn new(model: &Model, params: &Params) -> Self {
        let gpu = params.gpu();
        let inputs = Inputs::new(gpu, model.config(), 1, ROOM, true);
        let mut r = Recorder::new(gpu);
        let look = model.look(&mut r, params, &inputs);
        let v = &model.config().vision_config;
        Self {
            gpu: gpu.clone(),
            inputs,
            program: r.finish(),
            attention: look.attention,
            heads: model.config().text_config.num_attention_heads,
            side: v.side(),
        }
    }

    /// Where each token of prompt and answer looks. `words` are those of the tokens.
    ///
    /// # Errors
    /// A GPU fault.
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
        let batch = HostBatch { ids: &ids, labels: &[NO_TARGET; ROOM], lengths: &[count as u32], offset: &[0], pixels };
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
        Ok(AttentionMaps { tokens, first_answer, layers, heads: self.heads, side: self.side, values })
    }
}

/// Scores one answer under several pictures.
pub struct Prober {
    evaluator: Evaluator,
}

impl Prober {
    /// For up to four pictures.
    #[must_use]
    pub fn new(model: &Model, params: &Params, config: &crate::model::config::HiveConfig) -> Self {
        Self { evaluator: Evaluator::new(model, params, config, 1, ROOM, true) }
    }

    /// Probability of `answer` and its end mark after `prompt`, given the pixels.
    ///
    /// # Errors
    /// A GPU fault.
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
