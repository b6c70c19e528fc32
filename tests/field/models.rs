//! Models as people have them: other programs' formats, damaged weights, templates that never end.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::program::{adapter, folder, hive, hive_reading, text};
use crate::common::repository;

/// A copy of a small model's folder.
fn copy(name: &str) -> PathBuf {
    copy_of("text-model", name)
}

fn copy_of(model: &str, name: &str) -> PathBuf {
    let to = folder(name);
    for entry in std::fs::read_dir(repository("tests/field/data").join(model)).unwrap() {
        let entry = entry.unwrap();
        std::fs::write(to.join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
    to
}

#[track_caller]
fn refuses(model: &Path, says: &[&str]) {
    hive(&["ask", "--model", text(model), "Hello", "--limit", "3"]).code(1).complains(says);
}

#[test]
fn files_of_other_programs_are_named() {
    if !adapter() {
        return;
    }
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 36256\n";
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let model = copy("models-pointer");
        std::fs::write(model.join(file), pointer).unwrap();
        refuses(&model, &[file, "Git LFS pointer", "git lfs pull"]);
    }
    let model = copy("models-tokenizer");
    std::fs::rename(model.join("tokenizer.json"), model.join("tokenizer.model")).unwrap();
    refuses(&model, &["tokenizer.model, or vocab.json with merges.txt, is not read", "save_pretrained"]);
    let gguf = folder("models-gguf");
    std::fs::write(gguf.join("model.gguf"), "GGUF").unwrap();
    refuses(&gguf, &["model.gguf is a GGUF file, which is not read"]);
    let adapter = folder("models-adapter");
    std::fs::write(adapter.join("adapter_config.json"), "{}").unwrap();
    refuses(&adapter, &["adapter_config.json", "merge_and_unload"]);
    for method in ["gptq", "awq", "bitsandbytes"] {
        let model = copy("models-quantised");
        let config = std::fs::read_to_string(model.join("config.json")).unwrap();
        let with = config.replacen('{', &format!("{{\"quantization_config\": {{\"quant_method\": \"{method}\"}},"), 1);
        std::fs::write(model.join("config.json"), with).unwrap();
        refuses(&model, &[&format!("quantised by {method}")]);
    }
}

#[test]
fn a_weight_that_is_no_number_is_named_and_a_byte_order_mark_is_read() {
    if !adapter() {
        return;
    }
    let model = copy("models-numbers");
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), format!("\u{feff}{config}")).unwrap();
    hive(&["ask", "--model", text(&model), "Hello", "--limit", "1"]).code(0);
    let mut weights = std::fs::read(model.join("model.safetensors")).unwrap();
    let end = weights.len();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        weights[end - 4..].copy_from_slice(&bad.to_le_bytes());
        std::fs::write(model.join("model.safetensors"), &weights).unwrap();
        refuses(&model, &["no finite numbers", "model."]);
    }
}

/// The tokens of an answer, and those that the folder of an input says transformers gives.
#[track_caller]
fn answers_as(model: &Path, question: &[&str], want: &Path) {
    let model = text(model);
    let all = [&["ask", "--model", model][..], question, &["--json", "--limit", "12", "--weights", "f32"]].concat();
    let said = hive(&all).code(0);
    let want: Value = serde_json::from_slice(&std::fs::read(want).unwrap()).unwrap();
    let tokens: Vec<_> = said.json()["tokens"].as_array().unwrap().iter().map(|t| t["token"].clone()).collect();
    assert_eq!(tokens, *want["tokens"].as_array().unwrap(), "{model}");
}

const SKY: &str = "What is the colour of the sky?";

/// Answers of transformers 5.9 (f32, greedy), pictures by Pillow 13.
#[test]
fn templates_and_processors_are_followed_as_transformers_follows_them() {
    if !adapter() {
        return;
    }
    let data = |name: &str| repository("tests/field/data").join(name);
    // A template that takes parts, of a model that pads pictures.
    let parts = copy_of("llava", "models-parts");
    std::fs::copy(data("llava-template-of-parts/chat_template.jinja"), parts.join("chat_template.jinja")).unwrap();
    std::fs::remove_file(parts.join("preprocessor_config.json")).unwrap();
    let picture = data("llava-template-of-parts/picture.png");
    answers_as(&parts, &[text(&picture), SKY], &data("llava-template-of-parts/want.json"));
    // A picture that is not square, of one that squashes them.
    let wide = data("llava/picture.png");
    answers_as(&data("llava"), &[text(&wide), SKY], &data("llava/want.json"));
    let model = copy("models-strftime");
    std::fs::copy(data("template-strftime/chat_template.jinja"), model.join("chat_template.jinja")).unwrap();
    answers_as(&model, &[SKY], &data("template-strftime/want.json"));
    // The head of the file is used, not the table that config.json ties it to.
    let head = copy("models-head");
    std::fs::copy(data("tied-head-differs/model.safetensors"), head.join("model.safetensors")).unwrap();
    answers_as(&head, &[SKY], &data("tied-head-differs/want.json"));
    let sharded = copy("models-index");
    std::fs::remove_file(sharded.join("model.safetensors")).unwrap();
    for file in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    {
        std::fs::copy(data("index-names-more").join(file), sharded.join(file)).unwrap();
    }
    answers_as(&sharded, &[SKY], &data("index-names-more/want.json"));
}

#[test]
fn a_picture_stands_where_its_mark_is_and_nowhere_else() {
    if !adapter() {
        return;
    }
    let model = copy_of("llava", "models-marks");
    let picture = text(&model.join("picture.png")).to_owned();
    let ask = |question: &str| hive(&["ask", "--model", text(&model), &picture, question, "--limit", "2"]);
    ask("Is <image> a word?").code(1).complains(&["2 marks <image> for 1 pictures"]);
    std::fs::write(model.join("chat_template.jinja"), "{{ messages[0].content.split('>')[1] }}").unwrap();
    ask(SKY).code(1).complains(&["leaves the picture out"]);
    let processor = model.join("preprocessor_config.json");
    std::fs::write(&processor, "{\"image_processor_type\": \"Idefics3ImageProcessor\"}").unwrap();
    ask(SKY).code(1).complains(&["preprocessor_config.json", "Idefics3ImageProcessor"]);
    std::fs::write(&processor, "{\"image_processor_type\": ").unwrap();
    ask(SKY).code(1).complains(&["preprocessor_config.json is damaged"]);
}

/// A weight of the file under another name.
fn rename(file: &Path, new: impl Fn(&str) -> Option<String>) {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.iter().filter_map(|(name, view)| Some((new(name)?, view)));
    let whole = safetensors::serialize(kept, None).unwrap();
    std::fs::write(file, whole).unwrap();
}

#[test]
fn what_python_writes_is_read() {
    if !adapter() {
        return;
    }
    let want = repository("tests/field/data/text-model/want.json");
    let asked: Value = serde_json::from_slice(&std::fs::read(&want).unwrap()).unwrap();
    let question = asked["question"].as_str().unwrap();
    // Numbers that are no JSON, where nobody needs them.
    let model = copy("models-python");
    for file in ["config.json", "tokenizer_config.json", "generation_config.json"] {
        let old = std::fs::read_to_string(model.join(file)).unwrap();
        std::fs::write(model.join(file), old.replacen('{', "{\"own\": [NaN, Infinity, -Infinity],", 1)).unwrap();
    }
    answers_as(&model, &[question], &want);
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), config.replacen('{', "{\"rms_norm_eps\": Infinity,", 1)).unwrap();
    let twice = std::fs::read_to_string(model.join("config.json")).unwrap().replace("\"rms_norm_eps\": 1e-06,", "");
    std::fs::write(model.join("config.json"), twice).unwrap();
    refuses(&model, &["rms_norm_eps is \"Infinity\", a number is expected"]);
    // A model that was saved without its head has no prefix.
    let bare = copy("models-bare");
    rename(&bare.join("model.safetensors"), |name| Some(name.strip_prefix("model.").unwrap_or(name).to_owned()));
    answers_as(&bare, &[question], &want);
}

#[test]
fn settings_of_generation_that_are_not_followed_are_named() {
    if !adapter() {
        return;
    }
    let model = copy("models-generation");
    let write = |text: &str| std::fs::write(model.join("generation_config.json"), text).unwrap();
    let ask =
        |more: &[&str]| hive(&[&["ask", "--model", text(&model), "Hello", "--limit", "2"], more].concat()).code(0);
    write(r#"{"eos_token_id": 2, "do_sample": true, "temperature": 0.7, "top_p": 1.0, "repetition_penalty": 1.1}"#);
    ask(&[])
        .complains(&["generation_config.json asks for temperature 0.7, repetition_penalty 1.1: here the likeliest"]);
    assert!(!ask(&["--temperature", "0.7"]).err.contains("asks for"));
    write(r#"{"eos_token_id": 2, "do_sample": false, "temperature": 0.7, "num_beams": 1, "bad_words_ids": null}"#);
    assert!(!ask(&[]).err.contains("asks for"));
    // What macOS leaves beside a file.
    std::fs::rename(model.join("model.safetensors"), model.join("weights.safetensors")).unwrap();
    std::fs::write(model.join("._weights.safetensors"), [0, 5, 22, 7]).unwrap();
    ask(&[]);
}

#[test]
fn a_picture_for_a_model_without_sight_is_no_question() {
    if !adapter() {
        return;
    }
    let model = repository("tests/field/data/text-model");
    let picture = repository("tests/field/data/llava/picture.png");
    let ask = hive(&["ask", "--model", text(&model), text(&picture), "What is it?"]);
    ask.code(1).complains(&["this model takes no pictures: leave", "picture.png out"]);
}

#[test]
fn two_scalings_of_one_rotation_are_refused() {
    if !adapter() {
        return;
    }
    let model = copy("models-rope");
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let both = config.replacen('{', "{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0},", 1);
    std::fs::write(model.join("config.json"), both).unwrap();
    refuses(&model, &["rope_scaling and rope_parameters say different things"]);
}

#[test]
fn files_that_are_something_else_are_named() {
    if !adapter() {
        return;
    }
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let model = copy("models-page");
        std::fs::write(model.join(file), "\n<!doctype html><html><body>Sign in</body></html>").unwrap();
        refuses(&model, &[file, "is a web page"]);
    }
    let onnx = copy("models-onnx");
    std::fs::rename(onnx.join("model.safetensors"), onnx.join("model.onnx")).unwrap();
    refuses(&onnx, &["model.onnx is made for another program"]);
    let long = copy("models-long");
    std::fs::write(long.join("config.json"), format!("{{\"own\": [{}1]}}", "1,".repeat(5_000_000))).unwrap();
    refuses(&long, &["config.json has", "text files of up to 8388608 bytes are read"]);
}

#[test]
fn a_conversation_that_is_full_forgets_its_oldest_turns() {
    if !adapter() {
        return;
    }
    let model = text(&repository("tests/field/data/text-model")).to_owned();
    let mut input = Vec::new();
    for line in 0..8 {
        input.extend(format!("Line {line}: What is the colour of the sky in the morning?\n").into_bytes());
    }
    input.extend(b"\xff\xfe is no text\nAnd now?\n");
    input.extend(format!("{}\nAnd then?\n", "word ".repeat(400)).into_bytes());
    let said = hive_reading(&["chat", "--model", &model, "--limit", "8", "--room", "256"], &input).code(0);
    assert_eq!(said.err.matches("tokens read").count(), 10, "{}", said.err);
    said.complains(&[
        "the oldest 1 of its questions",
        "a line that is not UTF-8 was left out",
        "/new begins a new conversation",
    ]);
}

#[test]
fn templates_without_bound_are_refused() {
    if !adapter() {
        return;
    }
    let model = copy("models-templates");
    let attributes = format!("{{{{ messages{} }}}}", ".a".repeat(12_800));
    let minus = format!("{{{{ {}1 }}}}", "-".repeat(50_000));
    let words = format!("{{{{ {}1 }}}}", "not ".repeat(50_000));
    let nest = "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}";
    let grow =
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x|length }}";
    for template in [&attributes, &minus, &words, "{{ '{:>9999999999}'.format('a') }}", nest, grow] {
        std::fs::write(model.join("chat_template.jinja"), template).unwrap();
        refuses(&model, &["the model's chat template cannot be used", "remove it from chat_template.jinja"]);
    }
    // As processors are saved by some versions.
    std::fs::remove_file(model.join("chat_template.jinja")).unwrap();
    let json = serde_json::json!({"chat_template": minus}).to_string();
    std::fs::write(model.join("chat_template.json"), json).unwrap();
    refuses(&model, &["the model's chat template cannot be used", "remove it from chat_template.json"]);
}

#[test]
fn a_typed_mark_is_text_to_a_model_without_pictures() {
    if !adapter() {
        return;
    }
    let model = repository("tests/field/data/text-model");
    answers_as(&model, &["What does <image> mean?"], &model.join("want.json"));
}
