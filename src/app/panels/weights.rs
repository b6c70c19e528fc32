//! Top of the centre: weights of a preset on their way to the page.

use eframe::egui::{ProgressBar, Ui};

use super::widgets;
use crate::app::AppState;

/// Draws the panel.
pub fn weights_ui(ui: &mut Ui, state: &AppState) {
    let Some(now) = &state.weights else { return };
    let mb = |bytes: usize| bytes as f64 * 1e-6;
    let text = format!("{:.1} of {:.1} MB", mb(now.done), mb(now.of));
    let name = format!("Fetching the weights {}", now.name);
    let response = ui.add(ProgressBar::new(now.done as f32 / now.of.max(1) as f32).text(format!("{name}: {text}")));
    let hover = "They are kept in this browser for the next time. To stop it, choose another preset.";
    widgets::describe(&response.accessible_name(format!("{name}, {text}")).on_hover_text(hover), hover.to_owned());
    ui.add_space(4.0);
}
