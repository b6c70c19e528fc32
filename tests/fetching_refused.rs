//! Servers that fail, lie and lead elsewhere: what is wrong is refused with a sentence, and no file of others is touched.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hive::engine::fetch::{FetchError, FetchOptions};
use hive::platform::Patience;
use serde_json::json;

use crate::common::hub::{NAME, at_folder, at_hub, bytes, get, hub, scratch, sentence, site, small_hub, weights};
use crate::common::server::{Asked, Reply, Server, file, plain};

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
    let options = FetchOptions { patience: Patience { secs: 0.3, tries: 2, ..options.patience }, ..options };
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
