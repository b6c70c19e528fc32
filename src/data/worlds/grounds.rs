//! The data set `grounds`: one to three things in the four corners of a 48x48 px image, each on a ground of coloured stripes.
//!
//! A world whose answers live at different depths of a tower that was taught to name. What a thing is comes deep in it; the
//! colour and the stripes of the ground are plain near the pixels and of no use to a name, so that the tower drops them on its
//! way up; so is the eye that tells which way a thing faces. Every thing has one place where no training scene shows it, as in
//! [`super::pictures`], from whose atlas the things are.

use std::sync::OnceLock;

use super::pictures::{self, CELL, NUMBERS, PATCH, SIZE, Thing, corner_patches, reduce, with_article};
use super::{LOOKS, Painting, Seen, Split, Turn, World, patch_classes};
use crate::data::rng::Rng;
use crate::data::tokenizer::SPECIALS;

/// The kinds of questions.
pub const KINDS: [&str; 10] =
    ["what", "existence", "count", "place", "left", "ground", "stripes", "facing", "size", "on"];
/// What can be told of a thing, and how many answers there are.
pub const ATTRIBUTES: [(&str, usize); 5] =
    [("name", NAMES.len()), ("ground", HUES.len()), ("stripes", 2), ("facing", 2), ("size", 2)];
/// Colours of grounds: name and red, green, blue.
pub const HUES: [(&str, [f32; 3]); 6] = [
    ("red", [205.0, 60.0, 60.0]),
    ("green", [60.0, 165.0, 70.0]),
    ("blue", [60.0, 90.0, 210.0]),
    ("yellow", [205.0, 185.0, 60.0]),
    ("purple", [150.0, 70.0, 190.0]),
    ("cyan", [60.0, 180.0, 190.0]),
];
/// The four corners, in row order. A word each: a question has to say where it means in one place of the text.
pub const PLACES: [&str; 4] = ["top-left", "top-right", "bottom-left", "bottom-right"];
/// How stripes run.
pub const STRIPES: [&str; 2] = ["upright", "level"];
/// Where a thing faces.
pub const WAYS: [&str; 2] = ["left", "right"];
/// How large it is drawn.
pub const SIZES: [&str; 2] = ["small", "big"];
/// Things by their names in the atlas, and where those face that have a front: a position in [`WAYS`].
const NAMES: [(&str, Option<usize>); 16] = [
    ("dog", None),
    ("cat", None),
    ("fish", Some(1)),
    ("turtle", Some(0)),
    ("elephant", Some(0)),
    ("penguin", Some(1)),
    ("butterfly", None),
    ("apple", None),
    ("mushroom", None),
    ("house", None),
    ("sun", None),
    ("ball", None),
    ("car", Some(0)),
    ("tractor", Some(0)),
    ("airplane", Some(1)),
    ("rocket", Some(1)),
];
/// Side of an eye, in pixels.
const EYE: usize = 4;
/// Share of its patches that tell something of a thing, in a picture told in words.
const TOLD: f32 = 0.7;
/// Share of such pictures whose looks tell all or nothing.
const WHOLE: f32 = 0.7;
/// How often "what is left of ..." is asked in training where the scene only allows the answer "nothing".
const NOTHING_KEPT: f32 = 0.2;

/// The things in the order of their classes, with where they face in the atlas: label class `i + 1` is thing `i`.
#[must_use]
pub fn things() -> &'static [(&'static Thing, Option<usize>)] {
    static THINGS: OnceLock<Vec<(&Thing, Option<usize>)>> = OnceLock::new();
    THINGS.get_or_init(|| {
        let find = |name: &str| pictures::things().iter().find(|t| t.name == name);
        NAMES.iter().filter_map(|(name, faces)| Some((find(name)?, *faces))).collect()
    })
}

/// The vocabulary: special tokens, the words of questions and answers, places, colours, numbers, things. No question mark:
/// questions end with what they ask about, and the answer is looked up from there.
#[must_use]
pub fn words() -> Vec<String> {
    let frame = "what is it at the there a an how many things are where left right of nothing and yes no colour ground \
        behind do stripes run upright level direction thing facing size big small stands on";
    let names = NAMES.iter().map(|n| n.0);
    let hues = HUES.iter().map(|h| h.0);
    SPECIALS
        .into_iter()
        .chain(frame.split_whitespace())
        .chain(PLACES)
        .chain(hues)
        .chain(NUMBERS)
        .chain(names)
        .map(str::to_owned)
        .collect()
}

/// A thing on its ground.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct Stand {
    /// In [`things`].
    pub thing: usize,
    /// In [`PLACES`].
    pub place: usize,
    /// In [`HUES`].
    pub hue: usize,
    /// In [`STRIPES`].
    pub stripes: usize,
    /// In [`WAYS`]; things without a front are drawn as they are in the atlas.
    pub way: usize,
    /// In [`SIZES`].
    pub size: usize,
}

impl Stand {
    fn name(&self) -> &'static str {
        NAMES[self.thing].0
    }

    fn faces(&self) -> bool {
        NAMES[self.thing].1.is_some()
    }

    /// What a look that `tells` these attributes can tell of it, each in a word or two: an attribute with the place or with
    /// the name. A patch tells one of these, so that it is plain what belongs to what.
    fn told(&self, tells: [bool; ATTRIBUTES.len()]) -> Vec<String> {
        let way = self.faces().then(|| WAYS[self.way]);
        let all = [Some(self.name()), Some(HUES[self.hue].0), Some(STRIPES[self.stripes]), way, Some(SIZES[self.size])];
        let told: Vec<&str> = all.into_iter().zip(tells).filter_map(|(word, tells)| word.filter(|_| tells)).collect();
        let of_place = told.iter().map(|word| format!("{} {word}", PLACES[self.place]));
        let of_name = told.iter().skip(1).filter(|_| tells[0]).map(|word| format!("{} {word}", self.name()));
        let mut told: Vec<String> = of_place.chain(of_name).collect();
        if told.is_empty() {
            told.push(PLACES[self.place].to_owned());
        }
        told
    }
}

/// Which looks tell which attributes. Mostly a look tells all or nothing, so that every layer learns to look things up; else each
/// attribute is told by one look for sure and by half of the others, as by the depths of a tower.
fn looks(rng: &mut Rng) -> [[bool; LOOKS]; ATTRIBUTES.len()] {
    let any = |share: f32, rng: &mut Rng| {
        let sure = rng.below(LOOKS);
        std::array::from_fn(|look| rng.chance(share) || look == sure)
    };
    if !rng.chance(WHOLE) {
        return std::array::from_fn(|_| any(0.5, rng));
    }
    let share = if rng.chance(0.5) { 1.0 } else { 0.5 };
    [any(share, rng); ATTRIBUTES.len()]
}

/// A thing by its name, or by its place.
fn referred(stand: &Stand, rng: &mut Rng) -> String {
    if rng.chance(0.5) { stand.name().to_owned() } else { format!("thing at the {}", PLACES[stand.place]) }
}

/// The ground of a thing, by its name or by its place.
fn where_behind(stand: &Stand, rng: &mut Rng) -> String {
    if rng.chance(0.5) { format!("behind the {}", stand.name()) } else { format!("at the {}", PLACES[stand.place]) }
}

/// One to three different things in different corners on grounds of different colours, in the order of the places.
pub(in crate::data) struct Scene(pub(in crate::data) Vec<Stand>);

impl Scene {
    fn is_held_out(&self) -> bool {
        self.0.iter().any(|s| things()[s.thing].0.held_out == s.place)
    }

    fn existence(&self, asked: &[Turn], want: Option<bool>, rng: &mut Rng) -> Option<(String, String)> {
        // No more such questions than things: then yes never runs out, and no answer tells anything about the next.
        if asked.iter().filter(|t| t.kind == KINDS[1]).count() >= self.0.len() {
            return None;
        }
        let yes = want.unwrap_or_else(|| rng.chance(0.5));
        loop {
            let thing = if yes { rng.pick(&self.0).thing } else { rng.below(NAMES.len()) };
            let question = format!("is there {} ?", with_article(NAMES[thing].0));
            let there = self.0.iter().any(|s| s.thing == thing);
            if there == yes && asked.iter().all(|t| t.question != question) {
                return Some((question, if yes { "yes" } else { "no" }.to_owned()));
            }
        }
    }

    fn left_of(&self, want: Option<bool>, rng: &mut Rng) -> Option<(String, String)> {
        let neighbour = |s: &Stand| self.0.iter().find(|n| n.place + 1 == s.place);
        let on_the_right: Vec<&Stand> = self.0.iter().filter(|s| s.place % 2 == 1).collect();
        let something = want.unwrap_or_else(|| rng.chance(0.5));
        let fitting: Vec<&Stand> =
            on_the_right.iter().copied().filter(|s| neighbour(s).is_some() == something).collect();
        let stand = if !fitting.is_empty() {
            *rng.pick(&fitting)
        } else if on_the_right.is_empty() || want.is_some() || (something && !rng.chance(NOTHING_KEPT)) {
            return None;
        } else {
            *rng.pick(&on_the_right)
        };
        let answer = neighbour(stand).map_or("nothing", Stand::name);
        Some((format!("what is left of the {} ?", stand.name()), answer.to_owned()))
    }

    /// A thing that `fits`, and of those one whose `value` is as wanted, true for the second.
    fn pick(
        &self,
        want: Option<bool>,
        rng: &mut Rng,
        fits: fn(&Stand) -> bool,
        value: fn(&Stand) -> usize,
    ) -> Option<Stand> {
        let fits = |s: &&Stand| fits(s) && want.is_none_or(|w| value(s) == usize::from(w));
        let fitting: Vec<&Stand> = self.0.iter().filter(fits).collect();
        (!fitting.is_empty()).then(|| **rng.pick(&fitting))
    }
}

impl World for Scene {
    const DESCRIBED: f32 = 0.9;

    fn draw(split: Option<Split>, rng: &mut Rng) -> Self {
        // A reader that meets a single thing learns to say what there is, not to look for what is asked about.
        let count = *rng.pick(if split.is_none() { &[1, 2, 2, 3, 3] } else { &[1, 1, 2, 2, 3] });
        loop {
            let (mut places, mut hues) = ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5]);
            rng.shuffle(&mut places);
            rng.shuffle(&mut hues);
            places[..count].sort_unstable();
            let mut scene = Self(Vec::with_capacity(count));
            for (place, hue) in places[..count].iter().zip(hues) {
                let mut thing = rng.below(NAMES.len());
                while scene.0.iter().any(|s| s.thing == thing) {
                    thing = rng.below(NAMES.len());
                }
                let [stripes, way, size] = std::array::from_fn(|_| rng.below(2));
                scene.0.push(Stand { thing, place: *place, hue, stripes, way, size });
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
        let any = *rng.pick(&self.0);
        let own = |answer: &str| answer.to_owned();
        let (question, answer) = match kind {
            0 if self.0.len() == 1 => ("what is it ?".to_owned(), own(any.name())),
            0 => (format!("what is at the {} ?", PLACES[any.place]), own(any.name())),
            1 => self.existence(asked, want, rng)?,
            2 => ("how many things are there ?".to_owned(), own(NUMBERS[self.0.len() - 1])),
            3 => (format!("where is the {} ?", any.name()), own(PLACES[any.place])),
            4 => self.left_of(want, rng)?,
            5 => (format!("what colour is the ground {} ?", where_behind(&any, rng)), own(HUES[any.hue].0)),
            6 => {
                let s = self.pick(want, rng, |_| true, |s| s.stripes)?;
                (format!("how do the stripes run {} ?", where_behind(&s, rng)), own(STRIPES[s.stripes]))
            }
            7 => {
                let s = self.pick(want, rng, Stand::faces, |s| s.way)?;
                (format!("what is the direction of the {} ?", referred(&s, rng)), own(WAYS[s.way]))
            }
            8 => {
                let s = self.pick(want, rng, |_| true, |s| s.size)?;
                (format!("what is the size of the {} ?", referred(&s, rng)), own(SIZES[s.size]))
            }
            _ => (format!("what stands on {} ?", HUES[any.hue].0), own(any.name())),
        };
        Some(Turn { kind: KINDS[kind], question, answer })
    }

    fn seen(&self) -> Vec<Seen> {
        let values =
            |s: &Stand| vec![Some(s.thing), Some(s.hue), Some(s.stripes), s.faces().then_some(s.way), Some(s.size)];
        self.0.iter().map(|s| Seen { patches: corner_patches(s.place), values: values(s) }).collect()
    }

    fn facts(&self, rng: &mut Rng) -> Vec<Vec<(usize, String)>> {
        let tells = looks(rng);
        let tell = |look: usize| {
            let tells = tells.map(|attribute| attribute[look]);
            let mut words = Vec::new();
            for stand in self.0.iter().filter(|_| tells.contains(&true)) {
                let mut patches = corner_patches(stand.place);
                rng.shuffle(&mut patches);
                let told = stand.told(tells);
                let patches = patches.into_iter().enumerate().filter(|_| rng.chance(TOLD));
                words.extend(patches.map(|(i, patch)| (patch, told[i % told.len()].clone())));
            }
            words
        };
        (0..LOOKS).map(tell).collect()
    }

    fn describe(&self, rng: &mut Rng) -> String {
        let told = |s: &Stand| {
            let facing = if s.faces() { format!(" facing {}", WAYS[s.way]) } else { String::new() };
            let Stand { place, hue, stripes, size, .. } = *s;
            let (size, place, hue, stripes) = (SIZES[size], PLACES[place], HUES[hue].0, STRIPES[stripes]);
            format!("a {size} {} at the {place}{facing} on {hue} {stripes} stripes", s.name())
        };
        let mut told: Vec<String> = self.0.iter().map(told).collect();
        rng.shuffle(&mut told);
        told.join(" and ")
    }

    fn paint(&self, rng: &mut Rng) -> Painting {
        let greys: [f32; 4] = std::array::from_fn(|_| rng.uniform(70.0, 180.0));
        let mut canvas: Vec<f32> =
            (0..SIZE * SIZE).flat_map(|p| [greys[p / SIZE / CELL * 2 + p % SIZE / CELL]; 3]).collect();
        let mut cover = vec![vec![0.0; SIZE * SIZE]; self.0.len()];
        for (cover, stand) in cover.iter_mut().zip(&self.0) {
            let corner = (stand.place / 2 * CELL, stand.place % 2 * CELL);
            paint_ground(&mut canvas, cover, corner, stand, rng);
            paint_thing(&mut canvas, corner, stand, rng);
        }
        let light = rng.uniform(0.85, 1.1);
        canvas.iter_mut().for_each(|v| *v = *v * light + rng.normal() * 6.0);
        let classes: Vec<u32> = self.0.iter().map(|s| s.thing as u32 + 1).collect();
        let labels = vec![patch_classes(&cover, &classes, SIZE, PATCH)];
        Painting { rgb: canvas.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect(), labels }
    }
}

/// Fills a corner with stripes of half a patch, lighter and darker. The whole corner counts as its thing's: every patch of it is
/// asked to name the thing.
fn paint_ground(canvas: &mut [f32], cover: &mut [f32], (top, left): (usize, usize), stand: &Stand, rng: &mut Rng) {
    let colour = HUES[stand.hue].1.map(|c| c + rng.uniform(-20.0, 20.0));
    // Nearly alike in every patch: as plain near the pixels as colour is.
    let phase = rng.below(2);
    for (y, x) in (0..CELL).flat_map(|y| (0..CELL).map(move |x| (y, x))) {
        let along = if STRIPES[stand.stripes] == "upright" { x } else { y };
        let wave = if (along + phase) % PATCH < PATCH / 2 { 1.3 } else { 0.7 };
        let at = (top + y) * SIZE + left + x;
        (0..3).for_each(|c| canvas[at * 3 + c] = colour[c] * wave);
        cover[at] = 1.0;
    }
}

/// Draws a thing somewhere in its corner, mirrored where it faces the other way than in the atlas. What has a front has an eye
/// there.
fn paint_thing(canvas: &mut [f32], corner: (usize, usize), stand: &Stand, rng: &mut Rng) {
    let (thing, faces) = things()[stand.thing];
    let side = if SIZES[stand.size] == "big" { 20 + rng.below(3) } else { 14 + rng.below(3) };
    let (top, left) = (corner.0 + rng.below(CELL - side + 1), corner.1 + rng.below(CELL - side + 1));
    let brightness = rng.uniform(0.8, 1.1);
    let mirrored = faces.is_some_and(|way| way != stand.way);
    for (i, pixel) in reduce(&thing.rgba, side).chunks_exact(4).enumerate() {
        let x = if mirrored { side - 1 - i % side } else { i % side };
        let at = (top + i / side) * SIZE + left + x;
        let alpha = pixel[3] / 255.0;
        for (c, colour) in pixel[..3].iter().enumerate() {
            canvas[at * 3 + c] = canvas[at * 3 + c] * (1.0 - alpha) + colour * brightness;
        }
    }
    if !stand.faces() {
        return;
    }
    let left = if WAYS[stand.way] == "left" { left } else { left + side - EYE };
    for (y, x) in (0..EYE).flat_map(|y| (0..EYE).map(move |x| (y, x))) {
        let pupil = (1..EYE - 1).contains(&y) && (1..EYE - 1).contains(&x);
        let at = (top + side / 4 + y) * SIZE + left + x;
        canvas[at * 3..][..3].fill(if pupil { 0.0 } else { 255.0 });
    }
}
