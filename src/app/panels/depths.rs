//! What each depth of the tower knows: a table of how often a small probe reads each attribute there, coloured by how far
//! that is above guessing.

use eframe::egui::{
    Align2, Button, FontId, Grid, Label, ProgressBar, Rect, RichText, Role, ScrollArea, Sense, Ui, Vec2, WidgetInfo,
    pos2, vec2,
};

use super::widgets::small;
use crate::app::actions::Action;
use crate::app::{AppState, theme};
use crate::engine::{DepthsPoint, Preset};

/// Size of a cell of the table.
const CELL: Vec2 = vec2(84.0, 24.0);
/// Height below which the table's part of the window does not shrink by itself.
const LEAST_HEIGHT: f32 = 260.0;

/// What people choose here.
#[derive(Default)]
pub struct Form {
    /// Which of the measurements is shown; none: the last.
    shown: Option<usize>,
    /// When the measurement in progress began.
    began: Option<f64>,
}

/// How far a share of right answers is above guessing, 0 to 1.
#[must_use]
pub fn above_guessing(share: f64, guessed: f64) -> f32 {
    ((share - guessed) / (1.0 - guessed).max(1e-9)).clamp(0.0, 1.0) as f32
}

/// When it was measured, in words.
#[must_use]
pub fn moment(point: &DepthsPoint) -> String {
    match point.stage {
        None => "before stage 1".to_owned(),
        Some(stage) => format!("stage {}, update {}", stage.number(), point.update),
    }
}

/// Draws the panel.
pub(super) fn depths_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    // Where the table has no room, its part of the window grows.
    let area = ScrollArea::both().id_salt("depths").auto_shrink([false, true]).min_scrolled_height(LEAST_HEIGHT);
    area.show(ui, |ui| {
        ui.strong("What each depth knows");
        ui.label(
            "How often a small probe, made like a link, reads an attribute of a thing at each depth of the tower, in \
             pictures that it has not seen. What no depth knows, no link can tell.",
        );
        measure_ui(ui, state, form, out);
        let all = &state.log.depths;
        let at = form.shown.filter(|at| *at < all.len()).unwrap_or(all.len().saturating_sub(1));
        let Some(point) = all.get(at) else { return };
        if all.len() > 1 {
            ui.horizontal_wrapped(|ui| {
                for (i, one) in all.iter().enumerate() {
                    if ui.selectable_label(i == at, moment(one)).clicked() {
                        form.shown = Some(i);
                    }
                }
            });
        } else {
            ui.label(moment(point));
        }
        // What training did to the tower shows against the first time.
        let before = all.first().filter(|first| at > 0 && first.found.attributes == point.found.attributes);
        table_ui(ui, state.preset.as_deref(), point, before);
    });
}

fn measure_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let now = ui.input(|i| i.time);
    let Some(share) = state.measuring else {
        form.began = None;
        let known = state.dataset().is_none_or(|d| !d.attributes().is_empty());
        ui.horizontal_wrapped(|ui| {
            let button = ui.add_enabled(state.preset.is_some() && known, Button::new("Measure the depths"));
            if button.on_hover_text("With the tower as it is now").clicked() {
                form.shown = None;
                out.push(Action::MeasureDepths(true));
            }
            ui.label(small(if known {
                "Seconds on a graphics card, a minute or two without one; training waits meanwhile. It can be stopped."
            } else {
                "The things of this world have no attributes to look for; open grounds."
            }));
        });
        return;
    };
    let began = *form.began.get_or_insert(now);
    ui.horizontal(|ui| {
        let left = (now - began) * (1.0 - share) / share.max(1e-9);
        let left = if share > 0.0 { format!(", about {left:.0} s left") } else { String::new() };
        let text = format!("{:.0} % measured{left}; training waits, and a question ends it", share * 100.0);
        let width = (ui.available_width() - 60.0).clamp(120.0, 480.0);
        ui.add(ProgressBar::new(share as f32).desired_width(width).text(&text)).accessible_name(text);
        if ui.button("Stop").clicked() {
            out.push(Action::MeasureDepths(false));
        }
    });
}

/// Rows from the deepest state down to the patches, as in the diagram.
fn table_ui(ui: &mut Ui, preset: Option<&Preset>, point: &DepthsPoint, before: Option<&DepthsPoint>) {
    let found = &point.found;
    Grid::new("depths").num_columns(1 + found.attributes.len()).spacing(vec2(3.0, 3.0)).show(ui, |ui| {
        ui.label("");
        for (name, _) in &found.attributes {
            ui.add_sized(vec2(CELL.x, 16.0), Label::new(RichText::new(name).strong()));
        }
        ui.end_row();
        for (depth, shares) in found.shares.iter().enumerate().rev() {
            ui.label(format!("depth {depth}{}", readers(preset, depth)));
            for (a, (share, (name, guessed))) in shares.iter().zip(&found.attributes).enumerate() {
                let old = before.and_then(|b| b.found.shares.get(depth)?.get(a)).map(|old| share - old);
                cell(ui, &format!("depth {depth}, {name}"), *share, *guessed, old);
            }
            ui.end_row();
        }
        ui.label("guessed");
        for (_, guessed) in &found.attributes {
            ui.add_sized(vec2(CELL.x, 16.0), Label::new(format!("{guessed:.2}")));
        }
        ui.end_row();
    });
    scale(ui);
    if before.is_some() {
        ui.label(small("Small numbers: the change since the first measurement. Changes of 0.05 may be chance."));
    }
}

/// Which layers read a depth.
fn readers(preset: Option<&Preset>, depth: usize) -> String {
    let Some(links) = preset.map(|p| &p.model.link_config) else { return String::new() };
    let pairs = links.vision_layers.iter().zip(&links.language_layers);
    let layers: Vec<String> = pairs.filter(|(d, _)| **d == depth).map(|(_, l)| (l + 1).to_string()).collect();
    match layers.len() {
        0 => ", no link".to_owned(),
        1 => format!(", layer {}", layers[0]),
        _ => format!(", layers {}", layers.join(" ")),
    }
}

fn cell(ui: &mut Ui, place: &str, share: f64, guessed: f64, change: Option<f64>) {
    let (rect, response) = ui.allocate_exact_size(CELL, Sense::hover());
    let words = change.map_or_else(String::new, |c| format!(", {c:+.2} since the first time"));
    let text = format!("{place} {share:.2}, guessed {guessed:.2}{words}");
    response.widget_info(|| WidgetInfo::labeled(Role::Cell, true, &text));
    let fill = theme::heat(above_guessing(share, guessed));
    let ink = theme::ink_on(fill);
    ui.painter().rect_filled(rect, 3.0, fill);
    let middle = rect.center() - vec2(if change.is_some() { 18.0 } else { 0.0 }, 0.0);
    ui.painter().text(middle, Align2::CENTER_CENTER, format!("{share:.2}"), FontId::proportional(14.0), ink);
    if let Some(change) = change {
        let right = pos2(rect.right() - 5.0, rect.center().y);
        ui.painter().text(right, Align2::RIGHT_CENTER, format!("{change:+.2}"), FontId::proportional(11.0), ink);
    }
    response.on_hover_text(text);
}

/// What the colours mean.
fn scale(ui: &mut Ui) {
    ui.horizontal(|ui| {
        ui.label(small("as good as guessing"));
        let (rect, _) = ui.allocate_exact_size(vec2(90.0, 10.0), Sense::hover());
        let steps = 30;
        for i in 0..steps {
            let width = rect.width() / steps as f32;
            let left = rect.left() + width * i as f32;
            let part = Rect::from_min_max(pos2(left, rect.top()), pos2(left + width + 0.5, rect.bottom()));
            ui.painter().rect_filled(part, 0.0, theme::heat(i as f32 / (steps - 1) as f32));
        }
        ui.label(small("always right"));
    });
}
