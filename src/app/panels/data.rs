//! Panel data.

use eframe::egui::Ui;

use crate::app::AppState;
use crate::engine::Command;

/// What people type and choose here.
#[derive(Default)]
pub struct Form {}

/// Draws the panel.
pub fn data_ui(_ui: &mut Ui, _state: &mut AppState, _out: &mut Vec<Command>) {}

/// Takes a picture file that came in.
pub fn take_picture(_state: &mut AppState, _name: &str, _bytes: &[u8]) {}
