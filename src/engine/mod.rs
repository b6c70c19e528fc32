//! L6: the engine behind command line, window and page: one session that takes commands and tells events. It knows no screen.
//!
//! [`worker::start`] runs a [`session`] and hands out the two ends of its channels. What the session tells is gathered in a
//! [`log::RunLog`], which is also what a run file carries beside its weights.

pub mod answers;
pub mod assets;
pub mod beside;
pub mod chat;
pub mod command;
pub mod convert;
pub mod event;
pub mod fetch;
pub mod figures;
pub mod log;
pub mod losses;
mod outbox;
pub mod outline;
pub mod packing;
pub mod parity;
pub mod runfile;
pub mod session;
pub mod shipped;
mod snapshots;
pub mod speed;
mod track;
pub mod words;
pub mod worker;

pub use beside::Beside;
pub use chat::{ChatAnswer, ChatCommand, ChatEvent, ChatModel, ChatPlans, ChatQuestion};
pub use command::{Command, Open};
pub use event::{Event, Fetching, Opened};
pub use log::{DepthsPoint, Point, RunLog, ScorePoint};
pub use outline::{Block, BlockId, BlockKind, Outline};
pub use snapshots::Snapshots;
pub use track::Trouble;
pub use words::{
    Answer, AttentionMaps, Cost, Cut, Example, Fault, FaultKind, Figure, Lane, Probe, ProbeKind, Question, SelfTest,
    StepEvent, Steps, Word,
};
pub use worker::Handle;

// What the layers above need to know of those below.
pub use crate::gpu::{AdapterKind, AdapterSummary, Failure, GpuOptions};
pub use crate::model::load::{Formats, Progress};
pub use crate::model::memory::{MemoryPart, Plan};
pub use crate::model::model::Wiring;
pub use crate::ops::packed::Format;
pub use crate::ops::sample::Settings;
pub use crate::train::cost::Cost as StepCost;
pub use crate::train::depths::Depths;
pub use crate::train::evaluate::{Scores, Share};
pub use crate::train::recipe::{ORDERS, Preset, PresetError, StageRecipe};
pub use crate::train::stage::{Scope, Stage};
