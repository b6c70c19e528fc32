//! What ships with Hive, by name: presets and weights.

use thiserror::Error;

use super::shipped::{self, ShippedError};
use crate::data::dataset::Dataset;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::train::checkpoint::{Checkpoint, CheckpointError};
use crate::train::recipe::{Preset, PresetError};
use crate::train::source::Source;

/// The preset where nobody names one: in window, page and program.
pub const FIRST: &str = "grounds";

/// Presets by name.
pub const PRESETS: &[(&str, &str)] = &[
    ("grounds", include_str!("../../assets/presets/grounds.json")),
    ("grounds-long", include_str!("../../assets/presets/grounds-long.json")),
    ("pictures", include_str!("../../assets/presets/pictures.json")),
    ("pictures-one-depth", include_str!("../../assets/presets/pictures-one-depth.json")),
    ("pictures-long", include_str!("../../assets/presets/pictures-long.json")),
    ("shapes", include_str!("../../assets/presets/shapes.json")),
    ("shapes-long", include_str!("../../assets/presets/shapes-long.json")),
    ("quick", include_str!("../../assets/presets/quick.json")),
    ("tiny", include_str!("../../assets/presets/tiny.json")),
    ("hive-siglip-large", include_str!("../../assets/presets/hive-siglip-large.json")),
];

/// What is not on board, or does not fit.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AssetError {
    #[error("no preset called \"{name}\". Presets: {names}, or a path to a JSON file")]
    NoPreset {
        /// What was asked for.
        name: String,
        names: String,
    },
    #[error("no shipped model called \"{name}\". Shipped: {names}")]
    NoModel {
        /// What was asked for.
        name: String,
        names: String,
    },
    /// No such data set.
    #[error("no data set called \"{0}\": grounds, shapes, pictures, or a folder with --data")]
    NoData(String),
    /// A vocabulary of another size than the model's.
    #[error(
        "vocab_size is {have}, {data} has {need} words. In a preset write {need} there; a checkpoint with other words still answers (hive ask --model FILE), but {data} can neither test nor train it"
    )]
    Vocabulary { have: usize, need: usize, data: String },
    /// Pictures of another size than the model's.
    #[error(
        "the model sees pictures of {channels} x {have} x {have}, those of {data} are 3 x {need} x {need}. Write these sizes into the preset"
    )]
    Picture { have: usize, channels: usize, need: usize, data: String },
    /// Words that make no vocabulary.
    #[error(transparent)]
    Words(#[from] TokenizerError),
    #[error(transparent)]
    Preset(#[from] PresetError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Shipped(#[from] ShippedError),
}

/// The preset of that name.
pub fn preset(name: &str) -> Result<Preset, AssetError> {
    let names = || PRESETS.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
    let found = PRESETS.iter().find(|(n, _)| *n == name);
    let (_, text) = found.ok_or_else(|| AssetError::NoPreset { name: name.to_owned(), names: names() })?;
    Ok(Preset::parse(text)?)
}

/// The shipped weights of that name: with `-start` behind the data's, what is pre-trained; without it, what is trained.
///
/// # Errors
/// No such weights, or in the page weights that cannot be fetched.
pub async fn model(name: &str) -> Result<Checkpoint, AssetError> {
    Ok(Checkpoint::from_bytes(model_bytes(name, |_, _| ()).await?)?)
}

/// The file of the shipped weights of that name. Natively it is there at once; in the page it may have to be fetched, and
/// `tell` hears how many bytes of how many have come.
///
/// # Errors
/// No such weights, or in the page weights that cannot be fetched.
pub async fn model_bytes(name: &str, tell: impl FnMut(usize, usize)) -> Result<&'static [u8], AssetError> {
    let names = || shipped::ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
    let found = shipped::ALL.iter().find(|s| s.name == name);
    let found = found.ok_or_else(|| AssetError::NoModel { name: name.to_owned(), names: names() })?;
    Ok(found.bytes(tell).await?)
}

/// The generated data of a preset.
///
/// # Errors
/// No such data set, or a model with another vocabulary.
pub fn made_source(preset: &Preset) -> Result<Source, AssetError> {
    let dataset = Dataset::by_name(&preset.data).ok_or_else(|| AssetError::NoData(preset.data.clone()))?;
    let tokenizer = Tokenizer::new(dataset.words())?;
    let (have, need) = (preset.model.text_config.vocab_size, tokenizer.size());
    if have != need {
        return Err(AssetError::Vocabulary { have, need, data: preset.data.clone() });
    }
    let (vision, need) = (&preset.model.vision_config, dataset.image_size());
    let (have, channels) = (vision.image_size, vision.num_channels);
    if have != need || channels != 3 {
        return Err(AssetError::Picture { have, channels, need, data: preset.data.clone() });
    }
    Ok(Source::made(dataset, tokenizer, preset.mix.clone(), preset.seed))
}
