//! What trains beside the model, to compare it with: nothing, the flattened control, other links, more of stage 2.

use eframe::egui::containers::menu::{MenuButton, MenuConfig};
use eframe::egui::{Button, Checkbox, Popup, PopupCloseBehavior, TextEdit, Ui};

use super::links::{join, orders, title};
use super::widgets::{sentence, small};
use crate::app::AppState;
use crate::app::actions::Action;
use crate::engine::{Beside, Preset};

/// What people type here.
#[derive(Default)]
pub struct Form {
    /// A list of depths.
    links: String,
}

const CONTROL: &str = "Image tokens stand in the text, the usual way";
const MORE: &str = "The same model once more: where stage 3 trains the tower, it goes on with stage 2 for as many steps. \
                    Only what stage 3 brings beyond that is due to the tower";

/// Draws the switch and the menu.
pub(super) fn beside_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let Some(preset) = &state.preset else {
        let text = "Train the flattened control beside it";
        ui.add_enabled(false, Checkbox::new(&mut false, text));
        return;
    };
    let name = match &state.beside {
        Some(beside @ (Beside::Links(_) | Beside::MoreOfStageTwo)) => format!("Train {} beside it", beside.name()),
        _ => "Train the flattened control beside it".to_owned(),
    };
    let mut on = state.beside.is_some();
    let hover = "With the same seed and data. Training starts again.";
    if ui.add(Checkbox::new(&mut on, name)).on_hover_text(hover).changed() {
        out.push(Action::Beside(on.then_some(Beside::Flattened)));
    }
    // A click into the field must not close the menu.
    let config = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    MenuButton::new("Compare with").config(config).ui(ui, |ui| menu_ui(ui, state, preset, form, out));
}

fn menu_ui(ui: &mut Ui, state: &AppState, preset: &Preset, form: &mut Form, out: &mut Vec<Action>) {
    ui.label(small("Both start again, with the same seed and data."));
    let now = &preset.model.link_config.vision_layers;
    let mut choices = vec![("nothing".to_owned(), None, "The model trains alone")];
    choices.push(("flattened control".to_owned(), Some(Beside::Flattened), CONTROL));
    for (name, depths) in orders(preset).into_iter().filter(|(_, depths)| depths != now) {
        let label = format!("links {} ({})", title(name), join(&depths));
        choices.push((label, Some(links(&depths)), super::links::about(name)));
    }
    choices.push(("more of stage 2".to_owned(), Some(Beside::MoreOfStageTwo), MORE));
    for (label, beside, about) in choices {
        let chosen = state.beside == beside;
        if ui.selectable_label(chosen, label).on_hover_text(about).clicked() {
            if !chosen {
                out.push(Action::Beside(beside));
            }
            Popup::close_all(ui.ctx());
        }
    }
    if let Some(reason) = ui.horizontal(|ui| own_ui(ui, preset, form, out)).inner {
        ui.set_max_width(260.0);
        ui.label(small(format!("{}.", sentence(&reason))));
    }
}

/// A list of one's own; what is wrong with it.
fn own_ui(ui: &mut Ui, preset: &Preset, form: &mut Form, out: &mut Vec<Action>) -> Option<String> {
    let label = ui.label("own links");
    let now = join(&preset.model.link_config.vision_layers);
    ui.add(TextEdit::singleline(&mut form.links).hint_text(now).desired_width(70.0)).labelled_by(label.id);
    let parts = form.links.split([' ', ',']).filter(|part| !part.is_empty());
    let given = parts.collect::<Vec<_>>().join(",");
    let is_empty = given.is_empty();
    let made = Beside::Links(given).preset(preset);
    let clicked = ui.add_enabled(made.is_ok(), Button::new("Use")).clicked();
    match made {
        Ok(other) if clicked => {
            out.push(Action::Beside(Some(links(&other.model.link_config.vision_layers))));
            Popup::close_all(ui.ctx());
            None
        }
        Ok(_) => None,
        Err(reason) => Some(reason).filter(|_| !is_empty),
    }
}

fn links(depths: &[usize]) -> Beside {
    Beside::Links(depths.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
}
