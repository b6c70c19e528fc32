//! Native side of `Blob`: a file that is opened once and read by seeking.

use std::fs::File;
use std::io;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A file by its path. It is opened when it is first read, so that a folder of many files holds none of them open.
#[derive(Clone, Debug)]
pub(super) struct FileBytes {
    path: Arc<Path>,
    file: Arc<Mutex<Option<File>>>,
}

impl FileBytes {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), file: Arc::default() }
    }

    /// Opens it now, so that a file that cannot be opened says so.
    pub(super) fn open(&self) -> io::Result<()> {
        self.with_file(|_| Ok(()))
    }

    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    fn with_file<T>(&self, f: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        // A panic while reading leaves the file as it is; the next read seeks anyway.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(File::open(&self.path)?);
        }
        file.as_mut().map_or_else(|| Err(io::ErrorKind::NotFound.into()), f)
    }

    /// `len` bytes from `start` on, or fewer where the file has become shorter.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub(super) async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        let read = |file: &mut File| {
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::with_capacity(len);
            file.take(len as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        self.with_file(read).map_err(|e| e.to_string())
    }
}
