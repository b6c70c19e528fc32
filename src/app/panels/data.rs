//! Left column: presets, examples, own pictures, drawing.

use std::sync::Arc;

use eframe::egui::{Button, ColorImage, Event, Image, Label, ScrollArea, Ui, Vec2};

use super::picture::Thumb;
use super::{draw, examples, widgets};
use crate::app::actions::{Action, Request};
use crate::app::chat::Photo;
use crate::app::files::Purpose;
use crate::app::{AppState, Control, Origin, Picture};
use crate::data::image::{ImageError, LARGEST_SIDE, Preprocess, Rgb};
use crate::engine::{Fault, FaultKind};
use crate::platform;

/// What people type and choose here.
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Form {
    pub examples: examples::Form,
    pub draw: draw::Form,
    /// The picture in question, while it is no example.
    preview: Thumb,
}

/// A preset as it is offered. Numbers follow from `docs/MEASUREMENTS.md`: steps times milliseconds per step.
struct Card {
    preset: &'static str,
    title: &'static str,
    goal: &'static str,
    accuracy: &'static str,
    time: &'static str,
    /// Of the trained model, where there is one.
    trained: Option<&'static str>,
}

const CARDS: [Card; 3] = [
    Card {
        preset: "grounds",
        title: "Grounds",
        goal: "See why links read several depths: names live deep in the tower, the ground near the pixels.",
        accuracy: "Expect about 85 % right of what it never saw.",
        time: "About 4 minutes on two cores, less on a GPU.",
        trained: Some("Trained with a longer stage 3: 95 % of held-out questions right."),
    },
    Card {
        preset: "pictures",
        title: "Pictures",
        goal: "See how a language model comes to name, count and place everyday things.",
        accuracy: "Expect about 70 % right of what it never saw.",
        time: "About 3 minutes on two cores, less on a GPU.",
        trained: Some("Trained about three times longer, all links at one depth: 82 % of held-out questions right."),
    },
    Card {
        preset: "shapes",
        title: "Shapes",
        goal: "See how attention binds the right colour to the right shape and place.",
        accuracy: "Expect 60 to 65 % right of what it never saw.",
        time: "About 4 minutes on two cores, less on a GPU.",
        trained: Some("Trained about three times longer: 80 % of held-out questions right."),
    },
];

/// Draws the panel.
pub fn data_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    ScrollArea::vertical().id_salt("data").auto_shrink([false, true]).show(ui, |ui| {
        if state.shows(Control::Presets) {
            ui.heading("Data");
            for card in &CARDS {
                card_ui(ui, state, card, out);
            }
        }
        examples::examples_ui(ui, state, &mut form.examples, out);
        own_picture_ui(ui, state, form, out);
        if state.shows(Control::Draw) {
            ui.add_space(6.0);
            ui.collapsing("Draw a picture", |ui| draw::draw_ui(ui, state, &mut form.draw, out));
        }
    });
}

fn card_ui(ui: &mut Ui, state: &AppState, card: &Card, out: &mut Vec<Action>) {
    let open = state.preset.as_ref().is_some_and(|p| p.data == card.preset);
    let title = if open { format!("✔ {} (open)", card.title) } else { card.title.to_owned() };
    let job = widgets::lines(ui, &[&title, card.goal], &[card.accuracy, card.time]);
    let button = Button::new(job).selected(open).wrap().min_size(Vec2::new(ui.available_width(), 0.0));
    // A click on what is open must not throw away what it has learned: there is a button for that.
    let begun = state.stage.is_some() && state.preset.as_ref().is_some_and(|p| p.name == card.preset);
    let hover = if begun { "Open now. Reset starts it again." } else { "Open it before its first stage." };
    let response = ui.add(button).accessible_name(card.title).on_hover_text(hover);
    widgets::describe(&response, format!("{} {} {}", card.goal, card.accuracy, card.time));
    if response.clicked() && !begun {
        open_card(state, card, false, out);
    }
    if let Some(trained) = card.trained {
        let name = format!("Open {} trained", card.preset);
        if ui.small_button("Open the trained model").accessible_name(name).on_hover_text(trained).clicked() {
            open_card(state, card, true, out);
        }
    }
    ui.add_space(4.0);
}

fn open_card(state: &AppState, card: &Card, trained: bool, out: &mut Vec<Action>) {
    let beside = state.beside.clone().filter(|_| !trained);
    out.extend(state.open(card.preset, beside, trained).map(Action::from));
}

fn own_picture_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::OwnPicture) {
        return;
    }
    ui.add_space(6.0);
    ui.heading("Your own picture");
    ui.horizontal_wrapped(|ui| {
        let button = ui.add_enabled(state.preset.is_some(), Button::new("Choose a picture…"));
        let hover = "A PNG, JPEG or WebP file. It stays on this machine.";
        if button.on_hover_text(hover).clicked() {
            out.push(Action::Shell(Request::Pick(Purpose::Picture)));
        }
        ui.label(if platform::PASTES_PICTURES { "or drop or paste one here" } else { "or drop one here" });
    });
    let Some(picture) = state.picture.as_ref().filter(|p| p.index().is_none()) else { return };
    let Some(texture) = form.preview.texture(ui.ctx(), &picture.pixels, false) else { return };
    ui.horizontal(|ui| {
        let alt = format!("{} as the model sees it", picture.origin);
        ui.add(Image::new(&texture).fit_to_exact_size(Vec2::splat(72.0)).alt_text(alt));
        ui.add(Label::new(format!("✔ {} is selected. This is all the model sees of it.", picture.origin)).wrap());
    });
}

/// A picture from the clipboard, whatever panels are open.
pub fn take_pasted(ui: &Ui, state: &AppState, out: &mut Vec<Action>) {
    if !state.shows(Control::OwnPicture) {
        return;
    }
    let pasted = ui.input(|input| {
        input.events.iter().find_map(|event| match event {
            Event::PasteImage(image) => Some(image.clone()),
            _ => None,
        })
    });
    let Some(image) = pasted else { return };
    if state.shows(Control::Chat) && state.chat.shown && state.chat.sees() {
        out.push(Action::ChatPicture(Photo { origin: Origin::Pasted, whole: Arc::new(on_white(&image)) }));
    } else if let Some(size) = image_size(state) {
        let pixels = Preprocess::new(size).pixels(&on_white(&image));
        out.push(Action::Show(Picture::new(Origin::Pasted, pixels)));
    }
}

fn on_white(image: &ColorImage) -> Rgb {
    let over = |c: u8, alpha: u8| c.saturating_add(255 - alpha);
    let data = image.pixels.iter().flat_map(|p| [p.r(), p.g(), p.b()].map(|c| over(c, p.a()))).collect();
    Rgb { width: image.width(), height: image.height(), data }
}

fn image_size(state: &AppState) -> Option<usize> {
    state.preset.as_ref().map(|p| p.model.vision_config.image_size)
}

/// See [`super::picture_of`].
pub(super) fn picture_of(state: &AppState, name: &str, bytes: &[u8]) -> Result<Action, Fault> {
    let what = || format!("{name} came before a model was there to look at it.");
    let early = || Fault::new(FaultKind::File, what(), "Open a preset, then choose the picture again.");
    let size = image_size(state).ok_or_else(early)?;
    // Transparent parts of drawn pictures are meant to be paper.
    let preprocess = Preprocess::on_white(size);
    let pixels = preprocess.decode(bytes, name).map_err(|e| fault(&e))?;
    Ok(Action::Show(Picture::new(Origin::File(name.to_owned()), pixels)))
}

/// The card of a picture that cannot be used.
pub(super) fn fault(error: &ImageError) -> Fault {
    let (what, remedy, detail) = match error {
        ImageError::Unreadable { name, reason } => {
            (format!("{name} cannot be read as a picture."), "Use a PNG, JPEG or WebP file.".to_owned(), reason.clone())
        }
        ImageError::Torn { name } => (
            format!("{name} is cut off: the file ends before the picture does."),
            "Copy or download it again.".to_owned(),
            String::new(),
        ),
        ImageError::TooLarge { name, width, height, millions } => (
            format!("{name} is {width} × {height} pixels large, which is too large."),
            format!("Use a picture of at most {LARGEST_SIDE} pixels a side and {millions} million in all."),
            String::new(),
        ),
        ImageError::Empty { name, width, height } => (
            format!("{name} is {width} × {height} pixels large and so shows nothing."),
            "Use another picture.".to_owned(),
            String::new(),
        ),
    };
    Fault { kind: FaultKind::File, what, remedy, detail }
}
