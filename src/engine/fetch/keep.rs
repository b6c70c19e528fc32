//! Files that are here already, such as those that were dropped on the page, copied into the cache.

use super::error::{FetchError, shown};
use super::manifest::{Entry, Manifest, is_plain};
use super::options::{FetchOptions, FetchProgress, Fetched};
use crate::platform::{Blob, Store, StoreError};

/// Bytes that are copied at a time.
const PIECE: u64 = 4 << 20;

/// Folder of a cache for files that are called `name`.
fn key_of(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    format!("files-{}", name.chars().map(safe).take(80).collect::<String>())
}

/// Copies the files of a model into the cache, so that they are there after a reload: see [`super::open`] and
/// [`super::cached`]. Without room they are handed back as they are, with a note.
///
/// # Errors
/// Files that are no model's, a file that cannot be read, a stop.
pub async fn keep(
    name: &str,
    blobs: &[Blob],
    options: &FetchOptions,
    tell: impl FnMut(&FetchProgress) -> bool,
) -> Result<Fetched, FetchError> {
    if let Some(wrong) = blobs.iter().find(|b| !is_plain(b.name())) {
        return Err(FetchError::Path(shown(wrong.name())));
    }
    let place = options.root().map(|root| format!("{root}/{}", key_of(name)));
    let copied = copy(name, blobs, place.as_deref(), options, tell).await;
    if let (Err(_), Some(root)) = (&copied, options.root()) {
        // Half a copy is of no use. If it cannot be removed, it stays.
        let _ = Store::forget(&root, &key_of(name)).await;
    }
    match copied {
        Ok(blobs) => Ok(Fetched { blobs, place, ..Fetched::default() }),
        Err(Trouble::Other(e)) => Err(e),
        Err(Trouble::Store(e)) => {
            let note = format!("the files of {} are not kept ({e}): give them again after a reload", shown(name));
            Ok(Fetched { blobs: blobs.to_vec(), notes: vec![note], ..Fetched::default() })
        }
    }
}

enum Trouble {
    Store(StoreError),
    Other(FetchError),
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

async fn copy(
    name: &str,
    blobs: &[Blob],
    place: Option<&str>,
    options: &FetchOptions,
    mut tell: impl FnMut(&FetchProgress) -> bool,
) -> Result<Vec<Blob>, Trouble> {
    let place = place.ok_or_else(|| StoreError::Other("there is no cache".to_owned()))?;
    let store = Store::open(place).await?;
    let mut progress = FetchProgress { total: blobs.iter().map(Blob::len).sum(), ..FetchProgress::default() };
    let room = [store.room().await, options.room].into_iter().flatten().min();
    if room.is_some_and(|room| room < progress.total) {
        return Err(StoreError::Full.into());
    }
    let entry = |b: &Blob| Entry {
        name: b.name().to_owned(),
        size: Some(b.len()),
        sha256: None,
        came: None,
        version: None,
        validator: None,
    };
    let old = Manifest::read(&store).await.unwrap_or_default();
    for gone in &old.files {
        store.remove(&gone.name).await?;
    }
    let files = blobs.iter().map(entry).collect();
    Manifest { address: name.to_owned(), files, ..Manifest::default() }.write(&store).await?;
    let mut out = Vec::new();
    for blob in blobs {
        progress.file = blob.name().to_owned();
        let mut part = store.part(blob.name()).await?;
        part.restart().await?;
        while part.bytes() < blob.len() {
            let len = PIECE.min(blob.len() - part.bytes());
            let unread = |reason| Trouble::Other(FetchError::Store { place: shown(name), reason });
            part.write(&blob.read(part.bytes(), len as usize).await.map_err(unread)?).await?;
            progress.done += len;
            if !tell(&progress) {
                return Err(Trouble::Other(FetchError::Stopped));
            }
        }
        out.push(part.finish().await?);
    }
    Ok(out)
}
