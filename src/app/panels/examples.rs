//! Held-out scenes of the preset's data, to browse and to ask about.

use std::collections::BTreeMap;
use std::sync::Arc;

use eframe::egui::{Button, Image, Ui, Vec2};

use super::picture::Thumb;
use super::widgets;
use crate::app::{AppState, Control};
use crate::app::{Origin, Picture};
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
    /// The one that a link asked for, until people choose another.
    wanted: Option<u64>,
    /// The question that came with an example, to tell it from one that people typed.
    filled: String,
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

fn dataset(state: &AppState) -> Option<Dataset> {
    Dataset::by_name(&state.preset.as_ref()?.data)
}

/// The example that is asked about, if one is.
pub(super) fn selected(state: &AppState) -> Option<u64> {
    state.picture.as_ref()?.index()
}

/// Selects the example that a link asks for, or the first where no picture is selected yet. What people typed, or what
/// came with the link, stays in the field.
pub(super) fn select_first(state: &mut AppState) {
    let Some(dataset) = dataset(state) else { return };
    let wanted = state.wanted_example.take();
    let form = &mut state.forms.data.examples;
    if wanted.is_some() {
        form.wanted = wanted;
        form.first = wanted.unwrap_or(0) / PAGE * PAGE;
    } else if state.picture.is_some() {
        return;
    }
    let index = form.wanted.unwrap_or(0);
    let known = |word: &str| state.words.iter().any(|w| w == word);
    let typed = state.forms.ask.question.clone();
    // Of another data set's words not even the typed ones are of use.
    let foreign = form.dataset.is_some_and(|d| d != dataset) && !typed.split_whitespace().all(known);
    // A link that names an example has cleared the field where it gives no question of its own.
    let keep = !typed.trim().is_empty() && (wanted.is_some() || typed != form.filled) && !foreign;
    select(state, dataset, index);
    if keep {
        state.forms.ask.question = typed;
    }
}

/// Makes an example the picture that is asked about; the next one is there to swap.
fn select(state: &mut AppState, dataset: Dataset, index: u64) {
    let picture = |index: u64| {
        let sample = dataset.sample(Split::HeldOut, 0, index, 1);
        let right = sample.turns.first().map(|t| (t.question.clone(), t.answer.clone()));
        Picture { origin: Origin::HeldOut(index), pixels: Arc::new(sample.pixels), right }
    };
    let chosen = picture(index);
    if let Some((question, _)) = &chosen.right {
        state.forms.ask.question.clone_from(question);
        state.forms.data.examples.filled.clone_from(question);
    }
    state.picture = Some(chosen);
    state.other = Some(picture(index.saturating_add(1)));
}

/// Draws the browser.
pub(super) fn examples_ui(ui: &mut Ui, state: &mut AppState) {
    let Some(dataset) = dataset(state).filter(|_| state.shows(Control::Examples)) else { return };
    let form = &mut state.forms.data.examples;
    if form.dataset != Some(dataset) {
        let first = form.wanted.unwrap_or(0) / PAGE * PAGE;
        *form = Form { first, dataset: Some(dataset), shown: BTreeMap::new(), ..std::mem::take(form) };
    }
    ui.add_space(6.0);
    ui.heading("Examples it has never seen");
    let mut clicked = None;
    let chosen = selected(state);
    let form = &mut state.forms.data.examples;
    let page = form.first..form.first + PAGE;
    form.shown.retain(|index, _| page.contains(index));
    // Three in a row, each with a label below.
    let width = ((ui.available_width() - 2.0 * ui.spacing().item_spacing.x) / 3.0).min(WIDEST);
    for row in [form.first, form.first + PAGE / 2] {
        ui.horizontal(|ui| {
            for index in row..row + PAGE / 2 {
                let shown = form.shown.entry(index).or_insert_with(|| load(dataset, index));
                if thumbnail(ui, shown, index, chosen == Some(index), width) {
                    clicked = Some(index);
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
    if let Some(index) = clicked {
        state.forms.data.examples.wanted = None;
        select(state, dataset, index);
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
