//! Chat with a model from files: the conversation, the picture it is about, and the field for the next message.

use eframe::egui::{
    Align, Button, CollapsingHeader, Frame, Image, Key, KeyboardShortcut, Label, Layout, Margin, Modifiers, Panel,
    RichText, ScrollArea, TextEdit, Ui, Vec2,
};

use super::picture::Thumb;
use super::widgets::small;
use super::{data, load, sampling};
use crate::app::chat::{Doing, Loaded, Turn, summary};
use crate::app::{AppState, Control, Origin, Picture};
use crate::data::image::Rgb;
use crate::data::worlds::to_rgb8;
use crate::engine::{ChatCommand, Command};

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// Is this side of the column shown, rather than the model in training?
    pub shown: bool,
    /// The message as typed.
    pub message: String,
    /// What is opened and how it is loaded.
    pub load: load::Form,
    /// How words are chosen.
    pub sampling: sampling::Form,
    thumb: Thumb,
}

/// Is the model from files what the column shows?
#[must_use]
pub fn is_shown(state: &AppState) -> bool {
    state.shows(Control::Chat) && state.forms.chat.shown
}

/// Draws the switch between the two models that can be asked.
pub fn switch_ui(ui: &mut Ui, state: &mut AppState) {
    if !state.shows(Control::Chat) {
        return;
    }
    ui.add_space(2.0);
    ui.horizontal_wrapped(|ui| {
        let shown = &mut state.forms.chat.shown;
        ui.selectable_value(shown, false, "Model in training").on_hover_text("Ask the small model of this page");
        let hover = "Talk with a published model of any size, from files on this machine";
        ui.selectable_value(shown, true, "Model from files").on_hover_text(hover);
    });
    ui.separator();
}

/// Draws the panel.
pub fn chat_ui(ui: &mut Ui, state: &mut AppState, out: &mut Vec<Command>) {
    let Some(loaded) = state.chat.loaded else {
        ScrollArea::vertical().id_salt("load").auto_shrink(false).show(ui, |ui| {
            ui.set_max_width(ui.available_width());
            load::load_ui(ui, state, out);
        });
        return;
    };
    head_ui(ui, state, loaded, out);
    Panel::bottom("message").resizable(false).show_separator_line(true).show(ui, |ui| {
        ui.add_space(4.0);
        picture_ui(ui, state);
        message_ui(ui, state, out);
        if state.shows(Control::Sampling) {
            CollapsingHeader::new("How it chooses its words").show(ui, |ui| {
                sampling::sampling_ui(ui, &mut state.forms.chat.sampling);
            });
        }
        ui.add_space(2.0);
    });
    ScrollArea::vertical().id_salt("conversation").auto_shrink(false).stick_to_bottom(true).show(ui, |ui| {
        ui.set_max_width(ui.available_width());
        conversation_ui(ui, state, loaded);
    });
}

/// What is loaded, and what can be done with it.
fn head_ui(ui: &mut Ui, state: &mut AppState, loaded: Loaded, out: &mut Vec<Command>) {
    let Some(model) = &state.chat.model else { return };
    ui.strong(&model.name);
    let room = format!("{}, room for {} tokens, loaded in {:.1} s", loaded.format.name(), loaded.room, loaded.secs);
    ui.label(small(room));
    ui.horizontal_wrapped(|ui| {
        let any = !state.chat.turns.is_empty();
        if ui.add_enabled(any, Button::new("New conversation")).on_hover_text("Forgets what was said").clicked() {
            if state.chat.doing == Doing::Answering {
                out.push(Command::Chat(ChatCommand::Stop));
            }
            state.chat.begin_again();
        }
        let hover = "Frees its GPU memory; it can be loaded again, also in another format";
        if ui.button("Unload").on_hover_text(hover).clicked() {
            out.push(Command::Chat(ChatCommand::Unload));
        }
    });
    ui.add_space(4.0);
}

fn conversation_ui(ui: &mut Ui, state: &AppState, loaded: Loaded) {
    let chat = &state.chat;
    let name = chat.model.as_ref().map_or("the model", |m| m.name.as_str());
    if chat.turns.is_empty() {
        ui.label(match (chat.sees(), &chat.picture) {
            (true, None) => "This model talks about a picture. Choose one below, or drop it here; then ask about it.",
            (true, Some(_)) => "Ask about the picture.",
            (false, _) => "Ask something. It knows what it read in training and what is said here, nothing else.",
        });
    }
    let limit = state.forms.chat.sampling.limit;
    for (i, turn) in chat.turns.iter().enumerate() {
        let last = i + 1 == chat.turns.len();
        turn_ui(ui, turn, name, last && chat.doing == Doing::Answering);
        if let Some(said) = &turn.said {
            ui.label(small(summary(said, limit, loaded.room))).on_hover_text(format!(
                "{} tokens were read before; together {} of the room of {}",
                said.prompt,
                said.prompt + said.tokens,
                loaded.room
            ));
        }
        ui.add_space(8.0);
    }
}

fn turn_ui(ui: &mut Ui, turn: &Turn, name: &str, busy: bool) {
    let fill = ui.visuals().widgets.inactive.weak_bg_fill;
    Frame::new().fill(fill).corner_radius(6.0).inner_margin(Margin::symmetric(8, 5)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(small("You"));
        ui.add(Label::new(&turn.question).wrap().selectable(true));
    });
    ui.add_space(4.0);
    ui.label(small(name));
    match (turn.answer.as_str(), busy) {
        ("", true) => ui.label("reading the conversation"),
        ("", false) => ui.label("It ended its answer before the first word."),
        (text, _) => ui.add(Label::new(text).wrap().selectable(true)),
    };
}

/// The picture of a model that sees.
fn picture_ui(ui: &mut Ui, state: &mut AppState) {
    if !state.chat.sees() {
        return;
    }
    let picture = state.chat.picture.clone();
    ui.horizontal_wrapped(|ui| {
        if let Some(picture) = &picture
            && let Some(texture) = state.forms.chat.thumb.texture(ui.ctx(), &picture.pixels, false)
        {
            let image = Image::new(&texture).fit_to_exact_size(Vec2::splat(64.0));
            ui.add(image.alt_text(format!("picture {}", picture.origin)));
        }
        ui.vertical(|ui| {
            ui.label(picture.as_ref().map_or_else(|| "no picture yet".to_owned(), |p| p.origin.to_string()));
            if state.shows(Control::OwnPicture) {
                let hover =
                    "A PNG, JPEG or WebP file. It stays on this machine. A conversation about another picture ends.";
                if ui.button("Choose a picture…").on_hover_text(hover).clicked() {
                    state.forms.data.wants_picture = true;
                }
            }
            if let Some(other) = state.picture.clone() {
                let hover = format!("{}, as the column at the left shows it", other.origin);
                if ui.small_button("Use the selected picture").on_hover_text(hover).clicked() {
                    use_selected(state, &other);
                }
            }
        });
    });
}

/// The small picture of the data column, brought to this model's size.
fn use_selected(state: &mut AppState, picture: &Picture) {
    let Picture { origin, pixels, .. } = picture;
    let side = (pixels.len() / 3).isqrt();
    let Some(preprocess) = state.chat.model.as_ref().and_then(|m| m.sees.clone()) else { return };
    if side > 0 && pixels.len() == 3 * side * side {
        let picture = Rgb { width: side, height: side, data: to_rgb8(pixels) };
        state.chat.show(origin.clone(), preprocess.pixels(&picture));
    }
}

/// Takes a picture file that came in.
pub fn take_picture(state: &mut AppState, name: &str, bytes: &[u8]) {
    let Some(preprocess) = state.chat.model.as_ref().and_then(|m| m.sees.clone()) else { return };
    match preprocess.decode(bytes, name) {
        Ok(pixels) => {
            state.announcement = format!("{name} is the picture now. Ask about it.");
            state.chat.show(Origin::File(name.to_owned()), pixels);
        }
        Err(error) => state.show_fault(data::fault(&error)),
    }
}

/// The field, and Send or Stop.
fn message_ui(ui: &mut Ui, state: &mut AppState, out: &mut Vec<Command>) {
    let form = &mut state.forms.chat;
    let newline = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
    let field = TextEdit::multiline(&mut form.message)
        .hint_text("What is the capital of France?")
        .desired_rows(2)
        .desired_width(f32::INFINITY)
        .return_key(newline);
    let field = ui.add(field).accessible_name("Message");
    let enter = field.has_focus() && ui.input(|i| i.key_pressed(Key::Enter) && i.modifiers.is_none());
    let busy = state.chat.doing == Doing::Answering;
    let blind = state.chat.sees() && state.chat.picture.is_none();
    let can = !busy && !blind && !form.message.trim().is_empty();
    ui.horizontal(|ui| {
        let hover = "Enter sends too; Shift and Enter begin a new line";
        let why = if blind { "It needs a picture first." } else { "There is nothing to send yet." };
        let send = ui.add_enabled(can, Button::new("Send")).on_hover_text(hover).on_disabled_hover_text(why);
        if can && (send.clicked() || enter) {
            say(state, out);
        }
        if busy && ui.button("Stop").on_hover_text("Ends the answer").clicked() {
            out.push(Command::Chat(ChatCommand::Stop));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(said) = state.chat.turns.iter().rev().find_map(|t| t.said.as_ref()).filter(|s| s.tokens > 1) {
                ui.label(RichText::new(format!("{:.1} tokens a second", said.rate)).weak());
            }
        });
    });
    if enter {
        field.request_focus();
    }
}

fn say(state: &mut AppState, out: &mut Vec<Command>) {
    let form = &mut state.forms.chat;
    let message = std::mem::take(&mut form.message);
    let (system, options) = (form.sampling.system.clone(), form.sampling.options());
    let question = state.chat.ask(message.trim(), &system, options);
    out.push(Command::Chat(ChatCommand::Ask(Box::new(question))));
}
