//! Native side of `Store`: a folder of fetched files. A file is `NAME.part` until it is whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::native_partial::remove_abandoned;
use super::store::StoreError;
use super::{Blob, Claim, list_folder, read_file, write_file};

/// Ending of a file that is not whole yet.
const PART: &str = ".part";

/// A folder of fetched files.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl From<io::Error> for StoreError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Other(e.to_string()),
        }
    }
}

/// A missing file is no error here.
fn if_there<T>(result: io::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The user's folder for what can be had again, where the system names one.
#[must_use]
pub fn cache_root() -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| Path::new(v).is_absolute());
    let base = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| format!("{home}/Library/Caches")))
    } else {
        set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| format!("{home}/.cache")))
    };
    base.map(|base| Path::new(&base).join("hive").join("models").to_string_lossy().into_owned())
}

impl Store {
    /// The folder at `path`. It is made when something is written.
    ///
    /// # Errors
    /// Never natively.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn open(path: &str) -> Result<Self, StoreError> {
        Ok(Self { folder: path.into() })
    }

    /// Names of the folders in a cache, sorted.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn folders(root: &str) -> Result<Vec<String>, StoreError> {
        let names = if_there(list_folder(Path::new(root)))?.unwrap_or_default();
        Ok(names.into_iter().filter(|n| Path::new(root).join(n).is_dir()).collect())
    }

    /// Removes a folder of a cache with all its files.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn forget(root: &str, name: &str) -> Result<(), StoreError> {
        if_there(std::fs::remove_dir_all(Path::new(root).join(name))).map(drop)
    }

    fn at(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}{ending}"))
    }

    /// The folder for one writer alone, until what is given is dropped; none where another one has it.
    ///
    /// # Errors
    /// The folder cannot be made.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn claim(&self) -> Result<Option<Claim>, StoreError> {
        #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
        std::fs::create_dir_all(&self.folder)?;
        let claim = Claim::of_folder(&self.folder)?;
        if claim.is_some() {
            // What a killed program left of a text that may never be written again.
            list_folder(&self.folder)?.iter().for_each(|name| remove_abandoned(&self.folder.join(name)));
        }
        Ok(claim)
    }

    /// Bytes that the cache may still take, where the system tells.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn room(&self) -> Option<u64> {
        None
    }

    /// Bytes of all files, whole or not.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let names = if_there(list_folder(&self.folder))?.unwrap_or_default();
        Ok(names.iter().filter_map(|n| std::fs::metadata(self.folder.join(n)).ok()).map(|m| m.len()).sum())
    }

    /// A small text file.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        let bytes = if_there(read_file(&self.at(name, "")))?;
        Ok(bytes.and_then(|b| String::from_utf8(b).ok()))
    }

    /// Writes a small text file, all or nothing.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn put_text(&self, name: &str, text: &str) -> Result<(), StoreError> {
        Ok(write_file(&self.at(name, ""), text.as_bytes())?)
    }

    /// A whole file.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn file(&self, name: &str) -> Result<Option<Blob>, StoreError> {
        if_there(Blob::open(self.at(name, "")))
    }

    /// Bytes of a file that is not whole yet.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn part_len(&self, name: &str) -> u64 {
        std::fs::metadata(self.at(name, PART)).map_or(0, |m| m.len())
    }

    /// Removes a file, whole or not.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        for ending in ["", PART] {
            if_there(std::fs::remove_file(self.at(name, ending)))?;
        }
        Ok(())
    }

    /// A file to go on with, or a new one. Nobody else can write it at the same time.
    ///
    /// # Errors
    /// As the operating system says; somebody else writes it.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn part(&self, name: &str) -> Result<Part, StoreError> {
        let path = self.at(name, PART);
        #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
        std::fs::create_dir_all(&self.folder)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Other(format!(
                    "{} is being written by another program. Wait for that one",
                    path.display()
                )));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Part { file, len, path, whole: self.at(name, "") })
    }
}

/// A file that is being fetched.
#[derive(Debug)]
pub struct Part {
    file: File,
    len: u64,
    path: PathBuf,
    whole: PathBuf,
}

impl Part {
    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// At most `len` of the bytes that are there, from `start` on.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn read(&mut self, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let len = (self.len - start.min(self.len)).min(len as u64);
        let mut bytes = vec![0; len as usize];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut bytes)?;
        self.file.seek(SeekFrom::Start(self.len))?;
        Ok(bytes)
    }

    /// Appends.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(e) = self.file.write_all(bytes) {
            // A full disk may have taken some of them.
            let _ = self.file.set_len(self.len);
            return Err(e.into());
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins again.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.len = 0;
        Ok(())
    }

    /// Makes sure that the bytes so far are still there after a crash.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn keep(&mut self) -> Result<(), StoreError> {
        Ok(self.file.sync_data()?)
    }

    /// The file is whole: it gets its name.
    #[expect(clippy::unused_async, reason = "the browser's side waits")]
    pub async fn finish(self) -> Result<Blob, StoreError> {
        self.file.sync_all()?;
        drop(self.file);
        #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
        std::fs::rename(&self.path, &self.whole)?;
        Ok(Blob::open(&self.whole)?)
    }
}
