//! Start weights: how tower and reader are made, what of a picture is left at each depth, and which depths links read.

use std::collections::BTreeSet;

use crate::common::{difference, done, drawn, gpu, preset, source};
use hive::data::batch::Batch;
use hive::data::worlds::Split;
use hive::engine::assets;
use hive::gpu::{DType, Gpu, Recorder};
use hive::model::inputs::HostBatch;
use hive::model::model::{Model, Wiring};
use hive::model::probe::{Kind, Probe, ProbeInputs, Sizes};
use hive::model::weights::Precision;
use hive::nn::{ParamId, ParamSpec, Params};
use hive::platform::block_on;
use hive::train::checkpoint::Checkpoint;
use hive::train::depths::Depths;
use hive::train::evaluate::{Asked, Evaluator, Picture};
use hive::train::init;
use hive::train::pretrain::{Reader, Tower};
use hive::train::recipe::{Naming, Preset};
use hive::train::trainer::{Setup, Trainer};

fn grounds() -> Preset {
    preset("grounds")
}

/// Losses of three steps on these rows of text, and the gradient of the embeddings in the first.
fn read(gpu: &Gpu, preset: &Preset, batch: &Batch, facts: bool) -> (Vec<f32>, Vec<f32>) {
    let weights = drawn(preset, 5);
    let trained: BTreeSet<String> = weights.keys().filter(|n| n.starts_with("model.")).cloned().collect();
    let mut recipe = preset.pretrain_language.clone().unwrap();
    recipe.batch = batch.rows;
    let setup = Setup {
        config: &preset.model,
        wiring: Wiring::Linked,
        trained: &trained,
        recipe: &recipe,
        tokens: batch.tokens,
        with_image: false,
        facts,
    };
    let mut trainer = Trainer::new(gpu, &setup, &weights);
    let step = |trainer: &mut Trainer| block_on(trainer.step(&[HostBatch::from(batch)])).unwrap().loss;
    let first = step(&mut trainer);
    let grads = block_on(trainer.params.download_grads()).unwrap();
    (vec![first, step(&mut trainer), step(&mut trainer)], grads["model.embed_tokens.weight"].clone())
}

#[test]
fn told_pictures_are_read_by_the_links_that_are_told_something() {
    let Some(gpu) = gpu() else { return };
    let preset = grounds();
    let batch = source(&preset).text(0, 8, preset.text_tokens, preset.turns).unwrap();
    assert!(batch.told.len() == 4 && batch.told.iter().all(|look| look.len() > 200));
    let facts = read(&gpu, &preset, &batch, true);
    // Which word of a patch comes first is nothing; where it stands, and that it stands there, is something.
    let with = |change: fn(&mut Vec<Vec<[u32; 3]>>)| {
        let mut batch = batch.clone();
        change(&mut batch.told);
        read(&gpu, &preset, &batch, true)
    };
    let turned = with(|told| told.iter_mut().for_each(|look| look.reverse()));
    assert!(difference(&turned.0, &facts.0) < 1e-5 && difference(&turned.1, &facts.1) < 1e-5);
    for (what, other) in [
        ("the places", with(|told| told[0].iter_mut().for_each(|word| word[1] = 63 - word[1]))),
        ("the last look", with(|told| told[3].clear())),
        ("the order of the looks", with(|told| told.rotate_left(1))),
    ] {
        assert!(difference(&other.1, &facts.1) > 1e-4, "{what} means nothing: {:e}", difference(&other.1, &facts.1));
    }
    // Told nothing at all, links norm queries and keys all the same.
    let (silent, plain) = (with(|told| told.iter_mut().for_each(Vec::clear)), read(&gpu, &preset, &batch, false));
    let mut unnormed = preset.clone();
    unnormed.model.link_config.qk_norm = false;
    let mut nothing = batch.clone();
    nothing.told.iter_mut().for_each(Vec::clear);
    let unnormed = read(&gpu, &unnormed, &nothing, true);
    let apart = (difference(&unnormed.0, &plain.0), difference(&unnormed.1, &plain.1));
    assert!(apart.0 < 1e-5 && apart.1 < 1e-5, "{apart:?}");
    assert!(difference(&silent.1, &plain.1) > 1e-3, "queries and keys are not normed");
    done(&gpu);
}

#[test]
fn a_tower_that_is_taught_without_colour_sees_none() {
    let Some(gpu) = gpu() else { return };
    let mut preset = grounds();
    let source = source(&preset);
    let classes = source.dataset().unwrap().label_classes();
    let mut recipe = preset.pretrain_vision.clone().unwrap();
    recipe.batch = 4;
    let mut train = |naming: Naming| {
        preset.naming = naming;
        let mut tower = Tower::new(&gpu, &preset, &classes, &recipe).unwrap();
        let losses: Vec<f32> = (0..12).map(|_| block_on(tower.step(&source, 1)).unwrap().loss).collect();
        assert!(losses[11] < 0.9 * losses[0], "{losses:?}");
        let scores = block_on(tower.accuracy(&source, 2)).unwrap();
        (block_on(tower.weights()).unwrap(), scores.len())
    };
    let patch = "vision_model.embeddings.patch_embedding.weight";
    // One filter: (3, 6, 6).
    let grey = |w: &[f32]| w.chunks(108).all(|f| (0..36).all(|i| f[i] == f[36 + i] && f[i] == f[72 + i]));
    let (blind, scores) = train(Naming { codes: Some(4.0), grey: true });
    assert!(grey(&blind[patch]) && scores == 3);
    assert!(blind.keys().all(|name| name.starts_with("vision_model.")));
    let (sees, scores) = train(Naming::default());
    assert!(!grey(&sees[patch]) && scores == 1);
    done(&gpu);
}

/// Pre-training that is saved and goes on is the one that was not interrupted, to the last bit.
#[test]
fn a_pre_training_goes_on_bit_for_bit() {
    let Some(gpu) = gpu() else { return };
    let preset = preset("tiny");
    let source = source(&preset);
    let through = |made: Checkpoint, specs: &[ParamSpec]| {
        Checkpoint::from_bytes(&made.to_bytes(specs, Precision::F32).unwrap()).unwrap()
    };
    let classes = source.dataset().unwrap().label_classes();
    let recipe = preset.pretrain_vision.clone().unwrap();
    let tower = || Tower::new(&gpu, &preset, &classes, &recipe).unwrap();
    let look = |tower: &mut Tower, steps| -> Vec<u32> {
        (0..steps).map(|_| block_on(tower.step(&source, 1)).unwrap().loss.to_bits()).collect()
    };
    let (mut first, mut second) = (tower(), tower());
    look(&mut first, 3);
    let saved = through(block_on(first.checkpoint(&preset, &source)).unwrap(), first.specs());
    second.go_on(&saved).unwrap();
    assert_eq!((second.updates(), look(&mut first, 3)), (3, look(&mut second, 3)));
    assert!(block_on(first.weights()).unwrap() == block_on(second.weights()).unwrap());

    let recipe = preset.pretrain_language.clone().unwrap();
    let reader = || Reader::new(&gpu, &preset, &source, &recipe).unwrap();
    let read = |reader: &mut Reader, steps| -> Vec<u32> {
        (0..steps).map(|_| block_on(reader.step(&source)).unwrap().loss.to_bits()).collect()
    };
    let (mut first, mut second) = (reader(), reader());
    read(&mut first, 3);
    let half = block_on(first.checkpoint(&preset, &source)).unwrap();
    let text = through(half.clone(), &half.specs());
    second.go_on(&text).unwrap();
    assert_eq!((second.updates(), read(&mut first, 3)), (3, read(&mut second, 3)));
    assert!(block_on(first.weights()).unwrap() == block_on(second.weights()).unwrap());
    // Neither takes the other's.
    assert!(second.go_on(&saved).unwrap_err().to_string().contains("is missing"));
    assert!(tower().go_on(&text).unwrap_err().to_string().contains("is missing"));
    done(&gpu);
}

/// The loss of a small probe in the form of a link, and its gradients.
#[test]
fn a_probe_in_the_form_of_a_link_has_the_gradients_of_its_loss() {
    let Some(gpu) = gpu() else { return };
    let (width, batch, patches) = (8, 4, 5);
    let sizes = Sizes { width, heads: 1, classes: 3, eps: 1e-5 };
    let (probe, specs) = Probe::new(Kind::Link, sizes);
    let (config, start) = (preset("tiny").model, preset("tiny").init);
    let weights = init::draw(&specs, &config, &start, 3);
    let names: Vec<String> = specs.iter().map(|s| s.name.clone()).collect();
    let params = Params::new(&gpu, specs, &weights, &names.iter().cloned().collect());
    let features: Vec<f32> = (0..batch * patches * width).map(|i| (i as f32 * 0.7).sin()).collect();
    let inputs = ProbeInputs {
        features: gpu.upload(&features, [batch * patches, width], "features"),
        classes: gpu.upload_u32(&[0, 1, 2, 1], [batch], "classes"),
        zeros: gpu.tensor([1], DType::U32, "zeros"),
        order: gpu.tensor([1], DType::U32, "order"),
        segments: gpu.tensor([1, 3], DType::U32, "segments"),
        rows: gpu.tensor([1, 3], DType::U32, "rows"),
        scale: gpu.upload(&[1.0 / batch as f32], [1], "scale"),
    };
    let loss = gpu.tensor([1], DType::F32, "loss");
    let dfeatures = gpu.tensor([batch * patches, width], DType::F32, "dfeatures");
    let mut r = Recorder::new(&gpu);
    let saved = probe.forward(&mut r, &params, &inputs, &loss).1;
    probe.backward(&mut r, &params, &inputs, saved, &dfeatures);
    let program = r.finish();
    let run = || {
        gpu.write(&loss, &[0.0]);
        program.run();
        block_on(gpu.read_f32(&loss)).unwrap()[0]
    };
    run();
    let grads = block_on(params.download_grads()).unwrap();
    let mut moved = 0.0_f32;
    for (id, name) in names.iter().enumerate() {
        let (values, grad) = (&weights[name], &grads[name]);
        for at in [0, values.len() / 2, values.len() - 1] {
            let at_step = |step: f32| {
                let mut values = values.clone();
                values[at] += step;
                params.write(ParamId(id), &values);
                let loss = run();
                params.write(ParamId(id), &weights[name]);
                loss
            };
            let slope = (at_step(0.02) - at_step(-0.02)) / 0.04;
            assert!((slope - grad[at]).abs() < 5e-4 + 0.02 * slope.abs(), "{name} {at}: {slope} {}", grad[at]);
            moved = moved.max(slope.abs());
        }
    }
    assert!(moved > 0.01, "nothing depends on anything");
    done(&gpu);
}

#[test]
fn names_are_read_deep_and_stripes_near_the_pixels() {
    let Some(gpu) = gpu() else { return };
    let start = block_on(assets::model("grounds-start")).unwrap();
    let measure = |preset: &Preset| {
        block_on(Depths::measure(&gpu, &preset.model, &start.weights, &source(preset), Kind::Link, |_| true)).unwrap()
    };
    let found = measure(&grounds()).unwrap();
    let column = |name: &str| -> Vec<f64> {
        let a = found.attributes.iter().position(|(n, _)| n == name).unwrap();
        found.shares.iter().map(|row| row[a]).collect()
    };
    let (names, stripes) = (column("name"), column("stripes"));
    assert!(names.len() == 5 && names[4] > 0.8 && names[4] > names[1] + 0.3, "{names:?}");
    assert!(stripes[1] > 0.9 && stripes[4] < 0.7, "{stripes:?}");
    // No colour got in.
    assert!(column("ground").iter().all(|share| *share < 0.6), "{found:?}");
    // Shapes tell nothing of their things.
    assert!(measure(&preset("tiny")).is_none());
    done(&gpu);
}

/// The shipped reader finds what is asked about among several things, whichever layers are told of them.
#[test]
fn the_reader_looks_things_up() {
    let Some(gpu) = gpu() else { return };
    let preset = grounds();
    let mut weights = drawn(&preset, 5);
    weights.extend(block_on(assets::model("grounds-start")).unwrap().weights);
    let (model, specs) = Model::new(&preset.model, Wiring::Linked);
    let params = Params::new(&gpu, specs, &weights, &BTreeSet::new());
    let evaluator = Evaluator::for_text(&model, &params, preset.text_tokens, true);
    let scores = block_on(evaluator.answers(&source(&preset), Asked::Text, Picture::None, 300)).unwrap().0;
    assert!(scores.all.value() > 0.9 && scores.several.value() > 0.9, "{scores:?}");
    // Guessing gives a half; naming the place of any thing there is, 0.53.
    let kind = |name: &str| scores.kinds[name].value();
    assert!(kind("existence") > 0.7 && kind("place") > 0.7, "{scores:?}");
    done(&gpu);
}

/// Another kind of probe reads the same tower.
#[test]
fn attentive_probes_read_names_deep_in_a_tower() {
    let Some(gpu) = gpu() else { return };
    let start = block_on(assets::model("pictures-start")).unwrap();
    let preset = &start.meta.preset;
    let source = source(preset);
    let found = Depths::measure(&gpu, &preset.model, &start.weights, &source, Kind::Attentive, |_| true);
    let found = block_on(found).unwrap().unwrap();
    let names: Vec<f64> = found.shares.iter().map(|row| row[0]).collect();
    assert!(names.len() == 4 && names[3] > 0.5 && names[3] > names[0] + 0.2, "{names:?}");
    done(&gpu);
}

#[test]
fn links_are_chosen_by_name_or_depth_by_depth() {
    let mut preset = grounds();
    for (given, depths) in
        [("paper", [1, 2, 3, 4]), ("deep-first", [4, 3, 2, 1]), ("last", [4; 4]), ("0, 4,2,2", [0, 4, 2, 2])]
    {
        preset.set_links(given).unwrap();
        assert_eq!(preset.model.link_config.vision_layers, depths, "{given}");
    }
    for given in ["1,2,3", "1,2,3,6", "deepest", "1,2,,3", ""] {
        let told = preset.set_links(given).unwrap_err().to_string();
        assert!(told.contains("deep-first") && told.contains("1,2,3,4"), "{told}");
        assert_eq!(preset.model.link_config.vision_layers, [0, 4, 2, 2], "{given}");
    }
}

/// What the method is shown with links different depths; what does not is called so.
#[test]
fn presets_read_a_depth_by_each_link_but_for_the_one_that_is_compared_with() {
    for name in ["grounds", "grounds-long", "pictures", "pictures-long", "hive-siglip-large"] {
        let depths = preset(name).model.link_config.vision_layers;
        let different: BTreeSet<&usize> = depths.iter().collect();
        assert_eq!(different.len(), depths.len(), "{name}: {depths:?}");
    }
    assert_eq!(assets::FIRST, "grounds");
    let (one, mut same) = (preset("pictures-one-depth"), preset("pictures"));
    same.set_links("last").unwrap();
    assert_eq!(one, Preset { name: one.name.clone(), about: one.about.clone(), ..same });
    assets::made_source(&one).unwrap();
}

/// A held-out scene's questions, in every kind, are in words that the model has.
#[test]
fn the_preset_fits_its_world() {
    let preset = grounds();
    let source = assets::made_source(&preset).unwrap();
    let kinds: BTreeSet<&str> =
        (0..10).map(|i| source.sample(Split::HeldOut, i, 1, false).unwrap().turns[0].kind).collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let specs = Model::new(&preset.model, preset.wiring).1;
    assert!(specs.iter().any(|s| s.name == "links.3.mm_proj.fc1.weight"));
}
