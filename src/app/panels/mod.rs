//! The panels, each `fn name_ui(ui, &state, &mut form, &mut out)`: draws the state, edits its form, and pushes actions.

use super::AppState;
use super::actions::Action;
use crate::engine::Fault;

pub mod ask;
pub mod attention;
pub mod beside;
pub mod chat;
pub mod compare;
pub mod cost;
pub mod curves;
pub mod cuts;
pub mod data;
pub mod depths;
pub mod diagram;
pub mod draw;
pub mod examples;
pub mod failure;
pub mod format;
pub mod heatmap;
pub mod lessons;
pub mod links;
pub mod load;
pub mod looked;
pub mod model;
pub mod photos;
pub mod picture;
pub mod raster;
pub mod recipe;
pub mod runs;
pub mod sampling;
pub mod series;
pub mod stages;
pub mod status;
pub mod tour;
pub mod weights;
mod widgets;

pub use widgets::settle;

/// Forms of the panels: what people type and choose.
#[derive(Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Forms {
    pub data: data::Form,
    /// Recipe editor and stage bar.
    pub stages: stages::Form,
    pub model: model::Form,
    pub curves: curves::Form,
    pub ask: ask::Form,
    pub attention: attention::Form,
    pub chat: chat::Form,
    pub failure: failure::Form,
    pub lessons: lessons::Form,
    pub tour: tour::Form,
}

/// What to do with a picture file that came in, for the model that is asked now.
///
/// # Errors
/// A card: it cannot be used.
pub fn picture_of(state: &AppState, name: &str, bytes: &[u8]) -> Result<Action, Fault> {
    match state.chat.model.as_ref().and_then(|model| model.sees.as_ref()) {
        Some(sees) if chat::is_shown(state) => photos::picture_of(sees, name, bytes),
        _ => data::picture_of(state, name, bytes),
    }
}
