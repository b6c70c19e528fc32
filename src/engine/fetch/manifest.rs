//! What is to be in a folder of fetched files, written down before the first byte, so that a later call can go on.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::platform::{Blob, Store, StoreError};

/// The manifest's file name.
pub(super) const NAME: &str = "hive-fetch.json";

/// A name that is no path.
pub(super) fn is_plain(name: &str) -> bool {
    let odd = |c: char| matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' | '\0') || c.is_control();
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && !name.contains(odd)
}

/// What is to be in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Where it comes from.
    pub(super) address: String,
    /// Of which hub, unless it is the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hub: Option<String>,
    /// Commit, where there is one.
    pub(super) commit: Option<String>,
    /// Licence, as the model's card says.
    pub(super) license: Option<String>,
    /// Files.
    pub(super) files: Vec<Entry>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// File name.
    pub(super) name: String,
    /// Bytes, once they are known.
    pub(super) size: Option<u64>,
    /// SHA-256 in hexadecimal digits, where the hub knows it.
    pub(super) sha256: Option<String>,
    /// SHA-256 of what came, to compare with later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) came: Option<String>,
    /// What names this content of the file: a hash, an `ETag`, a time.
    pub(super) version: Option<String>,
    /// Validator for going on with a part.
    pub(super) validator: Option<String>,
}

/// A hash in hexadecimal digits.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Entry {
    /// The hash that its contents must have, where one is known.
    pub(super) fn known_hash(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.came.as_deref())
    }

    /// Has the file the same content as `other`, as far as anybody knows?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let names = match (&self.sha256, &other.sha256) {
            (Some(a), Some(b)) => a == b,
            _ => self.version.is_some() && self.version == other.version,
        };
        names && (self.size == other.size || other.size.is_none())
    }
}

impl Manifest {
    /// The manifest of a folder, if it has one that can be understood.
    pub(super) async fn read(store: &Store) -> Option<Self> {
        let text = store.text(NAME).await.ok()??;
        let manifest: Self = serde_json::from_str(&text).ok()?;
        // Names become paths.
        manifest.files.iter().all(|f| is_plain(&f.name)).then_some(manifest)
    }

    pub(super) async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| StoreError::Other(e.to_string()))?;
        store.put_text(NAME, &text).await
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|f| f.name == name)
    }

    /// All files, or the name of the first that is not whole.
    pub(super) async fn blobs(&self, store: &Store) -> Result<Vec<Blob>, String> {
        let mut out = Vec::new();
        for entry in &self.files {
            out.push(whole(store, entry).await.ok_or_else(|| entry.name.clone())?);
        }
        Ok(out)
    }
}

/// A file that is there and as long as it must be.
pub(super) async fn whole(store: &Store, entry: &Entry) -> Option<Blob> {
    let blob = store.file(&entry.name).await.ok()??;
    (Some(blob.len()) == entry.size).then_some(blob)
}
