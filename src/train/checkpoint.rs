//! Checkpoints: one safetensors file with the weights under their Hugging Face names, the optimiser's moments beside them,
//! and everything else as JSON in the file's metadata. One file, replaced by renaming: a kill during a save leaves the old
//! checkpoint or the new one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::evaluate::{Label, Scores};
use super::finite::{self, NotFinite};
use super::recipe::{Preset, PresetError};
use super::stage::Stage;
use crate::data::folder::SplitBy;
use crate::data::tokenizer::Tokenizer;
use crate::model::config::HiveConfig;
use crate::model::files::write::{self, NewTensor};
use crate::model::files::{FileDType, FilesError};
use crate::model::model::Model;
use crate::model::weights::{self, HostTensors, Precision, WeightsError};
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// Everything but tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Meta {
    /// Version of this layout.
    pub format: u32,
    pub preset: Preset,
    /// The model as it is now (stage 2 changes it).
    pub model: HiveConfig,
    pub tokenizer: Tokenizer,
    /// Stage in progress, or done; none before stage 1.
    pub stage: Option<Stage>,
    /// Updates done in that stage.
    pub update: u64,
    /// Does the stage go on after its end, on samples of its own?
    #[serde(default)]
    pub more: bool,
    /// What decided which entries of a folder are held out.
    #[serde(default, skip_serializing_if = "SplitBy::is_by_id")]
    pub split: SplitBy,
    /// A number for what the folder said and showed that it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
    #[serde(default)]
    pub scores: Vec<(Label, Scores)>,
}

/// A checkpoint on the host.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Checkpoint {
    pub meta: Meta,
    pub weights: Weights,
    /// First and second moments, empty where there are none.
    pub moments: (Weights, Weights),
    /// Whatever else the file carries, as plain bytes by name.
    pub attachments: BTreeMap<String, Vec<u8>>,
}

/// Version written by this program.
pub const FORMAT: u32 = 1;
const PREFIXES: [&str; 2] = ["optimiser.m.", "optimiser.v."];

/// A file that is no checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Not safetensors.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Tensors that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// No metadata of ours.
    #[error(
        "this safetensors file is no Hive checkpoint: its metadata has no \"hive\" entry. Checkpoints are written by hive train and hive demo"
    )]
    NoMeta,
    /// Metadata that cannot be read.
    #[error("the checkpoint's metadata cannot be read: {0}")]
    Meta(#[from] serde_json::Error),
    /// Numbers that no model has.
    #[error("the checkpoint's metadata cannot be used: {0}")]
    Sizes(#[from] PresetError),
    /// Two models.
    #[error("the checkpoint's metadata cannot be used: the sizes in \"model\" are not those of its preset")]
    Differs,
    /// Words without a row in the embedding.
    #[error("the checkpoint's metadata cannot be used: it has {words} words, and vocab_size is {rows}")]
    Words {
        /// Of the tokenizer.
        words: usize,
        /// Of the embedding.
        rows: usize,
    },
    /// Written by a newer program.
    #[error("the checkpoint has format {0}, this program reads up to {FORMAT}. Update Hive")]
    Newer(u32),
    /// A tensor with a number that is none.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

impl Meta {
    /// Can a model of these sizes be made, and trained by this preset?
    fn check(&self) -> Result<(), CheckpointError> {
        // The model first: a preset says the same of a model that it had at the start.
        self.model.check().map_err(PresetError::from)?;
        self.preset.check()?;
        let start = &self.preset.model;
        if self.model.vision_config != start.vision_config || self.model.text_config != start.text_config {
            return Err(CheckpointError::Differs);
        }
        let (words, rows) = (self.tokenizer.size(), self.model.text_config.vocab_size);
        if words > rows {
            return Err(CheckpointError::Words { words, rows });
        }
        Ok(())
    }

    /// Where it stands in a file's metadata.
    pub const KEY: &str = "hive";

    /// From its text.
    ///
    /// # Errors
    /// A text that is damaged, from a newer program, or with numbers that no model has.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let format = serde_json::from_str::<serde_json::Value>(text)?["format"].as_u64().unwrap_or(0) as u32;
        if format > FORMAT {
            return Err(CheckpointError::Newer(format));
        }
        let meta: Self = serde_json::from_str(text)?;
        meta.check()?;
        Ok(meta)
    }
}

impl Checkpoint {
    /// Specs of its model, for [`Self::to_bytes`].
    #[must_use]
    pub fn specs(&self) -> Vec<ParamSpec> {
        Model::new(&self.meta.model, self.meta.preset.wiring).1
    }

    /// The file's bytes. Moments are always f32: a resumed run is bit-identical only with `Precision::F32`.
    ///
    /// # Errors
    /// A number that is none, in a tensor or in the half precision asked for.
    pub fn to_bytes(&self, specs: &[ParamSpec], precision: Precision) -> Result<Vec<u8>, CheckpointError> {
        self.check(precision)?;
        let [m, v] = PREFIXES;
        let sets = [
            ("", &self.weights, precision),
            (m, &self.moments.0, Precision::F32),
            (v, &self.moments.1, Precision::F32),
        ];
        let mut tensors: Vec<NewTensor> = Vec::new();
        for (prefix, set, precision) in sets {
            let there = specs.iter().filter_map(|s| Some((s, set.get(&s.name)?)));
            tensors.extend(there.map(|(s, values)| precision.tensor(&format!("{prefix}{}", s.name), &s.shape, values)));
        }
        for (name, bytes) in &self.attachments {
            let (name, shape, bytes) = (name.clone(), vec![bytes.len()], bytes.clone());
            tensors.push(NewTensor { name, dtype: FileDType::U8, shape, bytes });
        }
        Ok(write::file((Meta::KEY, &serde_json::to_string(&self.meta)?), tensors))
    }

    /// From a file's bytes.
    ///
    /// # Errors
    /// A torn file, one that is no checkpoint, one from a newer program, or one of a run that had gone wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let header = weights::header_of(bytes)?;
        let meta = Meta::parse(header.metadata.get(Meta::KEY).ok_or(CheckpointError::NoMeta)?)?;
        let mut tensors = weights::tensors(&header, bytes)?;
        let [m, v] = PREFIXES.map(|prefix| take(&mut tensors, prefix));
        let weights = tensors.into_iter().map(|(name, t)| (name, t.values)).collect();
        let all = Self { meta, weights, moments: (m, v), attachments: weights::attachments(&header, bytes) };
        all.check(Precision::F32)?;
        Ok(all)
    }

    /// Is every number one, and can weights be had in this precision?
    fn check(&self, precision: Precision) -> Result<(), NotFinite> {
        match precision {
            Precision::F32 => finite::check(&self.weights)?,
            Precision::F16 => finite::check_half(&self.weights)?,
        }
        finite::check(&self.moments.0)?;
        finite::check(&self.moments.1)
    }
}

fn take(tensors: &mut HostTensors, prefix: &str) -> Weights {
    let names: Vec<String> = tensors.keys().filter(|n| n.starts_with(prefix)).cloned().collect();
    names.into_iter().filter_map(|n| Some((n[prefix.len()..].to_owned(), tensors.remove(&n)?.values))).collect()
}
