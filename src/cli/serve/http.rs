//! Addresses of the server, and who may ask.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{self, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{Stream, unfold};
use http_body_util::LengthLimitError;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::protocol::{Head, Refusal, Request, usage};
use super::queue::{Event, Queue};
use crate::cli::chat::asked;
use crate::data::chat::said;
use crate::data::tokenizer::Tokenizer;
use crate::platform::{interrupted, unix_secs};

/// Time between two looks whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Time that a request may take to come.
const SLOWEST: Duration = Duration::from_secs(60);

/// What all requests share.
pub(super) struct Server {
    pub(super) queue: Queue,
    /// What the model is called.
    pub(super) name: String,
    /// What a client must know.
    pub(super) key: Option<String>,
    /// Is the address one of this machine's own, which other machines do not reach?
    pub(super) local: bool,
    /// Tokens of an answer at most.
    pub(super) limit: usize,
    /// Bytes of a request at most.
    pub(super) body: usize,
    /// Words of a model that this program trained.
    pub(super) words: Option<Tokenizer>,
    pub(super) asked: AtomicU64,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        if self.status == 503 {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}

/// Are they the same? The time does not tell how much of them is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

impl Server {
    /// May whoever sends these headers ask?
    fn allows(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some(key) = &self.key {
            let given = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
            let refused = || Refusal { status: 401, text: "the key is wrong: send Authorization: Bearer KEY".into() };
            return if same(key.as_bytes(), given.as_bytes()) { Ok(()) } else { Err(refused()) };
        }
        // A page of the web can give its own name the address of this machine; then its name stands here.
        let host = text(header::HOST);
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
        if self.local && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
            let text =
                format!("the host \"{name}\" is not this machine: ask 127.0.0.1, or start the server with --key");
            return Err(Refusal { status: 403, text });
        }
        Ok(())
    }

    fn model(&self) -> Value {
        json!({"id": self.name, "object": "model", "created": 0, "owned_by": "hive"})
    }

    fn known(&self, name: &str) -> Result<(), Refusal> {
        if name == self.name {
            return Ok(());
        }
        Err(Refusal { status: 404, text: format!("there is no model \"{name}\" here, but \"{}\"", self.name) })
    }

    /// Reads a request; what becomes of it comes bit by bit.
    fn ask(&self, body: &[u8]) -> Result<(Request, UnboundedReceiver<Event>), Refusal> {
        let mut request = Request::read(body, self.limit)?;
        self.known(&request.model)?;
        if let Some(words) = &self.words {
            for message in request.messages.iter_mut().filter(|m| m.role == "user") {
                message.content = asked(std::mem::take(&mut message.content));
            }
            let texts = request.messages.iter().map(|m| said(&m.content).1);
            let unknown: Vec<String> = texts.flat_map(|text| words.unknown(&text)).collect();
            if !unknown.is_empty() {
                request.notes.push(format!("the model does not know: {}", unknown.join(", ")));
            }
        }
        let (messages, pictures) = (std::mem::take(&mut request.messages), std::mem::take(&mut request.pictures));
        let events = self.queue.ask(messages, pictures, request.options.clone())?;
        Ok((request, events))
    }

    fn head(&self) -> Head {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let created = unix_secs();
        Head { id: format!("chatcmpl-{created}-{number}"), created, model: self.name.clone() }
    }
}

/// The body of a request, if it is small enough and comes in time.
async fn body_of(server: &Server, request: extract::Request) -> Result<Bytes, Refusal> {
    let large = || {
        let text = format!("the request has more than {} bytes: --body MIB takes more", server.body);
        Refusal { status: 413, text }
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > server.body as u64) {
        return Err(large());
    }
    match tokio::time::timeout(SLOWEST, to_bytes(request.into_body(), server.body)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(e)) if e.source().is_some_and(|e| e.is::<LengthLimitError>()) => Err(large()),
        Ok(Err(e)) => Err(Refusal::bad(format!("the request did not come whole: {e}"))),
        Err(_) => Err(Refusal { status: 408, text: "the request took too long to come".into() }),
    }
}

async fn completions(State(server): State<Arc<Server>>, request: extract::Request) -> Result<Response, Refusal> {
    // Before a byte of what is asked is taken.
    server.allows(request.headers())?;
    // A page of the web may send other types without asking first.
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        let text = format!("the content type is \"{kind}\", and is to be application/json");
        return Err(Refusal { status: 415, text });
    }
    let body = body_of(&server, request).await?;
    let (request, mut events) = server.ask(&body)?;
    drop(body);
    let head = server.head();
    match events.recv().await {
        Some(Event::Begun) => {}
        Some(Event::Refused(refusal)) => return Err(refusal),
        _ => return Err(Refusal::gone()),
    }
    if request.stream {
        let keep = KeepAlive::new().interval(Duration::from_secs(10));
        return Ok(Sse::new(pieces(head, &request, events)).keep_alive(keep).into_response());
    }
    let mut text = String::new();
    loop {
        match events.recv().await {
            Some(Event::Text(piece)) => text += &piece,
            Some(Event::Done(done)) => {
                let counts = usage(done.prompt, done.made);
                return Ok(Json(head.whole(&text, done.end, &counts, &request.notes)).into_response());
            }
            Some(Event::Refused(refusal)) => return Err(refusal),
            Some(Event::Begun) => {}
            None => return Err(Refusal::gone()),
        }
    }
}

/// An answer piece by piece, as server-sent events.
fn pieces(
    head: Head,
    request: &Request,
    events: UnboundedReceiver<Event>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> + use<> {
    let counted = request.usage;
    let mut first = head.piece(&json!({"role": "assistant", "content": ""}), None);
    if !request.notes.is_empty() {
        first["notes"] = json!(request.notes);
    }
    let start = (VecDeque::from([first.to_string()]), false, head, events);
    unfold(start, move |(mut ready, mut over, head, mut events)| async move {
        while ready.is_empty() && !over {
            let event = events.recv().await;
            over = !matches!(event, Some(Event::Text(_) | Event::Begun));
            match event {
                Some(Event::Begun) => {}
                Some(Event::Text(text)) => ready.push_back(head.piece(&json!({"content": text}), None).to_string()),
                Some(Event::Done(done)) => {
                    ready.push_back(head.piece(&json!({}), Some(done.end)).to_string());
                    if counted {
                        ready.push_back(head.counts(&usage(done.prompt, done.made)).to_string());
                    }
                    ready.push_back("[DONE]".to_owned());
                }
                Some(Event::Refused(refusal)) => ready.push_back(refusal.body().to_string()),
                None => ready.push_back(Refusal::gone().body().to_string()),
            }
        }
        let data = ready.pop_front()?;
        Some((Ok(sse::Event::default().data(data)), (ready, over, head, events)))
    })
}

async fn models(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    server.allows(&headers)?;
    Ok(Json(json!({"object": "list", "data": [server.model()]})))
}

async fn model(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    server.allows(&headers)?;
    server.known(&name)?;
    Ok(Json(server.model()))
}

async fn nowhere(uri: axum::http::Uri) -> Refusal {
    let text = format!("there is nothing at {}: /v1/chat/completions, /v1/models and /health are here", uri.path());
    Refusal { status: 404, text }
}

async fn otherwise() -> Refusal {
    Refusal { status: 405, text: "chat completions are asked for with POST, all else with GET".into() }
}

/// Serves until a signal comes; requests that are being answered then are ended.
pub(super) async fn serve(listener: TcpListener, server: Server) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(completions))
        .method_not_allowed_fallback(otherwise)
        .fallback(nowhere)
        .with_state(Arc::new(server));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let over = async {
        while interrupted().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(over).await
}
