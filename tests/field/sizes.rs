//! Sizes from outside: whatever a file, a preset, an option or a recipe says, it is used, or told in a sentence, in bounded memory.

use std::path::Path;

use hive::engine::runfile::RunFile;
use hive::engine::{AttentionMaps, Preset};
use hive::gpu::GpuOptions;
use hive::model::limits::Rows;
use hive::model::weights::Precision;
use hive::train::checkpoint::{Checkpoint, Meta};
use hive::train::run::Run;
use hive::train::stage::Stage;
use serde_json::{Value, json};

use crate::common::program::{adapter, folder, hive, picture, text};
use crate::common::{preset, repository, source, start_file};

#[test]
fn checkpoints_with_impossible_sizes_are_refused_with_file_and_key() {
    if !adapter() {
        return;
    }
    let here = folder("sizes");
    let image = here.join("red.png");
    picture(&image, [200, 20, 20]);
    for (file, says) in [
        ("text-heads-0", "every size of text_config must be at least 1"),
        ("text-layers-0", "every size of text_config must be at least 1"),
        ("text-layers-1e12", "num_hidden_layers is 1000000000000; at most 1024 is supported"),
        ("vision-layers-1e12", "num_hidden_layers is 1000000000000; at most 1024 is supported"),
        ("vision-patch-0", "every size of vision_config must be at least 1"),
    ] {
        let path = repository(&format!("tests/field/data/checkpoint-sizes/{file}.safetensors"));
        let name = format!("{file}.safetensors");
        hive(&["ask", text(&image), "what is it ?", "--model", text(&path)]).code(1).complains(&[&name, says]);
        let wrong = RunFile::unpack(&std::fs::read(&path).unwrap()).unwrap_err().to_string();
        assert!(wrong.contains(says), "{wrong}");
    }
    let path = repository("tests/field/data/checkpoint-sizes/text-layers-1e12.safetensors");
    hive(&["train", "--resume", text(&path), "--out", text(&here)]).code(1).complains(&["num_hidden_layers"]);
}

#[test]
fn options_with_impossible_sizes_are_refused_with_their_bounds() {
    if !adapter() {
        return;
    }
    let out = folder("sizes-set");
    for (set, code, says) in [
        ("turns=140737488355328", 2, "from 1 to 256"),
        ("text_tokens=9007199254740992", 2, "text_tokens is 9007199254740992; it must be from 4 to 4096"),
        ("stages.0.1.steps=9007199254740993", 2, "stage 1 steps"),
        ("stages.0.1.accumulate=4294967296", 2, "stage 1 accumulate"),
        ("model.vision_config.image_size=4000000", 2, "image_size is 4000000; at most 8192"),
        ("model.vision_config.image_size=64", 2, "those of shapes are 3 x 32 x 32"),
        ("model.text_config.intermediate_size=1000000000", 2, "intermediate_size is 1000000000"),
        ("model.text_config.num_hidden_layers=100000000", 2, "num_hidden_layers is 100000000"),
        ("stages.0.1.batch=20000", 1, "at most 2730 fit"),
    ] {
        let said = hive(&["train", "--preset", "tiny", "--set", set, "--out", text(&out)]);
        said.code(code).complains(&[says]);
    }
    for (option, value) in [("--questions", "1000000000000"), ("--save-every", "1e300"), ("--steps", "9999999999")] {
        hive(&["train", "--preset", "tiny", option, value, "--out", text(&out)]).code(2).complains(&["is at most"]);
    }
    hive(&["plan", "--preset", "tiny", "--batch", "65536"]).code(1).complains(&["a batch of 65536 needs", "fit"]);
    hive(&["pretrain", "language", "--preset", "tiny", "--set", "pretrain_language.batch=60000"])
        .code(1)
        .complains(&["a batch of 60000 needs"]);
}

#[test]
fn the_rows_that_fit_are_counted_as_they_are_made() {
    for name in ["tiny", "grounds"] {
        // A device of its own: what other tests made on a shared one would count as well.
        let Some(gpu) = crate::common::open(&GpuOptions::default()) else { return };
        let mut preset = preset(name);
        for (stage, recipe) in &mut preset.stages {
            recipe.batch = if *stage == Stage::Connector { 96 } else { recipe.batch };
        }
        let rows = Rows {
            config: &preset.model,
            wiring: preset.wiring,
            tokens: preset.tokens,
            with_image: true,
            facts: false,
        };
        let (_, bytes) = rows.largest();
        let most = rows.most(&gpu);
        assert!(bytes * most as u64 <= gpu.max_binding && bytes * (most as u64 + 1) > gpu.max_binding);
        let weights = crate::common::drawn(&preset, 3);
        let mut run = Run::new(&gpu, preset.clone(), source(&preset), &weights).unwrap();
        hive::platform::block_on(run.enter(Stage::Connector)).unwrap();
        // Pools round up to quarters of a power of two.
        let (made, counted) = (gpu.largest_buffer() as f64, bytes as f64 * 96.0);
        assert!(made >= counted && made <= counted * 1.26, "{name}: {made} {counted}");
        crate::common::done(&gpu);
    }
}

/// A run file with a map whose layout is changed.
fn run_file(key: &str, value: Value) -> Vec<u8> {
    let mut checkpoint = Checkpoint::from_bytes(&start_file(&preset("tiny"), 1)).unwrap();
    let mut layout = json!({"tokens": ["a", "a", "a", "a"], "first_answer": 2, "layers": [0], "heads": 1, "side": 3});
    layout[key] = value;
    let mut maps = serde_json::to_vec(&json!({"kept": [[1, 1.0, 36, 0]], "layouts": [layout]})).unwrap();
    maps.push(b'\n');
    maps.extend([7; 36]);
    let log = json!({"hive": [], "control": [], "scores": [], "norms": []});
    checkpoint.attachments.insert("run.log.json".into(), serde_json::to_vec(&log).unwrap());
    checkpoint.attachments.insert("run.snapshots".into(), maps);
    checkpoint.to_bytes(&checkpoint.specs(), Precision::F32).unwrap()
}

#[test]
fn maps_that_do_not_fit_their_layout_are_left_out_and_the_run_opens() {
    let whole = RunFile::unpack(&run_file("heads", json!(1))).unwrap();
    assert!(whole.left_out.is_none());
    let (_, maps): (u64, AttentionMaps) = whole.log.unwrap().snapshots.get(0).unwrap();
    assert_eq!(maps.map(0, None, 2).len(), 9);
    for (key, value) in [
        ("side", json!(1_000_000)),
        ("heads", json!(1_000_000_000_000_u64)),
        ("heads", json!(0)),
        ("side", json!(4)),
        ("layers", json!([0, 1])),
        ("tokens", json!([])),
        ("first_answer", json!(9)),
        ("depths", json!([1, 2, 3])),
        ("heads", json!(-1)),
        ("side", json!(null)),
    ] {
        let file = RunFile::unpack(&run_file(key, value.clone())).unwrap();
        let said = file.left_out.unwrap_or_else(|| panic!("{key} {value} was taken"));
        assert!(said.contains("attention maps") && said.contains("damaged"), "{said}");
        assert!(file.log.unwrap().snapshots.is_empty());
    }
}

#[test]
fn curves_that_no_run_tells_are_left_out_and_the_run_opens() {
    let point = |step: u64| json!({"step": step, "stage": "1", "update": 1, "loss": 1, "grad_norm": 1, "learning_rate": 1, "throughput": 1});
    let depths = |row: Value| json!([{"step": 1, "stage": null, "update": 0, "found": {"attributes": [["colour", 0.5]], "shares": [row]}}]);
    for (key, value, fine) in [
        ("hive", json!([point(1), point(2)]), true),
        ("hive", json!([point(1), point(u64::MAX)]), false),
        ("control", json!([point(2), point(2)]), false),
        ("depths", depths(json!([0.5])), true),
        ("depths", depths(json!([0.5, 1])), false),
    ] {
        let mut log = json!({"hive": [], "control": [], "scores": [], "norms": []});
        log[key] = value;
        let mut checkpoint = Checkpoint::from_bytes(&start_file(&preset("tiny"), 1)).unwrap();
        checkpoint.attachments.insert("run.log.json".into(), serde_json::to_vec(&log).unwrap());
        let file = RunFile::unpack(&checkpoint.to_bytes(&checkpoint.specs(), Precision::F32).unwrap()).unwrap();
        assert_eq!((file.log.is_some(), file.left_out.is_none()), (fine, fine), "{log}");
    }
}

/// Every number in a value, by its path.
fn numbers(value: &Value, path: &mut Vec<String>, out: &mut Vec<String>) {
    let mut inner = |key: String, value: &Value| {
        path.push(key);
        numbers(value, path, out);
        path.pop();
    };
    match value {
        Value::Number(_) => out.push(format!("/{}", path.join("/"))),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| inner(i.to_string(), v)),
        Value::Object(map) => map.iter().for_each(|(key, v)| inner(key.clone(), v)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What numbers are changed to.
fn changes() -> Vec<Value> {
    let numbers = [0, 1, 3, 1_u64 << 31, (1 << 53) + 1];
    let mut all: Vec<Value> = numbers.map(Value::from).into();
    all.extend([json!(-1), json!(0.5), json!(1e308), json!(null), json!("12")]);
    all
}

/// Is it refused, or can all that sizes memory be made of it?
fn try_preset(preset: &Preset, gpu: &hive::gpu::Gpu) {
    let Ok(source) = hive::engine::assets::made_source(preset) else { return };
    let Ok(mut run) = Run::new(gpu, preset.clone(), source, &Default::default()) else { return };
    let _ = hive::platform::block_on(run.enter(Stage::Vision));
}

#[test]
fn every_number_of_a_preset_and_a_checkpoint_can_be_changed_without_a_panic() {
    let Some(gpu) = crate::common::gpu() else { return };
    let counted = crate::common::open(&hive::gpu::GpuOptions { counting: true, ..Default::default() });
    let checkpoint = Checkpoint::from_bytes(&start_file(&preset("tiny"), 1)).unwrap();
    let whole = serde_json::to_value(&checkpoint.meta).unwrap();
    let mut paths = Vec::new();
    numbers(&whole, &mut Vec::new(), &mut paths);
    assert!(paths.len() > 60, "{}", paths.len());
    let (mut taken, mut refused) = (0, 0);
    for path in &paths {
        for change in changes() {
            let mut value = whole.clone();
            *value.pointer_mut(path).unwrap() = change.clone();
            let told = format!("{path} = {change}");
            match Meta::parse(&value.to_string()) {
                Ok(meta) => {
                    taken += 1;
                    let own = Checkpoint { meta: meta.clone(), ..checkpoint.clone() };
                    // Shapes are compared before anything is made of them.
                    let counted = counted.as_ref().unwrap_or(&gpu);
                    if path.starts_with("/preset/") {
                        try_preset(&meta.preset, counted);
                    } else {
                        let _ = Run::resume(counted, own, source(&preset("tiny")));
                    }
                }
                Err(e) => {
                    refused += 1;
                    assert!(e.to_string().len() < 600 && !e.to_string().contains('\n'), "{told}: {e}");
                }
            }
            if let Some(preset) = value.get("preset") {
                let _ = Preset::parse(&preset.to_string());
            }
        }
    }
    assert!(taken > 80 && refused > 300, "{taken} {refused}");
    crate::common::done(&gpu);
}

#[test]
fn a_preset_file_of_any_number_is_a_sentence_of_the_program() {
    if !adapter() {
        return;
    }
    let here = folder("sizes-preset");
    let whole: Value = serde_json::to_value(preset("tiny")).unwrap();
    let file = here.join("p.json");
    for (path, value) in [
        ("/turns", json!(0)),
        ("/model/text_config/num_key_value_heads", json!(4_294_967_296_u64)),
        ("/pretrain_language/batch", json!(1e308)),
        ("/seed", json!(-1)),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(path).unwrap() = value;
        std::fs::write(&file, changed.to_string()).unwrap();
        let said = hive(&["train", "--preset", text(&file), "--out", text(Path::new(&here))]).code(2);
        assert!(said.err.lines().count() == 1 && said.err.starts_with("hive: "), "{path}: {}", said.err);
    }
}
