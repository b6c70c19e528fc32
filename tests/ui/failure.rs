//! Failure cards.

use std::collections::BTreeSet;

use egui_kittest::kittest::Queryable as _;
use hive::app::panels::failure::{failure_ui, title};
use hive::engine::{AdapterKind, AdapterSummary, Command, Event, Fault, FaultKind};

use crate::common::{Bench, harness, opened, opened_event};

const KINDS: [FaultKind; 12] = [
    FaultKind::NoWebGpu,
    FaultKind::NoAdapter,
    FaultKind::SoftwareAdapter,
    FaultKind::InsecureOrigin,
    FaultKind::DeviceLost,
    FaultKind::OutOfMemory,
    FaultKind::NotFinite,
    FaultKind::Panic,
    FaultKind::SelfTest,
    FaultKind::File,
    FaultKind::Download,
    FaultKind::Other,
];

fn fault(kind: FaultKind, remedy: &str) -> Fault {
    Fault { kind, what: format!("It is {kind:?}."), remedy: remedy.to_owned(), detail: "0xdead".to_owned() }
}

fn with(fault: Fault) -> Bench {
    let mut bench = opened();
    bench.tell(Event::Fault(fault));
    bench
}

#[test]
fn every_kind_has_a_title_of_its_own() {
    assert_eq!(KINDS.map(title).into_iter().collect::<BTreeSet<_>>().len(), KINDS.len());
}

#[test]
fn every_kind_says_what_it_is_and_what_to_do_and_goes_when_dismissed() {
    for kind in KINDS {
        let mut h = harness(with(fault(kind, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
        h.get_by_label(title(kind));
        h.get_by_label(&format!("It is {kind:?}."));
        h.get_by_label("Do this.");
        h.get_by_label("Dismiss").click();
        h.run();
        assert!(h.query_by_label(title(kind)).is_none(), "{kind:?}");
        assert!(h.state().state.faults.is_empty());
    }
}

#[test]
fn details_open_on_demand() {
    let mut h =
        harness(with(fault(FaultKind::Panic, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    assert!(h.query_by_label("0xdead").is_none());
    h.get_by_label("Details").click();
    h.run();
    h.get_by_label("0xdead");
}

#[test]
fn trying_again_opens_the_preset_on_an_adapter() {
    let mut h =
        harness(with(fault(FaultKind::NoAdapter, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label("Try again").click();
    h.run();
    let [Command::Adapter(_), Command::Open(open)] = h.state().out.as_slice() else { panic!("{:?}", h.state().out) };
    assert_eq!(open.preset.name, "pictures");
    assert!(h.state().state.faults.is_empty());
    // After a loss, what is open must not be thrown away.
    let mut h =
        harness(with(fault(FaultKind::DeviceLost, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label("Try again").click();
    h.run();
    assert!(matches!(h.state().out.as_slice(), [Command::Adapter(_)]), "{:?}", h.state().out);
    let h = harness(with(fault(FaultKind::File, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    assert!(h.query_by_label("Try again").is_none());
}

#[test]
fn weights_that_did_not_come_are_fetched_again_and_what_is_open_stays() {
    let mut h =
        harness(with(fault(FaultKind::Download, "Do this.")), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label("Try again").click();
    h.run();
    assert!(matches!(h.state().out.as_slice(), [Command::OpenAgain]), "{:?}", h.state().out);
    let mut bench = with(fault(FaultKind::Download, "Do this."));
    bench.tell(opened_event());
    assert!(bench.state.faults.is_empty(), "the card stays although something was opened");
}

#[test]
fn of_many_messages_the_newest_are_shown() {
    let mut bench = opened();
    for kind in &KINDS[..5] {
        bench.tell(Event::Fault(fault(*kind, "Do this.")));
    }
    let h = harness(bench, |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label(title(KINDS[4]));
    assert!(h.query_by_label(title(KINDS[0])).is_none());
    h.get_by_label("2 older messages follow when these are dismissed.");
}

#[test]
fn a_bad_picture_file_gives_a_card() {
    let mut bench = opened();
    bench.take_picture("cat.png", b"no picture");
    let h = harness(bench, |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label("A file cannot be used");
    h.get_by_label("cat.png cannot be read as a picture.");
    h.get_by_label_contains("Use a PNG, JPEG or WebP file");
}

fn software() -> Bench {
    let mut bench = opened();
    let used = AdapterSummary {
        name: "llvmpipe".to_owned(),
        driver: String::new(),
        backend: "Vulkan".to_owned(),
        kind: AdapterKind::Software,
        subgroup: (8, 8),
        features: Vec::new(),
        limits: Vec::new(),
    };
    bench.tell(Event::Adapter { used: Box::new(used), all: Vec::new() });
    bench
}

#[test]
fn a_software_adapter_is_told_once() {
    let notice = "everything works, but a graphics processor is many times faster";
    let mut h = harness(software(), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label_contains(notice);
    h.get_by_label("Understood").click();
    h.run();
    assert!(h.query_by_label_contains(notice).is_none());
    let h = harness(opened(), |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    assert!(h.query_by_label_contains(notice).is_none());
}

#[test]
fn a_failed_self_test_has_one_card_which_later_news_replaces() {
    let wrong = |what: &str| {
        Event::Fault(Fault { what: what.to_owned(), ..fault(FaultKind::SelfTest, "Choose another adapter.") })
    };
    let mut bench = opened();
    bench.tell(wrong("This adapter computes matmul wrong: 1 of 3 cases so far."));
    let mut h = harness(bench, |ui, s, f, out| failure_ui(ui, s, &mut f.failure, out));
    h.get_by_label("The self-test found wrong results");
    h.state_mut().tell(wrong("This adapter computes matmul wrong: 2 of 16 cases so far."));
    h.run();
    assert_eq!(h.state().state.faults.len(), 1);
    h.get_by_label("This adapter computes matmul wrong: 2 of 16 cases so far.");
    h.get_by_label("Test again").click();
    h.run();
    assert!(matches!(h.state().out.as_slice(), [Command::Verify]), "{:?}", h.state().out);
    h.get_by_label("Dismiss").click();
    h.run();
    assert!(h.query_by_label("The self-test found wrong results").is_none());
}
