//! Pictures of a conversation with a model from files: chosen, shown, taken back; what they cost, and the squares that the
//! model sees of them.

use std::sync::Arc;

use eframe::egui::{
    Align, CollapsingHeader, Color32, ColorImage, Context, Image, Layout, TextEdit, TextureHandle, TextureOptions, Ui,
    Vec2,
};

use super::data;
use super::widgets::small;
use crate::app::actions::{Action, Request};
use crate::app::chat::{ChatState, Photo};
use crate::app::files::Purpose;
use crate::app::{AppState, Control, Origin, Picture};
use crate::data::image::{Filter, Rgb, decode, resize_by};
use crate::data::tiles::{Cut, Picture as Squares, Recipe};
use crate::data::worlds::to_rgb8;
use crate::engine::Fault;
use crate::platform;

/// Height of a small picture, points.
const HEIGHT: f32 = 64.0;
/// Height of all squares of a picture at most, points.
const STRIP: f32 = 120.0;
/// What is asked about what the camera shows, unless something else is typed.
const LIVE_QUESTION: &str = "Describe what you see.";
/// Pixels of the longer side of a small picture.
const PIXELS: usize = 128;
/// Pixels of a square in the strip, and between two of them.
const TILE: usize = 48;
const GAP: usize = 3;

/// Textures, made once.
#[derive(Default)]
pub struct Form {
    small: Vec<(Arc<Rgb>, TextureHandle)>,
    strip: Option<Strip>,
    /// What is asked about what the camera shows.
    live: String,
}

/// The squares of a picture, as one picture.
struct Strip {
    of: Arc<Rgb>,
    /// By this recipe, alone or not.
    how: (Recipe, bool),
    texture: TextureHandle,
    squares: usize,
    rows: usize,
}

impl Form {
    /// A small picture.
    pub(super) fn texture(&mut self, ctx: &Context, photo: &Photo) -> TextureHandle {
        if let Some((_, texture)) = self.small.iter().find(|(of, _)| Arc::ptr_eq(of, &photo.whole)) {
            return texture.clone();
        }
        let (width, height) = (photo.whole.width, photo.whole.height);
        let less = |side: usize| (side * PIXELS / width.max(height)).clamp(1, side);
        let small = resize_by(&photo.whole, less(width), less(height), Filter::Bilinear);
        let image = ColorImage::from_rgb([small.width, small.height], &small.data);
        let texture = ctx.load_texture("photo", image, TextureOptions::LINEAR);
        self.small.push((Arc::clone(&photo.whole), texture.clone()));
        texture
    }

    /// Forgets textures of pictures that are gone.
    fn keep(&mut self, photos: &[Photo]) {
        self.small.retain(|(of, _)| photos.iter().any(|photo| Arc::ptr_eq(of, &photo.whole)));
    }

    fn strip(&mut self, ctx: &Context, photo: &Photo, how: (Recipe, bool), side: usize) -> &Strip {
        let old = self.strip.take().filter(|strip| Arc::ptr_eq(&strip.of, &photo.whole) && strip.how == how);
        self.strip.insert(old.unwrap_or_else(|| {
            let squares = how.0.picture(&photo.whole, how.1);
            let texture = ctx.load_texture("squares", laid_out(&squares, &how.0), TextureOptions::LINEAR);
            let rows = how.0.rows(&squares, side, 0).len();
            Strip { of: Arc::clone(&photo.whole), squares: squares.squares, rows, texture, how }
        }))
    }
}

/// A square as the tower sees it, small.
fn square(pixels: &[f32], recipe: &Recipe) -> Rgb {
    let side = recipe.square.image_size;
    let (mean, deviation) = (recipe.square.image_mean, recipe.square.image_std);
    let level = |c: usize, i: usize| {
        let value = f64::from(pixels[c * side * side + i]) * deviation[c] + mean[c];
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let data = (0..side * side).flat_map(|i| [0, 1, 2].map(|c| level(c, i))).collect();
    resize_by(&Rgb { width: side, height: side, data }, TILE, TILE, Filter::Bilinear)
}

/// The squares in their rows and columns, and the whole picture beside them.
fn laid_out(picture: &Squares, recipe: &Recipe) -> ColorImage {
    let size = 3 * recipe.square.image_size * recipe.square.image_size;
    let all: Vec<Rgb> = picture.pixels.chunks(size).map(|pixels| square(pixels, recipe)).collect();
    let [rows, columns] = picture.grid;
    let cut = rows * columns;
    // One of them is the whole picture, where there are more than it was cut into.
    let whole = (all.len() > cut).then_some(if matches!(recipe.cut, Cut::Rows { .. }) { cut } else { 0 });
    let across = columns + usize::from(whole.is_some());
    let [width, height] = [across.max(1), rows.max(1)].map(|count| count * (TILE + GAP));
    let mut image = ColorImage::filled([width, height], Color32::TRANSPARENT);
    let first = usize::from(whole == Some(0));
    let cells = (0..cut).map(|i| (i + first, i / columns.max(1), i % columns.max(1)));
    for (index, row, column) in cells.chain(whole.map(|index| (index, 0, columns))) {
        let Some(square) = all.get(index) else { continue };
        for (y, line) in square.data.chunks(TILE * 3).enumerate() {
            for (x, pixel) in line.chunks(3).enumerate() {
                let at = (row * (TILE + GAP) + y) * width + column * (TILE + GAP) + x;
                image.pixels[at] = Color32::from_rgb(pixel[0], pixel[1], pixel[2]);
            }
        }
    }
    image
}

/// Pictures in a row, small.
pub fn row_ui(ui: &mut Ui, photos: &[Photo], form: &mut Form) {
    if photos.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| photos.iter().for_each(|photo| thumb_ui(ui, photo, form)));
}

fn thumb_ui(ui: &mut Ui, photo: &Photo, form: &mut Form) {
    let texture = form.texture(ui.ctx(), photo);
    let image = Image::new(&texture).fit_to_exact_size(Vec2::new(HEIGHT * 1.8, HEIGHT));
    ui.add(image.alt_text(format!("picture {}", photo.origin)));
}

/// Draws the pictures of the next question, for a model that sees.
pub fn photos_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let chat = &state.chat;
    if !chat.sees() {
        return;
    }
    form.keep(&chat.photos);
    // A model of one picture has the same all the time.
    let first = if chat.takes_several() { chat.asked_about() } else { 0 };
    ui.horizontal_wrapped(|ui| {
        for (index, photo) in chat.photos.iter().enumerate().skip(first) {
            thumb_ui(ui, photo, form);
            ui.vertical(|ui| {
                ui.label(photo.origin.to_string());
                if chat.takes_several() && ui.small_button("Take back").on_hover_text("Asks without it").clicked() {
                    out.push(Action::TakeBack(index));
                }
            });
        }
        ui.vertical(|ui| choose_ui(ui, state, first, &mut form.live, out));
    });
    cost_ui(ui, chat, form, out);
}

/// Ways to another picture.
fn choose_ui(ui: &mut Ui, state: &AppState, first: usize, live: &mut String, out: &mut Vec<Action>) {
    if state.chat.photos.len() <= first {
        ui.label(if first > 0 { "no further picture" } else { "no picture yet" });
    }
    if state.shows(Control::OwnPicture) {
        let several = state.chat.takes_several();
        let hover = if several {
            "A PNG, JPEG or WebP file. It stays on this machine, and goes with the next question."
        } else {
            "A PNG, JPEG or WebP file. It stays on this machine. A conversation about another picture ends."
        };
        let name = if several && !state.chat.photos.is_empty() { "Add a picture…" } else { "Choose a picture…" };
        if ui.button(name).on_hover_text(hover).clicked() {
            out.push(Action::Shell(Request::Pick(Purpose::Picture)));
        }
    }
    if platform::HAS_CAMERA && state.shows(Control::OwnPicture) {
        let hover = "With the camera of this device. The photo stays in this page.";
        if ui.button("Take a photo…").on_hover_text(hover).clicked() {
            out.push(Action::Shell(Request::Camera));
        }
    }
    live_ui(ui, &state.chat, live, out);
    if let Some(other) = &state.picture {
        let hover = format!("{}, as the column at the left shows it", other.origin);
        if ui.small_button("Use the selected picture").on_hover_text(hover).clicked() {
            out.extend(brought(state, other));
        }
    }
}

/// The same question about what the camera shows, again and again.
fn live_ui(ui: &mut Ui, chat: &ChatState, question: &mut String, out: &mut Vec<Action>) {
    if !(platform::HAS_CAMERA && chat.takes_several()) {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        let mut on = chat.live.is_some();
        let hover = "Asks about what the camera shows, again as soon as it has answered. Pictures stay in this page.";
        if ui.checkbox(&mut on, "Live from the camera").on_hover_text(hover).changed() {
            let asked = if question.trim().is_empty() { LIVE_QUESTION } else { question.trim() };
            out.push(Action::Live(on.then(|| asked.to_owned())));
        }
        let field = TextEdit::singleline(question).hint_text(LIVE_QUESTION).desired_width(160.0);
        ui.add_enabled(!on, field).accessible_name("Question for the camera");
    });
}

/// What the last picture costs before anything runs, and what the model sees of it.
fn cost_ui(ui: &mut Ui, chat: &ChatState, form: &mut Form, out: &mut Vec<Action>) {
    let Some(model) = chat.model.as_ref().filter(|m| m.sees.as_ref().is_some_and(|r| r.cut != Cut::Whole)) else {
        return;
    };
    let mut single = chat.single;
    let hover = "Far less work, and small things are lost";
    ui.horizontal_wrapped(|ui| {
        if ui.checkbox(&mut single, "One square a picture").on_hover_text(hover).changed() {
            out.push(Action::SingleSquares(single));
        }
    });
    let (Some(photo), Some(recipe)) = (chat.photos.last(), chat.recipe()) else { return };
    let pixels = recipe.square.image_size;
    let strip = form.strip(ui.ctx(), photo, (recipe, chat.photos.len() == 1), model.side);
    let work = strip.squares as f64 * model.square_teraflops;
    let squares = if strip.squares == 1 { "1 square".to_owned() } else { format!("{} squares", strip.squares) };
    let line =
        format!("{} becomes {squares} and {} tokens: {work:.2} teraflop for the tower", photo.origin, strip.rows);
    ui.with_layout(Layout::top_down(Align::Min), |ui| {
        ui.label(small(line));
        CollapsingHeader::new("What the model sees of it").show(ui, |ui| {
            ui.label(small(format!("Squares of {pixels} x {pixels} pixels; at the right the whole picture.")));
            let image = Image::new(&strip.texture).max_size(Vec2::new(ui.available_width(), STRIP)).shrink_to_fit();
            ui.add(image.alt_text(format!("{squares} of {}", photo.origin)));
        });
    });
}

/// The small picture of the data column.
fn brought(state: &AppState, picture: &Picture) -> Option<Action> {
    let side = (picture.pixels.len() / 3).isqrt();
    let fits = state.chat.sees() && side > 0 && picture.pixels.len() == 3 * side * side;
    let whole = fits.then(|| Rgb { width: side, height: side, data: to_rgb8(&picture.pixels) })?;
    Some(Action::ChatPicture(Photo { origin: picture.origin.clone(), whole: Arc::new(whole) }))
}

/// See [`super::picture_of`].
pub(super) fn picture_of(sees: &Recipe, name: &str, bytes: &[u8]) -> Result<Action, Fault> {
    let whole = decode(bytes, name, sees.square.background).map_err(|e| data::fault(&e))?;
    Ok(Action::ChatPicture(Photo { origin: Origin::File(name.to_owned()), whole: Arc::new(whole) }))
}
