//! Files and links.

use std::sync::Arc;

use egui_kittest::kittest::{NodeT as _, Queryable as _};
use hive::app::Control;
use hive::app::panels::runs::runs_ui;
use hive::engine::{Command, Event};

use crate::common::{Bench, harness, training};

const BUTTONS: [&str; 4] = ["Save run…", "Load run…", "Export model…", "Copy link"];

#[test]
fn runs_are_saved_with_their_curves() {
    let mut h = harness(training(3), runs_ui);
    h.get_by_label("Save run…").click();
    h.run();
    h.get_by_label("Export model…").click();
    h.run();
    let [Command::Save(log), Command::Export] = h.state().out.as_slice() else { panic!("{:?}", h.state().out) };
    assert_eq!(log.hive.len(), 3);
}

#[test]
fn files_and_links_are_asked_of_the_shell() {
    let mut h = harness(training(3), runs_ui);
    h.get_by_label("Load run…").click();
    h.run();
    let form = &h.state().state.forms.runs;
    assert!(form.wants_run && !form.wants_link);
    h.get_by_label("Copy link").click();
    h.run();
    assert!(h.state().state.forms.runs.wants_link);
}

#[test]
fn the_last_file_is_named() {
    let mut h = harness(training(3), runs_ui);
    assert!(h.query_by_label_contains("Last file").is_none());
    h.state_mut().tell(Event::File { name: "pictures.hiverun".into(), bytes: Arc::new(Vec::new()) });
    h.run();
    h.get_by_label("Last file pictures.hiverun");
}

#[test]
fn before_anything_is_open_a_run_can_only_be_loaded() {
    let h = harness(Bench { state: Default::default(), out: Vec::new() }, runs_ui);
    let open: Vec<_> = BUTTONS.into_iter().filter(|b| !h.get_by_label(b).accesskit_node().is_disabled()).collect();
    assert_eq!(open, ["Load run…"]);
}

#[test]
fn teachers_can_hide_it() {
    let mut bench = training(3);
    bench.state.link.hide = vec![Control::Runs];
    let h = harness(bench, runs_ui);
    for button in BUTTONS {
        assert!(h.query_by_label(button).is_none(), "{button}");
    }
}
