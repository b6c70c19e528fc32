//! Lessons: Markdown inside the app, a section at a time. Their links of the scheme `hive:` change the state as
//! [`crate::app::restore::apply_link`] does.

use eframe::egui::{CollapsingHeader, ScrollArea, Ui};
use egui_commonmark::{CommonMarkCache, CommonMarkViewer};

use crate::app::actions::Action;
use crate::app::lessons::{LESSONS, Lesson, Place};
use crate::app::permalink::{Panel, Permalink};
use crate::app::{AppState, Control};

/// What stands before the part of a section that is shown on demand.
const ANSWER: &str = "### What we saw";
/// Longest line of text, points.
const LINE: f32 = 640.0;

/// Where the `hive:` links of a Markdown text lead.
#[must_use]
pub fn destinations(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](hive:").map(|(at, _)| &text[at + 2..]);
    starts.filter_map(|rest| rest.split_once(')').map(|(link, _)| link)).collect()
}

/// What is kept of the texts.
#[derive(Default)]
pub struct Form {
    cache: CommonMarkCache,
}

/// Is the panel to be shown at all?
#[must_use]
pub fn is_open(state: &AppState) -> bool {
    state.shows(Control::Lessons) && state.link.is_open(Panel::Lessons)
}

/// Draws the panel; nothing where lessons are closed or hidden.
pub fn lessons_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !is_open(state) {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.heading("Lessons");
        if ui.button("Close lessons").clicked() {
            out.push(Action::Panel(Panel::Lessons, false));
        }
    });
    match state.lesson.lesson() {
        None => list_ui(ui, form, out),
        Some(lesson) => lesson_ui(ui, lesson, state.lesson, form, out),
    }
}

fn list_ui(ui: &mut Ui, form: &mut Form, out: &mut Vec<Action>) {
    ScrollArea::vertical().id_salt("lesson list").show(ui, |ui| {
        ui.set_max_width(LINE.min(ui.available_width()));
        for (i, lesson) in LESSONS.iter().enumerate() {
            ui.separator();
            if ui.button(lesson.title()).clicked() {
                go(Place { lesson: Some(i), section: 0 }, out);
            }
            CommonMarkViewer::new().show(ui, &mut form.cache, lesson.goal());
        }
    });
}

fn lesson_ui(ui: &mut Ui, lesson: &'static Lesson, place: Place, form: &mut Form, out: &mut Vec<Action>) {
    let (sections, at) = (lesson.sections(), place.section);
    let Some((heading, text)) = sections.get(at).copied() else {
        out.push(Action::Lesson(Place::default()));
        return;
    };
    ui.strong(lesson.title());
    navigation_ui(ui, place, sections.len(), out);
    ui.separator();
    ScrollArea::vertical().id_salt(("lesson", lesson.name, at)).auto_shrink([false, true]).show(ui, |ui| {
        ui.set_max_width(LINE.min(ui.available_width()));
        ui.heading(heading);
        let (before, after) = text.split_once(ANSWER).map_or((text, None), |(b, a)| (b, Some(a)));
        markdown_ui(ui, form, before, out);
        if let Some(answer) = after {
            let title = ANSWER.trim_start_matches("### ");
            CollapsingHeader::new(title).id_salt((lesson.name, at)).show(ui, |ui| markdown_ui(ui, form, answer, out));
        }
    });
}

fn navigation_ui(ui: &mut Ui, place: Place, sections: usize, out: &mut Vec<Action>) {
    let Place { lesson, section } = place;
    ui.horizontal_wrapped(|ui| {
        if ui.button("All lessons").clicked() {
            go(Place { lesson: None, section }, out);
        }
        let back = eframe::egui::Button::new("Previous section");
        if ui.add_enabled(section > 0, back).clicked() {
            go(Place { lesson, section: section - 1 }, out);
        }
        ui.label(format!("{} of {sections}", section + 1));
        if section + 1 < sections {
            if ui.button("Next section").clicked() {
                go(Place { lesson, section: section + 1 }, out);
            }
        } else if ui.button("Finish lesson").clicked() {
            go(Place { lesson: None, section }, out);
        }
    });
}

/// Markdown whose `hive:` links are done here instead of being opened by the browser.
fn markdown_ui(ui: &mut Ui, form: &mut Form, text: &str, out: &mut Vec<Action>) {
    let cache = &mut form.cache;
    let links = destinations(text);
    links.iter().for_each(|link| cache.add_link_hook(*link));
    CommonMarkViewer::new().show(ui, cache, text);
    let clicked = links.into_iter().find(|link| cache.get_link_hook(link) == Some(true));
    if let Some(clicked) = clicked {
        // The lesson itself stays open.
        let (mut link, complaints) = Permalink::parse(clicked);
        link.hide.retain(|control| *control != Control::Lessons);
        out.push(Action::Follow(Box::new(link), complaints));
        out.push(Action::Panel(Panel::Lessons, true));
    }
}

/// Goes to a place and says where that is.
fn go(place: Place, out: &mut Vec<Action>) {
    out.push(Action::Lesson(place));
    if let Some(lesson) = place.lesson() {
        let (sections, at) = (lesson.sections(), place.section);
        if let Some((heading, _)) = sections.get(at) {
            let (title, of) = (lesson.title(), sections.len());
            out.push(Action::Announce(format!("{title}, {} of {of}: {heading}.", at + 1)));
        }
    }
}
