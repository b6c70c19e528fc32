//! The program as its users meet it: exit codes, messages, broken files, folders of their own.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

use std::path::{Path, PathBuf};

use hive::data::tokenizer::Tokenizer;
use hive::gpu::Gpu;
use hive::model::model::Model;
use hive::model::weights::Precision;
use hive::platform::block_on;
use hive::train::checkpoint::Checkpoint;
use serde_json::Value;

use crate::common::program::{adapter, folder, hive, picture, start, text, train, trained};
use crate::common::repository;

#[test]
fn version_help_and_wrong_words() {
    assert_eq!(hive(&["--version"]).code(0).out, concat!("hive ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = hive(&["--help"]).code(0).out;
    assert!(["train", "ask", "verify", "parity", "doctor"].iter().all(|c| help.contains(c)), "{help}");
    assert_eq!(hive(&[]).code(2).out, help);
    hive(&["trian"]).code(2).complains(&["no command called \"trian\"", "hive --help"]);
    hive(&["verify", "--sabotaged"]).code(2).complains(&["unknown option --sabotaged", "--sabotage"]);
    hive(&["ask", "one.png"]).code(2).complains(&["needs an image and a question"]);
    for command in ["train", "pretrain", "eval", "convert", "quantise", "parity", "verify", "doctor", "bench"] {
        assert!(!hive(&[command, "--help"]).code(0).out.is_empty(), "{command}");
    }
}

#[test]
fn verify_speaks_json_and_fails_for_unknown_operations() {
    if !adapter() {
        return;
    }
    let said = hive(&["verify", "add", "--json"]).code(0).json();
    let cases = said["cases"].as_array().unwrap();
    assert!(cases.len() >= 3 && cases.iter().all(|c| c["op"] == "add" && c["passed"] == true), "{said}");
    assert_eq!(said["failed"].as_array().unwrap().len(), 0);
    hive(&["verify", "nosuch"]).code(1).complains(&["no operation called \"nosuch\""]);
}

#[test]
fn an_adapter_that_is_not_there() {
    if !adapter() {
        return;
    }
    let said = hive(&["verify", "add", "--adapter", "nosuch"]).code(3).complains(&["nosuch", "--adapter"]);
    for adapter in block_on(Gpu::adapters()) {
        assert!(said.err.contains(&adapter.name), "{} is not listed: {}", adapter.name, said.err);
    }
}

#[test]
fn parity_on_a_fixture_a_wrong_one_and_none() {
    if !adapter() {
        return;
    }
    let fixture = repository("tests/fixtures/llama");
    let said = hive(&["parity", text(&fixture)]).code(0).out;
    assert!(said.contains("1 of 1 fixtures passed") && said.contains("gradients"), "{said}");
    let said = hive(&["parity", text(&fixture), "--json"]).code(0).json();
    assert!(said["groups"].as_array().unwrap().iter().all(|g| g["passed"] == true), "{said}");

    let broken = folder("fixtures").join("broken");
    std::fs::create_dir_all(&broken).unwrap();
    for name in ["config.json", "model.safetensors", "io.safetensors"] {
        std::fs::copy(fixture.join(name), broken.join(name)).unwrap();
    }
    let config = std::fs::read_to_string(broken.join("config.json")).unwrap();
    let other = config.replace("\"rope_theta\": 1", "\"rope_theta\": 2");
    assert_ne!(config, other);
    std::fs::write(broken.join("config.json"), other).unwrap();
    hive(&["parity", text(broken.parent().unwrap())]).code(1).complains(&["parity fails for broken"]);

    let none = folder("no-fixtures");
    hive(&["parity", text(&none)]).code(1).complains(&["no fixture", text(&none)]);
    hive(&["parity", text(&none.join("nowhere"))]).code(1).complains(&["cannot read", "nowhere"]);
}

#[test]
fn ask_answers_and_names_the_files_it_cannot_use() {
    if !adapter() {
        return;
    }
    let here = folder("ask");
    let model = text(&trained().file);
    let image = here.join("red.png");
    picture(&image, [200, 20, 20]);
    let said = hive(&["ask", text(&image), "what is it", "--model", model, "--json"]).code(0).json();
    assert!(said["question"] == "what is it ?" && said["words"].is_array(), "{said}");
    let missing = here.join("nowhere.png");
    hive(&["ask", text(&missing), "what is it ?", "--model", model])
        .code(1)
        .complains(&["cannot read", text(&missing)]);
    let bad = here.join("bad.png");
    std::fs::write(&bad, "this is no picture").unwrap();
    hive(&["ask", text(&bad), "what is it ?", "--model", model]).code(1).complains(&[text(&bad)]);
    let mut cut = std::fs::read(&image).unwrap();
    cut.truncate(cut.len() / 2);
    std::fs::write(&bad, cut).unwrap();
    hive(&["ask", text(&bad), "what is it ?", "--model", model]).code(1).complains(&[text(&bad)]);
    hive(&["ask", text(&image), "what is it ?", "--model", text(&here.join("none.safetensors"))])
        .code(1)
        .complains(&["none.safetensors"]);
    hive(&["ask", text(&image), "what is it ?", "--model", "nosuch"])
        .code(2)
        .complains(&["nosuch", "pictures", "shapes"]);
}

#[test]
fn set_and_preset_name_what_is_wrong() {
    if !adapter() {
        return;
    }
    let out = folder("set");
    train(&out, &["--set", "nosuch.key=1"]).code(2).complains(&["no key \"nosuch.key\""]);
    train(&out, &["--set", "tokens"]).code(2).complains(&["KEY=VALUE"]);
    train(&out, &["--set", "tokens=1"]).code(2).complains(&["tokens"]);
    train(&out, &["--set", "stages.0.1.learning_rate=fast"]).code(2).complains(&["preset"]);
    train(&out, &["--steps", "few"]).code(2).complains(&["--steps needs a number"]);
    hive(&["train", "--preset", "nosuch"]).code(2).complains(&["nosuch", "pictures", "tiny"]);
    hive(&["train", "--preset", text(&out.join("nosuch.json"))]).code(1).complains(&["nosuch.json"]);
    assert!(!out.join("checkpoint.safetensors").exists());
    // And a right one has an effect.
    let rate =
        train(&out, &["--stage", "1", "--steps", "1", "--set", "stages.0.1.learning_rate=0.002"]).code(0).steps();
    assert_eq!(serde_json::from_str::<Value>(&rate[0]).unwrap()["learning_rate"], 0.002);
}

#[test]
fn progress_in_a_pipe_is_whole_lines() {
    if !adapter() {
        return;
    }
    let out = folder("lines");
    let words = ["train", "--preset", "tiny", "--steps", "2", "--questions", "1", "--start", text(start())];
    let said = hive(&[&words[..], &["--out", text(&out)]].concat()).code(0);
    assert!(!said.err.contains('\r') && !said.out.contains('\r'), "{:?}", said.err);
    for stage in 1..=3 {
        let lines: Vec<_> = said.err.lines().filter(|l| l.starts_with(&format!("stage {stage} "))).collect();
        let last = lines.last().unwrap_or_else(|| panic!("nothing of stage {stage}: {}", said.err));
        assert!(last.contains("2 steps in ") && last.contains("loss "), "{}", said.err);
        assert_eq!(said.out.lines().filter(|l| l.starts_with(&format!("stage {stage}: exact"))).count(), 1);
    }
}

/// A LLaVA list about three pictures; the lines of `broken` (from 0) are spoilt.
fn llava(name: &str, broken: &[usize]) -> PathBuf {
    let here = folder(name);
    let mut lines = Vec::new();
    for (i, (word, colour)) in
        [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [40, 40, 230])].into_iter().enumerate()
    {
        picture(&here.join(format!("images/{word}.png")), colour);
        for (turn, question) in ["<image>\\nWhat colour is it?", "<image>"].iter().enumerate() {
            lines.push(format!(
                r#"{{"id": "{i}-{turn}", "image": "images/{word}.png", "conversations": [{{"from": "human", "value": "{question}"}}, {{"from": "gpt", "value": "It is {word}."}}]}}"#
            ));
        }
    }
    for &line in broken {
        lines[line].truncate(30);
    }
    std::fs::write(here.join("list.jsonl"), lines.join("\n")).unwrap();
    here
}

#[test]
fn a_folder_of_ones_own_pictures() {
    if !adapter() {
        return;
    }
    let run = |data: &Path, out: &Path| train(out, &["--steps", "2", "--data", text(data), "--force"]);
    let (data, out) = (llava("llava", &[2]), folder("llava-out"));
    let said = run(&data, &out).code(0).complains(&["list.jsonl:3: ", "1 entries of list.jsonl were skipped"]);
    assert_eq!(said.steps().len(), 6, "{}", said.out);
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(out.join("checkpoint.safetensors")).unwrap()).unwrap();
    assert!(checkpoint.meta.tokenizer.id("colour").is_some() && checkpoint.meta.preset.data == "folder");
    let model = out.join("checkpoint.safetensors");
    hive(&["ask", text(&data.join("images/red.png")), "What colour is it?", "--model", text(&model)]).code(0);

    // Nothing wrong: nothing is said of it, but that three pictures are too few to hold one out.
    let said = run(&llava("llava-good", &[]), &out).code(0);
    let told: Vec<&str> = said.err.lines().filter(|line| line.contains("list.jsonl")).collect();
    assert!(told.iter().all(|line| line.contains("is held out")), "{told:?}");
    run(&llava("llava-bad", &[0, 1, 3, 5]), &out)
        .code(1)
        .complains(&["4 of 6 entries in list.jsonl", "list.jsonl:1: "]);
    let missing = llava("llava-missing", &[]);
    for word in ["red", "green", "blue"] {
        std::fs::remove_file(missing.join(format!("images/{word}.png"))).unwrap();
    }
    run(&missing, &out).code(1).complains(&["6 of 6 entries in list.jsonl", "list.jsonl:1: ", ".png cannot be used"]);
    // One torn picture costs its entries, not the run.
    let torn = llava("llava-torn", &[]);
    std::fs::write(torn.join("images/red.png"), b"no picture").unwrap();
    run(&torn, &out).code(0).complains(&["images/red.png cannot be used", "2 entries of list.jsonl were skipped"]);
    run(&folder("llava-empty"), &out).code(1).complains(&["no conversation list"]);
}

/// A model of the time when its data had other words answers; it is told why no more is possible.
#[test]
fn checkpoints_with_other_words_answer_and_are_neither_tested_nor_trained() {
    if !adapter() {
        return;
    }
    let here = folder("words");
    let mut older = Checkpoint::from_bytes(&trained().bytes).unwrap();
    let (words, width) = (older.meta.tokenizer.words().to_vec(), older.meta.model.text_config.hidden_size);
    let fewer = words.len() - 3;
    older.meta.tokenizer = Tokenizer::new(words[..fewer].to_vec()).unwrap();
    older.meta.model.text_config.vocab_size = fewer;
    older.meta.preset.model.text_config.vocab_size = fewer;
    older.moments = Default::default();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        older.weights.entry(name.into()).and_modify(|values| values.truncate(fewer * width));
    }
    let specs = Model::new(&older.meta.model, older.meta.preset.wiring).1;
    let (file, image) = (here.join("older.safetensors"), here.join("red.png"));
    std::fs::write(&file, older.to_bytes(&specs, Precision::F32).unwrap()).unwrap();
    picture(&image, [200, 20, 20]);
    let said = hive(&["ask", text(&image), "what is it", "--model", text(&file), "--json"]).code(0).json();
    assert!(said["answer"].is_string(), "{said}");
    let why = format!("vocab_size is {fewer}, {} has {} words", older.meta.preset.data, words.len());
    let why = [why.as_str(), "still answers (hive ask --model FILE)", "neither test nor train"];
    hive(&["eval", "--model", text(&file)]).code(2).complains(&why);
    hive(&["train", "--resume", text(&file), "--out", text(&here)]).code(2).complains(&why);
}

/// What each link is for: the model answers again without it.
#[test]
fn links_are_cut_one_by_one() {
    if !adapter() {
        return;
    }
    let words = ["ask", "held-out:0", "what colour is the ground behind the dog ?", "--model", "grounds", "--cut"];
    let said = hive(&words).code(0);
    let lines: Vec<&str> = said.out.lines().filter(|l| l.starts_with("without the link of layer ")).collect();
    let cut = ["1 (depth 4): ", "2 (depth 3): ", "3 (depth 2): ", "4 (depth 1): "];
    assert!(lines.len() == 4 && lines.iter().zip(cut).all(|(l, cut)| l.contains(cut)), "{}", said.out);
    let json = hive(&[&words[..], &["--json"]].concat()).code(0).json();
    let cut = json["cut"].as_array().unwrap();
    assert_eq!(cut.iter().map(|c| c["layer"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // The ground is read near the pixels.
    let other: Vec<_> = cut.iter().filter(|c| c["answer"] != json["answer"]).map(|c| c["depth"].as_u64()).collect();
    assert_eq!(other, [Some(1)], "{json}");
    // A folder's links are cut as well, and a model without links says so.
    let (here, picture) = (folder("cut"), "held-out-0.png");
    let (linked, flattened) = (here.join("linked"), here.join("flattened"));
    hive(&["convert", "grounds", text(&linked)]).code(0);
    let again = ["ask", picture, words[2], "--model", text(&linked), "--weights", "f32", "--cut", "--json"];
    assert_eq!(hive(&again).code(0).json()["cut"], json["cut"]);
    let set = ["--set", "wiring=cascade", "--stage", "1", "--steps", "1"];
    train(&flattened, &set).code(0);
    let model = flattened.join("checkpoint.safetensors");
    hive(&["ask", picture, "what is it", "--model", text(&model), "--cut"]).code(1).complains(&["no links to cut"]);
}

#[test]
fn shipped_models_answer() {
    if !adapter() {
        return;
    }
    for model in ["grounds", "pictures", "shapes"] {
        let scores = hive(&["eval", "--model", model, "--questions", "300", "--json"]).code(0).json();
        let share = |row: &str, part: &str| {
            let of = scores[row][part]["of"].as_f64().unwrap();
            assert!(of >= 50.0, "{model}: {scores}");
            scores[row][part]["hits"].as_f64().unwrap() / of
        };
        let (own, swapped, none) = (share("own picture", "all"), share("swapped", "all"), share("no picture", "all"));
        let (least, several) = if model == "grounds" { (0.88, 0.82) } else { (0.70, 0.60) };
        assert!(own >= least, "{model}: {own} with the own picture");
        let found = share("own picture", "several");
        assert!(found >= several, "{model}: {found} with several things");
        assert!(swapped <= none + 0.1, "{model}: {swapped} with swapped pictures, {none} with none");
        let kinds = scores["own picture"]["kinds"].as_object().unwrap();
        assert!(kinds.len() >= 5, "{model}: {scores}");
        for (kind, found) in kinds.iter().filter(|_| model == "grounds") {
            let share = found["hits"].as_f64().unwrap() / found["of"].as_f64().unwrap();
            assert!(share >= 0.75, "{model}: {share} of the questions about {kind}");
        }
    }
}

#[test]
fn converting_replaces_nothing_unasked_and_leaves_nothing_half_done() {
    let here = folder("convert");
    let (model, half) = (here.join("model"), here.join("half"));
    let said = hive(&["convert", "shapes", text(&model), "--json"]).code(0).json();
    let files = said["files"].as_array().unwrap();
    for file in files {
        assert_eq!(std::fs::metadata(model.join(file["path"].as_str().unwrap())).unwrap().len(), file["bytes"]);
    }
    assert!(files.len() > 12 && model.join("language_model/tokenizer.json").exists(), "{said}");

    hive(&["convert"]).code(2).complains(&["needs FROM and OUT"]);
    hive(&["convert", text(&model), text(&half), "--dtype", "f8"]).code(2).complains(&["f32, f16 or bf16"]);
    hive(&["convert", text(&model), text(&half), "--weights", "f16"]).code(2).complains(&["int8 or int4", "--dtype"]);
    hive(&["convert", text(&model), text(&half), "--part", "head"]).code(2).complains(&["vision_tower"]);
    hive(&["convert", text(&model), text(&half), "--shard-size", "0"]).code(2).complains(&["at least 1 MB"]);
    hive(&["convert", "circles", text(&half)]).code(2).complains(&["circles", "pictures"]);
    hive(&["convert", text(&here.join("none.safetensors")), text(&half)]).code(1).complains(&["none.safetensors"]);
    hive(&["convert", text(&model.join("config.json")), text(&half)]).code(2).complains(&["*.safetensors"]);
    hive(&["convert", "--tower", text(&model), "--language", text(&model), text(&half)]).code(2);
    hive(&["convert", "shapes", text(&model)]).code(1).complains(&["not empty", "--force"]);
    hive(&["convert", "shapes", text(&model.join("config.json"))]).code(1).complains(&["config.json"]);
    // What is read must not lie where files are replaced.
    let weights = model.join("model.safetensors");
    for from in [&model, &model.join("vision_tower"), &weights] {
        hive(&["convert", text(from), text(&model), "--force"]).code(2).complains(&["is read and lies in"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&model, here.join("link")).unwrap();
        let (link, twice) = (here.join("link"), here.join("model/../link"));
        hive(&["convert", text(&model), text(&link), "--force"]).code(2).complains(&["is read and lies in"]);
        hive(&["convert", text(&twice), text(&model), "--force"]).code(2).complains(&["is read and lies in"]);
        std::fs::remove_file(link).unwrap();
    }
    // A new folder inside one that is read takes nothing from it.
    let inner = model.join("bf16/deep");
    hive(&["convert", text(&model), text(&inner), "--dtype", "bf16", "--shard-size", "1"]).code(0);
    assert!(inner.join("config.json").exists());

    // Cut off, and numbers that f16 does not have: nothing is left of the attempt.
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(here.join("cut.safetensors"), &bytes[..bytes.len() - 9]).unwrap();
    hive(&["convert", text(&here.join("cut.safetensors")), text(&half)]).code(1).complains(&["cut.safetensors"]);
    let wide = here.join("wide.safetensors");
    let tensors = [("big".to_owned(), vec![2], &[1.0, 1e6][..])];
    std::fs::write(&wide, hive::model::weights::write(&tensors, hive::model::weights::Precision::F32)).unwrap();
    let said = hive(&["convert", text(&wide), text(&half), "--dtype", "f16"]).code(1);
    said.complains(&["tensor big has 1 values beyond 65504", "bf16"]);
    assert_eq!(hive::platform::list_folder(&here).unwrap(), ["cut.safetensors", "model", "wide.safetensors"]);

    // With --force weights are replaced, in however many files, and other files stay.
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("notes.txt"), b"mine").unwrap();
    std::fs::write(half.join("model-00001-of-00002.safetensors"), b"old").unwrap();
    hive(&["convert", text(&model), text(&half)]).code(1);
    hive(&["convert", text(&model), text(&half), "--force", "--part", "language_model"]).code(0);
    let names = hive::platform::list_folder(&half).unwrap();
    let want = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "notes.txt",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, want);
}

#[test]
fn quantising_prints_errors_and_losses() {
    hive(&["quantise"]).code(2).complains(&["needs a folder"]);
    if !adapter() {
        return;
    }
    let here = folder("quantise");
    let (model, words) = (here.join("model"), here.join("words.txt"));
    hive(&["convert", "shapes", text(&model)]).code(0);
    std::fs::write(&words, "<image> what color is the circle ? red </s>").unwrap();
    let said = hive(&["quantise", text(&model), "--text", text(&words), "--json"]).code(0).json();
    let tensors = said["tensors"].as_array().unwrap();
    let named = |name: &str| tensors.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{name}: {said}"));
    let layer = named("model.layers.0.mlp.up_proj.weight");
    assert_eq!(layer["shape"], serde_json::json!([224, 96]));
    let rms: Vec<f64> = layer["errors"].as_array().unwrap().iter().map(|e| e["rms"].as_f64().unwrap()).collect();
    // The file holds f16 values.
    assert!(rms[0] == 0.0 && rms[1] > 1e-4 && rms[2] > 4.0 * rms[1], "{layer}");
    let losses = said["losses"].as_array().unwrap();
    assert!(losses.len() == 4 && losses[0]["change"] == 0.0 && losses[3]["change"] != 0.0, "{said}");

    let said = hive(&["quantise", text(&model), "--weights", "int8"]).code(0);
    assert!(said.out.contains("links.2.mm_proj.fc2.weight") && !said.out.contains("int4"), "{}", said.out);
    said.complains(&["does not know most words"]);
    hive(&["quantise", text(&model), "--weights", "int2"]).code(2).complains(&["int8 or int4"]);
    std::fs::write(&words, [0xff, 0xfe]).unwrap();
    hive(&["quantise", text(&model), "--text", text(&words)]).code(1).complains(&["words.txt is no text"]);
    hive(&["quantise", text(&model.join("vision_tower"))]).code(1).complains(&["vision tower alone"]);
}
