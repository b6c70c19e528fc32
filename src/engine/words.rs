//! The words of commands and events: what both carry, below both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::gpu::GpuError;
use crate::model::model::Wiring;
use crate::train::cost::Cost as StepCost;
use crate::train::stage::Stage;

/// The two models that can train side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The linked model.
    Hive,
    /// The model beside it, with the same seed and data; see [`super::Beside`].
    Control,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hive, Self::Control];

    /// How its pictures reach the text, where [`super::Beside`] says nothing else.
    #[must_use]
    pub fn wiring(self) -> Wiring {
        match self {
            Self::Hive => Wiring::Linked,
            Self::Control => Wiring::Flattened,
        }
    }
}

/// How far to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// To the end of the stage.
    Stage,
    /// To the end of the last stage, through those between.
    All,
    /// So many optimiser steps, at most to the end of the stage.
    Count(u64),
}

/// A question about a picture.
#[derive(Clone, Debug)]
pub struct Question {
    /// Chosen by the asker; comes back in every event about it.
    pub id: u64,
    /// (3, S, S), -1 to 1, S the model's image size. See [`crate::data::image::Preprocess`].
    pub pixels: Arc<Vec<f32>>,
    /// Words.
    pub text: String,
    /// Pixels of another picture, for the probe that swaps pictures.
    pub other: Option<Arc<Vec<f32>>>,
}

/// One optimiser step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StepEvent {
    pub lane: Lane,
    pub stage: Stage,
    /// Update within the stage, from 1.
    pub update: u64,
    /// Updates of the stage in all.
    pub of: u64,
    /// Mean loss over the step's targets, nats per token.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f32,
    pub learning_rate: f64,
    /// Wall time of the step, seconds.
    pub secs: f64,
    /// Samples in the step.
    pub samples: usize,
}

/// A number of now; the status bar shows each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Bytes of all buffers on the adapter.
    Memory,
}

impl Figure {
    /// The number in words, and what it means.
    #[must_use]
    pub fn words(self, value: f64) -> (String, &'static str) {
        match self {
            Self::Memory => {
                (format!("{:.1} MiB of GPU memory", value / f64::from(1 << 20)), "What Hive holds on the adapter")
            }
        }
    }
}

/// What a lane's training step costs.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Cost {
    pub lane: Lane,
    pub stage: Stage,
    pub step: StepCost,
}

/// A word of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Text.
    pub text: String,
    /// Probability the model gave it.
    pub probability: f32,
}

/// What was done to the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ProbeKind {
    Blindfold,
    /// Patches in random order.
    Shuffle,
    Swap,
}

impl ProbeKind {
    /// Its name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blindfold => "blindfold",
            Self::Shuffle => "shuffled patches",
            Self::Swap => "another picture",
        }
    }
}

/// The same question with a changed picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What was changed.
    pub kind: ProbeKind,
    /// What the model answers then.
    pub words: Vec<Word>,
    /// Probability of the original answer then (its end mark included), 0 to 1.
    pub original: f32,
}

/// The same question with links cut: those decoder layers see no picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Decoder layer of each link that is cut, and the depth it reads.
    pub links: Vec<(usize, usize)>,
    /// What the model answers then.
    pub words: Vec<Word>,
    /// Probability then of the answer with all links (its end mark included), 0 to 1.
    pub original: f32,
}

/// Where the text looks: softmax rows of the linked layers over the image's patches.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AttentionMaps {
    /// Tokens as words: question, then answer. A token's row shows where it looked to write the NEXT one.
    pub tokens: Vec<String>,
    /// Index of the token whose row wrote the answer's first word.
    pub first_answer: usize,
    /// Decoder layers with a link.
    pub layers: Vec<usize>,
    /// Depth of the tower that each of them reads; empty where an older program kept the maps.
    pub depths: Vec<usize>,
    pub heads: usize,
    pub side: usize,
    /// (layer, head, token, patch); the rest of each row to 1 went to text.
    pub values: Vec<f32>,
}

impl AttentionMaps {
    /// The map (side * side, row order) of a token in a layer (index into `layers`) and a head; no head: mean of all.
    #[must_use]
    pub fn map(&self, layer: usize, head: Option<usize>, token: usize) -> Vec<f32> {
        let n = self.side * self.side;
        let one = |h: usize| {
            let at = ((layer * self.heads + h) * self.tokens.len() + token) * n;
            self.values.get(at..at + n).unwrap_or(&[])
        };
        match head {
            Some(h) => one(h).to_vec(),
            None => {
                let mut mean = vec![0.0; n];
                for h in 0..self.heads {
                    mean.iter_mut().zip(one(h)).for_each(|(m, v)| *m += v / self.heads as f32);
                }
                mean
            }
        }
    }
}

/// An answer, complete.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Answer {
    pub id: u64,
    pub words: Vec<Word>,
    /// Probability of the whole answer, its end mark included.
    pub probability: f32,
    /// The same question with changed pictures; they come one by one after the answer, as [`super::Event::Probed`].
    pub probes: Vec<Probe>,
    pub maps: Option<Arc<AttentionMaps>>,
    /// Words of the question that the model does not know.
    pub unknown: Vec<String>,
}

/// Result of the self-test so far.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SelfTest {
    pub done: usize,
    pub of: usize,
    /// Operation, case and error of those that failed.
    pub wrong: Vec<(String, String)>,
    pub secs: f64,
}

impl SelfTest {
    /// The operation of the first case that was wrong, and a line about each.
    #[must_use]
    pub fn faults(&self) -> Option<(&str, String)> {
        let (first, _) = self.wrong.first()?;
        let lines: Vec<String> = self.wrong.iter().map(|(case, error)| format!("{case}: {error}")).collect();
        Some((first.split(' ').next().unwrap_or(first), lines.join("\n")))
    }
}

/// A picture with its question, to browse.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Index in the held-out split.
    pub index: u64,
    /// (3, S, S), -1 to 1.
    pub pixels: Arc<Vec<f32>>,
    /// What it shows, in a sentence.
    pub caption: String,
    /// Questions and right answers.
    pub turns: Vec<(String, String)>,
}

/// Kinds of failure, each with a card of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum FaultKind {
    /// No WebGPU in this browser.
    NoWebGpu,
    /// No adapter, or none that can run Hive.
    NoAdapter,
    /// A software adapter: works, slowly.
    SoftwareAdapter,
    /// The page came over an insecure origin, where browsers hide WebGPU.
    InsecureOrigin,
    /// The device was lost.
    DeviceLost,
    OutOfMemory,
    /// A loss or a weight is no finite number.
    NotFinite,
    /// The program itself failed.
    Panic,
    /// The self-test found wrong results.
    SelfTest,
    /// The model from files: training is not touched by it.
    Model,
    /// A file that cannot be used.
    File,
    /// Weights of a preset that cannot be fetched.
    Download,
    Other,
}

/// A failure: what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Kind.
    pub kind: FaultKind,
    /// What happened, one sentence.
    pub what: String,
    /// What to do, one sentence.
    pub remedy: String,
    /// The driver's or system's own words, if any.
    pub detail: String,
}

impl Fault {
    /// Without the words of anybody else.
    #[must_use]
    pub fn new(kind: FaultKind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, what: what.into(), remedy: remedy.into(), detail: String::new() }
    }
}

/// An error's text as a sentence: with a capital, but for names of files, and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let names_file = text.split(' ').next().is_some_and(|word| word.contains('.'));
    let mut chars = text.chars();
    let first = chars.next().filter(|_| !names_file).map(char::to_uppercase);
    let mut out: String = first.into_iter().flatten().collect();
    out.push_str(if names_file { text } else { chars.as_str() });
    if !out.is_empty() && !out.ends_with(['.', '?', '!']) {
        out.push('.');
    }
    out
}

impl From<&GpuError> for Fault {
    fn from(e: &GpuError) -> Self {
        let kind = match e {
            GpuError::NoAdapter
            | GpuError::AdapterNotFound { .. }
            | GpuError::NoDevice { .. }
            | GpuError::LimitTooSmall { .. } => FaultKind::NoAdapter,
            GpuError::Lost(_) => FaultKind::DeviceLost,
            GpuError::OutOfMemory(_) => FaultKind::OutOfMemory,
            GpuError::Batch { .. } | GpuError::Validation(_) | GpuError::Readback(_) => FaultKind::Other,
        };
        Self { detail: e.detail().to_owned(), ..Self::new(kind, sentence(&e.what()), sentence(e.remedy())) }
    }
}
