//! L4: models. Configurations with Hugging Face's keys, the vision tower, the language model, the model of both,
//! the probes, and the decoder of tokens.

pub mod config;
pub mod decode;
pub mod export;
pub mod files;
pub mod inputs;
pub mod language;
pub mod limits;
pub mod load;
pub mod memory;
#[expect(clippy::module_inception, reason = "the model of models: its file is what people look for")]
pub mod model;
pub mod packing;
pub mod positions;
pub mod probe;
pub mod registry;
pub mod vision;
pub mod weights;
