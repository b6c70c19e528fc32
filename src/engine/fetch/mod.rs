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

pub use address::{Address, REVISION};
pub use error::FetchError;
pub use keep::keep;
pub use options::{ENDPOINT, FetchOptions, FetchProgress, Fetched};

use error::shown;
use manifest::{Manifest, is_plain};

use crate::platform::{Store, StoreError};

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
