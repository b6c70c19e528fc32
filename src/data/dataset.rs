//! The generated data sets as pure functions of `(split, seed, index)`.
//!
//! The front door of `data`: [`Dataset::sample`] draws a scene with `shapes` or `pictures`, asks about it and paints it;
//! `batch` turns the samples into tensors.

use serde::{Deserialize, Serialize};

use super::rng::{Rng, splitmix64};
use super::worlds::{Painting, Sample, Split, Turn, World, grounds, pictures, planes, shapes};

/// The data sets that are drawn on the fly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// Coloured shapes on dark noise, 32x32 px.
    Shapes,
    /// Everyday things (`OpenMoji` pictures) on varied backgrounds, 48x48 px.
    Pictures,
    /// Everyday things on coloured, striped grounds, 48x48 px: answers at different depths of a tower.
    Grounds,
}

impl Dataset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shapes, Self::Pictures, Self::Grounds];

    /// The name users write: `shapes`, `pictures` or `grounds`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shapes => "shapes",
            Self::Pictures => "pictures",
            Self::Grounds => "grounds",
        }
    }

    /// The data set of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Side S of the image in pixels.
    #[must_use]
    pub fn image_size(self) -> usize {
        match self {
            Self::Shapes => shapes::SIZE,
            Self::Pictures | Self::Grounds => pictures::SIZE,
        }
    }

    /// Side of a patch in pixels; `(image_size / patch_size)^2` patches make the image.
    #[must_use]
    pub fn patch_size(self) -> usize {
        match self {
            Self::Shapes => shapes::PATCH,
            Self::Pictures | Self::Grounds => pictures::PATCH,
        }
    }

    /// The whole vocabulary in the order of its ids, the four special tokens first.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        match self {
            Self::Shapes => shapes::words(),
            Self::Pictures => pictures::words(),
            Self::Grounds => grounds::words(),
        }
    }

    /// Number of classes of each label head, "none" included.
    #[must_use]
    pub fn label_classes(self) -> Vec<usize> {
        match self {
            Self::Shapes => vec![shapes::SHAPES.len() + 1, shapes::COLOURS.len() + 1],
            Self::Pictures => vec![pictures::things().len() + 1],
            Self::Grounds => vec![grounds::things().len() + 1],
        }
    }

    /// The kinds of questions.
    #[must_use]
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Shapes => &shapes::KINDS,
            Self::Pictures => &pictures::KINDS,
            Self::Grounds => &grounds::KINDS,
        }
    }

    /// What can be told of a thing, and how many answers there are; empty where [`Sample::seen`] is.
    #[must_use]
    pub fn attributes(self) -> Vec<(&'static str, usize)> {
        match self {
            Self::Shapes => Vec::new(),
            Self::Pictures => vec![("name", pictures::things().len())],
            Self::Grounds => grounds::ATTRIBUTES.to_vec(),
        }
    }

    /// Do its text-only rows tell facts, instead of describing?
    #[must_use]
    pub fn has_facts(self) -> bool {
        self == Self::Grounds
    }

    /// How often each kind is tried in training, in the order of [`Self::kinds`]: evenly, but a tenth for captions, and
    /// more for "left", which few scenes allow.
    #[must_use]
    pub fn default_mix(self) -> &'static [f32] {
        match self {
            Self::Shapes => &[0.225, 0.225, 0.225, 0.225, 0.1],
            Self::Pictures => &[0.18, 0.18, 0.18, 0.18, 0.28],
            Self::Grounds => &[0.09, 0.09, 0.08, 0.09, 0.16, 0.1, 0.1, 0.1, 0.09, 0.1],
        }
    }

    /// Sample number `index` of the split. A pure function of its arguments.
    ///
    /// Train: up to `max_turns` different questions, kinds drawn by [`Self::default_mix`]. Held out: one turn, whatever
    /// `max_turns` says; kinds take turns with `index`, and so do yes and no.
    #[must_use]
    pub fn sample(self, split: Split, seed: u64, index: u64, max_turns: usize) -> Sample {
        self.sample_with(Some(split), seed, index, max_turns, self.default_mix(), true)
    }

    /// The same sample without its pixels and labels, for text-only rows: much cheaper.
    #[must_use]
    pub fn text_sample(self, split: Split, seed: u64, index: u64, max_turns: usize) -> Sample {
        self.sample_with(Some(split), seed, index, max_turns, self.default_mix(), false)
    }

    /// [`Self::sample`] with weights for the kinds (missing ones are 0, all 0 means the default) and a choice of painting.
    /// Without a split the scene is any: text that says where things never stand would teach just that.
    #[must_use]
    pub fn sample_with(
        self,
        split: Option<Split>,
        seed: u64,
        index: u64,
        max_turns: usize,
        mix: &[f32],
        paint: bool,
    ) -> Sample {
        let mix: Vec<f32> = (0..self.kinds().len()).map(|k| mix.get(k).copied().unwrap_or(0.0).max(0.0)).collect();
        let mix = if mix.iter().sum::<f32>() > 0.0 { mix } else { self.default_mix().to_vec() };
        let order = Order { seed, index, split, max_turns, mix: &mix, paint, tag: self as u64 };
        match self {
            Self::Shapes => make::<shapes::Scene>(&order),
            Self::Pictures => make::<pictures::Scene>(&order),
            Self::Grounds => make::<grounds::Scene>(&order),
        }
    }

    /// Samples `first..first + count`, each as [`Self::sample`] makes it.
    #[must_use]
    pub fn samples(self, split: Split, seed: u64, first: u64, count: usize, max_turns: usize) -> Vec<Sample> {
        (0..count as u64).map(|i| self.sample(split, seed, first + i, max_turns)).collect()
    }
}

/// What is to be made.
struct Order<'a> {
    seed: u64,
    index: u64,
    split: Option<Split>,
    max_turns: usize,
    mix: &'a [f32],
    paint: bool,
    tag: u64,
}

fn make<W: World>(order: &Order<'_>) -> Sample {
    let stream = order.split.map_or(1 << 32, |split| split as u64 * 2);
    let base = splitmix64(order.seed).wrapping_add(order.tag * 4 + stream);
    let mut rng = Rng::new(base, order.index);
    let (world, turns): (W, _) = match order.split {
        Some(Split::HeldOut) => held_out(order, &mut rng),
        _ => train(order, &mut rng),
    };
    let description = world.describe(&mut rng);
    let described = rng.chance(W::DESCRIBED);
    let facts = world.facts(&mut rng);
    // painting draws from its own stream, so that a sample without pixels has the same words
    let painting = if order.paint {
        world.paint(&mut Rng::new(base + 1, order.index))
    } else {
        Painting { rgb: Vec::new(), labels: Vec::new() }
    };
    Sample {
        pixels: planes(&painting.rgb),
        things: world.things(),
        turns,
        patch_labels: painting.labels,
        seen: world.seen(),
        description,
        facts,
        described,
    }
}

/// A scene with up to `max_turns` different questions, and with at least one unless none is wanted.
fn train<W: World>(order: &Order<'_>, rng: &mut Rng) -> (W, Vec<Turn>) {
    loop {
        let world = W::draw(order.split, rng);
        let mut turns: Vec<Turn> = Vec::with_capacity(order.max_turns);
        for _ in 0..order.max_turns * 6 {
            if turns.len() == order.max_turns {
                break;
            }
            let kind = rng.weighted(order.mix);
            if let Some(turn) = world.ask(kind, &turns, None, rng)
                && turns.iter().all(|t| t.question != turn.question)
            {
                turns.push(turn);
            }
        }
        // a scene that allows no question of the wanted kinds is drawn again
        if !turns.is_empty() || order.max_turns == 0 {
            return (world, turns);
        }
    }
}

/// A held-out scene with one question: the kinds in turn, and within a kind the two outcomes in turn.
fn held_out<W: World>(order: &Order<'_>, rng: &mut Rng) -> (W, Vec<Turn>) {
    let kinds: Vec<usize> = (0..order.mix.len()).filter(|k| order.mix[*k] > 0.0).collect();
    let kind = kinds[(order.index % kinds.len() as u64) as usize];
    let want = (order.index / kinds.len() as u64).is_multiple_of(2);
    loop {
        let world = W::draw(order.split, rng);
        if let Some(turn) = world.ask(kind, &[], Some(want), rng) {
            return (world, vec![turn]);
        }
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
