//! The session's model from files. It has a device of its own: a model that is too large leaves training as it was.

use std::sync::atomic::Ordering;

use super::{Session, take};
use crate::engine::assistant::{Assistant, ReplyError};
use crate::engine::command::Command;
use crate::engine::event::{Event, Fault, FaultKind};
use crate::engine::hub::{OpenError, Source};
use crate::engine::talk::{Said, Talk, TalkCommand, TalkEvent, TalkModel, TalkPlans};
use crate::gpu::{Gpu, GpuError};
use crate::model::decode::DecodeError;
use crate::model::hub::Folder;
use crate::model::load::{Formats, LoadError};
use crate::ops::packed::Format;
use crate::platform::{self, Blob};

/// What is there of the model from files.
#[derive(Default)]
pub(super) struct Talker {
    source: Option<Source>,
    gpu: Option<Gpu>,
    assistant: Option<Assistant>,
}

impl Talker {
    /// Bytes on its device.
    pub(super) fn bytes(&self) -> u64 {
        self.gpu.as_ref().map_or(0, Gpu::allocated_bytes)
    }

    /// Destroys its device, as a driver crash would.
    pub(super) fn destroy(&self) {
        if let Some(gpu) = &self.gpu {
            gpu.destroy();
        }
    }
}

/// Why a wish is not fulfilled.
enum Refusal {
    /// Somebody changed their mind.
    Stopped,
    /// A fault to tell.
    Fault(Box<Fault>),
}

fn fault(kind: FaultKind, what: &str, remedy: &str) -> Refusal {
    let what = capital(what);
    let what = if what.ends_with(['.', '?', '!']) { what } else { what + "." };
    Refusal::Fault(Box::new(Fault { kind, what, remedy: remedy.into(), detail: String::new() }))
}

/// A sentence begins with a capital, but for names of files.
fn capital(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.contains('.')) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

impl From<GpuError> for Refusal {
    fn from(e: GpuError) -> Self {
        let (what, remedy) = match &e {
            GpuError::Lost(_) => {
                ("The GPU device of the model from files was lost.", "Load the model again; its files are still open.")
            }
            GpuError::OutOfMemory(_) => (
                "The GPU ran out of memory for the model from files.",
                "Load it again in a smaller format or with less room, or close other programs that use the GPU.",
            ),
            _ => return Self::Fault(Box::new(Fault { kind: FaultKind::Model, ..Fault::from(&e) })),
        };
        let (what, remedy) = (what.into(), remedy.into());
        Self::Fault(Box::new(Fault { kind: FaultKind::Model, what, remedy, detail: e.to_string() }))
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
fn described(name: String, source: &Source) -> TalkModel {
    TalkModel {
        name,
        kind: source.spec.kind,
        sees: source.preprocess(),
        extra: source.extra.clone(),
        longest: source.room(Some(usize::MAX)),
        plans: plans(source, source.room(None)),
    }
}

fn plans(source: &Source, room: usize) -> TalkPlans {
    let room = source.room(Some(room));
    TalkPlans { room, plans: Format::ALL.iter().map(|f| source.plan(Formats::of(*f), room)).collect() }
}

impl Session {
    /// Does what it is told about the model from files. Nothing of it is a trouble of training's.
    pub(super) async fn talk(&mut self, command: TalkCommand) {
        let result = match command {
            TalkCommand::Open { name, blobs } => self.open_files(name, blobs).await,
            TalkCommand::Plan { room } => {
                if let Some(source) = &self.talker.source {
                    self.tell_talk(TalkEvent::Planned(Box::new(plans(source, room))));
                }
                Ok(())
            }
            TalkCommand::Load { format, room, memory } => self.load_model(format, room, memory).await,
            TalkCommand::Say(talk) => self.reply(&talk).await,
            // What was in progress has seen it already.
            TalkCommand::Stop => Ok(()),
            TalkCommand::Unload => {
                self.unload();
                Ok(())
            }
        };
        // A device that failed once fails for ever: the next loading gets another.
        let broken = self.talker.gpu.as_ref().is_some_and(|gpu| gpu.check().is_err());
        if broken {
            self.unload();
        }
        match result {
            Ok(()) | Err(Refusal::Stopped) => {}
            Err(Refusal::Fault(fault)) => self.tell_talk(TalkEvent::Failed(*fault)),
        }
    }

    fn tell_talk(&self, event: TalkEvent) {
        self.events.tell(Event::Talk(event));
    }

    /// Takes the model off the GPU, with its device.
    pub(super) fn unload(&mut self) {
        self.talker.assistant = None;
        self.talker.gpu = None;
        self.tell_talk(TalkEvent::Unloaded);
    }

    /// The same where there is one: its device is to be left.
    pub(super) fn leave_talk_device(&mut self) {
        if self.talker.gpu.is_some() {
            self.unload();
        }
    }

    /// Says so where its device was lost together with that of training.
    pub(super) async fn notice_talk_loss(&mut self) {
        let Some(gpu) = self.talker.gpu.clone() else { return };
        // A driver tells of a loss when it is asked for something.
        if let Err(e) = gpu.finished().await {
            self.unload();
            if let Refusal::Fault(fault) = e.into() {
                self.tell_talk(TalkEvent::Failed(*fault));
            }
        }
    }

    async fn open_files(&mut self, name: String, blobs: Vec<Blob>) -> Result<(), Refusal> {
        self.leave_talk_device();
        self.talker.source = None;
        self.busy(&format!("reading the headers of {name}"));
        platform::yield_now().await;
        let folder = Folder::new(blobs).map_err(OpenError::from)?;
        let source = Source::open(&folder).await?;
        self.tell_talk(TalkEvent::Opened(Box::new(described(name, &source))));
        self.talker.source = Some(source);
        Ok(())
    }

    async fn load_model(&mut self, format: Format, room: usize, memory: Option<u64>) -> Result<(), Refusal> {
        // Both at once would be slow for both.
        self.stop();
        self.talker.assistant = None;
        let Some(source) = self.talker.source.take() else {
            return Err(fault(FaultKind::Model, "no model is open", "Open a model's files first."));
        };
        let start = platform::now_secs();
        let loaded = self.loaded(&source, format, source.room(Some(room)), memory).await;
        let room = source.room(Some(room));
        self.talker.source = Some(source);
        match loaded {
            Ok(assistant) => {
                self.talker.assistant = Some(assistant);
                self.tell_talk(TalkEvent::Ready { format, room, secs: platform::now_secs() - start });
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
        source: &Source,
        format: Format,
        room: usize,
        memory: Option<u64>,
    ) -> Result<Assistant, Refusal> {
        let gpu = self.talk_gpu().await?;
        let Self { events, inbox, pending, .. } = self;
        let tell = |progress| {
            events.tell(Event::Talk(TalkEvent::Loading(progress)));
            !take(inbox, pending, ends_loading)
        };
        Ok(source.load(&gpu, Formats::of(format), room, memory, tell).await?)
    }

    async fn talk_gpu(&mut self) -> Result<Gpu, GpuError> {
        if let Some(gpu) = &self.talker.gpu {
            return Ok(gpu.clone());
        }
        let gpu = Gpu::new(&self.options).await?;
        let (events, busy) = (self.events.clone(), std::sync::Arc::clone(&self.busy));
        gpu.watch(move |kernel, before| {
            busy.store(true, Ordering::Relaxed);
            events.tell(Event::Busy { what: format!("compiling {kernel}"), done: before, of: 0 });
        });
        self.talker.gpu = Some(gpu.clone());
        Ok(gpu)
    }

    async fn reply(&mut self, talk: &Talk) -> Result<(), Refusal> {
        let Self { talker, events, pending, inbox, .. } = self;
        let Some(assistant) = &mut talker.assistant else {
            return Err(fault(FaultKind::Model, "the model is not loaded", "Load it, then ask again."));
        };
        talk.options.sampling.check().map_err(|rule| fault(FaultKind::Model, &rule, "Change it, then ask again."))?;
        let need = assistant.preprocess().map_or(0, |p| 3 * p.image_size * p.image_size);
        if talk.pixels.len() != need {
            let what = if need == 0 { "this model takes no pictures" } else { "this model talks about a picture" };
            return Err(fault(
                FaultKind::Model,
                what,
                if need == 0 { "Ask without one." } else { "Choose a picture first." },
            ));
        }
        let id = talk.id;
        let tell = |text: &str| {
            events.tell(Event::Talk(TalkEvent::Text { id, text: text.to_owned() }));
            !take(inbox, pending, ends_reply)
        };
        let reply = assistant.reply(&talk.messages, &talk.pixels, &talk.options, tell).await?;
        let (prompt, tokens, rate) = (reply.prompt, reply.tokens.len(), reply.rate());
        let said = Said { id, text: reply.text, end: reply.end, prompt, tokens, first_secs: reply.first_secs, rate };
        events.tell(Event::Talk(TalkEvent::Said(Box::new(said))));
        Ok(())
    }
}

/// Does this command end the loading in progress?
fn ends_loading(command: &Command) -> bool {
    use TalkCommand::{Load, Open, Stop, Unload};
    matches!(command, Command::Quit | Command::Talk(Stop | Unload | Open { .. } | Load { .. }))
}

/// Does this command end the answer in progress?
fn ends_reply(command: &Command) -> bool {
    ends_loading(command) || matches!(command, Command::Talk(TalkCommand::Say(_)))
}
