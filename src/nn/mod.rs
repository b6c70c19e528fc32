//! L3: blocks. Each is a struct of parameter ids and sizes with `forward` and `backward` that mirror each other line by
//! line; `forward` returns what backward needs as `Saved`, which `backward` consumes: ownership is the tape.
//!
//! The gradient of the residual stream is one buffer, updated in place: a block's `backward` gets `d`, the gradient of its
//! output, and leaves in it the gradient of its input.

pub mod decoder_layer;
pub mod footprint;
pub mod image_projector;
mod joint;
pub mod layers;
pub mod linked_attention;
pub mod params;
pub mod projector;
pub mod self_attention;
pub mod spec;
pub mod stacks;
pub mod vit_block;

pub use footprint::Footprint;
pub use image_projector::ImageProjector;
pub use layers::{LayerNorm, Linear, RmsNorm, SwigluMlp};
pub use params::Params;
pub use projector::Projector;
pub use spec::{ParamId, ParamSpec};
pub use stacks::{Role, Stack};
