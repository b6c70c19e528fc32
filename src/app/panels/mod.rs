//! The panels, each `fn name_ui(ui, state, out)`: draws from the state, edits its form, and pushes commands.

pub mod ask;
pub mod attention;
pub mod cost;
pub mod curves;
pub mod data;
pub mod draw;
pub mod failure;
pub mod lessons;
pub mod model;
pub mod numbers;
pub mod picture;
pub mod raster;
pub mod runs;
pub mod series;
pub mod stages;
pub mod status;
pub mod tour;
