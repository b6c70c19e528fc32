//! Bottom bar.

use egui_kittest::kittest::{NodeT as _, Queryable as _};
use hive::app::Control;
use hive::app::panels::status::status_ui;
use hive::app::panels::weights::weights_ui;
use hive::engine::{AdapterKind, AdapterSummary, Command, Event, Fetching, Figure, SelfTest};

use crate::common::{Bench, harness, opened};

fn adapter(name: &str, kind: AdapterKind) -> AdapterSummary {
    AdapterSummary {
        name: name.to_owned(),
        driver: "1.0".to_owned(),
        backend: "Vulkan".to_owned(),
        kind,
        subgroup: (8, 8),
        features: vec!["timestamps"],
        limits: vec![("buffer, bytes", 1 << 30)],
    }
}

fn on(all: &[AdapterSummary]) -> Bench {
    let mut bench = opened();
    bench.tell(Event::Adapter { used: Box::new(all[0].clone()), all: all.to_vec() });
    bench
}

fn wrong() -> SelfTest {
    SelfTest { done: 3, of: 16, wrong: vec![("matmul 17x3".into(), "0.2 off".into())], secs: 0.5 }
}

#[test]
fn the_adapter_is_named_with_its_kind() {
    let h = harness(on(&[adapter("llvmpipe", AdapterKind::Software)]), |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("llvmpipe (software adapter)");
    let h = harness(on(&[adapter("Iris Xe", AdapterKind::Hardware)]), |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("Iris Xe (graphics processor)");
}

#[test]
fn another_adapter_can_be_chosen() {
    let all = [adapter("Iris Xe", AdapterKind::Hardware), adapter("llvmpipe", AdapterKind::Software)];
    let mut h = harness(on(&all), |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("Adapter").click();
    h.run();
    h.get_by_label("llvmpipe (software adapter, Vulkan)").click();
    h.run();
    let [Command::Adapter(options)] = h.state().out.as_slice() else { panic!("{:?}", h.state().out) };
    assert_eq!(options.adapter.as_deref(), Some("llvmpipe"));
}

#[test]
fn the_self_test_counts_and_passes() {
    let mut bench = on(&[adapter("Iris Xe", AdapterKind::Hardware)]);
    bench.tell(Event::SelfTest(SelfTest { done: 12, of: 16, wrong: Vec::new(), secs: 0.9 }));
    let mut h = harness(bench, |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("self-test 12/16");
    assert!(h.get_by_label("Run the full self-test").accesskit_node().is_disabled());
    h.state_mut().tell(Event::SelfTest(SelfTest { done: 16, of: 16, wrong: Vec::new(), secs: 1.23 }));
    h.run();
    h.get_by_label("✔ self-test passed (16 cases, 1.2 s)");
    h.get_by_label("Run the full self-test").click();
    h.run();
    assert!(matches!(h.state().out.as_slice(), [Command::Verify]), "{:?}", h.state().out);
}

#[test]
fn a_failed_self_test_names_the_operation() {
    let mut bench = on(&[adapter("Iris Xe", AdapterKind::Hardware)]);
    bench.tell(Event::SelfTest(wrong()));
    let h = harness(bench, |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("⚠ self-test failed: matmul");
}

#[test]
fn memory_frames_and_what_takes_time_are_told() {
    let mut bench = opened();
    bench.tell(Event::Figure(Figure::Memory, f64::from(3 << 19)));
    bench.state.frames = (1..=100).map(|ms| ms as f32 * 1e-3).collect();
    bench.tell(Event::Busy { what: "compiling gelu/forward".into(), done: 0, of: 0 });
    let mut h = harness(bench, |ui, s, _, out| status_ui(ui, s, out));
    h.get_by_label("1.5 MiB of GPU memory");
    h.get_by_label("frame 51 ms, 95 % below 96 ms");
    h.get_by_label_contains("compiling gelu/forward");
    h.state_mut().tell(Event::Busy { what: "saving".into(), done: 3, of: 4 });
    h.run();
    assert_eq!(h.get_by_label("saving 3/4").accesskit_node().numeric_value(), Some(75.0));
    h.state_mut().tell(Event::Busy { what: String::new(), done: 0, of: 0 });
    h.run();
    assert!(h.query_by_label_contains("saving").is_none());
}

#[test]
fn weights_on_their_way_are_told_in_megabytes() {
    let mut bench = opened();
    let part = |done| Event::Fetching(Some(Fetching { name: "shapes-start".into(), done, of: 1_200_000 }));
    bench.tell(part(0));
    assert_eq!(bench.state.announcement, "Fetching the weights shapes-start, 1.2 MB.");
    bench.state.announcement.clear();
    bench.tell(part(480_000));
    assert_eq!(bench.state.announcement, "", "every piece is announced");
    let mut h = harness(bench, |ui, s, _, _| weights_ui(ui, s));
    let bar = h.get_by_label("Fetching the weights shapes-start, 0.5 of 1.2 MB");
    assert_eq!(bar.accesskit_node().numeric_value(), Some(40.0));
    h.state_mut().tell(Event::Fetching(None));
    h.run();
    assert!(h.query_by_label_contains("Fetching").is_none());
}

#[test]
fn teachers_can_hide_the_bar() {
    for (control, label) in [
        ("adapter", "llvmpipe (software adapter)"),
        ("self-test", "Run the full self-test"),
        ("status", "0.0 MiB of GPU memory"),
    ] {
        let mut bench = on(&[adapter("llvmpipe", AdapterKind::Software)]);
        bench.tell(Event::Figure(Figure::Memory, 0.0));
        let h = harness(std::mem::take(&mut bench), |ui, s, _, out| status_ui(ui, s, out));
        assert!(h.query_by_label(label).is_some(), "{label}");
        let mut bench = on(&[adapter("llvmpipe", AdapterKind::Software)]);
        bench.tell(Event::Figure(Figure::Memory, 0.0));
        bench.state.link.hide = vec![Control::parse(control).unwrap()];
        let h = harness(bench, |ui, s, _, out| status_ui(ui, s, out));
        assert!(h.query_by_label(label).is_none(), "{label} with {control} hidden");
    }
}
