//! Which depth each link reads: orders, lists, wires that are dragged, and links to them.

use eframe::egui::{Modifiers, PointerButton};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use hive::app::Control;
use hive::app::panels::model::model_ui;
use hive::app::permalink::Permalink;
use hive::app::restore::apply_link;
use hive::engine::Command;

use super::common::{Bench, grounds, harness, opened, training};

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| model_ui(ui, s, &mut f.model, out));
    harness.run();
    harness
}

fn choose(h: &mut Harness<'_, Bench>, list: &str, item: &str) {
    h.get_by_label(list).click();
    h.run();
    h.get_by_label(item).click();
    h.run();
}

/// Depths of the model that was asked for, if one was.
fn asked_for(h: &Harness<'_, Bench>) -> Option<Vec<usize>> {
    match &h.state().out[..] {
        [] => None,
        [Command::Open(open)] => Some(open.preset.model.link_config.vision_layers.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_is_chosen_and_used_on_a_click() {
    let mut h = shown(grounds());
    let order = |h: &Harness<'_, Bench>| h.get_by_label("Order of the links").accesskit_node().value();
    assert_eq!(order(&h).as_deref(), Some("paper"));
    choose(&mut h, "Order of the links", "last (4 4 4 4)");
    assert_eq!(order(&h).as_deref(), Some("last"));
    assert_eq!(asked_for(&h), None, "nothing is lost before a click");
    h.get_by_label_contains("Other links start a fresh model");
    h.get_by_label("Start with these links").click();
    h.run();
    assert_eq!(asked_for(&h), Some(vec![4; 4]));
    assert!(h.query_by_label("Start with these links").is_none());
    // The link leads to the same model, and an order goes back to the shipped depths even from there.
    let link = Permalink::of(&h.state().state);
    assert_eq!(link.links.as_deref(), Some("4,4,4,4"));
    choose(&mut h, "Order of the links", "paper (1 2 3 4)");
    h.get_by_label("Keep the links").click();
    h.run();
    assert_eq!(order(&h).as_deref(), Some("last"));
}

#[test]
fn a_link_gets_a_depth_of_its_own() {
    let mut h = shown(grounds());
    choose(&mut h, "Depth for layer 2", "depth 0");
    assert_eq!(h.get_by_label("Order of the links").accesskit_node().value().as_deref(), Some("own"));
    h.get_by_label("Start with these links").click();
    h.run();
    assert_eq!(asked_for(&h), Some(vec![1, 0, 3, 4]));
    let mut late = training(3);
    late.forms.model.links.choose(&late.state.preset.clone().unwrap(), 0, 3);
    shown(late).get_by_label_contains("what was trained here is lost");
}

#[test]
fn a_wire_is_dragged_to_another_depth() {
    let mut h = shown(grounds());
    // The only wire from depth 1 starts in the middle of the box's right side.
    let from = h.get_by_label_contains("tower block 1, ").rect().right_center();
    let to = h.get_by_label_contains("tower block 5, ").rect().right_center();
    h.hover_at(from);
    h.run();
    let button = |pos, pressed| eframe::egui::Event::PointerButton {
        pos,
        button: PointerButton::Primary,
        pressed,
        modifiers: Modifiers::NONE,
    };
    h.event(button(from, true));
    h.run();
    h.hover_at(to);
    h.run();
    h.event(button(to, false));
    h.run();
    h.get_by_label("Start with these links").click();
    h.run();
    assert_eq!(asked_for(&h), Some(vec![5, 2, 3, 4]));
}

#[test]
fn links_stand_in_permalinks_and_wrong_ones_are_named() {
    let applied = |bench: &mut Bench, text: &str| {
        let (link, complaints) = Permalink::parse(text);
        apply_link(&mut bench.state, &link, &mut bench.out);
        let made = std::mem::take(&mut bench.out).pop().map(|c| match c {
            Command::Open(open) => open.preset.model.link_config.vision_layers,
            other => panic!("{other:?}"),
        });
        (made, complaints)
    };
    let mut bench = Bench::default();
    assert_eq!(applied(&mut bench, "preset=grounds&links=deep-first"), (Some(vec![4, 3, 2, 1]), vec![]));
    assert_eq!(applied(&mut grounds(), "links=1,2,3,4"), (None, vec![]), "they are in use");
    let (made, complaints) = applied(&mut bench, "preset=grounds&links=somewhere");
    assert_eq!(made, Some(vec![4, 3, 2, 1]), "the rest of the link is used");
    assert!(complaints[0].contains("somewhere") && complaints[0].contains("deep-first"), "{complaints:?}");
    assert!(bench.state.faults.is_empty());
    for wrong in ["1,2,3", "1,2,3,9"] {
        let mut bench = grounds();
        assert_eq!(applied(&mut bench, &format!("links={wrong}")), (None, vec![]));
        let what = &bench.state.faults[0].what;
        assert!(what.contains(wrong) && what.contains("4 depths such as 1,2,3,4, each at most 5"), "{what}");
    }
    // Links that people chose stay where a link names neither them nor a preset.
    let mut bench = grounds();
    bench.state.preset.as_mut().unwrap().model.link_config.vision_layers = vec![2; 4];
    assert_eq!(applied(&mut bench, "seed=9"), (Some(vec![2; 4]), vec![]));
    assert_eq!(applied(&mut bench, "preset=grounds"), (Some(vec![4, 3, 2, 1]), vec![]));
    assert_eq!(applied(&mut bench, "trained=1&preset=pictures&links=3,2,1").0, Some(vec![1, 2, 3]));
    assert!(bench.state.faults[0].what.contains("keeps the links"), "{:?}", bench.state.faults);
}

#[test]
fn teachers_can_hide_them() {
    let mut bench = grounds();
    bench.state.link.hide = vec![Control::Links];
    assert!(shown(bench).query_by_label("Order of the links").is_none());
    shown(opened()).get_by_label("Order of the links");
}
