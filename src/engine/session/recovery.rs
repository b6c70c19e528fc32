//! What is done when something fails: a lost device and one without memory are replaced, weights that went wrong are put back,
//! everything else is told. A recipe that cannot be used leaves the old one.

use super::Session;
use crate::engine::command::Command;
use crate::engine::event::Event;
use crate::engine::track::{Track, Trouble};
use crate::engine::words::{Fault, FaultKind, Lane, sentence};
use crate::gpu::{Gpu, GpuError};
use crate::model::limits::Rows;
use crate::train::checkpoint::Checkpoint;
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::stage::Stage;

/// Devices that are tried in a row after a loss.
const ATTEMPTS: usize = 3;

/// Does this command leave the weights as they are, so that training can go on whatever comes of it?
pub(super) fn only_looks(command: &Command) -> bool {
    matches!(
        command,
        Command::Ask(_)
            | Command::CutLinks(_)
            | Command::MeasureDepths
            | Command::Pin(_)
            | Command::Evaluate
            | Command::Save(_)
            | Command::Export
            | Command::Recipe(..)
            | Command::Verify
    )
}

impl Session {
    /// `looked`: it came of a command that leaves the weights as they are.
    pub(super) async fn handle(&mut self, trouble: Trouble, looked: bool) {
        // Whatever failed, the device may have failed before.
        let reported = self.gpu.as_ref().and_then(|gpu| gpu.check().err());
        match (reported, trouble) {
            (Some(lost @ GpuError::Lost(_)), _) | (None, Trouble::Gpu(lost @ GpuError::Lost(_))) => {
                self.tell_fault(&Trouble::Gpu(lost));
                self.replace().await;
            }
            (Some(full @ GpuError::OutOfMemory(_)), _) | (_, Trouble::Gpu(full @ GpuError::OutOfMemory(_))) => {
                self.make_room(&full, looked).await;
            }
            (_, trouble @ Trouble::NotFinite(_)) => {
                self.stop();
                self.tell_fault(&trouble);
                self.go_back().await;
            }
            (_, trouble) => {
                self.tell_fault(&trouble);
                self.stop();
            }
        }
    }

    /// Another device in place of one that is of no use any more; false where none can be had.
    async fn replace(&mut self) -> bool {
        for attempt in 1..=ATTEMPTS {
            match self.recover().await {
                Ok(()) => return true,
                Err(e) => {
                    log::warn!("attempt {attempt} to replace the device: {e}");
                    if attempt == ATTEMPTS {
                        self.tell_fault(&e);
                        self.stop();
                        self.gpu = None;
                    }
                }
            }
        }
        false
    }

    /// A device that was once without memory refuses everything afterwards: what is open goes on on another.
    async fn make_room(&mut self, full: &GpuError, looked: bool) {
        if looked && let Some(gpu) = self.gpu.clone() {
            // Nothing that failed had to do with the weights: they are as they were, and are fetched if the device still can.
            gpu.forget_want_of_memory();
            for track in &mut self.tracks {
                if let Err(e) = track.keep_safe().await {
                    log::warn!("the weights of now are gone with the device: {e}");
                }
            }
        } else {
            self.stop();
        }
        self.target = self.target.filter(|_| looked);
        let smaller = self.smaller_batch();
        let back = self.replace().await;
        let mut fault = Fault::from(full);
        fault.remedy = match (back, self.target) {
            (true, Some(_)) => "What was asked is given up; training goes on on a new device.".to_owned(),
            (true, None) if looked => {
                "What was asked is given up; everything else is as it was, on a new device.".to_owned()
            }
            (true, None) => {
                let (stage, update) = self.tracks.first().map_or((None, 0), Track::safe_point);
                let at = stage.map_or("the start".to_owned(), |s| format!("step {update} of stage {}", s.number()));
                let what = if self.tracks.is_empty() {
                    String::new()
                } else {
                    format!("Training stands at {at} on a new device. ")
                };
                format!("{what}{smaller}")
            }
            (false, _) => format!("No device takes it in; it can be saved as it was. {smaller}"),
        };
        self.events.tell(Event::Fault(fault));
        // Whoever hears of a fault takes training to have stopped.
        self.events.tell(Event::Running(self.target));
    }

    /// What takes less memory.
    fn smaller_batch(&self) -> String {
        let close = "close other programs that use the GPU";
        let recipe = self.tracks.first().and_then(|t| Some(t.run.preset.stage(t.run.stage()?)?.clone()));
        match recipe {
            Some(StageRecipe { batch, accumulate, .. }) if batch > 1 => format!(
                "Set Batch to {} and Accumulate to {} in the recipe, which trains on as many rows a step, or {close}.",
                batch / 2,
                accumulate * 2
            ),
            _ => sentence(&format!("open a smaller model, or {close}")),
        }
    }

    pub(super) async fn recover(&mut self) -> Result<(), Trouble> {
        self.testing = None;
        self.notice_chat_loss().await;
        // What lies on the old device goes before the new one takes memory.
        self.homeless.extend(std::mem::take(&mut self.tracks).into_iter().map(Track::into_safe));
        self.gpu = None;
        self.open_gpu().await?;
        let gpu = self.gpu()?;
        self.take_in(&gpu).await?;
        let (stage, update) = self.tracks.first().map_or((None, 0), Track::safe_point);
        self.events.tell(Event::Recovered { stage, update });
        self.tell_entered();
        Ok(())
    }

    /// Safe points become tracks again.
    pub(super) async fn take_in(&mut self, gpu: &Gpu) -> Result<(), Trouble> {
        if self.homeless.is_empty() {
            return Ok(());
        }
        let resume = |(lane, safe): &(Lane, Checkpoint)| Track::resume(gpu, *lane, safe.clone());
        let tracks = self.homeless.iter().map(resume).collect::<Result<_, _>>()?;
        gpu.finished().await?;
        self.tracks = tracks;
        self.homeless.clear();
        Ok(())
    }

    /// Weights that went wrong are put back to what they were at the last safe point.
    async fn go_back(&mut self) {
        self.homeless.extend(std::mem::take(&mut self.tracks).into_iter().map(Track::into_safe));
        let taken = match self.gpu() {
            Ok(gpu) => self.take_in(&gpu).await,
            Err(e) => Err(e),
        };
        if let Err(e) = taken {
            self.tell_fault(&e);
        }
        let (stage, update) = self.tracks.first().map_or((None, 0), Track::safe_point);
        self.events.tell(Event::Recovered { stage, update });
        self.tell_entered();
    }

    /// Another recipe for a stage; where it cannot be used, the old one stays, and is told.
    pub(super) async fn change_recipe(&mut self, stage: Stage, recipe: &StageRecipe) -> Result<(), Trouble> {
        let changed = self.try_recipe(stage, recipe).await;
        let old = self.open.as_ref().and_then(|open| open.preset.stage(stage));
        if let (Err(_), Some(old)) = (&changed, old) {
            self.events.tell(Event::Recipe(stage, Box::new(old.clone())));
        }
        changed
    }

    async fn try_recipe(&mut self, stage: Stage, recipe: &StageRecipe) -> Result<(), Trouble> {
        let changed = match &self.open {
            Some(open) => {
                let mut preset = (*open.preset).clone();
                preset.set_stage(stage, recipe.clone());
                preset.check().map_err(|e| Trouble::Other(e.to_string()))?;
                Some(preset)
            }
            None => None,
        };
        let gpu = self.device().await?;
        let mut moved = Vec::new();
        for track in &self.tracks {
            let Preset { wiring, tokens, .. } = track.run.preset;
            let rows = Rows { config: track.run.config(), wiring, tokens, with_image: true, facts: false };
            rows.check(&gpu, recipe.batch)?;
            moved.push(track.moved(&gpu, Some((stage, recipe.clone()))).await?);
        }
        gpu.finished().await?;
        self.tracks = moved;
        self.homeless.iter_mut().for_each(|(_, safe)| safe.meta.preset.set_stage(stage, recipe.clone()));
        self.take_in(&gpu).await?;
        if let (Some(open), Some(preset)) = (&mut self.open, changed) {
            *open.preset = preset;
        }
        self.tell_entered();
        Ok(())
    }
}

impl Fault {
    /// Of training that met a number which is none.
    pub(super) fn not_finite(what: &str, remedy: &str) -> Self {
        Self::new(FaultKind::NotFinite, sentence(what), sentence(remedy))
    }
}
