//! Folders that are replaced, also by programs that are killed in the middle or run twice at once.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::program::{folder, hive, text};

/// All files below, with their contents.
pub(super) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for name in hive::platform::list_folder(folder).unwrap() {
        let path = folder.join(&name);
        if path.is_dir() {
            out.extend(contents(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            out.push((name, std::fs::read(path).unwrap()));
        }
    }
    out
}

#[test]
fn a_replaced_model_is_the_old_or_the_new_one_whenever_it_is_killed() {
    let base = folder("replaced");
    let place = base.join("m");
    let [old, new] = ["pictures", "shapes"].map(|name| {
        hive(&["convert", name, text(&place), "--force"]).code(0);
        contents(&place)
    });
    assert_ne!(old, new);
    let names = |of: &[(String, Vec<u8>)]| of.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&old), names(&new));
    // What is there now, and what is to come.
    let (mut before, mut seen) = ("shapes", [0; 2]);
    for round in 0..16 {
        let next = if before == "shapes" { "pictures" } else { "shapes" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        command.args(["convert", next, text(&place), "--force"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 + 12 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = contents(&place);
        let is_old = now == old;
        assert!(is_old || now == new, "neither of both after {round}: {:?}", names(&now));
        before = if is_old { "pictures" } else { "shapes" };
        seen[usize::from(before == next)] += 1;
    }
    // The next one clears up.
    hive(&["convert", "shapes", text(&place), "--force"]).code(0);
    assert!(contents(&place) == new && hive::platform::list_folder(&base).unwrap() == ["m"], "{seen:?}");
}

#[test]
fn what_is_not_the_models_own_stays() {
    let base = folder("kept-notes");
    let place = base.join("m");
    hive(&["convert", "shapes", text(&place)]).code(0);
    std::fs::create_dir(place.join("mine")).unwrap();
    for (name, words) in
        [("notes.txt", "mine"), ("mine/model.safetensors", "mine, too"), ("model-old.safetensors", "goes")]
    {
        std::fs::write(place.join(name), words).unwrap();
    }
    hive(&["convert", "shapes", text(&place)]).code(1).complains(&["is not empty", "--force"]);
    hive(&["convert", "shapes", text(&place), "--force"]).code(0);
    assert_eq!(std::fs::read_to_string(place.join("notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(place.join("mine/model.safetensors")).unwrap(), "mine, too");
    assert!(!place.join("model-old.safetensors").exists());
}

#[test]
fn a_folder_that_another_program_fills_is_left_to_it() {
    let base = folder("filled-twice");
    let place = base.join("m");
    let new = hive::platform::NewFolder::create(&place).unwrap();
    hive(&["convert", "shapes", text(&place)]).code(1).complains(&["another program", "Wait for it"]);
    drop(new);
    hive(&["convert", "shapes", text(&place)]).code(0);
}
