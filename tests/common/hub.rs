//! A hub with a made-up model, a folder of a web server with one, and how models are fetched from them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hive::engine::fetch::{Address, FetchError, FetchOptions, Fetched, fetch};
use hive::platform::{Blob, Patience, block_on};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::server::{Asked, Reply, Server, file};

/// Bytes of the made-up weights: several pieces of what a connection gives at a time.
pub(crate) const WEIGHTS: usize = 1_500_000;
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const NAME: &str = "model.safetensors";

pub(crate) fn weights(seed: u8) -> Vec<u8> {
    (0..WEIGHTS).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// An empty folder for one test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fetch-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// Quick to give up, with a cache of its own.
pub(crate) fn options(name: &str) -> FetchOptions {
    FetchOptions {
        cache: Some(scratch(name).to_str().unwrap().to_owned()),
        patience: Patience { secs: 5.0, tries: 3, pause_secs: 0.01, ..Patience::default() },
        ..FetchOptions::default()
    }
}

pub(crate) fn at_hub(name: &str, server: &Server) -> (Address, FetchOptions) {
    let options = FetchOptions { endpoint: server.address.clone(), ..options(name) };
    (Address::parse("some/model").unwrap(), options)
}

pub(crate) fn at_folder(name: &str, server: &Server) -> (Address, FetchOptions) {
    (Address::parse(&format!("{}/x/", server.address)).unwrap(), options(name))
}

pub(crate) fn get(address: &Address, options: &FetchOptions) -> Result<Fetched, FetchError> {
    block_on(fetch(address, options, |_| true))
}

/// The program, with a cache and a hub of its own.
pub(crate) fn hive(words: &[&str], cache: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
    command.args(words).stdin(Stdio::null()).env("HF_ENDPOINT", endpoint).env_remove("HF_TOKEN");
    for name in ["XDG_CACHE_HOME", "LOCALAPPDATA"] {
        command.env(name, cache);
    }
    command
}

/// Exit code, standard output and standard error.
pub(crate) fn said(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[track_caller]
pub(crate) fn sentence(result: Result<Fetched, FetchError>, parts: &[&str]) -> FetchError {
    let error = result.map(|f| f.notes).expect_err("it must be refused");
    let text = error.to_string();
    parts.iter().for_each(|p| assert!(text.contains(p), "\"{p}\" is not in: {text}"));
    error
}

pub(crate) fn bytes(fetched: &Fetched, name: &str) -> Vec<u8> {
    let blob = fetched.blobs.iter().find(|b| b.name() == name).unwrap_or_else(|| panic!("no {name}"));
    block_on(blob.read(0, blob.len() as usize)).unwrap()
}

pub(crate) fn names(fetched: &Fetched) -> Vec<&str> {
    fetched.blobs.iter().map(Blob::name).collect()
}

/// A hub with these files. `resolve` may answer instead of the hub's own file.
pub(crate) fn hub(
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

pub(crate) fn small_hub(resolve: impl Fn(&Asked, &[u8]) -> Option<Reply> + Send + Sync + 'static) -> Server {
    hub(vec![("config.json", b"{}".to_vec()), ("tokenizer.json", b"{\"a\": 1}".to_vec()), (NAME, weights(0))], resolve)
}

/// A web server with a folder `/x/` of a configuration and weights.
pub(crate) fn site(answer: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let weights = weights(0);
    Server::start(move |asked| match asked.path.as_str() {
        "/x/config.json" => answer(asked, b"{}"),
        "/x/model.safetensors" => answer(asked, &weights),
        _ => Reply::status(404),
    })
}
