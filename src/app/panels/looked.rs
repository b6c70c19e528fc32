//! Where the answer of a model from files looked: a map over each whole picture, per layer and head.

use eframe::egui::{Color32, ComboBox, Pos2, Rect, Sense, Ui, Vec2, pos2, vec2};

use super::format::percent;
use super::photos;
use super::widgets::small;
use crate::app::actions::Action;
use crate::app::chat::{ChatState, Doing, Photo};
use crate::data::places::{Place, heat};
use crate::data::tiles::Picture;
use crate::engine::{ChatCommand, Command};

/// Longer side of a picture, points, and cells along it.
const SIDE: f32 = 220.0;
const CELLS: usize = 24;
/// How much of the hottest cell's colour is the heat.
const BLEND: f32 = 0.75;

/// What people choose here.
#[derive(Default)]
pub struct Form {
    layer: Option<usize>,
    head: Option<usize>,
}

/// Draws the button, and the maps once they are there.
pub fn looked_ui(ui: &mut Ui, chat: &ChatState, form: &mut Form, textures: &mut photos::Form, out: &mut Vec<Action>) {
    let shown = &chat.photos[..chat.asked_about().min(chat.photos.len())];
    let (Some(recipe), Some(model)) = (chat.recipe().filter(|_| chat.takes_several()), &chat.model) else { return };
    if shown.is_empty() || chat.doing != Doing::Nothing {
        return;
    }
    let Some(looked) = &chat.looked else {
        let hover = "Asks the model once more where the first words of its answer looked in the pictures";
        if ui.button("Where it looked").on_hover_text(hover).clicked() {
            out.push(Command::Chat(ChatCommand::Look).into());
        }
        return;
    };
    ui.horizontal_wrapped(|ui| {
        choice_ui(ui, "Layer", looked.layers, &mut form.layer);
        choice_ui(ui, "Head", looked.heads, &mut form.head);
    });
    let shares = looked.of(form.layer, form.head);
    let (mut first, alone) = (0, shown.len() == 1);
    ui.horizontal_wrapped(|ui| {
        for photo in shown {
            let size = [photo.whole.height, photo.whole.width];
            let (squares, grid) = recipe.squares(size, alone);
            let picture = Picture { squares, grid, size, ..Picture::default() };
            let places = recipe.places(&picture, model.side);
            let own = shares.get(first..first + places.len()).unwrap_or_default();
            first += places.len();
            let map = Map::new(size, &places, own);
            ui.vertical(|ui| map_ui(ui, photo, &map, textures));
        }
    });
    ui.label(small(
        "Mean over the first tokens of the answer. Attention says where a model looks, not always why it answers.",
    ));
}

/// Rows and columns of a map.
fn cells([height, width]: [usize; 2]) -> [usize; 2] {
    let longer = height.max(width).max(1);
    [height, width].map(|side| (side * CELLS).div_ceil(longer).max(1))
}

/// All of them, or one.
fn choice_ui(ui: &mut Ui, name: &str, count: usize, chosen: &mut Option<usize>) {
    let text = |one: Option<usize>| one.map_or_else(|| "all".to_owned(), |i| (i + 1).to_string());
    ui.label(name);
    ComboBox::from_id_salt(name).selected_text(text(*chosen)).show_ui(ui, |ui| {
        for one in std::iter::once(None).chain((0..count).map(Some)) {
            ui.selectable_value(chosen, one, text(one));
        }
    });
}

/// A map of a picture.
struct Map {
    rows: usize,
    columns: usize,
    /// Cells as shares of the hottest.
    shares: Vec<f32>,
    /// Share of all attention that the picture has.
    all: f32,
}

impl Map {
    /// A map of a picture of `size` pixels from the share of the attention at each of its places.
    fn new(size: [usize; 2], places: &[Option<Place>], own: &[f32]) -> Self {
        let [rows, columns] = cells(size);
        let heat = heat(places, own, columns, rows);
        let largest = heat.iter().copied().fold(0.0, f32::max);
        let shares = heat.iter().map(|v| if largest > 0.0 { v / largest } else { 0.0 }).collect();
        Self { rows, columns, shares, all: own.iter().sum() }
    }

    /// Where the hottest cell is, in words.
    fn place(&self) -> &'static str {
        let hottest = self.shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        let third = |at: usize, of: usize| (3 * at / of.max(1)).min(2);
        const PLACES: [[&str; 3]; 3] =
            [["top left", "top", "top right"], ["left", "middle", "right"], ["bottom left", "bottom", "bottom right"]];
        PLACES[third(hottest / self.columns.max(1), self.rows)][third(hottest % self.columns.max(1), self.columns)]
    }
}

fn map_ui(ui: &mut Ui, photo: &Photo, map: &Map, textures: &mut photos::Form) {
    let texture = textures.texture(ui.ctx(), photo);
    let (width, height) = (photo.whole.width as f32, photo.whole.height as f32);
    let size = Vec2::new(width, height) * (SIDE / width.max(height));
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let all = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
    ui.painter().image(texture.id(), rect, all, Color32::from_gray(170));
    let cell = vec2(rect.width() / map.columns as f32, rect.height() / map.rows as f32);
    for (i, share) in map.shares.iter().enumerate() {
        let at = rect.min + vec2((i % map.columns) as f32, (i / map.columns) as f32) * cell;
        let heat = Color32::from_rgba_unmultiplied(255, 140, 0, (share * BLEND * 255.0) as u8);
        ui.painter().rect_filled(Rect::from_min_size(at, cell), 0.0, heat);
    }
    let share = percent(map.all);
    ui.label(small(format!("{}: {share} of the attention, most at the {}", photo.origin, map.place())));
}
