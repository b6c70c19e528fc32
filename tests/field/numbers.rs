//! Numbers that are none: training stops at the first, what was saved before stays, and every file that is written can be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use hive::engine::runfile::RunFile;
use hive::engine::{
    Beside, BlockId, Command, Depths, DepthsPoint, Event, FaultKind, GpuOptions, Lane, Open, Point, Preset, RunLog,
    ScorePoint, Scores, Stage, Steps, assets,
};
use hive::model::weights::Precision;
use hive::train::checkpoint::Checkpoint;
use hive::train::evaluate::Label;
use hive::train::study::{Judged, Outcome, Row, Settings, StepCost};

use super::session::Driver;
use crate::common::program::{adapter, folder, hive, start, text};
use crate::common::{preset, start_file};

/// What JSON has no word for, and what it may lose.
const ODD: [f64; 5] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1];

/// `hive train` from drawn weights, saved after every step.
fn train(out: &std::path::Path, more: &[&str]) -> crate::common::program::Said {
    let start = text(start());
    let words =
        ["train", "--preset", "tiny", "--stage", "1", "--questions", "2", "--save-every", "1", "--start", start];
    hive(&[&words[..], &["--out", text(out)], more].concat())
}

#[test]
fn a_step_that_is_no_number_stops_the_run_and_leaves_the_last_good_file() {
    if !adapter() {
        return;
    }
    let lost = ["step ", " of stage 1: the ", "no finite number", "weight", "smaller learning_rate"];
    // At once: there is no file yet.
    for set in ["init.qk_gain=1e30", "model.text_config.rms_norm_eps=-1"] {
        let out = folder("numbers-at-once");
        train(&out, &["--set", set]).code(1).complains(&lost).complains(&["step 1 "]);
        assert!(!out.join("checkpoint.safetensors").exists());
    }
    // After some steps: the file is that of the step before, and opens.
    let out = folder("numbers-later");
    let set = ["--set", "stages.0.1.weight_decay=1000", "--set", "stages.0.1.learning_rate=1"];
    train(&out, &[&set[..], &["--set", "stages.0.1.steps=30"]].concat()).code(1).complains(&lost);
    let kept = Checkpoint::from_bytes(&std::fs::read(out.join("checkpoint.safetensors")).unwrap()).unwrap();
    assert!((1..30).contains(&kept.meta.update), "{}", kept.meta.update);
    let names = kept.weights.values().chain(kept.moments.0.values()).flatten();
    assert!(names.into_iter().all(|v| v.is_finite()));
}

#[test]
fn pre_training_that_went_wrong_writes_nothing_over_the_other_half() {
    if !adapter() {
        return;
    }
    let file = folder("numbers-pretrain").join("start.safetensors");
    std::fs::write(&file, start_file(&preset("tiny"), 9)).unwrap();
    let before = std::fs::read(&file).unwrap();
    for part in ["vision", "language"] {
        let change = format!("pretrain_{part}");
        let sets = [("weight_decay", "1e6"), ("learning_rate", "1"), ("max_grad_norm", "0"), ("steps", "40")];
        let sets: Vec<String> = sets.iter().map(|(key, value)| format!("{change}.{key}={value}")).collect();
        let mut words = vec!["pretrain", part, "--preset", "tiny", "--out", text(&file)];
        sets.iter().for_each(|set| words.extend(["--set", set]));
        hive(&words).code(1).complains(&["no finite number", "pre-training"]);
        assert!(std::fs::read(&file).unwrap() == before, "{part} was written");
    }
    // A file that is none of ours is not written over either.
    std::fs::write(&file, "something else").unwrap();
    hive(&["pretrain", "language", "--preset", "tiny", "--steps", "1", "--out", text(&file)]).code(1);
    assert_eq!(std::fs::read(&file).unwrap(), b"something else");
}

#[test]
fn the_window_goes_back_to_its_safe_point_and_its_file_opens() {
    let Some(mut d) = Driver::start(GpuOptions::default()) else { return };
    let mut preset = assets::preset("tiny").unwrap();
    for (_, recipe) in &mut preset.stages {
        (recipe.steps, recipe.weight_decay, recipe.learning_rate) = (30, 1000.0, 1.0);
    }
    d.send(Command::Open(Open { preset: Box::new(preset), beside: None, trained: false }));
    d.send(Command::Train(Steps::All));
    let fault = d.fault();
    assert_eq!(fault.kind, FaultKind::NotFinite, "{fault:?}");
    assert!(fault.what.starts_with("Step ") && fault.what.contains("the loss is"), "{fault:?}");
    let back = d.until(|e| if let Event::Recovered { stage, update } = e { Some((*stage, *update)) } else { None });
    // To its beginning, or on a slow machine to a point between.
    assert_eq!((back.0, d.log.hive.len() as u64), (Some(Stage::Connector), back.1), "steps after it are kept");
    d.send(Command::Save(Box::new(d.log.clone())));
    let bytes = d.until(|e| if let Event::File { bytes, .. } = e { Some(Arc::clone(bytes)) } else { None });
    let file = RunFile::unpack(&bytes).unwrap();
    assert!(file.hive.weights.values().flatten().all(|v| v.is_finite()));
    // A recipe that helps trains on.
    let recipe = assets::preset("tiny").unwrap().stage(Stage::Connector).unwrap().clone();
    d.send(Command::Recipe(Stage::Connector, Box::new(recipe)));
    d.send(Command::Train(Steps::Count(1)));
    d.until(|e| matches!(e, Event::Step(_)).then_some(()));
}

fn scores(loss: f64) -> Scores {
    Scores {
        loss,
        kinds: BTreeMap::from([("what".to_owned(), hive::engine::Share { hits: 1, of: 2 })]),
        ..Scores::default()
    }
}

fn depths(value: f64) -> Depths {
    Depths { attributes: vec![("colour".into(), value)], shares: vec![vec![value]] }
}

/// A log with `value` wherever it has a float.
fn log(value: f64) -> RunLog {
    let (stage, small) = (Stage::Connector, value as f32);
    let point =
        Point { step: 1, stage, update: 1, loss: small, grad_norm: small, learning_rate: value, throughput: value };
    RunLog {
        hive: vec![point],
        control: vec![point],
        beside: Some(Beside::Flattened),
        scores: vec![ScorePoint { lane: Lane::Hive, step: 1, stage: None, own: scores(value), swapped: scores(value) }],
        norms: vec![hive::engine::log::NormPoint { lane: Lane::Hive, step: 1, norms: vec![(BlockId::Link(0), small)] }],
        depths: vec![DepthsPoint { step: 1, stage: None, update: 0, found: depths(value) }],
        ..RunLog::default()
    }
}

/// The same text for the same bits: `{:?}` tells NaN from numbers and 0 from -0.
fn same(a: &impl std::fmt::Debug, b: &impl std::fmt::Debug) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn every_kind_of_file_brings_every_float_back() {
    for value in ODD {
        // A run file: checkpoint, curves, scores, norms, depths.
        let mut checkpoint = Checkpoint::from_bytes(&start_file(&preset("tiny"), 1)).unwrap();
        checkpoint.meta.scores = vec![(Label::ALONE, scores(value))];
        let specs = checkpoint.specs();
        let packed = RunFile::pack(checkpoint.clone(), None, &log(value), &BTreeMap::new()).unwrap();
        let file = RunFile::unpack(&packed.to_bytes(&specs, Precision::F32).unwrap()).unwrap();
        same(&file.log.unwrap(), &log(value));
        same(&file.hive.meta.scores, &checkpoint.meta.scores);
        // A study.
        let row = || Row { label: Label::ALONE, scores: scores(value), exact: "10".into() };
        let outcome = Outcome {
            rate: value,
            rows: vec![row()],
            costs: vec![StepCost { stage: Stage::Vision, flops: value, secs: value, bytes: 1, dispatches: 1 }],
            norms: vec![("tower".into(), value)],
            cut: vec![(1, row())],
            judged: Some(Judged {
                downstream: Some(row()),
                probes: BTreeMap::from([("link".to_owned(), depths(value))]),
            }),
            ..Outcome::default()
        };
        same(&serde_json::from_str::<Outcome>(&serde_json::to_string(&outcome).unwrap()).unwrap(), &outcome);
        let settings = Settings { questions: 1, rates: vec![value], tried: value, probes: Vec::new() };
        same(&serde_json::from_str::<Settings>(&serde_json::to_string(&settings).unwrap()).unwrap(), &settings);
        // A preset that could not be read again is refused where it is checked, and so is its checkpoint.
        let numbers = |preset: &mut Preset| {
            preset.stages[0].1.weight_decay = value;
            preset.init.qk_gain = value;
        };
        let mut preset = preset("tiny");
        numbers(&mut preset);
        match value.is_finite() {
            true => same(&Preset::parse(&serde_json::to_string(&preset).unwrap()).unwrap(), &preset),
            false => assert!(preset.check().unwrap_err().to_string().contains("f32"), "{value}"),
        }
    }
}

#[test]
fn weights_that_are_no_numbers_are_neither_written_nor_read() {
    for (value, precision, said) in [
        (f32::NAN, Precision::F32, "holds NaN, no finite number"),
        (f32::NEG_INFINITY, Precision::F16, "holds -infinity, no finite number"),
        (7e4, Precision::F16, "half precision ends at 65504"),
    ] {
        let mut checkpoint = Checkpoint::from_bytes(&start_file(&preset("tiny"), 1)).unwrap();
        let specs = checkpoint.specs();
        checkpoint.weights.get_mut("model.norm.weight").unwrap()[3] = value;
        let wrong = checkpoint.to_bytes(&specs, precision).unwrap_err().to_string();
        assert!(wrong.starts_with("the tensor model.norm.weight") && wrong.contains(said), "{wrong}");
    }
    // Written by an older program.
    let mut bytes = start_file(&preset("tiny"), 1);
    let header = hive::model::weights::header_of(&bytes).unwrap();
    let at = header.tensors["model.norm.weight"].start as usize;
    bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let wrong = Checkpoint::from_bytes(&bytes).unwrap_err().to_string();
    assert!(wrong.starts_with("the tensor model.norm.weight holds infinity"), "{wrong}");
}

#[test]
fn curves_of_an_older_program_that_wrote_null_open() {
    let text = serde_json::to_string(&log(0.5)).unwrap().replace("0.5", "null");
    let log: RunLog = serde_json::from_str(&text).unwrap();
    assert!(log.hive[0].loss.is_nan() && log.scores[0].own.loss.is_nan() && log.norms[0].norms[0].1.is_nan());
}
