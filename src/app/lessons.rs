//! The lessons, and the place that somebody has reached in them.

/// A lesson.
pub struct Lesson {
    /// Its name in links.
    pub name: &'static str,
    /// Markdown: a title, what it is for, then sections that begin with `## `.
    pub text: &'static str,
}

/// The lessons, in the order in which they are best taken.
pub const LESSONS: [Lesson; 4] = [
    Lesson { name: "stages", text: include_str!("../../assets/lessons/stages.md") },
    Lesson { name: "look", text: include_str!("../../assets/lessons/look.md") },
    Lesson { name: "flatten", text: include_str!("../../assets/lessons/flatten.md") },
    Lesson { name: "break", text: include_str!("../../assets/lessons/break.md") },
];

impl Lesson {
    /// Its title.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// What it is for.
    #[must_use]
    pub fn goal(&self) -> &'static str {
        let head = self.text.split("\n## ").next().unwrap_or_default();
        head.split_once('\n').map_or("", |(_, goal)| goal.trim())
    }

    /// Its sections: heading and Markdown.
    #[must_use]
    pub fn sections(&self) -> Vec<(&'static str, &'static str)> {
        let parts = self.text.split("\n## ").skip(1);
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
