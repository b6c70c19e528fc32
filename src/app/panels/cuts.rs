//! Which depth answers what: the question of the last answer, asked again with each link cut in turn.

use eframe::egui::{RichText, Ui};

use super::ask::sentence;
use super::widgets::small;
use crate::app::actions::Action;
use crate::app::state::Asked;
use crate::app::{AppState, Control, theme};
use crate::engine::{Cut, Word};

/// Draws the panel, once the question is answered.
pub fn cuts_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    let asked = &state.asked;
    if !state.shows(Control::Ask) || !state.shows(Control::Cuts) || asked.answer.is_none() {
        return;
    }
    ui.add_space(4.0);
    ui.strong("Which depth answers what");
    ui.horizontal_wrapped(|ui| match asked.cutting {
        Some(of) => {
            ui.label(if of == 0 { "asking".to_owned() } else { format!("asking, {} of {of}", asked.cuts.len()) });
            if ui.button("Stop").clicked() {
                out.push(Action::CutLinks(false));
            }
        }
        None => {
            let hover =
                "Asks again with one link cut at a time: that layer sees no picture, and the rest stays as it is";
            if ui.button("Cut each link").on_hover_text(hover).clicked() {
                out.push(Action::CutLinks(true));
            }
        }
    });
    rows(ui, asked);
}

fn rows(ui: &mut Ui, asked: &Asked) {
    let Some((whole, others)) = asked.cuts.split_first() else { return };
    if sentence(&whole.words) != sentence(&asked.words) {
        ui.label(format!("The model has trained since: now it answers {}.", said(&whole.words)));
    }
    ui.label(small("What is cut, how likely the answer is then, and what the model says:"));
    for cut in &asked.cuts {
        // Rows that wrap: a caption is longer than the column is wide.
        ui.horizontal_wrapped(|ui| row(ui, whole, cut));
    }
    let single = others.iter().filter(|cut| cut.links.len() == 1);
    if let Some(most) = single.min_by(|a, b| a.original.total_cmp(&b.original)).filter(|_| asked.cutting.is_none()) {
        ui.label(small(verdict(whole, most)));
    }
}

/// Which link the answer hangs on most, in a sentence or two.
#[must_use]
pub fn verdict(whole: &Cut, most: &Cut) -> String {
    let (before, after) = (whole.original, most.original);
    let (layer, depth) = most.links.first().copied().unwrap_or_default();
    if after > before * 0.8 {
        return "No single link is needed for this answer: the others make up for it, or the text alone suggests it."
            .into();
    }
    format!(
        "The answer leans most on layer {}: without depth {depth} its probability falls from {before:.2} to {after:.2}.",
        layer + 1
    )
}

fn said(words: &[Word]) -> String {
    if words.is_empty() { "no word".to_owned() } else { sentence(words) }
}

/// What is cut, in words.
fn name(cut: &Cut) -> String {
    match cut.links.as_slice() {
        [] => "nothing cut".to_owned(),
        [(layer, depth)] => format!("layer {}, depth {depth}", layer + 1),
        _ => "every link".to_owned(),
    }
}

fn row(ui: &mut Ui, whole: &Cut, cut: &Cut) {
    ui.label(small(name(cut)));
    // Only the monospaced font has an arrow.
    let change = if cut.links.is_empty() {
        format!("{:.2}", cut.original)
    } else {
        format!("{:.2} → {:.2}", whole.original, cut.original)
    };
    ui.label(RichText::new(change).monospace())
        .on_hover_text("Probability of the answer with all links, before and after");
    answer_ui(ui, whole, cut);
    if cut.links.is_empty() {
        return;
    }
    let old: Vec<&str> = changed(&whole.words, &cut.words).map(|word| word.text.as_str()).collect();
    let same = sentence(&whole.words) == sentence(&cut.words);
    ui.label(small(match (same, old.is_empty()) {
        (true, _) => "the same".to_owned(),
        (false, true) => "longer".to_owned(),
        (false, false) => format!("instead of {}", old.join(" ")),
    }));
}

/// Words of the first answer that the second does not have at their place.
fn changed<'a>(first: &'a [Word], second: &'a [Word]) -> impl Iterator<Item = &'a Word> {
    first.iter().enumerate().filter(|(i, word)| second.get(*i).is_none_or(|w| w.text != word.text)).map(|(_, w)| w)
}

/// The answer, its new words underlined.
fn answer_ui(ui: &mut Ui, whole: &Cut, cut: &Cut) {
    if cut.words.is_empty() {
        ui.label("no word");
    }
    for (i, word) in cut.words.iter().enumerate() {
        let is_old = whole.words.get(i).is_some_and(|w| w.text == word.text);
        let text = RichText::new(&word.text);
        let text = if is_old { text } else { text.color(theme::bad(ui)).underline() };
        ui.label(text).on_hover_text("What the model answers then; other words are underlined");
    }
}
