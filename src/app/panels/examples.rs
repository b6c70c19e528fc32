//! Held-out scenes of the preset's data, to browse and to ask about.

use std::collections::BTreeMap;
use std::sync::Arc;

use eframe::egui::{Button, Image, Ui, Vec2};

use super::picture::Thumb;
use super::widgets;
use crate::app::actions::Action;
use crate::app::{AppState, Control, Picture};
use crate::data::{Dataset, Split};

/// Thumbnails at a time, in rows of three.
const PAGE: u64 = 6;

/// Of a thumbnail, in points: a scene has 48 pixels a side and gets no clearer.
const WIDEST: f32 = 120.0;

/// What people choose here.
#[derive(Default)]
pub struct Form {
    /// First example shown.
    first: u64,
    /// Links that asked for an example so far.
    links: usize,
    /// Of which data the examples below are.
    dataset: Option<Dataset>,
    /// Those shown now, by index.
    shown: BTreeMap<u64, Shown>,
}

struct Shown {
    pixels: Arc<Vec<f32>>,
    thumb: Thumb,
    caption: String,
    question: String,
    answer: String,
}

pub(super) fn examples_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let Some(dataset) = state.dataset().filter(|_| state.shows(Control::Examples)) else { return };
    let place = (Some(dataset), state.examples.links);
    if place != (form.dataset, form.links) {
        if form.dataset != place.0 {
            form.shown.clear();
        }
        (form.dataset, form.links) = place;
        form.first = state.examples.wanted.unwrap_or(0) / PAGE * PAGE;
    }
    ui.add_space(6.0);
    ui.heading("Examples it has never seen");
    let chosen = state.picture.as_ref().and_then(Picture::index);
    let page = form.first..form.first + PAGE;
    form.shown.retain(|index, _| page.contains(index));
    // Three in a row, each with a label below.
    let width = ((ui.available_width() - 2.0 * ui.spacing().item_spacing.x) / 3.0).min(WIDEST);
    for row in [form.first, form.first + PAGE / 2] {
        ui.horizontal(|ui| {
            for index in row..row + PAGE / 2 {
                let shown = form.shown.entry(index).or_insert_with(|| load(dataset, index));
                if thumbnail(ui, shown, index, chosen == Some(index), width) {
                    out.push(Action::Example(index));
                }
            }
        });
    }
    ui.horizontal(|ui| {
        let back = ui.add_enabled(form.first > 0, Button::new("Previous")).on_hover_text("Previous six examples");
        if back.clicked() {
            form.first = form.first.saturating_sub(PAGE);
        }
        if ui.button("Next").on_hover_text("Next six examples").clicked() {
            form.first += PAGE;
        }
        ui.label(format!("{} to {}", page.start, page.end - 1));
    });
    if let Some(shown) = chosen.and_then(|index| form.shown.get(&index)) {
        ui.label(widgets::sentence(&shown.caption));
        ui.label(format!("{} Right answer “{}”", shown.question, shown.answer));
    }
}

fn load(dataset: Dataset, index: u64) -> Shown {
    let sample = dataset.sample(Split::HeldOut, 0, index, 1);
    let (question, answer) =
        sample.turns.first().map_or_else(Default::default, |t| (t.question.clone(), t.answer.clone()));
    Shown { pixels: Arc::new(sample.pixels), thumb: Thumb::default(), caption: sample.description, question, answer }
}

/// A thumbnail that is a button. Was it clicked?
fn thumbnail(ui: &mut Ui, shown: &mut Shown, index: u64, chosen: bool, width: f32) -> bool {
    let Some(texture) = shown.thumb.texture(ui.ctx(), &shown.pixels, false) else { return false };
    ui.vertical(|ui| {
        let side = width - 2.0 * ui.spacing().button_padding.x;
        let image = Image::new(&texture).fit_to_exact_size(Vec2::splat(side));
        let button = Button::image(image).selected(chosen);
        let response =
            ui.add(button).accessible_name(format!("Example {index}")).on_hover_text(widgets::sentence(&shown.caption));
        widgets::describe(&response, shown.caption.clone());
        ui.label(widgets::small(if chosen { format!("✔ {index} selected") } else { index.to_string() }));
        response.clicked()
    })
    .inner
}
