//! Runs that lose no work: places that are tried first, earlier runs that stay, two at once, signals.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hive::train::checkpoint::Checkpoint;

use crate::common::program::{adapter, folder, hive, text, train};

fn steps_of(path: &Path) -> u64 {
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    checkpoint.meta.update
}

#[test]
fn an_earlier_run_is_not_overwritten_without_a_word() {
    if !adapter() {
        return;
    }
    let out = folder("earlier-run");
    let file = out.join("checkpoint.safetensors");
    let once = ["--stage", "1", "--steps", "1"];
    train(&out, &once).code(0);
    let first = std::fs::read(&file).unwrap();
    train(&out, &once).code(1).complains(&["of an earlier run", "--resume", "--force", "--out"]);
    // Also one that goes on with another file.
    let copy = out.join("copy.safetensors");
    std::fs::copy(&file, &copy).unwrap();
    hive(&["train", "--resume", text(&copy), "--out", text(&out)]).code(1).complains(&["of an earlier run"]);
    assert!(std::fs::read(&file).unwrap() == first);
    train(&out, &[&once[..], &["--seed", "5", "--force"]].concat()).code(0);
    let second = std::fs::read(&file).unwrap();
    assert!(second != first);
    // The demo keeps what is there under another name.
    let said = hive(&["demo", "--preset", "tiny", "--out", text(&out), "--steps", "1", "--questions", "2"]).code(0);
    assert!(said.err.contains("checkpoint.1.safetensors"), "{}", said.err);
    assert!(std::fs::read(out.join("checkpoint.1.safetensors")).unwrap() == second);
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_first_step() {
    let base = folder("no-place");
    std::fs::create_dir_all(&base).unwrap();
    let file = base.join("file");
    std::fs::write(&file, "").unwrap();
    let out = file.join("out");
    let begin = Instant::now();
    for command in ["train", "demo", "study"] {
        let said = hive(&[command, "--out", text(&out)]).code(1).complains(&["cannot write", "out"]);
        assert!(!said.out.contains("stage"), "{}", said.out);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "hours of work come first");
}

#[test]
fn a_folder_that_another_run_writes_is_left_to_it() {
    let out = folder("two-runs");
    let claim = hive::platform::RunFolder::claim(&out).unwrap();
    let owner = format!("process {}", std::process::id());
    for command in ["train", "demo", "study"] {
        hive(&[command, "--out", text(&out)]).code(1).complains(&["another run", &owner]);
    }
    drop(claim);
    assert!(hive::platform::list_folder(&out).unwrap().is_empty());
    // What a killed run left is no lock.
    std::fs::write(out.join(".hive-run"), "1").unwrap();
    drop(hive::platform::RunFolder::claim(&out).unwrap());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_run_after_its_step_and_saves_it() {
    if !adapter() {
        return;
    }
    // What `nohup` starts, as these tests may be, does not hear the third.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:")?.trim().chars().last()?.to_digit(16));
    let signals = [("INT", 130), ("TERM", 143), ("HUP", 129)];
    for (signal, code) in signals.into_iter().take(3 - ignored.unwrap_or(0) as usize % 2) {
        let out = folder(&format!("signal-{signal}"));
        let words = ["train", "--preset", "tiny", "--set", "stages.0.1.steps=100000", "--save-every", "100000"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        command.args(words).args(["--stage", "1", "--json", "--out", text(&out)]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        for _ in 0..3 {
            lines.next().unwrap().unwrap();
        }
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        let shown = 3 + lines.map_while(Result::ok).filter(|l| l.starts_with('{')).count() as u64;
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{err}");
        let file = out.join("checkpoint.safetensors");
        assert!(err.contains("--resume") && err.contains(text(&file)), "{err}");
        assert_eq!(steps_of(&file), shown, "steps that were shown are not saved");
        assert_eq!(hive::platform::list_folder(&out).unwrap(), ["checkpoint.safetensors"]);
    }
}

/// As `nohup` starts a program.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_is_not_to_be_heard_is_not() {
    if !adapter() {
        return;
    }
    let out = folder("deaf");
    let script =
        "trap '' HUP; exec \"$0\" train --preset tiny --stage 1 --json --set stages.0.1.steps=100000 --out \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_hive"), text(&out)]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let (id, mut next) = (child.id().to_string(), || lines.next().and_then(Result::ok));
    let send = |signal: &str| Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(next().is_some());
    for _ in 0..5 {
        send("-HUP");
        assert!(next().is_some(), "it ended");
    }
    send("-INT");
    while next().is_some() {}
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_a_run_saved_and_not_as_if_all_were_done() {
    if !adapter() {
        return;
    }
    let out = folder("reader-gone");
    let words = ["train", "--preset", "tiny", "--stage", "1", "--json", "--out", text(&out)];
    let mut child = Command::new(env!("CARGO_BIN_EXE_hive"))
        .args(words)
        .args(["--set", "stages.0.1.steps=100000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.next().unwrap().unwrap();
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(steps_of(&out.join("checkpoint.safetensors")) >= 1);
}
