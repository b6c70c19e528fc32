//! Models from a hub or from any web server, kept in the user's cache: natively a folder, in a browser its private files.
//!
//! [`fetch`] asks which files there are, so that the total is known, takes what an earlier call left, and goes on with files
//! that were cut off. A hub's SHA-256 is compared before a file gets its name. Servers are not trusted: a name that is a
//! path, a length that is wrong and a redirect to something less safe end with a sentence.

mod address;
mod download;
mod error;
mod keep;
mod list;
mod manifest;
mod options;
mod sink;

pub use address::{Address, ENDPOINT, REVISION};
pub use error::FetchError;
pub use keep::keep;
pub use options::{FetchOptions, FetchProgress, Fetched};

use error::shown;
use manifest::{Entry, Manifest, hex, is_plain, whole};
use sha2::{Digest as _, Sha256};

use crate::platform::{Blob, Claim, Store, StoreError, pause_secs};

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Id or address.
    pub address: String,
    /// The hub, unless it is the usual one.
    pub hub: Option<String>,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Are all its files whole?
    pub whole: bool,
    /// Its folder in the cache.
    pub key: String,
}

/// Fetches a model, or what is missing of it. `tell` hears of every piece; false stops.
pub async fn fetch(
    address: &Address,
    options: &FetchOptions,
    mut tell: impl FnMut(&FetchProgress) -> bool,
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
    let before = match &store {
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
        let (Some(store), Some(manifest)) = (&store, &before) else {
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
            if let (Some(store), Some(manifest)) = (&store, &before)
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
    // What another program fetches is shared: this one waits for it, and then finds it.
    let _claim = match &store {
        Some(store) => Some(claimed(store, place.as_deref().unwrap_or_default(), &mut tell).await?),
        None => None,
    };
    let old = match &store {
        Some(store) => Manifest::read(store).await,
        None => None,
    };
    let place = place.unwrap_or_default();
    download::Session::new(address, options, store, place, notes, tell).run(listing, old).await
}

/// Seconds between two looks whether another program is done.
const LOOK_SECS: f64 = 0.2;

/// The folder for this program alone, once others are done with it.
async fn claimed(
    store: &Store,
    place: &str,
    tell: &mut impl FnMut(&FetchProgress) -> bool,
) -> Result<Claim, FetchError> {
    let wrong = |e: StoreError| FetchError::Store { place: place.to_owned(), reason: e.to_string() };
    let trouble = "another program fetches this model: waiting for it".to_owned();
    let waiting = FetchProgress { trouble, ..FetchProgress::default() };
    loop {
        if let Some(claim) = store.claim().await.map_err(wrong)? {
            return Ok(claim);
        }
        if !tell(&waiting) {
            return Err(FetchError::Stopped);
        }
        pause_secs(LOOK_SECS).await;
    }
}

/// Compares every file of a model that was fetched with its hash, and removes those that differ, so that [`fetch`] gets them
/// again; gives their names. Files of earlier versions whose hash nobody knew are compared by their length alone.
///
/// # Errors
/// A model that is not here; a folder that cannot be read or written.
pub async fn verify(
    address: &Address,
    options: &FetchOptions,
    mut tell: impl FnMut(&FetchProgress) -> bool,
) -> Result<Vec<String>, FetchError> {
    let place = options.place(address).unwrap_or_default();
    let wrong = |e: StoreError| FetchError::Store { place: place.clone(), reason: e.to_string() };
    let store = Store::open(&place).await.map_err(wrong)?;
    let absent = || FetchError::Absent { address: address.to_string() };
    let manifest = Manifest::read(&store).await.ok_or_else(absent)?;
    let _claim = claimed(&store, &place, &mut tell).await?;
    let mut progress =
        FetchProgress { total: manifest.files.iter().filter_map(|f| f.size).sum(), ..Default::default() };
    let mut differ = Vec::new();
    for entry in &manifest.files {
        progress.file.clone_from(&entry.name);
        let same = match whole(&store, entry).await {
            Some(blob) => is_as_fetched(&blob, entry, &mut progress, &mut tell).await.map_err(|reason| {
                reason.map_or(FetchError::Stopped, |reason| FetchError::Store { place: place.clone(), reason })
            })?,
            None => false,
        };
        if !same {
            differ.push(entry.name.clone());
        }
    }
    if options.offline && !differ.is_empty() {
        return Err(FetchError::Differs { address: address.to_string(), place, files: differ.join(", ") });
    }
    for name in &differ {
        store.remove(name).await.map_err(wrong)?;
    }
    Ok(differ)
}

/// Bytes that are hashed at a time.
const PIECE: u64 = 4 << 20;

/// Has a file the hash that is known of it? An error without text is a stop.
async fn is_as_fetched(
    blob: &Blob,
    entry: &Entry,
    progress: &mut FetchProgress,
    tell: &mut impl FnMut(&FetchProgress) -> bool,
) -> Result<bool, Option<String>> {
    let (mut at, mut hash) = (0, Sha256::new());
    while at < blob.len() {
        let bytes = blob.read(at, PIECE.min(blob.len() - at) as usize).await.map_err(Some)?;
        at += bytes.len() as u64;
        progress.done += bytes.len() as u64;
        hash.update(bytes);
        if !tell(progress) {
            return Err(None);
        }
    }
    Ok(entry.known_hash().is_none_or(|known| known == hex(hash)))
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
        let (address, hub) = manifest.map_or_else(|| (key.clone(), None), |m| (m.address, m.hub));
        out.push(Cached { address, hub, bytes: store.bytes().await.map_err(wrong)?, whole, key });
    }
    Ok(out)
}

/// A model of the cache by its key, see [`Cached::key`]. The network is not asked.
///
/// # Errors
/// No such model, or one that is not whole.
pub async fn open(key: &str, options: &FetchOptions) -> Result<Fetched, FetchError> {
    let absent = || FetchError::Absent { address: shown(key) };
    let root = options.root().filter(|_| is_plain(key)).ok_or_else(absent)?;
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
    let Some(root) = options.root().filter(|_| is_plain(key)) else { return Err(absent) };
    let wrong = |e: StoreError| FetchError::Store { place: root.clone(), reason: e.to_string() };
    if !Store::folders(&root).await.map_err(wrong)?.iter().any(|k| k == key) {
        return Err(absent);
    }
    Store::forget(&root, key).await.map_err(wrong)
}
