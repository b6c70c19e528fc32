//! The server for OpenAI's clients: the answers of `hive ask`, several clients, those that go away, and what is refused.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::program::{adapter, command, hive};

const MODEL: &str = "tests/fixtures-vlm/smolvlm-whole";
const PHOTO: &str =
    "tests/fixtures-eval/formats/mme/original/MME_Benchmark_release_version/MME_Benchmark/existence/000000000101.jpg";

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(words: &[&str]) -> Self {
        let words = [&["serve", "--port", "0"], words].concat();
        let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("it does not say where it is: {line}")).to_owned();
        Self { child, address }
    }

    /// Sends a request; the connection is read by whoever wants the answer.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        let mut all = vec![("host", self.address.as_str()), ("content-type", "application/json")];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        all.extend(headers);
        for (name, value) in all {
            head += &format!("{name}: {value}\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(body);
        stream
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        read(self.send(method, path, headers, body))
    }

    fn ask(&self, body: &Value) -> (u16, Value) {
        let (status, text) = self.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes());
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    #[track_caller]
    fn refuses(&self, body: &Value, status: u16, words: &str) {
        let (got, said) = self.ask(body);
        let said = said["error"]["message"].as_str().unwrap_or_default();
        assert!(got == status && said.contains(words), "{got}, {said}; not {status}, {words}");
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// Status and body of a response, its pieces put together.
fn read(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    // Whoever sends too much is cut off.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, text) };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut out, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out += &after[..size];
        rest = &after[(size + 2).min(after.len())..];
    }
    (status, out)
}

/// One for all tests that do not end it. It looks at pictures.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let start =
        || adapter().then(|| Server::start(&["--model", MODEL, "--weights", "f32", "--name", "seer", "--room", "800"]));
    SERVER.get_or_init(start).as_ref()
}

fn picture(path: &str) -> Value {
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(std::fs::read(path).unwrap()));
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn question(text: &str, more: &Value) -> Value {
    let content = json!([picture(PHOTO), {"type": "text", "text": text}]);
    let mut all = json!({"model": "seer", "messages": [{"role": "user", "content": content}], "max_tokens": 12});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn asked(text: &str) -> String {
    let words = ["ask", PHOTO, text, "--model", MODEL, "--weights", "f32", "--limit", "12", "--room", "800", "--json"];
    hive(&words).code(0).json()["answer"].as_str().unwrap().to_owned()
}

fn answer(said: &Value) -> &str {
    said["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn it_answers_as_ask_does() {
    let Some(server) = server() else { return };
    let want = asked("What is this?");
    let (status, said) = server.ask(&question("What is this?", &json!({})));
    assert_eq!((status, answer(&said)), (200, want.as_str()));
    assert_eq!((&said["object"], &said["model"]), (&json!("chat.completion"), &json!("seer")));
    let used = &said["usage"];
    assert_eq!(
        used["total_tokens"],
        json!(used["prompt_tokens"].as_u64().unwrap() + used["completion_tokens"].as_u64().unwrap())
    );
    // The same, told as it comes.
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let body = question("What is this?", &stream).to_string();
    let (status, text) = server.request("POST", "/v1/chat/completions", &[], body.as_bytes());
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!((status, data.last()), (200, Some(&"[DONE]")));
    let pieces: Vec<Value> = data[..data.len() - 1].iter().map(|d| serde_json::from_str(d).unwrap()).collect();
    let told: String = pieces.iter().filter_map(|p| p["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(told, want);
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(pieces[pieces.len() - 2]["choices"][0]["finish_reason"], said["choices"][0]["finish_reason"]);
    assert_eq!(&pieces[pieces.len() - 1]["usage"], used);
    // Where a picture stands counts, and so do several.
    let after = json!([{"type": "text", "text": "What is this?"}, picture(PHOTO)]);
    let (status, said) =
        server.ask(&json!({"model": "seer", "messages": [{"role": "user", "content": after}], "max_tokens": 12}));
    assert_eq!((status, said["usage"]["prompt_tokens"].is_u64()), (200, true));
    let two = json!([picture(PHOTO), picture(PHOTO), {"type": "text", "text": "Compare."}]);
    let (status, said) =
        server.ask(&json!({"model": "seer", "messages": [{"role": "user", "content": two}], "max_tokens": 2}));
    assert_eq!(status, 200, "{said}");
    assert!(said["usage"]["prompt_tokens"].as_u64() > used["prompt_tokens"].as_u64(), "{said}");
}

#[test]
fn a_model_with_links_answers_as_ask_does() {
    if !adapter() {
        return;
    }
    let server = Server::start(&[]);
    let words = ["ask", PHOTO, "what is it ?", "--json"];
    let want = hive(&words).code(0).json()["answer"].as_str().unwrap().to_owned();
    let about = |parts: Value| json!({"model": "grounds", "messages": [{"role": "user", "content": parts}]});
    let (status, said) = server.ask(&about(json!([{"type": "text", "text": "what is it"}, picture(PHOTO)])));
    assert_eq!((status, answer(&said)), (200, want.as_str()));
    assert!(said.get("notes").is_none(), "{said}");
    let (_, said) = server.ask(&about(json!([picture(PHOTO), {"type": "text", "text": "what is a zeppelin ?"}])));
    assert!(said["notes"][0].as_str().unwrap().contains("zeppelin"), "{said}");
    server.refuses(&about(json!("what is it ?")), 400, "one picture, and 0 are shown");
    server.refuses(&about(json!([picture(PHOTO), picture(PHOTO)])), 400, "one picture, and 2 are shown");
}

#[test]
fn several_clients_at_once_and_one_that_goes_away() {
    if !adapter() {
        return;
    }
    let server = &Server::start(&["--model", MODEL, "--weights", "f32", "--name", "seer", "--room", "800"]);
    let texts = ["What is this?", "Is it red?", "Count."];
    let alone: Vec<String> =
        texts.iter().map(|text| answer(&server.ask(&question(text, &json!({}))).1).to_owned()).collect();
    std::thread::scope(|scope| {
        let ask = |text: &'static str| scope.spawn(move || server.ask(&question(text, &json!({}))));
        let all: Vec<_> = texts.into_iter().map(ask).collect();
        for (one, want) in all.into_iter().zip(&alone) {
            let (status, said) = one.join().unwrap();
            assert_eq!((status, answer(&said)), (200, want.as_str()));
        }
    });
    // A long answer (hot enough, no word is likelier than another), and nobody who waits for it: not in the queue, nor once it began.
    let hot = json!({"max_tokens": 600, "stream": true, "temperature": 100, "seed": 3});
    let long = question("What is this?", &hot).to_string();
    let ask_long = || server.send("POST", "/v1/chat/completions", &[], long.as_bytes());
    let took = |what: &dyn Fn()| {
        let once = |_| {
            let start = Instant::now();
            what();
            start.elapsed()
        };
        // Other work on this machine makes it longer, and nothing makes it shorter.
        (0..3).map(once).min().unwrap()
    };
    let short = || assert_eq!(server.ask(&question("Count.", &json!({}))).0, 200);
    let whole = took(&|| {
        let (_, text) = read(ask_long());
        assert!(text.matches("data: ").count() > 50, "too short an answer to go away from: {text}");
    });
    let alone = took(&short);
    let after = took(&|| {
        let mut gone: Vec<TcpStream> = (0..4).map(|_| ask_long()).collect();
        gone[0].read_exact(&mut [0; 64]).unwrap();
        drop(gone);
        short();
    });
    assert!(
        after < alone + whole / 2,
        "{after:?} after four that went away, {alone:?} alone; a long one takes {whole:?}"
    );
}

#[test]
fn what_it_refuses() {
    let Some(server) = server() else { return };
    let chat = "/v1/chat/completions";
    server.refuses(&json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}), 404, "but \"seer\"");
    let shown = |url: &str| json!({"model": "seer", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    server.refuses(&shown("http://127.0.0.1:1/a.png"), 400, "is not fetched");
    server.refuses(&shown("file:///etc/hostname"), 400, "is not fetched");
    server.refuses(&shown("data:image/png;base64,AAAA"), 400, "picture 1 cannot be read as a picture");
    // 60000 x 60000 pixels in a hundred bytes.
    let bomb = STANDARD.encode(png(60_000, 60_000));
    server.refuses(
        &shown(&format!("data:image/png;base64,{bomb}")),
        400,
        "60000x60000 pixels large, which is too large",
    );
    let long = "word ".repeat(3000);
    server.refuses(
        &json!({"model": "seer", "messages": [{"role": "user", "content": long}]}),
        400,
        "there is room for",
    );
    server.refuses(&question("What?", &json!({"tools": [{"type": "function"}]})), 400, "\"tools\"");
    // 100 MB, of which the first are sent.
    let (status, text) = server.request("POST", chat, &[("content-length", "100000000")], &[b' '; 1000]);
    assert!(status == 413 && text.contains("--body"), "{status} {text}");
    let (status, text) = server.request("POST", chat, &[("host", "evil.example")], b"{}");
    assert!(status == 403 && text.contains("evil.example"), "{status} {text}");
    let (status, _) = server.request("POST", chat, &[("content-type", "text/plain")], b"{}");
    assert_eq!(status, 415);
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/seer", 200),
        ("GET", "/v1/models/other", 404),
        ("GET", "/etc/passwd", 404),
        ("GET", chat, 405),
        ("OPTIONS", chat, 405),
    ] {
        assert_eq!(server.request(method, path, &[], b"").0, status, "{method} {path}");
    }
    for broken in ["", "{", "[]", "null", "{\"model\": 1}", "\u{0}"] {
        assert_eq!(server.request("POST", chat, &[], broken.as_bytes()).0, 400, "{broken:?}");
    }
    hive(&["serve", "--host", "0.0.0.0"]).code(2).complains(&["needs --key"]);
    hive(&["serve", "--host", "there"]).code(2).complains(&["--host"]);
    hive(&["serve", "--port", server.address.rsplit(':').next().unwrap()])
        .code(1)
        .complains(&["cannot listen", "--port"]);
}

/// The head of a PNG file of this size, and no pixels.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind, data].concat();
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(&body);
        out.extend(crc(&body).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0, 0, 0, 1, 0, 1]);
    chunk(b"IEND", &[]);
    out
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn whoever_has_no_key_asks_nothing() {
    if !adapter() {
        return;
    }
    let server = Server::start(&["--model", MODEL, "--name", "seer", "--key", "open sesame"]);
    let body = json!({"model": "seer", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).to_string();
    for (key, status) in [("", 401), ("Bearer open", 401), ("open sesame", 401), ("Bearer open sesame", 200)] {
        let headers = [("authorization", key), ("host", "hive.example")];
        for (method, path) in [("POST", "/v1/chat/completions"), ("GET", "/v1/models")] {
            let (got, text) = server.request(method, path, &headers, body.as_bytes());
            assert_eq!(got, status, "\"{key}\" {path}: {text}");
        }
    }
    assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
}

/// `HIVE_FULL=1`: 10 000.
#[test]
fn memory_stays_flat() {
    if !adapter() || !Path::new("/proc/self/status").exists() {
        return;
    }
    let server = Server::start(&["--model", MODEL, "--weights", "f32", "--name", "seer"]);
    let count = if std::env::var("HIVE_FULL").is_ok_and(|v| v == "1") { 10_000 } else { 300 };
    let one = question("What is this?", &json!({"max_tokens": 1}));
    let bad = json!({"model": "seer", "messages": [{"role": "user", "content": [picture(PHOTO), picture("tests/serve.rs")]}]});
    let ask = |times: usize| (0..times).for_each(|i| drop(server.ask(if i % 4 == 3 { &bad } else { &one })));
    ask(count / 5);
    let before = server.resident();
    ask(count);
    let after = server.resident();
    assert!(after < before + before / 10 + 4096, "{count} requests took memory from {before} to {after} kB");
}
