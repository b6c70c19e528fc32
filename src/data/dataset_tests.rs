//! Tests of the made-up data sets: what is held out, purity, balance, vocabulary, labels.

use std::collections::HashSet;

use super::super::tokenizer::Tokenizer;
use super::super::worlds::{LOOKS, Seen, to_rgb8};
use super::*;

/// The things of a description, which says everything about a scene but the jitter, in a fixed order.
fn scene_key(sample: &Sample) -> String {
    let mut things: Vec<&str> = sample.description.split(" and ").collect();
    things.sort_unstable();
    things.join(" and ")
}

#[test]
fn samples_are_pure_and_differ() {
    for d in Dataset::ALL {
        for split in [Split::Train, Split::HeldOut] {
            let a = d.sample(split, 5, 123_456_789_012, 6);
            assert_eq!(a, d.sample(split, 5, 123_456_789_012, 6));
            assert_ne!(a.pixels, d.sample(split, 5, 123_456_789_013, 6).pixels);
            assert_ne!(a.pixels, d.sample(split, 6, 123_456_789_012, 6).pixels);
            let text = d.text_sample(split, 5, 123_456_789_012, 6);
            assert_eq!((&a.turns, &a.description, a.described), (&text.turns, &text.description, text.described));
            assert!(text.pixels.is_empty() && text.patch_labels.is_empty());
            assert_eq!(d.samples(split, 5, 7, 3, 6)[2], d.sample(split, 5, 9, 6));
        }
        assert_eq!(Dataset::by_name(d.name()), Some(d));
    }
}

/// Pinned results: the same on every platform and in every later version, or resumed runs and held-out results are void.
#[test]
fn samples_never_change() {
    let digest = |d: Dataset, split| {
        let bytes: Vec<u8> = (0..20)
            .flat_map(|i| {
                let s = d.sample(split, 1, i, 5);
                let labels: Vec<u8> = s.patch_labels.concat().iter().map(|l| *l as u8).collect();
                [to_rgb8(&s.pixels), labels, format!("{:?}{}{}", s.turns, s.description, s.described).into_bytes()]
                    .concat()
            })
            .collect();
        super::super::rng::hash_bytes(&bytes)
    };
    let found = Dataset::ALL.map(|d| [digest(d, Split::Train), digest(d, Split::HeldOut)]);
    assert_eq!(found, PINNED);
}

#[test]
fn held_out_scenes_are_never_trained_on() {
    for d in Dataset::ALL {
        let keys =
            |split, n| -> HashSet<String> { (0..n).map(|i| scene_key(&d.text_sample(split, 3, i, 1))).collect() };
        let (train, held_out) = (keys(Split::Train, 20_000), keys(Split::HeldOut, 5_000));
        assert!(train.is_disjoint(&held_out));
        assert!(held_out.len() > 700, "{}", held_out.len());
    }
    // Text alone tells of all scenes.
    for d in Dataset::ALL {
        let any = (0..2_000).map(|i| d.sample_with(None, 3, i, 1, &[], false));
        let keys: HashSet<String> = any.map(|s| scene_key(&s)).collect();
        let held_out: HashSet<String> =
            (0..10_000).map(|i| scene_key(&d.text_sample(Split::HeldOut, 3, i, 1))).collect();
        let shared = keys.intersection(&held_out).count();
        assert!(shared > 50, "{d:?}: {shared}");
    }
    // pictures: every thing keeps one place for evaluation, and stands in the other three in training
    let mut seen = vec![[0_usize; 4]; pictures::things().len()];
    let mut rng = Rng::new(1, 1);
    for _ in 0..20_000 {
        pictures::Scene::draw(Some(Split::Train), &mut rng)
            .0
            .iter()
            .for_each(|(thing, place)| seen[*thing][*place] += 1);
        assert!(pictures::Scene::draw(Some(Split::HeldOut), &mut rng).is_held_out());
    }
    for (thing, counts) in pictures::things().iter().zip(&seen) {
        assert!((0..4).all(|p| (counts[p] == 0) == (p == thing.held_out)), "{}: {counts:?}", thing.name);
    }
}

#[test]
fn numbers_of_things_are_as_planned() {
    for d in Dataset::ALL {
        for split in [Split::Train, Split::HeldOut] {
            let mut counts = [0_usize; 4];
            (0..5_000).for_each(|i| counts[d.text_sample(split, 9, i, 4).things] += 1);
            // held-out questions about neighbours need several things, which shifts the numbers a little
            assert!(
                (1_450..2_250).contains(&counts[1])
                    && (1_750..2_350).contains(&counts[2])
                    && (900..1_500).contains(&counts[3]),
                "{d:?} {split:?} {counts:?}"
            );
        }
    }
}

/// What a question's answer must be, worked out from the description alone.
fn answer(sample: &Sample, turn: &Turn) -> String {
    let things: Vec<(String, &str)> = sample
        .description
        .split(" and ")
        .map(|t| {
            let (what, place) = t.split_once(" at ").unwrap();
            (what.split_once(' ').unwrap().1.to_owned(), place.trim_start_matches("the "))
        })
        .collect();
    let q: Vec<&str> = turn.question.trim_end_matches(" ?").split(' ').collect();
    let last = q[q.len() - 1];
    let find = |name: &str| things.iter().find(|t| t.0.split(' ').next_back() == Some(name)).unwrap();
    let number = |n: usize| ["zero", "one", "two", "three"][n].to_owned();
    match turn.kind {
        "colour" => find(last).0.split(' ').next().unwrap().to_owned(),
        "existence" => {
            let name = q[3..].join(" ");
            if things.iter().any(|t| t.0 == name) { "yes" } else { "no" }.to_owned()
        }
        "count" if q[2] == "things" => number(things.len()),
        "count" => number(things.iter().filter(|t| t.0.ends_with(q[2])).count()),
        "place" => find(last).1.to_owned(),
        "what" if things.len() == 1 => things[0].0.clone(),
        "what" => things.iter().find(|t| t.1 == q[4..].join(" ")).unwrap().0.clone(),
        "left" => {
            let place = find(last).1.replace("right", "left");
            assert!(find(last).1.ends_with("right"));
            things.iter().find(|t| t.1 == place).map_or("nothing".to_owned(), |t| t.0.clone())
        }
        _ => {
            let order = shapes::PLACES;
            let mut parts: Vec<&str> = sample.description.split(" and ").collect();
            parts.sort_by_key(|p| order.iter().position(|o| Some(*o) == p.split(" at ").nth(1)));
            parts.join(" and ")
        }
    }
}

/// The same for things on grounds, whose descriptions say more.
fn answer_on_grounds(sample: &Sample, turn: &Turn) -> String {
    struct Told<'a> {
        size: &'a str,
        name: &'a str,
        place: &'a str,
        way: Option<&'a str>,
        hue: &'a str,
        stripes: &'a str,
    }
    let told: Vec<Told<'_>> = sample
        .description
        .split(" and ")
        .map(|part| {
            let w: Vec<&str> = part.split(' ').collect();
            let on = w.iter().position(|x| *x == "on").unwrap();
            let way = (w[6] == "facing").then(|| w[7]);
            Told { size: w[1], name: w[2], place: w[5], way, hue: w[on + 1], stripes: w[on + 2] }
        })
        .collect();
    let q: Vec<&str> = turn.question.trim_end_matches(" ?").split(' ').collect();
    let named = |name: &str| told.iter().find(|t| t.name == name).unwrap();
    // Questions end with what they ask about.
    let last = q[q.len() - 1];
    let asked = || told.iter().find(|t| t.name == last || t.place == last).unwrap();
    match turn.kind {
        "what" if told.len() == 1 => told[0].name.to_owned(),
        "what" => asked().name.to_owned(),
        "existence" => if told.iter().any(|t| t.name == last) { "yes" } else { "no" }.to_owned(),
        "count" => ["one", "two", "three"][told.len() - 1].to_owned(),
        "place" => named(last).place.to_owned(),
        "left" => {
            let place = named(last).place.replace("right", "left");
            assert!(named(last).place.ends_with("right"));
            told.iter().find(|t| t.place == place).map_or("nothing", |t| t.name).to_owned()
        }
        "ground" => asked().hue.to_owned(),
        "stripes" => asked().stripes.to_owned(),
        "facing" => asked().way.unwrap().to_owned(),
        "size" => asked().size.to_owned(),
        _ => told.iter().find(|t| t.hue == last).unwrap().name.to_owned(),
    }
}

#[test]
fn questions_are_answered_rightly_in_known_words() {
    for d in Dataset::ALL {
        let tokenizer = Tokenizer::new(d.words()).unwrap();
        let mut used = HashSet::new();
        for split in [Split::Train, Split::HeldOut] {
            for i in 0..3_000 {
                let sample = d.text_sample(split, 11, i, 6);
                let questions: HashSet<&str> = sample.turns.iter().map(|t| t.question.as_str()).collect();
                assert!(questions.len() == sample.turns.len() && !questions.is_empty());
                for turn in &sample.turns {
                    let right = if d == Dataset::Grounds { answer_on_grounds } else { answer };
                    assert_eq!(turn.answer, right(&sample, turn), "{turn:?} of {}", sample.description);
                    assert!(turn.question.ends_with(" ?") && d.kinds().contains(&turn.kind));
                }
                for text in sample.turns.iter().flat_map(|t| [&t.question, &t.answer]).chain([&sample.description]) {
                    let ids = tokenizer.encode(text);
                    // the words of the data sets are the tokens, one each
                    assert_eq!(ids.len(), text.split(' ').filter(|w| *w != "?" || tokenizer.id("?").is_some()).count());
                    assert!(tokenizer.unknown(text).is_empty(), "{text}");
                    used.extend(ids);
                }
            }
        }
        let unused: Vec<String> =
            (4..tokenizer.size() as u32).filter(|i| !used.contains(i)).map(|i| tokenizer.decode(&[i])).collect();
        assert!(unused.is_empty(), "{d:?} {unused:?}");
    }
}

#[test]
fn kinds_and_answers_are_balanced() {
    for d in Dataset::ALL {
        let mut counts = std::collections::BTreeMap::new();
        for split in [Split::Train, Split::HeldOut] {
            for i in 0..6_000 {
                for t in d.text_sample(split, 2, i, 5).turns {
                    *counts.entry((split == Split::Train, t.kind, String::new())).or_insert(0.0) += 1.0;
                    *counts.entry((split == Split::Train, t.kind, t.answer)).or_insert(0.0) += 1.0;
                }
            }
        }
        let get = |train, kind, answer: &str| counts.get(&(train, kind, answer.to_owned())).copied().unwrap_or(0.0_f64);
        for train in [true, false] {
            let kinds: Vec<f64> = d.kinds().iter().map(|k| get(train, *k, "")).collect();
            let yes = get(train, "existence", "yes") / get(train, "existence", "");
            let tolerance = if train { 0.02 } else { 1e-3 };
            assert!((yes - 0.5).abs() < tolerance, "{d:?} {train} yes {yes}");
            if train {
                let all: f64 = kinds.iter().sum();
                assert!(kinds.iter().all(|k| (0.06..0.36).contains(&(k / all))), "{d:?} {kinds:?}");
            } else {
                let each = 6_000.0 / kinds.len() as f64;
                assert!(kinds.iter().all(|k| (k - each).abs() < 1.0), "{d:?} {kinds:?}");
            }
        }
        if d == Dataset::Pictures {
            let nothing = [true, false].map(|train| get(train, "left", "nothing") / get(train, "left", ""));
            assert!((0.35..0.65).contains(&nothing[0]) && (nothing[1] - 0.5).abs() < 1e-3, "{nothing:?}");
        }
    }
}

#[test]
fn the_mix_of_kinds_is_obeyed() {
    for i in 0..200 {
        let only_left = Dataset::Pictures.sample_with(Some(Split::Train), 1, i, 3, &[0.0, 0.0, 0.0, 0.0, 1.0], false);
        assert!(!only_left.turns.is_empty() && only_left.turns.iter().all(|t| t.kind == "left"));
        let only_count = Dataset::Shapes.sample_with(Some(Split::HeldOut), 1, i, 3, &[0.0, 0.0, 1.0], false);
        assert!(only_count.turns.len() == 1 && only_count.turns[0].kind == "count");
    }
    assert!(Dataset::Shapes.sample(Split::Train, 1, 1, 0).turns.is_empty());
}

/// Attributes name what the description tells, and their patches lie in the thing's corner.
#[test]
fn what_is_seen_is_what_is_described() {
    for i in 0..200 {
        let s = Dataset::Grounds.sample(Split::Train, 8, i, 1);
        assert_eq!(s.seen.len(), s.things);
        let attributes = Dataset::Grounds.attributes();
        for seen in &s.seen {
            assert!(seen.values.iter().zip(&attributes).all(|(v, (_, classes))| v.is_none_or(|v| v < *classes)));
            let v: Vec<usize> = seen.values.iter().map(|v| v.unwrap_or(0)).collect();
            let place = grounds::PLACES[usize::from(seen.patches[0] >= 32) * 2 + usize::from(seen.patches[0] % 8 >= 4)];
            let name = &grounds::things()[v[0]].0.name;
            let facing = seen.values[3].map_or(String::new(), |way| format!(" facing {}", grounds::WAYS[way]));
            let (hue, stripes, size) = (grounds::HUES[v[1]].0, grounds::STRIPES[v[2]], grounds::SIZES[v[4]]);
            let told = format!("a {size} {name} at the {place}{facing} on {hue} {stripes} stripes");
            assert!(s.description.split(" and ").any(|d| d == told), "{told}: {}", s.description);
            // The tower is asked to name the thing on every patch of its corner.
            assert!(seen.patches.len() == 16 && seen.patches.iter().all(|p| s.patch_labels[0][*p] == v[0] as u32 + 1));
        }
    }
}

/// A patch tells one thing of what stands there, and the looks together nearly all of it; some tell all, some nothing, some some.
#[test]
fn what_is_told_belongs_together() {
    let mut found = [0; 3];
    let (mut told, mut all) = (0, 0);
    for i in 0..200 {
        let s = Dataset::Grounds.sample_with(None, 8, i, 1, &[], false);
        assert_eq!(s.facts.len(), LOOKS);
        for (description, seen) in s.description.split(" and ").map(|d| {
            let w: Vec<&str> = d.split(' ').collect();
            let place = grounds::PLACES.iter().position(|p| *p == w[5]).unwrap();
            let corner = |seen: &&Seen| seen.patches[0] == place / 2 * 32 + place % 2 * 4;
            (w, s.seen.iter().find(corner).unwrap())
        }) {
            let own: HashSet<&str> = description.iter().copied().filter(|w| !["at", "the", "on"].contains(w)).collect();
            let mut heard = HashSet::new();
            for look in &s.facts {
                let here: Vec<Vec<&str>> = look
                    .iter()
                    .filter(|(patch, _)| seen.patches.contains(patch))
                    .map(|(_, words)| words.split(' ').collect())
                    .collect();
                for words in &here {
                    let key = words[0] == description[5] || words[0] == description[2];
                    assert!(key && words.len() <= 2 && words.iter().all(|w| own.contains(w)), "{words:?}: {own:?}");
                }
                let kinds = here.iter().flatten().copied().collect::<HashSet<_>>().len();
                found[if kinds == 0 { 0 } else { 1 + usize::from(kinds >= 5) }] += 1;
                heard.extend(here.into_iter().flatten());
            }
            // Size, name, place, colour and stripes.
            let on = description.iter().position(|w| *w == "on").unwrap();
            let must = [1, 2, 5, on + 1, on + 2].map(|at| description[at]);
            told += must.iter().filter(|w| heard.contains(*w)).count();
            all += must.len();
        }
    }
    assert!(told * 100 > all * 97, "{told} of {all}");
    let looks: i32 = found.iter().sum();
    assert!(found.iter().all(|n| n * 8 > looks), "{found:?}");
}

#[test]
fn described_rows_are_three_of_four_and_orders_vary() {
    let samples: Vec<Sample> = (0..4_000).map(|i| Dataset::Shapes.text_sample(Split::Train, 4, i, 1)).collect();
    let described = samples.iter().filter(|s| s.described).count();
    assert!((2_880..3_120).contains(&described), "{described}");
    let several = samples.iter().filter(|s| s.things > 1).collect::<Vec<_>>();
    let sorted = several
        .iter()
        .filter(|s| {
            answer(s, &Turn { kind: "caption", question: String::new(), answer: String::new() }) == s.description
        })
        .count();
    assert!((0.3..0.6).contains(&(sorted as f64 / several.len() as f64)));
}

#[test]
fn labels_name_the_things_where_they_stand() {
    for d in Dataset::ALL {
        let (size, cells) = (d.image_size(), if d == Dataset::Shapes { 3.0 } else { 2.0 });
        for i in 0..300 {
            let s = d.sample(Split::Train, 8, i, 1);
            assert_eq!(s.pixels.len(), 3 * size * size);
            assert!(s.pixels.iter().all(|p| (-1.0..=1.0).contains(p)));
            assert_eq!(s.patch_labels.len(), d.label_classes().len());
            for (labels, classes) in s.patch_labels.iter().zip(d.label_classes()) {
                assert_eq!(labels.len(), 64);
                assert!(
                    labels.iter().all(|l| (*l as usize) < classes)
                        && labels.iter().any(|l| *l > 0)
                        && labels.contains(&0)
                );
            }
            // every labelled patch of every thing lies within its cell, give or take one patch
            for thing in s.description.split(" and ") {
                let (what, place) = thing.split_once(" at ").unwrap();
                let place = place.trim_start_matches("the ");
                let name = what.split(' ').next_back().unwrap();
                let (cell, class) = match d {
                    Dataset::Shapes => (
                        shapes::PLACES.iter().position(|p| *p == place),
                        shapes::SHAPES.iter().position(|s| *s == name),
                    ),
                    Dataset::Pictures => (
                        pictures::PLACES.iter().position(|p| *p == place),
                        pictures::things().iter().position(|t| t.name == name),
                    ),
                    Dataset::Grounds => (
                        grounds::PLACES.iter().position(|p| place.starts_with(p)),
                        grounds::things().iter().position(|t| t.0.name == name),
                    ),
                };
                let (row, column) = (cell.unwrap() / cells as usize, cell.unwrap() % cells as usize);
                let center = |c: usize| (c as f64 + 0.5) / cells * 8.0 - 0.5;
                let near =
                    |n: usize| (n / 8) as f64 - center(row) <= 2.01 && ((n % 8) as f64 - center(column)).abs() <= 2.01;
                let found = (0..64).filter(|n| s.patch_labels[0][*n] == class.unwrap() as u32 + 1 && near(*n)).count();
                assert!(found >= 2, "{thing}: {found} patches");
            }
            // the bytes come back from the pixels
            assert_eq!(planes(&to_rgb8(&s.pixels)), s.pixels);
        }
    }
}

const PINNED: [[u64; 2]; 3] = [
    [4_184_153_889_260_253_633, 16_553_253_430_489_210_900],
    [952_469_250_810_180_501, 15_047_362_866_916_268_916],
    [1_050_017_800_298_213_537, 2_991_033_352_731_916_782],
];
