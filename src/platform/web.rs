//! Browser side of the platform layer.

use std::future::Future;

/// The browser's event loop must not be blocked.
pub const BLOCKING: bool = false;

/// Seconds since the page's time origin.
#[must_use]
pub fn now_secs() -> f64 {
    web_sys::window().and_then(|w| w.performance()).map_or(0.0, |p| p.now() * 1e-3)
}

/// Runs a future as a task of the page's event loop.
pub fn spawn<F: Future<Output = ()> + 'static>(_name: &str, make: impl FnOnce() -> F + 'static) {
    wasm_bindgen_futures::spawn_local(make());
}

/// Lets the page draw and react: a turn of the event loop, not only of the promise queue.
pub async fn yield_now() {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        if let Some(window) = web_sys::window() {
            // The page goes on without the pause if timers do not work.
            let _ = window.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 0);
        }
    });
    let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
}

/// Shows a line to screen readers.
pub fn announce(_line: &str) {}

/// Text of the last panic. A page does not survive one: `index.html` shows it.
#[must_use]
pub fn last_panic() -> String {
    String::new()
}

/// Contents of a file that was dropped on the page.
///
/// # Errors
/// As the browser says.
#[cfg(feature = "gui")]
pub async fn dropped_bytes(file: eframe::egui::DroppedFileHandle) -> Result<Vec<u8>, String> {
    file.bytes_async().await
}
