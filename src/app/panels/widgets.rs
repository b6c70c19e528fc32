//! What several panels draw alike.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{Color32, Context, Event, FontId, Key, Response, RichText, TextStyle, Ui};

use crate::engine::Stage;

/// Points of small print: egui's own is too small to read with ease.
const SMALL: f32 = 11.0;

pub(super) fn small(text: impl Into<String>) -> RichText {
    RichText::new(text).size(SMALL)
}

/// Lines of text under each other, the later ones in small print, coloured by the widget that shows them.
pub(super) fn lines(ui: &Ui, large: &[&str], little: &[&str]) -> LayoutJob {
    let font = TextStyle::Button.resolve(ui.style());
    let small = FontId::new(SMALL, font.family.clone());
    let all = large.iter().map(|t| (t, &font)).chain(little.iter().map(|t| (t, &small)));
    let mut job = LayoutJob::default();
    for (i, (text, font)) in all.enumerate() {
        let text = if i == 0 { (*text).to_owned() } else { format!("\n{text}") };
        job.append(&text, 0.0, TextFormat::simple(font.clone(), Color32::PLACEHOLDER));
    }
    job
}

/// A sentence with a coloured sign before it: the sentence keeps the colour that is easy to read.
pub(super) fn marked(ui: &mut Ui, sign: &str, colour: Color32, text: &str) -> Response {
    let font = TextStyle::Body.resolve(ui.style());
    let mut job = LayoutJob::default();
    job.append(&format!("{sign} "), 0.0, TextFormat::simple(font.clone(), colour));
    job.append(text, 0.0, TextFormat::simple(font, ui.visuals().text_color()));
    ui.label(job)
}

/// A remark that something is not as it should be.
pub(super) fn warning(ui: &mut Ui, text: &str) -> Response {
    let colour = ui.visuals().warn_fg_color;
    marked(ui, "⚠", colour, text)
}

/// Was the key pressed alone, not held down? Takes the press, so that nobody else sees it.
pub(super) fn pressed(ctx: &Context, wanted: Key) -> bool {
    ctx.input_mut(|input| {
        let before = input.events.len();
        input.events.retain(|event| {
            !matches!(event, Event::Key { key, pressed: true, repeat: false, modifiers, .. }
                if *key == wanted && modifiers.is_none())
        });
        input.events.len() < before
    })
}

/// Lays out once more where a panel that is as high as its contents has another height now: it still stands where the frame
/// before had it, possibly out of the window.
pub fn settle(panel: &Response) {
    let height = panel.rect.height();
    let before = panel.ctx.data_mut(|data| {
        let before = data.get_temp::<f32>(panel.id);
        data.insert_temp(panel.id, height);
        before
    });
    if before != Some(height) {
        panel.ctx.request_discard("a panel has another height");
    }
}

/// Tells screen readers more about a widget than its name.
pub(super) fn describe(response: &Response, text: String) {
    response.ctx.accesskit_node_builder(response.id, |node| node.set_description(text));
}

/// What a stage trains, and what it leaves as it is, in words.
pub(super) fn trains(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Connector => ("links", "language model and tower"),
        Stage::Adaptation => ("links and language model", "tower"),
        Stage::Vision => ("links, language model and tower", ""),
    }
}

/// A sentence begins with a capital.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
