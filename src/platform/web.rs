//! Browser side of the platform layer.

/// The browser's event loop must not be blocked.
pub const BLOCKING: bool = false;

/// Seconds since the page's time origin.
#[must_use]
pub fn now_secs() -> f64 {
    web_sys::window().and_then(|w| w.performance()).map_or(0.0, |p| p.now() * 1e-3)
}
