//! Long runs of the program: signals that end them in order, and folders that only one of them writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The file in a run's folder that is locked as long as the run lasts; it has the process's number.
const LOCK: &str = ".hive-run";

/// The number of the signal that came, 0 before.
fn came() -> &'static Arc<AtomicUsize> {
    static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    CAME.get_or_init(Arc::default)
}

/// Time after the first signal in which others are the same one: `timeout` and terminals send it to the program and to its
/// group.
const SAME: Duration = Duration::from_secs(1);

/// From now on the first signal that wants the program to end is only written down, see [`interrupted`]; the second, of
/// whatever kind, ends it at once. Where the system refuses, signals end the program as they always do.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of threads")]
pub fn watch_signals() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    #[cfg(unix)]
    let hangup = Some(signal_hook::consts::SIGHUP);
    #[cfg(not(unix))]
    let hangup = None;
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let second = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // `nohup` keeps the end of a terminal away from what it starts.
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup.filter(|signal| !is_ignored(*signal))) {
            let ready = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(came()), signal as usize));
            if let Err(e) = ready {
                log::warn!("signal {signal} is not watched: {e}");
            }
        }
        // The first signal arms the second, a little later.
        std::thread::spawn(move || {
            while interrupted().is_none() {
                std::thread::sleep(SAME / 10);
            }
            std::thread::sleep(SAME);
            second.store(true, Ordering::Relaxed);
        });
    });
}

/// Was the program started deaf to this signal? It stays so, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = super::read_file(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = String::from_utf8_lossy(&status).lines().find_map(|line| {
        let bits = line.strip_prefix("SigIgn:")?;
        u64::from_str_radix(bits.trim(), 16).ok()
    });
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The signal that wants the program to end, once one came.
#[must_use]
pub fn interrupted() -> Option<u8> {
    u8::try_from(came().load(Ordering::Relaxed)).ok().filter(|n| *n > 0)
}

/// A folder that this program alone writes, until it is dropped or the program ends, however it does.
#[derive(Debug)]
pub struct RunFolder {
    file: Option<File>,
    path: PathBuf,
}

impl RunFolder {
    /// The folder, which is made, tried, and claimed.
    ///
    /// # Errors
    /// Another program has it, which is named; it cannot be written.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn claim(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(LOCK);
        loop {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) if !super::native_partial::is_at(&file, &path) => continue,
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    // Windows lets nobody read what is locked.
                    let _ = file.read_to_string(&mut owner);
                    let owner = owner.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
                    let text = format!("another run{owner} writes to this folder. Wait for it, or choose another one");
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
                }
                // Also where the file system has no locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(std::process::id().to_string().as_bytes())?;
            return Ok(Self { file: Some(file), path });
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if cfg!(windows) {
            self.file = None;
        }
        // What is left behind is no lock: the next run takes it over.
        let _ = std::fs::remove_file(&self.path);
    }
}
