//! Training: it learns, freezes what it should, hands over between stages, accumulates, and resumes bit for bit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{bits, difference, done, drawn, gpu, preset, source};
use hive::data::batch::Batch;
use hive::gpu::{Gpu, Recorder};
use hive::model::config::HiveConfig;
use hive::model::decode::{Decoder, Prompt};
use hive::model::inputs::{HostBatch, Inputs};
use hive::model::model::{Model, Wiring};
use hive::model::weights::Precision;
use hive::nn::Params;
use hive::nn::params::Weights;
use hive::ops::sample::Settings;
use hive::platform::block_on;
use hive::train::checkpoint::Checkpoint;
use hive::train::evaluate::Evaluator;
use hive::train::recipe::{Preset, StageRecipe};
use hive::train::run::Run;
use hive::train::stage::{Scope, Stage, enter_stage_two, trainable};
use hive::train::trainer::{BETA1, Setup, Trainer};

/// A model at the start of a stage, with what trains in it.
struct Start {
    config: HiveConfig,
    weights: Weights,
    trained: BTreeSet<String>,
    recipe: StageRecipe,
    tokens: usize,
}

fn start(preset: &Preset, stage: Stage) -> Start {
    let (mut config, mut weights) = (preset.model.clone(), drawn(preset, 5));
    if stage >= Stage::Adaptation {
        enter_stage_two(&mut config, &mut weights);
    }
    let specs = Model::new(&config, Wiring::Linked).1;
    let trained = trainable(&specs, &config.link_config, stage, preset.scope);
    Start { trained, config, weights, recipe: preset.stage(stage).unwrap().clone(), tokens: preset.tokens }
}

impl Start {
    fn trainer(&self, gpu: &Gpu) -> Trainer {
        let setup = Setup {
            config: &self.config,
            wiring: Wiring::Linked,
            trained: &self.trained,
            recipe: &self.recipe,
            tokens: self.tokens,
            with_image: true,
            facts: false,
        };
        Trainer::new(gpu, &setup, &self.weights)
    }
}

/// Rows of training data.
fn rows(preset: &Preset, first: u64, count: usize) -> Batch {
    source(preset).conversation(first, count, preset.tokens, preset.turns).unwrap()
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let mut s = start(&preset, Stage::Vision);
    (s.recipe.steps, s.recipe.learning_rate) = (60, 0.003);
    let batch = rows(&preset, 0, s.recipe.batch);
    let mut trainer = s.trainer(&gpu);
    let losses: Vec<f32> = (0..60).map(|_| block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap().loss).collect();
    assert!(losses.iter().all(|l| l.is_finite()), "{losses:?}");
    // A drawn model is no better than guessing; one batch by heart is far better.
    let guess = (preset.model.text_config.vocab_size as f32).ln();
    assert!(losses[0] > 0.8 * guess && losses[59] < 0.1 * guess, "{losses:?}, {guess} is guessing");
    assert!(losses[59] < losses[30] && losses[30] < losses[5], "{losses:?}");
    done(&gpu);
}

/// Blocks of the tower above the deepest link are never run; nothing can be learnt there.
fn runs(config: &HiveConfig, name: &str) -> bool {
    let depth = *config.link_config.vision_layers.iter().max().unwrap();
    match name.strip_prefix("vision_model.") {
        None => true,
        Some(rest) => rest.strip_prefix("encoder.layers.").map_or(!rest.starts_with("post_layernorm"), |r| {
            r.split('.').next().unwrap().parse::<usize>().unwrap() < depth
        }),
    }
}

#[test]
fn a_stage_changes_what_it_trains_and_nothing_else() {
    let Some(gpu) = gpu() else { return };
    let mut sizes = Vec::new();
    for (scope, stages) in [(Scope::Language, &Stage::ALL[..]), (Scope::Linked, &Stage::ALL[1..2])] {
        let mut preset = preset("tiny");
        preset.scope = scope;
        // One layer without a link, so that the scopes differ.
        preset.model.link_config.vision_layers.pop();
        preset.model.link_config.language_layers.pop();
        for &stage in stages {
            let s = start(&preset, stage);
            let mut trainer = s.trainer(&gpu);
            for i in 0..3 {
                let batch = rows(&preset, 10 * i, s.recipe.batch);
                block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap();
            }
            let grads = block_on(trainer.params.download_grads()).unwrap();
            assert_eq!(grads.keys().cloned().collect::<BTreeSet<_>>(), s.trained);
            let after = block_on(trainer.params.download()).unwrap();
            assert_eq!(after.keys().collect::<Vec<_>>(), s.weights.keys().collect::<Vec<_>>());
            for (name, values) in &after {
                let same = bits(values) == bits(&s.weights[name]);
                if !s.trained.contains(name) {
                    assert!(same, "stage {} changed {name}, which is frozen", stage.number());
                } else if runs(&s.config, name) {
                    assert!(!same, "stage {} left {name} as it was", stage.number());
                } else {
                    assert!(grads[name].iter().all(|v| *v == 0.0), "{name} is not run and has a gradient");
                }
            }
            sizes.push(s.trained.len());
        }
    }
    // Each stage trains more than the one before; the linked scope less than the language scope.
    let [one, two, three, linked] = sizes[..] else { panic!("{sizes:?}") };
    assert!(0 < one && one < linked && linked < two && two < three, "{sizes:?}");
    done(&gpu);
}

fn forward_loss(gpu: &Gpu, config: &HiveConfig, weights: &Weights, batch: &Batch) -> f64 {
    let (model, specs) = Model::new(config, Wiring::Linked);
    let params = Params::new(gpu, specs, weights, &BTreeSet::new());
    block_on(Evaluator::new(&model, &params, batch.rows, batch.tokens, true).run(batch)).unwrap().1
}

#[test]
fn entering_stage_two_changes_no_output() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let s = start(&preset, Stage::Connector);
    let mut trainer = s.trainer(&gpu);
    for i in 0..3 {
        let batch = rows(&preset, 10 * i, s.recipe.batch);
        block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap();
    }
    let (mut config, mut weights) = (s.config.clone(), block_on(trainer.params.download()).unwrap());
    let batch = rows(&preset, 100, 4);
    let before = forward_loss(&gpu, &config, &weights, &batch);
    enter_stage_two(&mut config, &mut weights);
    assert_ne!(config, s.config);
    let after = forward_loss(&gpu, &config, &weights, &batch);
    assert!(before > 0.0 && (after - before).abs() <= 1e-6 * before, "{before} before, {after} after");
    // The projections of the image's own are really used.
    weights.get_mut("links.1.image_v_proj.weight").unwrap().iter_mut().for_each(|v| *v *= 1.1);
    let other = forward_loss(&gpu, &config, &weights, &batch);
    assert!((other - before).abs() > 1e-5 * before, "{before} before, {other} with other projections");
    done(&gpu);
}

/// What the decoder kept of a text and a picture is void when the weights move on.
#[test]
fn a_decoder_answers_by_the_weights_as_they_are() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let s = start(&preset, Stage::Vision);
    let mut trainer = s.trainer(&gpu);
    let batch = rows(&preset, 5, s.recipe.batch);
    let pixels = &batch.pixels[..batch.pixels.len() / batch.rows];
    let decoder = |trainer: &Trainer| {
        block_on(Decoder::new(Arc::clone(trainer.model()), Arc::clone(&trainer.params), 40, true)).unwrap()
    };
    let logits = |decoder: &mut Decoder| {
        let prompt = Prompt { ids: &batch.ids[..6], pixels, offset: 0, rows: &[] };
        block_on(decoder.begin(prompt, &Settings::default())).unwrap();
        block_on(decoder.next(1)).unwrap();
        block_on(decoder.logits()).unwrap()
    };
    let mut asked_before = decoder(&trainer);
    let before = logits(&mut asked_before);
    for i in 0..20 {
        let batch = rows(&preset, 10 * i, s.recipe.batch);
        block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap();
    }
    let (got, fresh) = (logits(&mut asked_before), logits(&mut decoder(&trainer)));
    assert!(difference(&before, &fresh) > 1e-3, "training changes nothing: this tests nothing");
    assert!(difference(&got, &fresh) < 1e-6, "{:e}", difference(&got, &fresh));
    done(&gpu);
}

/// The rows of two batches in one.
fn joined(a: &Batch, b: &Batch) -> Batch {
    fn both<T: Clone>(a: &[T], b: &[T]) -> Vec<T> {
        [a, b].concat()
    }
    Batch {
        rows: a.rows + b.rows,
        pixels: both(&a.pixels, &b.pixels),
        ids: both(&a.ids, &b.ids),
        labels: both(&a.labels, &b.labels),
        lengths: both(&a.lengths, &b.lengths),
        offset: both(&a.offset, &b.offset),
        ..a.clone()
    }
}

#[test]
fn two_micro_batches_are_one_batch() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let mut s = start(&preset, Stage::Adaptation);
    // The first update moves every weight by nearly this much, however small its gradient is.
    s.recipe.learning_rate = 1e-3;
    let first = rows(&preset, 0, 2);
    // Far fewer targets in the second half: a mean of means would be another number.
    let mut second = rows(&preset, 40, 2);
    let targets: Vec<usize> = (0..second.labels.len()).filter(|i| second.labels[*i] >= 0).collect();
    targets[3..].iter().for_each(|i| second.labels[*i] = -100);
    let whole = joined(&first, &second);
    assert!(HostBatch::from(&first).target_count() > 4 * HostBatch::from(&second).target_count());

    (s.recipe.batch, s.recipe.accumulate) = (2, 2);
    let mut split = s.trainer(&gpu);
    let split_report = block_on(split.step(&[HostBatch::from(&first), HostBatch::from(&second)])).unwrap();
    (s.recipe.batch, s.recipe.accumulate) = (4, 1);
    let mut once = s.trainer(&gpu);
    let report = block_on(once.step(&[HostBatch::from(&whole)])).unwrap();

    assert!((split_report.loss - report.loss).abs() <= 1e-5 * report.loss, "{split_report:?} {report:?}");
    assert!(
        (split_report.grad_norm - report.grad_norm).abs() <= 1e-5 * report.grad_norm,
        "{split_report:?} {report:?}"
    );
    let (a, b) = (block_on(split.params.download_grads()).unwrap(), block_on(once.params.download_grads()).unwrap());
    for (name, values) in &a {
        let error = difference(values, &b[name]);
        assert!(error <= 1e-5, "gradient of {name}: {error:e}");
    }
    let largest = |values: &[f32]| values.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    let clear: BTreeMap<String, Vec<bool>> =
        a.iter().map(|(n, g)| (n.clone(), g.iter().map(|v| v.abs() >= 1e-3 * largest(g)).collect())).collect();
    let (a, b) = (block_on(split.params.download()).unwrap(), block_on(once.params.download()).unwrap());
    let changed: Weights =
        a.into_iter().filter(|(n, v)| s.trained.contains(n) && bits(v) != bits(&s.weights[n])).collect();
    assert!(!changed.is_empty());
    for (name, values) in &changed {
        // Where a gradient is next to nothing, rounding chooses the direction of the first update.
        let of =
            |all: &[f32]| -> Vec<f32> { all.iter().zip(&clear[name]).filter(|(_, c)| **c).map(|(v, _)| *v).collect() };
        let (values, other) = (of(values), of(&b[name]));
        assert!(values.len() * 10 >= b[name].len() * 9, "{name}: {} of {}", values.len(), b[name].len());
        let error = difference(&values, &other);
        assert!(error <= 1e-5, "weights of {name}: {error:e}");
    }
    // The second half matters: without it the weights are far away.
    (s.recipe.batch, s.recipe.accumulate) = (2, 1);
    let mut half = s.trainer(&gpu);
    block_on(half.step(&[HostBatch::from(&first)])).unwrap();
    let half = block_on(half.params.download()).unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    assert!(difference(&half[name], &b[name]) > 1e-4);
    done(&gpu);
}

/// The tiny preset with `steps` steps in each stage.
fn short(steps: u64) -> Preset {
    let mut preset = preset("tiny");
    preset.stages.iter_mut().for_each(|(_, r)| r.steps = steps);
    preset
}

fn bytes(run: &Run) -> Vec<u8> {
    block_on(run.checkpoint()).unwrap().to_bytes(&run.specs(), Precision::F32).unwrap()
}

/// Steps to the end of the stage; the bits of the losses and of everything a checkpoint holds.
fn finish(run: &mut Run) -> (Vec<u32>, Vec<u8>) {
    let mut losses = Vec::new();
    while let Some(report) = block_on(run.step()).unwrap() {
        losses.push(report.loss.to_bits());
    }
    (losses, bytes(run))
}

#[test]
fn a_run_resumed_at_any_step_of_any_stage_goes_on_bit_for_bit() {
    const STEPS: u64 = 4;
    let Some(gpu) = gpu() else { return };
    let preset = short(STEPS);
    let mut run = Run::new(&gpu, preset.clone(), source(&preset), &drawn(&preset, 6)).unwrap();
    for stage in Stage::ALL {
        block_on(run.enter(stage)).unwrap();
        let (mut saved, mut losses) = (vec![bytes(&run)], Vec::new());
        while let Some(report) = block_on(run.step()).unwrap() {
            losses.push(report.loss.to_bits());
            saved.push(bytes(&run));
        }
        assert_eq!(losses.len() as u64, STEPS);
        let end = saved.last().unwrap().clone();
        assert!(saved.windows(2).all(|w| w[0] != w[1]), "a step of stage {} changed nothing", stage.number());
        for (k, file) in saved[..STEPS as usize].iter().enumerate() {
            let checkpoint = Checkpoint::from_bytes(file).unwrap();
            assert_eq!((checkpoint.meta.stage, checkpoint.meta.update), (Some(stage), k as u64));
            let mut resumed = Run::resume(&gpu, checkpoint, source(&preset)).unwrap();
            let (rest, after) = finish(&mut resumed);
            assert_eq!(rest, losses[k..], "losses of stage {} resumed after {k} steps", stage.number());
            assert!(after == end, "weights or moments of stage {} resumed after {k} steps", stage.number());
        }
        // Done: nothing is left to do in this stage, and the next one begins from the same weights.
        let mut over = Run::resume(&gpu, Checkpoint::from_bytes(&end).unwrap(), source(&preset)).unwrap();
        assert_eq!((over.in_progress(), block_on(over.step()).unwrap()), (None, None));
        if let Some(next) = Stage::of(stage.number() + 1) {
            block_on(over.enter(next)).unwrap();
            let mut straight = Run::resume(&gpu, Checkpoint::from_bytes(&end).unwrap(), source(&preset)).unwrap();
            block_on(straight.enter(next)).unwrap();
            assert!(finish(&mut over) == finish(&mut straight));
        }
    }
    done(&gpu);
}

#[test]
fn a_seed_decides_every_bit() {
    let Some(gpu) = gpu() else { return };
    let run = |seed| {
        let mut preset = short(5);
        preset.seed = seed;
        let mut run = Run::new(&gpu, preset.clone(), source(&preset), &Weights::new()).unwrap();
        block_on(run.enter(Stage::Adaptation)).unwrap();
        finish(&mut run)
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first.0.len(), 5);
    assert!(first == again);
    assert!(first.0.iter().zip(&other.0).all(|(a, b)| a != b), "another seed gives the same losses");
    done(&gpu);
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let s = start(&preset, Stage::Vision);
    let good = rows(&preset, 0, s.recipe.batch);
    for poison in [f32::NAN, f32::INFINITY] {
        let mut trainer = s.trainer(&gpu);
        block_on(trainer.step(&[HostBatch::from(&good)])).unwrap();
        let state = |t: &Trainer| {
            let (m, v) = block_on(t.params.download_moments()).unwrap();
            [block_on(t.params.download()).unwrap(), m, v].map(|w| w.values().map(|v| bits(v)).collect::<Vec<_>>())
        };
        let before = state(&trainer);
        let mut bad = good.clone();
        bad.pixels[17] = poison;
        let report = block_on(trainer.step(&[HostBatch::from(&bad)])).unwrap();
        assert!(!report.grad_norm.is_finite(), "{poison} in the picture: {report:?}");
        assert!(state(&trainer) == before, "{poison} in the picture changed weights or moments");
        let report = block_on(trainer.step(&[HostBatch::from(&good)])).unwrap();
        assert!(report.loss.is_finite() && report.grad_norm.is_finite(), "{report:?}");
        assert!(state(&trainer) != before, "the next step has no effect");
    }
    done(&gpu);
}

#[test]
fn gradients_are_clipped_to_the_largest_norm() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let mut s = start(&preset, Stage::Adaptation);
    let batch = rows(&preset, 0, s.recipe.batch);
    // After one step the first moment is (1 - beta1) times the clipped gradient.
    let mut step = |max_grad_norm| {
        s.recipe.max_grad_norm = max_grad_norm;
        let mut trainer = s.trainer(&gpu);
        let report = block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap();
        let (m, _) = block_on(trainer.params.download_moments()).unwrap();
        let sum: f64 = m.values().flatten().map(|v| f64::from(*v).powi(2)).sum();
        let grads = block_on(trainer.params.download_grads()).unwrap();
        let norm: f64 = grads.values().flatten().map(|v| f64::from(*v).powi(2)).sum();
        assert!(
            (f64::from(report.grad_norm) / norm.sqrt() - 1.0).abs() < 1e-5,
            "the report is the norm before clipping"
        );
        (f64::from(report.grad_norm), sum.sqrt() / (1.0 - BETA1))
    };
    let (norm, unclipped) = step(0.0);
    assert!(norm > 0.01 && (unclipped / norm - 1.0).abs() < 1e-5, "0 is no limit: {norm}, {unclipped}");
    let (same, clipped) = step(norm / 10.0);
    assert!(same == norm && (clipped / (norm / 10.0) - 1.0).abs() < 1e-4, "{clipped} of {norm}");
    let (_, loose) = step(norm * 10.0);
    assert!((loose / norm - 1.0).abs() < 1e-5, "a limit above the norm changes nothing: {loose} of {norm}");
    done(&gpu);
}

#[test]
fn text_before_the_image_is_blind_and_text_after_it_is_not() {
    const T: usize = 12;
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let config = &preset.model;
    let (model, specs) = Model::new(config, Wiring::Linked);
    let params = Params::new(&gpu, specs, &drawn(&preset, 8), &BTreeSet::new());
    let inputs = Inputs::new(&gpu, config, 1, T, true);
    let mut r = Recorder::new(&gpu);
    let look = model.look(&mut r, &params, &inputs);
    let program = r.finish();
    let ids: Vec<u32> = (0..T as u32).map(|i| 1 + i * 5 % 40).collect();
    let logits = |pixels: &[f32], offset: u32| {
        inputs.write(
            HostBatch { ids: &ids, labels: &[-100; T], lengths: &[T as u32], offset: &[offset], pixels, told: &[] },
            1,
        );
        program.run();
        let values = block_on(gpu.read_f32(&look.logits)).unwrap();
        values.chunks(config.text_config.vocab_size).map(bits).collect::<Vec<_>>()
    };
    let (red, blue) = (rows(&preset, 0, 1).pixels, rows(&preset, 1, 1).pixels);
    assert_ne!(red, blue);
    for offset in [0_u32, 1, 4] {
        let (a, b) = (logits(&red, offset), logits(&blue, offset));
        for t in 0..T {
            let blind = t < offset as usize;
            assert_eq!(a[t] == b[t], blind, "token {t} with {offset} tokens before the image");
        }
    }
    done(&gpu);
}
