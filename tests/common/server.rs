//! A web server of our own that behaves well or badly, as a test wants it. It counts what it is asked and what it sends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests for this path came before.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte, and the byte after the last if one is given.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (start, end) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().unwrap(), end.parse::<usize>().ok().map(|last| last + 1)))
    }

    /// The one byte that tells about a file?
    pub(crate) fn is_probe(&self) -> bool {
        self.range() == Some((0, Some(1)))
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What `Content-Length` says, if not the truth.
    pub(crate) announced: Option<usize>,
    /// Sent in chunks, without any length.
    pub(crate) chunked: bool,
    /// The connection breaks after so many bytes.
    pub(crate) cut: Option<usize>,
    /// Pause before every piece of 16 KiB.
    pub(crate) pause: Duration,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { status: 200, body: text.into().into_bytes(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A file as a good server gives it: with ranges and an `ETag`.
pub(crate) fn file(asked: &Asked, bytes: &[u8], etag: &str) -> Reply {
    let whole = Reply { status: 200, body: bytes.to_vec(), ..Reply::default() }.with("etag", etag);
    let same = asked.header("if-range").is_none_or(|old| old == etag);
    match asked.range().filter(|_| same) {
        None => whole,
        Some((start, _)) if start >= bytes.len() => {
            Reply::status(416).with("content-range", format!("bytes */{}", bytes.len()))
        }
        Some((start, end)) => {
            let end = end.unwrap_or(bytes.len()).min(bytes.len());
            let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
            Reply { status: 206, body: bytes[start..end].to_vec(), ..whole }.with("content-range", range)
        }
    }
}

/// A file as a simple server gives it: always whole.
pub(crate) fn plain(bytes: &[u8]) -> Reply {
    Reply { status: 200, body: bytes.to_vec(), ..Reply::default() }
}

/// What was asked, and the bytes of the body that were sent for it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) asked: Asked,
    pub(crate) sent: usize,
    id: usize,
}

type Log = Arc<Mutex<Vec<Line>>>;

/// A server on a port of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    log: Log,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (log, ended) = (Log::default(), Arc::new(AtomicBool::new(false)));
        let (lines, end, answer) = (Arc::clone(&log), Arc::clone(&ended), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (lines, answer) = (Arc::clone(&lines), Arc::clone(&answer));
                // The client may go away in the middle.
                std::thread::spawn(move || drop(serve(stream.unwrap(), &lines, &*answer)));
            }
        });
        Self { address, log, ended }
    }

    /// What was asked so far; the list is empty afterwards.
    pub(crate) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Bytes that were sent of files whose path ends so, probes excepted.
    pub(crate) fn sent(&self, ending: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|l| l.asked.path.ends_with(ending) && !l.asked.is_probe()).map(|l| l.sent).sum()
    }

    /// No connection is taken any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then goes.
        let _ = TcpStream::connect(&self.address["http://".len()..]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(stream: TcpStream, log: &Log, answer: &dyn Fn(&Asked) -> Reply) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, Ordering::SeqCst);
    let asked = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|l| l.asked.path == path).count();
        let asked = Asked { method, path, headers, before };
        log.push(Line { asked: asked.clone(), sent: 0, id });
        asked
    };
    let reply = answer(&asked);
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    if reply.chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    } else {
        head.push_str(&format!("content-length: {}\r\n", reply.announced.unwrap_or(reply.body.len())));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    for piece in body.chunks(16 << 10) {
        std::thread::sleep(reply.pause);
        if let Some(line) = log.lock().unwrap().iter_mut().find(|l| l.id == id) {
            line.sent += piece.len();
        }
        if reply.chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        stream.write_all(piece)?;
        if reply.chunked {
            stream.write_all(b"\r\n")?;
        }
    }
    if reply.chunked && reply.cut.is_none() {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // Until the other side is done, as a reset would take bytes away that it has not read yet.
    let _ = reader.read(&mut [0; 16]);
    Ok(())
}
