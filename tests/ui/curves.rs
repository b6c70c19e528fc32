//! Curves, their numbers, and what they are exported to.

use std::collections::BTreeSet;

use eframe::egui::Shape;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::panels::curves::{curves_ui, even_marks, summary};
use hive::app::panels::raster::{HEIGHT, WIDTH};
use hive::app::panels::series::{Choice, csv, decimated, lines, smoothed, stage_starts};
use hive::app::permalink::Tab;
use hive::engine::{Beside, Command, Event, Lane, Stage};

use super::common::{Bench, harness, opened, scores, step, training};

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| curves_ui(ui, s, &mut f.curves, out));
    harness.run();
    harness
}

/// Two stages, both models.
fn both() -> Bench {
    let mut bench = training(20);
    bench.state.beside = Some(Beside::Flattened);
    (1..=20).for_each(|u| bench.tell(step(Lane::Control, Stage::Connector, u)));
    bench.tell(scores(Lane::Control, Some(Stage::Connector), 20, 30, 28));
    bench.tell(Event::Entered { stage: Stage::Adaptation, update: 0, costs: Vec::new() });
    (1..=5).for_each(|u| bench.tell(step(Lane::Hive, Stage::Adaptation, u)));
    bench
}

fn choice(tab: Tab) -> Choice {
    Choice { tab, ..Choice::default() }
}

#[test]
fn the_summary_has_its_fixed_form() {
    assert_eq!(summary(&opened().state), "no training steps yet");
    let bench = training(20);
    assert_eq!(summary(&bench.state), "loss 0.650 · step 20 of 100 · held-out accuracy 0.34 (swapped 0.25)");
    let harness = shown(bench);
    harness.get_by_label("loss 0.650 · step 20 of 100 · held-out accuracy 0.34 (swapped 0.25)");
}

#[test]
fn the_control_has_its_own_numbers() {
    let harness = shown(both());
    harness.get_by_label("flattened control, loss 0.650 · held-out accuracy 0.30 (swapped 0.28)");
}

#[test]
fn stages_begin_where_they_begin() {
    assert_eq!(stage_starts(&both().state.log), [(Stage::Connector, 1.0), (Stage::Adaptation, 21.0)]);
}

#[test]
fn every_tab_has_its_lines() {
    let state = both().state;
    let names = |tab| lines(&state, &choice(tab), 1000).into_iter().map(|l| l.name).collect::<Vec<_>>();
    assert_eq!(names(Tab::Loss), ["HIVE", "HIVE, held-out", "flattened control", "flattened control, held-out"]);
    assert_eq!(
        names(Tab::Accuracy),
        [
            "HIVE, own pictures",
            "HIVE, swapped pictures",
            "flattened control, own pictures",
            "flattened control, swapped pictures"
        ]
    );
    assert_eq!(
        names(Tab::Norms),
        ["HIVE, whole model", "HIVE, link 1", "HIVE, link 2", "HIVE, link 3", "flattened control, whole model"]
    );
    let norms = lines(&state, &choice(Tab::Norms), 1000);
    assert_eq!(norms.iter().map(|l| l.dashed).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert_eq!(names(Tab::Rate), ["HIVE", "flattened control"]);
    let speed = lines(&state, &choice(Tab::Throughput), 1000);
    assert!((speed[0].points[0][1] - 80.0).abs() < 1e-9, "8 samples in 0.1 s");
    assert_eq!(speed[0].points.len(), 25);
    let kinds = BTreeSet::from(["count".to_owned()]);
    let with = lines(&state, &Choice { kinds, ..choice(Tab::Accuracy) }, 1000);
    let count = with.iter().find(|l| l.name == "HIVE, count").unwrap();
    assert_eq!(count.points, [[20.0, 17.0 / 50.0]]);
    assert!(with.iter().find(|l| l.name == "HIVE, swapped pictures").unwrap().dashed);
}

#[test]
fn a_score_before_stage_1_is_a_base_line() {
    let mut bench = opened();
    bench.tell(scores(Lane::Hive, None, 0, 12, 12));
    (1..=4).for_each(|u| bench.tell(step(Lane::Hive, Stage::Connector, u)));
    let all = lines(&bench.state, &choice(Tab::Accuracy), 1000);
    assert_eq!(all.iter().find(|l| l.name == "language model alone").unwrap().points, [[0.0, 0.12], [4.0, 0.12]]);
}

#[test]
fn the_log_scale_plots_logarithms() {
    let state = training(20).state;
    let plain = lines(&state, &choice(Tab::Loss), 1000);
    let log = lines(&state, &Choice { log: true, ..choice(Tab::Loss) }, 1000);
    assert!((plain[0].points[0][1] - 3.5).abs() < 1e-6);
    assert!((log[0].points[0][1] - 3.5_f64.log10()).abs() < 1e-6);
    let mut harness = shown(training(20));
    assert!(!harness.state().forms.curves.choice.log);
    harness.get_by_label("Log scale").click();
    harness.run();
    assert!(harness.state().forms.curves.choice.log);
    harness.get_by_label("accuracy").click();
    harness.run();
    assert!(harness.query_by_label("Log scale").is_none(), "accuracy may be 0, which has no logarithm");
}

#[test]
fn smoothing_keeps_the_raw_line_behind() {
    let mut harness = shown(training(20));
    harness.get_by_label("plot of loss over optimiser steps, 2 lines");
    harness.get_by_label("Smooth").click();
    harness.run();
    harness.get_by_label("plot of loss over optimiser steps, 3 lines");
    let jumps: Vec<[f64; 2]> = (0..100).map(|i| [f64::from(i), f64::from(i % 2)]).collect();
    let smooth = smoothed(&jumps, &[0.0, 41.0]);
    assert_eq!(smooth.len(), 100);
    assert!((smooth[99][1] - 0.5).abs() < 0.06, "{:?}", smooth[99]);
    assert_eq!(smooth[41][1], 1.0, "a stage does not lean on the one before");
    assert!((smooth[40][1] - 0.5).abs() < 0.06);
}

#[test]
fn long_curves_keep_their_spikes_and_ends() {
    let mut points: Vec<[f64; 2]> = (0..8000).map(|i| [f64::from(i), 1.0]).collect();
    points[4321][1] = 9.0;
    points[77][1] = -3.0;
    let few = decimated(points.clone(), 1000);
    assert!(few.len() <= 1000 && few.len() > 500, "{}", few.len());
    assert!(few.contains(&[4321.0, 9.0]) && few.contains(&[77.0, -3.0]));
    assert_eq!((few[0], few[few.len() - 1]), (points[0], points[7999]));
    assert!(few.windows(2).all(|w| w[0][0] < w[1][0]));
}

#[test]
fn new_steps_reach_the_plot() {
    let mut harness = shown(opened());
    harness.get_by_label("Curves appear here once training runs.");
    harness.state_mut().tell(step(Lane::Hive, Stage::Connector, 1));
    harness.run();
    harness.get_by_label("plot of loss over optimiser steps, 1 lines");
}

#[test]
fn the_table_has_every_point_and_score() {
    let state = both().state;
    let text = csv(&state.log);
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
    // 25 and 20 steps; two scores of "all" and two kinds each
    assert_eq!(rows.len(), 1 + 25 + 20 + 2 * 3);
    assert!(rows.iter().all(|r| r.len() == 13), "{rows:?}");
    assert!(rows[0][5].contains("nats per token") && rows[0][8].contains("samples per second"));
    assert_eq!(rows[1][..6], ["step", "HIVE", "1", "1", "1", "3.5"]);
    assert_eq!(rows[25][..5], ["step", "HIVE", "25", "2", "5"]);
    let all = rows.iter().find(|r| r[0] == "score" && r[1] == "flattened control" && r[9] == "all").unwrap();
    assert_eq!(all[10..], ["0.3", "0.28", "100"]);

    let mut harness = shown(both());
    harness.get_by_label("CSV…").click();
    harness.run();
    let (name, bytes) = &harness.state().state.files[0];
    assert_eq!(name, "pictures-curves.csv");
    assert_eq!(std::str::from_utf8(bytes).unwrap(), text);
}

#[test]
fn the_picture_shows_the_curve() {
    let mut harness = shown(both());
    harness.get_by_label("PNG…").click();
    harness.run();
    let (name, bytes) = harness.state().state.files[0].clone();
    assert_eq!(name, "pictures-loss.png");
    let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
    let count = |rgb: [u8; 3]| picture.pixels().filter(|p| p.0 == rgb).count();
    // the lines of both models in their colours on white, and dark text
    assert!(count([0, 105, 170]) > 500 && count([176, 96, 0]) > 200 && count([40, 40, 40]) > 500);
    assert!(count([255; 3]) > (WIDTH * HEIGHT) as usize / 2);
    if let Ok(folder) = std::env::var("HIVE_UI_PICTURES") {
        picture.save(format!("{folder}/curve.png")).unwrap();
    }
}

#[test]
fn costs_are_a_table() {
    let mut harness = shown(training(20));
    harness.get_by_label("cost").click();
    harness.run();
    for text in ["321", "1500 MFLOP", "100 ms", "15.0 GFLOP/s", "30.0 k of 500 k", "3.0 MiB", "5.0 MiB"] {
        harness.get_by_label(text);
    }
}

#[test]
fn scores_can_be_asked_for() {
    let mut harness = shown(training(20));
    harness.get_by_label("accuracy").click();
    harness.run();
    harness.get_by_label("count").click();
    harness.run();
    assert!(harness.state().forms.curves.choice.kinds.contains("count"));
    harness.get_by_label("Score now").click();
    harness.run();
    assert!(matches!(harness.state().out[..], [Command::Evaluate]));
}

#[test]
fn links_can_hide_parts() {
    let hidden = |name: &str| {
        let mut bench = training(20);
        bench.state.link.hide.push(Control::parse(name).unwrap());
        shown(bench)
    };
    assert!(hidden("curves").query_by_label_contains("loss").is_none());
    assert!(hidden("scores").query_by_label("accuracy").is_none());
    assert!(hidden("norms").query_by_label("gradient norm").is_none());
    assert!(hidden("cost").query_by_label("cost").is_none());
    let no_export = hidden("export");
    assert!(no_export.query_by_label("CSV…").is_none() && no_export.query_by_label("PNG…").is_none());
    no_export.get_by_label("accuracy");
}

/// The scores at the end of a stage and at the beginning of the next one stand at the same step.
#[test]
fn two_scores_at_one_step_are_joined_by_a_line() {
    let mut bench = training(20);
    bench.tell(scores(Lane::Hive, Some(Stage::Connector), 20, 60, 58));
    bench.tell(step(Lane::Hive, Stage::Connector, 21));
    bench.tell(scores(Lane::Hive, Some(Stage::Connector), 21, 61, 40));
    bench.state.tab = Tab::Accuracy;
    let h = shown(bench);
    assert!(h.query_by_label("plot of accuracy over optimiser steps, 2 lines").is_some());
    fn filled(shape: &Shape) -> bool {
        match shape {
            Shape::Band(_) => true,
            Shape::Vec(all) => all.iter().any(filled),
            _ => false,
        }
    }
    assert!(!h.output().shapes.iter().any(|clipped| filled(&clipped.shape)));
}

#[test]
fn an_axis_has_a_few_numbers_whatever_its_range() {
    let values = |low, high, least| even_marks((low, high), 7.0, least).iter().map(|m| m.value).collect::<Vec<_>>();
    let near = |found: Vec<f64>, wanted: &[f64]| {
        let same = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(same, "{found:?} instead of {wanted:?}");
    };
    near(values(-0.05, 1.05, 0.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    near(values(-1.2, 3.2, 1.0), &[-1.0, 0.0, 1.0, 2.0, 3.0]);
    near(values(0.0, 1050.0, 1.0), &[0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
    let counts = (1..400).map(|i| even_marks((0.3, 0.3 + 1.07_f64.powi(i - 200)), 7.0, 0.0).len());
    assert!(counts.clone().all(|n| (2..=8).contains(&n)), "{:?}", counts.collect::<Vec<_>>());
    for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
        assert!(even_marks((low, high), 7.0, 0.0).is_empty());
    }
}
