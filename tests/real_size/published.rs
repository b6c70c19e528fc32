//! SmolVLM-256M as a folder of Hugging Face's files: the published configuration, tokenizer and language model of
//! SmolLM2-135M, which it is made of, with the tags of its pictures; tower and connector are drawn.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use hive::data::picture_file::Rgb;
use hive::model::files::ModelSpec;
use hive::model::model::{Model, Wiring};
use hive::nn::ParamSpec;
use serde_json::{Map, Value, json};

use crate::common::repository;
use crate::weights::{self, FINE, key, mix};

/// The language model, as `tests/models/get.sh` leaves it.
const LANGUAGE: &str = "target/models/smollm2-135m-instruct";
/// What the names of a folder's tensors begin with, and those of the same here.
const RENAMED: [(&str, &str); 2] =
    [("vision_model.", "model.vision_model."), ("mm_projector.", "model.connector.modality_projection.")];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// The published configuration.
pub(crate) fn config() -> Value {
    read(&repository("tests/fixtures-vlm/published.json"))["models"][0]["config"].clone()
}

/// A photo.
pub(crate) fn photo(width: usize, height: usize) -> Rgb {
    let noise = key("photo");
    let data = (0..(width * height * 3) as u32)
        .map(|i| {
            let (x, y) = (i as usize / 3 % width, i as usize / 3 / width);
            ((x * y / 600 + y / 3) as u32 + (mix(i ^ noise) & 31)) as u8
        })
        .collect();
    Rgb { width, height, data }
}

/// Writes the folder. False, and a loud line, where the language model is not there; a failure where `HIVE_MODELS=required`.
pub(crate) fn write(folder: &Path) -> bool {
    let language = repository(LANGUAGE);
    if !language.join("model.safetensors").exists() {
        let required = std::env::var("HIVE_MODELS").is_ok_and(|v| v == "required");
        assert!(!required, "HIVE_MODELS=required, and {LANGUAGE} is not there");
        crate::say(&format!("*** SKIPPED: {LANGUAGE} is not there; tests/models/get.sh gets it ***"));
        return false;
    }
    fs::create_dir_all(folder).unwrap();
    settings(folder, &language);
    let mut places = tower(folder).unwrap();
    places.extend(text(folder, &language.join("model.safetensors")).unwrap());
    put(folder, "model.safetensors.index.json", &json!({ "weight_map": places }));
    true
}

fn put(folder: &Path, file: &str, value: &Value) {
    fs::write(folder.join(file), value.to_string()).unwrap();
}

/// Everything but the weights.
fn settings(folder: &Path, language: &Path) {
    let family = repository("tests/fixtures-vlm/smolvlm");
    put(folder, "config.json", &config());
    put(folder, "generation_config.json", &json!({ "eos_token_id": 49279, "bos_token_id": 1, "pad_token_id": 2 }));
    put(folder, "processor_config.json", &json!({ "image_seq_len": 64, "processor_class": "Idefics3Processor" }));
    let mut pictures = read(&family.join("preprocessor_config.json"));
    pictures["max_image_size"]["longest_edge"] = json!(512);
    pictures["size"]["longest_edge"] = json!(2048);
    put(folder, "preprocessor_config.json", &pictures);
    put(folder, "chat_template.json", &read(&family.join("chat_template.json")));
    let mut words = read(&language.join("tokenizer_config.json"));
    words.as_object_mut().unwrap().remove("chat_template");
    put(folder, "tokenizer_config.json", &words);
    let mut tokenizer = read(&language.join("tokenizer.json"));
    let rows = (1..=6).flat_map(|row| (1..=6).map(move |column| format!("<row_{row}_col_{column}>")));
    let tags = std::iter::once("<global-img>".to_owned())
        .chain(rows)
        .chain(["<fake_token_around_image>", "<image>"].map(str::to_owned))
        .chain((0..88).map(|i| format!("<|reserved_special_token_{i}|>")))
        .chain(["<end_of_utterance>".to_owned()]);
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    added.extend((49152..).zip(tags).map(|(id, content)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    }));
    put(folder, "tokenizer.json", &tokenizer);
}

/// Tower and connector, drawn; which file has which tensor.
fn tower(folder: &Path) -> io::Result<Map<String, Value>> {
    let spec = ModelSpec::read(&config().to_string(), None).unwrap();
    let (_, specs) = Model::new(&spec.config, Wiring::Flattened);
    let named = |spec: &ParamSpec| {
        let (ours, theirs) = RENAMED.iter().find(|(ours, _)| spec.name.starts_with(ours))?;
        Some(ParamSpec { name: spec.name.replacen(ours, theirs, 1), ..spec.clone() })
    };
    let specs: Vec<ParamSpec> = specs.iter().filter_map(named).collect();
    let file = "model-00001-of-00002.safetensors";
    weights::write_shard(&folder.join(file), &specs.iter().collect::<Vec<_>>(), FINE)?;
    Ok(specs.into_iter().map(|spec| (spec.name, json!(file))).collect())
}

/// The language model by its names in the whole, with rows for the tags and a head of its own, as published.
fn text(folder: &Path, from: &Path) -> io::Result<Map<String, Value>> {
    let bytes = fs::read(from)?;
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = (&bytes[8..8 + length], &bytes[8 + length..]);
    let tensors: Map<String, Value> = serde_json::from_slice(header)?;
    let (mut out, mut parts, mut at) = (Map::new(), Vec::new(), 0);
    for (name, info) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        let place = info["data_offsets"].as_array().unwrap();
        let part = &data[place[0].as_u64().unwrap() as usize..place[1].as_u64().unwrap() as usize];
        let mut info = info.clone();
        let table = name == "model.embed_tokens.weight";
        let padding = if table { (49280 - 49152) * 576 * 2 } else { 0 };
        if table {
            assert_eq!(info["shape"], json!([49152, 576]));
            info["shape"] = json!([49280, 576]);
        }
        let inside = name.replacen("model.", "model.text_model.", 1);
        for name in std::iter::once(inside).chain(table.then(|| "lm_head.weight".to_owned())) {
            info["data_offsets"] = json!([at, at + part.len() + padding]);
            at += part.len() + padding;
            out.insert(name, info.clone());
            parts.push((part, padding));
        }
    }
    let name = "model-00002-of-00002.safetensors";
    let header = Value::Object(out.clone()).to_string();
    let mut file = File::create(folder.join(name))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (part, padding) in parts {
        file.write_all(part)?;
        file.write_all(&vec![0; padding])?;
    }
    Ok(out.into_iter().map(|(tensor, _)| (tensor, json!(name))).collect())
}
