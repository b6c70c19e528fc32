//! L7: the window and the page. Panels are functions of [`AppState`] that return commands; events of the session are applied
//! to the state once per frame. No lock, no future and no GPU in here.

pub mod access;
pub mod chat;
pub mod control;
pub mod fetching;
pub mod files;
pub mod measure;
pub mod panels;
pub mod permalink;
pub mod picture;
pub mod prefs;
pub mod shell;
pub mod state;
pub mod theme;

pub use control::Control;
pub use picture::{Origin, Picture};
pub use shell::App;
pub use state::AppState;
