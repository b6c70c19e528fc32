//! One attention map over its picture, as widgets and as a PNG.

use eframe::egui::{
    Color32, EventFilter, Key, Pos2, Rect, Role, Sense, Stroke, StrokeKind, TextureHandle, Ui, WidgetInfo, pos2, vec2,
};
use image::{Rgba, RgbaImage};

use super::format::percent;
use super::widgets::small;
use super::{picture, raster};
use crate::app::theme;

/// How much of a cell's colour is the heat; the rest is the picture in grey.
const BLEND: f32 = 0.62;
/// Side of an exported map in pixels.
pub const PNG_SIDE: u32 = 480;

/// Which map is shown.
pub struct Shown<'a> {
    /// Values of the patches, row by row.
    pub map: &'a [f32],
    /// Token.
    pub token: usize,
    /// Index of the layer.
    pub layer: usize,
    /// Head; none: mean.
    pub head: Option<usize>,
    /// Step, in a replay.
    pub step: Option<u64>,
}

/// A patch and its value in words; rows and columns count from 1.
#[must_use]
pub fn patch_name(patch: usize, value: f32, side: usize) -> String {
    format!("patch row {}, column {}, {}", patch / side.max(1) + 1, patch % side.max(1) + 1, percent(value))
}

/// Values as shares of the largest.
fn shares(map: &[f32]) -> Vec<f32> {
    let largest = map.iter().copied().fold(0.0, f32::max);
    map.iter().map(|v| if largest > 0.0 { v / largest } else { 0.0 }).collect()
}

/// Draws the map; the pointer and the arrow keys choose a patch.
pub fn draw(ui: &mut Ui, map: &[f32], side: usize, texture: Option<&TextureHandle>, patch: &mut Option<usize>) {
    if side == 0 || map.len() != side * side {
        return;
    }
    let size = (ui.available_width() - 60.0).clamp(96.0, 224.0);
    ui.horizontal_top(|ui| {
        let (rect, whole) = ui.allocate_exact_size(vec2(size, size), Sense::click());
        if let Some(texture) = texture {
            let all = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
            ui.painter().image(texture.id(), rect, all, Color32::WHITE);
        } else {
            ui.painter().rect_filled(rect, 0.0, Color32::GRAY);
        }
        let cell = size / side as f32;
        for (i, share) in shares(map).into_iter().enumerate() {
            let at = rect.min + vec2((i % side) as f32, (i / side) as f32) * cell;
            let place = Rect::from_min_size(at, vec2(cell, cell));
            ui.painter().rect_filled(place, 0.0, theme::heat(share).gamma_multiply(BLEND));
            // A cell is no stop of the Tab key: hundreds of them would bar the way. The arrow keys reach each.
            let response = ui.interact(place, whole.id.with(i), Sense::hover());
            response.widget_info(|| WidgetInfo::labeled(Role::Cell, true, patch_name(i, map[i], side)));
            if response.contains_pointer() {
                *patch = Some(i);
            }
        }
        keys(ui, &whole, side, patch);
        whole.widget_info(|| {
            let now =
                patch.map_or_else(String::new, |p| format!(", {}", patch_name(p, map[p.min(map.len() - 1)], side)));
            WidgetInfo::labeled(Role::Grid, true, format!("attention map, {side} by {side} patches{now}"))
        });
        if let Some(p) = patch.filter(|p| *p < map.len()) {
            let at = rect.min + vec2((p % side) as f32, (p / side) as f32) * cell;
            let frame = Rect::from_min_size(at, vec2(cell, cell));
            ui.painter().rect_stroke(frame, 0.0, Stroke::new(3.0, Color32::BLACK), StrokeKind::Outside);
            ui.painter().rect_stroke(frame, 0.0, Stroke::new(1.5, Color32::WHITE), StrokeKind::Outside);
        }
        if whole.has_focus() {
            let line = Stroke::new(2.0, ui.visuals().selection.stroke.color);
            ui.painter().rect_stroke(rect, 0.0, line, StrokeKind::Outside);
        }
        scale(ui, map.iter().copied().fold(0.0, f32::max), size);
    });
}

fn keys(ui: &Ui, whole: &eframe::egui::Response, side: usize, patch: &mut Option<usize>) {
    if !whole.has_focus() {
        return;
    }
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|m| m.set_focus_lock_filter(whole.id, filter));
    let now = patch.unwrap_or(0).min(side * side - 1);
    let (row, column) = (now / side, now % side);
    let moved = ui.input(|i| {
        let step = |key: Key| usize::from(i.key_pressed(key));
        let last = side - 1;
        let row = (row + step(Key::ArrowDown)).min(last).saturating_sub(step(Key::ArrowUp));
        let column = (column + step(Key::ArrowRight)).min(last).saturating_sub(step(Key::ArrowLeft));
        row * side + column
    });
    *patch = Some(moved);
}

/// What the colours mean.
fn scale(ui: &mut Ui, largest: f32, height: f32) {
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        ui.label(small(format!("max {}", percent(largest))));
        let (rect, _) = ui.allocate_exact_size(vec2(14.0, (height - 36.0).max(20.0)), Sense::hover());
        let steps = 48;
        for i in 0..steps {
            let part = rect.height() / steps as f32;
            let bottom = rect.bottom() - part * i as f32;
            let band = Rect::from_min_max(pos2(rect.left(), bottom - part - 0.5), pos2(rect.right(), bottom));
            ui.painter().rect_filled(band, 0.0, theme::heat(i as f32 / (steps - 1) as f32));
        }
        ui.label(small("0 %"));
    });
}

/// The map over its picture as a PNG.
#[must_use]
pub fn map_png(map: &[f32], side: usize, pixels: Option<&[f32]>) -> Option<Vec<u8>> {
    if side == 0 || map.len() != side * side {
        return None;
    }
    let grey = pixels.and_then(|p| picture::bytes(p, true));
    let shares = shares(map);
    let image = RgbaImage::from_fn(PNG_SIDE, PNG_SIDE, |x, y| {
        let of = |n: usize| ((x as usize * n / PNG_SIDE as usize), (y as usize * n / PNG_SIDE as usize));
        let (cx, cy) = of(side);
        let heat = theme::heat(shares[cy * side + cx]);
        let under = grey.as_ref().map_or(128, |(rgb, s)| {
            let (px, py) = of(*s);
            rgb[(py * s + px) * 3]
        });
        let mix = |c: u8| (f32::from(c) * BLEND + f32::from(under) * (1.0 - BLEND)).round() as u8;
        Rgba([mix(heat.r()), mix(heat.g()), mix(heat.b()), 255])
    });
    raster::png(&image)
}
