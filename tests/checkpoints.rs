//! Runs that end at any moment: what is on the disk is whole, and resumes to the same bits. As users run the program.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::process::Stdio;
use std::time::Duration;

use hive::train::checkpoint::Checkpoint;
use hive::train::stage::Stage;
use serde_json::Value;

use crate::common::program::{adapter, command, folder, hive, picture, start, text, train, trained};
use crate::common::{preset, repository};

#[test]
fn a_torn_checkpoint_is_refused_in_a_sentence() {
    if !adapter() {
        return;
    }
    let here = folder("torn");
    let image = here.join("red.png");
    picture(&image, [200, 20, 20]);
    let whole = &trained().bytes;
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let torn = here.join("torn.safetensors");
    for length in [0, 1, 8, 100, header - 1, header, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&torn, &whole[..length]).unwrap();
        let said = hive(&["ask", text(&image), "what is it ?", "--model", text(&torn)]).code(1);
        assert!(said.err.contains("cut off") && said.err.lines().count() == 1, "{length} bytes: {}", said.err);
        hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["cut off"]);
    }
    // A file of another kind, and one from the future.
    std::fs::copy(repository("tests/fixtures/llama/model.safetensors"), &torn).unwrap();
    hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["no Hive checkpoint"]);
    let future = String::from_utf8_lossy(&whole[..header]).contains("\\\"format\\\":1");
    assert!(future, "the header has no format");
    let mut bytes = whole.clone();
    let at = whole.windows(13).position(|w| w == b"\\\"format\\\":1,").unwrap_or_else(|| panic!("no format")) + 11;
    bytes[at] = b'9';
    std::fs::write(&torn, bytes).unwrap();
    hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["format 9", "Update Hive"]);
}

#[test]
fn two_runs_give_the_same_bits() {
    if !adapter() {
        return;
    }
    let out = folder("again");
    let again = train(&out, &[]).code(0).steps();
    let bits = |lines: &[String]| -> Vec<u64> {
        lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["bits"].as_u64().unwrap()).collect()
    };
    let steps: u64 = preset("tiny").stages.iter().map(|(_, r)| r.steps).sum();
    assert_eq!(again.len() as u64, steps);
    assert_eq!(bits(&again), bits(&trained().steps));
    assert!(std::fs::read(out.join("checkpoint.safetensors")).unwrap() == trained().bytes, "the files differ");
    let other = train(&folder("other-seed"), &["--seed", "77", "--stage", "1"]).code(0).steps();
    assert!(bits(&other) != bits(&trained().steps[..other.len()]), "another seed gives the same losses");
}

#[test]
fn a_killed_training_resumes_to_the_same_file() {
    if !adapter() {
        return;
    }
    let out = folder("killed");
    let file = out.join("checkpoint.safetensors");
    let mut steps: Vec<String> = train(&out, &["--save-every", "2", "--kill-after", "3"]).code(1).steps();
    assert_eq!(steps.len(), 3);
    steps.truncate(2);
    // What a kill during a save leaves behind.
    let partial = out.join("checkpoint.safetensors.partial");
    std::fs::write(&partial, &trained().bytes[..1000]).unwrap();
    let resume = |more: &[&str]| {
        let words =
            ["train", "--resume", text(&file), "--out", text(&out), "--json", "--questions", "10", "--save-every", "2"];
        hive(&[&words, more].concat())
    };
    // Four steps are left of stage 1; stage 2 is killed at its fifth, after a save at its fourth.
    steps.extend(resume(&["--kill-after", "5"]).code(1).steps());
    assert_eq!(steps.len(), 6 + 5);
    assert!(!partial.exists(), "a later save replaces the partial file");
    steps.truncate(6 + 4);
    std::fs::write(&partial, "").unwrap();
    steps.extend(resume(&[]).code(0).steps());
    assert_eq!(steps, trained().steps);
    assert!(std::fs::read(&file).unwrap() == trained().bytes, "the file differs from that of the uninterrupted run");
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
    if !adapter() {
        return;
    }
    for round in 0..4 {
        let out = folder("shot");
        let file = out.join("checkpoint.safetensors");
        let words = [
            "train",
            "--preset",
            "tiny",
            "--questions",
            "1",
            "--save-every",
            "1",
            "--start",
            text(start()),
            "--out",
            text(&out),
        ];
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut waited = 0;
        while !file.exists() && waited < 60_000 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
            waited += 1;
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        let _ = child.kill();
        child.wait().unwrap();
        let checkpoint = Checkpoint::from_bytes(&std::fs::read(&file).unwrap()).unwrap();
        assert!(
            checkpoint.meta.stage >= Some(Stage::Connector) && checkpoint.meta.update >= 1,
            "{:?}",
            checkpoint.meta
        );
    }
}
