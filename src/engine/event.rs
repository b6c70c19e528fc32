//! What the session tells.

use std::sync::Arc;

use super::beside::Beside;
use super::chat::ChatEvent;
use super::log::RunLog;
use super::outline::BlockId;
use super::words::{Answer, AttentionMaps, Cost, Cut, Fault, Figure, Lane, Probe, SelfTest, StepEvent, Steps, Word};
use crate::gpu::AdapterSummary;
use crate::train::depths::Depths;
use crate::train::evaluate::Scores;
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::stage::Stage;

/// What has been opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its recipe.
    pub preset: Box<Preset>,
    /// Words of the model, special tokens included.
    pub words: Vec<String>,
    /// What trains beside it.
    pub beside: Option<Beside>,
    /// Stage in progress, or done; none before stage 1.
    pub stage: Option<Stage>,
    /// Updates done in it.
    pub update: u64,
    /// What came with a run file.
    pub log: Option<Box<RunLog>>,
}

/// Weights that are on their way to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Theirs.
    pub name: String,
    /// Bytes that have come.
    pub done: usize,
    /// Bytes in all.
    pub of: usize,
}

/// An event.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Event {
    /// A device is there; and all adapters that could be chosen.
    Adapter {
        /// The one in use.
        used: Box<AdapterSummary>,
        all: Vec<AdapterSummary>,
    },
    /// Something that takes time, e.g. compiling kernels; `of` 0: no end known. An empty `what` ends it.
    Busy {
        /// What is being done.
        what: String,
        done: usize,
        of: usize,
    },
    /// Weights are being fetched; none: they are there, or not to be had.
    Fetching(Option<Fetching>),
    /// The self-test goes on or is done (`done == of`).
    SelfTest(SelfTest),
    /// A preset or a file was opened.
    Opened(Box<Opened>),
    /// A stage was entered.
    Entered {
        stage: Stage,
        update: u64,
        /// Its cost, per lane.
        costs: Vec<Cost>,
    },
    /// Another recipe of this stage was refused: it keeps this one.
    Recipe(Stage, Box<StageRecipe>),
    /// Training runs so far; none: it does not run.
    Running(Option<Steps>),
    Step(StepEvent),
    /// Gradient norms of the last step by block.
    Norms {
        lane: Lane,
        stage: Stage,
        update: u64,
        norms: Vec<(BlockId, f32)>,
    },
    Scores {
        lane: Lane,
        /// Stage; none: the language model alone, without a picture.
        stage: Option<Stage>,
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
        id: u64,
        word: Word,
    },
    /// An answer is complete.
    Answered(Box<Answer>),
    /// What the model says of a changed picture.
    Probed {
        id: u64,
        /// Change, answer, probability.
        probe: Probe,
    },
    /// What the model says with links cut; the first time with none.
    Cut {
        id: u64,
        cut: Cut,
        /// How many of these there will be.
        of: usize,
    },
    /// The measurement of the depths: the share that is done; none: it is over.
    Measuring(Option<f64>),
    /// What each depth of the tower knows.
    Depths {
        stage: Option<Stage>,
        update: u64,
        found: Box<Depths>,
    },
    /// The pinned question's maps after a step.
    Snapshot {
        stage: Option<Stage>,
        update: u64,
        /// Maps; words are those the model answers now.
        maps: Arc<AttentionMaps>,
    },
    /// A number of now, in its own unit.
    Figure(Figure, f64),
    /// A file to save.
    File {
        name: String,
        bytes: Arc<Vec<u8>>,
    },
    /// Of the model from files.
    Chat(ChatEvent),
    Fault(Fault),
    /// A lost device was replaced; training goes on from there.
    Recovered {
        stage: Option<Stage>,
        /// Updates that are kept; later points of the curves are void.
        update: u64,
    },
}
