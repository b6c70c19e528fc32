//! The tour, and what is remembered of it.

use eframe::egui::{Key, Rect, pos2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::panels::tour::{STEPS, is_shown, tour_ui};
use hive::app::prefs::{Prefs, Theme};
use hive::engine::{Command, Fault, FaultKind, Stage};

use super::common::{Bench, harness, opened, training};

fn shown() -> Harness<'static, Bench> {
    let mut h = harness(opened(), tour_ui);
    h.run();
    h
}

fn press(h: &mut Harness<'_, Bench>, label: &str) {
    h.get_by_label(label).click();
    h.run();
}

#[test]
fn it_goes_forward_and_back_and_ends() {
    let mut h = shown();
    assert!(h.query_by_label(STEPS[0].title).is_some());
    press(&mut h, "Back");
    assert_eq!(h.state().state.forms.tour.step(), 0, "there is nothing before the first step");
    press(&mut h, "Next");
    assert!(h.query_by_label(STEPS[1].title).is_some() && h.query_by_label(STEPS[0].title).is_none());
    assert!(h.state().state.announcement.contains(STEPS[1].text), "a screen reader hears the step");
    press(&mut h, "Back");
    assert!(h.query_by_label("1 of 6").is_some());
    (1..STEPS.len()).for_each(|_| press(&mut h, "Next"));
    assert!(h.query_by_label("Next").is_none());
    press(&mut h, "Finish");
    assert!(h.state().state.forms.tour.seen && h.query_by_label("Skip tour").is_none());
    h.state_mut().state.forms.tour.restart();
    h.run();
    assert!(h.query_by_label(STEPS[0].title).is_some());
}

#[test]
fn keys_go_on_and_skip() {
    let mut h = shown();
    assert!(h.get_by_label("Next").is_focused());
    h.key_press(Key::Enter);
    h.run();
    assert_eq!(h.state().state.forms.tour.step(), 1, "one press, one step");
    h.key_press(Key::Escape);
    h.run();
    assert!(h.state().state.forms.tour.seen);
}

#[test]
fn skipping_is_remembered_and_what_was_seen_is_not_shown() {
    let mut h = shown();
    press(&mut h, "Skip tour");
    let prefs = Prefs::of(&h.ctx, &h.state().state);
    assert!(prefs.tour_seen);
    let mut later = opened();
    prefs.apply(&h.ctx, &mut later.state);
    let mut h = harness(later, tour_ui);
    h.run();
    assert!(h.query_by_label(STEPS[0].title).is_none() && !is_shown(&h.state().state));
}

#[test]
fn links_and_failures_keep_it_away() {
    let mut bench = opened();
    bench.state.link.hide = vec![Control::Tour];
    assert!(!is_shown(&bench.state));
    let mut bench = opened();
    let fault = |kind| Fault { kind, what: "a".into(), remedy: "b".into(), detail: String::new() };
    bench.state.fault(fault(FaultKind::Other));
    assert!(is_shown(&bench.state));
    bench.state.fault(fault(FaultKind::NoWebGpu));
    assert!(!is_shown(&bench.state));
}

#[test]
fn the_stage_step_starts_stage_one_and_the_last_opens_a_lesson() {
    let mut h = shown();
    (0..2).for_each(|_| press(&mut h, "Next"));
    press(&mut h, "Start stage 1 now");
    assert!(matches!(h.state().out[..], [Command::Enter(Stage::Connector), Command::Train(_)]));
    assert_eq!(h.state().state.forms.tour.step(), 3);
    (0..2).for_each(|_| press(&mut h, "Next"));
    press(&mut h, "Open the first lesson");
    let state = &h.state().state;
    assert!(state.forms.tour.seen && state.forms.lessons.lesson().is_some_and(|l| l.name == "stages"));
    // A run in progress is not started again.
    let mut h = harness(training(1), tour_ui);
    h.run();
    (0..2).for_each(|_| press(&mut h, "Next"));
    assert!(h.query_by_label("Start stage 1 now").is_none());
}

#[test]
fn the_card_stands_beside_the_column_it_is_about() {
    let mut h = shown();
    let middle = h.get_by_label(STEPS[0].title).rect().center();
    let column = Rect::from_min_max(pos2(0.0, 0.0), pos2(300.0, 800.0));
    let bar = Rect::from_min_max(pos2(0.0, 0.0), pos2(1280.0, 60.0));
    for (rect, clear) in [(column, "right of the column"), (bar, "below the bar")] {
        h.state_mut().state.forms.tour.anchors.insert("data", rect);
        h.run();
        let title = h.get_by_label(STEPS[0].title).rect();
        assert!(title.center() != middle && !title.intersects(rect), "{clear}: {title}");
    }
}

/// A context takes a new zoom at its next frame.
fn frame(ctx: &eframe::egui::Context) {
    ctx.run_ui(Default::default(), |_| {}).textures_delta.clear();
}

#[test]
fn preferences_survive_and_bad_ones_do_no_harm() {
    let mut bench = opened();
    bench.state.link.hide = vec![Control::Seed];
    bench.state.forms.lessons.open("look", 1);
    let ctx = eframe::egui::Context::default();
    let before = Prefs { theme: Theme::Dark, zoom: 1.5, tour_seen: true, ..Prefs::of(&ctx, &bench.state) };
    before.apply(&ctx, &mut bench.state);
    frame(&ctx);
    let after = Prefs::of(&ctx, &bench.state);
    assert_eq!(after, before);
    assert_eq!((after.lesson.as_deref(), after.section), (Some("look"), 1));
    let link = after.last_link();
    assert!(link.preset.as_deref() == Some("pictures") && link.hide.is_empty() && !link.run);

    let old: Prefs = serde_json::from_str(r#"{"tour_seen": true, "theme": "light"}"#).unwrap();
    assert_eq!(old, Prefs { tour_seen: true, theme: Theme::Light, ..Prefs::default() });
    for zoom in [f32::NAN, 0.0, 1e9] {
        Prefs { zoom, lesson: Some("gone".into()), section: 99, ..Prefs::default() }.apply(&ctx, &mut bench.state);
        frame(&ctx);
        assert!((0.5..=3.0).contains(&ctx.zoom_factor()), "{zoom}");
    }
}
