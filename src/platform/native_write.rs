//! Folders that are filled beside their place and moved there when they are complete.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A folder in the making. Dropped before [`Self::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    making: PathBuf,
}

/// A file of it, written piece by piece.
#[derive(Debug)]
pub struct NewFile {
    file: File,
}

impl NewFile {
    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// All of it is on the disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl NewFolder {
    /// Begins a folder whose place will be `place`. What an interrupted attempt left behind is removed.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn create(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let making = place.with_file_name(format!(".{}.hive-partial", name.to_string_lossy()));
        if making.is_dir() {
            std::fs::remove_dir_all(&making)?;
        }
        std::fs::create_dir_all(&making)?;
        Ok(Self { place: place.to_owned(), making })
    }

    /// A file; `name` may have folders in it.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn file(&self, name: &str) -> io::Result<NewFile> {
        let path = self.making.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(NewFile { file: File::create(path)? })
    }

    /// Moves everything to its place, as a whole where nothing is yet. Of a folder that is there, files for which `stale`
    /// holds are removed first, and files of the same names are replaced.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn publish(self, stale: &dyn Fn(&str) -> bool) -> io::Result<()> {
        // Somebody may be in an empty folder: it is not replaced either.
        if self.place.is_dir() {
            merge(&self.making, &self.place, stale)
        } else {
            std::fs::rename(&self.making, &self.place)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
fn merge(from: &Path, to: &Path, stale: &dyn Fn(&str) -> bool) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for name in super::list_folder(to)? {
        if stale(&name) && to.join(&name).is_file() {
            std::fs::remove_file(to.join(&name))?;
        }
    }
    // Backwards, so that config.json is among the last: without it no folder is a model.
    for name in super::list_folder(from)?.into_iter().rev() {
        let (old, new) = (from.join(&name), to.join(&name));
        if old.is_dir() {
            merge(&old, &new, stale)?;
        } else {
            std::fs::rename(old, new)?;
        }
    }
    Ok(())
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Moved away, or not needed; a failure leaves files that the next attempt removes.
        let _ = std::fs::remove_dir_all(&self.making);
    }
}

/// The path without links and detours, where there is such a file or folder; of a new one, by its nearest folder that is.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let there = whole.ancestors().find(|p| p.exists()).unwrap_or(&whole);
    let rest = whole.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(if rest.as_os_str().is_empty() { there.canonicalize()? } else { there.canonicalize()?.join(rest) })
}

/// Bytes that can still be written where `path` is or will be, if the system tells.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = std::path::absolute(path).ok()?.ancestors().find(|p| p.exists())?.to_owned();
        let about = rustix::fs::statvfs(&there).ok()?;
        about.f_bavail.checked_mul(about.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{list_folder, read_file, write_file};

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let base = std::env::temp_dir().join(format!("hive-new-folder-{}", std::process::id()));
        let place = base.join("model");
        let fill = |names: &[&str]| {
            let new = NewFolder::create(&place).unwrap();
            for name in names {
                let mut file = new.file(name).unwrap();
                file.write(name.as_bytes()).unwrap();
                file.finish().unwrap();
            }
            new
        };
        drop(fill(&["a"]));
        assert!(!place.exists() && list_folder(&base).unwrap().is_empty());
        fill(&["a", "inner/b"]).publish(&|_| true).unwrap();
        assert_eq!(read_file(&place.join("inner/b")).unwrap(), b"inner/b");
        write_file(&place.join("a"), b"old").unwrap();
        write_file(&place.join("old.weights"), b"old").unwrap();
        write_file(&place.join("notes"), b"mine").unwrap();
        fill(&["a"]).publish(&|name| name.ends_with(".weights")).unwrap();
        assert_eq!(list_folder(&place).unwrap(), ["a", "inner", "notes"]);
        assert_eq!(read_file(&place.join("a")).unwrap(), b"a");
        assert_eq!(list_folder(&base).unwrap(), ["model"]);

        assert!(free_bytes(&base.join("no/such/place")).is_none_or(|b| b > 0));
        assert_eq!(real_path(&base.join("model/../new/one")).unwrap(), base.canonicalize().unwrap().join("new/one"));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
