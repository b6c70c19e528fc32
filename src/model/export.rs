//! Configurations as `transformers` reads them, and that of a whole model made of such parts, which `files` reads again.

use serde_json::{Map, Value, json};

use super::config::{HiveConfig, LanguageConfig, VisionConfig, Wiring};
use super::files::{FileDType, ModelSpec};
use super::language::Language;
use super::registry::Registry;
use super::vision::Vision;
use crate::nn::ParamSpec;

/// A part of a model that other programs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `SiglipVisionModel`.
    Tower,
    /// `LlamaForCausalLM` or `Qwen2ForCausalLM`.
    Language,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tower, Self::Language];

    /// Its name in options, and of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tower => "vision_tower",
            Self::Language => "language_model",
        }
    }

    /// The part of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Does a model of this kind have it?
    #[must_use]
    pub fn is_in(self, kind: Wiring) -> bool {
        match self {
            Self::Tower => kind != Wiring::Text,
            Self::Language => kind != Wiring::Tower,
        }
    }

    /// Its parameters.
    #[must_use]
    pub fn specs(self, config: &HiveConfig) -> Vec<ParamSpec> {
        let mut g = Registry::default();
        match self {
            Self::Tower => drop(Vision::new(&mut g, &config.vision_config)),
            Self::Language => drop(Language::new(&mut g, &config.text_config)),
        }
        g.specs
    }

    /// Its `config.json`.
    #[must_use]
    pub fn config(self, spec: &ModelSpec, dtype: FileDType) -> Value {
        let (mut config, class) = match self {
            Self::Tower => (tower(&spec.config.vision_config), "SiglipVisionModel"),
            Self::Language if spec.config.text_config.attention_bias => (language(spec), "Qwen2ForCausalLM"),
            Self::Language => (language(spec), "LlamaForCausalLM"),
        };
        config["architectures"] = json!([class]);
        config["torch_dtype"] = json!(torch(dtype));
        config
    }
}

/// PyTorch's name of a type of weights.
#[must_use]
pub fn torch(dtype: FileDType) -> &'static str {
    match dtype {
        FileDType::F16 => "float16",
        FileDType::BF16 => "bfloat16",
        _ => "float32",
    }
}

fn tower(c: &VisionConfig) -> Value {
    let mut map = sizes(c);
    map.insert("model_type".into(), json!("siglip_vision_model"));
    map.insert("hidden_act".into(), json!("gelu_pytorch_tanh"));
    map.insert("attention_dropout".into(), json!(0.0));
    // Links and projectors read before it; no weights are there.
    map.insert("vision_use_head".into(), json!(false));
    Value::Object(map)
}

fn language(spec: &ModelSpec) -> Value {
    let c: &LanguageConfig = &spec.config.text_config;
    let mut map = sizes(c);
    map.remove("attention_bias");
    let class = if c.attention_bias {
        map.insert("use_sliding_window".into(), json!(false));
        "qwen2"
    } else {
        map.insert("attention_bias".into(), json!(false));
        map.insert("mlp_bias".into(), json!(false));
        "llama"
    };
    map.insert("model_type".into(), json!(class));
    map.insert("hidden_act".into(), json!("silu"));
    map.insert("bos_token_id".into(), json!(spec.bos));
    map.insert("eos_token_id".into(), ids(&spec.eos));
    Value::Object(map)
}

/// One id, several, or none.
fn ids(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [one] => json!(one),
        all => json!(all),
    }
}

fn sizes(c: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(c) {
        Ok(Value::Object(map)) => map,
        // A struct of numbers is an object.
        _ => Map::new(),
    }
}

/// The `config.json` of a linked or flattened model, in a form of its own: both parts with `transformers`' keys, and the
/// links.
#[must_use]
pub fn whole(spec: &ModelSpec, dtype: FileDType) -> Value {
    let mut config = json!({
        "vision_config": tower(&spec.config.vision_config),
        "text_config": language(spec),
        "torch_dtype": torch(dtype),
        "kind": spec.kind.key(),
    });
    if spec.kind == Wiring::Linked {
        config["link_config"] = json!(spec.config.link_config);
    }
    if let Some(colour) = spec.background {
        config["image_background"] = json!(colour);
    }
    config
}

/// The `preprocessor_config.json` of a tower.
#[must_use]
pub fn preprocessor(c: &VisionConfig) -> Value {
    json!({
        "image_processor_type": "SiglipImageProcessor",
        "do_convert_rgb": true, "do_resize": true, "do_rescale": true, "do_normalize": true,
        "size": {"height": c.image_size, "width": c.image_size},
        "resample": 3, "rescale_factor": 1.0 / 255.0,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    })
}

/// The `generation_config.json` of a model that answers with its likeliest words.
#[must_use]
pub fn generation(spec: &ModelSpec, pad: u32) -> Value {
    json!({"bos_token_id": spec.bos, "eos_token_id": ids(&spec.eos), "pad_token_id": pad, "do_sample": false})
}

/// Another type of weights in a `config.json` that says which they have.
pub fn set_dtype(config: &mut Value, dtype: FileDType) {
    let Value::Object(map) = config else { return };
    for (key, value) in map {
        match value {
            Value::String(_) if key == "torch_dtype" || key == "dtype" => *value = json!(torch(dtype)),
            Value::Object(_) if key.ends_with("_config") => set_dtype(value, dtype),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{RopeLayout, RopeScaling, RopeType};
    use super::*;

    fn spec(kind: Wiring, bias: bool) -> ModelSpec {
        let mut config = HiveConfig::default();
        config.text_config.attention_bias = bias;
        config.text_config.tie_word_embeddings = false;
        config.text_config.rope_scaling = Some(RopeScaling {
            rope_type: RopeType::Llama3,
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 512,
        });
        config.vision_config.image_size = 384;
        let (eos, bos) = (vec![2, 7], Some(1));
        let max_positions = config.text_config.max_position_embeddings;
        let background = Some([255, 0, 9]);
        ModelSpec {
            kind,
            config,
            model_type: String::new(),
            eos,
            bos,
            max_positions,
            image_token: None,
            background,
            asked: Vec::new(),
            family: crate::model::files::Family::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for bias in [false, true] {
            let mut want = spec(Wiring::Linked, bias);
            want.config.link_config.vision_layers = vec![3, 12];
            want.config.link_config.language_layers = vec![0, 29];
            want.config.link_config.rope_layout = RopeLayout::Released;
            want.config.link_config.separate_image_kv = false;
            let text = whole(&want, FileDType::F16).to_string();
            assert_eq!(ModelSpec::read(&text, None).unwrap(), want);

            let flat = spec(Wiring::Flattened, bias);
            assert_eq!(ModelSpec::read(&whole(&flat, FileDType::F32).to_string(), None).unwrap(), flat);

            let class = if bias { "qwen2" } else { "llama" };
            let alone = ModelSpec::read(&Part::Language.config(&flat, FileDType::BF16).to_string(), None).unwrap();
            assert_eq!((alone.kind, alone.model_type.as_str()), (Wiring::Text, class));
            assert_eq!(
                (&alone.config.text_config, &alone.eos, alone.bos),
                (&flat.config.text_config, &flat.eos, flat.bos)
            );
            let tower = ModelSpec::read(&Part::Tower.config(&flat, FileDType::BF16).to_string(), None).unwrap();
            assert_eq!((tower.kind, &tower.config.vision_config), (Wiring::Tower, &flat.config.vision_config));
        }
    }

    #[test]
    fn the_type_is_named_wherever_it_was() {
        let mut config =
            json!({"dtype": "float32", "a": 1, "text_config": {"torch_dtype": "float32"}, "x": {"dtype": "y"}});
        set_dtype(&mut config, FileDType::BF16);
        let want =
            json!({"dtype": "bfloat16", "a": 1, "text_config": {"torch_dtype": "bfloat16"}, "x": {"dtype": "y"}});
        assert_eq!(config, want);
        set_dtype(&mut json!(3), FileDType::F16);
    }
}
