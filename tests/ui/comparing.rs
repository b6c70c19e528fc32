//! What trains beside the model, how both are compared, and what each depth of the tower knows.

use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use hive::app::Control;
use hive::app::panels::compare::{gap, lines, text};
use hive::app::panels::curves::curves_ui;
use hive::app::panels::series::Choice;
use hive::app::panels::stages::stages_ui;
use hive::app::permalink::{Permalink, Tab};
use hive::app::restore::apply_link;
use hive::engine::{Beside, Command, Cost, Depths, Event, Lane, Share, Stage, StepEvent};

use super::common::{Bench, grounds, harness, opened, scores, step, training};

fn press(h: &mut Harness<'_, Bench>, label: &str) {
    h.get_by_label(label).click();
    h.run();
}

fn asked_for(h: &mut Harness<'_, Bench>) -> Option<Beside> {
    match &std::mem::take(&mut h.state_mut().out)[..] {
        [Command::Open(open)] => open.beside.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_trains_beside_it_is_chosen_from_a_menu() {
    let mut h = harness(grounds(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Compare with");
    assert!(h.query_by_label_contains("links paper").is_none(), "they are in use");
    press(&mut h, "links deep first (4 3 2 1)");
    assert_eq!(asked_for(&mut h), Some(Beside::Links("4,3,2,1".into())));
    assert!(Permalink::of(&h.state().state).to_hash().split('&').any(|part| part == "beside=links%3A4,3,2,1"));
    press(&mut h, "Compare with");
    press(&mut h, "more of stage 2");
    assert_eq!(asked_for(&mut h), Some(Beside::MoreOfStageTwo));
    press(&mut h, "Train more of stage 2 beside it");
    assert_eq!(asked_for(&mut h), None);
    press(&mut h, "Compare with");
    for (typed, reason) in [("9 9", "each at most 5"), ("1,2,3,4", "the same links")] {
        h.get_by_label("own links").set_text_value_accesskit(typed);
        h.run();
        h.get_by_label_contains(reason);
        assert!(h.get_by_label("Use").accesskit_node().is_disabled());
    }
    h.get_by_label("own links").set_text_value_accesskit("2, 2 2,2");
    h.run();
    press(&mut h, "Use");
    assert_eq!(asked_for(&mut h), Some(Beside::Links("2,2,2,2".into())));
}

#[test]
fn links_name_what_trains_beside_it() {
    let applied = |bench: &mut Bench, text: &str| {
        let (link, mut complaints) = Permalink::parse(text);
        apply_link(&mut bench.state, &link, &mut bench.out);
        complaints.extend(bench.state.faults.drain(..).map(|f| f.what));
        let made = std::mem::take(&mut bench.out).pop();
        (made.and_then(|c| if let Command::Open(open) = c { open.beside } else { None }), complaints.join(" "))
    };
    for (text, beside) in [
        ("control=1", Beside::Flattened),
        ("beside=flattened", Beside::Flattened),
        ("beside=links:deep-first", Beside::Links("4,3,2,1".into())),
        ("beside=more-of-stage-2", Beside::MoreOfStageTwo),
    ] {
        assert_eq!(applied(&mut grounds(), text), (Some(beside), String::new()), "{text}");
    }
    for (text, word) in [
        ("beside=ponies&seed=3", "more-of-stage-2"),
        ("beside=links:north&seed=3", "deep-first"),
        ("beside=links:1,2&seed=3", "4 depths such as 1,2,3,4"),
        ("preset=pictures&trained=1&beside=flattened", "Nothing trains beside"),
    ] {
        let (beside, complaints) = applied(&mut grounds(), text);
        assert!(beside.is_none() && complaints.contains(word), "{text}: {complaints}");
    }
    // What was chosen stays where a link names no preset.
    let mut bench = grounds();
    bench.state.beside = Some(Beside::MoreOfStageTwo);
    assert_eq!(applied(&mut bench, "seed=8").0, Some(Beside::MoreOfStageTwo));
}

/// Two lanes of twenty steps, with scores of 34 and 30 of 100 questions at the end.
fn both() -> Bench {
    let mut bench = training(20);
    bench.state.beside = Some(Beside::Links("1,2,3".into()));
    bench.state.log.beside.clone_from(&bench.state.beside);
    for update in 1..=20 {
        bench.tell(step(Lane::Control, Stage::Connector, update));
    }
    bench.tell(scores(Lane::Control, Some(Stage::Connector), 20, 30, 28));
    bench
}

fn curves(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| curves_ui(ui, s, &mut f.curves, out));
    harness.run();
    harness
}

#[test]
fn the_difference_is_a_line_and_a_sentence() {
    let (ahead, chance) = gap(&Share { hits: 90, of: 100 }, &Share { hits: 50, of: 100 });
    assert!((ahead - 0.4).abs() < 1e-9 && (chance - 0.11662).abs() < 1e-4, "{ahead} {chance}");
    assert_eq!(text(&training(20).state.log), None);
    let mut h = curves(both());
    h.get_by_label("links 1 2 3, loss 0.650 · held-out accuracy 0.30 (swapped 0.28)");
    h.get_by_label_contains("HIVE minus links 1 2 3: +0.04 of the answers, uncertain by 0.13 (100 questions each");
    h.get_by_label_contains("chance may do that");
    press(&mut h, "Difference");
    h.get_by_label("plot of loss over optimiser steps, 5 lines");
    press(&mut h, "accuracy");
    h.get_by_label("plot of accuracy over optimiser steps, 7 lines");
    let choice = Choice { tab: Tab::Accuracy, difference: true, ..Choice::default() };
    let all = lines(&h.state().state.log, &choice, 1000);
    let line = all.iter().find(|l| l.name == "HIVE minus links 1 2 3").unwrap();
    assert!(line.points.len() == 1 && (line.points[0][1] - 0.04).abs() < 1e-9, "{line:?}");
    let band: Vec<f64> = all.iter().filter(|l| l.name == "two standard errors").map(|l| l.points[0][1]).collect();
    assert!(band.len() == 2 && (band[0] + band[1] - 0.08).abs() < 1e-9 && band[0] > 0.15, "{band:?}");
}

#[test]
fn costs_of_both_are_compared() {
    let mut bench = both();
    let mut costs = vec![bench.state.costs[0].clone(); 2];
    costs[1] = Cost { lane: Lane::Control, ..costs[1].clone() };
    (costs[1].step.flops, costs[1].step.temporary_bytes) = (3e9, 13 << 20);
    bench.tell(Event::Entered { stage: Stage::Connector, update: 0, costs });
    for lane in Lane::ALL {
        let Event::Step(first) = step(lane, Stage::Connector, 1) else { panic!() };
        // The first step compiles kernels.
        bench.tell(Event::Step(StepEvent { secs: 9.0, ..first }));
        bench.tell(step(lane, Stage::Connector, 2));
    }
    let mut h = curves(bench);
    press(&mut h, "cost");
    h.get_by_label("links 1 2 3");
    assert_eq!(h.query_all_by_label("100 ms").count(), 2);
    h.get_by_label("HIVE takes 0.500 times the arithmetic and 0.500 times the memory of links 1 2 3.");
}

fn found(deep: f64) -> Event {
    let attributes = vec![("name".to_owned(), 0.0625), ("ground".to_owned(), 0.2)];
    let found = Box::new(Depths { attributes, shares: vec![vec![0.1, 1.0], vec![0.95, deep]] });
    Event::Depths { stage: None, update: 0, found }
}

#[test]
fn what_each_depth_knows_is_measured_and_tabled() {
    let mut h = curves(grounds());
    press(&mut h, "depths");
    press(&mut h, "Measure the depths");
    assert!(matches!(h.state().out[..], [Command::MeasureDepths]));
    h.state_mut().tell(Event::Measuring(Some(0.25)));
    h.run_steps(3);
    h.get_by_label_contains("25 % measured");
    h.get_by_label("Stop").click();
    h.run_steps(3);
    assert!(matches!(h.state().out[..], [_, Command::Cancel]));
    h.state_mut().tell(Event::Measuring(None));
    h.state_mut().tell(found(0.2));
    h.run();
    h.get_by_label("before stage 1");
    h.get_by_label("depth 1, ground 0.20, guessed 0.20");
    h.get_by_label("depth 1, layer 1");
    h.get_by_label("depth 0, no link");
    h.state_mut().tell(Event::Entered { stage: Stage::Vision, update: 3, costs: Vec::new() });
    let Event::Depths { found, .. } = found(0.7) else { panic!() };
    h.state_mut().tell(Event::Depths { stage: Some(Stage::Vision), update: 3, found });
    h.run();
    h.get_by_label("depth 1, ground 0.70, guessed 0.20, +0.50 since the first time");
    press(&mut h, "before stage 1");
    h.get_by_label("depth 1, ground 0.20, guessed 0.20");
    let hidden = |control| {
        let mut bench = grounds();
        bench.state.link.hide = vec![control];
        curves(bench)
    };
    assert!(hidden(Control::Depths).query_by_label("depths").is_none());
    let mut none = opened();
    none.state.preset.as_mut().unwrap().data = "shapes".into();
    let mut none = curves(none);
    press(&mut none, "depths");
    none.get_by_label_contains("have no attributes to look for");
}
