//! Held-out questions: exact answers by kind, with the right picture, with swapped pictures, and without any.
//!
//! An answer is exact when every token of it, its end included, is the most likely one given the tokens before: greedy
//! decoding would then write just this answer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::finite::NotFinite;
use super::source::Source;
use super::stage::Stage;
use crate::data::batch::Batch;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::limits::Rows;
use crate::model::model::Model;
use crate::model::weights::WeightsError;
use crate::nn::Params;
use crate::ops::cross_entropy::NO_TARGET;

/// Exact answers out of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Share {
    pub hits: usize,
    pub of: usize,
}

impl Share {
    /// Between 0 and 1; 0 without questions.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.hits as f64 / self.of.max(1) as f64
    }

    fn add(&mut self, hit: bool) {
        self.of += 1;
        self.hits += usize::from(hit);
    }
}

/// What the model sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// The question's own.
    Own,
    /// That of another question.
    Swapped,
    /// None: the language model alone.
    None,
}

impl Picture {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Own, Self::Swapped, Self::None];
}

/// Which questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Those that nothing is chosen by.
    HeldOut,
    /// About scenes like those of training, which training never comes to: to choose settings by.
    Validation,
    /// About descriptions, without pictures, that pre-training never comes to.
    Text,
}

/// What scores are of: the last stage that trained, and what the model sees. In files it is its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    /// None before the first.
    pub stage: Option<Stage>,
    /// What it sees.
    pub picture: Picture,
    /// Did the stage go on for as many more steps as the next one has? Without such a control a gain of that means nothing.
    pub more: bool,
}

impl Label {
    /// The start weights without a picture.
    pub const ALONE: Self = Self { stage: None, picture: Picture::None, more: false };
    /// Stage 2, for as many more steps as stage 3 has.
    pub const INSTEAD: Self = Self { stage: Some(Stage::Adaptation), picture: Picture::Own, more: true };

    /// With a question's own picture.
    #[must_use]
    pub fn after(stage: Stage) -> Self {
        Self { stage: Some(stage), picture: Picture::Own, more: false }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALONE {
            return f.write_str("language model alone");
        }
        let what = self.stage.map_or("start".to_owned(), |s| format!("stage {}", s.number()));
        let picture = match self.picture {
            Picture::Own => "",
            Picture::Swapped => ", pictures swapped",
            Picture::None => ", no picture",
        };
        let more = if self.more { ", as many more steps instead" } else { "" };
        write!(f, "{what}{more}{picture}")
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let stages = [None].into_iter().chain(Stage::ALL.map(Some));
        let labels = |stage| {
            Picture::ALL.into_iter().flat_map(move |picture| [false, true].map(|more| Self { stage, picture, more }))
        };
        let mut all = stages.flat_map(labels);
        all.find(|l| l.to_string() == text).ok_or_else(|| format!("scores of \"{text}\" are not known"))
    }
}

/// Scores of one pass over held-out questions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Scores {
    pub all: Share,
    /// Questions about scenes with two or three things.
    pub several: Share,
    pub kinds: BTreeMap<String, Share>,
    /// Mean loss of the answers' tokens.
    #[serde(with = "super::floats")]
    pub loss: f64,
}

/// A recorded forward pass over question rows.
pub struct Evaluator {
    gpu: Gpu,
    program: Program,
    inputs: Inputs,
    state: Tensor,
    loss: Tensor,
}

impl Evaluator {
    /// For batches of `rows` rows of `tokens` tokens.
    #[must_use]
    pub fn new(model: &Model, params: &Params, rows: usize, tokens: usize, with_image: bool) -> Self {
        Self::with(model, params, Inputs::new(params.gpu(), model.config(), rows, tokens, with_image))
    }

    /// For questions about descriptions; with `facts` several tokens may stand at one position.
    #[must_use]
    pub fn for_text(model: &Model, params: &Params, tokens: usize, facts: bool) -> Self {
        let (gpu, config) = (params.gpu(), model.config());
        let inputs = match facts {
            true => Inputs::for_facts(gpu, config, ROWS, tokens),
            false => Inputs::new(gpu, config, ROWS, tokens, false),
        };
        Self::with(model, params, inputs)
    }

    fn with(model: &Model, params: &Params, inputs: Inputs) -> Self {
        let gpu = params.gpu();
        let (rows, tokens) = (inputs.batch, inputs.text);
        let loss = gpu.tensor([1], DType::F32, "loss");
        let state = gpu.tensor([rows * tokens, 4], DType::F32, "state");
        let mut r = Recorder::new(gpu);
        let saved = model.forward(&mut r, params, &inputs, &loss);
        r.copy(saved.state(), &state);
        drop(saved);
        Self { gpu: gpu.clone(), program: r.finish(), inputs, state, loss }
    }

    /// Which rows are exact, and the mean loss.
    pub async fn run(&self, batch: &Batch) -> Result<(Vec<bool>, f64), GpuError> {
        let host = HostBatch::from(batch);
        self.gpu.write(&self.loss, &[0.0]);
        self.inputs.write(host, host.target_count());
        self.program.run_shared().await?;
        let read = self.gpu.read_all(&[self.state.clone(), self.loss.clone()]).await?;
        let targets = host.targets();
        let exact = targets
            .chunks(batch.tokens)
            .zip(read[0].chunks(batch.tokens * 4))
            .map(|(targets, state)| {
                targets.iter().zip(state.chunks(4)).all(|(t, s)| *t == NO_TARGET || *t == s[3] as u32)
            })
            .collect();
        Ok((exact, f64::from(read[1][0])))
    }
}

/// Every row gets the picture of the row before it.
pub fn swap_pictures(batch: &mut Batch) {
    if let Some(image) = batch.pixels.len().checked_div(batch.rows) {
        batch.pixels.rotate_right(image);
    }
}

/// Why training or an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The GPU failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A picture could not be read.
    #[error("{0}")]
    Data(String),
    /// Weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A number is none.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// Questions of a pass, at most.
const ROWS: usize = 50;

impl Evaluator {
    /// For scores of `count` held-out questions of at most `tokens` tokens, with pictures or without.
    #[must_use]
    pub fn for_questions(model: &Model, params: &Params, tokens: usize, count: usize, with_image: bool) -> Self {
        let rows = Rows { config: model.config(), wiring: model.wiring(), tokens, with_image, facts: false };
        let most = rows.most(params.gpu()).clamp(1, ROWS);
        Self::new(model, params, count.clamp(1, most), tokens, with_image)
    }

    /// Scores of `count` held-out questions; `count` is what this was made for.
    ///
    /// # Errors
    /// A GPU fault, or a picture that cannot be read.
    pub async fn scores(&self, source: &Source, picture: Picture, count: usize) -> Result<Scores, EvaluateError> {
        Ok(self.answers(source, Asked::HeldOut, picture, count).await?.0)
    }

    /// Scores of these questions, and which of them, in order, were answered exactly.
    ///
    /// # Errors
    /// A GPU fault, or a picture that cannot be read.
    pub async fn answers(
        &self,
        source: &Source,
        asked: Asked,
        picture: Picture,
        count: usize,
    ) -> Result<(Scores, Vec<bool>), EvaluateError> {
        let rows = self.inputs.batch;
        let (mut scores, mut all) = (Scores::default(), Vec::new());
        let batches = count.div_ceil(rows);
        for b in 0..batches {
            // A last, partial batch is filled with questions that were asked already; they are not counted again.
            let first = (b * rows).min(count.saturating_sub(rows));
            let made = match asked {
                Asked::HeldOut => source.questions(first as u64, rows, self.inputs.text),
                Asked::Validation => source.validation(first as u64, rows, self.inputs.text),
                Asked::Text => source.text_questions(first as u64, rows, self.inputs.text),
            };
            let mut batch = made.map_err(EvaluateError::Data)?;
            if picture == Picture::Swapped {
                swap_pictures(&mut batch);
            }
            let (exact, loss) = self.run(&batch).await?;
            scores.loss += loss / batches as f64;
            // Nobody can have learned what was cut off.
            let exact = exact.into_iter().zip(&batch.cut).map(|(hit, cut)| hit && !cut);
            for (i, hit) in exact.enumerate().filter(|(i, _)| first + i >= b * rows) {
                scores.all.add(hit);
                all.push(hit);
                scores.kinds.entry(batch.kinds[i].to_owned()).or_default().add(hit);
                if batch.things[i] > 1 {
                    scores.several.add(hit);
                }
            }
        }
        if !scores.loss.is_finite() {
            return Err(NotFinite::Answers(scores.loss).into());
        }
        Ok((scores, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_same_texts_in_every_file() {
        let label = |stage, picture| Label { stage, picture, more: false };
        for (label, text) in [
            (Label::ALONE, "language model alone"),
            (Label::after(Stage::Connector), "stage 1"),
            (label(Some(Stage::Vision), Picture::Swapped), "stage 3, pictures swapped"),
            (label(Some(Stage::Vision), Picture::None), "stage 3, no picture"),
            (label(None, Picture::Own), "start"),
            (Label::INSTEAD, "stage 2, as many more steps instead"),
        ] {
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::to_string(&label).unwrap(), json);
            assert_eq!(serde_json::from_str::<Label>(&json).unwrap(), label);
        }
        assert!(serde_json::from_str::<Label>("\"stage 4\"").unwrap_err().to_string().contains("stage 4"));
    }
}
