//! What a whole set scores.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::reading::{Reading, reference};
use super::{CATEGORIES, Item, PERCEPTION, Rules, Task, is_seen, shown, unknown_category};

/// An item and how its answer was read; none where something is wrong with the item.
pub type Read<'a> = (&'a Item, Option<&'a Reading>);

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_usize);
    values.for_each(|value| (sum, count) = (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn category(item: &Item) -> String {
    item.get("category").map_or_else(String::new, shown)
}

/// By category.
fn grouped<'a>(all: &[Read<'a>]) -> BTreeMap<String, Vec<Read<'a>>> {
    let mut groups: BTreeMap<String, Vec<Read<'a>>> = BTreeMap::new();
    all.iter().for_each(|read| groups.entry(category(read.0)).or_default().push(*read));
    groups
}

/// The totals of a set under the names that the rules give them, and sentences about what is not in them.
#[must_use]
pub fn totals(task: Task, rules: Rules, all: &[Read<'_>]) -> (Map<String, Value>, Vec<String>) {
    let mut notes = Vec::new();
    let read: Vec<Read<'_>> = all.iter().copied().filter(|(_, reading)| reading.is_some()).collect();
    if read.len() < all.len() {
        notes.push(format!("{} of {} items are left out of the totals", all.len() - read.len(), all.len()));
    }
    if read.is_empty() {
        notes.push("there is no item that can be scored".to_owned());
    }
    let totals = match task {
        Task::Mme => mme(&read, &mut notes),
        Task::Pope => {
            let mut totals = pope(rules, &read);
            let groups = grouped(&read).into_iter().map(|(name, group)| (name, Value::Object(pope(rules, &group))));
            totals.insert("categories".into(), Value::Object(groups.collect()));
            totals
        }
        Task::ScienceQa => science(&read, &mut notes),
        Task::Gqa | Task::OkVqa | Task::TextVqa | Task::VqaV2 => exact(&read),
    };
    (totals, notes)
}

fn score((_, reading): &Read<'_>) -> f64 {
    reading.map_or(0.0, |reading| reading.score)
}

fn exact(read: &[Read<'_>]) -> Map<String, Value> {
    Map::from_iter([("exact_match".to_owned(), json!(mean(read.iter().map(score))))])
}

/// Points of MME: 50 for each right answer, and 100 more where both of a picture are.
fn mme(read: &[Read<'_>], notes: &mut Vec<String>) -> Map<String, Value> {
    let mut points: BTreeMap<String, f64> = BTreeMap::new();
    for (name, group) in grouped(read) {
        notes.extend(unknown_category(&name));
        let mut pairs: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        // The set's own script takes one line and the next: in its files those have one picture.
        for one in &group {
            let key = one.0.get("question_id").map_or_else(String::new, shown);
            pairs.entry(key).or_default().push(score(one));
        }
        let (whole, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(_, scores)| scores.len() == 2);
        for (key, scores) in others {
            notes.push(format!(
                "{name}: {key} has {} questions, and MME counts pairs: it is left out of the totals",
                scores.len()
            ));
        }
        let pair = |scores: &Vec<f64>| {
            50.0 * (scores[0] + scores[1]) + if scores.iter().sum::<f64>() > 1.5 { 100.0 } else { 0.0 }
        };
        if let Some(value) = mean(whole.iter().map(|(_, scores)| pair(scores))) {
            points.insert(name, value);
        }
    }
    let sum = |perception: bool| {
        let is_perception = |name: &str| CATEGORIES[..PERCEPTION].contains(&name);
        points.iter().filter(|(name, _)| is_perception(name) == perception).fold(0.0, |sum, (_, v)| sum + v)
    };
    Map::from_iter([
        ("mme_perception_score".to_owned(), json!(sum(true))),
        ("mme_cognition_score".to_owned(), json!(sum(false))),
        ("categories".to_owned(), json!(points)),
    ])
}

fn pope(rules: Rules, read: &[Read<'_>]) -> Map<String, Value> {
    let pairs: Vec<(bool, &str)> = read
        .iter()
        .filter_map(|(item, reading)| {
            Some((reference(Task::Pope, item).ok()? == "yes", (*reading)?.parsed.as_deref().unwrap_or_default()))
        })
        .collect();
    let count = |want: &dyn Fn(bool, &str) -> bool| pairs.iter().filter(|(yes, said)| want(*yes, said)).count() as f64;
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let hits = count(&|yes, said| yes && said == "yes");
    let precision = ratio(hits, count(&|_, said| said == "yes"));
    let recall = match rules {
        // What is neither yes nor no is not among those that could have been found.
        Rules::LmmsEval => ratio(hits, count(&|yes, said| yes && (said == "yes" || said == "no"))),
        Rules::Official | Rules::VlmEvalKit => ratio(hits, count(&|yes, _| yes)),
    };
    let yes = match rules {
        Rules::LmmsEval => count(&|yes, _| yes),
        Rules::Official | Rules::VlmEvalKit => count(&|_, said| said == "yes"),
    };
    let mut out = Map::new();
    for (name, value) in [
        ("pope_accuracy", mean(read.iter().map(score))),
        ("pope_precision", Some(precision)),
        ("pope_recall", Some(recall)),
        ("pope_f1_score", Some(ratio(2.0 * precision * recall, precision + recall))),
        ("pope_yes_ratio", (!pairs.is_empty()).then(|| yes / pairs.len() as f64)),
    ] {
        out.insert(name.to_owned(), json!(value));
    }
    out
}

/// `ScienceQA` by its usual groups, and the items with pictures by themselves. Groups of a field that some items lack are left
/// out: without it nobody knows whether an item is one of theirs.
fn science(read: &[Read<'_>], notes: &mut Vec<String>) -> Map<String, Value> {
    type Group<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(&Item) -> bool);
    let is = |item: &Item, field: &str, want: &str| item.get(field).and_then(Value::as_str) == Some(want);
    let hint = |item: &Item| item.get("hint").and_then(Value::as_str).is_some_and(|hint| !hint.is_empty());
    let grade = |item: &Item| {
        item.get("grade").and_then(Value::as_str).and_then(|grade| grade.strip_prefix("grade")?.parse::<u32>().ok())
    };
    let all: [Group<'_>; 8] = [
        ("NAT", &["subject"], &|item| is(item, "subject", "natural science")),
        ("SOC", &["subject"], &|item| is(item, "subject", "social science")),
        ("LAN", &["subject"], &|item| is(item, "subject", "language science")),
        ("TXT", &["hint"], &hint),
        ("IMG", &["image"], &is_seen),
        ("NO", &["hint", "image"], &|item| !hint(item) && !is_seen(item)),
        ("G1-6", &["grade"], &|item| grade(item).is_some_and(|grade| (1..=6).contains(&grade))),
        ("G7-12", &["grade"], &|item| grade(item).is_some_and(|grade| (7..=12).contains(&grade))),
    ];
    let (mut groups, mut left_out) = (Map::new(), BTreeMap::<&str, Vec<&str>>::new());
    for (name, fields, of) in all {
        let lacking = fields.iter().find(|field| read.iter().any(|(item, _)| !item.contains_key(**field)));
        if let Some(field) = lacking {
            left_out.entry(field).or_default().push(name);
            continue;
        }
        let own: Vec<f64> = read.iter().filter(|(item, _)| of(item)).map(score).collect();
        let value = json!({"exact_match": mean(own.iter().copied()), "count": own.len()});
        groups.insert(name.to_owned(), value);
    }
    for (field, names) in left_out {
        let (count, names) = (read.iter().filter(|(item, _)| !item.contains_key(field)).count(), names.join(", "));
        notes.push(format!("the totals of {names} are left out: {count} of {} items have no \"{field}\"", read.len()));
    }
    let mut out = exact(read);
    if let Some(seen) = groups.get("IMG") {
        out.insert("scienceqa_img".to_owned(), seen.clone());
    }
    out.insert("groups".to_owned(), Value::Object(groups));
    out
}
