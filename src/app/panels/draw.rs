//! A canvas for pictures of people's own making, for the mouse and for the keyboard.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    Color32, ColorImage, ComboBox, EventFilter, Key, Pos2, Rect, Response, Role, Sense, Slider, Stroke, StrokeKind,
    TextStyle, TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo,
};

use super::data;
use crate::app::{AppState, Control, Origin};
use crate::data::worlds::planes;
use crate::data::worlds::shapes::COLOURS;
use crate::engine::Command;

/// Colours beside those of the data set `shapes`, which the model knows by name.
const MORE: [(&str, [u8; 3]); 3] = [("black", [20, 20, 24]), ("grey", [128, 128, 128]), ("brown", [130, 85, 45])];
/// Index of the colour that a canvas starts with behind everything: black, as in `shapes`.
const DARK: usize = COLOURS.len();
const WIDEST_BRUSH: usize = 12;

fn palette() -> impl Iterator<Item = (&'static str, [u8; 3])> {
    COLOURS.into_iter().chain(MORE)
}

fn colour(index: usize) -> (&'static str, [u8; 3]) {
    palette().nth(index).unwrap_or(COLOURS[0])
}

/// What people draw and choose here.
pub struct Form {
    /// Side in pixels.
    side: usize,
    /// Colour of each pixel, row by row; none: background.
    cells: Vec<Option<usize>>,
    colour: usize,
    background: usize,
    erase: bool,
    brush: usize,
    /// Column and row of the keyboard's brush.
    cursor: (usize, usize),
    /// Where the mouse was in the frame before, to draw lines and not dots.
    last: Option<(usize, usize)>,
    texture: Option<TextureHandle>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            side: 0,
            cells: Vec::new(),
            colour: 0,
            background: DARK,
            erase: false,
            brush: 5,
            cursor: (0, 0),
            last: None,
            texture: None,
        }
    }
}

impl Form {
    fn fit(&mut self, side: usize) {
        if self.side != side {
            self.side = side;
            self.cursor = (side / 2, side / 2);
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.cells = vec![None; self.side * self.side];
        self.texture = None;
    }

    /// A round dab of the brush.
    fn dab(&mut self, (column, row): (usize, usize)) {
        let radius = self.brush as f32 / 2.0;
        let paint = if self.erase { None } else { Some(self.colour) };
        for (i, cell) in self.cells.iter_mut().enumerate() {
            let (x, y) = ((i % self.side) as f32 - column as f32, (i / self.side) as f32 - row as f32);
            if x * x + y * y < radius * radius {
                *cell = paint;
            }
        }
        self.texture = None;
    }

    fn stroke_to(&mut self, to: (usize, usize)) {
        let from = self.last.unwrap_or(to);
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |a: usize, b: usize, t: f32| (a as f32 + (b as f32 - a as f32) * t).round() as usize;
        for step in 0..=steps {
            let t = step as f32 / steps as f32;
            self.dab((between(from.0, to.0, t), between(from.1, to.1, t)));
        }
        self.last = Some(to);
        self.cursor = to;
    }

    fn rgb(&self) -> Vec<u8> {
        self.cells.iter().flat_map(|cell| colour(cell.unwrap_or(self.background)).1).collect()
    }

    /// (3, S, S), -1 to 1.
    fn pixels(&self) -> Vec<f32> {
        planes(&self.rgb())
    }
}

/// Draws the panel.
pub fn draw_ui(ui: &mut Ui, state: &mut AppState, _out: &mut Vec<Command>) {
    let Some(side) = state.preset.as_ref().map(|p| p.model.vision_config.image_size) else {
        ui.label("Open a preset first: the canvas takes its size.");
        return;
    };
    if !state.shows(Control::Draw) {
        return;
    }
    let form = &mut state.forms.draw;
    form.fit(side);
    colours_ui(ui, form);
    canvas_ui(ui, form);
    let mut used = false;
    ui.horizontal_wrapped(|ui| {
        used = ui.button("Use this drawing").on_hover_text("Ask questions about it").clicked();
        if ui.button("Clear").on_hover_text("Wipes the whole canvas").clicked() {
            form.clear();
        }
    });
    if used {
        let pixels = form.pixels();
        data::use_picture(state, Origin::Drawing, pixels);
    }
}

fn swatch(ui: &Ui, name: &str, rgb: [u8; 3]) -> LayoutJob {
    let format = |style: TextStyle, colour| TextFormat::simple(style.resolve(ui.style()), colour);
    let mut job = LayoutJob::default();
    let [r, g, b] = rgb;
    job.append("■ ", 0.0, format(TextStyle::Button, Color32::from_rgb(r, g, b)));
    job.append(name, 0.0, format(TextStyle::Button, Color32::PLACEHOLDER));
    job
}

fn colours_ui(ui: &mut Ui, form: &mut Form) {
    ui.horizontal_wrapped(|ui| {
        for (i, (name, rgb)) in palette().enumerate() {
            let chosen = !form.erase && form.colour == i;
            let job = swatch(ui, name, rgb);
            let hover = format!("Paint in {name}");
            if ui.selectable_label(chosen, job).accessible_name(hover.clone()).on_hover_text(hover).clicked() {
                (form.colour, form.erase) = (i, false);
            }
        }
        if ui.selectable_label(form.erase, "eraser").on_hover_text("Bring the background back").clicked() {
            form.erase = true;
        }
    });
    ui.add(Slider::new(&mut form.brush, 1..=WIDEST_BRUSH).text("Brush in pixels"));
    let before = form.background;
    ComboBox::from_label("Background").selected_text(colour(before).0).show_ui(ui, |ui| {
        for (i, (name, rgb)) in palette().enumerate() {
            let job = swatch(ui, name, rgb);
            ui.selectable_value(&mut form.background, i, job).accessible_name(name);
        }
    });
    if form.background != before {
        form.texture = None;
    }
}

fn canvas_ui(ui: &mut Ui, form: &mut Form) {
    let size = ui.available_width().min(256.0);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::click_and_drag());
    mouse(ui, form, &response, rect);
    keyboard(ui, form, &response);
    let texture = form.texture.take().unwrap_or_else(|| {
        let image = ColorImage::from_rgb([form.side, form.side], &form.rgb());
        ui.ctx().load_texture("drawing", image, TextureOptions::NEAREST)
    });
    let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
    ui.painter().image(texture.id(), rect, whole, Color32::WHITE);
    form.texture = Some(texture);
    ui.painter().rect_stroke(rect, 0.0, ui.visuals().widgets.noninteractive.bg_stroke, StrokeKind::Outside);
    if response.has_focus() {
        let colour = ui.visuals().selection.stroke.color;
        ui.painter().rect_stroke(rect, 0.0, Stroke::new(2.0, colour), StrokeKind::Outside);
        let cell = size / form.side as f32;
        let at = rect.min + Vec2::new(form.cursor.0 as f32, form.cursor.1 as f32) * cell;
        // Two rings, one of which stands out from any colour below.
        let dab = Rect::from_center_size(at + Vec2::splat(cell / 2.0), Vec2::splat(cell * form.brush as f32));
        ui.painter().rect_stroke(dab, 0.0, Stroke::new(3.0, Color32::BLACK), StrokeKind::Middle);
        ui.painter().rect_stroke(dab, 0.0, Stroke::new(1.0, Color32::WHITE), StrokeKind::Middle);
    }
    let (column, row) = (form.cursor.0 + 1, form.cursor.1 + 1);
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, enabled, "Canvas"));
    super::widgets::describe(&response, format!("Brush at column {column}, row {row} of {}.", form.side));
    response.on_hover_text("Paint with the mouse; or move with the arrow keys and paint with space");
}

fn mouse(ui: &Ui, form: &mut Form, response: &Response, rect: Rect) {
    let down = response.is_pointer_button_down_on();
    let clicked = response.clicked() && ui.input(|i| i.pointer.any_released());
    let Some(pos) = response.interact_pointer_pos().filter(|_| down || clicked) else {
        form.last = None;
        return;
    };
    let cell = |v: f32| ((v * form.side as f32) as usize).min(form.side - 1);
    let at = (pos - rect.min) / rect.width();
    form.stroke_to((cell(at.x), cell(at.y)));
}

fn keyboard(ui: &Ui, form: &mut Form, response: &Response) {
    if !response.has_focus() {
        return;
    }
    let arrows = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|m| m.set_focus_lock_filter(response.id, arrows));
    let last = form.side - 1;
    let (x, y) = form.cursor;
    ui.input(|input| {
        for (key, to) in [
            (Key::ArrowLeft, (x.saturating_sub(1), y)),
            (Key::ArrowRight, ((x + 1).min(last), y)),
            (Key::ArrowUp, (x, y.saturating_sub(1))),
            (Key::ArrowDown, (x, (y + 1).min(last))),
        ] {
            if input.key_pressed(key) {
                form.cursor = to;
            }
        }
    });
    if ui.input(|i| i.key_pressed(Key::Space) || i.key_down(Key::Space)) {
        form.dab(form.cursor);
    }
}
