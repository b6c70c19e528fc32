//! Makes the page of a compiled module, and serves it on this machine:  page MODULE INDEX FOLDER [PORT]
//!
//! MODULE is what cargo compiled for `wasm32-unknown-unknown`, INDEX is `web/index.html`. FOLDER then holds all that a web server
//! needs, as `trunk build --release` leaves it. Names have a hash, so that no browser takes an old file for the new one.
#![allow(clippy::disallowed_methods, reason = "a tool that runs on the developer's machine alone")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path};

use wasm_bindgen_cli_support::Bindgen;

/// What Trunk is told in the index; here the call stands in its place.
const LINK: &str = "<link data-trunk";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (module, index, folder, port) = match words.as_slice() {
        [module, index, folder] => (module, index, folder, None),
        [module, index, folder, port] => (module, index, folder, Some(port.parse()?)),
        _ => return Err("page MODULE INDEX FOLDER [PORT]".into()),
    };
    let folder = Path::new(folder);
    build(Path::new(module), Path::new(index), folder)?;
    let Some(port) = port else { return Ok(()) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    writeln!(io::stderr(), "hive: the page is at http://{}/", listener.local_addr()?)?;
    serve(&listener, folder);
    Ok(())
}

fn build(module: &Path, index: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut hasher = DefaultHasher::new();
    fs::read(module)?.hash(&mut hasher);
    let name = format!("hive-{:016x}", hasher.finish());

    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Bindgen::new().input_path(module).out_name(&name).web(true)?.typescript(false).generate(folder)?;

    fs::write(folder.join("index.html"), with_call(&fs::read_to_string(index)?, &name)?)?;
    Ok(())
}

/// The index with the call that loads the program instead of what Trunk is told.
fn with_call(index: &str, name: &str) -> Result<String, &'static str> {
    let (head, rest) = index.split_once(LINK).ok_or("the index has no link for Trunk")?;
    let (_, tail) = rest.split_once('>').ok_or("the index's link for Trunk does not end")?;
    let call = format!(r#"<script>hive.load("./{name}.js", "./{name}_bg.wasm");</script>"#);
    Ok([head, &call, tail].concat())
}

/// Serves the folder until the program is ended.
fn serve(listener: &TcpListener, folder: &Path) {
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            // A browser that leaves in the middle is no fault.
            scope.spawn(move || drop(answer(stream, folder)));
        }
    });
}

fn answer(mut stream: TcpStream, folder: &Path) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}

    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let Ok(bytes) = (if inside { fs::read(folder.join(path)) } else { Err(io::ErrorKind::NotFound.into()) }) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let kind = match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" { Ok(()) } else { stream.write_all(&bytes) }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_index_calls_the_program_once() {
        let index = "<p><link data-trunk rel=\"rust\"\n data-bin=\"hive\">\n</p>";
        let page = with_call(index, "hive-1").unwrap();
        assert_eq!(page, "<p><script>hive.load(\"./hive-1.js\", \"./hive-1_bg.wasm\");</script>\n</p>");
        assert!(with_call("<p></p>", "hive-1").is_err());
    }

    #[test]
    fn files_have_their_types_and_nothing_outside_is_served() {
        let folder = std::env::temp_dir().join(format!("hive-page-{}", std::process::id()));
        fs::create_dir_all(folder.join("page/inside")).unwrap();
        fs::write(folder.join("secret"), "secret").unwrap();
        for name in ["index.html", "a.js", "inside/a.wasm"] {
            fs::write(folder.join("page").join(name), name).unwrap();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let root = folder.join("page");
        std::thread::spawn(move || serve(&listener, &root));
        let get = |line: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "{line} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        for (line, kind, body) in [
            ("GET /", "text/html", "index.html"),
            ("GET /a.js?x=1", "text/javascript", "a.js"),
            ("GET /inside/a.wasm", "application/wasm", "inside/a.wasm"),
            ("HEAD /a.js", "text/javascript", ""),
        ] {
            let text = get(line);
            assert!(text.starts_with("HTTP/1.1 200") && text.contains(kind), "{line}: {text}");
            assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{line}: {text}");
        }
        for line in ["GET /../secret", "GET /inside/../../secret", "GET /none", "GET /inside"] {
            assert!(get(line).starts_with("HTTP/1.1 404"), "{line}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
