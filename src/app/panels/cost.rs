//! Panel cost.

use eframe::egui::Ui;

use crate::app::AppState;
use crate::engine::Command;

/// Draws the panel.
pub fn cost_ui(_ui: &mut Ui, _state: &mut AppState, _out: &mut Vec<Command>) {}
