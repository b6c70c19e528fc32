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

/// What Trunk is told in the index; here it is done instead.
const LINK: &str = "<link data-trunk";
/// The module's functions by name are for debuggers, and a tenth of what a visitor would download.
const KEEP_NAMES: bool = false;
/// Of the program, too: both have the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

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
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name(&name).web(true)?.typescript(false).remove_name_section(!KEEP_NAMES);
    bindgen.generate(folder)?;

    let (page, beside) = without_links(&fs::read_to_string(index)?, &name)?;
    fs::write(folder.join("index.html"), page)?;
    for path in beside {
        copy(&index.with_file_name(path), folder)?;
    }
    Ok(())
}

/// The index with the call that loads the program instead of what Trunk is told; and what is to stand beside it.
fn without_links(index: &str, name: &str) -> Result<(String, Vec<String>), String> {
    let (mut page, mut beside, mut rest, mut calls) = (String::new(), Vec::new(), index, 0);
    while let Some((head, tail)) = rest.split_once(LINK) {
        let (link, tail) = tail.split_once('>').ok_or("the index has a link for Trunk that does not end")?;
        let value = |name: &str| Some(link.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0);
        page.push_str(head);
        match (value("rel"), value("href")) {
            (Some("rust"), _) => {
                calls += 1;
                let files = format!(r#""./{name}.js", "./{name}_bg.wasm""#);
                page.push_str(&format!(r#"<script>hive.load({files}, "{VERSION}");</script>"#));
            }
            (Some("copy-file" | "copy-dir"), Some(path)) => beside.push(path.to_owned()),
            _ => return Err(format!("the index has a link for Trunk that is not known here: {link}")),
        }
        rest = tail;
    }
    page.push_str(rest);
    if calls == 1 { Ok((page, beside)) } else { Err(format!("the index has {calls} links for Trunk to the program")) }
}

/// Copies a file, or a folder of files, into another folder.
fn copy(from: &Path, into: &Path) -> io::Result<()> {
    let to = into.join(from.file_name().unwrap_or_default());
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(&to)?;
    fs::read_dir(from)?.try_for_each(|entry| copy(&entry?.path(), &to))
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
    fn the_index_calls_the_program_once_and_names_what_stands_beside_it() {
        let rust = "<link data-trunk rel=\"rust\"\n data-bin=\"hive\">";
        let index = format!("<p><link data-trunk rel=\"copy-dir\" href=\"../a/b\">{rust}\n</p>");
        let (page, beside) = without_links(&index, "hive-1").unwrap();
        let call = format!("hive.load(\"./hive-1.js\", \"./hive-1_bg.wasm\", \"{VERSION}\");");
        assert_eq!(page, format!("<p><script>{call}</script>\n</p>"));
        assert_eq!(beside, ["../a/b"]);
        for wrong in ["<p></p>", &[rust, rust].concat(), "<link data-trunk rel=\"sass\" href=\"a\">"] {
            assert!(without_links(wrong, "hive-1").is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_and_folders_are_copied_beside_the_page() {
        let folder = std::env::temp_dir().join(format!("hive-copy-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir_all(folder.join("to")).unwrap();
        fs::write(folder.join("a/b/c"), "c").unwrap();
        copy(&folder.join("a/b"), &folder.join("to")).unwrap();
        copy(&folder.join("a/b/c"), &folder.join("to")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("to/b/c")).unwrap(), "c");
        assert_eq!(fs::read_to_string(folder.join("to/c")).unwrap(), "c");
        assert!(copy(&folder.join("none"), &folder.join("to")).is_err());
        fs::remove_dir_all(folder).unwrap();
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
