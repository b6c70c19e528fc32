//! The lessons, and the place that somebody has reached in them.

use std::sync::OnceLock;

use crate::engine::figures::{fill, measured};

/// A lesson.
pub struct Lesson {
    /// Its name in links.
    pub name: &'static str,
    /// Its text with paths in the place of figures.
    source: &'static str,
    /// Its text, once somebody wants it.
    filled: OnceLock<String>,
}

/// The lessons, in the order in which they are best taken; last a page for teachers, in the same form.
pub static LESSONS: [Lesson; 6] = [
    Lesson::new("stages", include_str!("../../assets/lessons/stages.md")),
    Lesson::new("depths", include_str!("../../assets/lessons/depths.md")),
    Lesson::new("look", include_str!("../../assets/lessons/look.md")),
    Lesson::new("flatten", include_str!("../../assets/lessons/flatten.md")),
    Lesson::new("break", include_str!("../../assets/lessons/break.md")),
    Lesson::new("teacher", include_str!("../../assets/lessons/teacher.md")),
];

impl Lesson {
    const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, filled: OnceLock::new() }
    }

    /// Markdown: a title, what it is for, then sections that begin with `## `. Measured figures are in it; in the place
    /// of one that is missing stands a sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        self.filled.get_or_init(|| fill(self.source, measured()).0)
    }

    /// Its title.
    #[must_use]
    pub fn title(&self) -> &str {
        self.text().lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// What it is for.
    #[must_use]
    pub fn goal(&self) -> &str {
        let head = self.text().split("\n## ").next().unwrap_or_default();
        head.split_once('\n').map_or("", |(_, goal)| goal.trim())
    }

    /// Its sections: heading and Markdown.
    #[must_use]
    pub fn sections(&self) -> Vec<(&str, &str)> {
        let parts = self.text().split("\n## ").skip(1);
        parts.map(|p| p.split_once('\n').map_or((p.trim(), ""), |(h, text)| (h.trim(), text.trim()))).collect()
    }
}

/// A place in the lessons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which lesson; none: the list is shown.
    pub lesson: Option<usize>,
    /// Its section, from 0.
    pub section: usize,
}

impl Place {
    /// A section of the lesson of that name; none where there is none such.
    #[must_use]
    pub fn of(name: &str, section: usize) -> Option<Self> {
        let at = LESSONS.iter().position(|l| l.name == name)?;
        Some(Self { lesson: Some(at), section: section.min(LESSONS[at].sections().len().saturating_sub(1)) })
    }

    /// The lesson in progress; none: the list is shown.
    #[must_use]
    pub fn lesson(&self) -> Option<&'static Lesson> {
        LESSONS.get(self.lesson?)
    }
}
