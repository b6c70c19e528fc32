//! A model from files, as the session is told of it and tells of it: opened, planned, loaded, talked with. It stands beside
//! the model in training and has a GPU device of its own, so that memory it cannot get is no fault of the other's device.

use std::sync::Arc;

use super::answers::assistant::{End, Looked, Options};
use super::words::Fault;
use crate::data::chat::Message;
use crate::data::tiles::{Picture, Recipe};
use crate::model::load::Progress;
use crate::model::memory::Plan;
use crate::model::model::Wiring;
use crate::ops::packed::Format;
use crate::platform::Blob;

/// Something to answer.
#[derive(Clone, Debug)]
pub struct ChatQuestion {
    /// Chosen by the asker; comes back in every event about it.
    pub id: u64,
    /// The conversation so far; the last message is to be answered. A picture stands where [`IMAGE`](crate::data::chat::IMAGE) is written.
    pub messages: Vec<Message>,
    /// Those of all messages, in their order, made by the model's [`ChatModel::sees`].
    pub pictures: Vec<Arc<Picture>>,
    /// How to answer.
    pub options: Options,
}

/// What the session can be told about a model from files. Taken between submissions to the GPU.
#[derive(Clone, Debug)]
pub enum ChatCommand {
    /// Look at files with Hugging Face's names: headers, configuration, tokenizer. An opened model is closed.
    Open {
        /// For people: the folder's name.
        name: String,
        /// `config.json`, `*.safetensors`, `tokenizer.json` and what else there is.
        blobs: Vec<Blob>,
    },
    /// Plan again, with another room.
    Plan {
        /// Tokens of question and answer together.
        room: usize,
    },
    /// Bring the weights to the GPU. Training pauses.
    Load {
        /// Format of the layers.
        format: Format,
        /// Tokens of question and answer together.
        room: usize,
        /// What the GPU may use, bytes, where that is known.
        memory: Option<u64>,
    },
    /// Answer.
    Ask(Box<ChatQuestion>),
    /// Tell where the last answer looked in its pictures.
    Look,
    /// End the loading or the answer in progress.
    Stop,
    /// Take the weights off the GPU. The files stay open.
    Unload,
}

/// A model whose headers were read.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChatModel {
    pub name: String,
    /// What it is made of.
    pub kind: Wiring,
    /// How pictures become its pixels; none where it knows text alone.
    pub sees: Option<Recipe>,
    /// Rows of the text that a side of a square of a picture becomes.
    pub side: usize,
    /// What the tower computes for a square, 10^12 multiplications and additions.
    pub square_teraflops: f64,
    /// Tensors of the files that nothing explains.
    pub extra: Vec<String>,
    /// What the files ask for and is not done by itself, a sentence; or nothing.
    pub asked: String,
    /// Most tokens of question and answer that it was trained for.
    pub longest: usize,
    pub plans: ChatPlans,
}

/// What a model takes in each format.
#[derive(Clone, Debug)]
pub struct ChatPlans {
    /// Tokens of question and answer that there is room for.
    pub room: usize,
    /// One per format, best first.
    pub plans: Vec<Plan>,
}

impl ChatModel {
    /// Does it take any number of pictures, in any turn? A model of this program's own has one, before all that is said.
    #[must_use]
    pub fn takes_several(&self) -> bool {
        self.kind == Wiring::Flattened && self.sees.as_ref().is_some_and(|recipe| recipe.square.background.is_none())
    }
}

impl ChatPlans {
    /// The plan of a format.
    #[must_use]
    pub fn of(&self, format: Format) -> Option<&Plan> {
        self.plans.iter().find(|p| p.formats.layer == format)
    }

    /// The best format that needs at most so many bytes of GPU memory.
    #[must_use]
    pub fn best(&self, memory: u64) -> Option<Format> {
        self.plans.iter().find(|p| p.gpu() <= memory).map(|p| p.formats.layer)
    }
}

/// An answer, complete.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChatAnswer {
    pub id: u64,
    /// All of its text.
    pub text: String,
    pub end: End,
    /// Tokens that were read.
    pub prompt: usize,
    /// Tokens that were made.
    pub tokens: usize,
    /// Time until the first token was there, seconds.
    pub first_secs: f64,
    /// Tokens per second after the first.
    pub rate: f64,
}

/// What the session tells of a model from files.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ChatEvent {
    /// Headers were read: everything is known but the numbers.
    Opened(Box<ChatModel>),
    /// Plans for another room.
    Planned(Box<ChatPlans>),
    Loading(Progress),
    /// It can be talked with.
    Ready {
        /// Format of its layers.
        format: Format,
        /// Tokens of question and answer that there is room for.
        room: usize,
        /// Time that loading took, seconds.
        secs: f64,
    },
    /// A piece of an answer.
    Text {
        id: u64,
        /// Text, whole characters.
        text: String,
    },
    /// An answer is complete.
    Answered(Box<ChatAnswer>),
    /// Where the last answer looked; nothing where it was about no picture.
    Looked(Option<Arc<Looked>>),
    /// Its weights are not on the GPU any more, or never came to be; the files are still open.
    Unloaded,
    /// What was asked for last is not to be had. Training does not mind.
    Failed(Fault),
}
