//! Questions about a picture: the answer as it is written, how sure the model is, and what it says of changed pictures.

use eframe::egui::{
    Color32, CornerRadius, FontId, Image, Key, Response, RichText, Role, Sense, TextEdit, Ui, Vec2, WidgetInfo, vec2,
};

use super::picture::Thumb;
use super::widgets::small;
use crate::app::actions::Action;
use crate::app::{AppState, Control, Picture, theme};
use crate::data::dataset::Dataset;
use crate::data::worlds::Split;
use crate::engine::{Answer, Command, ProbeKind, Word};

/// Example questions at most.
const EXAMPLES: usize = 6;

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    thumb: Thumb,
    examples: Option<(String, Vec<String>)>,
}

impl Form {
    /// Questions of the data set, one of each kind; made once per data set.
    fn examples(&mut self, data: &str) -> &[String] {
        if self.examples.as_ref().is_none_or(|(name, _)| name != data) {
            self.examples = Some((data.to_owned(), example_questions(data)));
        }
        self.examples.as_ref().map_or(&[], |(_, list)| list)
    }
}

/// Held-out questions of a data set by name, one of each kind.
#[must_use]
pub fn example_questions(data: &str) -> Vec<String> {
    let Some(set) = Dataset::by_name(data) else { return Vec::new() };
    let mut out = Vec::new();
    for index in 0..set.kinds().len() as u64 {
        for turn in set.sample_with(Some(Split::HeldOut), 0, index, 1, &[], false).turns {
            if !out.contains(&turn.question) {
                out.push(turn.question);
            }
        }
    }
    out
}

/// A question without what makes no difference to the model.
fn bare(question: &str) -> String {
    question.trim().trim_end_matches('?').trim().to_lowercase()
}

/// Words in one line.
#[must_use]
pub fn sentence(words: &[Word]) -> String {
    words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Was the answer right? None where nobody knows the right answer to this question.
#[must_use]
pub fn verdict(question: &str, words: &[Word], right: Option<&(String, String)>) -> Option<bool> {
    let (asked, answer) = right?;
    (bare(asked) == bare(question)).then(|| sentence(words) == *answer)
}

/// Draws the panel.
pub fn ask_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::Ask) {
        return;
    }
    ui.strong("Ask about the picture");
    let (Some(preset), Some(picture)) = (&state.preset, &state.picture) else {
        ui.label(match state.preset {
            None => "Once the model is loaded you can ask it about a picture, even before any training.",
            Some(_) => "Choose a picture at the left, draw one, or drop a file here; then ask about it.",
        });
        return;
    };
    ui.horizontal_top(|ui| {
        if let Some(texture) = form.thumb.texture(ui.ctx(), &picture.pixels, false) {
            let image = Image::new(&texture).fit_to_exact_size(Vec2::splat(104.0));
            ui.add(image.alt_text(format!("picture {}", picture.origin)));
        }
        ui.vertical(|ui| {
            ui.label(picture.origin.to_string());
            entry(ui, state, out);
        });
    });
    chips(ui, form, &preset.data, picture, out);
    if !state.asked.question.is_empty() {
        ui.separator();
        answer(ui, state);
        if state.shows(Control::Replay) {
            pin(ui, state, out);
        }
    }
}

/// The field and the button.
fn entry(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    let mut text = state.question.clone();
    let field = TextEdit::singleline(&mut text).hint_text("what is it ?").desired_width(f32::INFINITY);
    let field = ui.add(field).accessible_name("Question");
    let enter = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    let can = !bare(&text).is_empty() && !state.asked.busy;
    if field.changed() {
        out.push(Action::Question(text));
    }
    ui.horizontal(|ui| {
        let clicked = ui.add_enabled(can, eframe::egui::Button::new("Ask")).clicked();
        if can && (clicked || enter) {
            out.push(Action::Ask);
        }
        if state.asked.busy && ui.button("Cancel").clicked() {
            out.push(Command::Cancel.into());
        }
    });
    if enter {
        field.request_focus();
    }
}

/// Questions to click: the picture's own first.
fn chips(ui: &mut Ui, form: &mut Form, data: &str, picture: &Picture, out: &mut Vec<Action>) {
    let mut list: Vec<String> = picture.right.iter().map(|(q, _)| q.clone()).collect();
    for q in form.examples(data) {
        if !list.contains(q) {
            list.push(q.clone());
        }
    }
    list.truncate(EXAMPLES);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for q in list {
            if ui.small_button(&q).on_hover_text("Use this question").clicked() {
                out.push(Action::Question(q));
            }
        }
    });
}

fn answer(ui: &mut Ui, state: &AppState) {
    let asked = &state.asked;
    ui.label(RichText::new(&asked.question).italics());
    ui.horizontal_wrapped(|ui| {
        for word in &asked.words {
            word_chip(ui, word);
        }
        if asked.words.is_empty() {
            ui.label(match (asked.busy, &asked.answer) {
                (true, _) => "thinking",
                (false, Some(_)) => "The model ended its answer before the first word.",
                (false, None) => "No answer came.",
            });
        }
        let right = asked.picture.as_ref().and_then(|p| p.right.as_ref());
        if let Some(is_right) = asked.answer.as_ref().and_then(|a| verdict(&asked.question, &a.words, right)) {
            let (word, colour) = if is_right { ("right", theme::good(ui)) } else { ("wrong", theme::bad(ui)) };
            ui.label(RichText::new(word).color(colour).strong());
            if let (false, Some((_, answer))) = (is_right, right) {
                ui.label(format!("the right answer is {answer}"));
            }
        }
    });
    let Some(answer) = &asked.answer else { return };
    ui.label(format!("probability of the whole answer {:.2}", answer.probability));
    if !answer.unknown.is_empty() {
        ui.label(format!("the model does not know: {}", answer.unknown.join(", ")));
    }
}

/// Draws the same question with changed pictures, once it is answered. It stands below the heat map, which is looked at first.
pub fn probes_ui(ui: &mut Ui, state: &AppState) {
    if state.shows(Control::Ask)
        && state.shows(Control::Probes)
        && let Some(answer) = &state.asked.answer
    {
        probes(ui, answer);
    }
}

/// A word, its probability, and the same as a bar.
fn word_chip(ui: &mut Ui, word: &Word) -> Response {
    let text = format!("{} {:.2}", word.text, word.probability);
    let galley = ui.painter().layout_no_wrap(text.clone(), FontId::proportional(14.0), ui.visuals().text_color());
    let (rect, response) = ui.allocate_exact_size(galley.size() + vec2(12.0, 10.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &text));
    let painter = ui.painter();
    painter.rect_filled(
        rect,
        CornerRadius::same(4),
        ui.visuals().faint_bg_color.blend(Color32::from_gray(128).gamma_multiply(0.2)),
    );
    let mut bar = rect.shrink2(vec2(4.0, 2.0));
    bar.set_top(bar.bottom() - 4.0);
    painter.rect_filled(bar, 2.0, ui.visuals().extreme_bg_color);
    bar.set_width(bar.width() * word.probability.clamp(0.0, 1.0));
    painter.rect_filled(bar, 2.0, theme::heat(word.probability));
    painter.galley(rect.min + vec2(6.0, 1.0), galley, ui.visuals().text_color());
    response.on_hover_text("The word and the probability the model gave it")
}

/// The same question with changed pictures.
fn probes(ui: &mut Ui, answer: &Answer) {
    if answer.probes.is_empty() {
        return;
    }
    ui.add_space(4.0);
    ui.strong("Does it look at all?");
    // Rows that wrap: a caption is longer than the column is wide.
    for probe in &answer.probes {
        let text = sentence(&probe.words);
        ui.horizontal_wrapped(|ui| {
            ui.label(small(probe.kind.name())).on_hover_text(match probe.kind {
                ProbeKind::Blindfold => "The model sees uniform grey",
                ProbeKind::Shuffle => "The model sees the same patches in another order",
                ProbeKind::Swap => "The model sees the other picture",
            });
            // Only the monospaced font has an arrow.
            let change = format!("{:.2} → {:.2}", answer.probability, probe.original);
            ui.label(RichText::new(change).monospace())
                .on_hover_text("Probability of the original answer, with the picture as it was and as it is changed");
            ui.label(if text.is_empty() { "no word".to_owned() } else { text })
                .on_hover_text("What the model answers then");
        });
    }
    ui.label(small("Where the probability hardly falls, the answer did not come from the picture."));
}

/// The switch that keeps the question's attention while training goes on.
fn pin(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    let mut pinned = state.pinned.is_some();
    let hint = "Keep where the model looks for this question over the coming steps, to replay it";
    if ui.checkbox(&mut pinned, "Pin for replay").on_hover_text(hint).changed() {
        out.push(Action::Pin(pinned));
    }
    if let Some(other) = state.pinned.as_ref().filter(|p| p.question != state.asked.question) {
        ui.label(small(format!("pinned question {}", other.question)));
    }
}
