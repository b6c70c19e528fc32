//! The session's end of the event channel.

use std::sync::Arc;

use async_channel::Sender;

use super::event::Event;

/// Called after every event, from the session's thread: tells a window to look.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where the session tells events.
///
/// Unbounded on purpose: a page in a hidden tab draws no frame and takes no event, and training must go on there. Events are
/// small; the large ones (maps, files) are few.
#[derive(Clone)]
pub(super) struct Events {
    sender: Sender<Event>,
    wake: Wake,
}

impl Events {
    pub(super) fn new(sender: Sender<Event>, wake: Wake) -> Self {
        Self { sender, wake }
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listens any more: the window is closed, and the next command's absence ends the session.
        let _ = self.sender.try_send(event);
        (self.wake)();
    }
}
