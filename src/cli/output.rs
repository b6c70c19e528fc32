//! Standard output and standard error.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);
static KEPT_OPEN: AtomicBool = AtomicBool::new(false);

/// Writes to standard output; a closed pipe ends the program quietly, as it does other tools, unless there is something to
/// save first.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        if !KEPT_OPEN.load(Ordering::Relaxed) {
            std::process::exit(0);
        }
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// From now on a closed pipe does not end the program: the caller asks [`is_closed`].
pub(super) fn outlive_readers() {
    KEPT_OPEN.store(true, Ordering::Relaxed);
}

/// Did nobody take what was said?
pub(super) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes to standard error.
pub(super) fn warn(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
