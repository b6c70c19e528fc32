//! The session's model from files. It has a device of its own: a model that is too large leaves training as it was.

use std::sync::atomic::Ordering;

use super::Session;
use super::questions::take;
use crate::data::tiles::Picture;
use crate::engine::answers::assistant::{Assistant, Piece, ReplyError};
use crate::engine::answers::open::{ModelFolder, OpenError};
use crate::engine::chat::{ChatAnswer, ChatCommand, ChatEvent, ChatModel, ChatPlans, ChatQuestion};
use crate::engine::command::Command;
use crate::engine::event::Event;
use crate::engine::words::{Fault, FaultKind, sentence};
use crate::gpu::{Gpu, GpuError};
use crate::model::decode::DecodeError;
use crate::model::files::Folder;
use crate::model::load::{Formats, LoadError};
use crate::ops::packed::Format;
use crate::platform::{self, Blob};

/// Why a request fails.
enum Refusal {
    /// Cancelled.
    Stopped,
    /// A fault to tell.
    Fault(Box<Fault>),
}

fn fault(kind: FaultKind, what: &str, remedy: &str) -> Refusal {
    Refusal::Fault(Box::new(Fault::new(kind, sentence(what), remedy)))
}

impl From<GpuError> for Refusal {
    fn from(e: GpuError) -> Self {
        Self::Fault(Box::new(Fault { kind: FaultKind::Model, ..Fault::from(&e) }))
    }
}

impl From<OpenError> for Refusal {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::Load(LoadError::Stopped) => Self::Stopped,
            OpenError::Gpu(e) | OpenError::Load(LoadError::Gpu(e)) => e.into(),
            OpenError::Memory(text) => {
                fault(FaultKind::Model, &text, "Choose another format or less room, then load it again.")
            }
            other => {
                fault(FaultKind::File, &other.to_string(), "Put this right in the model's files, and open them again.")
            }
        }
    }
}

impl From<ReplyError> for Refusal {
    fn from(e: ReplyError) -> Self {
        match e {
            ReplyError::Decode(DecodeError::Gpu(e)) => e.into(),
            other => fault(FaultKind::Model, &other.to_string(), "Begin a new conversation, or change the message."),
        }
    }
}

/// What the panel has to know before anything is loaded.
fn described(name: String, source: &ModelFolder) -> ChatModel {
    ChatModel {
        name,
        kind: source.spec.kind,
        sees: source.recipe().cloned(),
        side: source.spec.config.image_rows().isqrt(),
        square_teraflops: source.tower_teraflops(1),
        extra: source.extra.clone(),
        asked: source.asked(),
        longest: source.room(Some(usize::MAX)),
        plans: plans(source, source.room(None)),
    }
}

fn plans(source: &ModelFolder, room: usize) -> ChatPlans {
    let room = source.room(Some(room));
    ChatPlans { room, plans: Format::ALL.iter().map(|f| source.plan(Formats::of(*f), room)).collect() }
}

impl Session {
    /// Does what it is told about the model from files. Nothing of it is a trouble of training's.
    pub(super) async fn chat(&mut self, command: ChatCommand) {
        let result = match command {
            ChatCommand::Open { name, blobs } => self.open_files(name, blobs).await,
            ChatCommand::Plan { room } => {
                if let Some(source) = &self.chat.source {
                    self.tell_chat(ChatEvent::Planned(Box::new(plans(source, room))));
                }
                Ok(())
            }
            ChatCommand::Load { format, room, memory } => self.load_model(format, room, memory).await,
            ChatCommand::Ask(question) => self.reply(&question).await,
            ChatCommand::Look => match &mut self.chat.assistant {
                Some(assistant) => match assistant.look().await {
                    Ok(looked) => {
                        self.tell_chat(ChatEvent::Looked(looked.map(std::sync::Arc::new)));
                        Ok(())
                    }
                    Err(e) => Err(e.into()),
                },
                None => Ok(()),
            },
            // What was in progress has seen it already.
            ChatCommand::Stop => Ok(()),
            ChatCommand::Unload => {
                self.unload();
                Ok(())
            }
        };
        // A device that failed once fails for ever: the next loading gets another.
        let broken = self.chat.gpu.as_ref().is_some_and(|gpu| gpu.check().is_err());
        if broken {
            self.unload();
        }
        match result {
            Ok(()) | Err(Refusal::Stopped) => {}
            Err(Refusal::Fault(fault)) => self.tell_chat(ChatEvent::Failed(*fault)),
        }
    }

    fn tell_chat(&self, event: ChatEvent) {
        self.events.tell(Event::Chat(event));
    }

    /// Takes the model off the GPU, with its device.
    pub(super) fn unload(&mut self) {
        self.chat.assistant = None;
        self.chat.gpu = None;
        self.tell_chat(ChatEvent::Unloaded);
    }

    /// The same where there is one: its device is to be left.
    pub(super) fn leave_chat_device(&mut self) {
        if self.chat.gpu.is_some() {
            self.unload();
        }
    }

    /// Says so where its device was lost together with that of training.
    pub(super) async fn notice_chat_loss(&mut self) {
        let Some(gpu) = self.chat.gpu.clone() else { return };
        // A driver tells of a loss when it is asked for something.
        if let Err(e) = gpu.finished().await {
            self.unload();
            if let Refusal::Fault(fault) = e.into() {
                self.tell_chat(ChatEvent::Failed(*fault));
            }
        }
    }

    async fn open_files(&mut self, name: String, blobs: Vec<Blob>) -> Result<(), Refusal> {
        self.leave_chat_device();
        self.chat.source = None;
        self.busy(&format!("reading the headers of {name}"));
        platform::yield_now().await;
        let folder = Folder::new(blobs).map_err(OpenError::from)?;
        let source = ModelFolder::open(&folder).await?;
        self.tell_chat(ChatEvent::Opened(Box::new(described(name, &source))));
        self.chat.source = Some(source);
        Ok(())
    }

    async fn load_model(&mut self, format: Format, room: usize, memory: Option<u64>) -> Result<(), Refusal> {
        // Both at once would be slow for both.
        self.stop();
        self.chat.assistant = None;
        let Some(source) = self.chat.source.take() else {
            return Err(fault(FaultKind::Model, "no model is open", "Open a model's files first."));
        };
        let start = platform::now_secs();
        let loaded = self.loaded(&source, format, source.room(Some(room)), memory).await;
        let room = source.room(Some(room));
        self.chat.source = Some(source);
        match loaded {
            Ok(assistant) => {
                self.chat.assistant = Some(assistant);
                self.tell_chat(ChatEvent::Ready { format, room, secs: platform::now_secs() - start });
                Ok(())
            }
            Err(refusal) => {
                self.unload();
                Err(refusal)
            }
        }
    }

    async fn loaded(
        &mut self,
        source: &ModelFolder,
        format: Format,
        room: usize,
        memory: Option<u64>,
    ) -> Result<Assistant, Refusal> {
        let gpu = self.chat_gpu().await?;
        let Self { events, inbox, pending, .. } = self;
        let tell = |progress| {
            events.tell(Event::Chat(ChatEvent::Loading(progress)));
            !take(inbox, pending, ends_loading)
        };
        Ok(source.load(&gpu, Formats::of(format), room, memory, tell).await?)
    }

    async fn chat_gpu(&mut self) -> Result<Gpu, GpuError> {
        if let Some(gpu) = &self.chat.gpu {
            return Ok(gpu.clone());
        }
        let gpu = Gpu::new(&self.options).await?;
        let (events, busy) = (self.events.clone(), std::sync::Arc::clone(&self.busy));
        gpu.watch(move |kernel, before| {
            busy.store(true, Ordering::Relaxed);
            events.tell(Event::Busy { what: format!("compiling {kernel}"), done: before, of: 0 });
        });
        self.chat.gpu = Some(gpu.clone());
        Ok(gpu)
    }

    async fn reply(&mut self, question: &ChatQuestion) -> Result<(), Refusal> {
        let Self { chat, events, pending, inbox, .. } = self;
        let Some(assistant) = &mut chat.assistant else {
            return Err(fault(FaultKind::Model, "the model is not loaded", "Load it, then ask again."));
        };
        question
            .options
            .sampling
            .check()
            .map_err(|rule| fault(FaultKind::Model, &rule, "Change it, then ask again."))?;
        let need = assistant.recipe().map_or(0, |r| 3 * r.square.image_size * r.square.image_size);
        let linked = !assistant.decoder().model().links().is_empty();
        let pictures: Vec<Picture> = question.pictures.iter().map(|p| Picture::clone(p)).collect();
        let wrong = pictures.iter().any(|p| p.pixels.len() != need * p.squares);
        let no_tower = need == 0 && !pictures.is_empty();
        if wrong || no_tower || linked && pictures.len() != 1 {
            let what = if need == 0 { "this model takes no pictures" } else { "this model talks about a picture" };
            return Err(fault(
                FaultKind::Model,
                what,
                if need == 0 { "Ask without one." } else { "Choose a picture first." },
            ));
        }
        let id = question.id;
        let tell = |piece: Piece<'_>| {
            events.tell(Event::Chat(ChatEvent::Text { id, text: piece.text.to_owned() }));
            !take(inbox, pending, ends_reply)
        };
        let reply = assistant.reply(&question.messages, &pictures, &question.options, tell).await?;
        let (prompt, tokens, rate) = (reply.prompt, reply.tokens.len(), reply.rate());
        let said =
            ChatAnswer { id, text: reply.text, end: reply.end, prompt, tokens, first_secs: reply.first_secs, rate };
        events.tell(Event::Chat(ChatEvent::Answered(Box::new(said))));
        Ok(())
    }
}

/// Does this command end the loading in progress?
fn ends_loading(command: &Command) -> bool {
    use ChatCommand::{Load, Open, Stop, Unload};
    matches!(command, Command::Quit | Command::Chat(Stop | Unload | Open { .. } | Load { .. }))
}

/// Does this command end the answer in progress?
fn ends_reply(command: &Command) -> bool {
    ends_loading(command) || matches!(command, Command::Chat(ChatCommand::Ask(_)))
}
