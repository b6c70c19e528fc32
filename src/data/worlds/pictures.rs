//! The data set `pictures`: one to three everyday things in the four corners of a 48x48 px image, on varied backgrounds.
//!
//! One of the two generators behind `dataset::Dataset`. The things are `OpenMoji` pictures (see `assets/pictures/CREDITS.md`).
//! Every thing has one place where no training scene ever shows it; held-out scenes show at least one thing there, so that
//! right answers need "what" and "where" to be understood apart.

use std::sync::OnceLock;

use serde::Deserialize;

use super::{Painting, Seen, Split, Turn, World, patch_classes};
use crate::data::rng::{Rng, hash_bytes};
use crate::data::tokenizer::SPECIALS;

/// Side of the image in pixels.
pub const SIZE: usize = 48;
/// Side of a patch in pixels.
pub const PATCH: usize = 6;
/// Side of a corner's cell and of a picture in the atlas, in pixels.
pub(super) const CELL: usize = 24;
/// Pictures in a row of the atlas.
const COLUMNS: usize = 8;
/// The cells, row by row.
pub const PLACES: [&str; 4] = ["top left", "top right", "bottom left", "bottom right"];
/// The kinds of questions.
pub const KINDS: [&str; 5] = ["what", "existence", "count", "place", "left"];
pub(super) const NUMBERS: [&str; 3] = ["one", "two", "three"];
/// How often "what is left of ..." is asked in training where the scene only allows the answer "nothing": less than always,
/// or that answer would be right four times of five.
const NOTHING_KEPT: f32 = 0.2;

/// A thing of the atlas.
pub struct Thing {
    /// Its one-word name.
    pub name: String,
    /// The corner (a position in [`PLACES`]) in which no training scene shows it.
    pub held_out: usize,
    mirror: bool,
    /// `(24, 24, 4)`, colours multiplied by alpha, 0 to 255.
    pub(super) rgba: Vec<f32>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    mirror: bool,
}

/// The things in the order of their classes: label class `i + 1` is thing `i`.
#[must_use]
#[expect(clippy::expect_used, reason = "the atlas is part of the program; a test decodes it")]
pub fn things() -> &'static [Thing] {
    static THINGS: OnceLock<Vec<Thing>> = OnceLock::new();
    THINGS.get_or_init(|| {
        let entries: Vec<Entry> =
            serde_json::from_str(include_str!("../../../assets/pictures/atlas.json")).expect("atlas.json is JSON");
        let png = include_bytes!("../../../assets/pictures/atlas.png");
        let atlas = ::image::load_from_memory(png).expect("atlas.png is a picture").to_rgba8();
        entries.into_iter().enumerate().map(|(i, entry)| cut(&atlas, i, entry)).collect()
    })
}

/// Thing `i` of the atlas.
fn cut(atlas: &::image::RgbaImage, i: usize, entry: Entry) -> Thing {
    let mut rgba = Vec::with_capacity(CELL * CELL * 4);
    for y in 0..CELL {
        for x in 0..CELL {
            let [r, g, b, a] = atlas.get_pixel((i % COLUMNS * CELL + x) as u32, (i / COLUMNS * CELL + y) as u32).0;
            let premultiplied = |c: u8| f32::from(c) * f32::from(a) / 255.0;
            rgba.extend([premultiplied(r), premultiplied(g), premultiplied(b), f32::from(a)]);
        }
    }
    let held_out = (hash_bytes(entry.name.as_bytes()) % PLACES.len() as u64) as usize;
    Thing { name: entry.name, held_out, mirror: entry.mirror, rgba }
}

/// The vocabulary: special tokens, the words of questions and answers, places, numbers, things.
#[must_use]
pub fn words() -> Vec<String> {
    let frame = "? what is it at the there a an how many things are where left of nothing and yes no top bottom right";
    let names = things().iter().map(|t| t.name.as_str());
    SPECIALS.into_iter().chain(frame.split(' ')).chain(NUMBERS).chain(names).map(str::to_owned).collect()
}

/// `a dog`, `an apple`.
pub(super) fn with_article(name: &str) -> String {
    format!("{} {name}", if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// One to three different things in different corners: `(thing, place)`, in the order of the places.
pub(in crate::data) struct Scene(pub(in crate::data) Vec<(usize, usize)>);

impl Scene {
    /// Whether a thing stands in its held-out corner.
    pub(in crate::data) fn is_held_out(&self) -> bool {
        self.0.iter().any(|(thing, place)| things()[*thing].held_out == *place)
    }

    fn at(&self, place: usize) -> Option<usize> {
        self.0.iter().find(|t| t.1 == place).map(|t| t.0)
    }

    fn existence(&self, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<(String, String)> {
        // no more such questions than things: then yes never runs out, and no answer tells anything about the next
        if asked.iter().filter(|t| t.kind == KINDS[1]).count() >= self.0.len() {
            return None;
        }
        let yes = want.unwrap_or_else(|| rng.chance(0.5));
        loop {
            let thing = if yes { rng.pick(&self.0).0 } else { rng.below(things().len()) };
            let question = format!("is there {} ?", with_article(&things()[thing].name));
            let there = self.0.iter().any(|t| t.0 == thing);
            if there == yes && asked.iter().all(|t| t.question != question) {
                return Some((question, if yes { "yes" } else { "no" }.to_owned()));
            }
        }
    }

    fn left_of(&self, want: Option<bool>, rng: &mut Rng) -> Option<(String, String)> {
        let on_the_right: Vec<(usize, Option<usize>)> =
            self.0.iter().filter(|t| t.1 % 2 == 1).map(|t| (t.0, self.at(t.1 - 1))).collect();
        let something = want.unwrap_or_else(|| rng.chance(0.5));
        let fitting: Vec<_> = on_the_right.iter().filter(|t| t.1.is_some() == something).collect();
        let (thing, neighbour) = if !fitting.is_empty() {
            **rng.pick(&fitting)
        } else if on_the_right.is_empty() || want.is_some() || (something && !rng.chance(NOTHING_KEPT)) {
            return None;
        } else {
            *rng.pick(&on_the_right)
        };
        let answer = neighbour.map_or("nothing", |t| &things()[t].name);
        Some((format!("what is left of the {} ?", things()[thing].name), answer.to_owned()))
    }
}

impl World for Scene {
    fn draw(split: Option<Split>, rng: &mut Rng) -> Self {
        let count = *rng.pick(&[1, 1, 2, 2, 3]);
        loop {
            let mut places = [0, 1, 2, 3];
            rng.shuffle(&mut places);
            places[..count].sort_unstable();
            let mut scene = Self(Vec::with_capacity(count));
            for place in &places[..count] {
                let mut thing = rng.below(things().len());
                while scene.0.iter().any(|t| t.0 == thing) {
                    thing = rng.below(things().len());
                }
                scene.0.push((thing, *place));
            }
            if split.is_none_or(|s| scene.is_held_out() == (s == Split::HeldOut)) {
                return scene;
            }
        }
    }

    fn things(&self) -> usize {
        self.0.len()
    }

    fn ask(&self, kind: usize, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<Turn> {
        let (thing, place) = *rng.pick(&self.0);
        let name = &things()[thing].name;
        let (question, answer) = match kind {
            0 if self.0.len() == 1 => ("what is it ?".to_owned(), name.clone()),
            0 => (format!("what is at the {} ?", PLACES[place]), name.clone()),
            1 => self.existence(asked, want, rng)?,
            2 => ("how many things are there ?".to_owned(), NUMBERS[self.0.len() - 1].to_owned()),
            3 => (format!("where is the {name} ?"), PLACES[place].to_owned()),
            _ => self.left_of(want, rng)?,
        };
        Some(Turn { kind: KINDS[kind], question, answer })
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.iter().map(|t| Seen { patches: corner_patches(t.1), values: vec![Some(t.0)] }).collect()
    }

    fn describe(&self, rng: &mut Rng) -> String {
        let named = |t: &(usize, usize)| format!("{} at the {}", with_article(&things()[t.0].name), PLACES[t.1]);
        let mut named: Vec<String> = self.0.iter().map(named).collect();
        rng.shuffle(&mut named);
        named.join(" and ")
    }

    fn paint(&self, rng: &mut Rng) -> Painting {
        let mut canvas = background(rng);
        let mut cover = vec![vec![0.0; SIZE * SIZE]; self.0.len()];
        for (cover, (thing, place)) in cover.iter_mut().zip(&self.0) {
            let thing = &things()[*thing];
            let side = 17 + rng.below(6);
            let top = place / 2 * CELL + rng.below(CELL - side + 1);
            let left = place % 2 * CELL + rng.below(CELL - side + 1);
            let brightness = rng.uniform(0.8, 1.1);
            let mirrored = rng.chance(0.5) && thing.mirror;
            let drawn = reduce(&thing.rgba, side);
            for (i, pixel) in drawn.chunks_exact(4).enumerate() {
                let x = if mirrored { side - 1 - i % side } else { i % side };
                let at = (top + i / side) * SIZE + left + x;
                let alpha = pixel[3] / 255.0;
                for (c, colour) in pixel[..3].iter().enumerate() {
                    canvas[at * 3 + c] = canvas[at * 3 + c] * (1.0 - alpha) + colour * brightness;
                }
                cover[at] = alpha;
            }
        }
        let classes: Vec<u32> = self.0.iter().map(|t| t.0 as u32 + 1).collect();
        let labels = vec![patch_classes(&cover, &classes, SIZE, PATCH)];
        Painting { rgb: canvas.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect(), labels }
    }
}

/// The patches of a corner, in row order.
pub(super) fn corner_patches(place: usize) -> Vec<usize> {
    const SIDE: usize = SIZE / PATCH;
    let first = place / 2 * (SIDE / 2) * SIDE + place % 2 * (SIDE / 2);
    (0..SIDE * SIDE / 4).map(|i| first + i / (SIDE / 2) * SIDE + i % (SIDE / 2)).collect()
}

/// A picture of the atlas at `side` pixels, `(side, side, 4)`: every new pixel is the mean of the area that it covers.
pub(super) fn reduce(rgba: &[f32], side: usize) -> Vec<f32> {
    // per new position the old positions that it overlaps, and how far, as parts of 1
    let step = CELL as f32 / side as f32;
    let spans: Vec<Vec<(usize, f32)>> = (0..side)
        .map(|i| {
            let (from, to) = (i as f32 * step, (i + 1) as f32 * step);
            let overlap = |p: usize| (to.min((p + 1) as f32) - from.max(p as f32)) / step;
            (0..CELL).map(|p| (p, overlap(p))).filter(|o| o.1 > 1e-4).collect()
        })
        .collect();
    let mut out = Vec::with_capacity(side * side * 4);
    for rows in &spans {
        for columns in &spans {
            let mut sum = [0.0; 4];
            for (y, wy) in rows {
                for (x, wx) in columns {
                    let pixel = &rgba[(y * CELL + x) * 4..][..4];
                    sum.iter_mut().zip(pixel).for_each(|(s, p)| *s += wy * wx * p);
                }
            }
            out.extend(sum);
        }
    }
    out
}

/// A colour of any brightness, more often pale than bright, as red, green, blue from 0 to 255.
fn colour(rng: &mut Rng) -> [f32; 3] {
    let level = rng.uniform(15.0, 240.0);
    std::array::from_fn(|_| (level + rng.uniform(-45.0, 45.0)).clamp(0.0, 255.0))
}

/// `(S, S, 3)`: one colour, a gradient from top to bottom, soft noise, or two colours side by side.
fn background(rng: &mut Rng) -> Vec<f32> {
    let (first, second) = (colour(rng), colour(rng));
    let style = rng.below(4);
    let upright = rng.chance(0.5);
    let edge = 8 + rng.below(SIZE - 16);
    let noise = soft_noise(rng);
    let share = |x: usize, y: usize| -> f32 {
        match style {
            0 => 0.0,
            1 => y as f32 / (SIZE - 1) as f32,
            2 => noise[y * SIZE + x],
            _ => f32::from(u8::from(if upright { x } else { y } >= edge)),
        }
    };
    // noise between any two colours would hide the things: it stays near the first
    let reach = if style == 2 { 0.5 } else { 1.0 };
    (0..SIZE * SIZE)
        .flat_map(|p| {
            let t = share(p % SIZE, p / SIZE) * reach;
            std::array::from_fn::<f32, 3, _>(|c| first[c] + (second[c] - first[c]) * t)
        })
        .collect()
}

/// `(S, S)` from 0 to 1: random values 8 pixels apart, with straight lines between them.
fn soft_noise(rng: &mut Rng) -> Vec<f32> {
    const KNOTS: usize = SIZE / 8 + 1;
    let knots: [f32; KNOTS * KNOTS] = std::array::from_fn(|_| rng.uniform(0.0, 1.0));
    (0..SIZE * SIZE)
        .map(|p| {
            let (x, y) = (p % SIZE, p / SIZE);
            let (u, v) = ((x % 8) as f32 / 8.0, (y % 8) as f32 / 8.0);
            let knot = |dx: usize, dy: usize| knots[(y / 8 + dy) * KNOTS + x / 8 + dx];
            let upper = knot(0, 0) + (knot(1, 0) - knot(0, 0)) * u;
            let lower = knot(0, 1) + (knot(1, 1) - knot(0, 1)) * u;
            upper + (lower - upper) * v
        })
        .collect()
}
