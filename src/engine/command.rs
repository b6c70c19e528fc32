//! What the session can be told.

use super::beside::Beside;
use super::chat::ChatCommand;
use super::words::{Question, Steps};
use crate::gpu::{Failure, GpuOptions};
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::stage::Stage;

/// What is to be opened.
#[derive(Clone, Debug)]
pub struct Open {
    /// Recipe; also says which data.
    pub preset: Box<Preset>,
    /// What trains beside it.
    pub beside: Option<Beside>,
    /// Start from the model that was trained before and ships with Hive, instead of from pre-trained parts.
    pub trained: bool,
}

/// A command. Commands are taken between optimiser steps and between tokens.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Command {
    /// Open a preset from its start weights. Ends whatever was open.
    Open(Open),
    /// Open what could not be opened because its weights did not come.
    OpenAgain,
    /// Begin a stage from the weights as they are; skipping stages is allowed. Does not run yet.
    Enter(Stage),
    /// Run the stage in progress (or the next one where none is in progress); while it runs: how far from now on.
    Train(Steps),
    /// Stop after the step in progress.
    Pause,
    /// Back to the start weights of the preset's seed.
    Reset,
    /// Another recipe for a stage; of the stage in progress it is used from the next step on, weights and moments kept.
    Recipe(Stage, Box<StageRecipe>),
    /// Answer a question (HIVE lane). Comes between steps while training.
    Ask(Question),
    /// Answer a question with each link cut in turn. Comes between steps, as [`Command::Ask`] does.
    CutLinks(Question),
    /// Measure what each depth of the tower knows, with probes; training waits meanwhile.
    MeasureDepths,
    /// End what is being answered or measured.
    Cancel,
    /// Keep the attention of this question over the coming steps; none: stop keeping it.
    Pin(Option<Question>),
    /// Score held-out questions now.
    Evaluate,
    /// Write a run file with this log in it; comes back as [`super::Event::File`].
    Save(Box<super::RunLog>),
    /// Write weights as plain safetensors and the configuration as JSON; two [`super::Event::File`].
    Export,
    /// Read a run file or a checkpoint.
    Load {
        name: String,
        bytes: Vec<u8>,
    },
    /// About the model from files.
    Chat(ChatCommand),
    Verify,
    /// Use another adapter; what is open goes on there.
    Adapter(GpuOptions),
    /// Destroy the device, as a driver crash would: shows that recovery works.
    LoseDevice,
    /// Let the device fail in this way later: shows that recovery works.
    Fail(Failure),
    Quit,
}
