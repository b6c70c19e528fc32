//! Native side of HTTP: requests that block their thread.

use std::io::Read as _;
use std::sync::OnceLock;
use std::time::Duration;

use ureq::http::{HeaderMap, Request, Response};
use ureq::{Agent, Body, BodyReader, Error};

use super::http::{HttpError, HttpRequest, HttpResponse, is_confidential, origin_of, range_text};
use super::{interrupted, now_secs};

/// Most redirects in a row.
const REDIRECTS: usize = 10;
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// Seconds until a connection stands.
const CONNECT_SECS: u64 = 20;

/// Seconds between two looks whether a signal came.
const LOOK_SECS: f64 = 0.1;

const SILENT: &str = "the server does not answer";

/// The rest of a body.
pub struct HttpBody(BodyReader<'static>);

impl std::fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpBody")
    }
}

impl HttpBody {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let mut bytes = vec![0; PIECE];
        let n = self.0.read(&mut bytes).map_err(|e| match Error::from(e) {
            Error::Timeout(_) => HttpError::Broken(SILENT.to_owned()),
            other => HttpError::Broken(other.to_string()),
        })?;
        bytes.truncate(n);
        Ok((n > 0).then_some(bytes))
    }
}

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed below, where each can be looked at.
            .max_redirects(0)
            .user_agent(concat!("hive/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECS)));
        config.build().into()
    })
}

/// Sends a request and follows redirects.
///
/// # Errors
/// See [`HttpError`]. A redirect from https to http is refused.
pub async fn http_send(request: &HttpRequest) -> Result<HttpResponse, HttpError> {
    let mut url = request.url.clone();
    for _ in 0..=REDIRECTS {
        let response = send_once(request, &url)?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|v| v.to_str().ok());
        let Some(location) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
            let headers = headers_of(response.headers());
            return Ok(HttpResponse { status, headers, body: HttpBody(response.into_body().into_reader()) });
        };
        url = followed(&url, location)?;
    }
    let from = origin_of(&request.url);
    Err(HttpError::Refused(format!("{from} redirects more than {REDIRECTS} times. Check the address")))
}

/// Where a redirect leads, if it may be followed.
fn followed(from: &str, location: &str) -> Result<String, HttpError> {
    let to = joined(from, location);
    let (here, there) = (origin_of(from), origin_of(&to));
    if from.starts_with("https://") && to.starts_with("http://") {
        return Err(HttpError::Refused(format!(
            "{here} redirects from https to {there}, which is not encrypted. This is not followed: ask the server's owner"
        )));
    }
    if !to.starts_with("https://") && !to.starts_with("http://") {
        return Err(HttpError::Refused(format!("{here} redirects to something else than http. Check the address")));
    }
    Ok(to)
}

/// Where a redirect from the address `from` leads.
#[must_use]
fn joined(from: &str, to: &str) -> String {
    let to = to.trim();
    if to.contains("://") {
        return to.to_owned();
    }
    let origin = origin_of(from);
    if to.starts_with("//") {
        return format!("{}{to}", &origin[..=origin.find(':').unwrap_or(0)]);
    }
    if to.starts_with('/') {
        return format!("{origin}{to}");
    }
    let path = from[origin.len()..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{origin}{folder}{to}")
}

fn send_once(request: &HttpRequest, url: &str) -> Result<Response<Body>, HttpError> {
    let mut builder = Request::builder().method(if request.head { "HEAD" } else { "GET" }).uri(url);
    if let Some((start, end)) = request.range {
        builder = builder.header("range", range_text(start, end));
        if let Some(validator) = &request.if_range {
            builder = builder.header("if-range", validator);
        }
    }
    let own = origin_of(url) == origin_of(&request.url) && is_confidential(url);
    if let Some(token) = request.token.as_ref().filter(|_| own) {
        builder = builder.header("authorization", format!("Bearer {}", token.0));
    }
    let silence = Some(Duration::from_secs_f64(request.patience.secs));
    let wrong = |_| HttpError::Refused(format!("{} is no address of a file. Check it", origin_of(url)));
    let built = builder.body(()).map_err(wrong)?;
    let built = agent().configure_request(built).timeout_per_read(silence).timeout_per_write(silence).build();
    agent().run(built).map_err(fault)
}

fn headers_of(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned()))).collect()
}

fn fault(e: Error) -> HttpError {
    match e {
        Error::HostNotFound => HttpError::Refused("there is no such host, or no network".to_owned()),
        Error::Timeout(_) => HttpError::Broken(SILENT.to_owned()),
        Error::Io(e) => HttpError::Broken(e.to_string()),
        Error::ConnectionFailed | Error::BodyStalled => HttpError::Broken("there is no connection".to_owned()),
        Error::Protocol(e) => HttpError::Broken(format!("the server's answer is no HTTP: {e}")),
        other => HttpError::Refused(other.to_string()),
    }
}

/// Waits, until a signal wants the program to end.
pub async fn pause_secs(secs: f64) {
    let end = now_secs() + secs;
    while interrupted().is_none() && now_secs() < end {
        std::thread::sleep(Duration::from_secs_f64((end - now_secs()).clamp(0.0, LOOK_SECS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
        let from = "https://a.example:8443/x/y?z=/q#/r";
        assert_eq!(joined(from, "http://b.example/c"), "http://b.example/c");
        assert_eq!(joined(from, "//b.example/c"), "https://b.example/c");
        assert_eq!(joined(from, "/c?d"), "https://a.example:8443/c?d");
        assert_eq!(joined(from, "c"), "https://a.example:8443/x/c");
        assert_eq!(joined("https://a.example", "c"), "https://a.example/c");
    }

    #[test]
    fn redirects_never_give_up_encryption() {
        for (from, to) in
            [("http://a/x", "https://b/"), ("https://a/x", "https://b/"), ("http://a/x", "/y"), ("https://a/x", "y")]
        {
            assert!(followed(from, to).is_ok(), "{from} {to}");
        }
        for (from, to) in
            [("https://a/x", "http://a/x"), ("http://a/x", "file:///etc/passwd"), ("https://a/x", "ftp://b/")]
        {
            assert!(matches!(followed(from, to), Err(HttpError::Refused(_))), "{from} {to}");
        }
    }
}
