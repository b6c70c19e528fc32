//! Panel ask.

use eframe::egui::Ui;

use crate::app::AppState;
use crate::engine::Command;

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// The question as typed.
    pub question: String,
}

/// Draws the panel.
pub fn ask_ui(_ui: &mut Ui, _state: &mut AppState, _out: &mut Vec<Command>) {}
