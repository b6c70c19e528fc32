//! Questions to the model in training: answered, asked again of changed pictures and with links cut, looked into.

use std::collections::VecDeque;
use std::sync::Arc;

use async_channel::Receiver;

use super::Session;
use crate::engine::command::Command;
use crate::engine::event::Event;
use crate::engine::track::Trouble;
use crate::engine::words::{ProbeKind, Question};
use crate::model::probe::Kind;
use crate::train::depths::Depths;

impl Session {
    pub(super) async fn snapshot(&mut self) -> Result<(), Trouble> {
        let (Some(question), Some(track)) = (&self.pinned, self.tracks.first_mut()) else { return Ok(()) };
        let Some(maps) = track.look(question).await? else { return Ok(()) };
        let (stage, update) = (track.run.stage(), track.updates());
        self.events.tell(Event::Snapshot { stage, update, maps: Arc::new(maps) });
        Ok(())
    }

    pub(super) async fn ask(&mut self, question: &Question) -> Result<(), Trouble> {
        let Self { tracks, events, pending, inbox, .. } = self;
        let track = tracks.first_mut().ok_or_else(|| Trouble::Other("nothing is open yet".into()))?;
        let id = question.id;
        let mut ended = false;
        let (answer, ids) = track
            .ask(question, |word| {
                events.tell(Event::Token { id, word: word.clone() });
                ended = take(inbox, pending, ends_answer);
                !ended
            })
            .await?;
        events.tell(Event::Answered(Box::new(answer)));
        for kind in [ProbeKind::Blindfold, ProbeKind::Shuffle, ProbeKind::Swap] {
            // Whoever has something else in mind does not wait for the changed pictures.
            if ended || take(inbox, pending, ends_answer) {
                break;
            }
            if let Some(probe) = track.probe(question, kind, &ids).await? {
                events.tell(Event::Probed { id, probe });
            }
        }
        Ok(())
    }

    pub(super) async fn cut_links(&mut self, question: &Question) -> Result<(), Trouble> {
        self.busy("asking with links cut");
        let Self { tracks, events, pending, inbox, .. } = self;
        let track = tracks.first_mut().ok_or_else(|| Trouble::Other("nothing is open yet".into()))?;
        let tell = |cut, of| {
            events.tell(Event::Cut { id: question.id, cut, of });
            !take(inbox, pending, ends_answer)
        };
        track.cut(question, tell).await
    }

    pub(super) async fn measure_depths(&mut self) -> Result<(), Trouble> {
        self.busy("measuring what each depth knows");
        let gpu = self.gpu()?;
        let Self { tracks, events, pending, inbox, .. } = self;
        let track = tracks.first().ok_or_else(|| Trouble::Other("nothing is open yet".into()))?;
        let checkpoint = track.run.checkpoint().await?;
        let mut config = checkpoint.meta.model;
        // Depths that no link reads are of interest too, up to the last state but one.
        config.link_config.vision_layers.push(config.vision_config.num_hidden_layers.saturating_sub(1));
        events.tell(Event::Measuring(Some(0.0)));
        let mut ended = false;
        let tell = |share| {
            events.tell(Event::Measuring(Some(share)));
            ended = take(inbox, pending, ends_measurement);
            !ended
        };
        let found = Depths::measure(&gpu, &config, &checkpoint.weights, &track.run.source, Kind::Link, tell).await;
        events.tell(Event::Measuring(None));
        match found? {
            Some(found) => {
                let (stage, update) = (track.stage(), track.updates());
                events.tell(Event::Depths { stage, update, found: Box::new(found) });
                Ok(())
            }
            None if ended => Ok(()),
            None => {
                let data = &track.run.preset.data;
                Err(Trouble::Other(format!("the things of \"{data}\" have no attributes to look for. Open grounds")))
            }
        }
    }
}

/// Takes the commands that came meanwhile; true where one of them ends what is being done.
pub(super) fn take(inbox: &Receiver<Command>, pending: &mut VecDeque<Command>, ends: fn(&Command) -> bool) -> bool {
    while let Ok(command) = inbox.try_recv() {
        pending.push_back(command);
    }
    pending.iter().any(ends)
}

/// Does this command end a measurement, which may take minutes? Those that look or change nothing wait for it.
fn ends_measurement(command: &Command) -> bool {
    !matches!(
        command,
        Command::Train(_)
            | Command::Pause
            | Command::Pin(_)
            | Command::Evaluate
            | Command::MeasureDepths
            | Command::Recipe(..)
    )
}

/// Does this command end an answer of the model in training?
fn ends_answer(command: &Command) -> bool {
    matches!(command, Command::Cancel | Command::Quit | Command::Ask(_) | Command::Open(_))
}
