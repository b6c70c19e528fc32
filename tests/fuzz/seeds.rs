//! Inputs that are right, small ones of each kind: what is changed at random.

use std::path::Path;
use std::sync::OnceLock;

use hive::data::dataset::Dataset;
use hive::data::tokenizer::Tokenizer;
use hive::data::tokenizer_files::{tokenizer_config, tokenizer_json};
use hive::engine::assets;
use hive::model::weights::{self, Precision};
use hive::platform::list_tree;
use hive::train::checkpoint::{FORMAT, Meta};
use serde_json::{Map, Value, json};

/// Seeds, made once.
pub(crate) type Seeds = &'static [Vec<u8>];

fn once(cell: &'static OnceLock<Vec<Vec<u8>>>, make: fn() -> Vec<Vec<u8>>) -> Seeds {
    cell.get_or_init(make)
}

/// Files of the published vision-language models, those of a model as one object: JSON as it is, others as texts.
fn vlm(names: &[&str]) -> Vec<Vec<u8>> {
    let all =
        ["granite-docling", "llava-interleave", "llava-onevision", "nanovlm", "smolvlm", "smolvlm-whole", "smolvlm2"];
    let family = |family: &&str| {
        let path = |name: &str| format!("tests/fixtures-vlm/{family}/{name}");
        let there = names.iter().filter(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(path(name)).is_file());
        let read = |name: &&str| {
            let bytes = file(&path(name));
            let value = serde_json::from_slice(&bytes);
            ((*name).to_owned(), value.unwrap_or_else(|_| String::from_utf8(bytes).unwrap().into()))
        };
        Value::Object(there.map(read).collect()).to_string().into_bytes()
    };
    all.iter().map(family).collect()
}

/// Question sets: the task, and the files of a folder, JSON as it is and others as texts; pictures have no contents.
fn sets() -> Vec<Vec<u8>> {
    let formats = Path::new("tests/fixtures-eval/formats");
    let of = |(task, form): (&str, &str)| {
        let root = formats.join(task).join(form);
        let names = list_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join(&root)).unwrap();
        let read = |name: String| {
            let value = match name.rsplit('.').next() {
                Some("jpg" | "png") => Value::Null,
                _ => {
                    let bytes = file(root.join(&name).to_str().unwrap());
                    serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8(bytes).unwrap().into())
                }
            };
            (name, value)
        };
        let files: Map<String, Value> = names.into_iter().map(read).collect();
        json!({"task": task, "files": files}).to_string().into_bytes()
    };
    let original = ["mme", "gqa", "ok_vqa", "scienceqa", "textvqa", "pope", "vqav2"].map(|task| (task, "original"));
    let tables = ["mme", "gqa", "scienceqa", "textvqa", "pope"].map(|task| (task, "tsv"));
    original.into_iter().chain(tables).map(of).collect()
}

/// Bytes as a text with a character for each.
pub(crate) fn characters(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

/// The bytes of such a text.
pub(crate) fn bytes(text: &Value) -> Vec<u8> {
    text.as_str().unwrap_or_default().chars().map(|c| c as u8).collect()
}

/// Sets of pictures, each of one class: which, and the files of a folder, a character for each of their bytes.
fn pictured() -> Vec<Vec<u8>> {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures-eval/formats");
    let of = |(set, form): (&str, &str)| {
        let root = formats.join(form);
        let names = list_tree(&root).unwrap();
        let files: Map<String, Value> = names
            .into_iter()
            .map(|name| (name.clone(), characters(&std::fs::read(root.join(name)).unwrap())))
            .collect();
        json!({"set": set, "files": files}).to_string().into_bytes()
    };
    let all = ["imagenet", "food101", "pets", "caltech256", "folders"].map(|set| (set, set));
    let cifar = ["cifar10/binary", "cifar10/python"].map(|form| ("cifar10", form));
    all.into_iter().chain(cifar).map(of).collect()
}

macro_rules! seeds {
    ($($name:ident = $make:expr;)*) => {
        $(pub(crate) fn $name() -> Seeds {
            static CELL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
            once(&CELL, $make)
        })*
    };
}

seeds! {
    headers = || vec![small(Precision::F32), small(Precision::F16)];
    families = || vlm(&["config.json", "preprocessor_config.json", "processor_config.json"]);
    prompts = || vlm(&[
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.json",
        "chat_template.jinja",
    ]);
    question_sets = sets;
    class_sets = pictured;
    configs = || {
        let names = ["llama", "qwen2", "vision", "hive", "cascade", "hive-qwen2"];
        let own = json!({"model_type": "llava", "vision_config": {"model_type": "siglip_vision_model", "image_size": 32,
            "patch_size": 8, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 40},
            "text_config": {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
            "vocab_size": 90, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}, "image_token_index": 80});
        names.iter().map(|n| file(&format!("tests/fixtures/{n}/config.json"))).chain([own.to_string().into()]).collect()
    };
    tokenizers = || vec![tokenizer_json(&words()).into(), bpe().to_string().into()];
    templates = || {
        let texts = [
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "{% set ns = namespace(found=false) %}{% for m in messages if m.role != 'system' %}{% set ns.found = loop.first %}{{ bos_token + m['content'].strip().upper() }}{% endfor %}{{ ns.found | tojson }}",
            "{% macro turn(m) %}[INST] {{ m.content }} [/INST]{% endmacro %}{{ raise_exception('no') if messages | length > 3 else turn(messages[0]) }}{{ '%05d' % 7 }}{{ '{:>8}'.format('a') }}{{ range(3) | list }}",
        ];
        let settings = |t: &str| json!({"chat_template": t, "bos_token": "<s>", "eos_token": {"content": "</s>"}}).to_string();
        let all = texts.iter().map(|t| settings(t)).chain([tokenizer_config(64)]);
        all.map(String::into_bytes).collect()
    };
    pictures = || {
        let picture = image::RgbaImage::from_fn(23, 17, |x, y| image::Rgba([x as u8 * 9, y as u8 * 11, 60, 255 - x as u8]));
        let rgb = image::DynamicImage::ImageRgba8(picture.clone()).to_rgb8();
        let grey = image::DynamicImage::ImageRgba8(picture.clone()).to_luma16();
        let mut all = Vec::new();
        let mut add = |picture: image::DynamicImage, format| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            all.push(bytes.into_inner());
        };
        add(picture.clone().into(), image::ImageFormat::Png);
        add(grey.into(), image::ImageFormat::Png);
        add(rgb.clone().into(), image::ImageFormat::Jpeg);
        add(picture.into(), image::ImageFormat::WebP);
        add(rgb.into(), image::ImageFormat::WebP);
        all
    };
    lists = || {
        let entry = |i: usize| json!({"id": i.to_string(), "image": format!("{i}.png"), "conversations": [
            {"from": "human", "value": "<image>\nwhat is it ?"}, {"from": "gpt", "value": "a square"},
            {"from": "human", "value": "which colour ?"}, {"from": "gpt", "value": "red"}]});
        let all: Vec<Value> = (0..6).map(entry).collect();
        let lines = all.iter().map(|e| format!("{e}\n")).collect::<String>();
        vec![json!(all).to_string().into(), lines.into(), serde_json::to_vec_pretty(&all).unwrap()]
    };
    checkpoints = || vec![checkpoint(&json!(meta()), &[])];
    runs = || {
        let point = json!({"step": 1, "stage": "1", "update": 1, "loss": 2.5, "grad_norm": 0.5, "learning_rate": 0.001, "throughput": 9.0});
        let share = json!({"hits": 1, "of": 2});
        let scores = json!({"all": share, "several": share, "kinds": {"what": share}, "loss": 1.5});
        let log = json!({"hive": [point, point], "control": [point], "beside": "links:1,2,3",
            "scores": [{"lane": "hive", "step": 1, "stage": "1", "own": scores, "swapped": scores}],
            "norms": [], "depths": [{"step": 1, "stage": null, "update": 0, "found": {"attributes": [["colour", 0.5]], "shares": [[0.5], [1]]}}]});
        let head = json!({"kept": [[1, 1.0, 36, 0], [2, 0.5, 36, 0]], "layouts": [{"tokens": ["a", "b", "c", "d"],
            "first_answer": 2, "layers": [0], "depths": [3], "heads": 1, "side": 3}]});
        let maps = [format!("{head}\n").into_bytes(), vec![100; 72]].concat();
        let parts = [("run.log.json", log.to_string().into_bytes()), ("run.snapshots", maps),
            ("run.control.safetensors", checkpoint(&json!(meta()), &[])), ("run.stage.stage 1.safetensors", vec![1, 2, 3])];
        vec![checkpoint(&json!(meta()), &parts)]
    };
    presets = || ["tiny", "grounds"].map(|n| serde_json::to_vec(&assets::preset(n).unwrap()).unwrap()).into();
    links = || {
        let texts = [
            "#preset=pictures&seed=3&stage=2&links=1,2,3,4&beside=links:4,3,2,1&hide=recipe,run&tab=norms&question=what%20is%20it%20%3F&example=7",
            "https://example.org/hive/#v=1&preset=tiny&trained=1&panels=data,ask&lesson=what-lives-where&run=1",
            "hive:fresh=1&control=1&hide=none&links=deep-first&tab=depths",
        ];
        texts.map(|t| t.as_bytes().to_vec()).into()
    };
    lines = || {
        let index = json!({"metadata": {"total_size": 64}, "weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-1.safetensors"}});
        vec![index.to_string().into()]
    };
    hubs = || {
        let file = |name: &str, size: u64| json!({"type": "file", "path": name, "size": size, "oid": "1".repeat(40),
            "lfs": {"oid": "a".repeat(64), "size": size}});
        let list = json!([file("config.json", 2), file("model.safetensors", 3), file("tokenizer.json", 2)]);
        let about = json!({"sha": "0123456789abcdef0123456789abcdef01234567", "cardData": {"license": "mit"}});
        vec![list.to_string().into(), about.to_string().into()]
    };
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn words() -> Tokenizer {
    Tokenizer::new(Dataset::Shapes.words()).unwrap()
}

/// A weights file of three tensors.
fn small(precision: Precision) -> Vec<u8> {
    let values = [0.5_f32; 12];
    let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec(), &values[..shape.iter().product()]);
    weights::write(&[tensor("a.weight", &[3, 4]), tensor("b.weight", &[2]), tensor("c", &[])], precision)
}

/// A tokenizer of another program: byte pairs, split by words, special tokens.
fn bpe() -> Value {
    let letters = ["a", "b", "c", "Ġ", "ab", "Ġab", "abc"];
    let vocab: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(i, t)| ((*t).to_owned(), json!(i))).collect();
    json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 7, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": ["a b", "Ġ ab", "ab c"]}})
}

/// Metadata of a checkpoint of the smallest preset.
pub(crate) fn meta() -> Meta {
    let preset = assets::preset("tiny").unwrap();
    Meta {
        format: FORMAT,
        model: preset.model.clone(),
        tokenizer: words(),
        preset,
        stage: None,
        update: 0,
        more: false,
        split: hive::data::folder::SplitBy::Id,
        data: None,
        scores: Vec::new(),
    }
}

/// A checkpoint file with this metadata, without weights, with these parts.
pub(crate) fn checkpoint(meta: &Value, parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut header = json!({"__metadata__": {"hive": meta.to_string()}});
    let mut data = Vec::new();
    for (name, part) in parts {
        header[name] =
            json!({"dtype": "U8", "shape": [part.len()], "data_offsets": [data.len(), data.len() + part.len()]});
        data.extend_from_slice(part);
    }
    let text = header.to_string();
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat()
}

/// Metadata and parts of such a file.
pub(crate) fn opened(file: &[u8]) -> (Value, Vec<(String, Vec<u8>)>) {
    let size = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + size]).unwrap();
    let data = &file[8 + size..];
    let meta = serde_json::from_str(header["__metadata__"]["hive"].as_str().unwrap()).unwrap();
    let part = |(name, info): (&String, &Value)| {
        let at = |i: usize| info["data_offsets"][i].as_u64().map(|v| v as usize);
        Some((name.clone(), data[at(0)?..at(1)?].to_vec()))
    };
    (meta, header.as_object().unwrap().iter().filter_map(part).collect())
}
