//! Where a model comes from: an id of a model hub, or an address of the web.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::{FetchError, shown};
use crate::platform::origin_of;

/// Weights in one file.
pub(super) const WHOLE: &str = "model.safetensors";

/// The hub that ids belong to unless told otherwise.
pub const ENDPOINT: &str = "https://huggingface.co";
/// The branch that a hub's models are on unless told otherwise.
pub const REVISION: &str = "main";
/// Hosts whose pages of a model are understood as its id.
const PAGES: [&str; 2] = ["https://huggingface.co", "https://hf.co"];
/// Longest part of an id, and longest revision.
const LONGEST: usize = 96;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A model of a hub.
    Hub {
        /// `owner/name`.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// A folder of the web.
    Folder {
        /// Its address, which ends with a slash.
        url: String,
        /// What stands behind every file's name: nothing, or a query that begins with a question mark.
        query: String,
        /// The file of weights, where the address names one that has a name of its own.
        weights: Option<String>,
    },
}

impl Address {
    /// `owner/name`, `owner/name@revision`, a hub's page of a model, or the http address of a folder or of a file in it.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let text = text.trim();
        let is_url =
            ["http://", "https://"].iter().any(|s| text.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s)));
        if is_url {
            return Self::of_url(text);
        }
        let (id, revision) = text.split_once('@').unwrap_or((text, REVISION));
        let wrong = |reason| FetchError::Address { text: shown(text), reason };
        if text.contains("://") {
            return Err(wrong("only http and https are spoken"));
        }
        if !is_id(id) {
            return Err(wrong("an id is OWNER/NAME, of letters, digits, \".\", \"-\" and \"_\""));
        }
        if !is_revision(revision) {
            return Err(wrong("behind @ stands the name of a branch, a tag or a commit"));
        }
        Ok(Self::Hub { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// The same model at another branch, tag or commit.
    ///
    /// # Errors
    /// No name of one; an address that has no revisions.
    pub fn at_revision(self, revision: &str) -> Result<Self, FetchError> {
        match self {
            Self::Hub { id, .. } => Self::parse(&format!("{id}@{revision}")),
            Self::Folder { url, .. } => Err(FetchError::Address {
                text: shown(&url),
                reason: "only models of a hub have revisions, give OWNER/NAME",
            }),
        }
    }

    fn of_url(text: &str) -> Result<Self, FetchError> {
        let wrong = |reason| Err(FetchError::Address { text: shown(text), reason });
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') || !text.is_ascii() {
            return wrong("an address has no spaces and no letters beyond ASCII: copy it from the browser");
        }
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let text = format!("{}://{rest}", scheme.to_ascii_lowercase());
        let origin = origin_of(&text);
        if origin.contains('@') {
            return Err(FetchError::Address {
                // The password is not repeated.
                text: format!("{scheme}://…"),
                reason: "a name and a password in an address are not sent: use one without",
            });
        }
        if origin.ends_with("://") {
            return wrong("the host is missing");
        }
        let (path, query) = text[origin.len()..].split_once('?').unwrap_or((&text[origin.len()..], ""));
        if PAGES.contains(&origin)
            && let Some(page) = Self::of_page(path)
        {
            return Ok(page);
        }
        if path.split('/').any(|part| part == "..") {
            return wrong("\"..\" in an address leads out of the folder: give the folder itself");
        }
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
        let is_file = [".json", ".safetensors", ".jinja"].iter().any(|e| last.ends_with(e));
        let folder = if is_file || last.is_empty() { folder.to_owned() } else { format!("{folder}/{last}") };
        let weights = (last.ends_with(".safetensors") && last != WHOLE && !is_shard(last)).then_some(last);
        if weights.is_some_and(|name| !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))) {
            return wrong("a file's name is of letters, digits, \".\", \"-\" and \"_\"");
        }
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Ok(Self::Folder { url: format!("{origin}{folder}/"), query, weights: weights.map(str::to_owned) })
    }

    /// `/owner/name`, `/owner/name/tree/main/...`.
    fn of_page(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|p| !p.is_empty());
        let id = format!("{}/{}", parts.next()?, parts.next()?);
        let revision = match parts.next() {
            Some("tree" | "blob" | "resolve") => parts.next()?,
            None => REVISION,
            Some(_) => return None,
        };
        Self::parse(&format!("{id}@{revision}")).ok()
    }

    /// A folder name of its own for every address; models of the hub at `endpoint` and of others never share one.
    #[must_use]
    pub fn key(&self, endpoint: &str) -> String {
        match self {
            Self::Hub { id, revision } => {
                let at = if revision == REVISION { String::new() } else { format!("@{revision}") };
                let name = format!("{id}{at}").replace('/', "--");
                let hub = endpoint.trim_end_matches('/');
                // The two dashes are between owner and name alone, or it is not told from others.
                let plain = !id.contains("--") && !revision.contains("--");
                match (is_usual(hub), plain) {
                    (true, true) => name,
                    (true, false) => format!("{name}-{}", hash(&self.to_string())),
                    (false, _) => format!("{name}-{}-{}", safe(hub), hash(&format!("{hub} {self}"))),
                }
            }
            Self::Folder { url, .. } => format!("web-{}-{}", safe(url), hash(&self.to_string())),
        }
    }
}

/// Is it the hub that ids belong to unless told otherwise?
pub(super) fn is_usual(endpoint: &str) -> bool {
    endpoint.trim_end_matches('/') == ENDPOINT
}

/// An address as a part of a name.
fn safe(url: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let name: String = url.split("://").last().unwrap_or_default().chars().map(safe).take(60).collect();
    name.trim_matches('-').to_owned()
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|b| format!("{b:02x}")).collect()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { id, revision } if revision == REVISION => f.write_str(id),
            Self::Hub { id, revision } => write!(f, "{id}@{revision}"),
            Self::Folder { url, query, weights } => write!(f, "{url}{}{query}", weights.as_deref().unwrap_or_default()),
        }
    }
}

fn is_shard(name: &str) -> bool {
    let digits = |text: &str| text.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit());
    let parts = name.strip_suffix(".safetensors").and_then(|n| n.rsplit_once("-of-"));
    parts.is_some_and(|(first, of)| digits(of) && first.rsplit_once('-').is_some_and(|(_, n)| digits(n)))
}

fn is_id(id: &str) -> bool {
    let fine = |part: &str| {
        let chars = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        !part.is_empty() && part.len() <= LONGEST && chars && !part.starts_with('.') && !part.contains("..")
    };
    id.split_once('/').is_some_and(|(owner, name)| fine(owner) && fine(name))
}

fn is_revision(text: &str) -> bool {
    let chars = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let parts = text.split('/').all(|p| !p.is_empty() && !p.starts_with('.'));
    text.len() <= LONGEST && chars && parts && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(url: &str, query: &str, weights: Option<&str>) -> Address {
        Address::Folder { url: url.to_owned(), query: query.to_owned(), weights: weights.map(str::to_owned) }
    }

    #[test]
    fn ids_pages_folders_and_files_are_understood() {
        let hub = |id: &str, revision: &str| Address::Hub { id: id.to_owned(), revision: revision.to_owned() };
        let model = "HuggingFaceTB/SmolLM2-135M-Instruct";
        let cases = [
            (model.to_owned(), hub(model, "main")),
            (format!(" {model}@v1.0 "), hub(model, "v1.0")),
            (format!("{model}@refs/pr/3"), hub(model, "refs/pr/3")),
            (format!("https://huggingface.co/{model}"), hub(model, "main")),
            (format!("https://huggingface.co/{model}/tree/abc"), hub(model, "abc")),
            (format!("https://huggingface.co/{model}/blob/main/config.json?x=1"), hub(model, "main")),
            ("http://a.b:80/x/y".to_owned(), folder("http://a.b:80/x/y/", "", None)),
            ("HTTPS://a.b".to_owned(), folder("https://a.b/", "", None)),
            ("https://a.b/x/config.json#top".to_owned(), folder("https://a.b/x/", "", None)),
            ("https://a.b/x/model.safetensors?k=v".to_owned(), folder("https://a.b/x/", "?k=v", None)),
            ("https://a.b/model-00001-of-00002.safetensors".to_owned(), folder("https://a.b/", "", None)),
            ("https://a.b/x/q4.safetensors".to_owned(), folder("https://a.b/x/", "", Some("q4.safetensors"))),
        ];
        let (mut keys, mut different) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for (text, wanted) in cases {
            let address = Address::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address, wanted, "{text}");
            assert_eq!(Address::parse(&address.to_string()).unwrap(), wanted, "{address}");
            let key = address.key(ENDPOINT);
            assert!(key.len() < 120 && !key.contains(['/', '\\', ':', '?']), "{key}");
            keys.insert(key);
            different.insert(address.to_string());
        }
        assert_eq!((keys.len(), different.len()), (9, 9), "an address shares its folder with another one: {keys:?}");
        // Ids that look alike, and hubs: as folders they do not. Those of the usual hub are called as they always were.
        let key = |text: &str, hub: &str| Address::parse(text).unwrap().key(hub);
        let alike = ["a--b/c", "a/b--c", "a--b/c@v", "a/b--c@v", "a/b@x/y", "a/b@x--y"].map(|text| key(text, ENDPOINT));
        let hubs = ["http://a.example", "http://a.example:1", "https://a.example"].map(|hub| key("a/b", hub));
        assert_eq!([&alike[..], &hubs].concat().iter().collect::<std::collections::BTreeSet<_>>().len(), 9);
        assert_eq!((key("a/b", ENDPOINT), key("a/b@v", "https://huggingface.co/")), ("a--b".into(), "a--b@v".into()));
        assert_eq!(Address::parse("a/b").unwrap().at_revision("x").unwrap(), hub("a/b", "x"));
        assert!(Address::parse("http://a/b").unwrap().at_revision("x").is_err());
        assert!(Address::parse("a/b").unwrap().at_revision("../x").is_err());
    }

    #[test]
    fn what_leads_elsewhere_is_refused_with_a_sentence() {
        for text in [
            "",
            "gpt2",
            "a/b/c",
            "/a/b",
            "../b",
            "a/..",
            "a/.b",
            "a\\b/c",
            "a/b@",
            "a/b@../c",
            "a/b@x y",
            "ftp://a/b",
            "file:///etc",
            "http://",
            "https:///x",
            "http://a b/",
            "http://a/../b/",
            "http://a/x%2f.safetensors",
        ] {
            let e = Address::parse(text).expect_err(text).to_string();
            assert!(e.contains("OWNER/NAME"), "{text}: {e}");
        }
        let e = Address::parse("https://me:hunter2@a.b/").unwrap_err().to_string();
        assert!(!e.contains("hunter2"), "{e}");
    }
}
