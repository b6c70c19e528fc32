//! `hive study`, as its users run it: arms, what is kept, and that a second run does nothing again.
#![allow(clippy::disallowed_methods, reason = "looks at files as users do")]

use std::fs;

use hive::train::study::arms;
use serde_json::Value;

use crate::common::preset;
use crate::common::program::{adapter, folder, hive, start, text};

#[test]
fn arms_differ_from_the_preset_in_what_they_are_called_for() {
    let base = preset("grounds");
    let arms = arms(&base).unwrap();
    let links = |name: &str| {
        let arm = arms.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no arm {name}"));
        (arm.preset.model.link_config.vision_layers.clone(), arm.preset.wiring.key())
    };
    assert_eq!(links("deep first"), (vec![4, 3, 2, 1], "hive"));
    assert_eq!(links("paper"), (vec![1, 2, 3, 4], "hive"));
    for depth in 1..=4 {
        assert_eq!(links(&format!("depth {depth}")), (vec![depth; 4], "hive"));
    }
    assert_eq!(links("flattened").1, "cascade");
    assert_eq!(links("flattened, published"), (vec![4], "cascade"));
    assert_eq!((links("1 of 4 links").0, links("2 of 4 links").0), (vec![4], vec![4, 3]));
    for arm in &arms {
        // The same data, steps and stages, but for the stage that an arm is without.
        let without = arm.name.strip_prefix("without stage ");
        let stages = base.stages.iter().filter(|(s, _)| without.is_none_or(|n| n != s.number().to_string()));
        assert!(arm.preset.stages.iter().eq(stages), "{}", arm.name);
        assert_eq!((&arm.preset.data, arm.preset.seed), (&base.data, base.seed));
        assert_eq!(arm.preset.shared_image_kv, arm.name == "shared image keys");
    }
}

#[test]
fn a_study_is_kept_and_goes_on_where_it_ended() {
    if !adapter() {
        return;
    }
    let out = folder("study");
    let words = |arms: &'static str| {
        let at = text(&out);
        let words =
            ["study", "--preset", "tiny", "--quick", "--steps", "2", "--questions", "10", "--start", text(start())];
        [&words[..], &["--jobs", "2", "--arms", arms, "--out", at]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let run = |arms| hive(&words(arms).iter().map(String::as_str).collect::<Vec<_>>());
    let kept = || serde_json::from_slice::<Value>(&fs::read(out.join("study.json")).unwrap()).unwrap();
    run("nosuch").code(2).complains(&["nosuch", "deep first"]);
    hive(&["study", "--jobs", "0"]).code(2).complains(&["--jobs", "1 or more"]);
    let first = run("deep first; flattened").code(0);
    assert!(first.err.contains("deep first 1, stage 1 2 steps"), "{}", first.err);
    assert!(
        first.err.contains("deep first 1: begins\n") && first.err.contains("flattened 1: done after "),
        "{}",
        first.err
    );
    assert!(first.out.contains("Up to 2 pieces of work ran at a time"), "{}", first.out);
    assert!(first.out.contains("| deep first |") && first.out.contains("| untouched tower |"), "{}", first.out);
    let before = kept();
    let outcomes = before["outcomes"].as_array().unwrap();
    let outcome = outcomes.iter().find(|o| o["arm"] == "deep first").unwrap();
    assert_eq!((outcomes.len(), outcome["rows"].as_array().unwrap().len()), (2, 8));
    assert_eq!(outcome["rows"][0]["exact"].as_str().unwrap().len(), 10);
    // One piece at a time gives the same answers.
    let alone = folder("study-alone");
    let one = ["study", "--preset", "tiny", "--quick", "--steps", "2", "--questions", "10", "--start", text(start())];
    hive(&[&one[..], &["--arms", "flattened", "--out", text(&alone)]].concat()).code(0);
    let single: Value = serde_json::from_slice(&fs::read(alone.join("study.json")).unwrap()).unwrap();
    assert_eq!((&single["jobs"], &before["jobs"]), (&Value::from(1), &Value::from(2)));
    let rows = |study: &Value| {
        let of = study["outcomes"].as_array().unwrap().iter().find(|o| o["arm"] == "flattened").unwrap();
        of["rows"].clone()
    };
    assert_eq!(rows(&single), rows(&before));
    // Three links, each cut once; gradients in early blocks of the tower.
    assert_eq!(outcome["cut"].as_array().unwrap().len(), 3);
    let norm = |o: &Value, name: &str| {
        let found = o["norms"].as_array().unwrap().iter().find(|n| n[0].as_str().unwrap().contains(name));
        found.map(|n| n[1].as_f64().unwrap())
    };
    assert!(norm(outcome, "layers.0.mlp.fc1.weight").is_some_and(|n| n > 0.0), "{outcome}");
    // A further arm is all that a second run trains, and what was there stays.
    let second = run("deep first; flattened; shared image keys").code(0);
    assert!(!second.err.contains("deep first 1,") && second.err.contains("shared image keys 1,"), "{}", second.err);
    let after = kept();
    assert_eq!(after["outcomes"].as_array().unwrap()[..2], before["outcomes"].as_array().unwrap()[..]);
    assert!(second.out.contains("| shared image keys | image keys"), "{}", second.out);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.ends_with("</html>\n") && page.contains("Where links look") && !page.contains("http"), "{page}");
    // A report needs no arm but its own, and a study of before jobs were kept opens.
    let mut older = after;
    older.as_object_mut().unwrap().remove("jobs");
    fs::write(out.join("study.json"), older.to_string()).unwrap();
    let said = run("deep first").code(0).out;
    assert!(said.contains("How many pieces of work ran at a time was not kept"), "{said}");
    // Another preset is another study.
    let mut other = words("deep first");
    other.extend(["--set".to_owned(), "tokens=40".to_owned()]);
    hive(&other.iter().map(String::as_str).collect::<Vec<_>>()).code(1).complains(&["another preset", "--out"]);
}

/// A piece fails: its reason is told, those beside it are finished and kept, and no other begins.
#[test]
fn a_failed_piece_ends_the_others_and_what_was_done_is_kept() {
    if !adapter() {
        return;
    }
    let out = folder("study-fails");
    // Its model cannot be written.
    fs::create_dir(out.join("deep-first-1.safetensors")).unwrap();
    let words = ["study", "--preset", "tiny", "--quick", "--steps", "1", "--questions", "1", "--start", text(start())];
    let arms = "deep first; paper; depth 1; depth 2; flattened; 1 of 3 links; shared image keys; positions in a row";
    let said = hive(&[&words[..], &["--jobs", "2", "--arms", arms, "--out", text(&out)]].concat()).code(1);
    let said = said.complains(&["deep first 1: failed", "cannot write", "deep-first-1.safetensors"]);
    let count = |end: &str| said.err.lines().filter(|line| line.contains(end)).count();
    let (begun, done) = (count(": begins"), count(": done after"));
    let study: Value = serde_json::from_slice(&fs::read(out.join("study.json")).unwrap()).unwrap();
    let kept: Vec<_> = study["outcomes"].as_array().unwrap().iter().map(|o| o["arm"].as_str().unwrap()).collect();
    assert!(!kept.is_empty() && !kept.contains(&"deep first"), "{kept:?}");
    // All of them are nine with the untouched tower.
    assert!(begun == done + 1 && begun < 7, "{begun} begun, {done} done: {}", said.err);
}
