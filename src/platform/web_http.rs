//! Browser side of HTTP: `fetch`, which follows redirects and keeps the page's rules itself.

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, RequestMode, Response,
};

use super::http::{BrowserCache, HttpError, HttpRequest, HttpResponse, is_confidential, origin_of};

/// Headers that are of use; a browser lists no others of another origin unless the server allows it.
const HEADERS: [&str; 8] = [
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "link",
    "retry-after",
    "content-encoding",
];

/// The rest of a body. Dropping it ends the request.
#[derive(Debug)]
pub struct HttpBody {
    reader: Option<ReadableStreamDefaultReader>,
    abort: Abort,
    secs: f64,
}

/// Ends a request when it is dropped.
#[derive(Debug)]
struct Abort(AbortController);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpBody {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let Some(reader) = &self.reader else { return Ok(None) };
        let broken = |e: JsValue| HttpError::Broken(words(&e));
        let Some(piece) = within(reader.read(), self.secs).await.map_err(broken)? else {
            self.abort.0.abort();
            return Err(HttpError::Broken("the server has stopped sending".to_owned()));
        };
        if Reflect::get(&piece, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            return Ok(None);
        }
        let bytes = Reflect::get(&piece, &"value".into()).map_err(broken)?;
        Ok(Some(Uint8Array::new(&bytes).to_vec()))
    }
}

/// What JavaScript says about a failure.
pub(super) fn words(e: &JsValue) -> String {
    let message = Reflect::get(e, &"message".into()).ok().and_then(|m| m.as_string());
    message.or_else(|| e.as_string()).unwrap_or_else(|| format!("{e:?}"))
}

/// A promise that is kept after some seconds, with `undefined`. It is given up when this is dropped.
struct Timer {
    promise: Promise,
    id: Option<i32>,
}

impl Timer {
    fn new(secs: f64) -> Self {
        let mut id = None;
        let promise = Promise::new(&mut |done, _| {
            // Without a timer the wait has no end, as without this function.
            let set = |w: web_sys::Window| {
                w.set_timeout_with_callback_and_timeout_and_arguments_0(&done, (secs * 1e3) as i32).ok()
            };
            id = web_sys::window().and_then(set);
        });
        Self { promise, id }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(window), Some(id)) = (web_sys::window(), self.id) {
            window.clear_timeout_with_handle(id);
        }
    }
}

/// The result of a promise, or nothing if it takes too long.
async fn within(promise: Promise, secs: f64) -> Result<Option<JsValue>, JsValue> {
    let timer = Timer::new(secs);
    let value = JsFuture::from(Promise::race(&js_sys::Array::of2(&promise, &timer.promise))).await?;
    Ok((!value.is_undefined()).then_some(value))
}

/// Waits.
pub async fn pause_secs(secs: f64) {
    let timer = Timer::new(secs);
    // A timer never fails.
    let _ = JsFuture::from(timer.promise.clone()).await;
}

/// Sends a request and follows redirects.
pub async fn http_send(request: &HttpRequest) -> Result<HttpResponse, HttpError> {
    let refused = |e: JsValue| HttpError::Refused(words(&e));
    let abort = Abort(AbortController::new().map_err(refused)?);
    let headers = Headers::new().map_err(refused)?;
    if let Some((start, end)) = request.range {
        headers.append("range", &super::http::range_text(start, end)).map_err(refused)?;
    }
    if let Some(token) = request.token.as_ref().filter(|_| is_confidential(&request.url)) {
        headers.append("authorization", &format!("Bearer {}", token.0)).map_err(refused)?;
    }
    let init = RequestInit::new();
    init.set_method(if request.head { "HEAD" } else { "GET" });
    init.set_cache(match request.cache {
        BrowserCache::Unused => RequestCache::NoStore,
        BrowserCache::Used => RequestCache::Default,
        BrowserCache::Renewed => RequestCache::Reload,
    });
    init.set_headers_headers(&headers);
    init.set_signal(Some(&abort.0.signal()));
    let Some(window) = web_sys::window() else {
        return Err(HttpError::Refused("there is no page".to_owned()));
    };
    let answer = within(window.fetch_with_str_and_init(&request.url, &init), request.patience.secs).await;
    let response: Response = match answer {
        Ok(Some(response)) => response.unchecked_into(),
        Ok(None) => return Err(HttpError::Broken("the server does not answer".to_owned())),
        Err(e) => return Err(why(request, &e).await),
    };
    let headers = HEADERS.iter().filter_map(|name| {
        let value = response.headers().get(name).ok().flatten()?;
        Some(((*name).to_owned(), value))
    });
    let headers = headers.collect();
    let reader = response.body().map(|body| ReadableStreamDefaultReader::new(&body)).transpose().map_err(refused)?;
    let body = HttpBody { reader, abort, secs: request.patience.secs };
    Ok(HttpResponse { status: response.status(), headers, body })
}

/// A browser does not say why a request failed: no network, or a server that does not allow this page to read. A request
/// whose answer nobody can read tells the two apart.
async fn why(request: &HttpRequest, e: &JsValue) -> HttpError {
    let here = web_sys::window().and_then(|w| w.location().origin().ok()).unwrap_or_default();
    let there = origin_of(&request.url);
    if there == here {
        return HttpError::Broken(words(e));
    }
    let init = RequestInit::new();
    init.set_method("HEAD");
    init.set_mode(RequestMode::NoCors);
    let Some(window) = web_sys::window() else { return HttpError::Broken(words(e)) };
    match within(window.fetch_with_str_and_init(&request.url, &init), request.patience.secs).await {
        Ok(Some(_)) => HttpError::Refused(format!(
            "it answers, but does not allow this page to read it. It must send Access-Control-Allow-Origin: {here} (or *), and Access-Control-Expose-Headers: Content-Range, ETag"
        )),
        _ => HttpError::Broken(words(e)),
    }
}
