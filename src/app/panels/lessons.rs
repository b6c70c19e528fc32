//! Lessons: Markdown inside the app, a section at a time. Their links of the scheme `hive:` change the state as
//! [`crate::app::permalink::apply_link`] does.

use eframe::egui::{CollapsingHeader, ScrollArea, Ui};
use egui_commonmark::{CommonMarkCache, CommonMarkViewer};

use crate::app::permalink::{Panel, Permalink, apply_link, complain};
use crate::app::{AppState, Control};
use crate::engine::Command;

/// What stands before the part of a section that is shown on demand.
const ANSWER: &str = "### What we saw";
/// Longest line of text, points.
const LINE: f32 = 640.0;

/// A lesson.
pub struct Lesson {
    /// Its name in links.
    pub name: &'static str,
    /// Markdown: a title, what it is for, then sections that begin with `## `.
    pub text: &'static str,
}

/// The lessons, in the order in which they are best taken.
pub const LESSONS: [Lesson; 4] = [
    Lesson { name: "stages", text: include_str!("../../../assets/lessons/stages.md") },
    Lesson { name: "look", text: include_str!("../../../assets/lessons/look.md") },
    Lesson { name: "flatten", text: include_str!("../../../assets/lessons/flatten.md") },
    Lesson { name: "break", text: include_str!("../../../assets/lessons/break.md") },
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

/// Where the `hive:` links of a Markdown text lead.
#[must_use]
pub fn destinations(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](hive:").map(|(at, _)| &text[at + 2..]);
    starts.filter_map(|rest| rest.split_once(')').map(|(link, _)| link)).collect()
}

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    lesson: Option<usize>,
    section: usize,
    cache: CommonMarkCache,
}

impl Form {
    /// Goes to a section of the lesson of that name; where there is none such, nothing happens.
    pub fn open(&mut self, name: &str, section: usize) {
        if let Some(at) = LESSONS.iter().position(|l| l.name == name) {
            self.lesson = Some(at);
            self.section = section.min(LESSONS[at].sections().len().saturating_sub(1));
        }
    }

    /// The lesson in progress; none: the list is shown.
    #[must_use]
    pub fn lesson(&self) -> Option<&'static Lesson> {
        LESSONS.get(self.lesson?)
    }

    /// The section in progress, from 0.
    #[must_use]
    pub fn section(&self) -> usize {
        self.section
    }
}

/// Is the panel to be shown at all?
#[must_use]
pub fn is_open(state: &AppState) -> bool {
    state.shows(Control::Lessons) && state.link.is_open(Panel::Lessons)
}

/// Draws the panel; nothing where lessons are closed or hidden.
pub fn lessons_ui(ui: &mut Ui, state: &mut AppState, out: &mut Vec<Command>) {
    if !is_open(state) {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.heading("Lessons");
        if ui.button("Close lessons").clicked() {
            state.link.set_open(Panel::Lessons, false);
        }
    });
    match state.forms.lessons.lesson() {
        None => list_ui(ui, state),
        Some(lesson) => lesson_ui(ui, state, lesson, out),
    }
}

fn list_ui(ui: &mut Ui, state: &mut AppState) {
    ScrollArea::vertical().id_salt("lesson list").show(ui, |ui| {
        ui.set_max_width(LINE.min(ui.available_width()));
        for lesson in &LESSONS {
            ui.separator();
            if ui.button(lesson.title()).clicked() {
                state.forms.lessons.open(lesson.name, 0);
                announce(state, lesson);
            }
            CommonMarkViewer::new().show(ui, &mut state.forms.lessons.cache, lesson.goal());
        }
    });
}

fn lesson_ui(ui: &mut Ui, state: &mut AppState, lesson: &'static Lesson, out: &mut Vec<Command>) {
    let sections = lesson.sections();
    let at = state.forms.lessons.section;
    let Some((heading, text)) = sections.get(at).copied() else {
        state.forms.lessons.lesson = None;
        return;
    };
    ui.strong(lesson.title());
    navigation_ui(ui, state, lesson, sections.len());
    ui.separator();
    ScrollArea::vertical().id_salt(("lesson", lesson.name, at)).auto_shrink([false, true]).show(ui, |ui| {
        ui.set_max_width(LINE.min(ui.available_width()));
        ui.heading(heading);
        let (before, after) = text.split_once(ANSWER).map_or((text, None), |(b, a)| (b, Some(a)));
        markdown_ui(ui, state, before, out);
        if let Some(answer) = after {
            let title = ANSWER.trim_start_matches("### ");
            CollapsingHeader::new(title).id_salt((lesson.name, at)).show(ui, |ui| markdown_ui(ui, state, answer, out));
        }
    });
}

fn navigation_ui(ui: &mut Ui, state: &mut AppState, lesson: &'static Lesson, sections: usize) {
    let form = &mut state.forms.lessons;
    let before = (form.lesson, form.section);
    ui.horizontal_wrapped(|ui| {
        if ui.button("All lessons").clicked() {
            form.lesson = None;
        }
        let back = eframe::egui::Button::new("Previous section");
        if ui.add_enabled(form.section > 0, back).clicked() {
            form.section -= 1;
        }
        ui.label(format!("{} of {sections}", before.1 + 1));
        if before.1 + 1 < sections {
            if ui.button("Next section").clicked() {
                form.section += 1;
            }
        } else if ui.button("Finish lesson").clicked() {
            form.lesson = None;
        }
    });
    if before != (form.lesson, form.section) && form.lesson.is_some() {
        announce(state, lesson);
    }
}

/// Markdown whose `hive:` links are done here instead of being opened by the browser.
fn markdown_ui(ui: &mut Ui, state: &mut AppState, text: &str, out: &mut Vec<Command>) {
    let cache = &mut state.forms.lessons.cache;
    let links = destinations(text);
    links.iter().for_each(|link| cache.add_link_hook(*link));
    CommonMarkViewer::new().show(ui, cache, text);
    let clicked = links.into_iter().find(|link| cache.get_link_hook(link) == Some(true));
    if let Some(clicked) = clicked {
        follow(state, clicked, out);
    }
}

/// Does what a lesson's link says. The lesson itself stays open.
fn follow(state: &mut AppState, text: &str, out: &mut Vec<Command>) {
    let (link, complaints) = Permalink::parse(text);
    apply_link(state, &link, out);
    complain(state, &complaints);
    state.link.hide.retain(|h| *h != Control::Lessons);
    state.link.set_open(Panel::Lessons, true);
}

fn announce(state: &mut AppState, lesson: &Lesson) {
    let (sections, at) = (lesson.sections(), state.forms.lessons.section);
    if let Some((heading, _)) = sections.get(at) {
        let (title, of) = (lesson.title(), sections.len());
        state.announcement = format!("{title}, {} of {of}: {heading}.", at + 1);
    }
}
