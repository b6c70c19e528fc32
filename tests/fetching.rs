//! Models fetched from servers that break off and change: what arrives is right, and nothing is fetched twice. All servers
//! are our own, on this machine.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hive::engine::fetch::{FetchError, FetchOptions, FetchProgress, cached, fetch, forget, keep, open};
use hive::model::files::{Checkpoint, Folder};
use hive::platform::{Blob, block_on};
use serde_json::json;

use crate::common::hub::{
    NAME, WEIGHTS, at_folder, at_hub, bytes, get, hub, names, options, sentence, sha256, site, small_hub, weights,
};
use crate::common::server::{Reply, Server, file, plain};

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
    assert_eq!(place, Path::new(options.cache.as_ref().unwrap()).join(address.key(&options.endpoint)));
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
    block_on(forget(&address.key(&options.endpoint), &options)).unwrap();
    assert!(!place.exists() && block_on(cached(&options)).unwrap().is_empty());
    assert!(
        block_on(forget("..", &options)).is_err()
            && block_on(forget(&address.key(&options.endpoint), &options)).is_err()
    );
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
    block_on(forget(&address.key(&options.endpoint), &options)).unwrap();
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
            // It waits as long as it may.
            second = Some(block_on(fetch(&address, &options, |p| !p.trouble.contains("another program"))));
        }
        true
    }));
    assert_eq!(second.unwrap().map(|f| f.notes), Err(FetchError::Stopped));
    assert!(bytes(&fetched.unwrap(), NAME) == weights(0));
}

/// nanoVLM's entries name another one for their tokenizer.
#[test]
fn a_tokenizer_that_another_entry_has_comes_along() {
    let own = |library: &'static str, other: &'static str| {
        Server::start(move |asked| {
            let config = json!({"lm_tokenizer": other}).to_string().into_bytes();
            let entries = [
                ("some/model", library, vec![("config.json", config), (NAME, weights(0))]),
                (
                    "other/words",
                    "transformers",
                    vec![("tokenizer.json", b"{}".to_vec()), ("README.md", b"no".to_vec())],
                ),
            ];
            for (id, library, files) in entries {
                if asked.path == format!("/api/models/{id}/revision/main") {
                    return Reply::text(json!({"cardData": {"library_name": library, "license": "mit"}}).to_string());
                }
                if asked.path == format!("/api/models/{id}/tree/main?recursive=false") {
                    let line =
                        |(name, bytes): &(&str, Vec<u8>)| json!({"type": "file", "path": name, "size": bytes.len()});
                    return Reply::text(json!(files.iter().map(line).collect::<Vec<_>>()).to_string());
                }
                let name = asked.path.strip_prefix(&format!("/{id}/resolve/main/"));
                if let Some((_, bytes)) = files.iter().find(|(n, _)| Some(*n) == name) {
                    return file(asked, bytes, "\"e\"");
                }
            }
            Reply::status(404)
        })
    };
    let server = own("nanovlm", "other/words");
    let (address, options) = at_hub("elsewhere", &server);
    let fetched = get(&address, &options).unwrap();
    assert_eq!(names(&fetched), ["config.json", NAME, "tokenizer.json"]);
    assert_eq!((bytes(&fetched, "tokenizer.json"), fetched.license.as_deref()), (b"{}".to_vec(), Some("mit")));
    // Of other libraries the key means nothing, and no path leads out of the hub.
    let server = own("transformers", "other/words");
    let (address, options) = at_hub("elsewhere-not", &server);
    assert_eq!(names(&get(&address, &options).unwrap()), ["config.json", NAME]);
    let server = own("nanovlm", "../../words");
    let (address, options) = at_hub("elsewhere-out", &server);
    sentence(get(&address, &options), &["../../words"]);
}
