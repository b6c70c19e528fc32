//! Models as people have them: other programs' formats, damaged weights, templates that never end.

use std::path::{Path, PathBuf};

use crate::common::program::{adapter, folder, hive, text};
use crate::common::repository;

/// A copy of a small model's folder.
fn copy(name: &str) -> PathBuf {
    let to = folder(name);
    for entry in std::fs::read_dir(repository("tests/field/data/text-model")).unwrap() {
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
    refuses(&model, &["tokenizer.model is not read", "save_pretrained"]);
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

#[test]
fn templates_without_bound_are_refused() {
    if !adapter() {
        return;
    }
    let model = copy("models-templates");
    let attributes = format!("{{{{ messages{} }}}}", ".a".repeat(12_800));
    let minus = format!("{{{{ {}1 }}}}", "-".repeat(50_000));
    let words = format!("{{{{ {}1 }}}}", "not ".repeat(50_000));
    for template in [&attributes, &minus, &words, "{{ '{:>9999999999}'.format('a') }}"] {
        std::fs::write(model.join("chat_template.jinja"), template).unwrap();
        refuses(&model, &["the model's chat template cannot be used"]);
    }
}

#[test]
fn a_typed_mark_is_text_to_a_model_without_pictures() {
    if !adapter() {
        return;
    }
    let model = repository("tests/field/data/text-model");
    let question = "What does <image> mean?";
    let said = hive(&["ask", "--model", text(&model), question, "--json", "--limit", "12", "--weights", "f32"]).code(0);
    let want: serde_json::Value = serde_json::from_slice(&std::fs::read(model.join("want.json")).unwrap()).unwrap();
    let tokens: Vec<_> = said.json()["tokens"].as_array().unwrap().iter().map(|t| t["token"].clone()).collect();
    assert_eq!(tokens, *want["tokens"].as_array().unwrap());
}
