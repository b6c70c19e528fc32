//! Published question sets: prompts, readings and totals against lmms-eval 0.7.3's own code (`tests/fixtures-eval/make.py`).

use std::collections::BTreeMap;

use hive::data::tasks::{self, Item, Read, Reading, Rules, Task};
use hive::platform::read_file;
use serde_json::{Map, Value, json};

use crate::common::program::{folder, hive, text};
use crate::common::repository;

fn fixture(task: Task) -> Value {
    let path = repository("tests/fixtures-eval").join(format!("{}.json", task.name()));
    serde_json::from_slice(&read_file(&path).unwrap()).unwrap()
}

fn object(value: &Value) -> Item {
    value.as_object().unwrap().clone()
}

/// What differs between two trees of numbers.
fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (name, value) in want {
                differences(&format!("{path}.{name}"), value, got.get(name).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Number(a), Value::Number(b)) if (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-9 => {}
        _ => out.push(format!("{path}: {got}, not {want}")),
    }
}

/// All items of a set, by some rules.
fn scored(rules: Rules, task: Task, items: &[Value]) -> Vec<(Item, Reading)> {
    let one = |entry: &Value| {
        let item = object(&entry["doc"]);
        let reading = tasks::read(task, rules, &item, entry["answer"].as_str().unwrap()).unwrap();
        (item, reading)
    };
    items.iter().map(one).collect()
}

fn totals(rules: Rules, task: Task, scored: &[(Item, Reading)]) -> Map<String, Value> {
    let read: Vec<Read<'_>> = scored.iter().map(|(item, reading)| (item, Some(reading))).collect();
    let (totals, notes) = tasks::totals(task, rules, &read);
    assert_eq!(notes, [""; 0], "{task:?}");
    totals
}

#[test]
fn every_item_scores_as_lmms_eval_scores_it() {
    for task in Task::ALL {
        let fixture = fixture(task);
        let items = fixture["items"].as_array().unwrap();
        assert!(items.len() >= 560);
        let (mut wrong, mut kinds) = (Vec::new(), BTreeMap::<&str, usize>::new());
        let scored = scored(Rules::LmmsEval, task, items);
        for (i, (entry, (item, reading))) in items.iter().zip(&scored).enumerate() {
            *kinds.entry(entry["kind"].as_str().unwrap()).or_default() += 1;
            let place = format!("{} item {i} ({})", task.name(), entry["kind"]);
            differences(&place, &entry["score"], &json!(reading.score), &mut wrong);
            if task.prompt(item).unwrap() != entry["prompt"] {
                wrong.push(format!("{place}: {:?} is not {}", task.prompt(item), entry["prompt"]));
            }
            if entry.get("parsed").is_some_and(|parsed| Some(parsed.as_str().unwrap()) != reading.parsed.as_deref()) {
                wrong.push(format!("{place}: read {:?}, not {}", reading.parsed, entry["parsed"]));
            }
        }
        differences(
            task.name(),
            &fixture["totals"],
            &Value::Object(totals(Rules::LmmsEval, task, &scored)),
            &mut wrong,
        );
        let limit = fixture["generation"].get("max_new_tokens").and_then(Value::as_u64).unwrap_or(1024);
        assert_eq!(task.limit() as u64, limit, "{task:?}");
        assert!(wrong.is_empty(), "{} differences in {kinds:?}: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
    }
}

/// What stops lmms-eval is named, with the item; what it scores in spite of all is scored.
#[test]
fn items_that_are_wrong_are_named() {
    for task in Task::ALL {
        for case in fixture(task)["raises"].as_array().unwrap() {
            let docs: Vec<Item> = case["docs"].as_array().unwrap().iter().map(object).collect();
            let readings: Vec<_> = docs
                .iter()
                .zip(case["answers"].as_array().unwrap())
                .map(|(item, answer)| tasks::read(task, Rules::LmmsEval, item, answer.as_str().unwrap()))
                .collect();
            for (reading, want) in readings.iter().zip(case["scores"].as_array().into_iter().flatten()) {
                assert_eq!(reading.as_ref().unwrap().score, want.as_f64().unwrap(), "{task:?}: {}", case["what"]);
            }
            let read: Vec<Read<'_>> = docs.iter().zip(&readings).map(|(item, r)| (item, r.as_ref().ok())).collect();
            let (totals, notes) = tasks::totals(task, Rules::LmmsEval, &read);
            if case.get("raises").is_some() {
                assert!(!notes.is_empty(), "{task:?}: nothing is said of {}", case["what"]);
            }
            if let Some(want) = case.get("total") {
                let mut wrong = Vec::new();
                differences("total", want, &Value::Object(totals), &mut wrong);
                assert!(wrong.is_empty(), "{wrong:?}");
            }
        }
    }
}

/// A full stop in MME's reference is none; in POPE's it is refused, as lmms-eval does.
#[test]
fn references_are_read_as_their_sets_have_them() {
    let item = object(&json!({"answer": " Yes. "}));
    let read = |task| tasks::read(task, Rules::LmmsEval, &item, "yes");
    assert_eq!(read(Task::Mme).unwrap().score, 1.0);
    assert!(read(Task::Pope).unwrap_err().to_string().contains("yes or no"));
}

/// The same answers by the sets' own scripts and by `VLMEvalKit`, as these were run over the same items.
#[test]
fn other_peoples_rules_give_other_numbers() {
    let of = |task, rules| totals(rules, task, &scored(rules, task, fixture(task)["items"].as_array().unwrap()));
    for (rules, perception, cognition) in [(Rules::Official, 775.0, 302.5), (Rules::VlmEvalKit, 742.5, 280.0)] {
        let totals = of(Task::Mme, rules);
        assert_eq!(
            (&totals["mme_perception_score"], &totals["mme_cognition_score"]),
            (&json!(perception), &json!(cognition))
        );
    }
    for (rules, want) in
        [(Rules::Official, [0.568, 0.531, 0.821, 0.645]), (Rules::VlmEvalKit, [0.539, 0.750, 0.515, 0.611])]
    {
        let totals = of(Task::Pope, rules);
        for (name, want) in ["accuracy", "precision", "recall", "f1_score"].into_iter().zip(want) {
            let got = totals[&format!("pope_{name}")].as_f64().unwrap();
            assert!((got - want).abs() < 5e-4, "{rules:?} {name}: {got}, not {want}");
        }
    }
}

#[test]
fn answers_made_elsewhere_are_scored_by_the_command() {
    for task in Task::ALL {
        let path = format!("tests/fixtures-eval/{}.json", task.name());
        let got = hive(&["eval", "--task", task.name(), "--score", &path, "--json"]).code(0).json();
        let want = fixture(task);
        let mut wrong = Vec::new();
        differences(task.name(), &want["totals"], &got["totals"], &mut wrong);
        for (i, (want, got)) in
            want["items"].as_array().unwrap().iter().zip(got["items"].as_array().unwrap()).enumerate()
        {
            differences(&format!("item {i}"), &want["score"], &got["score"], &mut wrong);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Without a field nobody knows whether an item is of a group.
#[test]
fn groups_of_a_field_that_items_lack_are_left_out_and_named() {
    let items: Vec<Item> = [
        json!({"question": "a", "choices": ["a", "b"], "answer": 0, "hint": "", "grade": "grade2", "image": null}),
        json!({"question": "b", "choices": ["a", "b"], "answer": 0, "hint": "h", "grade": "grade8"}),
    ]
    .iter()
    .map(object)
    .collect();
    let readings: Vec<Reading> =
        items.iter().map(|item| tasks::read(Task::ScienceQa, Rules::LmmsEval, item, "A").unwrap()).collect();
    let read: Vec<Read<'_>> = items.iter().zip(&readings).map(|(item, reading)| (item, Some(reading))).collect();
    let (totals, notes) = tasks::totals(Task::ScienceQa, Rules::LmmsEval, &read);
    let groups: Vec<&str> = totals["groups"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(groups, ["G1-6", "G7-12", "TXT"]);
    assert!(!totals.contains_key("scienceqa_img") && totals["exact_match"] == 1.0);
    let want = [
        "the totals of IMG, NO are left out: 1 of 2 items have no \"image\"",
        "the totals of NAT, SOC, LAN are left out: 2 of 2 items have no \"subject\"",
    ];
    assert_eq!(notes, want);
}

/// What a file of answers says beside them: categories that MME has not, answers that are empty, cut, or not there.
#[test]
fn what_is_unusual_about_answers_is_said() {
    let folder = folder("answers-unusual");
    let path = folder.join("answers.jsonl");
    let item = |id: &str, answer: Value| {
        let doc = json!({"question_id": id, "question": "Is it?", "answer": "Yes", "category": "weather"});
        let mut line = json!({"doc": doc, "end": "limit"});
        match answer {
            Value::Null => line["error"] = json!("its picture is gone"),
            answer => line["answer"] = answer,
        }
        format!("{line}\n")
    };
    let lines = [
        item("weather/1", json!("yes")),
        item("weather/1", json!("<think>is it?</think>\n")),
        item("weather/2", Value::Null),
        item("weather/2", json!("yes")),
    ];
    std::fs::write(&path, format!("\u{feff}{}", lines.concat())).unwrap();
    let said = hive(&["eval", "--task", "mme", "--score", text(&path), "--json"]).code(0).json();
    let notes: Vec<&str> = said["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    let want = [
        "item 2 (weather/2): it has no answer: its picture is gone",
        "1 of 4 items are left out of the totals",
        "\"weather\" is no category of MME: it counts as cognition, as with lmms-eval",
        "weather: weather/2 has 1 questions, and MME counts pairs: it is left out of the totals",
        "1 of 4 answers are empty, or a thought without an answer",
        "4 of 4 answers are cut at the limit of 16 tokens",
    ];
    for note in want {
        assert!(notes.contains(&note), "{note}: {notes:?}");
    }
    assert_eq!(said["totals"]["mme_cognition_score"], 50.0);
    assert_eq!(said["totals"]["mme_perception_score"].to_string(), "0.0");
    assert_eq!(said["items"][2]["error"], "it has no answer: its picture is gone");
}
