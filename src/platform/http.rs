//! HTTP as far as files are fetched by it: one request, its headers, its body in pieces. What both platforms share.

use std::sync::Arc;

use super::{HttpBody, http_send, pause_secs};

/// Seconds without a byte after which a connection counts as broken, and the user hears of it.
const PATIENCE_SECS: f64 = 10.0;
/// How often a request is tried that fails for reasons which may pass.
const TRIES: u32 = 8;
/// Seconds over which bytes are counted, and bytes a second below which nothing comes of it: a page of text takes a minute.
const INTERVAL_SECS: f64 = 60.0;
const LEAST_RATE: u64 = 256;
/// Seconds before the second try; doubled from try to try.
const PAUSE_SECS: f64 = 0.5;
/// Longest pause, also where a server asks for more.
const LONGEST_PAUSE_SECS: f64 = 30.0;

/// What is asked for: a file, or a part of it.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Address.
    pub url: String,
    /// Headers alone?
    pub head: bool,
    /// First byte, and the byte after the last one unless the rest is wanted.
    pub range: Option<(u64, Option<u64>)>,
    /// With `range`: validator that the file must still have. A browser does not send it, as few servers allow that to
    /// pages from elsewhere.
    pub if_range: Option<String>,
    /// Secret that opens the file, for the host of `url` alone: it does not go along with a redirect to another one.
    pub token: Option<Secret>,
    /// How long and how often.
    pub patience: Patience,
    /// May a browser answer from what it has kept? There is nothing natively that would.
    pub cache: BrowserCache,
    /// Hears, as a sentence, that it is asked again.
    pub tell: Option<fn(&str) -> bool>,
}

/// What a browser's own cache, or the page's worker, does for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrowserCache {
    /// Nothing: what is fetched is kept by ourselves, and would be there twice.
    #[default]
    Unused,
    /// It answers if it can, and keeps the server's answer.
    Used,
    /// It keeps the server's answer in place of what it has.
    Renewed,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How long a server may be silent, and how often it is asked again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Seconds without a byte.
    pub secs: f64,
    /// Tries in all, without any progress between them.
    pub tries: u32,
    /// Seconds before the second try.
    pub pause_secs: f64,
    /// Seconds over which bytes are counted.
    pub interval_secs: f64,
    /// Bytes a second that must come, on average over such an interval.
    pub least_rate: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            secs: PATIENCE_SECS,
            tries: TRIES,
            pause_secs: PAUSE_SECS,
            interval_secs: INTERVAL_SECS,
            least_rate: LEAST_RATE,
        }
    }
}

impl Patience {
    /// Waits before try number `next`, counted from 1; `requested` is what the server wants.
    pub async fn pause(&self, next: u32, requested: Option<f64>) {
        let doubled = self.pause_secs * f64::from(1_u32 << next.saturating_sub(1).min(10));
        pause_secs(requested.unwrap_or(doubled).clamp(0.0, LONGEST_PAUSE_SECS)).await;
    }
}

impl HttpRequest {
    /// The whole file at `url`.
    #[must_use]
    pub fn get(url: &str) -> Self {
        let url = url.to_owned();
        let (patience, cache) = (Patience::default(), BrowserCache::default());
        Self { url, head: false, range: None, if_range: None, token: None, patience, cache, tell: None }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// No connection, or one that broke: another try may help.
    Broken(String),
    /// Another try does not help: an unknown host, a certificate, a redirect that is not followed.
    Refused(String),
}

impl HttpError {
    /// Its words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Broken(text) | Self::Refused(text) => text,
        }
    }
}

/// An answer whose headers are there.
#[derive(Debug)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: HttpBody,
}

impl HttpResponse {
    /// A header, where the server sent it and the browser shows it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Length of the body, as announced.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.trim().parse().ok())
    }

    /// First byte, last byte and length of the file, as announced with a part.
    #[must_use]
    pub fn content_range(&self) -> Option<ContentRange> {
        self.header("content-range").and_then(ContentRange::parse)
    }

    /// What tells this content of the file from another: a strong `ETag`, else the time of the last change.
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        let strong = self.header("etag").filter(|e| e.starts_with('"'));
        strong.or_else(|| self.header("last-modified")).filter(|v| v.len() < 300)
    }

    /// Seconds that the server wants us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<f64> {
        self.header("retry-after").and_then(|text| text.trim().parse::<u32>().ok()).map(f64::from)
    }

    /// May the same request succeed a little later?
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502..=504)
    }

    /// The next bytes of the body, none at its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        self.body.next().await
    }
}

/// `Content-Range: bytes FIRST-LAST/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte and last byte; nothing for a range that cannot be.
    pub bytes: Option<(u64, u64)>,
    /// Length of the file, where it is known.
    pub len: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, len) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let len = if len == "*" { None } else { Some(len.parse().ok()?) };
        let bytes = match range {
            "*" => None,
            _ => {
                let (first, last) = range.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()?))
            }
        };
        Some(Self { bytes, len })
    }
}

/// Sends a request, again where that may help; `tell` of the request hears of each failure, and may stop it.
///
/// # Errors
/// What happened at the last try. A status that may pass is handed out after the last try, as any other status is.
pub async fn http_send_patiently(request: &HttpRequest) -> Result<HttpResponse, HttpError> {
    let patience = request.patience;
    let mut tries = 1;
    loop {
        let (requested, why) = match http_send(request).await {
            Ok(response) if response.is_passing() && tries < patience.tries => {
                (response.retry_after(), format!("it answers with status {}", response.status))
            }
            Err(HttpError::Broken(text)) if tries < patience.tries => (None, text),
            done => return done,
        };
        if let Some(tell) = request.tell
            && !tell(&format!("{}: {why}. Try {} of {}", origin_of(&request.url), tries + 1, patience.tries))
        {
            return Err(HttpError::Refused(why));
        }
        patience.pause(tries, requested).await;
        tries += 1;
    }
}

/// A file that stays on its server and is read by ranges.
#[derive(Clone, Debug)]
pub struct NetworkFile {
    /// How to ask for it; `range` is filled in.
    pub request: Arc<HttpRequest>,
}

impl NetworkFile {
    /// `len` bytes from `start` on.
    pub(super) async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let patience = self.request.patience;
        let mut out = Vec::with_capacity(len);
        let end = start + len as u64;
        let mut tries = 1;
        loop {
            let before = out.len();
            match self.append(start + before as u64, end, &mut out).await {
                Ok(()) => return Ok(out),
                Err(HttpError::Refused(text)) => return Err(text),
                Err(HttpError::Broken(text)) if tries >= patience.tries => return Err(text),
                Err(HttpError::Broken(_)) => {
                    tries = if out.len() > before { 1 } else { tries + 1 };
                    patience.pause(tries, None).await;
                }
            }
        }
    }

    async fn append(&self, start: u64, end: u64, out: &mut Vec<u8>) -> Result<(), HttpError> {
        let request = HttpRequest { range: Some((start, Some(end))), ..(*self.request).clone() };
        let mut response = http_send(&request).await?;
        if response.is_passing() {
            return Err(HttpError::Broken(format!("the server answers with status {}", response.status)));
        }
        let wanted = request.if_range.as_deref();
        let changed = wanted.zip(response.validator()).is_some_and(|(old, new)| old != new);
        let elsewhere = response.content_range().is_some_and(|r| r.bytes != Some((start, end - 1)));
        if response.status != 206 || changed || elsewhere {
            let text = format!(
                "the server answers with status {} and not with bytes {start} to {end}: the file may have changed. Open the model again",
                response.status
            );
            return Err(HttpError::Refused(text));
        }
        let mut left = end - start;
        while let Some(bytes) = response.next().await? {
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                HttpError::Refused("the server sends more bytes than were asked for. Try another server".to_owned())
            })?;
            out.extend_from_slice(&bytes);
        }
        if left > 0 {
            return Err(HttpError::Broken(format!("the server stopped {left} bytes too early")));
        }
        Ok(())
    }
}

/// Scheme, host and port of an address: what a secret is for.
#[must_use]
pub fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?', '#']).map_or(url, |at| &url[..start + at])
}

/// May a secret travel to this address: encrypted, or within this machine?
#[must_use]
pub fn is_confidential(url: &str) -> bool {
    let origin = origin_of(url);
    if origin.starts_with("https://") {
        return true;
    }
    let host = origin.strip_prefix("http://").unwrap_or_default();
    let host = host.strip_prefix("[::1]").map_or_else(|| host.split(':').next().unwrap_or_default(), |_| "localhost");
    matches!(host, "localhost" | "127.0.0.1")
}

/// The header `Range`.
pub(super) fn range_text(start: u64, end: Option<u64>) -> String {
    // The last byte of the header is inclusive.
    end.map_or_else(|| format!("bytes={start}-"), |end| format!("bytes={start}-{}", end.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_servers_write_them() {
        let range = |text| ContentRange::parse(text);
        assert_eq!(range("bytes 0-0/10"), Some(ContentRange { bytes: Some((0, 0)), len: Some(10) }));
        assert_eq!(range("bytes 5-9/*"), Some(ContentRange { bytes: Some((5, 9)), len: None }));
        assert_eq!(range("bytes */0"), Some(ContentRange { bytes: None, len: Some(0) }));
        for wrong in ["", "bytes", "bytes 5/10", "bytes 1-2", "bytes a-2/3", "bytes -1-2/3", "lines 1-2/3"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let from = "https://a.example:8443/x/y?z=/q#/r";
        assert_eq!(origin_of(from), "https://a.example:8443");
        assert_eq!(origin_of("https://a.example"), "https://a.example");
    }

    #[test]
    fn secrets_travel_encrypted_or_stay_on_the_machine() {
        for yes in ["https://a.example/", "http://localhost:1/x", "http://127.0.0.1:80", "http://[::1]:3/"] {
            assert!(is_confidential(yes), "{yes}");
        }
        for no in ["http://a.example/", "http://localhost.example/", "http://127.0.0.1.example", "ftp://localhost/", ""]
        {
            assert!(!is_confidential(no), "{no}");
        }
    }
}
