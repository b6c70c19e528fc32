//! Panel lessons.

use eframe::egui::Ui;

use crate::app::AppState;
use crate::engine::Command;

/// What people type and choose here.
#[derive(Default)]
pub struct Form {}

/// Draws the panel.
pub fn lessons_ui(_ui: &mut Ui, _state: &mut AppState, _out: &mut Vec<Command>) {}
