//! Files and links: what is kept of a run. Works in a menu and in a row.

use eframe::egui::{Button, Ui};

use crate::app::{AppState, Control};
use crate::engine::Command;

/// What people ask for here.
#[derive(Default)]
pub struct Form {
    /// Set by the button; the shell opens a dialog for a run file and clears it.
    pub wants_run: bool,
    /// Set by the button; the shell copies a link to what is seen and clears it.
    pub wants_link: bool,
    /// The file that was written last.
    pub saved: Option<String>,
}

/// Draws the panel.
pub fn runs_ui(ui: &mut Ui, state: &mut AppState, out: &mut Vec<Command>) {
    if !state.shows(Control::Runs) {
        return;
    }
    let open = state.preset.is_some();
    let hover = "Weights, optimiser, curves and scores in one file, to go on from exactly here";
    if ui.add_enabled(open, Button::new("Save run…")).on_hover_text(hover).clicked() {
        out.push(Command::Save(Box::new(state.log.clone())));
    }
    let hover = "A run file, or a checkpoint of the command line. What is open is closed.";
    if ui.button("Load run…").on_hover_text(hover).clicked() {
        state.forms.runs.wants_run = true;
    }
    let hover = "The weights as safetensors and the configuration as JSON, for other programs";
    if ui.add_enabled(open, Button::new("Export model…")).on_hover_text(hover).clicked() {
        out.push(Command::Export);
    }
    let hover = "A link that opens this preset with this seed; teachers can add what is to be hidden";
    if ui.add_enabled(open, Button::new("Copy link")).on_hover_text(hover).clicked() {
        state.forms.runs.wants_link = true;
    }
    if let Some(name) = &state.forms.runs.saved {
        ui.label(format!("Last file {name}"));
    }
}
