//! What the session tells.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chat::ChatEvent;
use super::command::{Lane, Steps};
use super::log::RunLog;
use crate::gpu::{AdapterSummary, GpuError};
use crate::train::evaluate::Scores;
use crate::train::recipe::Preset;
use crate::train::stage::Stage;

/// One optimiser step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Which model.
    pub lane: Lane,
    /// Stage.
    pub stage: Stage,
    /// Update within the stage, from 1.
    pub update: u64,
    /// Updates of the stage in all.
    pub of: u64,
    /// Mean loss over the step's targets, nats per token.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f32,
    /// Learning rate.
    pub learning_rate: f64,
    /// Wall time of the step, seconds.
    pub secs: f64,
    /// Samples in the step.
    pub samples: usize,
}

/// What a lane's training step costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Which model.
    pub lane: Lane,
    /// Stage.
    pub stage: Stage,
    /// GPU dispatches of a step, optimiser included.
    pub dispatches: usize,
    /// Bytes of parameters, gradients and moments.
    pub parameter_bytes: u64,
    /// Bytes of activations and other temporaries.
    pub temporary_bytes: u64,
    /// Floating-point operations of a step, as stated by the operations.
    pub flops: f64,
    /// Trained parameters.
    pub trained: usize,
    /// All parameters.
    pub parameters: usize,
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
pub enum ProbeKind {
    /// Uniform grey.
    Blindfold,
    /// Patches in random order.
    Shuffle,
    /// Another picture.
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

/// Where the text looks: softmax rows of the linked layers over the image's patches.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMaps {
    /// Tokens as words: question, then answer. A token's row shows where it looked to write the NEXT one.
    pub tokens: Vec<String>,
    /// Index of the token whose row wrote the answer's first word.
    pub first_answer: usize,
    /// Decoder layers with a link.
    pub layers: Vec<usize>,
    /// Heads per layer.
    pub heads: usize,
    /// Patches per side.
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
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// Words.
    pub words: Vec<Word>,
    /// Probability of the whole answer, its end mark included.
    pub probability: f32,
    /// The same question with changed pictures; they come one by one after the answer, as [`Event::Probed`].
    pub probes: Vec<Probe>,
    /// Where it looked.
    pub maps: Option<Arc<AttentionMaps>>,
    /// Words of the question that the model does not know.
    pub unknown: Vec<String>,
}

/// Result of the self-test so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelfTest {
    /// Cases run.
    pub done: usize,
    /// Cases there are.
    pub of: usize,
    /// Operation, case and error of those that failed.
    pub wrong: Vec<(String, String)>,
    /// Seconds.
    pub secs: f64,
}

/// What has been opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its recipe.
    pub preset: Box<Preset>,
    /// Words of the model, special tokens included.
    pub words: Vec<String>,
    /// Is the control there?
    pub control: bool,
    /// Stage in progress, or done; none before stage 1.
    pub stage: Option<Stage>,
    /// Updates done in it.
    pub update: u64,
    /// What came with a run file.
    pub log: Option<Box<RunLog>>,
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
    /// Out of memory.
    OutOfMemory,
    /// The program itself failed.
    Panic,
    /// The self-test found wrong results.
    SelfTest,
    /// The model from files: training is not touched by it.
    Model,
    /// A file that cannot be used.
    File,
    /// Anything else.
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

impl From<&GpuError> for Fault {
    fn from(e: &GpuError) -> Self {
        let (kind, what, remedy): (_, &str, &str) = match e {
            GpuError::NoAdapter => (
                FaultKind::NoAdapter,
                "No graphics adapter was found.",
                "Install a Vulkan, Metal or DX12 driver, or switch on hardware acceleration in the browser; a software driver is enough.",
            ),
            GpuError::AdapterNotFound { .. } => {
                (FaultKind::NoAdapter, "No adapter of that name was found.", "Choose another adapter.")
            }
            GpuError::NoDevice { .. } => {
                (FaultKind::NoAdapter, "The adapter gave no device.", "Update its driver or choose another adapter.")
            }
            GpuError::LimitTooSmall { .. } => {
                (FaultKind::NoAdapter, "The adapter is too small for Hive's kernels.", "Choose another adapter.")
            }
            GpuError::Lost(_) => (
                FaultKind::DeviceLost,
                "The GPU device was lost.",
                "Training goes on from its last snapshot on a new device; if this repeats, update the driver.",
            ),
            GpuError::OutOfMemory(_) => (
                FaultKind::OutOfMemory,
                "The GPU is out of memory.",
                "Close other programs that use the GPU, or choose a smaller batch.",
            ),
            GpuError::Validation(_) => (
                FaultKind::Other,
                "The GPU driver rejected a command.",
                "This is a fault of Hive or of the driver: please report it with the detail below.",
            ),
            GpuError::Readback(_) => (
                FaultKind::Other,
                "A result could not be read back from the GPU.",
                "Try again; if this repeats, update the driver.",
            ),
        };
        Self { kind, what: what.into(), remedy: remedy.into(), detail: e.to_string() }
    }
}

/// An event.
#[derive(Clone, Debug)]
pub enum Event {
    /// A device is there; and all adapters that could be chosen.
    Adapter {
        /// The one in use.
        used: Box<AdapterSummary>,
        /// All.
        all: Vec<AdapterSummary>,
    },
    /// Something that takes time, e.g. compiling kernels; `of` 0: no end known. An empty `what` ends it.
    Busy {
        /// What is being done.
        what: String,
        /// Done.
        done: usize,
        /// Of so many.
        of: usize,
    },
    /// The self-test goes on or is done (`done == of`).
    SelfTest(SelfTest),
    /// A preset or a file was opened.
    Opened(Box<Opened>),
    /// A stage was entered.
    Entered {
        /// Stage.
        stage: Stage,
        /// Updates done.
        update: u64,
        /// Its cost, per lane.
        costs: Vec<Cost>,
    },
    /// Training runs so far; none: it does not run.
    Running(Option<Steps>),
    /// An optimiser step.
    Step(StepEvent),
    /// Gradient norms of the last step by block id (see [`super::Block::id`]).
    Norms {
        /// Which model.
        lane: Lane,
        /// Stage.
        stage: Stage,
        /// Update.
        update: u64,
        /// Block and norm.
        norms: Vec<(String, f32)>,
    },
    /// Held-out accuracy.
    Scores {
        /// Which model.
        lane: Lane,
        /// Stage; none: the language model alone, without a picture.
        stage: Option<Stage>,
        /// Update.
        update: u64,
        /// With the questions' own pictures.
        own: Box<Scores>,
        /// With another question's picture.
        swapped: Box<Scores>,
    },
    /// A stage has made all its updates.
    StageDone(Stage),
    /// A word of an answer.
    Token {
        /// The question's number.
        id: u64,
        /// Word and probability.
        word: Word,
    },
    /// An answer is complete.
    Answered(Box<Answer>),
    /// What the model says of a changed picture.
    Probed {
        /// The question's number.
        id: u64,
        /// Change, answer, probability.
        probe: Probe,
    },
    /// The pinned question's maps after a step.
    Snapshot {
        /// Stage.
        stage: Option<Stage>,
        /// Update.
        update: u64,
        /// Maps; words are those the model answers now.
        maps: Arc<AttentionMaps>,
    },
    /// Bytes on the GPU that Hive holds.
    Memory(u64),
    /// A file to save.
    File {
        /// Suggested name.
        name: String,
        /// Contents.
        bytes: Arc<Vec<u8>>,
    },
    /// Of the model from files.
    Chat(ChatEvent),
    /// Something failed.
    Fault(Fault),
    /// A lost device was replaced; training goes on from there.
    Recovered {
        /// Stage.
        stage: Option<Stage>,
        /// Updates that are kept; later points of the curves are void.
        update: u64,
    },
}
