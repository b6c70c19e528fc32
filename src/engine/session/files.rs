//! Saving, exporting and loading runs.

use super::Session;
use crate::engine::beside::Beside;
use crate::engine::command::Open;
use crate::engine::event::Event;
use crate::engine::log::RunLog;
use crate::engine::runfile::RunFile;
use crate::engine::track::{Track, Trouble};
use crate::engine::words::{Fault, FaultKind, Lane};
use crate::model::weights::Precision;
use crate::train::checkpoint::Checkpoint;
use crate::train::stage::Stage;

impl Session {
    pub(super) async fn save(&mut self, log: &RunLog) -> Result<(), Trouble> {
        // Without a device, what was last safe is what there is.
        let mut checkpoints: Vec<Checkpoint> = self.homeless.iter().map(|(_, safe)| safe.clone()).collect();
        for track in &self.tracks {
            checkpoints.push(track.run.checkpoint().await?);
        }
        let mut checkpoints = checkpoints.into_iter();
        let Some(hive) = checkpoints.next() else { return Ok(()) };
        let control = checkpoints.next().map(|c| c.to_bytes(&c.specs(), Precision::F32)).transpose()?;
        let name = format!("{}.hiverun", file_stem(&hive));
        let specs = hive.specs();
        let bytes = RunFile::pack(hive, control, log, &self.stage_ends)?.to_bytes(&specs, Precision::F32)?;
        self.events.tell(Event::File { name, bytes: bytes.into() });
        Ok(())
    }

    pub(super) async fn export(&mut self) -> Result<(), Trouble> {
        let Some(track) = self.tracks.first() else { return Ok(()) };
        let mut checkpoint = track.run.checkpoint().await?;
        checkpoint.moments = Default::default();
        let weights = checkpoint.to_bytes(&track.run.specs(), Precision::F32)?;
        let config = serde_json::to_vec_pretty(&checkpoint.meta).map_err(|e| Trouble::Other(e.to_string()))?;
        let stem = file_stem(&checkpoint);
        self.events.tell(Event::File { name: format!("{stem}.safetensors"), bytes: weights.into() });
        self.events.tell(Event::File { name: format!("{stem}.json"), bytes: config.into() });
        Ok(())
    }

    pub(super) async fn load(&mut self, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let file = RunFile::unpack(bytes).map_err(|e| Trouble::Other(format!("{name} cannot be opened: {e}")))?;
        let gpu = self.device().await?;
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
        self.homeless.clear();
        self.stage_ends = file.stages;
        self.pinned = None;
        self.knows_alone = true;
        self.tell_opened(file.log.map(Box::new));
        self.tell_entered();
        if let Some(what) = file.left_out {
            let remedy = "Everything else is there. Save it again to have a file without them.";
            self.events.tell(Event::Fault(Fault::new(FaultKind::File, format!("{name}: {what}."), remedy)));
        }
        Ok(())
    }
}

fn file_stem(checkpoint: &Checkpoint) -> String {
    let meta = &checkpoint.meta;
    format!("{}-stage{}-{}", meta.preset.name, meta.stage.map_or(0, Stage::number), meta.update)
}
