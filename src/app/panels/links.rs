//! Which depth of the tower each link reads: an order by name, a depth for each link. Chosen first, used on a click, because
//! other links start a fresh model.

use eframe::egui::{Button, ComboBox, Ui};

use super::widgets;
use crate::app::AppState;
use crate::app::actions::Action;
use crate::engine::{ORDERS, Preset, assets};

/// Named orders, each with a depth per link.
pub type Orders = Vec<(&'static str, Vec<usize>)>;

/// What people choose here.
#[derive(Default)]
pub struct Form {
    /// Depths that are chosen and not used yet.
    chosen: Option<Vec<usize>>,
    /// Was "own" chosen, though the depths still are those of a named order?
    own: bool,
    /// Named orders of the preset of that name.
    orders: Option<(String, Orders)>,
}

impl Form {
    /// Depths as they are drawn: those that are chosen, else those in use.
    #[must_use]
    pub fn depths(&self, preset: &Preset) -> Vec<usize> {
        let now = &preset.model.link_config.vision_layers;
        self.chosen.as_ref().filter(|c| c.len() == now.len()).unwrap_or(now).clone()
    }

    /// Chooses a depth for one link.
    pub fn choose(&mut self, preset: &Preset, link: usize, depth: usize) {
        let mut depths = self.depths(preset);
        if let Some(old) = depths.get_mut(link) {
            *old = depth;
        }
        self.chosen = Some(depths);
    }

    /// The named orders; made once per preset.
    fn orders(&mut self, preset: &Preset) -> &[(&'static str, Vec<usize>)] {
        if self.orders.as_ref().is_none_or(|(name, _)| *name != preset.name) {
            // What was chosen was meant for another model.
            self.chosen = self.chosen.take().filter(|_| self.orders.is_none());
            self.orders = Some((preset.name.clone(), orders(preset)));
        }
        self.orders.as_ref().map_or(&[], |(_, list)| list)
    }
}

/// The named orders of a preset, up to the deepest state that it links as it is shipped.
#[must_use]
pub fn orders(preset: &Preset) -> Orders {
    let base = assets::preset(&preset.name).unwrap_or_else(|_| preset.clone());
    let count = preset.model.link_config.language_layers.len();
    let order = |name: &'static str| {
        let mut made = base.clone();
        made.set_links(name).ok()?;
        Some((name, made.model.link_config.vision_layers)).filter(|(_, depths)| depths.len() == count)
    };
    ORDERS.into_iter().filter_map(order).collect()
}

/// An order's name for people.
#[must_use]
pub fn title(order: &str) -> String {
    order.replace('-', " ")
}

/// Draws the row under the diagram's caption.
pub(super) fn links_ui(ui: &mut Ui, preset: &Preset, form: &mut Form) {
    let layers = &preset.model.link_config.language_layers;
    if layers.is_empty() {
        return;
    }
    let depths = form.depths(preset);
    ui.horizontal_wrapped(|ui| {
        order_ui(ui, preset, &depths, form);
        ui.label("depth for");
        for (link, (layer, depth)) in layers.iter().zip(&depths).enumerate() {
            ui.label(format!("layer {}", layer + 1));
            let chosen = depth_ui(ui, *layer, *depth, preset.model.vision_config.num_hidden_layers);
            if chosen != *depth {
                form.own = false;
                form.choose(preset, link, chosen);
            }
        }
    });
}

/// Draws what is done with chosen depths. Under the diagram, which must not move while a wire is dragged.
pub(super) fn use_ui(ui: &mut Ui, state: &AppState, preset: &Preset, form: &mut Form, out: &mut Vec<Action>) {
    let depths = form.depths(preset);
    if depths == preset.model.link_config.vision_layers {
        form.chosen = None;
        return;
    }
    ui.horizontal_wrapped(|ui| {
        if ui.add(Button::new("Start with these links")).clicked() {
            out.push(Action::Links(depths));
            form.chosen = None;
        }
        if ui.button("Keep the links").clicked() {
            form.chosen = None;
        }
        let lost = if state.log.hive.is_empty() { "" } else { "; what was trained here is lost" };
        widgets::warning(
            ui,
            &format!(
                "Dashed wires are not used yet. Other links start a fresh model: tower and language model as \
                 pre-trained, links drawn anew{lost}."
            ),
        );
    });
}

fn order_ui(ui: &mut Ui, preset: &Preset, depths: &[usize], form: &mut Form) {
    let orders = form.orders(preset).to_vec();
    let named = orders.iter().find(|(_, order)| order == depths && !form.own);
    let text = named.map_or_else(|| "own".to_owned(), |(name, _)| title(name));
    let combo = ComboBox::from_id_salt("order of links").selected_text(text).width(80.0).show_ui(ui, |ui| {
        for (name, order) in &orders {
            let label = format!("{} ({})", title(name), join(order));
            if ui.selectable_label(named.is_some_and(|n| n.0 == *name), label).on_hover_text(about(name)).clicked() {
                form.own = false;
                form.chosen = Some(order.clone());
            }
        }
        if ui.selectable_label(named.is_none(), "own").on_hover_text("Choose a depth for each link").clicked() {
            form.own = true;
        }
    });
    let hover = "Which depth of the tower each linked layer reads";
    combo.response.accessible_name("Order of the links").on_hover_text(hover);
}

/// What an order means, in a sentence.
#[must_use]
pub fn about(order: &str) -> &'static str {
    match order {
        "paper" => "Shallow states of the tower to early layers, as published",
        "deep-first" => "Deep states of the tower to early layers",
        _ => "The deepest state to every layer",
    }
}

/// Depths for people.
#[must_use]
pub fn join(depths: &[usize]) -> String {
    depths.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

fn depth_ui(ui: &mut Ui, layer: usize, depth: usize, blocks: usize) -> usize {
    let mut chosen = depth;
    let combo = ComboBox::from_id_salt(("depth", layer)).selected_text(depth.to_string()).width(36.0);
    let shown = combo.show_ui(ui, |ui| {
        for d in 0..=blocks {
            let hover = if d == 0 { "The embedded patches".to_owned() } else { format!("After tower block {d}") };
            ui.selectable_value(&mut chosen, d, format!("depth {d}")).on_hover_text(hover);
        }
    });
    let name = format!("Depth for layer {}", layer + 1);
    shown.response.accessible_name(name).on_hover_text("Or drag the wire's left end in the diagram");
    chosen
}
