//! L7: the window and the page. Panels are functions that draw [`AppState`], edit a form of their own and ask for actions;
//! events of the session and actions change the state once per frame. No lock, no future and no GPU in here.

pub mod access;
pub mod actions;
pub mod chat;
pub mod control;
pub mod fetching;
pub mod files;
pub mod lessons;
pub mod measure;
pub mod panels;
pub mod permalink;
pub mod picture;
pub mod prefs;
pub mod restore;
pub mod shell;
pub mod state;
pub mod theme;

pub use control::Control;
pub use picture::{Origin, Picture};
pub use shell::App;
pub use state::AppState;
