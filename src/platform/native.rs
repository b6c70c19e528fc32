//! Native side of the platform layer: files, processes' clock, blocking.

use std::future::Future;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

/// May this platform block a thread until the GPU is done?
pub const BLOCKING: bool = true;

/// Seconds since the program's first look at the clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of the clock")]
pub fn now_secs() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Runs a future to its end on this thread.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one place that blocks")]
pub fn block_on<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

/// The whole contents of a file.
///
/// # Errors
/// As the operating system says.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Writes a file so that, whatever happens, either the old or the new contents are there: a temporary file beside it,
/// flushed to disk, then renamed.
///
/// # Errors
/// As the operating system says.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn write_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(contents)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&partial, path)
}

/// Names of a folder's entries, sorted.
///
/// # Errors
/// As the operating system says.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn list_folder(path: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> =
        std::fs::read_dir(path)?.filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}
