//! Weights that presets are opened with. Natively they are at hand; in the page they may have to be fetched, and commands are
//! heard meanwhile: another preset ends the wait.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use async_channel::{Receiver, RecvError};

use super::Session;
use super::questions::take;
use crate::engine::assets::{self, AssetError};
use crate::engine::command::{Command, Open};
use crate::engine::event::{Event, Fetching};
use crate::engine::track::Trouble;
use crate::train::checkpoint::Checkpoint;

/// Does this command open something else?
fn opens(command: &Command) -> bool {
    matches!(command, Command::Open(_) | Command::OpenAgain | Command::Load { .. } | Command::Reset | Command::Quit)
}

impl Session {
    /// The weights that a preset is opened with; none where a command came first that opens something else.
    pub(super) async fn weights_of(&mut self, open: &Open) -> Result<Option<Checkpoint>, Trouble> {
        let ending = if open.trained { "" } else { "-start" };
        let weights = self.weights(&format!("{}{ending}", open.preset.data)).await;
        if !matches!(weights, Ok(Some(_))) {
            self.forget_follow_ups();
        }
        let missing = matches!(weights, Err(Trouble::Asset(AssetError::Shipped(_))));
        self.missing = missing.then(|| open.clone());
        weights
    }

    async fn weights(&mut self, name: &str) -> Result<Option<Checkpoint>, Trouble> {
        let Self { events, inbox, pending, .. } = self;
        let mut told = false;
        let bytes = assets::model_bytes(name, |done, of| {
            told = true;
            events.tell(Event::Fetching(Some(Fetching { name: name.to_owned(), done, of })));
        });
        let bytes = unless(bytes, inbox, pending, opens).await;
        if told {
            events.tell(Event::Fetching(None));
        }
        Ok(bytes.transpose()?.map(Checkpoint::from_bytes).transpose()?)
    }

    /// Stages and steps were wanted of the model that is not opened after all, not of the one that stays.
    fn forget_follow_ups(&mut self) {
        take(&self.inbox, &mut self.pending, opens);
        let end = self.pending.iter().position(opens).unwrap_or(self.pending.len());
        let after = self.pending.split_off(end);
        self.pending.retain(|command| !matches!(command, Command::Enter(_) | Command::Train(_)));
        self.pending.extend(after);
        // A window says at once that it trains.
        self.events.tell(Event::Running(None));
    }
}

/// What comes of the work; nothing where a command comes first that ends it. Commands are kept in `pending`.
async fn unless<T>(
    work: impl Future<Output = T>,
    inbox: &Receiver<Command>,
    pending: &mut VecDeque<Command>,
    ends: fn(&Command) -> bool,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let mut next = pin!(inbox.recv());
        let either = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => next.as_mut().poll(cx).map(Err),
        });
        match either.await {
            Ok(value) => return Some(value),
            Err(Ok(command)) => {
                let ended = ends(&command);
                pending.push_back(command);
                if ended {
                    return None;
                }
            }
            Err(Err(RecvError)) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending as never, ready};

    use super::*;
    use crate::platform::block_on;
    use crate::train::stage::Stage;

    #[test]
    fn a_command_that_opens_something_ends_the_wait_and_others_wait() {
        let (commands, inbox) = async_channel::unbounded();
        let mut waiting = VecDeque::new();
        commands.try_send(Command::Pause).unwrap();
        assert_eq!(block_on(unless(ready(1), &inbox, &mut waiting, opens)), Some(1));
        assert!(waiting.is_empty() && inbox.len() == 1, "what is ready does not look at commands");

        for command in [Command::Enter(Stage::Vision), Command::Reset, Command::Evaluate] {
            commands.try_send(command).unwrap();
        }
        assert_eq!(block_on(unless(never::<u32>(), &inbox, &mut waiting, opens)), None);
        assert!(matches!(waiting.make_contiguous(), [Command::Pause, Command::Enter(_), Command::Reset]));
        assert_eq!(inbox.len(), 1);
        drop(commands);
        inbox.try_recv().unwrap();
        assert_eq!(block_on(unless(never::<u32>(), &inbox, &mut waiting, opens)), None, "nobody is left to tell");
    }
}
