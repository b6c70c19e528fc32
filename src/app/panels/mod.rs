//! The panels, each `fn name_ui(ui, state, out)`: draws from the state, edits its form, and pushes commands.

pub mod ask;
pub mod attention;
pub mod chat;
pub mod cost;
pub mod curves;
pub mod data;
pub mod diagram;
pub mod draw;
pub mod examples;
pub mod failure;
pub mod format;
pub mod heatmap;
pub mod lessons;
pub mod load;
pub mod model;
pub mod picture;
pub mod raster;
pub mod recipe;
pub mod runs;
pub mod sampling;
pub mod series;
pub mod stages;
pub mod status;
pub mod tour;
mod widgets;
