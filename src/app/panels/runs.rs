//! Files and links: what is kept of a run. Works in a menu and in a row.

use eframe::egui::{Button, Ui};

use crate::app::actions::{Action, Request};
use crate::app::files::Purpose;
use crate::app::{AppState, Control};
use crate::engine::Command;

/// Draws the panel.
pub fn runs_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    if !state.shows(Control::Runs) {
        return;
    }
    let open = state.preset.is_some();
    let hover = "Weights, optimiser, curves and scores in one file, to go on from exactly here";
    if ui.add_enabled(open, Button::new("Save run…")).on_hover_text(hover).clicked() {
        out.push(Command::Save(Box::new(state.log.clone())).into());
    }
    let hover = "A run file, or a checkpoint of the command line. What is open is closed.";
    if ui.button("Load run…").on_hover_text(hover).clicked() {
        out.push(Action::Shell(Request::Pick(Purpose::Run)));
    }
    let hover = "The weights as safetensors and the configuration as JSON, for other programs";
    if ui.add_enabled(open, Button::new("Export model…")).on_hover_text(hover).clicked() {
        out.push(Command::Export.into());
    }
    let hover = "A link that opens this preset with this seed; teachers can add what is to be hidden";
    if ui.add_enabled(open, Button::new("Copy link")).on_hover_text(hover).clicked() {
        out.push(Action::Shell(Request::CopyLink));
    }
    if let Some(name) = &state.saved {
        ui.label(format!("Last file {name}"));
    }
}
