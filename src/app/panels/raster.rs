//! Plots as PNG files, drawn on the CPU: white paper, axes, ticks, stages, lines and a legend.

use std::io::Cursor;

use image::{ImageFormat, Rgba, RgbaImage};

use super::format::short;
use super::series::Series;
use crate::app::theme;
use crate::engine::Stage;

/// Width of a plot in pixels.
pub const WIDTH: u32 = 1360;
/// Height of a plot in pixels.
pub const HEIGHT: u32 = 720;
const LEFT: f64 = 110.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 480.0;
const BOTTOM: f64 = 70.0;
const INK: Rgba<u8> = Rgba([40, 40, 40, 255]);
const GRID: Rgba<u8> = Rgba([225, 225, 225, 255]);

/// Glyphs of 5 x 8 pixels from the space to `z`: a byte per column, lowest bit on top.
const FONT: &[u8; 455] =
    b"\x00\x00\x00\x00\x00\x00\x00\x5F\x00\x00\x00\x07\x00\x07\x00\x14\x7F\x14\x7F\x14\x24\x2A\x7F\x2A\x12\
\x23\x13\x08\x64\x62\x36\x49\x56\x20\x50\x00\x08\x07\x03\x00\x00\x1C\x22\x41\x00\x00\x41\x22\x1C\x00\
\x2A\x1C\x7F\x1C\x2A\x08\x08\x3E\x08\x08\x00\x80\x70\x30\x00\x08\x08\x08\x08\x08\x00\x00\x60\x60\x00\
\x20\x10\x08\x04\x02\x3E\x51\x49\x45\x3E\x00\x42\x7F\x40\x00\x72\x49\x49\x49\x46\x21\x41\x49\x4D\x33\
\x18\x14\x12\x7F\x10\x27\x45\x45\x45\x39\x3C\x4A\x49\x49\x31\x41\x21\x11\x09\x07\x36\x49\x49\x49\x36\
\x46\x49\x49\x29\x1E\x00\x00\x14\x00\x00\x00\x40\x34\x00\x00\x00\x08\x14\x22\x41\x14\x14\x14\x14\x14\
\x00\x41\x22\x14\x08\x02\x01\x59\x09\x06\x3E\x41\x5D\x59\x4E\x7C\x12\x11\x12\x7C\x7F\x49\x49\x49\x36\
\x3E\x41\x41\x41\x22\x7F\x41\x41\x41\x3E\x7F\x49\x49\x49\x41\x7F\x09\x09\x09\x01\x3E\x41\x41\x51\x73\
\x7F\x08\x08\x08\x7F\x00\x41\x7F\x41\x00\x20\x40\x41\x3F\x01\x7F\x08\x14\x22\x41\x7F\x40\x40\x40\x40\
\x7F\x02\x1C\x02\x7F\x7F\x04\x08\x10\x7F\x3E\x41\x41\x41\x3E\x7F\x09\x09\x09\x06\x3E\x41\x51\x21\x5E\
\x7F\x09\x19\x29\x46\x26\x49\x49\x49\x32\x03\x01\x7F\x01\x03\x3F\x40\x40\x40\x3F\x1F\x20\x40\x20\x1F\
\x3F\x40\x38\x40\x3F\x63\x14\x08\x14\x63\x03\x04\x78\x04\x03\x61\x59\x49\x4D\x43\x00\x7F\x41\x41\x41\
\x02\x04\x08\x10\x20\x00\x41\x41\x41\x7F\x04\x02\x01\x02\x04\x40\x40\x40\x40\x40\x00\x03\x07\x08\x00\
\x20\x54\x54\x78\x40\x7F\x28\x44\x44\x38\x38\x44\x44\x44\x28\x38\x44\x44\x28\x7F\x38\x54\x54\x54\x18\
\x00\x08\x7E\x09\x02\x18\xA4\xA4\x9C\x78\x7F\x08\x04\x04\x78\x00\x44\x7D\x40\x00\x20\x40\x40\x3D\x00\
\x7F\x10\x28\x44\x00\x00\x41\x7F\x40\x00\x7C\x04\x78\x04\x78\x7C\x08\x04\x04\x78\x38\x44\x44\x44\x38\
\xFC\x18\x24\x24\x18\x18\x24\x24\x18\xFC\x7C\x08\x04\x04\x08\x48\x54\x54\x54\x24\x04\x04\x3F\x44\x24\
\x3C\x40\x40\x20\x7C\x1C\x20\x40\x20\x1C\x3C\x40\x30\x40\x3C\x44\x28\x10\x28\x44\x4C\x90\x90\x90\x7C\
\x44\x64\x54\x4C\x44";

/// A plot.
pub struct Plot<'a> {
    /// Lines; values are log10 where `log`.
    pub lines: &'a [Series],
    /// Where stages begin.
    pub stages: &'a [(Stage, f64)],
    /// What the y axis counts.
    pub unit: &'a str,
    /// Are the values logarithms?
    pub log: bool,
}

/// The plot as the bytes of a PNG; none where there is nothing to draw.
#[must_use]
pub fn plot_png(plot: &Plot<'_>) -> Option<Vec<u8>> {
    let all = || plot.lines.iter().flat_map(|l| &l.points);
    let range = |i: usize| {
        let (low, high) =
            all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p[i]), high.max(p[i])));
        let room = if high > low { (high - low) * 0.04 } else { 0.5 };
        (low - room, high + room)
    };
    all().next()?;
    let mut paper = Paper { image: RgbaImage::from_pixel(WIDTH, HEIGHT, Rgba([255; 4])), x: range(0), y: range(1) };
    paper.axes(plot);
    for (stage, step) in plot.stages {
        let colour = ink(theme::stage(*stage, false));
        let (low, high) = paper.y;
        paper.line(&[[*step, low], [*step, high]], colour, Pen { dashed: true, wide: false });
        let at = paper.at([*step, high]);
        paper.text(at[0] + 4.0, at[1] + 4.0, &format!("stage {}", stage.number()), colour);
    }
    for (i, line) in plot.lines.iter().enumerate() {
        let mut colour = ink(theme::series(line.colour, false));
        if line.faint {
            colour.0[..3].iter_mut().for_each(|c| *c = 255 - (255 - *c) / 3);
        }
        let pen = Pen { dashed: line.dashed, wide: !line.faint };
        paper.line(&line.points, colour, pen);
        if line.marked {
            line.points.iter().for_each(|p| paper.mark(*p, colour));
        }
        let (x, y) = (f64::from(WIDTH) - RIGHT + 15.0, TOP + 8.0 + i as f64 * 24.0);
        if y < f64::from(HEIGHT) - BOTTOM {
            paper.stroke([x, y + 7.0], [x + 28.0, y + 7.0], colour, pen, &mut 0.0);
            paper.text(x + 36.0, y, &line.name, INK);
        }
    }
    png(&paper.image)
}

/// A picture as the bytes of a PNG.
#[must_use]
pub fn png(image: &RgbaImage) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(bytes.into_inner())
}

fn ink(c: eframe::egui::Color32) -> Rgba<u8> {
    Rgba([c.r(), c.g(), c.b(), 255])
}

/// Round numbers within a range: about five, of the form 1, 2 or 5 times a power of ten.
#[must_use]
pub fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let raw = (high - low) / 5.0;
    if !(raw > 0.0 && raw.is_finite()) {
        return Vec::new();
    }
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(power * 10.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// Logarithms of 1, 2 and 5 times powers of ten within a range of logarithms.
fn log_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = low.floor().max(-12.0) as i32..=high.ceil().min(12.0) as i32;
    let marks = decades.flat_map(|k| [1.0_f64, 2.0, 5.0].map(|m| f64::from(k) + m.log10()));
    marks.filter(|v| (low..=high).contains(v)).collect()
}

#[derive(Clone, Copy)]
struct Pen {
    dashed: bool,
    wide: bool,
}

struct Paper {
    image: RgbaImage,
    x: (f64, f64),
    y: (f64, f64),
}

impl Paper {
    /// Pixel of a point.
    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (width, height) = (f64::from(WIDTH) - LEFT - RIGHT, f64::from(HEIGHT) - TOP - BOTTOM);
        let share = |v: f64, (low, high): (f64, f64)| (v - low) / (high - low);
        [LEFT + share(x, self.x) * width, TOP + (1.0 - share(y, self.y)) * height]
    }

    fn axes(&mut self, plot: &Plot<'_>) {
        let (x, y) = (self.x, self.y);
        let thin = Pen { dashed: false, wide: false };
        for tick in if plot.log { log_ticks(y) } else { ticks(y) } {
            self.line(&[[x.0, tick], [x.1, tick]], GRID, thin);
            let label = short(if plot.log { 10_f64.powf(tick) } else { tick });
            let at = self.at([x.0, tick]);
            self.text(at[0] - 10.0 - label.len() as f64 * 12.0, at[1] - 7.0, &label, INK);
        }
        for tick in ticks(x).into_iter().filter(|t| *t >= 0.0) {
            self.line(&[[tick, y.0], [tick, y.1]], GRID, thin);
            let label = format!("{tick:.0}");
            let at = self.at([tick, y.0]);
            self.text(at[0] - label.len() as f64 * 6.0, at[1] + 10.0, &label, INK);
        }
        self.line(&[[x.0, y.1], [x.0, y.0], [x.1, y.0]], INK, thin);
        let unit = if plot.log { format!("{}, log scale", plot.unit) } else { plot.unit.to_owned() };
        self.text(LEFT, TOP - 30.0, &unit, INK);
        self.text((LEFT + f64::from(WIDTH) - RIGHT) * 0.5 - 96.0, f64::from(HEIGHT) - 30.0, "optimiser steps", INK);
    }

    fn line(&mut self, points: &[[f64; 2]], colour: Rgba<u8>, pen: Pen) {
        let mut way = 0.0;
        if let [only] = points {
            let at = self.at(*only);
            self.stroke([at[0] - 3.0, at[1]], [at[0] + 3.0, at[1]], colour, pen, &mut way);
        }
        for pair in points.windows(2) {
            self.stroke(self.at(pair[0]), self.at(pair[1]), colour, pen, &mut way);
        }
    }

    /// A small square.
    fn mark(&mut self, point: [f64; 2], colour: Rgba<u8>) {
        let [x, y] = self.at(point);
        for oy in -4..=4 {
            for ox in -4..=4 {
                self.dot(x as i64 + ox, y as i64 + oy, colour);
            }
        }
    }

    /// A straight line between pixels; `way` counts the length drawn so far, for the dashes.
    fn stroke(&mut self, from: [f64; 2], to: [f64; 2], colour: Rgba<u8>, pen: Pen, way: &mut f64) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy);
        let steps = (length * 2.0).ceil().max(1.0) as usize;
        let reach = if pen.wide { -1..=1 } else { 0..=0 };
        for i in 0..=steps {
            let t = i as f64 / steps as f64;
            if pen.dashed && (*way + t * length) % 14.0 > 8.0 {
                continue;
            }
            let (x, y) = ((from[0] + dx * t).round() as i64, (from[1] + dy * t).round() as i64);
            for oy in reach.clone() {
                for ox in reach.clone() {
                    self.dot(x + ox, y + oy, colour);
                }
            }
        }
        *way += length;
    }

    fn dot(&mut self, x: i64, y: i64, colour: Rgba<u8>) {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = self.image.get_pixel_mut_checked(x, y)
        {
            *pixel = colour;
        }
    }

    /// Text at twice the font's size: a letter is 12 pixels wide.
    fn text(&mut self, x: f64, y: f64, text: &str, colour: Rgba<u8>) {
        for (i, c) in text.chars().enumerate() {
            let glyph = (c as usize).checked_sub(32).and_then(|n| FONT.get(n * 5..n * 5 + 5)).unwrap_or(&[0; 5]);
            for (column, bits) in glyph.iter().enumerate() {
                for row in (0..8).filter(|row| bits >> row & 1 == 1) {
                    for (ox, oy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                        let px = x as i64 + (i * 12 + column * 2 + ox) as i64;
                        self.dot(px, y as i64 + row * 2 + oy, colour);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((95.0, 1203.0)), [500.0, 1000.0]);
        assert!(ticks((1.0, 1.0)).is_empty());
        let real: Vec<f64> =
            log_ticks((-1.1, 0.4)).into_iter().map(|v| (10_f64.powf(v) * 10.0).round() / 10.0).collect();
        assert_eq!(real, [0.1, 0.2, 0.5, 1.0, 2.0]);
    }
}
