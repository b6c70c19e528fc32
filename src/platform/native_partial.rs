//! Files and folders in the making: each has a name of its own and is locked as long as it is written, so that what a killed
//! program left is told from what a living one writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Ending of a file in the making.
const PARTIAL: &str = ".partial";
/// On Windows the file that stands for its folder.
pub(super) const LOCK: &str = ".hive-lock";
/// How often a name is tried that others take away.
const TRIES: usize = 20;

/// A lock on a file or a folder: nobody else's, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// Locks a folder that is there; none where another process, or another claim of this one, has it. Where the system
    /// or the file system has no locks, everybody gets one.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn of_folder(folder: &Path) -> io::Result<Option<Self>> {
        let file = lockable(folder)?;
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }
}

/// A folder itself can be locked, also on a disk that cannot be written; on Windows a file in it stands for it.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
fn lockable(folder: &Path) -> io::Result<File> {
    if cfg!(windows) {
        OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK))
    } else {
        File::open(folder)
    }
}

/// A new, locked file beside `path`, which becomes it by a rename. What killed programs left of others is removed.
pub(super) fn partial_file(path: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    remove_abandoned(path);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for _ in 0..TRIES {
        let mut own = name.to_owned();
        own.push(format!(".{}-{}{PARTIAL}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let partial = path.with_file_name(own);
        let file = match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        // Without locks all goes well but the removal of what is abandoned.
        match file.try_lock() {
            // Somebody took it for abandoned before it was locked.
            Err(TryLockError::WouldBlock) => {}
            _ if partial.exists() => return Ok((file, partial)),
            _ => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "other programs write this file all the time"))
}

/// Removes files in the making of `path` that nobody has locked. A failure leaves them.
pub(super) fn remove_abandoned(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let is_own = |n: &str| n.strip_prefix(name).and_then(|rest| rest.strip_suffix(PARTIAL)).is_some_and(is_number);
    for other in super::list_folder(folder).unwrap_or_default().iter().filter(|n| is_own(n)) {
        let place = folder.join(other);
        // Where there are no locks, a living writer cannot be told from a dead one: its file stays.
        let abandoned = OpenOptions::new().write(true).open(&place).is_ok_and(|file| file.try_lock().is_ok());
        if abandoned {
            let _ = std::fs::remove_file(place);
        }
    }
}

/// What stands between name and ending: nothing, as earlier versions had it, or a dot, a process and a number.
fn is_number(text: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    text.is_empty()
        || text.strip_prefix('.').and_then(|t| t.split_once('-')).is_some_and(|(a, b)| digits(a) && digits(b))
}

/// An empty, locked folder at `path`. What a killed program left there is removed first.
///
/// # Errors
/// Somebody else fills it; as the operating system says.
pub(super) fn partial_folder(path: &Path) -> io::Result<Claim> {
    for _ in 0..TRIES {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let Some(_claim) = Claim::of_folder(path)? else {
                    let text = "another program is writing this folder. Wait for it, or choose another place";
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
                };
                std::fs::remove_dir_all(path)?;
                continue;
            }
            Err(e) => return Err(e),
        }
        let claim = match Claim::of_folder(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            claim => claim?,
        };
        // Somebody may have taken it for abandoned before it was locked.
        if let Some(claim) = claim.filter(|c| is_at(&c.0, path)) {
            return Ok(claim);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "other programs write this folder all the time"))
}

/// Is what is open still what has this path?
pub(super) fn is_at(open: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let id = |m: std::fs::Metadata| (m.dev(), m.ino());
        open.metadata().ok().map(id) == std::fs::metadata(path).ok().map(id)
    }
    #[cfg(not(unix))]
    {
        let _ = open;
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{list_folder, write_file};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "makes what killed programs leave")]
    fn writers_share_no_name_and_what_is_abandoned_goes() {
        let base = std::env::temp_dir().join(format!("hive-partial-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let target = base.join("a.json");
        let (living, first) = partial_file(&target).unwrap();
        let (second, other) = partial_file(&target).unwrap();
        assert_ne!(first, other);
        drop(second);
        for left in ["a.json.partial", "a.json.1-2.partial", "b.json.1-2.partial", "a.json.notes.partial"] {
            std::fs::write(base.join(left), b"left").unwrap();
        }
        write_file(&target, b"{}").unwrap();
        let living_name = first.file_name().unwrap().to_str().unwrap();
        let mut expected = vec!["a.json", "a.json.notes.partial", "b.json.1-2.partial", living_name];
        expected.sort_unstable();
        assert_eq!(list_folder(&base).unwrap(), expected);
        drop(living);

        let making = base.join(".model.hive-partial");
        let claim = partial_folder(&making).unwrap();
        assert!(partial_folder(&making).unwrap_err().to_string().contains("another program"));
        drop(claim);
        std::fs::write(making.join("left"), b"left").unwrap();
        let _claim = partial_folder(&making).unwrap();
        assert!(list_folder(&making).unwrap().is_empty());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
