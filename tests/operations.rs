//! Operations, and programs recorded of them, on whatever adapter there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{bits, done, drawn, gpu, open, preset, source};
use hive::gpu::{AdapterKind, DType, Gpu, GpuOptions, Recorder, Sabotage, Tensor, kernels};
use hive::model::inputs::{HostBatch, Inputs};
use hive::model::model::{Model, Wiring};
use hive::nn::Params;
use hive::ops::ALL;
use hive::ops::case::{Array, Case};
use hive::ops::verify::{self, DIFFERENCE_TOLERANCE, Outcome};
use hive::platform::block_on;
use hive::train::stage::{Stage, enter_stage_two, trainable};
use hive::train::trainer::{Setup, Trainer};

fn all_pass(outcomes: &[Outcome]) {
    let wrong: Vec<_> = outcomes.iter().filter(|o| !o.passed()).collect();
    assert!(!outcomes.is_empty() && wrong.is_empty(), "{wrong:#?}");
}

/// Runs the cases of these ops on a device of its own, after a look at it.
fn all_pass_on(options: &GpuOptions, ops: &[&str], look: impl Fn(&Gpu)) {
    let Some(_one_at_a_time) = gpu() else { return };
    let Some(gpu) = open(options) else { return };
    look(&gpu);
    let mut outcomes = Vec::new();
    for op in ops {
        outcomes.extend(block_on(verify::run(&gpu, op, |_| ())).unwrap());
    }
    all_pass(&outcomes);
    done(&gpu);
}

#[test]
fn every_case_is_right_and_every_reference_agrees_with_its_differences() {
    let Some(gpu) = gpu() else { return };
    let outcomes = block_on(verify::run(&gpu, "", |_| ())).unwrap();
    all_pass(&outcomes);
    let cases: usize = ALL.iter().map(|op| (op.cases)().len()).sum();
    assert_eq!(outcomes.len(), cases);
    for op in ALL.iter().filter(|op| op.no_gradient.is_none()) {
        let worst = outcomes
            .iter()
            .filter(|o| o.op == op.name)
            .filter_map(|o| o.finite_difference)
            .fold(None, |m: Option<f64>, e| Some(m.map_or(e, |m| m.max(e))));
        assert!(worst.is_some_and(|e| e <= DIFFERENCE_TOLERANCE), "{}: finite differences {worst:?}", op.name);
    }
    done(&gpu);
}

#[test]
fn every_case_is_right_with_bounds_checks() {
    all_pass_on(&GpuOptions { checked: true, ..GpuOptions::default() }, &[""], |_| ());
}

#[test]
fn cases_are_right_with_the_other_kinds_kernels() {
    let kind = {
        let Some(gpu) = gpu() else { return };
        if gpu.is_software() { AdapterKind::Hardware } else { AdapterKind::Software }
    };
    all_pass_on(
        &GpuOptions { kind: Some(kind), ..GpuOptions::default() },
        &["matmul", "cross_entropy", "_norm"],
        |gpu| {
            let op = ALL.iter().find(|op| op.name == "cross_entropy").unwrap();
            let listing = record(gpu, &(op.cases)()[0]).0.listing();
            let own = if kind == AdapterKind::Hardware { "matmul/tile_" } else { "matmul/soft_" };
            assert!(listing.contains(own), "{listing}");
        },
    );
}

#[test]
fn every_case_is_right_without_features_and_with_default_limits() {
    let options = GpuOptions { portable: true, default_limits: true, ..GpuOptions::default() };
    all_pass_on(&options, &[""], |gpu| assert_eq!((gpu.subgroup, gpu.max_binding), (None, 128 << 20)));
}

#[test]
fn a_lost_device_is_an_error_that_says_so() {
    let Some(_one_at_a_time) = gpu() else { return };
    let Some(gpu) = open(&GpuOptions::default()) else { return };
    let t = gpu.upload(&[1.0, 2.0], [2], "t");
    assert_eq!(block_on(gpu.read_f32(&t)).unwrap(), [1.0, 2.0]);
    done(&gpu);
    gpu.destroy();
    let error = block_on(gpu.read_f32(&t)).unwrap_err().to_string();
    assert!(error.contains("lost") && gpu.check().is_err(), "{error}");
}

#[test]
fn every_sabotage_finds_its_text() {
    for (op, fault) in verify::sabotages() {
        let kernel = kernels::ALL.iter().find(|k| k.name == fault.kernel);
        let kernel = kernel.unwrap_or_else(|| panic!("{op}: no kernel called {}", fault.kernel));
        assert!(kernel.source.contains(fault.find), "{} has no \"{}\"", fault.kernel, fault.find);
    }
}

#[test]
fn every_sabotage_is_caught() {
    let Some(gpu) = gpu() else { return };
    for op in ALL {
        assert!(!op.sabotages.is_empty(), "{} is never sabotaged", op.name);
    }
    let missed: Vec<_> = verify::sabotages()
        .filter(|(_, fault)| verify::runs_on(&gpu, fault.kernel))
        .filter(|(_, fault)| !block_on(verify::caught(&GpuOptions::default(), fault)).unwrap())
        .map(|(_, fault)| format!("{}: \"{}\" for \"{}\"", fault.kernel, fault.replace, fault.find))
        .collect();
    assert!(missed.is_empty(), "unnoticed:\n{}", missed.join("\n"));
    // The other way round: where nothing is wrong, nothing is caught.
    let harmless = Sabotage { kernel: "add/forward", find: "a[i] + b[i]", replace: "b[i] + a[i]" };
    let idle = block_on(verify::caught(&GpuOptions::default(), &harmless)).unwrap();
    assert!(!idle, "a harmless change counts as caught");
    done(&gpu);
}

fn upload(r: &mut Recorder, array: &Array) -> Tensor {
    let t = r.alloc_as(array.shape.as_slice(), array.dtype, "input");
    match array.dtype {
        DType::F32 => r.gpu().write(&t, &array.values.iter().map(|v| *v as f32).collect::<Vec<_>>()),
        DType::U32 => r.gpu().write_u32(&t, &array.values.iter().map(|v| *v as u32).collect::<Vec<_>>()),
    }
    t
}

/// A case's program, forward and backward, and its results.
fn record(gpu: &Gpu, case: &Case) -> (hive::gpu::Program, Vec<Tensor>) {
    let mut r = Recorder::audited(gpu);
    let inputs: Vec<Tensor> = case.inputs.iter().map(|a| upload(&mut r, a)).collect();
    let values: Vec<Vec<f64>> = case.inputs.iter().map(|a| a.values.clone()).collect();
    let outs = if case.backward.is_some() { (case.forward)(&values) } else { Vec::new() };
    let douts: Vec<Tensor> = outs.iter().map(|o| upload(&mut r, &Array::random(&[o.len()], 5))).collect();
    let built = (case.record)(&mut r, &inputs, &douts);
    (r.finish(), built.outs.into_iter().chain(built.grads).collect())
}

#[test]
fn every_kernel_is_reached_by_a_case_of_its_op() {
    let Some(gpu) = gpu() else { return };
    let mut reached: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for op in ALL {
        for case in (op.cases)() {
            let listing = record(&gpu, &case).0.listing();
            let names = listing.lines().filter_map(|l| Some(l.split_once(" [")?.0.to_owned()));
            reached.entry(op.name).or_default().extend(names);
        }
    }
    for kernel in kernels::ALL.iter().filter(|k| verify::runs_on(&gpu, k.name)) {
        let (op, _) = kernel.name.split_once('/').unwrap();
        let names = reached.get(op).unwrap_or_else(|| panic!("{} belongs to no op of ops::ALL", kernel.name));
        assert!(names.contains(kernel.name), "{} is reached by no case of {op}, which reach {names:?}", kernel.name);
    }
    done(&gpu);
}

#[test]
fn two_runs_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for op in
        ALL.iter().filter(|o| ["matmul", "attention", "embed", "cross_entropy", "layer_norm", "bias"].contains(&o.name))
    {
        for case in (op.cases)() {
            let runs = [(); 2].map(|()| {
                let (program, results) = record(&gpu, &case);
                program.run();
                block_on(gpu.read_all(&results)).unwrap().iter().map(|v| bits(v)).collect::<Vec<_>>()
            });
            assert!(!runs[0].is_empty() && runs[0] == runs[1], "{} {}", op.name, case.name);
        }
    }
    done(&gpu);
}

/// A trainer of a preset in a stage from the second on, from drawn weights.
fn trainer(gpu: &Gpu, name: &str, seed: u64, stage: Stage) -> Trainer {
    let preset = preset(name);
    let mut config = preset.model.clone();
    let mut weights = drawn(&preset, seed);
    enter_stage_two(&mut config, &mut weights);
    let specs = Model::new(&config, Wiring::Linked).1;
    let trained = trainable(&specs, &config.link_config, stage, preset.scope);
    let setup = Setup {
        config: &config,
        wiring: Wiring::Linked,
        trained: &trained,
        recipe: preset.stage(stage).unwrap(),
        tokens: preset.tokens,
        with_image: true,
        facts: false,
    };
    Trainer::new(gpu, &setup, &weights)
}

/// Loss bits, gradients and weights after one step of stage 3 (everything runs backward) on the tiny model.
fn whole_step(gpu: &Gpu) -> (u32, Vec<Vec<u32>>) {
    let preset = preset("tiny");
    let recipe = preset.stage(Stage::Vision).unwrap();
    let mut trainer = trainer(gpu, "tiny", 3, Stage::Vision);
    let batch = source(&preset).conversation(0, recipe.batch, preset.tokens, preset.turns).unwrap();
    let report = block_on(trainer.step(&[HostBatch::from(&batch)])).unwrap();
    assert!(report.loss.is_finite() && report.grad_norm > 0.0, "{report:?}");
    let grads = block_on(trainer.params.download_grads()).unwrap();
    let after = block_on(trainer.params.download()).unwrap();
    (report.loss.to_bits(), grads.values().chain(after.values()).map(|v| bits(v)).collect())
}

#[test]
fn the_ops_that_serve_blocks_are_those_of_a_training_step() {
    let Some(gpu) = gpu() else { return };
    let trainer = trainer(&gpu, "tiny", 3, Stage::Vision);
    let listing = trainer.program().listing();
    let recorded: BTreeSet<&str> = listing.lines().filter_map(|l| Some(l.split_once('/')?.0)).collect();
    let mut named: BTreeSet<&str> = ALL.iter().filter(|op| !op.used_by.is_empty()).map(|op| op.name).collect();
    assert!(named.remove("splice"), "the flattened control puts image tokens into the text");
    assert_eq!(recorded, named);
    done(&gpu);
}

#[test]
fn two_whole_training_steps_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let [first, second] = [(); 2].map(|()| whole_step(&gpu));
    assert!(first == second, "loss {:x} and {:x}", first.0, second.0);
    done(&gpu);
}

#[test]
fn a_replayed_program_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let (model, specs) = Model::new(&preset.model, Wiring::Linked);
    let all = specs.iter().map(|s| s.name.clone()).collect();
    let params = Params::new(&gpu, specs, &drawn(&preset, 4), &all);
    let batch = source(&preset).conversation(7, 2, preset.tokens, preset.turns).unwrap();
    let other = source(&preset).conversation(9, 2, preset.tokens, preset.turns).unwrap();
    let inputs = Inputs::new(&gpu, &preset.model, 2, preset.tokens, true);
    let loss = gpu.tensor([1], DType::F32, "loss");
    let mut r = Recorder::new(&gpu);
    let saved = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved);
    let program = r.finish();
    let replay = |batch| {
        let host = HostBatch::from(batch);
        inputs.write(host, host.target_count());
        gpu.write(&loss, &[0.0]);
        for slab in params.slabs() {
            let grad = &slab.trained.as_ref().unwrap().grad;
            gpu.write(grad, &vec![0.0; grad.shape().len()]);
        }
        program.run();
        let grads = block_on(params.download_grads()).unwrap();
        (block_on(gpu.read_f32(&loss)).unwrap()[0].to_bits(), grads.values().map(|v| bits(v)).collect::<Vec<_>>())
    };
    let (first, between, last) = (replay(&batch), replay(&other), replay(&batch));
    assert!(first == last, "loss {:x}, then {:x}", first.0, last.0);
    assert_ne!(first.0, between.0, "the program does not read its inputs");

    // Temporaries are shared in time: far fewer bytes than one buffer per tensor.
    let before = gpu.allocated_bytes();
    let mut r = Recorder::audited(&gpu);
    let saved = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved);
    let apart = gpu.allocated_bytes() - before;
    assert!(program.bytes() > 0 && 2 * program.bytes() < apart, "{} bytes, {apart} without reuse", program.bytes());
    done(&gpu);
}

#[test]
fn a_step_of_the_pictures_preset_is_at_most_300_dispatches() {
    // As a graphics processor runs it; CPU drivers transpose besides.
    let options = GpuOptions { kind: Some(AdapterKind::Hardware), ..GpuOptions::default() };
    let Some(gpu) = open(&options) else { return };
    let trainer = trainer(&gpu, "pictures", 1, Stage::Adaptation);
    let dispatches = trainer.program().dispatches();
    assert!((50..=300).contains(&dispatches), "{dispatches} dispatches");
    assert!(trainer.optimiser().dispatches() <= 8, "{} dispatches of the optimiser", trainer.optimiser().dispatches());
    done(&gpu);
}

#[test]
fn a_run_cut_to_a_time_budget_computes_the_same() {
    let Some(gpu) = open(&GpuOptions { piece_secs: Some(1e-4), ..GpuOptions::default() }) else { return };
    let one = gpu.upload(&[1.5; 64], [64], "one");
    let sum = gpu.tensor([64], DType::F32, "sum");
    let mut r = Recorder::new(&gpu);
    let mut x = one.clone();
    for _ in 0..50 {
        x = hive::ops::add::forward(&mut r, &x, &one);
    }
    r.copy(&x, &sum);
    let program = r.finish();
    for _ in 0..3 {
        gpu.write(&sum, &[0.0; 64]);
        block_on(program.run_shared()).unwrap();
        assert_eq!(block_on(gpu.read_f32(&sum)).unwrap(), [1.5 * 51.0; 64]);
    }
    done(&gpu);
}

#[test]
fn a_tensor_read_and_written_in_one_dispatch_is_refused_by_name() {
    let Some(gpu) = gpu() else { return };
    let t = gpu.upload(&[1.0; 64], [64], "left");
    let y = gpu.tensor([64], DType::F32, "sum");
    let params = kernels::add::Params { count: 64 };
    let add = |to: &Tensor| {
        let mut r = Recorder::new(&gpu);
        r.dispatch(&kernels::add::FORWARD, &[("WG", 64.0)], &params, &[&t, &t, to], [1, 1, 1]);
        r.finish().run();
    };
    // Reading one tensor twice is fine.
    add(&y);
    assert_eq!(block_on(gpu.read_f32(&y)).unwrap(), [2.0; 64]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| add(&t.reshaped([8, 8])))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        ["add/forward", "left[64]", "left[8, 8]", "share a buffer"].iter().all(|part| text.contains(part)),
        "{text}"
    );
    done(&gpu);
}
