//! `Blob`: bytes with a name that are read piece by piece, so that files larger than memory can be used.

use std::sync::Arc;

use super::http::NetworkFile;
#[cfg(not(target_arch = "wasm32"))]
use super::native_blob::FileBytes;
#[cfg(target_arch = "wasm32")]
use super::web_blob::FileBytes;

/// A file, bytes in memory, or a file on a server. Cheap to clone; clones share the open file.
#[derive(Clone, Debug)]
pub struct Blob {
    name: Arc<str>,
    len: u64,
    source: Bytes,
}

#[derive(Clone, Debug)]
enum Bytes {
    Memory(Arc<[u8]>),
    File(FileBytes),
    Network(NetworkFile),
}

impl Blob {
    /// Bytes in memory, called `name`.
    pub fn memory(name: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { name: name.into(), len: bytes.len() as u64, source: Bytes::Memory(bytes) }
    }

    /// `len` bytes of a server's file called `name`, which are asked for when they are read.
    #[must_use]
    pub fn network(name: &str, len: u64, file: NetworkFile) -> Self {
        Self { name: name.into(), len, source: Bytes::Network(file) }
    }

    pub(super) fn of_file(name: &str, len: u64, file: FileBytes) -> Self {
        Self { name: name.into(), len, source: Bytes::File(file) }
    }

    /// File name, without its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No bytes at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `start` on. Nothing is allocated for bytes that are not there.
    ///
    /// # Errors
    /// A sentence with the file's name: a range past the end, a file that got shorter, or what the system says.
    pub async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        let name = &self.name;
        let end = start.checked_add(len as u64).filter(|end| *end <= self.len);
        if end.is_none() {
            return Err(format!(
                "{name} has {} bytes, {len} are wanted from byte {start} on: it may be cut off. Copy it again",
                self.len
            ));
        }
        let bytes = match &self.source {
            // In memory every offset is a usize: the range was checked.
            Bytes::Memory(bytes) => bytes[start as usize..][..len].to_vec(),
            Bytes::File(file) => file.read(start, len).await.map_err(|e| unread(name, start, &e))?,
            Bytes::Network(file) => file.read(start, len).await.map_err(|e| unread(name, start, &e))?,
        };
        if bytes.len() == len {
            Ok(bytes)
        } else {
            Err(format!("{name} gave {} bytes of {len} at byte {start}: it has changed. Open it again", bytes.len()))
        }
    }
}

fn unread(name: &str, start: u64, reason: &str) -> String {
    format!("{name} cannot be read at byte {start}: {reason}")
}
