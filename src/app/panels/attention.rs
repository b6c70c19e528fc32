//! Where the text looks: the softmax rows of the linked layers over the picture's patches, now and over the steps.

use std::sync::Arc;

use eframe::egui::{Slider, Ui};

use super::format::percent;
use super::heatmap::{self, Shown};
use super::picture::Thumb;
use super::widgets::small;
use crate::app::actions::Action;
use crate::app::{AppState, Control, Picture, theme};
use crate::engine::AttentionMaps;

/// Seconds per map of the replay.
const PACE: f64 = 0.2;

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// Token whose row is shown; none: the one that wrote the answer's first word.
    pub token: Option<usize>,
    /// Which of the linked layers.
    pub layer: usize,
    /// Which head; none: mean of all.
    pub head: Option<usize>,
    /// Show the replay in place of the answer?
    pub replay: bool,
    /// Map of the replay.
    pub at: usize,
    /// Does the replay run?
    pub playing: bool,
    /// Patch under the pointer or the keyboard.
    pub patch: Option<usize>,
    turned: f64,
    seen: u64,
    thumb: Thumb,
    /// Maps of a snapshot with its step, and what tells that it is still the same; unpacking takes a while.
    unpacked: Option<(u64, [u64; 4], Arc<AttentionMaps>)>,
}

/// The share of a row that went to the picture, 0 to 1.
#[must_use]
pub fn mass(map: &[f32]) -> f32 {
    map.iter().sum::<f32>().clamp(0.0, 1.0)
}

/// Row, column (from 1) and value of the strongest patch.
#[must_use]
pub fn strongest(map: &[f32], side: usize) -> Option<(usize, usize, f32)> {
    let (at, value) = map.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (side > 0).then(|| (at / side + 1, at % side + 1, value))
}

/// How much of the attention went to the picture, in a sentence.
#[must_use]
pub fn mass_text(map: &[f32]) -> String {
    format!("{} of the attention went to the picture, the rest to the text", percent(mass(map)))
}

/// The strongest patch in words.
#[must_use]
pub fn strongest_text(map: &[f32], side: usize) -> String {
    strongest(map, side).map_or_else(
        || "no patches".to_owned(),
        |(row, column, value)| format!("strongest patch row {row}, column {column}, {}", percent(value)),
    )
}

/// A depth of the tower, and what that is.
#[must_use]
pub fn depth_name(depth: usize) -> String {
    match depth {
        0 => "depth 0, the embedded patches".to_owned(),
        d => format!("depth {d}, after tower block {d}"),
    }
}

/// A map as a JSON file.
#[must_use]
pub fn map_json(maps: &AttentionMaps, choice: &Shown<'_>) -> String {
    serde_json::json!({
        "tokens": maps.tokens,
        "token": choice.token,
        "decoder_layer": maps.layers.get(choice.layer),
        "depth": maps.depths.get(choice.layer),
        "head": choice.head,
        "step": choice.step,
        "side": maps.side,
        "patches": choice.map,
        "share_on_picture": mass(choice.map),
    })
    .to_string()
}

/// Draws the panel.
pub fn attention_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::Attention) {
        return;
    }
    ui.separator();
    ui.strong("Where it looks");
    if form.seen != state.asked.id {
        // Another question has other tokens.
        (form.seen, form.token, form.patch) = (state.asked.id, None, None);
        form.replay = false;
    }
    let count = if state.shows(Control::Replay) { state.log.snapshots.len() } else { 0 };
    let answer = state.asked.answer.as_ref().and_then(|a| a.maps.clone());
    if count > 0 && answer.is_some() {
        ui.horizontal(|ui| {
            ui.selectable_value(&mut form.replay, false, "last answer");
            ui.selectable_value(&mut form.replay, true, "replay of the pinned question");
        });
    }
    let replay = count > 0 && (form.replay || answer.is_none());
    let maps = if replay {
        replay_bar(ui, state, form, count);
        form.unpacked.as_ref().map(|(step, _, maps)| (Some(*step), maps.clone()))
    } else {
        form.playing = false;
        answer.map(|maps| (None, maps))
    };
    let pinned = state.pinned.as_ref().map(|p| &p.picture);
    let of = if replay { pinned } else { state.asked.picture.as_ref() };
    let picture = of.or(state.picture.as_ref());
    match maps {
        Some((step, maps)) if !maps.tokens.is_empty() && !maps.layers.is_empty() => {
            let (token, map) = body(ui, form, &maps, picture);
            if state.shows(Control::Export) {
                let choice = Shown { map: &map, token, layer: form.layer, head: form.head, step };
                export(ui, &maps, &choice, picture, out);
            }
        }
        _ => {
            ui.label("Ask a question: then every word shows which patches it looked at.");
        }
    }
}

/// The slider over the kept maps.
fn replay_bar(ui: &mut Ui, state: &AppState, form: &mut Form, count: usize) {
    form.at = form.at.min(count - 1);
    let now = ui.input(|i| i.time);
    ui.horizontal(|ui| {
        if ui.button(if form.playing { "Stop" } else { "Play" }).clicked() {
            form.playing = !form.playing;
            if form.playing && form.at + 1 == count {
                form.at = 0;
            }
            form.turned = now;
        }
        let slider = Slider::new(&mut form.at, 0..=count - 1).show_value(false).integer();
        if ui.add(slider).accessible_name("Replay").changed() {
            form.playing = false;
        }
    });
    if form.playing {
        if now - form.turned >= PACE {
            form.at = (form.at + 1).min(count - 1);
            form.turned = now;
            form.playing = form.at + 1 < count;
        }
        ui.ctx().request_repaint_after_secs(PACE as f32);
    }
    // The same place holds another map once older ones are dropped or training goes on.
    let place = [form.at as u64, count as u64, state.log.steps(), state.log.snapshots.bytes() as u64];
    if form.unpacked.as_ref().is_none_or(|(_, old, _)| *old != place) {
        form.unpacked = state.log.snapshots.get(form.at).map(|(step, maps)| (step, place, Arc::new(maps)));
    }
    let step = form.unpacked.as_ref().map_or(0, |(step, _, _)| *step);
    ui.label(format!("step {step}, map {} of {count}", form.at + 1));
}

/// Everything of a token's map; the token, and the map.
fn body(ui: &mut Ui, form: &mut Form, maps: &AttentionMaps, picture: Option<&Picture>) -> (usize, Vec<f32>) {
    tokens(ui, form, maps);
    let token = form.token.filter(|t| *t < maps.tokens.len()).unwrap_or(maps.first_answer);
    form.layer = form.layer.min(maps.layers.len() - 1);
    form.head = form.head.filter(|h| *h < maps.heads);
    ui.horizontal_wrapped(|ui| {
        for (i, layer) in maps.layers.iter().enumerate() {
            ui.selectable_value(&mut form.layer, i, format!("layer {}", layer + 1))
                .on_hover_text("Linked decoder layer");
        }
    });
    if let (Some(layer), Some(depth)) = (maps.layers.get(form.layer), maps.depths.get(form.layer)) {
        ui.label(format!("layer {} reads {}", layer + 1, depth_name(*depth)));
    }
    ui.horizontal_wrapped(|ui| {
        ui.selectable_value(&mut form.head, None, "mean of heads");
        for h in 0..maps.heads {
            ui.selectable_value(&mut form.head, Some(h), format!("head {}", h + 1));
        }
    });
    let map = maps.map(form.layer, form.head, token);
    let texture = picture.and_then(|p| form.thumb.texture(ui.ctx(), &p.pixels, true));
    ui.label(mass_text(&map));
    heatmap::draw(ui, &map, maps.side, texture.as_ref(), &mut form.patch);
    ui.label(strongest_text(&map, maps.side));
    let patch = form.patch.and_then(|p| Some((p, map.get(p)?)));
    ui.label(patch.map_or_else(
        || "Point at a patch, or use Tab and the arrow keys, to read its value.".to_owned(),
        |(p, v)| heatmap::patch_name(p, *v, maps.side),
    ));
    (token, map)
}

fn export(ui: &mut Ui, maps: &AttentionMaps, choice: &Shown<'_>, picture: Option<&Picture>, out: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        if ui.button("Map as PNG…").clicked()
            && let Some(png) = heatmap::map_png(choice.map, maps.side, picture.map(|p| p.pixels.as_slice()))
        {
            out.push(Action::Save("attention.png".into(), png));
        }
        if ui.button("Map as JSON…").clicked() {
            out.push(Action::Save("attention.json".into(), map_json(maps, choice).into_bytes()));
        }
    });
}

/// Tokens to choose from, the question's and the answer's.
fn tokens(ui: &mut Ui, form: &mut Form, maps: &AttentionMaps) {
    let chosen = form.token.filter(|t| *t < maps.tokens.len()).unwrap_or(maps.first_answer);
    let count = maps.tokens.len();
    for (name, range) in [("question", 0..maps.first_answer + 1), ("answer", maps.first_answer + 1..count)] {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0;
            ui.label(small(name));
            for (i, word) in maps.tokens.iter().enumerate().take(range.end).skip(range.start) {
                let label = format!("token {} {word}", i + 1);
                let chip = ui.selectable_label(i == chosen, word).accessible_name(label);
                if name == "answer" {
                    let line =
                        eframe::egui::Stroke::new(2.0, theme::lane(crate::engine::Lane::Hive, ui.visuals().dark_mode));
                    ui.painter().hline(chip.rect.x_range(), chip.rect.bottom(), line);
                }
                if chip.clicked() {
                    form.token = Some(i);
                }
            }
        });
    }
    let next = maps.tokens.get(chosen + 1).map_or("the end of the answer", String::as_str);
    let word = maps.tokens.get(chosen).map_or("", String::as_str);
    ui.label(small(format!(
        "A token's row shows where the model looked to write the next word. Here {word} looks, to write {next}."
    )));
}
