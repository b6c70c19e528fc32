//! Models fetched from servers that break off, lie and change: what arrives is right or refused with a sentence, and nothing
//! is fetched twice. All servers are our own, on this machine.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

#[path = "common/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hive::engine::fetch::{
    Address, FetchError, FetchOptions, FetchProgress, Fetched, cached, fetch, forget, keep, open,
};
use hive::model::files::{Checkpoint, Folder};
use hive::platform::{Blob, Patience, block_on};
use serde_json::json;
use server::{Asked, Reply, Server, file, plain};
use sha2::{Digest as _, Sha256};

/// Bytes of the made-up weights: several pieces of what a connection gives at a time.
const WEIGHTS: usize = 1_500_000;
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NAME: &str = "model.safetensors";

fn weights(seed: u8) -> Vec<u8> {
    (0..WEIGHTS).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fetch-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// Quick to give up, with a cache of its own.
fn options(name: &str) -> FetchOptions {
    FetchOptions {
        cache: Some(scratch(name).to_str().unwrap().to_owned()),
        patience: Patience { secs: 5.0, tries: 3, pause_secs: 0.01 },
        ..FetchOptions::default()
    }
}

fn at_hub(name: &str, server: &Server) -> (Address, FetchOptions) {
    let options = FetchOptions { endpoint: server.address.clone(), ..options(name) };
    (Address::parse("some/model").unwrap(), options)
}

fn at_folder(name: &str, server: &Server) -> (Address, FetchOptions) {
    (Address::parse(&format!("{}/x/", server.address)).unwrap(), options(name))
}

fn get(address: &Address, options: &FetchOptions) -> Result<Fetched, FetchError> {
    block_on(fetch(address, options, |_| true))
}

#[track_caller]
fn sentence(result: Result<Fetched, FetchError>, parts: &[&str]) -> FetchError {
    let error = result.map(|f| f.notes).expect_err("it must be refused");
    let text = error.to_string();
    parts.iter().for_each(|p| assert!(text.contains(p), "\"{p}\" is not in: {text}"));
    error
}

fn bytes(fetched: &Fetched, name: &str) -> Vec<u8> {
    let blob = fetched.blobs.iter().find(|b| b.name() == name).unwrap_or_else(|| panic!("no {name}"));
    block_on(blob.read(0, blob.len() as usize)).unwrap()
}

fn names(fetched: &Fetched) -> Vec<&str> {
    fetched.blobs.iter().map(Blob::name).collect()
}

/// A hub with these files. `resolve` may answer instead of the hub's own file.
fn hub(
    files: Vec<(&'static str, Vec<u8>)>,
    resolve: impl Fn(&Asked, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::start(move |asked| {
        let list = |(name, bytes): &(&str, Vec<u8>)| {
            let large = name.ends_with("safetensors").then(|| json!({"oid": sha256(bytes), "size": bytes.len()}));
            json!({"type": "file", "path": name, "size": bytes.len(), "oid": sha256(bytes)[..40], "lfs": large})
        };
        let path = asked.path.as_str();
        if path == "/api/models/some/model/revision/main" {
            return Reply::text(json!({"sha": COMMIT, "cardData": {"license": "apache-2.0"}}).to_string());
        }
        if path == format!("/api/models/some/model/tree/{COMMIT}?recursive=false") {
            let mut all: Vec<_> = files.iter().map(list).collect();
            all.push(json!({"type": "directory", "path": "onnx", "size": 0}));
            all.push(json!({"type": "file", "path": "README.md", "size": 12}));
            return Reply::text(json!(all).to_string());
        }
        let name = path.strip_prefix(&format!("/some/model/resolve/{COMMIT}/"));
        let Some((_, bytes)) = files.iter().find(|(n, _)| Some(*n) == name) else { return Reply::status(404) };
        let own = || file(asked, bytes, &format!("\"{}\"", &sha256(bytes)[..16]));
        resolve(asked, bytes).unwrap_or_else(own)
    })
}

fn small_hub(resolve: impl Fn(&Asked, &[u8]) -> Option<Reply> + Send + Sync + 'static) -> Server {
    hub(vec![("config.json", b"{}".to_vec()), ("tokenizer.json", b"{\"a\": 1}".to_vec()), (NAME, weights(0))], resolve)
}

/// A web server with a folder `/x/` of a configuration and weights.
fn site(answer: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let weights = weights(0);
    Server::start(move |asked| match asked.path.as_str() {
        "/x/config.json" => answer(asked, b"{}"),
        "/x/model.safetensors" => answer(asked, &weights),
        _ => Reply::status(404),
    })
}

#[test]
fn a_hubs_model_arrives_whole_with_its_total_known_first() {
    let fixture =
        |name| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama").join(name)).unwrap();
    let (config, model) = (fixture("config.json"), fixture(NAME));
    let total = (config.len() + model.len()) as u64;
    let server = hub(
        vec![("config.json", config.clone()), (NAME, model.clone()), ("other.safetensors", vec![1; 10])],
        |_, _| None,
    );
    let (address, options) = at_hub("whole", &server);
    let mut told: Vec<FetchProgress> = Vec::new();
    let fetched = block_on(fetch(&address, &options, |p| {
        told.push(p.clone());
        true
    }))
    .unwrap();
    assert_eq!(names(&fetched), ["config.json", NAME]);
    assert_eq!((bytes(&fetched, "config.json"), bytes(&fetched, NAME)), (config, model));
    assert_eq!((fetched.license.as_deref(), fetched.notes.len()), (Some("apache-2.0"), 0));
    assert_eq!((told[0].done, told[0].total, told[0].cached), (0, total, 0));
    assert!(told.windows(2).all(|w| w[0].done <= w[1].done) && told.iter().all(|p| p.total == total));
    assert_eq!((told.last().unwrap().done, told.last().unwrap().file.as_str()), (total, NAME));
    let place = PathBuf::from(fetched.place.unwrap());
    assert_eq!(place, Path::new(options.cache.as_ref().unwrap()).join("some--model"));
    assert!(!place.join("model.safetensors.part").exists());
    let folder = Folder::new(hive::platform::folder_blobs(&place).unwrap()).unwrap();
    assert!(block_on(Checkpoint::open(&folder)).unwrap().tensors().len() > 5);

    // The second time nothing but the list is asked for.
    server.take();
    let mut first = None;
    let again = block_on(fetch(&address, &options, |p| {
        first.get_or_insert_with(|| p.clone());
        true
    }));
    assert_eq!(names(&again.unwrap()), ["config.json", NAME]);
    let first = first.unwrap();
    assert_eq!((first.done, first.total, first.cached), (total, total, total));
    let asked: Vec<String> = server.take().into_iter().map(|l| l.asked.path).collect();
    assert!(asked.len() == 2 && asked.iter().all(|p| p.starts_with("/api/")), "{asked:?}");

    let all = block_on(cached(&options)).unwrap();
    assert_eq!((all.len(), all[0].address.as_str(), all[0].whole), (1, "some/model", true));
    assert!(all[0].bytes >= total);
    block_on(forget(&address.key(), &options)).unwrap();
    assert!(!place.exists() && block_on(cached(&options)).unwrap().is_empty());
    assert!(block_on(forget("..", &options)).is_err() && block_on(forget(&address.key(), &options)).is_err());
}

#[test]
fn shards_are_found_by_their_index() {
    let index =
        json!({"weight_map": {"a": "m-1-of-2.safetensors", "b": "m-2-of-2.safetensors", "c": "m-1-of-2.safetensors"}})
            .to_string();
    let files = vec![
        ("config.json", b"{}".to_vec()),
        ("model.safetensors.index.json", index.clone().into_bytes()),
        ("m-1-of-2.safetensors", vec![1; 30]),
        ("m-2-of-2.safetensors", vec![2; 40]),
    ];
    let expected = ["config.json", "model.safetensors.index.json", "m-1-of-2.safetensors", "m-2-of-2.safetensors"];
    let server = hub(files.clone(), |_, _| None);
    let (address, options) = at_hub("shards", &server);
    let fetched = get(&address, &options).unwrap();
    assert_eq!(names(&fetched), expected);
    assert_eq!(bytes(&fetched, expected[3]), [2; 40]);

    let server = Server::start(move |asked| {
        let found = files.iter().find(|(name, _)| asked.path == format!("/x/{name}"));
        found.map_or_else(|| Reply::status(404), |(_, bytes)| file(asked, bytes, "\"e\""))
    });
    let (address, options) = at_folder("shards-web", &server);
    assert_eq!(names(&get(&address, &options).unwrap()), expected);
}

#[test]
fn a_broken_connection_goes_on_with_the_missing_bytes() {
    // Twice, each time a third of what is left.
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        let cut = (asked.before < 2).then_some(own.body.len() / 3);
        asked.path.ends_with(NAME).then_some(Reply { cut, ..own })
    });
    let (address, options) = at_hub("broken", &server);
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0), "the weights are not those of the server");
    assert_eq!(server.sent(NAME), WEIGHTS, "bytes were fetched twice, or not at all");
    let starts: Vec<usize> =
        server.take().iter().filter(|l| l.asked.path.ends_with(NAME)).map(|l| l.asked.range().unwrap().0).collect();
    assert_eq!(starts, [0, WEIGHTS / 3, WEIGHTS / 3 + (WEIGHTS - WEIGHTS / 3) / 3]);
}

#[test]
fn what_was_stopped_goes_on_later() {
    let server = site(|asked, bytes| Reply { pause: Duration::from_millis(1), ..file(asked, bytes, "\"one\"") });
    let (address, options) = at_folder("stopped", &server);
    let stopped = block_on(fetch(&address, &options, |p| p.done < WEIGHTS as u64 / 2));
    assert_eq!(stopped.map(|f| f.notes), Err(FetchError::Stopped));
    let part = PathBuf::from(options.place(&address).unwrap()).join("model.safetensors.part");
    let have = std::fs::metadata(&part).unwrap().len() as usize;
    assert!((WEIGHTS / 2..WEIGHTS).contains(&have), "{have}");
    assert!(!block_on(cached(&options)).unwrap()[0].whole);

    server.take();
    let mut first = None;
    let fetched = block_on(fetch(&address, &options, |p| {
        first.get_or_insert_with(|| p.clone());
        true
    }))
    .unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert_eq!(first.unwrap().cached as usize, have + 2);
    assert_eq!(server.sent(NAME), WEIGHTS - have);
    let line = server.take().into_iter().find(|l| l.asked.path.ends_with(NAME) && !l.asked.is_probe()).unwrap();
    assert_eq!((line.asked.header("if-range"), line.asked.range()), (Some("\"one\""), Some((have, None))));
}

#[test]
fn a_file_that_changed_is_fetched_anew() {
    let state = Arc::new(Mutex::new((weights(0), "\"one\"")));
    let shared = Arc::clone(&state);
    let server = Server::start(move |asked| {
        let (bytes, etag) = shared.lock().unwrap().clone();
        match asked.path.as_str() {
            "/x/config.json" => file(asked, b"{}", "\"c\""),
            "/x/model.safetensors" => file(asked, &bytes, etag),
            _ => Reply::status(404),
        }
    });
    let (address, options) = at_folder("changed", &server);
    assert!(block_on(fetch(&address, &options, |p| p.done < 500_000)).is_err());
    *state.lock().unwrap() = (weights(7), "\"two\"");
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(7), "old and new bytes are mixed");

    // Also where it changes between the list and the bytes: If-Range gives all of it.
    let server = site(|asked, bytes| {
        let etag = if asked.before < 2 { "\"one\"" } else { "\"two\"" };
        let own = file(asked, bytes, etag);
        if asked.before == 1 { Reply { cut: Some(100_000), ..own } } else { own }
    });
    let (address, options) = at_folder("changed-meanwhile", &server);
    let fetched = get(&address, &options).unwrap();
    assert_eq!(server.sent(NAME), WEIGHTS + 100_000);
    assert!(bytes(&fetched, NAME) == weights(0));
    assert!(fetched.notes[0].contains("from its first byte"), "{:?}", fetched.notes);
}

#[test]
fn a_wrong_hash_is_refused_and_removed() {
    let server = small_hub(|asked, bytes| {
        let mut wrong = bytes.to_vec();
        if let Some(byte) = wrong.get_mut(1000) {
            *byte ^= 1;
        }
        asked.path.ends_with(NAME).then(|| file(asked, &wrong, "\"w\""))
    });
    let (address, options) = at_hub("hash", &server);
    let want = sha256(&weights(0));
    sentence(get(&address, &options), &[NAME, "SHA-256", &want, "removed", "try again"]);
    let place = PathBuf::from(options.place(&address).unwrap());
    assert!(!place.join(NAME).exists() && !place.join("model.safetensors.part").exists());
    assert!(place.join("tokenizer.json").exists());
}

#[test]
fn the_hash_counts_what_was_there_before() {
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("hash-part", &server);
    assert!(block_on(fetch(&address, &options, |p| p.done < 500_000)).is_err());
    let part = PathBuf::from(options.place(&address).unwrap()).join("model.safetensors.part");
    let mut broken = std::fs::read(&part).unwrap();
    broken[10] ^= 1;
    std::fs::write(&part, broken).unwrap();
    sentence(get(&address, &options), &["SHA-256"]);
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0));
}

#[test]
fn a_server_without_ranges_gives_whole_files() {
    let server = site(|_, bytes| plain(bytes));
    let (address, options) = at_folder("no-ranges", &server);
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert!(fetched.notes.iter().any(|n| n.contains("no parts of files")), "{:?}", fetched.notes);

    // Broken off, it begins again, and gives up in the end.
    let server = site(|asked, bytes| Reply { cut: (asked.before == 1).then_some(100_000), ..plain(bytes) });
    let (address, options) = at_folder("no-ranges-broken", &server);
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0));
    let server = site(|_, bytes| Reply { cut: Some(100_000.min(bytes.len())), ..plain(bytes) });
    let (address, options) = at_folder("no-ranges-always-broken", &server);
    sentence(get(&address, &options), &["cannot be reached", "try again"]);
    assert!(server.take().len() < 20);
}

#[test]
fn statuses_have_their_sentences() {
    for (status, parts) in [
        (404, &["hub has no model some/model at main", "spelling"][..]),
        (401, &["not open to everybody", "HF_TOKEN", "/some/model "]),
        (403, &["not open to everybody", "licence"]),
        (500, &["status 500", "later"]),
        (418, &["status 418"]),
    ] {
        let server = Server::start(move |_| Reply::status(status));
        let (address, options) = at_hub("status", &server);
        sentence(get(&address, &options), parts);
        let tries = if status == 500 { 3 } else { 1 };
        assert_eq!(server.take().len(), tries, "{status}");
    }
    // Weights that only some may have.
    let server = small_hub(|asked, _| asked.path.ends_with(NAME).then(|| Reply::status(401)));
    let (address, options) = at_hub("status-weights", &server);
    sentence(get(&address, &options), &["status 401", NAME]);
    let server = site(|_, _| Reply::status(404));
    let (address, options) = at_folder("status-web", &server);
    sentence(get(&address, &options), &["there is no http", "/x/config.json"]);
    // A server that sends its start page for everything.
    let server = Server::start(|_| Reply::text("<html>").with("content-type", "text/html; charset=utf-8"));
    let (address, options) = at_folder("status-page", &server);
    sentence(get(&address, &options), &["there is no http", "/x/config.json"]);
}

#[test]
fn an_error_that_passes_is_waited_out() {
    for status in [500, 503, 429] {
        let server =
            small_hub(move |asked, _| (asked.before == 0).then(|| Reply::status(status).with("retry-after", "0")));
        let (address, options) = at_hub("passing", &server);
        assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0), "{status}");
    }
}

#[test]
fn a_silent_server_is_given_up() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_secs(20), ..own })
    });
    let (address, options) = at_hub("silent", &server);
    let options = FetchOptions { patience: Patience { secs: 0.3, tries: 2, pause_secs: 0.01 }, ..options };
    let start = Instant::now();
    sentence(get(&address, &options), &["cannot be reached", "goes on where it stopped"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn lies_are_noticed() {
    let weights_only = |lie: fn(&Asked, Reply) -> Reply| {
        small_hub(move |asked, bytes| asked.path.ends_with(NAME).then(|| lie(asked, file(asked, bytes, "\"e\""))))
    };
    // Fewer and more bytes than the list says, announced truthfully.
    for (name, change) in [("less", -5_isize), ("more", 5)] {
        let server = small_hub(move |asked, bytes| {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().saturating_add_signed(change), 0);
            asked.path.ends_with(NAME).then(|| plain(&bytes))
        });
        let (address, options) = at_hub(name, &server);
        sentence(get(&address, &options), &["announces", NAME, "faulty"]);
    }
    // The same without any announcement.
    let server = small_hub(|asked, bytes| {
        let longer = [bytes, b"12345"].concat();
        asked.path.ends_with(NAME).then(|| Reply { chunked: true, ..plain(&longer) })
    });
    let (address, options) = at_hub("longer", &server);
    sentence(get(&address, &options), &["longer than the 1500000 bytes"]);
    let server = small_hub(|asked, bytes| {
        asked.path.ends_with(NAME).then(|| Reply { chunked: true, ..plain(&bytes[..bytes.len() - 5]) })
    });
    let (address, options) = at_hub("shorter", &server);
    sentence(get(&address, &options), &["ends after 1499995 of 1500000 bytes"]);
    // More announced than sent.
    let server = weights_only(|_, own| Reply { cut: Some(0), ..own });
    let (address, options) = at_hub("cut", &server);
    let options = FetchOptions { patience: Patience { tries: 1, ..options.patience }, ..options };
    sentence(get(&address, &options), &["cannot be reached"]);

    // Another part than was asked for: then all of it.
    let server = weights_only(|asked, own| match asked.range() {
        Some(_) => own.with("content-range", "bytes 5-1499999/1500000"),
        None => own,
    });
    let (address, options) = at_hub("range", &server);
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert!(fetched.notes[0].contains("other parts"), "{:?}", fetched.notes);
    // All of it where a part was asked for.
    let server = small_hub(|asked, bytes| {
        let cut = (asked.before == 0).then_some(400_000);
        asked.path.ends_with(NAME).then(|| Reply { cut, ..plain(bytes) }.with("etag", "\"e\""))
    });
    let (address, options) = at_hub("whole-again", &server);
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0));
    // A part where all was asked for is no answer.
    let server = weights_only(|_, own| Reply { status: 206, ..own }.with("content-range", "bytes 0-9/10"));
    let (address, options) = at_hub("part-for-all", &server);
    sentence(get(&address, &options), &["a part of model.safetensors"]);
    // A list that is none.
    for text in ["", "{", "[]", "{\"sha\": 5}"] {
        let server = Server::start(move |_| Reply::text(text));
        let (address, options) = at_hub("no-list", &server);
        sentence(get(&address, &options), &["not understood"]);
    }
}

#[test]
fn names_that_lead_elsewhere_are_never_written() {
    for wrong in
        ["../evil.safetensors", "/evil.safetensors", "..\\evil.safetensors", "a/evil.safetensors", "c:evil.safetensors"]
    {
        let index = json!({"weight_map": {"a": wrong}}).to_string().into_bytes();
        let files = vec![("config.json", b"{}".to_vec()), ("model.safetensors.index.json", index.clone())];
        let server = hub(files, |_, _| None);
        let (address, options) = at_hub("evil", &server);
        let e = sentence(get(&address, &options), &["evil.safetensors", "not written"]);
        assert!(matches!(e, FetchError::Path(_)));
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/x/config.json" => plain(b"{}"),
            "/x/model.safetensors.index.json" => plain(&index),
            _ => Reply::status(404),
        });
        let (address, options) = at_folder("evil-web", &server);
        sentence(get(&address, &options), &["not written"]);
    }
    for wrong in ["../model.safetensors", "/model.safetensors", "..\\model.safetensors"] {
        let server = hub(vec![("config.json", b"{}".to_vec()), (wrong, vec![0; 9])], |_, _| None);
        let (address, options) = at_hub("evil-list", &server);
        sentence(get(&address, &options), &["not written"]);
    }
    // Nor is a manifest believed that somebody has changed.
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("evil-manifest", &server);
    get(&address, &options).unwrap();
    let place = PathBuf::from(options.place(&address).unwrap());
    let victim = place.parent().unwrap().join("victim");
    std::fs::write(&victim, b"mine").unwrap();
    let path = place.join("hive-fetch.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("tokenizer.json", "../victim");
    std::fs::write(&path, text).unwrap();
    assert!(get(&address, &options).is_err() && victim.exists());
}

#[test]
fn files_of_others_are_left_alone() {
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("foreign", &server);
    let folder = scratch("foreign-folder");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(NAME), b"mine").unwrap();
    let options = FetchOptions { folder: Some(folder.to_str().unwrap().to_owned()), ..options };
    sentence(get(&address, &options), &["model.safetensors", "not fetched into it", "another folder"]);
    assert_eq!(std::fs::read(folder.join(NAME)).unwrap(), b"mine");
}

#[test]
fn what_is_not_a_model_is_told_before_it_is_fetched() {
    let config = ("config.json", b"{}".to_vec());
    for (files, part) in [
        (vec![(NAME, weights(0))], "no config.json"),
        (vec![config.clone(), ("pytorch_model.bin", vec![0; 9])], "no *.safetensors"),
        (vec![config.clone(), ("a.safetensors", vec![0; 9]), ("b.safetensors", vec![0; 9])], "several *.safetensors"),
        (
            vec![config, ("model.safetensors.index.json", b"{\"weight_map\": {\"a\": \"b.safetensors\"}}".to_vec())],
            "b.safetensors",
        ),
    ] {
        let server = hub(files, |_, _| None);
        let (address, options) = at_hub("no-model", &server);
        sentence(get(&address, &options), &["no model that can be fetched", part]);
        assert_eq!(server.sent(NAME), 0);
    }
    let server = site(|_, bytes| Reply { chunked: true, ..plain(bytes) });
    let (address, options) = at_folder("no-length", &server);
    sentence(get(&address, &options), &["does not say how long", NAME]);
}

#[test]
fn redirects_are_followed_and_the_token_stays() {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tokens);
    let store = Server::start(move |asked| {
        seen.lock().unwrap().push(asked.header("authorization").map(str::to_owned));
        file(asked, &weights(0), "\"far\"")
    });
    let far = format!("{}/blob", store.address);
    let server =
        small_hub(move |asked, _| asked.path.ends_with(NAME).then(|| Reply::status(302).with("location", &*far)));
    let (address, options) = at_hub("redirect", &server);
    let options = FetchOptions { token: Some("hf_secret".into()), ..options };
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0));
    assert!(server.take().iter().all(|l| l.asked.header("authorization") == Some("Bearer hf_secret")));
    assert_eq!(*tokens.lock().unwrap(), [None]);
    // Nor does it go to a server that is not the hub.
    let other = site(|asked, bytes| file(asked, bytes, "\"e\""));
    let (address, _) = at_folder("redirect-other", &other);
    get(&address, &options).unwrap();
    assert!(other.take().iter().all(|l| l.asked.header("authorization").is_none()));

    let server = small_hub(|asked, _| {
        asked.path.ends_with(NAME).then(|| Reply::status(302).with("location", asked.path.clone()))
    });
    let (address, options) = at_hub("redirect-loop", &server);
    sentence(get(&address, &options), &["redirects more than 10 times"]);
    let server = small_hub(|asked, _| {
        asked.path.ends_with(NAME).then(|| Reply::status(302).with("location", "file:///etc/passwd"))
    });
    let (address, options) = at_hub("redirect-file", &server);
    sentence(get(&address, &options), &["something else than http"]);
}

#[test]
fn offline_never_connects() {
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("offline", &server);
    let offline = FetchOptions { offline: true, ..options.clone() };
    sentence(get(&address, &offline), &["some/model is not here", "hive fetch some/model"]);
    assert!(block_on(fetch(&address, &options, |p| p.done < 500_000)).is_err());
    server.take();
    sentence(get(&address, &offline), &["model.safetensors is not whole", "hive fetch some/model"]);
    assert!(server.take().is_empty());
    get(&address, &options).unwrap();
    server.take();
    let fetched = get(&address, &offline).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert_eq!(fetched.license.as_deref(), Some("apache-2.0"));
    assert!(server.take().is_empty());

    // A hub that is gone is no reason not to use what is here.
    server.end();
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert!(fetched.notes[0].contains("The copy from before is used"), "{:?}", fetched.notes);
    block_on(forget(&address.key(), &options)).unwrap();
    sentence(get(&address, &options), &["cannot be reached"]);
}

#[test]
fn without_room_it_is_refused_or_read_from_elsewhere() {
    let large: Vec<u8> = (0..5_000_000_u32).map(|i| (i / 7) as u8).collect();
    let files = vec![("config.json", b"{}".to_vec()), (NAME, large.clone())];
    let server = hub(files, |_, _| None);
    let (address, options) = at_hub("no-room", &server);
    let options = FetchOptions { room: Some(1000), ..options };
    sentence(get(&address, &options), &["no room for model.safetensors", "5 MB", "goes on where it stopped"]);

    // Over the network, by ranges, only what is asked for.
    let options = FetchOptions { stream: true, ..options };
    server.take();
    let fetched = get(&address, &options).unwrap();
    assert_eq!((server.sent(NAME), fetched.place.as_ref()), (0, None));
    assert!(
        fetched.notes[0].contains("no room to keep model.safetensors: it is read from the network"),
        "{:?}",
        fetched.notes
    );
    let blob = fetched.blobs.iter().find(|b| b.name() == NAME).unwrap();
    assert_eq!(blob.len(), 5_000_000);
    assert!(block_on(blob.read(1_000_000, 2_000_000)).unwrap() == large[1_000_000..3_000_000]);
    assert!(block_on(blob.read(4_999_999, 1)).unwrap() == large[4_999_999..]);
    assert_eq!(server.sent(NAME), 2_000_001);
    server.end();
    assert!(block_on(blob.read(0, 10)).unwrap_err().contains("model.safetensors cannot be read at byte 0"));

    // From memory where it is small, or the server gives no parts.
    let server = small_hub(|_, _| None);
    let (address, at) = at_hub("no-room-small", &server);
    let small = FetchOptions { room: Some(1000), stream: true, ..at };
    let fetched = get(&address, &small).unwrap();
    assert!(
        bytes(&fetched, NAME) == weights(0) && fetched.notes[0].contains("runs from memory"),
        "{:?}",
        fetched.notes
    );
    assert_eq!(server.sent(NAME), WEIGHTS);
}

#[test]
fn a_file_on_the_network_is_asked_for_again_and_must_stay_the_same() {
    let large = vec![3_u8; 5_000_000];
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = hub(vec![("config.json", b"{}".to_vec()), (NAME, large)], move |asked, bytes| {
        if !asked.path.ends_with(NAME) || asked.is_probe() {
            return None;
        }
        let own = file(asked, bytes, "\"e\"");
        Some(match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Reply { cut: Some(1000), ..own },
            1 => Reply::status(503),
            2 => own,
            3 => plain(bytes),
            _ => own.with("content-range", "bytes 1-2/3"),
        })
    });
    let (address, options) = at_hub("network", &server);
    let options = FetchOptions { room: Some(1000), stream: true, ..options };
    let fetched = get(&address, &options).unwrap();
    let blob = fetched.blobs.iter().find(|b| b.name() == NAME).unwrap();
    assert!(block_on(blob.read(50, 9000)).unwrap() == vec![3; 9000]);
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert!(block_on(blob.read(50, 9000)).unwrap_err().contains("may have changed"));
    assert!(block_on(blob.read(50, 9000)).unwrap_err().contains("may have changed"));
}

#[test]
fn files_that_are_here_are_kept_and_opened_again() {
    let options = options("keep");
    let blobs = [Blob::memory("config.json", *b"{}"), Blob::memory(NAME, weights(3))];
    let kept = block_on(keep("my model", &blobs, &options, |_| true)).unwrap();
    assert!(bytes(&kept, NAME) == weights(3) && kept.place.is_some() && kept.notes.is_empty());
    let all = block_on(cached(&options)).unwrap();
    assert_eq!((all.len(), all[0].address.as_str(), all[0].whole), (1, "my model", true));
    let opened = block_on(open(&all[0].key, &options)).unwrap();
    assert!(bytes(&opened, NAME) == weights(3));
    assert!(block_on(open("..", &options)).is_err() && block_on(open("other", &options)).is_err());

    assert!(block_on(keep("my model", &blobs, &options, |_| false)).is_err());
    sentence(block_on(open(&all[0].key, &options)), &["my-model is not here"]);
    let tight = FetchOptions { room: Some(9), ..options };
    let kept = block_on(keep("other", &blobs, &tight, |_| true)).unwrap();
    assert!(bytes(&kept, NAME) == weights(3) && kept.place.is_none() && kept.notes[0].contains("not kept"));
    sentence(block_on(keep("evil", &[Blob::memory("../x", *b"")], &tight, |_| true)), &["not written"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("disk", &server);
    assert!(block_on(fetch(&address, &options, |p| p.done < 500_000)).is_err());
    let part = PathBuf::from(options.place(&address).unwrap()).join("model.safetensors.part");
    std::fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let e = sentence(get(&address, &options), &["no room for model.safetensors", "2 MB", "some--model"]);
    assert!(matches!(e, FetchError::Full { .. }));
}

#[test]
fn two_at_once_do_not_mix() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_millis(5), ..own })
    });
    let (address, options) = at_hub("two", &server);
    let mut second = None;
    let fetched = block_on(fetch(&address, &options, |p| {
        if p.done > 500_000 && second.is_none() {
            second = Some(get(&address, &options));
        }
        true
    }));
    sentence(second.unwrap(), &["fetched by another program"]);
    assert!(bytes(&fetched.unwrap(), NAME) == weights(0));
}

#[cfg(feature = "cli")]
mod program {
    use std::process::{Command, Stdio};

    use super::*;

    fn hive(words: &[&str], cache: &Path, endpoint: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        command.args(words).stdin(Stdio::null()).env("HF_ENDPOINT", endpoint);
        for name in ["XDG_CACHE_HOME", "LOCALAPPDATA"] {
            command.env(name, cache);
        }
        command.env_remove("HF_TOKEN");
        command
    }

    fn said(mut command: Command) -> (Option<i32>, String, String) {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[test]
    fn killed_and_started_again_it_fetches_the_rest() {
        let server = small_hub(|asked, bytes| {
            let own = file(asked, bytes, "\"e\"");
            asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_millis(20), ..own })
        });
        let cache = scratch("killed");
        std::fs::create_dir_all(&cache).unwrap();
        let mut child = hive(&["fetch", "some/model"], &cache, &server.address).stdout(Stdio::null()).spawn().unwrap();
        let part = cache.join("hive/models/some--model/model.safetensors.part");
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
        let place = cache.join("hive/models/some--model");
        assert_eq!(Path::new(out.trim_end()), place);
        assert!(std::fs::read(place.join(NAME)).unwrap() == weights(0));
        assert!(err.contains("licence, as the model's card says: apache-2.0"), "{err}");
    }

    #[test]
    fn its_words_and_codes() {
        let fixture = |name| {
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama").join(name)).unwrap()
        };
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
        wants(&["fetch", "--list"], 0, &["0.5 MB  some/model\n"]);
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
}
