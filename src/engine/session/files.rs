//! Saving, exporting and loading runs.

use super::Session;
use crate::engine::beside::Beside;
use crate::engine::command::Open;
use crate::engine::event::Event;
use crate::engine::log::RunLog;
use crate::engine::runfile::RunFile;
use crate::engine::track::{Track, Trouble};
use crate::engine::words::Lane;
use crate::model::weights::Precision;
use crate::train::stage::Stage;

impl Session {
    pub(super) async fn save(&mut self, log: &RunLog) -> Result<(), Trouble> {
        let Some(track) = self.tracks.first() else { return Ok(()) };
        let control = match self.tracks.get(1) {
            Some(t) => Some(t.run.checkpoint().await?.to_bytes(&t.run.specs(), Precision::F32)?),
            None => None,
        };
        let file = RunFile::pack(track.run.checkpoint().await?, control, log, &self.stage_ends)?;
        let bytes = file.to_bytes(&track.run.specs(), Precision::F32)?;
        let name = format!("{}.hiverun", self.file_stem());
        self.events.tell(Event::File { name, bytes: bytes.into() });
        Ok(())
    }

    fn file_stem(&self) -> String {
        let Some(track) = self.tracks.first() else { return "hive".into() };
        let stage = track.run.stage().map_or(0, Stage::number);
        format!("{}-stage{stage}-{}", track.run.preset.name, track.updates())
    }

    pub(super) async fn export(&mut self) -> Result<(), Trouble> {
        let Some(track) = self.tracks.first() else { return Ok(()) };
        let mut checkpoint = track.run.checkpoint().await?;
        checkpoint.moments = Default::default();
        let weights = checkpoint.to_bytes(&track.run.specs(), Precision::F32)?;
        let config = serde_json::to_vec_pretty(&checkpoint.meta).map_err(|e| Trouble::Other(e.to_string()))?;
        let stem = self.file_stem();
        self.events.tell(Event::File { name: format!("{stem}.safetensors"), bytes: weights.into() });
        self.events.tell(Event::File { name: format!("{stem}.json"), bytes: config.into() });
        Ok(())
    }

    pub(super) async fn load(&mut self, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let file = RunFile::unpack(bytes).map_err(|e| Trouble::Other(format!("{name} cannot be opened: {e}")))?;
        let gpu = self.gpu()?;
        let mut preset = file.hive.meta.preset.clone();
        let mut tracks = vec![Track::resume(&gpu, Lane::Hive, file.hive)?];
        let beside = file.control.as_ref().map(|control| Beside::of(&preset, &control.meta.preset));
        if let Some(control) = file.control {
            tracks.push(Track::resume(&gpu, Lane::Control, control)?);
        }
        self.stop();
        preset.wiring = Lane::Hive.wiring();
        self.open = Some(Open { preset: Box::new(preset), beside, trained: false });
        self.tracks = tracks;
        self.stage_ends = file.stages;
        self.pinned = None;
        self.knows_alone = true;
        self.tell_opened(file.log.map(Box::new));
        self.tell_entered();
        Ok(())
    }
}
