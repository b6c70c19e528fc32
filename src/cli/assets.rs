//! What the binary carries with it: presets and weights.

use super::Fault;
use crate::train::checkpoint::Checkpoint;
use crate::train::recipe::Preset;

/// Presets by name.
pub const PRESETS: [(&str, &str); 6] = [
    ("pictures", include_str!("../../assets/presets/pictures.json")),
    ("pictures-long", include_str!("../../assets/presets/pictures-long.json")),
    ("shapes", include_str!("../../assets/presets/shapes.json")),
    ("shapes-long", include_str!("../../assets/presets/shapes-long.json")),
    ("tiny", include_str!("../../assets/presets/tiny.json")),
    ("hive-siglip-large", include_str!("../../assets/presets/hive-siglip-large.json")),
];

/// Weights by name: `-start` pre-trained tower and language model, without it the trained model.
const MODELS: [(&str, &[u8]); 4] = [
    ("pictures-start", include_bytes!("../../assets/models/pictures-start.safetensors")),
    ("shapes-start", include_bytes!("../../assets/models/shapes-start.safetensors")),
    ("pictures", include_bytes!("../../assets/models/pictures.safetensors")),
    ("shapes", include_bytes!("../../assets/models/shapes.safetensors")),
];

/// The preset of that name.
///
/// # Errors
/// No such preset; the message lists those there are.
pub fn preset(name: &str) -> Result<Preset, Fault> {
    let names: Vec<&str> = PRESETS.iter().map(|(n, _)| *n).collect();
    let (_, text) = PRESETS.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        Fault::usage(format!("no preset called \"{name}\". Presets: {}, or a path to a JSON file", names.join(", ")))
    })?;
    Ok(Preset::parse(text)?)
}

/// The shipped weights of that name.
///
/// # Errors
/// No such weights.
pub fn model(name: &str) -> Result<Checkpoint, Fault> {
    let names: Vec<&str> = MODELS.iter().map(|(n, _)| *n).collect();
    let (_, bytes) = MODELS
        .iter()
        .find(|(n, _)| *n == name)
        .ok_or_else(|| Fault::usage(format!("no shipped model called \"{name}\". Shipped: {}", names.join(", "))))?;
    Ok(Checkpoint::from_bytes(bytes)?)
}
