//! What the app remembers from one session to the next. The shell reads it with `eframe::get_value` and writes it with
//! `eframe::set_value`, under [`KEY`].

use eframe::egui::{Context, ThemePreference};
use serde::{Deserialize, Serialize};

use super::lessons::Place;
use super::permalink::Permalink;
use super::state::AppState;

/// Name in eframe's storage.
pub const KEY: &str = "prefs";
/// Smallest and largest zoom that is restored: outside them the window could not be used to change it back.
const ZOOM: (f32, f32) = (0.5, 3.0);

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Theme {
    Light,
    Dark,
    /// As the system is.
    #[default]
    System,
}

/// What is remembered. Keys that an older program did not write have their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Prefs {
    pub tour_seen: bool,
    pub theme: Theme,
    /// Size of everything, 1 as designed.
    pub zoom: f32,
    pub lesson: Option<String>,
    pub section: usize,
    /// The link of the last session, as a hash.
    pub link: String,
}

impl Default for Prefs {
    fn default() -> Self {
        Self { tour_seen: false, theme: Theme::System, zoom: 1.0, lesson: None, section: 0, link: String::new() }
    }
}

impl Prefs {
    /// What there is to remember now.
    #[must_use]
    pub fn of(ctx: &Context, state: &AppState, tour_seen: bool) -> Self {
        // What a teacher's link hid is not hidden the next time, and nothing trains before someone asks for it.
        let link = Permalink { hide: Vec::new(), run: false, lesson: None, ..Permalink::of(state) };
        Self {
            tour_seen,
            theme: match ctx.options(|o| o.theme_preference) {
                ThemePreference::Light => Theme::Light,
                ThemePreference::Dark => Theme::Dark,
                ThemePreference::System => Theme::System,
            },
            zoom: ctx.zoom_factor(),
            lesson: state.lesson.lesson().map(|l| l.name.to_owned()),
            section: state.lesson.section,
            link: link.to_hash(),
        }
    }

    /// Restores theme, zoom and the place in the lessons. The tour and what was open are the shell's: see
    /// [`Self::last_link`].
    pub fn apply(&self, ctx: &Context, state: &mut AppState) {
        ctx.set_theme(match self.theme {
            Theme::Light => ThemePreference::Light,
            Theme::Dark => ThemePreference::Dark,
            Theme::System => ThemePreference::System,
        });
        if self.zoom.is_finite() {
            ctx.set_zoom_factor(self.zoom.clamp(ZOOM.0, ZOOM.1));
        }
        if let Some(lesson) = &self.lesson {
            state.lesson = Place::of(lesson, self.section).unwrap_or_default();
        }
    }

    /// What was open in the last session; used where the app was given no link.
    #[must_use]
    pub fn last_link(&self) -> Permalink {
        Permalink::parse(&self.link).0
    }
}
