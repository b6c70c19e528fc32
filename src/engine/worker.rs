//! Starts a session and hands out the ends of its channels. The same on both platforms: a named thread natively, a task of
//! the page's event loop in a browser.

use async_channel::{Receiver, Sender, TryRecvError};

use super::command::Command;
use super::event::Event;
use super::outbox::Events;
pub use super::outbox::Wake;
use super::session::Session;
use crate::gpu::GpuOptions;
use crate::platform;

/// A running session, seen from outside.
pub struct Handle {
    commands: Sender<Command>,
    events: Receiver<Event>,
}

/// What [`Handle::next`] finds.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Next {
    Event(Box<Event>),
    Nothing,
    /// The session is gone: it ended, or it panicked.
    Gone,
}

impl Handle {
    /// A handle whose session is `commands`' receiver and `events`' sender: tests and replays play the session.
    #[must_use]
    pub fn new(commands: Sender<Command>, events: Receiver<Event>) -> Self {
        Self { commands, events }
    }

    /// Sends a command; it is taken as soon as the session is between two steps.
    pub fn send(&self, command: Command) {
        // A session that is gone shows as `Next::Gone`.
        let _ = self.commands.try_send(command);
    }

    /// The next event, without waiting.
    #[must_use]
    pub fn next(&self) -> Next {
        match self.events.try_recv() {
            Ok(event) => Next::Event(Box::new(event)),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Closed) => Next::Gone,
        }
    }

    /// The next event; none when the session is gone.
    pub async fn wait(&self) -> Option<Event> {
        self.events.recv().await.ok()
    }
}

/// Starts a session on an adapter.
#[must_use]
pub fn start(options: GpuOptions, wake: Wake) -> Handle {
    let (commands, inbox) = async_channel::unbounded();
    let (sender, events) = async_channel::unbounded();
    let outbox = Events::new(sender, wake);
    platform::spawn("hive-engine", move || Session::new(options, inbox, outbox).run());
    Handle { commands, events }
}
