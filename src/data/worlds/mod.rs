//! What a sample is, and what a generated world has to do. The worlds are [`shapes`], [`pictures`] and [`grounds`];
//! [`super::dataset::Dataset`] chooses between them.

use serde::{Deserialize, Serialize};

use super::rng::Rng;

pub mod grounds;
pub mod pictures;
pub mod shapes;

/// One image with what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `(3, S, S)`, red then green then blue, -1 (dark) to 1 (bright). Empty in samples made for text alone.
    pub pixels: Vec<f32>,
    /// How many things are in the image; 0 where nobody counted (folders).
    pub things: usize,
    /// Questions with their answers, in the order in which they are asked.
    pub turns: Vec<Turn>,
    /// For each label head the class of every patch, `(N)` in row order; 0 is "none". Empty where nobody labelled.
    pub patch_labels: Vec<Vec<u32>>,
    /// What there is to see, thing by thing; empty where nobody knows.
    pub seen: Vec<Seen>,
    /// A sentence that says what the image shows, things in random order.
    pub description: String,
    /// The same as a picture of words, for text-only rows: for each of [`LOOKS`] looks the words at patches. A look tells some
    /// attributes and is silent about others, as one depth of a tower is, or tells all or nothing. Empty where the sentence has to do.
    pub facts: Vec<Vec<(usize, String)>>,
    /// Whether this sample's text-only row starts with the description (3 of 4 do).
    pub described: bool,
}

/// Looks at a picture of words.
pub const LOOKS: usize = 4;

/// A thing with what can be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The patches of its place, in row order.
    pub patches: Vec<usize>,
    /// For each attribute of the data set its class; none where the thing has no such thing.
    pub values: Vec<Option<usize>>,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// One of the data set's kinds.
    pub kind: &'static str,
    /// The question; in the made-up data sets it ends with ` ?`.
    pub question: String,
    /// The answer, without end mark.
    pub answer: String,
}

/// Which half of a data set: what is trained on, or what is only ever asked for evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Rows to train on.
    Train,
    /// Scenes no training row ever shows.
    HeldOut,
}

/// A painted scene: `rgb` is `(S, S, 3)` bytes, `labels` as in [`Sample::patch_labels`].
pub(in crate::data) struct Painting {
    pub rgb: Vec<u8>,
    pub labels: Vec<Vec<u32>>,
}

/// What a generator has to do; `dataset` does the rest.
pub(in crate::data) trait World: Sized {
    /// How often a row of text tells of the scene before it asks. The rest teach what an answer may be.
    const DESCRIBED: f32 = 0.75;
    /// A scene of the split, or any.
    fn draw(split: Option<Split>, rng: &mut Rng) -> Self;
    /// How many things it has.
    fn things(&self) -> usize;
    /// A question of the kind, or none where the scene (or what was asked already) allows none. `want` asks for one of the
    /// two outcomes of kinds that have two (yes or no, something or nothing).
    fn ask(&self, kind: usize, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<Turn>;
    /// Its things with their attributes.
    fn seen(&self) -> Vec<Seen> {
        Vec::new()
    }
    /// The same as a picture of words, [`LOOKS`] looks.
    fn facts(&self, _rng: &mut Rng) -> Vec<Vec<(usize, String)>> {
        Vec::new()
    }
    /// The sentence that describes it, things in random order.
    fn describe(&self, rng: &mut Rng) -> String;
    /// The image and its labels.
    fn paint(&self, rng: &mut Rng) -> Painting;
}

/// `(S, S, 3)` bytes as `(3, S, S)` numbers from -1 to 1.
#[must_use]
pub fn planes(rgb: &[u8]) -> Vec<f32> {
    (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|b| f32::from(*b) / 127.5 - 1.0)).collect()
}

/// `(3, S, S)` numbers from -1 to 1 as `(S, S, 3)` bytes, to show or save a sample's image.
#[must_use]
pub fn to_rgb8(pixels: &[f32]) -> Vec<u8> {
    let n = pixels.len() / 3;
    (0..n * 3).map(|i| ((pixels[i % 3 * n + i / 3] + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8).collect()
}

/// The class of the thing that covers each patch most, as numbers of `classes`; 0 where less than a tenth is covered.
///
/// `cover[thing]` is `(size, size)`, how much of each pixel shows the thing (0 to 1).
fn patch_classes(cover: &[Vec<f32>], classes: &[u32], size: usize, patch: usize) -> Vec<u32> {
    let side = size / patch;
    let area = |thing: &[f32], n: usize| -> f32 {
        let (top, left) = (n / side * patch, n % side * patch);
        (top..top + patch).map(|y| thing[y * size + left..y * size + left + patch].iter().sum::<f32>()).sum()
    };
    (0..side * side)
        .map(|n| {
            let mut best = (0.1 * (patch * patch) as f32, 0);
            for (thing, class) in cover.iter().zip(classes) {
                let a = area(thing, n);
                if a >= best.0 {
                    best = (a, *class);
                }
            }
            best.1
        })
        .collect()
}
