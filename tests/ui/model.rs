//! The diagram: a box per block, what is frozen, details, wires' ends, many blocks.

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::Origin;
use hive::app::panels::diagram::lock_word;
use hive::app::panels::model::{caption, model_ui};
use hive::engine::{Beside, BlockId, Event, Lane, Outline, Stage, assets};

use super::common::{Bench, harness, opened, pixels, training};

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| model_ui(ui, s, &mut f.model, out));
    harness.run();
    harness
}

fn boxes(harness: &Harness<'_, Bench>) -> usize {
    harness.query_all_by_label_contains("parameters").filter(|n| n.accesskit_node().is_focusable_box()).count()
}

/// Boxes are buttons whose names say how many parameters they have.
trait IsBox {
    fn is_focusable_box(&self) -> bool;
}

impl IsBox for egui_kittest::kittest::AccessKitNode<'_> {
    fn is_focusable_box(&self) -> bool {
        self.role() == eframe::egui::Role::Button
    }
}

use egui_kittest::kittest::NodeT as _;

#[test]
fn there_is_a_box_for_every_block() {
    let harness = shown(opened());
    // picture, 4 blocks and norm; 3 links; embeddings, 3 layers and head
    assert_eq!(boxes(&harness), 6 + 3 + 5);
    for name in
        ["patches and positions, frozen", "tower block 4", "tower norm", "link 3", "decoder layer 3", "norm and head"]
    {
        harness.get_by_label_contains(name);
    }
}

#[test]
fn two_links_are_two_boxes() {
    let mut bench = opened();
    let link = &mut bench.state.preset.as_mut().unwrap().model.link_config;
    (link.vision_layers, link.language_layers) = (vec![0, 3], vec![0, 2]);
    let harness = shown(bench);
    assert_eq!(boxes(&harness), 6 + 2 + 5);
    assert!(harness.query_by_label_contains("link 3").is_none());
}

#[test]
fn the_largest_preset_has_all_its_boxes() {
    let mut bench = opened();
    bench.state.preset = Some(Box::new(assets::preset("hive-siglip-large").unwrap()));
    let harness = shown(bench);
    assert_eq!(boxes(&harness), 26 + 8 + 42);
}

#[test]
fn the_stage_decides_what_is_frozen() {
    let mut harness = shown(training(3));
    // Its image keys and values are still those of the text.
    harness.get_by_label_contains("link 1, partly trained");
    harness.get_by_label_contains("decoder layer 1, frozen");
    harness.get_by_label_contains("tower block 1, frozen");
    harness.get_by_label_contains("stage 1 trains");
    harness.state_mut().tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    harness.run();
    harness.get_by_label_contains("link 1, trained");
    harness.get_by_label_contains("decoder layer 1, trained");
    harness.get_by_label_contains("tower block 1, frozen");
    harness.get_by_label_contains("stage 2 trains");
    harness.state_mut().tell(Event::Entered { stage: Stage::Vision, update: 0, costs: Vec::new() });
    harness.run();
    harness.get_by_label_contains("tower block 1, trained");
    harness.get_by_label_contains("tower norm, frozen");
}

#[test]
fn captions_and_locks_say_what_trains() {
    let mut preset = assets::preset("pictures").unwrap();
    let before = Outline::new(&preset, Lane::Hive, None);
    assert!(caption(&before, None).starts_with("before stage 1 nothing trains; the model has "));
    preset.scope = hive::engine::Scope::Linked;
    let second = Outline::new(&preset, Lane::Hive, Some(Stage::Adaptation));
    let layer = second.decoder.iter().find(|b| b.id == BlockId::Decoder(1)).unwrap();
    assert_eq!(lock_word(layer), "partly trained");
    assert_eq!(lock_word(&second.tower[1]), "frozen");
}

#[test]
fn norms_are_numbers_on_the_boxes_that_train() {
    let mut harness = shown(training(3));
    harness.get_by_label_contains("link 1, partly trained, 64 × 96 keys and values");
    assert!(harness.query_by_label_contains("gradient norm 0.500").is_some());
    assert!(harness.query_by_label_contains("gradient norm 0.125").is_some());
    harness.state_mut().state.link.hide.push(Control::Norms);
    harness.run();
    assert!(harness.query_by_label_contains("gradient norm 0.500").is_none());
}

#[test]
fn pointing_shows_the_formula_and_clicking_keeps_it() {
    let mut harness = shown(training(3));
    assert!(harness.query_by_label_contains("shaders/").is_none());
    harness.get_by_label_contains("link 2, partly trained").hover();
    harness.run();
    harness.get_by_label_contains("gelu(W₁");
    harness.get_by_label_contains("shaders/rope/*.wgsl");
    harness.get_by_label_contains("mm_proj.fc1.weight");
    harness.hover_at(eframe::egui::pos2(1270.0, 790.0));
    harness.run();
    assert!(harness.query_by_label_contains("shaders/").is_none());
    harness.get_by_label_contains("norm and head").click();
    harness.run();
    harness.hover_at(eframe::egui::pos2(1270.0, 790.0));
    harness.run();
    harness.get_by_label_contains("shaders/cross_entropy/*.wgsl");
    assert_eq!(harness.state().forms.model.pinned, Some(BlockId::Head));
    harness.get_by_label_contains("norm and head, frozen").click();
    harness.run();
    assert_eq!(harness.state().forms.model.pinned, None);
}

#[test]
fn the_keyboard_reaches_a_box() {
    let mut harness = shown(training(3));
    harness.get_by_label_contains("token embeddings").focus();
    harness.run();
    harness.get_by_label_contains("shaders/embed/*.wgsl");
    harness.key_press(eframe::egui::Key::Enter);
    harness.run();
    assert_eq!(harness.state().forms.model.pinned, Some(BlockId::Embedding));
}

#[test]
fn every_formula_has_its_letters() {
    let mut bench = training(3);
    bench.state.beside = Some(Beside::Flattened);
    let mut harness = shown(bench);
    let names =
        ["patches and", "tower block 1", "tower norm", "link 1", "token emb", "decoder layer 1", "norm and head"];
    for name in names {
        harness.get_by_label_contains(name).focus();
        harness.run();
        harness.get_by_label_contains("shaders/");
    }
    harness.get_by_label("flattened control").click();
    harness.run();
    for name in ["projector, trained", "decoder layer 2"] {
        harness.get_by_label_contains(name).focus();
        harness.run();
        harness.get_by_label_contains("shaders/");
    }
}

#[test]
fn the_control_has_a_projector() {
    let mut bench = opened();
    bench.state.picture =
        Some(hive::app::Picture { origin: Origin::File("grey".into()), pixels: pixels(), right: None });
    assert!(shown(opened()).query_by_label("flattened control").is_none());
    bench.state.beside = Some(Beside::Flattened);
    let mut harness = shown(bench);
    assert!(harness.query_by_label_contains("projector, ").is_none());
    harness.get_by_label("flattened control").click();
    harness.run();
    harness.get_by_label_contains("projector, frozen");
    assert!(harness.query_by_label_contains("link 1, ").is_none());
}

#[test]
fn a_link_can_hide_it() {
    let mut bench = opened();
    bench.state.link.hide.push(Control::Diagram);
    let harness = shown(bench);
    assert_eq!(boxes(&harness), 0);
}
