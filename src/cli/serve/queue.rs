//! One queue for one device: conversations are answered one after the other, and one that nobody waits for is ended.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::protocol::Refusal;
use crate::data::chat::{Message, said};
use crate::data::picture_file;
use crate::data::tiles::{Picture, Recipe};
use crate::engine::answers::assistant::{Assistant, End, Options, ReplyError};
use crate::model::decode::DecodeError;
use crate::platform::interrupted;

/// What becomes of a conversation.
#[derive(Debug)]
pub(super) enum Event {
    /// It has a place, and is read now.
    Begun,
    /// A piece of the answer.
    Text(String),
    /// The answer is complete.
    Done(Done),
    /// There is none.
    Refused(Refusal),
}

/// What is told of a complete answer.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) end: End,
    /// Tokens of the conversation.
    pub(super) prompt: usize,
    /// Tokens of the answer.
    pub(super) made: usize,
}

/// A conversation that waits for its answer.
struct Job {
    messages: Vec<Message>,
    pictures: Vec<Vec<u8>>,
    options: Options,
    events: UnboundedSender<Event>,
}

/// Where conversations wait.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: SyncSender<Job>,
}

/// What answers them.
pub(super) struct Work {
    assistant: Assistant,
    /// Does the model take any number of pictures? Otherwise it wants one, before all that is said.
    several: bool,
    jobs: Receiver<Job>,
}

impl Queue {
    /// A queue of so many, and what answers it.
    pub(super) fn new(assistant: Assistant, several: bool, waiting: usize) -> (Self, Work) {
        let (jobs, received) = sync_channel(waiting);
        (Self { jobs }, Work { assistant, several, jobs: received })
    }

    /// Lines up; what becomes of it comes bit by bit. Dropping the receiver ends it.
    pub(super) fn ask(
        &self,
        messages: Vec<Message>,
        pictures: Vec<Vec<u8>>,
        options: Options,
    ) -> Result<UnboundedReceiver<Event>, Refusal> {
        let (events, received) = unbounded_channel();
        match self.jobs.try_send(Job { messages, pictures, options, events }) {
            Ok(()) => Ok(received),
            Err(TrySendError::Full(_)) => {
                Err(Refusal { status: 503, text: "as many wait as may (--queue): ask again later".into() })
            }
            Err(TrySendError::Disconnected(_)) => Err(Refusal::gone()),
        }
    }
}

impl Work {
    /// Answers until there is nobody who could ask, or a signal comes.
    pub(super) async fn all(mut self) {
        while let Ok(job) = self.jobs.recv() {
            if interrupted().is_some() {
                return;
            }
            if job.events.is_closed() {
                continue;
            }
            let last = match self.answer(&job).await {
                Ok(done) => Event::Done(done),
                Err(refusal) => Event::Refused(refusal),
            };
            // Nobody may wait any more.
            let _ = job.events.send(last);
        }
    }

    async fn answer(&mut self, job: &Job) -> Result<Done, Refusal> {
        let assistant = &mut self.assistant;
        let pictures = seen(assistant.recipe(), self.several, &job.pictures)?;
        let room = assistant.decoder().room();
        let first = |m: &Message| {
            let (pictures, text) = said(&m.content);
            Message { role: m.role.clone(), ..Message::about(&text, pictures) }
        };
        let arranged = (!assistant.keeps_order()).then(|| job.messages.iter().map(first).collect());
        let messages: &[Message] = arranged.as_ref().map_or(&job.messages, |all: &Vec<Message>| all);
        let tokens = assistant.tokens(messages, &pictures).map_err(|e| refused(&e))?.ids.len();
        if tokens >= room {
            return Err(refused(&DecodeError::Long { tokens, room }.into()));
        }
        let go_on = |told: bool| told && interrupted().is_none();
        if !go_on(job.events.send(Event::Begun).is_ok()) {
            return Ok(Done { end: End::Cancelled, prompt: tokens, made: 0 });
        }
        let reply = assistant.reply(messages, &pictures, &job.options, |piece| match piece.text {
            "" => go_on(!job.events.is_closed()),
            text => go_on(job.events.send(Event::Text(text.to_owned())).is_ok()),
        });
        let reply = reply.await.map_err(|e| refused(&e))?;
        Ok(Done { end: reply.end, prompt: reply.prompt, made: reply.tokens.len() })
    }
}

fn refused(e: &ReplyError) -> Refusal {
    let status = if matches!(e, ReplyError::Decode(DecodeError::Gpu(_))) { 500 } else { 400 };
    Refusal { status, text: e.to_string() }
}

/// Pictures as the model wants them.
fn seen(recipe: Option<&Recipe>, several: bool, files: &[Vec<u8>]) -> Result<Vec<Picture>, Refusal> {
    let Some(recipe) = recipe else {
        return if files.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Refusal::bad("this model takes no pictures: ask without one"))
        };
    };
    if !several && files.len() != 1 {
        return Err(Refusal::bad(format!("this model looks at one picture, and {} are shown: show one", files.len())));
    }
    let one = |(i, bytes): (usize, &Vec<u8>)| {
        let name = format!("picture {}", i + 1);
        let rgb = picture_file::decode(bytes, &name, recipe.square.background);
        rgb.map(|rgb| recipe.picture(&rgb, files.len() == 1)).map_err(|e| Refusal::bad(e.to_string()))
    };
    files.iter().enumerate().map(one).collect()
}
