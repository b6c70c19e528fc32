//! Native side of the platform layer: files, processes' clock, blocking.

use std::future::Future;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use super::LocalTime;

/// May this platform block a thread until the GPU is done?
pub const BLOCKING: bool = true;

/// Does a pasted picture reach the window?
pub const PASTES_PICTURES: bool = true;

/// Seconds since the program's first look at the clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of the clock")]
pub fn now_secs() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Seconds since 1970 by the system's clock.
#[must_use]
pub fn unix_secs() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// The time of day by the system's clock and zone.
#[must_use]
pub fn local_time() -> LocalTime {
    use chrono::{Datelike as _, Timelike as _};
    let now = chrono::Local::now();
    LocalTime {
        year: now.year().unsigned_abs(),
        month: now.month(),
        day: now.day(),
        hour: now.hour(),
        minute: now.minute(),
        second: now.second(),
        weekday: now.weekday().num_days_from_sunday(),
    }
}

/// Runs a future to its end on this thread.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one place that blocks")]
pub fn block_on<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

/// The whole contents of a file.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Writes a file so that, whatever happens, either the old or the new contents are there: a temporary file beside it,
/// flushed to disk, then renamed. Of several writers at once each has a temporary file of its own, and the last one wins.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn write_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let (mut file, partial) = super::native_partial::partial_file(path)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    // Renamed while it is still locked, so that nobody takes it for abandoned. Windows renames no locked file.
    let locked = (!cfg!(windows)).then_some(file);
    let done = written.and_then(|()| std::fs::rename(&partial, path));
    drop(locked);
    if done.is_err() {
        // A full disk needs the room. If it cannot be removed, the next writer removes it.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

/// Gives a file another name.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// A variable of the environment, trimmed; none where it is not set or empty.
///
/// # Errors
/// It is not Unicode.
pub fn variable(name: &str) -> Result<Option<String>, std::env::VarError> {
    match std::env::var(name) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        value => value.map(|v| Some(v.trim().to_owned()).filter(|v| !v.is_empty())),
    }
}

/// Names of a folder's entries, sorted.
#[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
pub fn list_folder(path: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> =
        std::fs::read_dir(path)?.filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// Names of all files of a folder and those below it, parts divided by `/`, sorted. What is hidden is left out.
pub fn list_tree(path: &Path) -> io::Result<Vec<String>> {
    let mut out = Vec::new();
    for name in list_folder(path)?.into_iter().filter(|name| !name.starts_with('.')) {
        let inner = path.join(&name);
        if inner.is_dir() {
            out.extend(list_tree(&inner)?.into_iter().map(|rest| format!("{name}/{rest}")));
        } else {
            out.push(name);
        }
    }
    Ok(out)
}

/// What tells without reading it that a file is another one: how large it is, and when it was written.
pub fn stamp(path: &Path) -> io::Result<(u64, Option<std::time::SystemTime>)> {
    let known = std::fs::metadata(path)?;
    Ok((known.len(), known.modified().ok()))
}

/// The whole contents of a file that a list or a user names as a picture. A pipe could wait for ever, a device never end.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    match kind {
        _ if kind.is_dir() => Err(io::Error::other("it is a folder")),
        _ if kind.is_file() => read_file(path),
        _ => Err(io::Error::other("it is a pipe or a device, no file")),
    }
}

/// Can photos be taken here? No small library does it on every system.
pub const HAS_CAMERA: bool = false;

/// Shows what the camera sees, in a browser.
pub fn camera() {}

/// Keeps the camera on, in a browser.
pub fn live(_on: bool) {}

/// Asks for what it sees, in a browser.
pub fn live_frame() {}

/// Is there a folder of that name?
#[must_use]
pub fn is_folder(path: &str) -> bool {
    Path::new(path).is_dir()
}

/// Priority of background threads, 0 to 99. The threads of a driver that computes on the processor are started by them and
/// have it too, so that a window stays smooth beside training.
const BACKGROUND: u8 = 20;

/// Runs a future on a thread of its own, of low priority. It is made there, so it need not be able to move between threads.
pub fn spawn<F: Future<Output = ()>>(name: &str, make: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let run = move || {
        let low = thread_priority::ThreadPriorityValue::try_from(BACKGROUND)
            .map(thread_priority::ThreadPriority::Crossplatform);
        // A system that does not allow it runs the thread all the same.
        if let Ok(low) = low {
            let _ = low.set_for_current();
        }
        block_on(make());
    };
    if let Err(e) = thread.spawn(run) {
        log::error!("cannot start the thread {name}: {e}");
    }
}

/// Lets others run. Threads need no help.
pub async fn yield_now() {}

/// Bytes of memory that the process has, where the system tells.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = String::from_utf8(read_file(Path::new("/proc/self/status")).ok()?).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What stands before the hash of a link. A window has no address: the hash alone is what `hive app` takes.
#[must_use]
pub fn page_address() -> String {
    String::new()
}

/// The address of a file beside the page. A window has files nowhere.
#[must_use]
pub fn beside_page(path: &str) -> String {
    path.to_owned()
}

/// The program's version.
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Shows a line to screen readers. A native window has an accessibility tree for that.
pub fn announce(_line: &str) {}

/// Text of the last panic of any thread, empty where there was none; recorded once [`watch_panics`] was called.
#[must_use]
pub fn last_panic() -> String {
    PANIC.lock().map(|text| text.clone()).unwrap_or_default()
}

static PANIC: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

/// Keeps the text of panics for [`last_panic`], beside what the default hook prints.
pub fn watch_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(mut text) = PANIC.lock() {
            *text = info.to_string();
        }
        default(info);
    }));
}

/// A file or a folder that was dropped on the window.
pub type DroppedFile = PathBuf;

/// Its contents.
#[expect(clippy::unused_async, reason = "the browser's side waits")]
pub async fn dropped_bytes(file: &DroppedFile) -> Result<Vec<u8>, String> {
    read_regular(file).map_err(|e| e.to_string())
}

/// Its name, without its folder.
#[must_use]
pub fn dropped_name(file: &DroppedFile) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What stands behind the # of a page's address; there is none here.
#[must_use]
pub fn location_hash() -> String {
    String::new()
}

/// Must the widget tree be mirrored for screen readers? A native window hands it to the system.
pub const MIRRORS_ACCESS: bool = false;

/// Brings the mirror of the widget tree up to date.
pub fn mirror(_change: &super::MirrorChange) {}

/// Listens for clicks on mirrored widgets.
pub fn watch_mirror_clicks(_wake: impl Fn() + 'static) {}

/// Widgets that were clicked in the mirror since the last call.
#[must_use]
pub fn take_mirror_clicks() -> Vec<u64> {
    Vec::new()
}

/// Asks where to save a file, and saves it. Nobody is told when the dialog is cancelled.
#[cfg(feature = "gui")]
pub fn save_as(name: &str, bytes: &std::sync::Arc<Vec<u8>>) -> impl Future<Output = Result<(), String>> + use<> {
    // The dialog is made on the window's own thread, as macOS wants it.
    let dialog = rfd::AsyncFileDialog::new().set_file_name(name).save_file();
    let bytes = std::sync::Arc::clone(bytes);
    async move {
        match dialog.await {
            // Whole or not at all: the dialog's own writing would empty an older file first.
            Some(file) => write_file(file.path(), &bytes).map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }
}

/// A model's files: the name of their folder, and they themselves or why they cannot be had.
pub type ModelFiles = (String, Result<Vec<super::Blob>, String>);

/// The name of a path's last part.
fn last_part(path: &Path) -> String {
    path.file_name().map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
}

fn model_files(path: &Path) -> ModelFiles {
    (last_part(path), super::folder_blobs(path).map_err(|e| e.to_string()))
}

/// Asks for a model's folder; none where the dialog is cancelled.
#[cfg(feature = "gui")]
pub fn pick_model() -> impl Future<Output = Option<ModelFiles>> + use<> {
    // The dialog is made on the window's own thread, as macOS wants it.
    let dialog = rfd::AsyncFileDialog::new().pick_folder();
    async move { dialog.await.map(|folder| model_files(folder.path())) }
}

/// The files of a folder that was dropped on the window; none where it is no folder.
#[must_use]
pub fn dropped_folder(file: &DroppedFile) -> Option<ModelFiles> {
    file.is_dir().then(|| model_files(file))
}

/// A dropped file, to be read piece by piece.
pub fn dropped_blob(file: &DroppedFile) -> Result<super::Blob, String> {
    super::Blob::open(file).map_err(|e| format!("{}: {e}", last_part(file)))
}

/// What files that were dropped together are called: their folder's name.
#[must_use]
pub fn dropped_together(files: &[DroppedFile]) -> String {
    files.iter().find_map(|f| f.parent()).map_or_else(|| "model".to_owned(), last_part)
}
