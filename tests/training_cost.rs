//! What a step of training takes: counted without running it, at any size.

use hive::gpu::{AdapterKind, Gpu, GpuOptions};
use hive::model::config::HiveConfig;
use hive::model::model::{Model, Wiring};
use hive::platform::block_on;
use hive::train::cost::Cost;
use hive::train::recipe::Preset;
use hive::train::stage::{Stage, trainable};
use hive::train::trainer::{Setup, Trainer};

use crate::common::{done, gpu, preset};

fn device(options: &GpuOptions) -> Gpu {
    block_on(Gpu::new(options)).unwrap()
}

/// A stage's programs on a device that could run them.
fn recorded(gpu: &Gpu, preset: &Preset, wiring: Wiring, stage: Stage) -> Cost {
    let mut config: HiveConfig = preset.model.clone();
    config.link_config.separate_image_kv = stage >= Stage::Adaptation;
    let trained = trainable(&Model::new(&config, wiring).1, &config.link_config, stage, preset.scope);
    let (recipe, tokens) = (preset.stage(stage).unwrap(), preset.tokens);
    let setup = Setup { config: &config, wiring, trained: &trained, recipe, tokens, with_image: true, facts: false };
    Cost::of(&Trainer::zeroed(gpu, &setup))
}

#[test]
fn counted_programs_are_those_that_run() {
    let Some(own) = gpu() else { return };
    let preset = preset("tiny");
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let real = device(&GpuOptions { kind: Some(kind), ..GpuOptions::default() });
        let counting = device(&GpuOptions { kind: Some(kind), counting: true, ..GpuOptions::default() });
        for wiring in [Wiring::Linked, Wiring::Flattened] {
            for stage in Stage::ALL {
                let counted = Cost::of_stage(&counting, &preset, wiring, stage).unwrap();
                assert_eq!(counted, recorded(&real, &preset, wiring, stage), "{kind:?} {wiring:?} {stage:?}");
                let sum: f64 = counted.parts.iter().map(|p| p.flops).sum();
                assert!(counted.flops > 1e6 && (sum - counted.flops).abs() < 1e-6 * sum);
                assert!(counted.parts.iter().all(|p| !p.name.is_empty()), "{:?}", counted.parts);
            }
        }
        assert_eq!(counting.allocated_bytes(), 0, "what was counted is given back");
        done(&real);
    }
    drop(own);
}

/// Sizes and arithmetic of the published setting, as worked out from its configuration by hand.
#[test]
fn the_published_setting_costs_what_its_shapes_say() {
    let Some(own) = gpu() else { return };
    let counting = device(&GpuOptions { counting: true, ..GpuOptions::default() });
    let mut preset = preset("hive-siglip-large");
    preset.stages.iter_mut().for_each(|(_, r)| (r.batch, r.accumulate) = (1, 1));
    let within =
        |got: f64, want: f64, what: &str| assert!((got / want - 1.0).abs() < 0.02, "{what}: {got}, not {want}");
    let part = |cost: &Cost, names: &[&str]| -> f64 {
        cost.parts.iter().filter(|p| names.contains(&p.name)).map(|p| p.flops / 1e9).sum()
    };
    // Tokens of text, and GFLOP of the language side forward: linked, flattened.
    for (tokens, linked, flattened) in [(16, 51.0, 749.0), (32, 71.0, 770.0), (64, 110.0, 813.0), (128, 190.0, 898.0)] {
        preset.tokens = tokens;
        let cost = |wiring| Cost::of_stage(&counting, &preset, wiring, Stage::Connector).unwrap();
        let (hive, control) = (cost(Wiring::Linked), cost(Wiring::Flattened));
        within(part(&hive, &["links", "language", "head"]), linked, "linked");
        // The published control has its head on image rows, too, where nobody reads it; here it has not.
        let head = 2.0 * 576.0 * 1152.0 * 32000.0 / 1e9;
        within(part(&control, &["projector", "language", "head"]) + head, flattened, "flattened");
        // The tower runs up to its deepest link: 23 of 24 blocks.
        within(part(&hive, &["tower"]) * 24.0 / 23.0, 381.0, "tower");
    }
    let cost = |stage| Cost::of_stage(&counting, &preset, Wiring::Linked, stage).unwrap();
    within(cost(Stage::Connector).trained as f64, 20.09e6, "projectors");
    let all = 603.19e6 + 303.69e6 + 20.09e6 + 7.08e6;
    within(cost(Stage::Vision).parameters as f64, all, "parameters");
    drop(own);
}
