//! Where the text looks: tokens, layers, heads, patches, replay, exports.

use std::sync::Arc;

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::panels::attention::{attention_ui, map_json, mass, mass_text, strongest, strongest_text};
use hive::app::panels::heatmap::{PNG_SIDE, Shown};
use hive::app::{Origin, Picture};
use hive::engine::{Answer, AttentionMaps, Event, Lane, Stage};

use super::common::{Bench, harness, maps, opened, pixels, step};

/// The values of `maps()` by hand: layer 0 (or 1), both heads' mean, of a token.
fn mean(layer: usize, token: usize) -> Vec<f32> {
    let value = |head: usize, patch: usize| {
        let i = ((layer * 2 + head) * 3 + token) * 4 + patch;
        (i as f32 * 0.37).fract() * 0.25
    };
    (0..4).map(|p| (value(0, p) + value(1, p)) / 2.0).collect()
}

fn bench() -> Bench {
    let mut bench = opened();
    bench.state.picture = Some(Picture { origin: Origin::File("grey".into()), pixels: pixels(), right: None });
    bench.state.asked.id = 1;
    bench.tell(Event::Answered(Box::new(Answer {
        id: 1,
        words: Vec::new(),
        probability: 1.0,
        probes: Vec::new(),
        maps: Some(Arc::new(maps())),
        unknown: Vec::new(),
    })));
    bench
}

/// With three kept maps, of steps 1 to 3; the map of step n is that of `maps()` over n.
fn replay(mut bench: Bench) -> Bench {
    for n in 1..=3 {
        bench.tell(step(Lane::Hive, Stage::Connector, n));
        let kept = AttentionMaps { values: maps().values.iter().map(|v| v / n as f32).collect(), ..maps() };
        bench.tell(Event::Snapshot { stage: Some(Stage::Connector), update: n, maps: Arc::new(kept) });
    }
    bench
}

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| attention_ui(ui, s, &mut f.attention, out));
    harness.run();
    harness
}

#[test]
fn numbers_of_a_map() {
    let map = [0.1, 0.05, 0.2, 0.06];
    assert!((mass(&map) - 0.41).abs() < 1e-6);
    assert_eq!(strongest(&map, 2), Some((2, 1, 0.2)));
    assert_eq!(mass_text(&map), "41 % of the attention went to the picture, the rest to the text");
    assert_eq!(strongest_text(&map, 2), "strongest patch row 2, column 1, 20 %");
    assert_eq!(strongest(&[], 0), None);
}

#[test]
fn without_an_answer_it_says_what_to_do() {
    shown(opened()).get_by_label_contains("Ask a question");
}

#[test]
fn it_begins_with_the_row_that_wrote_the_first_word() {
    let harness = shown(bench());
    harness.get_by_label(&mass_text(&mean(0, 1)));
    harness.get_by_label(&strongest_text(&mean(0, 1), 2));
    harness.get_by_label_contains("Here ? looks, to write dog.");
}

#[test]
fn tokens_layers_and_heads_choose_the_map() {
    let mut harness = shown(bench());
    harness.get_by_label("token 1 what").click();
    harness.run();
    assert_ne!(mass_text(&mean(0, 0)), mass_text(&mean(0, 1)));
    harness.get_by_label(&mass_text(&mean(0, 0)));
    harness.get_by_label("token 3 dog").click();
    harness.run();
    harness.get_by_label_contains("Here dog looks, to write the end of the answer.");
    harness.get_by_label("layer 1 reads depth 1, after tower block 1");
    harness.get_by_label("layer 3").click();
    harness.run();
    harness.get_by_label("layer 3 reads depth 3, after tower block 3");
    harness.get_by_label(&strongest_text(&mean(1, 2), 2));
    harness.get_by_label("head 2").click();
    harness.run();
    harness.get_by_label(&strongest_text(&maps().map(1, Some(1), 2), 2));
    harness.get_by_label("mean of heads").click();
    harness.run();
    harness.get_by_label(&strongest_text(&mean(1, 2), 2));
}

#[test]
fn patches_have_names_and_the_pointer_and_the_keys_reach_them() {
    let mut harness = shown(bench());
    let names: Vec<String> = (0..4).map(|i| format!("patch row {}, column {}, ", i / 2 + 1, i % 2 + 1)).collect();
    let cells = |harness: &Harness<'_, Bench>, name: &str| harness.query_all_by_label_contains(name).count();
    assert!(names.iter().all(|n| cells(&harness, n) == 1 + usize::from(strongest_text(&mean(0, 1), 2).contains(n))));
    let patch = harness.query_all_by_label_contains(&names[1]).next().unwrap().rect().center();
    harness.hover_at(patch);
    harness.run();
    assert_eq!(harness.state().forms.attention.patch, Some(1));
    harness.hover_at(eframe::egui::pos2(1270.0, 790.0));
    harness.get_by_label_contains("attention map, 2 by 2 patches").focus();
    harness.run();
    harness.run();
    harness.key_press(Key::ArrowDown);
    harness.run();
    assert_eq!(harness.state().forms.attention.patch, Some(3));
    harness.key_press(Key::ArrowLeft);
    harness.run();
    assert_eq!(harness.state().forms.attention.patch, Some(2));
    harness.get_by_label_contains("attention map, 2 by 2 patches, patch row 2, column 1");
}

#[test]
fn the_replay_goes_through_the_steps() {
    let mut harness = shown(replay(bench()));
    assert!(harness.query_by_label_contains("map 1 of 3").is_none());
    harness.get_by_label("replay of the pinned question").click();
    harness.run();
    harness.get_by_label("step 1, map 1 of 3");
    // Kept maps are rounded to a 255th of their largest value.
    let kept = |harness: &Harness<'_, Bench>, i: usize| {
        let map = harness.state().state.log.snapshots.get(i).unwrap().1.map(0, None, 1);
        assert!((mass(&map) - mass(&mean(0, 1)) / (i + 1) as f32).abs() < 0.01);
        mass_text(&map)
    };
    let (first, second) = (kept(&harness, 0), kept(&harness, 1));
    assert_ne!(first, second);
    harness.get_by_label(&first);
    harness.get_by_label("Replay").focus();
    harness.run();
    harness.key_press(Key::ArrowRight);
    harness.run();
    harness.get_by_label("step 2, map 2 of 3");
    harness.get_by_label(&second);
    harness.get_by_label("last answer").click();
    harness.run();
    harness.get_by_label(&mass_text(&mean(0, 1)));
}

#[test]
fn play_runs_to_the_end_and_stops() {
    let mut bench = replay(bench());
    bench.state.asked.answer = None;
    let mut harness = shown(bench);
    harness.get_by_label("step 1, map 1 of 3");
    harness.get_by_label("Play").click();
    harness.run();
    for _ in 0..6 {
        harness.step();
    }
    harness.get_by_label("step 3, map 3 of 3");
    harness.get_by_label("Play");
    assert!(!harness.state().forms.attention.playing);
}

#[test]
fn maps_can_be_saved() {
    let mut harness = shown(bench());
    harness.get_by_label("Map as PNG…").click();
    harness.run();
    harness.get_by_label("Map as JSON…").click();
    harness.run();
    let files = &harness.state().state.files;
    assert_eq!(files.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["attention.png", "attention.json"]);
    let picture = image::load_from_memory(&files[0].1).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (PNG_SIDE, PNG_SIDE));
    let at =
        |x: u32, y: u32| picture.get_pixel(PNG_SIDE / 4 * x, PNG_SIDE / 4 * y).0.map(u32::from).iter().sum::<u32>();
    let (row, column, _) = strongest(&mean(0, 1), 2).unwrap();
    let best = at(column as u32 * 2 - 1, row as u32 * 2 - 1);
    let corners = [(1, 1), (3, 1), (1, 3), (3, 3)];
    assert!(corners.iter().all(|(x, y)| at(*x, *y) <= best), "the strongest patch is the brightest");
    assert!(corners.iter().any(|(x, y)| at(*x, *y) < best));
    let json: serde_json::Value = serde_json::from_slice(&files[1].1).unwrap();
    assert_eq!(
        (json["token"].as_u64(), json["decoder_layer"].as_u64(), json["side"].as_u64()),
        (Some(1), Some(0), Some(2))
    );
    assert_eq!(json["patches"].as_array().unwrap().len(), 4);
    let shown = Shown { map: &mean(1, 0), token: 0, layer: 1, head: Some(1), step: Some(9) };
    let json: serde_json::Value = serde_json::from_str(&map_json(&maps(), &shown)).unwrap();
    assert_eq!(
        (json["decoder_layer"].as_u64(), json["head"].as_u64(), json["step"].as_u64()),
        (Some(2), Some(1), Some(9))
    );
}

#[test]
fn links_can_hide_parts() {
    let mut hidden = bench();
    hidden.state.link.hide.push(Control::Attention);
    assert!(shown(hidden).query_by_label("Where it looks").is_none());
    let mut hidden = replay(bench());
    hidden.state.link.hide.extend([Control::Replay, Control::Export]);
    let harness = shown(hidden);
    assert!(harness.query_by_label("replay of the pinned question").is_none());
    assert!(harness.query_by_label("Map as PNG…").is_none());
    harness.get_by_label("layer 1");
}
