//! Top bar: stages, running, stepping, recipe.

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use hive::app::Control;
use hive::app::panels::stages::stages_ui;
use hive::engine::{Command, Event, Fault, FaultKind, Stage, Steps};

use crate::common::{Bench, harness, opened, training};

/// The commands so far, in short.
fn said(h: &Harness<'_, Bench>) -> Vec<String> {
    let short = |c: &Command| match c {
        Command::Open(o) => format!("open {} seed {} control {}", o.preset.name, o.preset.seed, o.beside.is_some()),
        Command::Recipe(stage, r) => format!("recipe {} steps {} rate {}", stage.number(), r.steps, r.learning_rate),
        other => format!("{other:?}"),
    };
    h.state().out.iter().map(short).collect()
}

fn press(h: &mut Harness<'_, Bench>, label: &str) {
    h.get_by_label(label).click();
    h.run();
}

#[test]
fn run_and_pause() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Start stage 1");
    press(&mut h, "Pause");
    assert_eq!(said(&h), ["Train(Stage)", "Pause"]);
}

#[test]
fn a_failure_gives_the_run_button_back() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Start stage 1");
    let fault = |kind| Fault { kind, what: "It failed.".into(), remedy: "Do this.".into(), detail: String::new() };
    h.state_mut().tell(Event::Fault(fault(FaultKind::DeviceLost)));
    h.run();
    h.get_by_label("Pause");
    h.state_mut().tell(Event::Fault(fault(FaultKind::OutOfMemory)));
    h.run();
    h.get_by_label("Start stage 1");
}

#[test]
fn a_stage_in_progress_runs_on_and_a_done_one_hands_over() {
    let mut bench = training(3);
    bench.tell(Event::Running(None));
    let mut h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Run");
    h.state_mut().tell(Event::Running(None));
    h.state_mut().tell(Event::StageDone(Stage::Connector));
    h.run();
    press(&mut h, "Start stage 2");
    assert_eq!(said(&h), ["Train(Stage)", "Train(Stage)"]);
}

#[test]
fn when_all_is_done_nothing_can_run() {
    let mut bench = training(3);
    for stage in Stage::ALL {
        bench.tell(Event::Entered { stage, update: 0, costs: Vec::new() });
        bench.tell(Event::StageDone(stage));
    }
    bench.tell(Event::Running(None));
    let mut h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Run");
    press(&mut h, "Step");
    h.key_press(Key::Space);
    h.run();
    assert_eq!(said(&h), [] as [String; 0]);
    h.get_by_label("✔ All stages are done.");
}

#[test]
fn steps_are_made_one_and_several_at_a_time() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Step");
    press(&mut h, "Step 10");
    h.get_by_label("Steps at a time").set_value_accesskit(25.0);
    h.run();
    press(&mut h, "Step 25");
    assert_eq!(said(&h), [1, 10, 25].map(|n| format!("{:?}", Command::Train(Steps::Count(n)))));
}

#[test]
fn all_stages_run_in_a_row() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Run all stages");
    assert!(h.state().state.runs_all());
    // The session goes on by itself.
    h.state_mut().tell(Event::StageDone(Stage::Connector));
    assert_eq!(said(&h), ["Train(All)"]);
    h.run();
    press(&mut h, "Pause");
    assert!(!h.state().state.runs_all(), "a pause ends it");
}

#[test]
fn the_stage_in_progress_can_be_made_the_last_while_it_runs() {
    let mut h = harness(training(3), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Run all stages");
    h.state_mut().tell(Event::Running(Some(Steps::All)));
    h.run();
    press(&mut h, "Run all stages");
    assert_eq!(said(&h), ["Train(All)", "Train(Stage)"]);
    assert!(h.state().state.running() && !h.state().state.runs_all());
}

#[test]
fn reset_seed_and_control() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    press(&mut h, "Reset");
    h.get_by_label("Seed").set_value_accesskit(7.0);
    h.run();
    press(&mut h, "Train the flattened control beside it");
    assert_eq!(said(&h), ["Reset", "open pictures seed 7 control false", "open pictures seed 7 control true"]);
}

#[test]
fn stages_show_how_far_they_are() {
    let h = harness(training(40), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label("Stage 1, connector pre-training, 40 of 100");
    h.get_by_label("Stage 2, modality adaptation, 1200 updates");
    let mut bench = training(100);
    bench.tell(Event::StageDone(Stage::Connector));
    let h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label("Stage 1, connector pre-training, done, 100 updates");
}

#[test]
fn a_stage_can_be_skipped_with_a_warning() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label_contains("Stage 3, vision fine-tuning").click();
    h.run();
    assert_eq!(said(&h), ["Enter(Vision)"]);
    assert!(h.query_by_label_contains("skipped").is_none());
    h.state_mut().tell(Event::Entered { stage: Stage::Vision, update: 0, costs: Vec::new() });
    h.run();
    h.get_by_label_contains("Stage 1 skipped: the links are untrained; watch what happens.");
    h.get_by_label_contains("Stage 2 skipped:");
}

#[test]
fn a_stage_that_was_done_or_begun_is_not_called_skipped() {
    let mut bench = training(3);
    bench.tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    let h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label_contains("Stage 1 cut short");
    let mut bench = training(3);
    bench.tell(Event::StageDone(Stage::Connector));
    bench.tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    let h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    assert!(h.query_by_label_contains("cut short").is_none());
}

#[test]
fn a_click_on_the_stage_in_progress_keeps_its_place() {
    let mut h = harness(training(3), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label_contains("Stage 1, ").click();
    h.run();
    assert_eq!(said(&h), [] as [String; 0]);
}

#[test]
fn keys_run_step_and_reset() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.key_press(Key::S);
    h.run();
    h.key_press(Key::Space);
    h.run();
    h.key_press(Key::Space);
    h.run();
    h.key_press(Key::R);
    h.run();
    assert_eq!(said(&h), ["Train(Count(1))", "Train(Stage)", "Pause", "Reset"]);
}

#[test]
fn keys_are_left_to_text_fields() {
    let mut bench = opened();
    bench.forms.stages.recipe.open = true;
    let mut h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    h.get_by_label("Steps").focus();
    h.run();
    for key in [Key::Space, Key::S, Key::R] {
        h.key_press(key);
        h.run();
    }
    assert_eq!(said(&h), [] as [String; 0]);
}

#[test]
fn before_anything_is_open_nothing_can_be_pressed() {
    let mut h = harness(Bench::default(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    for label in ["Start stage 1", "Step", "Reset", "Run all stages"] {
        press(&mut h, label);
    }
    h.key_press(Key::Space);
    h.run();
    assert_eq!(said(&h), [] as [String; 0]);
}

fn type_over(h: &mut Harness<'_, Bench>, label: &str, text: &str) {
    h.get_by_label(label).set_text_value_accesskit(text);
    h.run();
}

#[test]
fn a_recipe_is_checked_and_applied() {
    let mut h = harness(opened(), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    assert!(h.query_by_label("Learning rate").is_none());
    press(&mut h, "Recipe");
    assert!(h.get_by_label("Apply").accesskit_node().is_disabled(), "nothing is changed");
    type_over(&mut h, "Batch", "0");
    h.get_by_label_contains("The preset's stage 1 batch is 0; it must be from 1 to 65536.");
    type_over(&mut h, "Batch", "70000");
    h.get_by_label_contains("The preset's stage 1 batch is 70000; it must be from 1 to 65536.");
    assert!(h.get_by_label("Apply").accesskit_node().is_disabled());
    type_over(&mut h, "Batch", "many");
    h.get_by_label_contains("Batch is \"many\"; it must be a whole number");
    type_over(&mut h, "Batch", "8");
    type_over(&mut h, "Learning rate", "2");
    h.get_by_label_contains("learning_rate is 2; it must be above 0 and at most 1.");
    type_over(&mut h, "Learning rate", "0.01");
    type_over(&mut h, "Steps", "50");
    press(&mut h, "Apply");
    assert_eq!(said(&h), ["recipe 1 steps 50 rate 0.01"]);
    h.get_by_label("Stage 1, connector pre-training, 50 updates");
    press(&mut h, "Preset's own");
    press(&mut h, "Apply");
    assert_eq!(said(&h)[1], "recipe 1 steps 100 rate 0.004");
    // Refused by the session: the old one is shown again.
    type_over(&mut h, "Steps", "60");
    press(&mut h, "Apply");
    h.get_by_label("Stage 1, connector pre-training, 60 updates");
    let old = hive::engine::assets::preset("pictures").unwrap().stage(Stage::Connector).unwrap().clone();
    h.state_mut().tell(Event::Recipe(Stage::Connector, Box::new(old)));
    h.run();
    h.get_by_label("Stage 1, connector pre-training, 100 updates");
}

#[test]
fn a_stage_cannot_be_made_shorter_than_it_is() {
    let mut bench = training(30);
    bench.forms.stages.recipe.open = true;
    let mut h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
    type_over(&mut h, "Steps", "30");
    h.get_by_label_contains("Steps is 30; it must be above the 30 that are made.");
    assert!(h.get_by_label("Apply").accesskit_node().is_disabled());
    type_over(&mut h, "Steps", "31");
    assert!(!h.get_by_label("Apply").accesskit_node().is_disabled());
}

#[test]
fn teachers_can_hide_the_bar() {
    for (control, label) in [
        ("stage-bar", "Stage 2, modality adaptation, 1200 updates"),
        ("run", "Pause"),
        ("run", "Run all stages"),
        ("step", "Step"),
        ("reset", "Reset"),
        ("seed", "Seed"),
        ("control", "Train the flattened control beside it"),
        ("recipe", "Recipe"),
    ] {
        let h = harness(training(3), |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
        assert!(h.query_by_label(label).is_some(), "{label}");
        let mut bench = training(3);
        bench.state.link.hide = vec![Control::parse(control).unwrap()];
        let mut h = harness(bench, |ui, s, f, out| stages_ui(ui, s, &mut f.stages, out));
        assert!(h.query_by_label(label).is_none(), "{label} with {control} hidden");
        let key = match control {
            "run" => Key::Space,
            "step" => Key::S,
            "reset" => Key::R,
            _ => continue,
        };
        h.state_mut().state.steps = (control == "run").then_some(Steps::Stage);
        h.key_press(key);
        h.run();
        assert_eq!(said(&h), [] as [String; 0], "the key of {control}");
    }
}
