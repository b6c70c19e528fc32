//! The tour, and what is remembered of it.

use eframe::egui::{Key, Rect, pos2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::lessons::Place;
use hive::app::panels::tour::{STEPS, is_shown, tour_ui};
use hive::app::prefs::{Prefs, Theme};
use hive::engine::{Command, Fault, FaultKind, Stage};

use super::common::{Bench, harness, opened, training};

fn shown() -> Harness<'static, Bench> {
    let mut h = harness(opened(), |ui, s, f, out| tour_ui(ui, s, &mut f.tour, out));
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
    assert_eq!(h.state().forms.tour.step(), 0, "there is nothing before the first step");
    press(&mut h, "Next");
    assert!(h.query_by_label(STEPS[1].title).is_some() && h.query_by_label(STEPS[0].title).is_none());
    assert!(h.state().state.announcement.contains(STEPS[1].text), "a screen reader hears the step");
    press(&mut h, "Back");
    assert!(h.query_by_label("1 of 6").is_some());
    (1..STEPS.len()).for_each(|_| press(&mut h, "Next"));
    assert!(h.query_by_label("Next").is_none());
    press(&mut h, "Finish");
    assert!(h.state().forms.tour.seen && h.query_by_label("Skip tour").is_none());
    h.state_mut().forms.tour.restart();
    h.run();
    assert!(h.query_by_label(STEPS[0].title).is_some());
}

#[test]
fn keys_go_on_and_skip() {
    let mut h = shown();
    assert!(h.get_by_label("Next").is_focused());
    h.key_press(Key::Enter);
    h.run();
    assert_eq!(h.state().forms.tour.step(), 1, "one press, one step");
    h.key_press(Key::Escape);
    h.run();
    assert!(h.state().forms.tour.seen);
}

#[test]
fn skipping_is_remembered_and_what_was_seen_is_not_shown() {
    let mut h = shown();
    press(&mut h, "Skip tour");
    let prefs = Prefs::of(&h.ctx, &h.state().state, h.state().forms.tour.seen);
    assert!(prefs.tour_seen);
    let mut later = opened();
    prefs.apply(&h.ctx, &mut later.state);
    later.forms.tour.seen = prefs.tour_seen;
    let mut h = harness(later, |ui, s, f, out| tour_ui(ui, s, &mut f.tour, out));
    h.run();
    assert!(h.query_by_label(STEPS[0].title).is_none() && !is_shown(&h.state().state, &h.state().forms.tour));
}

#[test]
fn links_and_failures_keep_it_away() {
    let mut bench = opened();
    bench.state.link.hide = vec![Control::Tour];
    assert!(!is_shown(&bench.state, &bench.forms.tour));
    let mut bench = opened();
    let fault = |kind| Fault { kind, what: "a".into(), remedy: "b".into(), detail: String::new() };
    bench.state.fault(fault(FaultKind::Other));
    assert!(is_shown(&bench.state, &bench.forms.tour));
    bench.state.fault(fault(FaultKind::NoWebGpu));
    assert!(!is_shown(&bench.state, &bench.forms.tour));
}

#[test]
fn the_stage_step_starts_stage_one_and_the_last_opens_a_lesson() {
    let mut h = shown();
    (0..2).for_each(|_| press(&mut h, "Next"));
    press(&mut h, "Start stage 1 now");
    assert!(matches!(h.state().out[..], [Command::Enter(Stage::Connector), Command::Train(_)]));
    assert_eq!(h.state().forms.tour.step(), 3);
    (0..2).for_each(|_| press(&mut h, "Next"));
    press(&mut h, "Open the first lesson");
    let Bench { state, forms, .. } = h.state();
    assert!(forms.tour.seen && state.lesson.lesson().is_some_and(|l| l.name == "stages"));
    // A run in progress is not started again.
    let mut h = harness(training(1), |ui, s, f, out| tour_ui(ui, s, &mut f.tour, out));
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
        h.state_mut().forms.tour.anchors.insert("data", rect);
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
    bench.state.lesson = Place::of("look", 1).unwrap();
    let ctx = eframe::egui::Context::default();
    let before = Prefs { theme: Theme::Dark, zoom: 1.5, tour_seen: true, ..Prefs::of(&ctx, &bench.state, true) };
    before.apply(&ctx, &mut bench.state);
    frame(&ctx);
    let after = Prefs::of(&ctx, &bench.state, before.tour_seen);
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

/// Storage as eframe has it, in memory.
#[derive(Default)]
struct Memory(std::collections::BTreeMap<String, String>);

impl eframe::Storage for Memory {
    fn get_string(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
    fn set_string(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
    fn remove_string(&mut self, key: &str) {
        self.0.remove(key);
    }
    fn flush(&mut self) {}
}

#[test]
fn what_is_remembered_comes_back_whatever_number_it_has() {
    for zoom in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1.25] {
        let (prefs, mut storage) = (Prefs { zoom, tour_seen: true, ..Prefs::default() }, Memory::default());
        eframe::set_value(&mut storage, hive::app::prefs::KEY, &prefs);
        let back: Prefs = eframe::get_value(&storage, hive::app::prefs::KEY).unwrap();
        assert!(back.tour_seen && back.zoom.total_cmp(&zoom).is_eq(), "{zoom} {}", back.zoom);
        // A zoom in which nothing can be read is not used.
        let ctx = eframe::egui::Context::default();
        back.apply(&ctx, &mut hive::app::AppState::default());
        assert!((0.5..=3.0).contains(&ctx.zoom_factor()), "{zoom}");
    }
}
