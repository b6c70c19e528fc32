//! Models fetched beside others who fetch, from several hubs, from servers that stall, crawl or change a file.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hive::engine::fetch::{Address, FetchError, FetchOptions, fetch};
use hive::platform::{Patience, block_on};

use crate::common::hub::{
    NAME, WEIGHTS, at_folder, at_hub, bytes, get, hive, hub, said, scratch, sentence, site, small_hub, weights,
};
use crate::common::server::{Reply, Server, file};

#[test]
fn two_at_once_share_what_one_fetches() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_millis(8), ..own })
    });
    let cache = scratch("at-once");
    std::fs::create_dir_all(&cache).unwrap();
    let start = || {
        let mut command = hive(&["fetch", "some/model"], &cache, &server.address);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    for one in &both {
        assert_eq!(one.status.code(), Some(0), "{}", String::from_utf8_lossy(&one.stderr));
    }
    let waited = both.iter().filter(|one| String::from_utf8_lossy(&one.stderr).contains("another program fetches"));
    assert!(waited.count() >= 1, "none waited");
    assert_eq!(server.sent(NAME), WEIGHTS, "it was fetched more than once");
    let place = PathBuf::from(String::from_utf8(both[0].stdout.clone()).unwrap().trim_end());
    assert!(std::fs::read(place.join(NAME)).unwrap() == weights(0));
}

#[test]
fn hubs_and_ids_that_look_alike_share_no_place() {
    let hub_of = |seed: u8| hub(vec![("config.json", b"{}".to_vec()), (NAME, weights(seed))], |_, _| None);
    let (one, two, cache) = (hub_of(1), hub_of(2), scratch("hubs"));
    std::fs::create_dir_all(&cache).unwrap();
    for (server, seed) in [(&one, 1), (&two, 2), (&one, 1)] {
        let (code, out, err) = said(hive(&["fetch", "some/model"], &cache, &server.address));
        assert_eq!(code, Some(0), "{err}");
        assert!(std::fs::read(Path::new(out.trim_end()).join(NAME)).unwrap() == weights(seed));
    }
    // Nobody fetched it from the usual hub.
    let mut usual = hive(&["fetch", "some/model", "--offline"], &cache, "");
    usual.env_remove("HF_ENDPOINT");
    let (code, _, err) = said(usual);
    assert!(code == Some(1) && err.contains("some/model is not here"), "{err}");
    let (_, list, _) = said(hive(&["fetch", "--list"], &cache, &one.address));
    assert!(list.contains(&one.address) && list.contains(&two.address), "{list}");
    // One is forgotten, the other stays.
    assert_eq!(said(hive(&["fetch", "--forget", "some/model"], &cache, &one.address)).0, Some(0));
    assert_eq!(said(hive(&["fetch", "some/model", "--offline"], &cache, &one.address)).0, Some(1));
    assert_eq!(said(hive(&["fetch", "some/model", "--offline"], &cache, &two.address)).0, Some(0));
}

#[cfg(unix)]
#[test]
fn a_whole_model_on_a_disk_that_cannot_be_written_is_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = small_hub(|_, _| None);
    let (address, options) = at_hub("read-only", &server);
    let place = PathBuf::from(get(&address, &options).unwrap().place.unwrap());
    let before: Vec<_> = hive::platform::list_folder(&place).unwrap();
    let times =
        || before.iter().map(|n| std::fs::metadata(place.join(n)).unwrap().modified().unwrap()).collect::<Vec<_>>();
    let written = times();
    // Root may write everywhere; that nothing is written holds for everybody.
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o555)).unwrap();
    let again = get(&address, &options);
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(bytes(&again.unwrap(), NAME) == weights(0));
    assert_eq!((hive::platform::list_folder(&place).unwrap(), times()), (before.clone(), written));
}

#[test]
fn a_changed_file_of_the_right_length_is_noticed_when_asked() {
    let server = small_hub(|_, _| None);
    let cache = scratch("verify");
    std::fs::create_dir_all(&cache).unwrap();
    let run = |words: &[&str]| said(hive(&[&["fetch", "some/model"], words].concat(), &cache, &server.address));
    let place = PathBuf::from(run(&[]).1.trim_end());
    let (code, _, err) = run(&["--verify"]);
    assert!(code == Some(0) && err.contains("every file is as it was fetched"), "{err}");
    // Weights, whose hash the hub tells, and a text, whose hash it does not.
    for name in [NAME, "tokenizer.json"] {
        let whole = std::fs::read(place.join(name)).unwrap();
        let mut changed = whole.clone();
        changed[3] ^= 1;
        std::fs::write(place.join(name), &changed).unwrap();
        let (code, _, err) = run(&["--verify", "--offline"]);
        assert!(code == Some(1) && err.contains(name) && err.contains("hive fetch some/model"), "{err}");
        assert!(std::fs::read(place.join(name)).unwrap() == changed, "without a network nothing is removed");
        let (code, _, err) = run(&["--verify"]);
        assert!(code == Some(0) && err.contains(&format!("fetched again: {name}")), "{err}");
        assert!(std::fs::read(place.join(name)).unwrap() == whole);
    }
}

#[test]
fn a_part_without_a_word_about_its_contents_is_not_joined_on() {
    // The file changes after a third of it; then the server names no version, and a part has the right length.
    let state = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&state);
    let server = site(move |asked, bytes| {
        let changed = *shared.lock().unwrap() > 0;
        if !asked.path.ends_with(NAME) || asked.is_probe() {
            return file(asked, bytes, "\"one\"");
        }
        *shared.lock().unwrap() += 1;
        if changed {
            let mut own = file(asked, &weights(9), "\"one\"");
            own.headers.retain(|(name, _)| name != "etag");
            own
        } else {
            let own = file(asked, bytes, "\"one\"");
            Reply { cut: Some(WEIGHTS / 3), ..own }
        }
    });
    let (address, options) = at_folder("silent-change", &server);
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(9), "two files were joined");
    assert!(*state.lock().unwrap() >= 3);
}

#[test]
fn a_part_of_a_file_of_another_length_is_not_joined_on() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        if !asked.path.ends_with(NAME) {
            return None;
        }
        match asked.range().map(|(start, _)| start) {
            Some(start) if start > 0 => {
                Some(own.with("content-range", format!("bytes {start}-{}/{}", WEIGHTS - 1, WEIGHTS + 7)))
            }
            _ if asked.before == 0 => Some(Reply { cut: Some(WEIGHTS / 3), ..own }),
            _ => Some(own),
        }
    });
    let (address, options) = at_hub("other-length", &server);
    let fetched = get(&address, &options).unwrap();
    assert!(bytes(&fetched, NAME) == weights(0));
    assert!(fetched.notes.iter().any(|n| n.contains("other parts")), "{:?}", fetched.notes);
}

#[test]
fn a_stalled_server_is_told_of_and_asked_again() {
    let server = small_hub(|asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        let stalls = asked.path.ends_with(NAME) && asked.before == 0;
        stalls.then(|| Reply { pause: Duration::from_secs(3), ..own })
    });
    let (address, options) = at_hub("stalled", &server);
    let options = FetchOptions { patience: Patience { secs: 0.4, ..options.patience }, ..options };
    let mut told = Vec::new();
    let fetched = block_on(fetch(&address, &options, |p| {
        told.push(p.trouble.clone());
        true
    }));
    assert!(bytes(&fetched.unwrap(), NAME) == weights(0));
    assert!(told.iter().any(|t| t.contains("does not answer") && t.contains("try 2 of 3")), "{told:?}");
    assert_eq!(told.last().unwrap(), "", "the trouble is over");
    // What users wait before they hear of it.
    assert!(Patience::default().secs <= 10.0);
}

#[test]
fn a_server_that_crawls_is_given_up_and_gone_on_with_later() {
    let slow = Arc::new(Mutex::new(true));
    let shared = Arc::clone(&slow);
    let server = small_hub(move |asked, bytes| {
        let own = file(asked, bytes, "\"e\"");
        let crawls = asked.path.ends_with(NAME) && *shared.lock().unwrap();
        crawls.then(|| Reply { pause: Duration::from_millis(150), ..own })
    });
    let (address, options) = at_hub("crawls", &server);
    let patience = Patience { interval_secs: 0.5, least_rate: 1_000_000, ..options.patience };
    let start = Instant::now();
    let impatient = FetchOptions { patience, ..options.clone() };
    let e = sentence(get(&address, &impatient), &["bytes a second", NAME, "goes on where it stopped"]);
    assert!(matches!(e, FetchError::Slow { .. }) && start.elapsed() < Duration::from_secs(10));
    server.take();
    *slow.lock().unwrap() = false;
    assert!(bytes(&get(&address, &options).unwrap(), NAME) == weights(0));
    let line = server.take().into_iter().find(|l| l.asked.path.ends_with(NAME)).unwrap();
    assert!(line.asked.range().unwrap().0 > 0, "it began anew");
}

#[test]
fn a_list_that_never_ends_is_cut() {
    let server = Server::start(|asked| {
        if asked.path.contains("/revision/") {
            return Reply::text(" ".repeat(80 << 20));
        }
        Reply::status(404)
    });
    let (address, options) = at_hub("endless", &server);
    sentence(get(&address, &options), &["is longer than"]);
}

#[test]
fn variables_that_cannot_be_what_they_are_for_are_named() {
    let cache = scratch("variables");
    let with = |name: &str, value: &std::ffi::OsStr| {
        let mut command = hive(&["fetch", "some/model"], &cache, "http://127.0.0.1:9");
        command.env(name, value);
        said(command)
    };
    for (name, value) in [("HF_TOKEN", "two\nlines"), ("HF_TOKEN", "b\u{e4}r"), ("HF_ENDPOINT", "huggingface.co")] {
        let (code, _, err) = with(name, value.as_ref());
        assert!(code == Some(2) && err.contains(name) && !err.contains(value), "{value}: {err}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let (code, _, err) = with("HF_TOKEN", std::ffi::OsStr::from_bytes(b"hf_\xff"));
        assert!(code == Some(2) && err.contains("HF_TOKEN"), "{err}");
    }
    assert_ne!(Address::parse("a--b/c").unwrap().key(""), Address::parse("a/b--c").unwrap().key(""));
}
