//! Lists of files as a hub gives them: asked for over a connection, as they are in use.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use hive::engine::fetch::{Address, FetchOptions, fetch};
use hive::platform::{Patience, block_on};

/// What the hub answers with: what it says of a model, and its list of files.
static ANSWERS: Mutex<[Vec<u8>; 2]> = Mutex::new([Vec::new(), Vec::new()]);

fn answers() -> std::sync::MutexGuard<'static, [Vec<u8>; 2]> {
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a hub of our own.
fn server() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
        address
    })
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let [about, list] = answers().clone();
    let body = match first {
        f if f.contains("/tree/") => list,
        f if f.contains("/api/") => about,
        _ => b"{}".to_vec(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

pub(super) fn list(input: &[u8]) -> bool {
    let [list, about] = [0, 1].map(|i| super::seeds::hubs()[i].clone());
    // A list begins with a bracket, whatever became of the rest.
    let lists = input.iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|b| *b == b'[');
    *answers() = if lists { [about, input.to_vec()] } else { [input.to_vec(), list] };
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-hub-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&cache);
    let options = FetchOptions {
        endpoint: server().to_owned(),
        cache: Some(cache.to_string_lossy().into_owned()),
        patience: Patience { secs: 2.0, tries: 1, pause_secs: 0.01, ..Patience::default() },
        ..FetchOptions::default()
    };
    let Ok(address) = Address::parse("a/b") else { return false };
    // Stopped at the first piece: what the list says is understood by then.
    let mut told = false;
    let fetched = block_on(fetch(&address, &options, |_| {
        told = true;
        false
    }));
    let _ = std::fs::remove_dir_all(&cache);
    told || fetched.is_ok()
}
