//! `hive fetch`: killed and started again, its words and its exit codes.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hive::engine::fetch::Address;
use serde_json::json;

use crate::common::hub::{NAME, WEIGHTS, hive, hub, said, scratch, small_hub, weights};
use crate::common::server::{Reply, file};

#[test]
fn killed_and_started_again_it_fetches_the_rest() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_millis(20), ..own })
    });
    let cache = scratch("killed");
    std::fs::create_dir_all(&cache).unwrap();
    let mut child = hive(&["fetch", "some/model"], &cache, &server.address).stdout(Stdio::null()).spawn().unwrap();
    let place = cache.join("hive/models").join(Address::parse("some/model").unwrap().key(&server.address));
    let part = place.join("model.safetensors.part");
    let len = || std::fs::metadata(&part).map_or(0, |m| m.len() as usize);
    let start = Instant::now();
    while len() < 200_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let have = len();
    assert!(have < WEIGHTS, "it was done already");
    // The connection of the dead program may still be sending.
    std::thread::sleep(Duration::from_millis(300));
    server.take();

    let (code, out, err) = said(hive(&["fetch", "some/model"], &cache, &server.address));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(server.sent(NAME), WEIGHTS - have);
    assert_eq!(Path::new(out.trim_end()), place);
    assert!(std::fs::read(place.join(NAME)).unwrap() == weights(0));
    assert!(err.contains("licence, as the model's card says: apache-2.0"), "{err}");
}

#[test]
fn its_words_and_codes() {
    let fixture =
        |name| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama").join(name)).unwrap();
    let server = hub(vec![("config.json", fixture("config.json")), (NAME, fixture(NAME))], |_, _| None);
    let cache = scratch("words");
    std::fs::create_dir_all(&cache).unwrap();
    let run = |words: &[&str]| said(hive(words, &cache, &server.address));
    let wants = |words: &[&str], code: i32, parts: &[&str]| {
        let (have, out, err) = run(words);
        assert_eq!(have, Some(code), "{words:?}\n{out}\n{err}");
        parts.iter().for_each(|p| assert!(err.contains(p) || out.contains(p), "\"{p}\" is not in: {out}{err}"));
        out
    };
    // Commands that answer look for an adapter first.
    let has_gpu = std::env::var("HIVE_REQUIRE_GPU").is_ok_and(|v| v == "1");
    wants(&["fetch", "--help"], 0, &["--revision R", "HF_TOKEN"]);
    wants(&["fetch"], 2, &["needs the id"]);
    wants(&["fetch", "model"], 2, &["OWNER/NAME"]);
    wants(&["fetch", "some/model", "--offline"], 1, &["is not here"]);
    wants(&["fetch", "some/model", "--revision", "v2"], 1, &["no model some/model at v2"]);
    wants(&["plan", "some/model"], 1, &["no folder some/model", "hive fetch some/model"]);
    if has_gpu {
        wants(&["chat", "--model", "some/model"], 1, &["no folder some/model", "hive fetch some/model"]);
    }
    assert!(server.take().iter().all(|l| l.asked.path.contains("/v2")), "it was fetched without being asked to");

    let out = wants(&["fetch", "some/model", "--json"], 0, &[]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["license"], &answer["files"][1]["name"]), (&json!("apache-2.0"), &json!(NAME)));
    assert_eq!(answer["files"][1]["bytes"], json!(fixture(NAME).len()));
    server.take();
    wants(&["fetch", "--list"], 0, &["0.5 MB  some/model of http://127.0.0.1"]);
    wants(&["fetch", "some/model", "--offline"], 0, &["some--model"]);
    // It is found by its id; this fixture has no tokenizer.
    wants(&["plan", "some/model"], 1, &["tokenizer.json is missing"]);
    if has_gpu {
        wants(&["ask", "--model", "some/model", "x.png", "what ?"], 1, &["tokenizer.json is missing"]);
    }
    assert!(server.take().is_empty());

    let to = cache.join("mine");
    wants(&["fetch", "some/model", "--to", to.to_str().unwrap()], 0, &["mine"]);
    assert!(std::fs::read(to.join(NAME)).unwrap() == fixture(NAME));
    wants(&["fetch", "--forget", "some/model"], 0, &[]);
    assert_eq!(wants(&["fetch", "--list"], 0, &[]), "");
}
