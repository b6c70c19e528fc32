//! Chat with a model from files: the conversation, the picture it is about, and the field for the next message.

use eframe::egui::{
    Align, Button, CollapsingHeader, Frame, Key, KeyboardShortcut, Label, Layout, Margin, Modifiers, Panel, RichText,
    ScrollArea, TextEdit, Ui,
};

use super::widgets::{settle, small};
use super::{load, looked, photos, sampling};
use crate::app::actions::Action;
use crate::app::chat::{Doing, Loaded, Photo, Turn, summary};
use crate::app::{AppState, Control};
use crate::engine::{ChatCommand, Command, Wiring};

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// The message as typed.
    pub message: String,
    /// What is opened and how it is loaded.
    pub load: load::Form,
    /// How words are chosen.
    pub sampling: sampling::Form,
    photos: photos::Form,
    looked: looked::Form,
}

impl Form {
    /// Puts a question back into the field that was not answered, unless something is typed there.
    pub fn give_back(&mut self, question: String) {
        if self.message.is_empty() {
            self.message = question;
        }
    }
}

/// Is the model from files what the column shows?
#[must_use]
pub fn is_shown(state: &AppState) -> bool {
    state.shows(Control::Chat) && state.chat.shown
}

/// Draws the switch between the two models that can be asked.
pub fn switch_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    if !state.shows(Control::Chat) {
        return;
    }
    ui.add_space(2.0);
    ui.horizontal_wrapped(|ui| {
        let mut shown = state.chat.shown;
        ui.selectable_value(&mut shown, false, "Model in training").on_hover_text("Ask the small model of this page");
        let hover = "Talk with a published model of any size, from files on this machine";
        ui.selectable_value(&mut shown, true, "Model from files").on_hover_text(hover);
        if shown != state.chat.shown {
            out.push(Action::ShowChat(shown));
        }
    });
    ui.separator();
}

/// Draws the panel.
pub fn chat_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let Some(loaded) = state.chat.loaded else {
        ScrollArea::vertical().id_salt("load").auto_shrink(false).show(ui, |ui| {
            ui.set_max_width(ui.available_width());
            load::load_ui(ui, state, &mut form.load, out);
        });
        return;
    };
    head_ui(ui, state, loaded, out);
    let message = Panel::bottom("message").resizable(false).show_separator_line(true).show(ui, |ui| {
        ui.add_space(4.0);
        photos::photos_ui(ui, state, &mut form.photos, out);
        message_ui(ui, state, form, out);
        if state.shows(Control::Sampling) {
            CollapsingHeader::new("How it chooses its words").show(ui, |ui| {
                sampling::sampling_ui(ui, &mut form.sampling);
            });
        }
        ui.add_space(2.0);
    });
    settle(&message.response);
    ScrollArea::vertical().id_salt("conversation").auto_shrink(false).stick_to_bottom(true).show(ui, |ui| {
        ui.set_max_width(ui.available_width());
        conversation_ui(ui, state, loaded, &mut form.photos, form.sampling.limit);
        looked::looked_ui(ui, &state.chat, &mut form.looked, &mut form.photos, out);
    });
}

/// What is loaded, and what can be done with it.
fn head_ui(ui: &mut Ui, state: &AppState, loaded: Loaded, out: &mut Vec<Action>) {
    let Some(model) = &state.chat.model else { return };
    ui.strong(&model.name);
    let room = format!("{}, room for {} tokens, loaded in {:.1} s", loaded.format.name(), loaded.room, loaded.secs);
    ui.label(small(room));
    ui.horizontal_wrapped(|ui| {
        let any = !state.chat.turns.is_empty();
        if ui.add_enabled(any, Button::new("New conversation")).on_hover_text("Forgets what was said").clicked() {
            out.push(Action::NewConversation);
        }
        let hover = "Frees its GPU memory; it can be loaded again, also in another format";
        if ui.button("Unload").on_hover_text(hover).clicked() {
            out.push(Command::Chat(ChatCommand::Unload).into());
        }
    });
    ui.add_space(4.0);
}

fn conversation_ui(ui: &mut Ui, state: &AppState, loaded: Loaded, photos: &mut photos::Form, limit: usize) {
    let mut shown = 0;
    let chat = &state.chat;
    let name = chat.model.as_ref().map_or("the model", |m| m.name.as_str());
    if chat.turns.is_empty() {
        ui.label(match (chat.sees(), chat.photos.last()) {
            (true, None) => "This model talks about a picture. Choose one below, or drop it here; then ask about it.",
            (true, Some(_)) if chat.takes_several() => {
                "Ask about the picture. Further ones can be added, now and in later questions."
            }
            (true, Some(_)) => "Ask about the picture.",
            (false, _) => "Ask something. It knows what it read in training and what is said here, nothing else.",
        });
    }
    for (i, turn) in chat.turns.iter().enumerate() {
        let last = i + 1 == chat.turns.len();
        let own = &chat.photos[shown.min(chat.photos.len())..(shown + turn.pictures).min(chat.photos.len())];
        shown += turn.pictures;
        turn_ui(ui, turn, (own, photos), name, last && chat.doing == Doing::Answering);
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

fn turn_ui(ui: &mut Ui, turn: &Turn, (own, photos): (&[Photo], &mut photos::Form), name: &str, busy: bool) {
    let fill = ui.visuals().widgets.inactive.weak_bg_fill;
    Frame::new().fill(fill).corner_radius(6.0).inner_margin(Margin::symmetric(8, 5)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(small("You"));
        photos::row_ui(ui, own, photos);
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

/// The field, and Send or Stop.
fn message_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let newline = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
    let field = TextEdit::multiline(&mut form.message)
        .hint_text("What is the capital of France?")
        .desired_rows(2)
        .desired_width(f32::INFINITY)
        .return_key(newline);
    let field = ui.add(field).accessible_name("Message");
    let enter = field.has_focus() && ui.input(|i| i.key_pressed(Key::Enter) && i.modifiers.is_none());
    let busy = state.chat.doing == Doing::Answering;
    let linked = state.chat.model.as_ref().is_some_and(|m| m.kind == Wiring::Linked);
    let blind = linked && state.chat.photos.is_empty();
    let can = !busy && !blind && !form.message.trim().is_empty();
    ui.horizontal(|ui| {
        let hover = "Enter sends too; Shift and Enter begin a new line";
        let why = if blind { "It needs a picture first." } else { "There is nothing to send yet." };
        let send = ui.add_enabled(can, Button::new("Send")).on_hover_text(hover).on_disabled_hover_text(why);
        if can && (send.clicked() || enter) {
            let (message, system) = (std::mem::take(&mut form.message), form.sampling.system.clone());
            out.push(Action::Send(message, system, Box::new(form.sampling.options())));
        }
        if busy && ui.button("Stop").on_hover_text("Ends the answer").clicked() {
            out.push(Command::Chat(ChatCommand::Stop).into());
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
