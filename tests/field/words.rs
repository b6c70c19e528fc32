//! Words of a command line that mean nothing, or something else than what is done.
#![allow(clippy::disallowed_methods, reason = "makes files as users do")]

use std::process::{Command, Stdio};

use crate::common::program::{adapter, folder, hive, picture, start, text, train};

#[test]
fn a_word_too_many_is_refused_by_every_command() {
    let out = folder("stray");
    for (words, parts) in [
        (&["train", ".", "--out", text(&out)][..], &["\".\"", "one word too many", "--data ."][..]),
        (&["train", "shapes", "--out", text(&out)], &["\"shapes\"", "--preset shapes"]),
        (&["demo", "shapes", "--out", text(&out)], &["\"shapes\"", "--preset shapes"]),
        (&["plan", "a", "b"], &["\"b\"", "one word too many"]),
        (&["pretrain", "vision", "extra"], &["\"extra\"", "one word too many"]),
        (&["study", "quick"], &["\"quick\"", "one word too many"]),
        (&["eval", "model"], &["\"model\"", "did you mean --model"]),
        (&["eval", "x.safetensors"], &["\"x.safetensors\"", "one word too many"]),
        (&["depths", "grounds"], &["\"grounds\"", "one word too many"]),
        (&["lessons", "answers"], &["\"answers\"", "one word too many"]),
        (&["convert", "shapes", text(&out), "force"], &["\"force\"", "one word too many"]),
        (&["quantise", "a", "int8"], &["\"int8\"", "one word too many"]),
        (&["fetch", "a/b", "c/d"], &["\"c/d\"", "one word too many"]),
        (&["parity", "a", "b"], &["\"b\"", "one word too many"]),
        (&["verify", "add", "gelu"], &["\"gelu\"", "one word too many"]),
        (&["bench", "step", "5"], &["\"5\"", "one word too many"]),
        (&["doctor", "quick"], &["\"quick\"", "one word too many"]),
        (&["chat", "hello"], &["\"hello\"", "one word too many"]),
        (&["train", "-o", text(&out)], &["\"-o\"", "one word too many"]),
    ] {
        hive(words).code(2).complains(parts);
    }
    assert!(!out.exists() || hive::platform::list_folder(&out).unwrap().is_empty());
}

#[test]
fn options_twice_or_without_their_value_are_refused() {
    for (words, parts) in [
        (&["train", "--steps", "1", "--steps", "2"][..], &["--steps is there twice"][..]),
        (&["train", "--out", "--json"], &["--out needs a value"]),
        (&["train", "--seed", "1", "--seed=2"], &["--seed is there twice"]),
        (&["plan", "--preset"], &["--preset needs a value"]),
    ] {
        hive(words).code(2).complains(parts);
    }
    // Those that add up may be there several times.
    hive(&["plan", "--preset", "tiny", "--set", "seed=1", "--set", "seed=2"]).code(0);
}

#[cfg(unix)]
#[test]
fn a_word_that_is_no_text_is_a_sentence() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.png");
    for before in [&["ask"][..], &[], &["train", "--out"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        let output = command.args(before).arg(odd).stdin(Stdio::null()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("is not Unicode") && err.contains("Rename") && !err.contains("panicked"), "{err}");
    }
}

#[test]
fn what_a_run_has_of_its_own_is_not_given_when_it_goes_on() {
    if !adapter() {
        return;
    }
    let out = folder("goes-on");
    train(&out, &["--stage", "1", "--steps", "1"]).code(0);
    let file = out.join("checkpoint.safetensors");
    for option in [
        ["--seed", "9"],
        ["--steps", "5"],
        ["--preset", "tiny"],
        ["--set", "seed=9"],
        ["--links", "paper"],
        ["--start", "x"],
    ] {
        hive(&["train", "--resume", text(&file), "--out", text(&out), option[0], option[1]])
            .code(2)
            .complains(&[option[0], "does not go with --resume"]);
    }
}

#[test]
fn a_run_does_not_go_on_with_other_data_without_a_word() {
    if !adapter() {
        return;
    }
    let list = |name: &str, words: [&str; 3]| {
        let here = folder(name);
        let entry = |(i, word): (usize, &&str)| {
            let file = format!("{i}.png");
            picture(&here.join(&file), [60 * i as u8, 200, 40 + 90 * i as u8]);
            serde_json::json!({"id": i, "image": file, "conversations": [
                {"from": "human", "value": "<image>\nwhat is it ?"}, {"from": "gpt", "value": word}]})
        };
        let entries: Vec<_> = words.iter().enumerate().map(entry).collect();
        std::fs::write(here.join("list.json"), serde_json::to_vec(&entries).unwrap()).unwrap();
        here
    };
    let own = list("own-data", ["stamp", "coin", "card"]);
    let near = list("near-data", ["stamp", "coin", "ticket"]);
    let other = folder("other-data");
    std::fs::create_dir_all(&other).unwrap();
    picture(&other.join("a.png"), [1, 2, 3]);
    let text_of_other = r#"[{"id": 1, "image": "a.png", "conversations": [
        {"from": "human", "value": "<image>\nname this lovely bird please"}, {"from": "gpt", "value": "wren"}]}]"#;
    std::fs::write(other.join("list.json"), text_of_other).unwrap();
    let out = folder("own-run");
    hive(&[
        "train",
        "--preset",
        "tiny",
        "--data",
        text(&own),
        "--out",
        text(&out),
        "--steps",
        "1",
        "--stage",
        "1",
        "--questions",
        "1",
    ])
    .code(0);
    let file = out.join("checkpoint.safetensors");
    let go_on = |data: &std::path::Path| {
        hive(&[
            "train",
            "--resume",
            text(&file),
            "--data",
            text(data),
            "--out",
            text(&out),
            "--stage",
            "2",
            "--questions",
            "1",
        ])
    };
    go_on(&other).code(1).complains(&["unknown to the model", "wren", "other data"]);
    go_on(&near).code(0).complains(&["1 of", "ticket", "unknown word"]);
}

#[test]
fn a_stage_that_does_not_exist_is_refused() {
    if !adapter() {
        return;
    }
    let out = folder("words-stages");
    for stage in ["0", "4"] {
        let said =
            hive(&["train", "--preset", "tiny", "--stage", stage, "--start", text(start()), "--out", text(&out)]);
        said.code(2).complains(&["is none of the preset's stages, which are [1, 2, 3]"]);
    }
    let none =
        hive(&["train", "--preset", "tiny", "--set", "stages=[]", "--start", text(start()), "--out", text(&out)]);
    assert!(none.code != Some(0), "{}", none.out);
    hive(&["train", "-h"]).code(0);
    hive(&["ask", "a.png", "b", "--temperature", "nan"]).code(2).complains(&["--temperature needs a number"]);
}
