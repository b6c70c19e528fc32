//! The data set `shapes`: one to three coloured shapes in a 3x3 grid on dark noise, 32x32 px.
//!
//! One of the two generators behind `dataset::Dataset`. The smallest world in which a question needs both the words and the
//! picture: colour, existence, count, place, and a caption.

use super::{Painting, Split, Turn, World, patch_classes};
use crate::data::rng::{Rng, hash_bytes};
use crate::data::tokenizer::SPECIALS;

/// Side of the image in pixels.
pub const SIZE: usize = 32;
/// Side of a patch in pixels.
pub const PATCH: usize = 4;
/// The shapes; label classes are these positions plus 1.
pub const SHAPES: [&str; 6] = ["circle", "square", "triangle", "cross", "ring", "star"];
/// The colours with red, green and blue; label classes are these positions plus 1.
pub const COLOURS: [(&str, [u8; 3]); 6] = [
    ("red", [220, 40, 40]),
    ("green", [40, 180, 60]),
    ("blue", [50, 80, 220]),
    ("yellow", [235, 210, 50]),
    ("purple", [150, 60, 190]),
    ("white", [240, 240, 240]),
];
/// The cells, row by row.
pub const PLACES: [&str; 9] =
    ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"];
/// The kinds of questions.
pub const KINDS: [&str; 5] = ["colour", "existence", "count", "place", "caption"];
const NUMBERS: [&str; 4] = ["zero", "one", "two", "three"];

/// The vocabulary: special tokens, the words of questions and answers, places, numbers, colours, shapes.
#[must_use]
pub fn words() -> Vec<String> {
    let frame =
        "? a is there what color the how many s are where do you see and at yes no top left right center bottom";
    let names = COLOURS.iter().map(|c| c.0).chain(SHAPES);
    SPECIALS.into_iter().chain(frame.split(' ')).chain(NUMBERS).chain(names).map(str::to_owned).collect()
}

/// A shape of a colour in a cell, each as its position in the lists above.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::data) struct Thing {
    cell: usize,
    shape: usize,
    colour: usize,
}

impl Thing {
    fn named(self) -> String {
        format!("a {} {} at {}", COLOURS[self.colour].0, SHAPES[self.shape], PLACES[self.cell])
    }
}

/// One to three things in different cells, in the order of the cells.
pub(in crate::data) struct Scene(pub(in crate::data) Vec<Thing>);

impl Scene {
    /// Whether no training row may show this scene: an eighth of all, by a hash of what stands where.
    pub(in crate::data) fn is_held_out(&self) -> bool {
        let key: Vec<u8> = self.0.iter().flat_map(|t| [t.shape as u8, t.colour as u8, t.cell as u8]).collect();
        hash_bytes(&key).is_multiple_of(8)
    }

    fn occurrences(&self, shape: usize) -> usize {
        self.0.iter().filter(|t| t.shape == shape).count()
    }

    /// One of the things whose shape occurs once.
    fn unique(&self, rng: &mut Rng) -> Option<Thing> {
        let unique: Vec<Thing> = self.0.iter().copied().filter(|t| self.occurrences(t.shape) == 1).collect();
        (!unique.is_empty()).then(|| *rng.pick(&unique))
    }

    fn existence(&self, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<(String, String)> {
        // no more such questions than different things: then yes never runs out, and no answer tells anything about the next
        let mut different: Vec<(usize, usize)> = self.0.iter().map(|t| (t.shape, t.colour)).collect();
        different.sort_unstable();
        different.dedup();
        if asked.iter().filter(|t| t.kind == KINDS[1]).count() >= different.len() {
            return None;
        }
        let yes = want.unwrap_or_else(|| rng.chance(0.5));
        loop {
            let thing = *rng.pick(&self.0);
            let (mut shape, mut colour) = (thing.shape, thing.colour);
            if !yes {
                let (any_shape, any_colour) = (rng.below(SHAPES.len()), rng.below(COLOURS.len()));
                // half of the questions with answer no share the shape or the colour with a thing that is there
                (shape, colour) = match (rng.chance(0.5), rng.chance(0.5)) {
                    (true, true) => (shape, any_colour),
                    (true, false) => (any_shape, colour),
                    _ => (any_shape, any_colour),
                };
            }
            let question = format!("is there a {} {} ?", COLOURS[colour].0, SHAPES[shape]);
            let there = self.0.iter().any(|t| (t.shape, t.colour) == (shape, colour));
            if there != yes {
                continue;
            }
            if asked.iter().all(|t| t.question != question) {
                return Some((question, if yes { "yes" } else { "no" }.to_owned()));
            }
        }
    }
}

impl World for Scene {
    fn draw(split: Option<Split>, rng: &mut Rng) -> Self {
        let count = *rng.pick(&[1, 1, 2, 2, 3]);
        loop {
            let mut cells: Vec<usize> = (0..PLACES.len()).collect();
            rng.shuffle(&mut cells);
            let mut things: Vec<Thing> = cells[..count]
                .iter()
                .map(|cell| Thing { cell: *cell, shape: rng.below(SHAPES.len()), colour: rng.below(COLOURS.len()) })
                .collect();
            things.sort_unstable();
            let scene = Self(things);
            if split.is_none_or(|s| scene.is_held_out() == (s == Split::HeldOut)) {
                return scene;
            }
        }
    }

    fn things(&self) -> usize {
        self.0.len()
    }

    fn ask(&self, kind: usize, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<Turn> {
        let (question, answer) = match kind {
            0 => {
                let thing = self.unique(rng)?;
                (format!("what color is the {} ?", SHAPES[thing.shape]), COLOURS[thing.colour].0.to_owned())
            }
            1 => self.existence(asked, want, rng)?,
            2 => {
                let shape = if rng.chance(0.7) { rng.pick(&self.0).shape } else { rng.below(SHAPES.len()) };
                (format!("how many {} s are there ?", SHAPES[shape]), NUMBERS[self.occurrences(shape)].to_owned())
            }
            3 => {
                let thing = self.unique(rng)?;
                (format!("where is the {} ?", SHAPES[thing.shape]), PLACES[thing.cell].to_owned())
            }
            _ => {
                let named: Vec<String> = self.0.iter().map(|t| t.named()).collect();
                ("what do you see ?".to_owned(), named.join(" and "))
            }
        };
        Some(Turn { kind: KINDS[kind], question, answer })
    }

    fn describe(&self, rng: &mut Rng) -> String {
        let mut named: Vec<String> = self.0.iter().map(|t| t.named()).collect();
        rng.shuffle(&mut named);
        named.join(" and ")
    }

    fn paint(&self, rng: &mut Rng) -> Painting {
        let base = rng.uniform(20.0, 90.0);
        let mut rgb: Vec<u8> =
            (0..SIZE * SIZE * 3).map(|_| (base + 6.0 * rng.noise()).round().clamp(0.0, 255.0) as u8).collect();
        let mut cover = vec![vec![0.0; SIZE * SIZE]; self.0.len()];
        for (i, thing) in self.0.iter().enumerate() {
            let mut center = |cell: usize| cell as f32 * 10.5 + 5.5 + rng.uniform(-0.7, 0.7);
            let (cx, cy) = (center(thing.cell % 3), center(thing.cell / 3));
            let radius = rng.uniform(3.8, 5.2);
            for p in 0..SIZE * SIZE {
                if inside(thing.shape, (p % SIZE) as f32 - cx, (p / SIZE) as f32 - cy, radius) {
                    rgb[p * 3..p * 3 + 3].copy_from_slice(&COLOURS[thing.colour].1);
                    // a later thing hides the earlier one
                    cover.iter_mut().for_each(|c| c[p] = 0.0);
                    cover[i][p] = 1.0;
                }
            }
        }
        let heads = [
            self.0.iter().map(|t| t.shape as u32 + 1).collect(),
            self.0.iter().map(|t| t.colour as u32 + 1).collect::<Vec<_>>(),
        ];
        let labels = heads.iter().map(|classes| patch_classes(&cover, classes, SIZE, PATCH)).collect();
        Painting { rgb, labels }
    }
}

/// Whether the point at `(dx, dy)` pixels from the centre lies inside the shape of radius `r`; `dy` points down.
fn inside(shape: usize, dx: f32, dy: f32, r: f32) -> bool {
    let (ax, ay) = (dx.abs(), dy.abs());
    let distance = (dx * dx + dy * dy).sqrt();
    match shape {
        0 => distance < r,
        1 => ax < r * 0.85 && ay < r * 0.85,
        2 => dy < r * 0.8 && dy > 1.8 * ax - r,
        3 => (ax < r * 0.32 || ay < r * 0.32) && ax < r && ay < r,
        4 => distance < r && distance > r * 0.55,
        _ => ax + ay < r * 1.05 && (ax < r * 0.35 || ay < r * 0.35 || ax + ay < r * 0.8),
    }
}
