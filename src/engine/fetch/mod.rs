//! Models from a hub or from any web server, kept in the user's cache: natively a folder, in a browser its private files.
//!
//! [`fetch`] asks which files there are, so that the total is known, takes what an earlier call left, and goes on with files
//! that were cut off. A hub's SHA-256 is compared before a file gets its name. Servers are not trusted: a name that is a
//! path, a length that is wrong and a redirect to something less safe end with a sentence.

mod address;
mod download;
mod keep;
mod list;
mod manifest;

use thiserror::Error;

pub use address::{Address, REVISION};
pub use keep::keep;
use manifest::Manifest;

use crate::platform::{self, Blob, Patience, Store, StoreError};

/// The hub that ids belong to unless told otherwise.
pub const ENDPOINT: &str = "https://huggingface.co";

/// Why a model cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FetchError {
    /// Neither an id nor an address.
    #[error("\"{text}\" names no model: {reason}. Give OWNER/NAME or an http address of a folder")]
    Address {
        /// What was given.
        text: String,
        /// Why.
        reason: &'static str,
    },
    /// No model of that id.
    #[error("the hub has no model {id} at {revision}. Check the spelling; a private model needs HF_TOKEN")]
    NoModel {
        /// Id.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// No file there.
    #[error("there is no {url}. Check the address")]
    NotThere {
        /// Address.
        url: String,
    },
    /// Not for everybody.
    #[error(
        "{url} is not open to everybody (status {status}). If it is a model of a hub, accept its licence on its page and set HF_TOKEN"
    )]
    Denied {
        /// Address.
        url: String,
        /// Status.
        status: u16,
    },
    /// Another status.
    #[error("{url} answers with status {status}. Try again later")]
    Server {
        /// Address.
        url: String,
        /// Status.
        status: u16,
    },
    /// No connection.
    #[error("{host} cannot be reached: {reason}. Check the network, then try again: it goes on where it stopped")]
    Network {
        /// Scheme and host.
        host: String,
        /// Words of the system or of the browser.
        reason: String,
    },
    /// Not the files of a model.
    #[error("this is no model that can be fetched: {0}. Choose another one")]
    NoFiles(String),
    /// A file whose length nobody tells.
    #[error(
        "the server does not say how long {url} is: it must send Content-Length, or Content-Range for parts of files (for pages from elsewhere also Access-Control-Expose-Headers: Content-Range)"
    )]
    NoLength {
        /// Address.
        url: String,
    },
    /// A name from the server that would lead out of the folder.
    #[error("the server names a file \"{0}\", which is a path and not a name. It is not written")]
    Path(String),
    /// A server that contradicts itself.
    #[error("{0}. The server is faulty, or the file has changed meanwhile: try again, or another server")]
    Lying(String),
    /// Other contents than the hub says.
    #[error("{file} has the SHA-256 {have}, the hub says {want}. What was fetched of it is removed: try again")]
    Hash {
        /// File name.
        file: String,
        /// As the hub says.
        want: String,
        /// As it is.
        have: String,
    },
    /// No room.
    #[error(
        "there is no room for {file}: {missing} MB are missing in {place}. Make room and try again: it goes on where it stopped"
    )]
    Full {
        /// File name.
        file: String,
        /// Bytes that are still to come, in MB.
        missing: u64,
        /// Folder.
        place: String,
    },
    /// Files of somebody else.
    #[error("{place} has a file {file} that was not fetched into it. Choose another folder, or remove the file")]
    Foreign {
        /// Folder.
        place: String,
        /// File name.
        file: String,
    },
    /// The folder.
    #[error("{place} cannot be used: {reason}")]
    Store {
        /// Folder.
        place: String,
        /// The system's words.
        reason: String,
    },
    /// Never fetched.
    #[error("{address} is not here. Get it with: hive fetch {address}")]
    Absent {
        /// Id or address.
        address: String,
    },
    /// Fetched in part.
    #[error("of {address}, {file} is not whole yet. Go on with: hive fetch {address}")]
    Incomplete {
        /// Id or address.
        address: String,
        /// The first file that is not there.
        file: String,
    },
    /// Stopped by the one who is told of the progress.
    #[error("stopped. Fetching it again goes on from here")]
    Stopped,
}

/// How to fetch.
#[derive(Clone)]
pub struct FetchOptions {
    /// Address of the hub.
    pub endpoint: String,
    /// Token for the hub; sent to nobody else, and never printed.
    pub token: Option<String>,
    /// The folder to fetch into, instead of one in the cache. Native only.
    pub folder: Option<String>,
    /// The cache, instead of the user's own.
    pub cache: Option<String>,
    /// Never asks the network.
    pub offline: bool,
    /// Bytes that may be kept, where that is less than what there is room for.
    pub room: Option<u64>,
    /// Without room: use the model from memory or over the network, instead of refusing?
    pub stream: bool,
    /// How long and how often a server is asked.
    pub patience: Patience,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            token: None,
            folder: None,
            cache: None,
            offline: false,
            room: None,
            stream: !platform::BLOCKING,
            patience: Patience::default(),
        }
    }
}

impl FetchOptions {
    /// The defaults, with `HF_ENDPOINT` and `HF_TOKEN` of the environment where they are set.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let default = Self::default();
        Self { endpoint: set("HF_ENDPOINT").unwrap_or(default.endpoint), token: set("HF_TOKEN"), ..default }
    }

    fn root(&self) -> Option<String> {
        self.cache.clone().or_else(platform::cache_root)
    }

    /// Where the files of an address are.
    #[must_use]
    pub fn place(&self, address: &Address) -> Option<String> {
        self.folder.clone().or_else(|| Some(format!("{}/{}", self.root()?, address.key())))
    }
}

/// How far it is. Bytes count over all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// The file that is being fetched.
    pub file: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all files. Known before the first byte of weights.
    pub total: u64,
    /// Bytes that were here before.
    pub cached: u64,
}

/// A model's files.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Its files, for `Folder::new`.
    pub blobs: Vec<Blob>,
    /// Sentences that its user should read.
    pub notes: Vec<String>,
    /// Where the files are, if all of them are kept.
    pub place: Option<String>,
    /// Licence, as the model's card says.
    pub license: Option<String>,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Id or address.
    pub address: String,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Are all its files whole?
    pub whole: bool,
    /// Its folder in the cache.
    pub key: String,
}

/// Fetches a model, or what is missing of it. `tell` hears of every piece; false stops.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(
    address: &Address,
    options: &FetchOptions,
    tell: impl FnMut(&FetchProgress) -> bool,
) -> Result<Fetched, FetchError> {
    let place = options.place(address);
    let mut notes = Vec::new();
    let store = match &place {
        Some(place) => match Store::open(place).await {
            Ok(store) => Some(store),
            Err(_) if options.stream => None,
            Err(e) => return Err(FetchError::Store { place: place.clone(), reason: e.to_string() }),
        },
        None if options.stream => None,
        None => {
            return Err(FetchError::Store {
                place: "the cache".to_owned(),
                reason: "the system names no folder for it. Choose one with --to".to_owned(),
            });
        }
    };
    let old = match &store {
        Some(store) => Manifest::read(store).await,
        None => None,
    };
    let here = |manifest: &Manifest, blobs, notes| Fetched {
        blobs,
        notes,
        place: place.clone(),
        license: manifest.license.clone(),
    };
    if options.offline {
        let (Some(store), Some(manifest)) = (&store, &old) else {
            return Err(FetchError::Absent { address: address.to_string() });
        };
        let incomplete = |file| FetchError::Incomplete { address: address.to_string(), file };
        let blobs = manifest.blobs(store).await.map_err(incomplete)?;
        return Ok(here(manifest, blobs, notes));
    }
    let listing = match list::list(address, options).await {
        Ok(listing) => listing,
        Err(e @ (FetchError::Network { .. } | FetchError::Server { .. })) => {
            // What is whole can be used without anybody's help.
            if let (Some(store), Some(manifest)) = (&store, &old)
                && let Ok(blobs) = manifest.blobs(store).await
            {
                notes.push(format!("{e}. The copy from before is used"));
                return Ok(here(manifest, blobs, notes));
            }
            return Err(e);
        }
        Err(e) => return Err(e),
    };
    if store.is_none() {
        notes.push(
            "this browser keeps no files for this page: the model is not there any more after a reload".to_owned(),
        );
    }
    let place = place.unwrap_or_default();
    download::Session::new(address, options, store, place, notes, tell).run(listing, old).await
}

/// The models in the cache.
///
/// # Errors
/// A cache that cannot be read.
pub async fn cached(options: &FetchOptions) -> Result<Vec<Cached>, FetchError> {
    let Some(root) = options.root() else { return Ok(Vec::new()) };
    let wrong = |e: StoreError| FetchError::Store { place: root.clone(), reason: e.to_string() };
    let mut out = Vec::new();
    for key in Store::folders(&root).await.map_err(wrong)? {
        let store = Store::open(&format!("{root}/{key}")).await.map_err(wrong)?;
        let manifest = Manifest::read(&store).await;
        let whole = match &manifest {
            Some(manifest) => manifest.blobs(&store).await.is_ok(),
            None => false,
        };
        let address = manifest.map_or_else(|| key.clone(), |m| m.address);
        out.push(Cached { address, bytes: store.bytes().await.map_err(wrong)?, whole, key });
    }
    Ok(out)
}

/// A model of the cache by its key, see [`Cached::key`]. The network is not asked.
///
/// # Errors
/// No such model, or one that is not whole.
pub async fn open(key: &str, options: &FetchOptions) -> Result<Fetched, FetchError> {
    let absent = || FetchError::Absent { address: shown(key) };
    let root = options.root().filter(|_| list::is_plain(key)).ok_or_else(absent)?;
    let wrong = |e: StoreError| FetchError::Store { place: root.clone(), reason: e.to_string() };
    if !Store::folders(&root).await.map_err(wrong)?.iter().any(|k| k == key) {
        return Err(absent());
    }
    let place = format!("{root}/{key}");
    let store = Store::open(&place).await.map_err(wrong)?;
    let manifest = Manifest::read(&store).await.ok_or_else(absent)?;
    let incomplete = |file| FetchError::Incomplete { address: manifest.address.clone(), file };
    let blobs = manifest.blobs(&store).await.map_err(incomplete)?;
    Ok(Fetched { blobs, notes: Vec::new(), place: Some(place), license: manifest.license })
}

/// Removes a model from the cache: by its key, see [`Cached::key`] and [`Address::key`].
///
/// # Errors
/// No such model, or a cache that cannot be written.
pub async fn forget(key: &str, options: &FetchOptions) -> Result<(), FetchError> {
    let absent = FetchError::Absent { address: shown(key) };
    let Some(root) = options.root().filter(|_| list::is_plain(key)) else { return Err(absent) };
    let wrong = |e: StoreError| FetchError::Store { place: root.clone(), reason: e.to_string() };
    if !Store::folders(&root).await.map_err(wrong)?.iter().any(|k| k == key) {
        return Err(absent);
    }
    Store::forget(&root, key).await.map_err(wrong)
}

/// A text from elsewhere as it can stand in a sentence: without control characters, and cut.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(200).is_some() {
        out.push('…');
    }
    out
}
