//! Lessons: their texts, their links, and the panel.

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::lessons::{LESSONS, Place};
use hive::app::panels::lessons::{destinations, lessons_ui};
use hive::app::permalink::{Panel, Permalink};
use hive::data::{Dataset, Split, Tokenizer};
use hive::engine::{Command, Stage, Steps};

use super::common::{Bench, harness, opened};

fn shown(lesson: Option<&str>) -> Harness<'static, Bench> {
    let mut bench = opened();
    bench.state.link.set_open(Panel::Lessons, true);
    lesson.into_iter().for_each(|l| bench.state.lesson = Place::of(l, 0).unwrap());
    let mut h = harness(bench, |ui, s, f, out| lessons_ui(ui, s, &mut f.lessons, out));
    h.run();
    h
}

fn press(h: &mut Harness<'_, Bench>, label: &str) {
    h.get_by_label(label).click();
    h.run();
}

/// Label and destination of every link of a text.
fn links(text: &str) -> Vec<(&str, &str)> {
    let before = |at: &str| text.find(at).and_then(|i| text[..i].rsplit('[').next());
    destinations(text).into_iter().map(|d| (before(&format!("]({d})")).unwrap(), d)).collect()
}

#[test]
fn every_link_of_every_lesson_means_something() {
    for lesson in &LESSONS {
        let found = destinations(lesson.text());
        assert!(found.len() >= 3, "{}: a lesson sets the app up", lesson.name);
        assert_eq!(found.len(), lesson.text().matches("](").count(), "{}: no link leaves the app", lesson.name);
        for text in found {
            let (link, complaints) = Permalink::parse(text);
            assert_eq!(complaints, Vec::<String>::new(), "{text}");
            assert_ne!(link, Permalink::default(), "{text}");
            assert!(link.question.as_ref().is_none_or(|_| link.example.is_some()), "{text}: about which picture?");
        }
    }
}

/// A question that a lesson asks of an example is in the model's words; where it is the example's own question, nothing
/// but the example's number has to be right.
#[test]
fn lessons_ask_in_words_that_the_model_knows() {
    let words = Tokenizer::new(Dataset::Grounds.words()).unwrap();
    for link in LESSONS.iter().flat_map(|l| destinations(l.text())).map(|d| Permalink::parse(d).0) {
        assert_eq!(link.question.map_or(Vec::new(), |q| words.unknown(&q)), [""; 0]);
    }
    // What the texts say about the examples.
    let sample = |index| Dataset::Grounds.text_sample(Split::HeldOut, 0, index, 1);
    for (index, question, answer) in [
        (7, "what is the direction of the rocket ?", "right"),
        (10, "what is it ?", "apple"),
        (11, "is there a butterfly ?", "no"),
        (17, "what is the direction of the thing at the top-right ?", "left"),
    ] {
        let turn = &sample(index).turns[0];
        assert_eq!((turn.question.as_str(), turn.answer.as_str()), (question, answer));
    }
    let scenes: [(u64, usize, &[&str]); 6] = [
        (7, 3, &["penguin at the top-left", "butterfly at the bottom-left", "rocket at the bottom-right"]),
        (10, 1, &["apple at the bottom-right"]),
        (11, 2, &["airplane", "turtle"]),
        (17, 3, &["cat at the top-left on blue level stripes", "airplane at the top-right facing left on purple"]),
        (17, 3, &["elephant at the bottom-right facing left on yellow"]),
        (18, 1, &["rocket"]),
    ];
    for (index, things, told) in scenes {
        let sample = sample(index);
        assert_eq!(sample.things, things, "example {index}");
        told.iter().for_each(|part| assert!(sample.description.contains(part), "{}", sample.description));
    }
}

#[test]
fn lessons_are_short_and_whole() {
    for lesson in &LESSONS {
        assert!(!lesson.title().is_empty() && !lesson.goal().is_empty(), "{}", lesson.name);
        assert!((4..=7).contains(&lesson.sections().len()), "{}", lesson.name);
        let text = lesson.text();
        assert!(text.contains("**Try this.**") && text.contains("**What changed?**"), "{}", lesson.name);
        for (heading, text) in lesson.sections() {
            assert!(!heading.is_empty() && !text.is_empty(), "{}", lesson.name);
            let long = text.split("\n\n").find(|p| p.split_whitespace().count() > 75);
            assert_eq!(long, None, "{}: a paragraph is short", lesson.name);
        }
        let words = lesson.text().split_whitespace().count();
        assert!((300..1300).contains(&words), "{}: {words} words", lesson.name);
    }
}

#[test]
fn a_lesson_is_read_section_by_section() {
    let mut h = shown(None);
    let lesson = &LESSONS[0];
    let sections = lesson.sections();
    press(&mut h, lesson.title());
    assert!(h.query_by_label(sections[0].0).is_some());
    assert!(h.query_by_label(&format!("1 of {}", sections.len())).is_some());
    press(&mut h, "Previous section");
    assert_eq!(h.state().state.lesson.section, 0, "there is nothing before the first");
    press(&mut h, "Next section");
    assert!(h.query_by_label(sections[1].0).is_some() && h.query_by_label(sections[0].0).is_none());
    assert!(h.state().state.announcement.contains(sections[1].0));
    press(&mut h, "Previous section");
    (1..sections.len()).for_each(|_| press(&mut h, "Next section"));
    assert!(h.query_by_label("Next section").is_none());
    press(&mut h, "Finish lesson");
    assert!(h.query_by_label(LESSONS[1].title()).is_some(), "the list is back");
    press(&mut h, "Close lessons");
    assert!(h.query_by_label(LESSONS[1].title()).is_none() && !h.state().state.link.is_open(Panel::Lessons));
}

#[test]
fn what_we_saw_is_shown_on_demand() {
    let lesson = &LESSONS[0];
    let with = lesson.sections().iter().position(|(_, text)| text.contains("### What we saw")).unwrap();
    let mut h = shown(None);
    h.state_mut().state.lesson = Place::of(lesson.name, with).unwrap();
    h.run();
    let labels = |h: &Harness<'_, Bench>| h.query_all_by_label_contains("").count();
    let before = labels(&h);
    press(&mut h, "What we saw");
    assert!(labels(&h) > before);
}

/// A character without a glyph ends a frame with a panic here, and is a box on the screen.
#[test]
fn every_section_can_be_drawn_and_read() {
    let mut h = shown(None);
    for lesson in &LESSONS {
        for (at, (heading, text)) in lesson.sections().into_iter().enumerate() {
            h.state_mut().state.lesson = Place::of(lesson.name, at).unwrap();
            h.run();
            if text.contains("### What we saw") {
                press(&mut h, "What we saw");
            }
            assert!(h.query_by_label(heading).is_some());
        }
    }
}

#[test]
fn a_lesson_fits_into_a_narrow_column() {
    let mut bench = opened();
    bench.state.link.set_open(Panel::Lessons, true);
    bench.state.lesson = Place::of("stages", 2).unwrap();
    let mut h = harness(bench, |ui, s, f, out| {
        ui.set_max_width(320.0);
        lessons_ui(ui, s, &mut f.lessons, out);
    });
    h.run();
    press(&mut h, "What we saw");
    let widest = h.query_all_by_label_contains("").map(|n| n.rect()).filter(|r| r.width() < 1000.0);
    assert!(widest.map(|r| r.right()).fold(0.0, f32::max) < 345.0);
    press(&mut h, "All lessons");
    assert!(h.get_by_label_contains("do not know each other").rect().right() < 345.0);
}

#[test]
fn a_link_in_a_lesson_sets_the_app_up() {
    let mut h = shown(Some("stages"));
    let mut seen = (false, false);
    for (at, (_, text)) in LESSONS[0].sections().into_iter().enumerate() {
        let shown_at_once = text.split("### What we saw").next().unwrap();
        for (label, destination) in links(shown_at_once) {
            let link = Permalink::parse(destination).0;
            h.state_mut().state.lesson = Place::of("stages", at).unwrap();
            h.state_mut().out.clear();
            h.run();
            // A label may stand twice in a section.
            h.query_all_by_label(label).next().unwrap().click();
            h.run();
            let Bench { state, out, .. } = h.state();
            if link.run {
                seen.0 = true;
                let ends = matches!(out.last(), Some(Command::Train(Steps::Stage)));
                let enters = out.iter().any(|c| matches!(c, Command::Enter(s) if Some(*s) == link.stage));
                assert!(ends && (enters || link.stage.is_none()), "{label}: {out:?}");
            }
            if let Some(question) = &link.question {
                seen.1 = true;
                assert_eq!((&state.question, state.wanted_example), (question, link.example));
            }
            assert!(state.link.is_open(Panel::Lessons), "the lesson stays open");
        }
    }
    assert_eq!(seen, (true, true), "there is a link of each kind");
    let opened_pages = h.output().platform_output.commands.len();
    assert_eq!(opened_pages, 0, "no link opens a page");
}

#[test]
fn hidden_or_closed_lessons_draw_nothing() {
    for (hide, open) in [(vec![Control::Lessons], true), (Vec::new(), false)] {
        let mut bench = opened();
        bench.state.link.set_open(Panel::Lessons, open);
        bench.state.link.hide = hide;
        let mut h = harness(bench, |ui, s, f, out| lessons_ui(ui, s, &mut f.lessons, out));
        h.run();
        assert!(h.query_by_label("Lessons").is_none() && h.query_by_label(LESSONS[0].title()).is_none());
    }
    assert!(shown(None).query_by_label(LESSONS[0].title()).is_some());
}

#[test]
fn the_first_lesson_starts_with_stage_one() {
    let all = LESSONS[0].sections();
    let stages: Vec<Stage> =
        all.iter().flat_map(|(_, t)| destinations(t)).filter_map(|d| Permalink::parse(d).0.stage).collect();
    assert_eq!(stages, Stage::ALL, "each stage is started once, in order");
}
