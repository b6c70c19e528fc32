//! Which files a model consists of: asked from a hub, or tried one by one on any other server.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::address::{Address, WHOLE};
use super::error::{FetchError, shown};
use super::manifest::{Entry, is_plain};
use super::options::FetchOptions;
use crate::platform::{HttpError, HttpRequest, HttpResponse, Secret, http_send, http_send_patiently, origin_of};

/// The file that describes a model.
const CONFIG: &str = "config.json";
/// Which weights are in which file.
const INDEX: &str = "model.safetensors.index.json";
/// Text files that may be there.
const TEXTS: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
];
/// Those of a tokenizer.
const TOKENIZER: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];
/// Ending of weights.
const EXTENSION: &str = ".safetensors";
/// Longest text that is taken.
pub(super) const TEXT_LIMIT: u64 = 64 << 20;
/// Most pages of a hub's list of files.
const PAGES: usize = 20;
/// Most files of weights.
const SHARDS: usize = 1000;

/// A file on its server.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// What is known about it.
    pub(super) entry: Entry,
    /// Address.
    pub(super) url: String,
    /// Does the server give parts of files? Not always known.
    pub(super) ranges: Option<bool>,
}

/// A model on its server: texts first, then weights.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Commit, where there is one.
    pub(super) commit: Option<String>,
    /// Licence, as the model's card says.
    pub(super) license: Option<String>,
    /// Files.
    pub(super) files: Vec<Remote>,
}

/// Asks which files there are.
pub(super) async fn list(address: &Address, options: &FetchOptions) -> Result<Listing, FetchError> {
    match address {
        Address::Hub { id, revision } => hub(id, revision, options).await,
        Address::Folder { url, query, weights } => folder(url, query, weights.as_deref(), options).await,
    }
}

/// A name as a part of an address.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a request is for, with how often it is tried, and the token if it is for the hub.
pub(super) fn request(url: &str, options: &FetchOptions) -> HttpRequest {
    let own = origin_of(url) == origin_of(&options.endpoint);
    let token = options.token.clone().filter(|_| own).map(|t| Secret(t.into()));
    HttpRequest { token, patience: options.patience, tell: options.tell, ..HttpRequest::get(url) }
}

/// An answer's status as an error.
pub(super) fn refused(url: &str, response: &HttpResponse) -> FetchError {
    let url = shown(url);
    match response.status {
        401 | 403 => FetchError::Denied { url, status: response.status },
        404 | 410 => FetchError::NotThere { url },
        status => FetchError::Server { url, status },
    }
}

pub(super) fn unreachable(url: &str, e: &HttpError) -> FetchError {
    FetchError::Network { host: shown(origin_of(url)), reason: e.text().to_owned() }
}

/// A short text, whole.
async fn text(url: &str, options: &FetchOptions, limit: u64) -> Result<(String, HttpResponse), FetchError> {
    let request = request(url, options);
    let mut tries = 1;
    loop {
        let mut response = http_send_patiently(&request).await.map_err(|e| unreachable(url, &e))?;
        if response.status != 200 {
            return Err(refused(url, &response));
        }
        let mut bytes = Vec::new();
        let broken = loop {
            match response.next().await {
                Ok(None) => break None,
                Ok(Some(more)) if bytes.len() + more.len() > limit as usize => {
                    return Err(FetchError::Lying(format!("{} is longer than {limit} bytes", shown(url))));
                }
                Ok(Some(more)) => bytes.extend_from_slice(&more),
                Err(e) => break Some(e),
            }
        };
        match broken {
            None => {
                let wrong = |_| FetchError::Lying(format!("{} is no text", shown(url)));
                return Ok((String::from_utf8(bytes).map_err(wrong)?, response));
            }
            Some(e) if tries >= options.patience.tries => return Err(unreachable(url, &e)),
            Some(_) => options.patience.pause(tries, None).await,
        }
        tries += 1;
    }
}

async fn json<T: for<'de> Deserialize<'de>>(
    url: &str,
    options: &FetchOptions,
) -> Result<(T, HttpResponse), FetchError> {
    let (text, response) = text(url, options, TEXT_LIMIT / 4).await?;
    let wrong = |e: serde_json::Error| FetchError::Lying(format!("{} is not understood: {e}", shown(url)));
    Ok((serde_json::from_str(&text).map_err(wrong)?, response))
}

// ------------------------------------------------------------------------------------------------------------- hub

/// What a hub says of a model.
#[derive(Deserialize)]
struct About {
    sha: Option<String>,
    #[serde(rename = "cardData", default)]
    card: Value,
}

/// A line of a hub's list of files.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<Large>,
}

/// A large file's true size and SHA-256.
#[derive(Deserialize)]
struct Large {
    oid: String,
    size: u64,
}

/// What a hub has of an entry.
struct Hub {
    commit: Option<String>,
    card: Value,
    remotes: BTreeMap<String, Remote>,
}

async fn hub(id: &str, revision: &str, options: &FetchOptions) -> Result<Listing, FetchError> {
    let Hub { commit, card, mut remotes } = files_of(id, revision, options).await?;
    let mut names = chosen(&remotes, options).await?;
    if let Some(other) = tokenizer_of(&card, &remotes, options).await? {
        // It is that of another entry, and comes along.
        let mut own = files_of(&other, "main", options).await?.remotes;
        for name in TOKENIZER.into_iter().filter(|name| !remotes.contains_key(*name)).collect::<Vec<_>>() {
            if let Some(remote) = own.remove(name) {
                names.push(name.to_owned());
                remotes.insert(name.to_owned(), remote);
            }
        }
    }
    let files = names.into_iter().filter_map(|name| remotes.remove(&name)).collect();
    Ok(Listing { commit, license: license(&card), files })
}

/// The entry whose tokenizer a model of nanoVLM uses, as the cards of these say their library: where it has none itself.
async fn tokenizer_of(
    card: &Value,
    remotes: &BTreeMap<String, Remote>,
    options: &FetchOptions,
) -> Result<Option<String>, FetchError> {
    let Some(config) = remotes.get(CONFIG).filter(|_| {
        card.get("library_name").is_some_and(|name| name == "nanovlm") && !remotes.contains_key(TOKENIZER[0])
    }) else {
        return Ok(None);
    };
    let (config, _) = json::<Value>(&config.url, options).await?;
    let Some(other) = config.get("lm_tokenizer").and_then(Value::as_str) else { return Ok(None) };
    let mut parts = other.split('/');
    let plain = [parts.next(), parts.next()].iter().all(|part| part.is_some_and(is_plain)) && parts.next().is_none();
    if plain { Ok(Some(other.to_owned())) } else { Err(FetchError::Path(shown(other))) }
}

/// All plain files of an entry.
async fn files_of(id: &str, revision: &str, options: &FetchOptions) -> Result<Hub, FetchError> {
    let endpoint = options.endpoint.trim_end_matches('/');
    let at = encoded(revision);
    let missing = |e| match e {
        FetchError::NotThere { .. } => FetchError::NoModel { id: id.to_owned(), revision: revision.to_owned() },
        FetchError::Denied { status, .. } => FetchError::Denied { url: format!("{endpoint}/{id}"), status },
        other => other,
    };
    let (about, _) =
        json::<About>(&format!("{endpoint}/api/models/{id}/revision/{at}"), options).await.map_err(missing)?;
    // The commit, so that all files are of one state of the model.
    let is_commit = |sha: &String| sha.len() >= 7 && sha.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = about.sha.filter(is_commit);
    let at = commit.as_deref().unwrap_or(&at);
    let lines = tree(&format!("{endpoint}/api/models/{id}/tree/{at}?recursive=false"), options).await?;
    let mut remotes = BTreeMap::new();
    for line in lines.into_iter().filter(|l| l.kind == "file") {
        let name = &line.path;
        let outward = name.starts_with(['/', '\\']) || name.contains('\\') || name.split('/').any(|p| p == "..");
        if outward {
            return Err(FetchError::Path(shown(name)));
        }
        if is_plain(name) {
            remotes.insert(line.path.clone(), of_line(&line, &format!("{endpoint}/{id}/resolve/{at}")));
        }
    }
    Ok(Hub { commit, card: about.card, remotes })
}

/// All pages of a list of files.
async fn tree(first: &str, options: &FetchOptions) -> Result<Vec<Line>, FetchError> {
    let (mut out, mut url) = (Vec::new(), first.to_owned());
    for _ in 0..PAGES {
        let (lines, response) = json::<Vec<Line>>(&url, options).await?;
        out.extend(lines);
        let next = response.header("link").and_then(|text| {
            let link = text.split(',').find(|l| l.contains("rel=\"next\""))?;
            Some(link.split_once('<')?.1.split_once('>')?.0.to_owned())
        });
        match next {
            // The rest of the list is on the same server.
            Some(next) if origin_of(&next) == origin_of(first) => url = next,
            _ => return Ok(out),
        }
    }
    Err(FetchError::Lying(format!("{} lists more than {PAGES} pages of files", shown(first))))
}

fn of_line(line: &Line, base: &str) -> Remote {
    let is_sha256 = |oid: &&Large| oid.oid.len() == 64 && oid.oid.bytes().all(|b| b.is_ascii_hexdigit());
    let sha256 = line.lfs.as_ref().filter(is_sha256).map(|l| l.oid.to_ascii_lowercase());
    let entry = Entry {
        name: line.path.clone(),
        size: Some(line.lfs.as_ref().map_or(line.size, |l| l.size)),
        version: sha256.clone().or_else(|| line.oid.clone()),
        sha256,
        came: None,
        validator: None,
    };
    Remote { entry, url: format!("{base}/{}", encoded(&line.path)), ranges: None }
}

fn license(card: &Value) -> Option<String> {
    let text = |v: &Value| match v {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        _ => None,
    };
    // "other" has its name beside it.
    let named = card.get("license_name").and_then(text);
    let short = card.get("license").and_then(text).filter(|l| !l.is_empty())?;
    Some(shown(&named.filter(|_| short == "other").unwrap_or(short)))
}

/// Names of the files that are wanted of a hub's list.
async fn chosen(remotes: &BTreeMap<String, Remote>, options: &FetchOptions) -> Result<Vec<String>, FetchError> {
    if !remotes.contains_key(CONFIG) {
        return Err(FetchError::NoFiles(format!("it has no {CONFIG}")));
    }
    let there = |name: &&str| remotes.contains_key(*name);
    let mut names: Vec<String> = [CONFIG].into_iter().chain(TEXTS).filter(there).map(str::to_owned).collect();
    if remotes.contains_key(WHOLE) {
        names.push(WHOLE.to_owned());
        return Ok(names);
    }
    if let Some(index) = remotes.get(INDEX) {
        names.push(INDEX.to_owned());
        for shard in shards(&index.url, options).await? {
            if !remotes.contains_key(&shard) {
                return Err(FetchError::NoFiles(format!("{INDEX} names {}, which is not there", shown(&shard))));
            }
            names.push(shard);
        }
        return Ok(names);
    }
    let weights: Vec<&String> = remotes.keys().filter(|n| n.ends_with(EXTENSION)).collect();
    match weights[..] {
        [one] => names.push(one.clone()),
        [] => return Err(FetchError::NoFiles(format!("it has no *{EXTENSION} file. Other formats are not read"))),
        _ => return Err(FetchError::NoFiles(format!("it has several *{EXTENSION} files and no {INDEX}"))),
    }
    Ok(names)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// File names that an index names.
async fn shards(url: &str, options: &FetchOptions) -> Result<BTreeSet<String>, FetchError> {
    let (index, _) = json::<Index>(url, options).await?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(wrong) = names.iter().find(|n| !is_plain(n) || !n.ends_with(EXTENSION)) {
        return Err(FetchError::Path(shown(wrong)));
    }
    if names.is_empty() || names.len() > SHARDS {
        return Err(FetchError::NoFiles(format!("{INDEX} names {} files of weights", names.len())));
    }
    Ok(names)
}

// ---------------------------------------------------------------------------------------------------------- folder

async fn folder(base: &str, query: &str, weights: Option<&str>, options: &FetchOptions) -> Result<Listing, FetchError> {
    let at = |name: &str| format!("{base}{}{query}", encoded(name));
    let mut files = Vec::new();
    match probe(CONFIG, &at(CONFIG), options).await? {
        Some(file) => files.push(file),
        None => return Err(FetchError::NotThere { url: shown(&at(CONFIG)) }),
    }
    for name in TEXTS {
        files.extend(probe(name, &at(name), options).await?);
    }
    let whole = weights.unwrap_or(WHOLE);
    if let Some(file) = probe(whole, &at(whole), options).await? {
        files.push(file);
    } else if let Some(index) = probe(INDEX, &at(INDEX), options).await?.filter(|_| weights.is_none()) {
        let names = shards(&index.url, options).await?;
        files.push(index);
        for name in names {
            let file = probe(&name, &at(&name), options).await?;
            files.push(file.ok_or_else(|| FetchError::NotThere { url: shown(&at(&name)) })?);
        }
    } else {
        return Err(FetchError::NotThere { url: shown(&at(whole)) });
    }
    if let Some(file) = files.iter().find(|f| f.entry.name.ends_with(EXTENSION) && f.entry.size.is_none()) {
        return Err(FetchError::NoLength { url: shown(&file.url) });
    }
    Ok(Listing { files, ..Listing::default() })
}

/// Asks for the first byte of a file: that tells its length and whether the server gives parts. Nothing if it is not there.
async fn probe(name: &str, url: &str, options: &FetchOptions) -> Result<Option<Remote>, FetchError> {
    let first = HttpRequest { range: Some((0, Some(1))), ..request(url, options) };
    let response = http_send_patiently(&first).await.map_err(|e| unreachable(url, &e))?;
    // Some stores answer 403 for what they do not have, and some servers send a page for every address.
    let is_page = response.header("content-type").is_some_and(|t| t.trim_start().starts_with("text/html"));
    let (size, ranges) = match response.status {
        200 if is_page => return Ok(None),
        200 => (response.content_length(), false),
        206 => match response.content_range() {
            Some(range) => (range.len, true),
            // A browser shows this header only if the server allows it.
            None => (length(url, name, options).await?, true),
        },
        416 => (response.content_range().and_then(|r| r.len).filter(|len| *len == 0), true),
        401 | 403 if name == CONFIG => return Err(refused(url, &response)),
        401 | 403 | 404 | 410 => return Ok(None),
        _ => return Err(refused(url, &response)),
    };
    let version = response.validator().map(str::to_owned);
    let entry = Entry { name: name.to_owned(), size, sha256: None, came: None, validator: version.clone(), version };
    Ok(Some(Remote { entry, url: url.to_owned(), ranges: Some(ranges) }))
}

/// Length by a second question. It is not asked about texts, which may travel compressed, so that the answer would be wrong.
async fn length(url: &str, name: &str, options: &FetchOptions) -> Result<Option<u64>, FetchError> {
    if !name.ends_with(EXTENSION) {
        return Ok(None);
    }
    let head = HttpRequest { head: true, ..request(url, options) };
    let response = http_send(&head).await.map_err(|e| unreachable(url, &e))?;
    Ok(response.content_length().filter(|_| response.status == 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_are_told_apart() {
        for plain in ["model.safetensors", "model-00001-of-00002.safetensors", "a b+c.json"] {
            assert!(is_plain(plain), "{plain}");
        }
        for path in ["", "..", "../x", "/x", "a/b", "a\\b", "c:x", ".hidden", "a\0b", "a\nb", &"x".repeat(201)] {
            assert!(!is_plain(path), "{path}");
        }
        assert_eq!(encoded("a b+c%.json"), "a%20b%2Bc%25.json");
    }

    #[test]
    fn the_licence_of_a_card_is_found() {
        let of = |text: &str| license(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"license": "apache-2.0"}"#).as_deref(), Some("apache-2.0"));
        assert_eq!(of(r#"{"license": ["mit", "gpl-3.0"]}"#).as_deref(), Some("mit, gpl-3.0"));
        assert_eq!(of(r#"{"license": "other", "license_name": "house\nrules"}"#).as_deref(), Some("house?rules"));
        assert_eq!(of("null"), None);
        assert_eq!(of(r#"{"license": 5}"#), None);
    }
}
