//! A run in one file: a checkpoint of the linked model (plain safetensors that any reader opens) which carries, as plain
//! bytes, the curves, the kept attention maps, the control's checkpoint and the weights at the end of each stage.

use std::collections::BTreeMap;

use super::log::RunLog;
use super::snapshots::Snapshots;
use crate::train::checkpoint::{Checkpoint, CheckpointError};

const LOG: &str = "run.log.json";
const SNAPSHOTS: &str = "run.snapshots";
const CONTROL: &str = "run.control.safetensors";
const STAGE: &str = "run.stage";

/// What a run file holds.
#[derive(Debug)]
pub struct RunFile {
    /// The linked model.
    pub hive: Checkpoint,
    /// The control, where it trained beside it.
    pub control: Option<Checkpoint>,
    /// Curves, scores and maps; none in a bare checkpoint.
    pub log: Option<RunLog>,
    /// Checkpoint files of the ends of stages, by label (`stage 1`).
    pub stages: BTreeMap<String, Vec<u8>>,
    /// What is left out because it is damaged, in a sentence.
    pub left_out: Option<String>,
}

impl RunFile {
    /// Puts everything into the linked model's checkpoint.
    pub fn pack(
        mut hive: Checkpoint,
        control: Option<Vec<u8>>,
        log: &RunLog,
        stages: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Checkpoint, CheckpointError> {
        let parts = &mut hive.attachments;
        parts.insert(LOG.into(), serde_json::to_vec(log)?);
        parts.insert(SNAPSHOTS.into(), log.snapshots.to_bytes()?);
        if let Some(bytes) = control {
            parts.insert(CONTROL.into(), bytes);
        }
        for (label, bytes) in stages {
            parts.insert(format!("{STAGE}.{label}.safetensors"), bytes.clone());
        }
        Ok(hive)
    }

    /// Takes a file apart.
    ///
    /// # Errors
    /// A file that is no checkpoint, or one whose parts are damaged.
    pub fn unpack(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut hive = Checkpoint::from_bytes(bytes)?;
        let mut parts = std::mem::take(&mut hive.attachments);
        let control = parts.remove(CONTROL).map(|b| Checkpoint::from_bytes(&b)).transpose()?;
        let mut left_out = None;
        let log = match parts.remove(LOG) {
            Some(text) => {
                let mut log: RunLog = serde_json::from_slice(&text)?;
                if let Some(bytes) = parts.remove(SNAPSHOTS) {
                    match Snapshots::from_bytes(&bytes) {
                        Ok(snapshots) => log.snapshots = snapshots,
                        Err(e) => left_out = Some(format!("the attention maps in it are damaged and left out: {e}")),
                    }
                }
                // Weights are worth more than curves.
                log.check()
                    .map(|()| log)
                    .map_err(|e| left_out = Some(format!("the curves in it are damaged and left out: {e}")))
                    .ok()
            }
            None => None,
        };
        let label =
            |name: &str| Some(name.strip_prefix(STAGE)?.trim_matches('.').trim_end_matches(".safetensors").into());
        let stages = parts.into_iter().filter_map(|(name, b)| Some((label(&name)?, b))).collect();
        Ok(Self { hive, control, log, stages, left_out })
    }
}
