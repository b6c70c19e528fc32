//! Folders that are filled beside their place and moved there when they are complete.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::native_partial::{Claim, LOCK, partial_folder};

/// A folder in the making. Dropped before [`Self::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    making: PathBuf,
    /// Held as long as it is filled.
    claim: Option<Claim>,
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
    /// Begins a folder whose place will be `place`. What a killed program left is removed, and what it had moved aside is put
    /// back.
    ///
    /// # Errors
    /// Another program fills a folder for the same place; as the operating system says.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn create(place: &Path) -> io::Result<Self> {
        let making = beside(place, "partial")?;
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let claim = partial_folder(&making)?;
        let aside = beside(place, "old")?;
        if aside.is_dir() {
            if place.exists() { std::fs::remove_dir_all(&aside)? } else { std::fs::rename(&aside, place)? }
        }
        Ok(Self { place: place.to_owned(), making, claim: Some(claim) })
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

    /// Moves everything to its place at once: whatever happens, the folder that was there or the new one is there as a whole.
    /// Files of the old one stay, but for those that the new one has, too, and those for which `stale` holds.
    ///
    /// # Errors
    /// As the operating system says; then the old folder is as it was.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn publish(mut self, stale: &dyn Fn(&str) -> bool) -> io::Result<()> {
        if cfg!(windows) {
            // There no folder is renamed in which a file is open.
            self.claim = None;
            std::fs::remove_file(self.making.join(LOCK))?;
        }
        if !self.place.is_dir() {
            return std::fs::rename(&self.making, &self.place);
        }
        if super::list_folder(&self.place)?.is_empty() {
            // Somebody may be in an empty folder: it is not replaced.
            return fill(&self.making, &self.place);
        }
        carry(&self.place, &self.making, stale)?;
        exchange(&self.making, &self.place)
        // What was there is under the other name now, and goes with it.
    }
}

/// A name for what belongs to `place`, beside it.
fn beside(place: &Path, what: &str) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(place.with_file_name(format!(".{}.hive-{what}", name.to_string_lossy())))
}

/// Moves all entries, config.json among the last: without it no folder is a model.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
fn fill(from: &Path, to: &Path) -> io::Result<()> {
    super::list_folder(from)?.into_iter().rev().try_for_each(|name| std::fs::rename(from.join(&name), to.join(&name)))
}

/// Puts what stays of a folder into the new one as well: by a second name, where the file system has that, else as a copy.
fn carry(old: &Path, new: &Path, stale: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for name in super::list_folder(old)? {
        let (from, to) = (old.join(&name), new.join(&name));
        if from.is_dir() && !from.is_symlink() {
            if to.is_dir() {
                carry(&from, &to, stale)?;
            } else if !to.exists() {
                std::fs::create_dir(&to)?;
                carry(&from, &to, &|_| false)?;
            }
        } else if !to.exists() && !stale(&name) && std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Gives two folders each other's name.
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        // Some file systems cannot.
        if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    exchange_in_steps(new, place)
}

/// The same where the system cannot do it at once: in between nothing is there, and the next attempt puts it back.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
fn exchange_in_steps(new: &Path, place: &Path) -> io::Result<()> {
    let aside = beside(place, "old")?;
    std::fs::rename(place, &aside)?;
    if let Err(e) = std::fs::rename(new, place) {
        std::fs::rename(&aside, place)?;
        return Err(e);
    }
    // A failure leaves it beside the new one, and the next attempt removes it.
    let _ = std::fs::remove_dir_all(&aside);
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

        // In steps, as where the system cannot exchange folders; and after a kill in between.
        for _ in 0..2 {
            write_file(&base.join("new/b"), b"new").unwrap();
            exchange_in_steps(&base.join("new"), &place).unwrap();
            assert_eq!(list_folder(&place).unwrap(), ["b"]);
        }
        #[expect(clippy::disallowed_methods, reason = "what a kill leaves")]
        std::fs::rename(&place, base.join(".model.hive-old")).unwrap();
        drop(NewFolder::create(&place).unwrap());
        assert_eq!((list_folder(&base).unwrap().len(), list_folder(&place).unwrap().len()), (1, 1));
        // Two at once for the same place.
        let first = NewFolder::create(&place).unwrap();
        assert!(NewFolder::create(&place).is_err_and(|e| e.to_string().contains("another program")));
        drop(first);

        assert!(free_bytes(&base.join("no/such/place")).is_none_or(|b| b > 0));
        assert_eq!(real_path(&base.join("model/../new/one")).unwrap(), base.canonicalize().unwrap().join("new/one"));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
