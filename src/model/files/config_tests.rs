//! Configurations as transformers 4 and 5 write them, and options that Hive does not compute.

use serde_json::{Value, json};

use super::*;

fn read(config: &Value) -> Result<ModelSpec, FilesError> {
    ModelSpec::read(&config.to_string(), None)
}

/// The configuration is refused with a sentence that has these parts.
fn refused(mut config: Value, changes: &Value, parts: &[&str]) {
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let text = read(&config).unwrap_err().to_string();
    assert!(
        text.starts_with("config.json: ") && parts.iter().all(|p| text.contains(p)),
        "{text}\nlacks one of {parts:?}"
    );
}

/// Llama-3.2-1B.
fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
        "tie_word_embeddings": true, "max_position_embeddings": 131072, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192},
        "bos_token_id": 128000, "eos_token_id": 128001, "pretraining_tp": 1, "use_cache": true
    })
}

const SCALING: RopeScaling = RopeScaling {
    rope_type: RopeType::Llama3,
    factor: 32.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 8192,
};

#[test]
fn llama_in_both_spellings() {
    let old = read(&llama()).unwrap();
    let c = &old.config.text_config;
    assert_eq!((old.kind, old.bos, old.max_positions), (Wiring::Text, Some(128_000), 131_072));
    assert_eq!((c.hidden_size, c.num_key_value_heads, c.rope_theta, c.tie_word_embeddings), (2048, 8, 5e5, true));
    assert_eq!((c.rope_scaling, c.attention_bias, &old.eos[..]), (Some(SCALING), false, &[128_001][..]));

    let mut new = llama();
    new["rope_parameters"] = new["rope_scaling"].take();
    new["rope_parameters"]["rope_theta"] = new["rope_theta"].take();
    assert_eq!(read(&new).unwrap(), old);
    let mut oldest = llama();
    let kind = oldest["rope_scaling"]["rope_type"].take();
    oldest["rope_scaling"]["type"] = kind;
    assert_eq!(read(&oldest).unwrap(), old);

    let generation = r#"{"eos_token_id": [128001, 128008, 128009], "bos_token_id": 7}"#;
    let spec = ModelSpec::read(&llama().to_string(), Some(generation)).unwrap();
    assert_eq!((spec.eos, spec.bos), (vec![128_001, 128_008, 128_009], Some(7)));
    let text = ModelSpec::read(&llama().to_string(), Some(r#"{"eos_token_id": -1}"#)).unwrap_err().to_string();
    assert!(text.contains("generation_config.json: eos_token_id is -1"), "{text}");
}

#[test]
fn absent_keys_are_those_of_the_class() {
    let spec = read(&json!({"model_type": "llama"})).unwrap();
    let c = spec.config.text_config;
    assert_eq!((c.hidden_size, c.intermediate_size, c.vocab_size, c.rms_norm_eps), (4096, 11008, 32000, 1e-6));
    assert_eq!((c.num_hidden_layers, c.num_key_value_heads, c.tie_word_embeddings), (32, 32, false));
    assert_eq!((spec.eos, spec.bos, spec.max_positions), (vec![2], Some(1), 2048));
    let spec = read(&json!({"model_type": "llama", "eos_token_id": null, "num_attention_heads": 64})).unwrap();
    assert_eq!((spec.eos.len(), spec.config.text_config.num_key_value_heads), (0, 64));

    let spec = read(&json!({"model_type": "qwen2"})).unwrap();
    let c = spec.config.text_config;
    assert_eq!((c.intermediate_size, c.vocab_size, c.rope_theta, c.attention_bias), (22016, 151_936, 1e4, true));
    assert_eq!((spec.eos.len(), spec.bos, spec.max_positions), (0, None, 32768));

    for config in [json!({"model_type": "siglip_vision_model"}), json!({"model_type": "siglip", "text_config": {}})] {
        let spec = read(&config).unwrap();
        assert_eq!((spec.kind, spec.config.vision_config), (Wiring::Tower, VisionConfig::default()));
    }
    let part = json!({"hidden_size": 1024, "image_size": 384, "num_attention_heads": 16});
    let nested = json!({"model_type": "siglip", "vision_config": part});
    let v = read(&nested).unwrap().config.vision_config;
    assert_eq!((v.hidden_size, v.image_size, v.patch_size, v.num_hidden_layers), (1024, 384, 16, 12));
}

#[test]
fn mobilellm_has_its_own_keys() {
    let config = |kind: &str| {
        json!({"model_type": kind, "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3,
            "tie_word_embeddings": false, "share_embedding": true, "layer_sharing": false})
    };
    for kind in ["mobilellm", "llama"] {
        assert!(read(&config(kind)).unwrap().config.text_config.tie_word_embeddings);
        refused(config(kind), &json!({"layer_sharing": true}), &["layer_sharing is true"]);
    }
}

#[test]
fn llava_with_a_siglip_tower() {
    let config = json!({
        "model_type": "llava", "image_token_index": 151646, "vision_feature_layer": -2,
        "vision_feature_select_strategy": "full", "tie_word_embeddings": true,
        "vision_config": {"model_type": "siglip_vision_model", "num_hidden_layers": 3},
        "text_config": {"model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2,
            "eos_token_id": 151645, "use_sliding_window": false, "sliding_window": 4096}
    });
    let spec = read(&config).unwrap();
    assert_eq!((spec.kind, spec.image_token, &spec.eos[..]), (Wiring::Flattened, Some(151_646), &[151_645][..]));
    let c = &spec.config.text_config;
    assert_eq!((c.hidden_size, c.vocab_size, c.tie_word_embeddings, c.attention_bias), (896, 151_936, true, true));
    assert_eq!(spec.config.vision_config.hidden_size, 768);
    for layer in [json!([-2]), json!(2)] {
        let mut config = config.clone();
        config["vision_feature_layer"] = layer;
        assert_eq!(read(&config).unwrap(), spec);
    }
    for (change, part) in [
        (json!({"vision_feature_layer": -5}), "vision_feature_layer is -5; the tower has the states 0 to 3"),
        (json!({"vision_feature_layer": [-2, -1]}), "vision_feature_layer are several"),
        (json!({"vision_feature_select_strategy": null}), "vision_feature_select_strategy is default"),
        (json!({"projector_hidden_act": "relu"}), "projector_hidden_act is relu"),
        (json!({"multimodal_projector_bias": false}), "multimodal_projector_bias"),
        (json!({"vision_config": null}), "clip_vision_model"),
        (json!({"vision_config": {"model_type": "clip_vision_model"}}), "clip_vision_model"),
        (json!({"text_config": {"model_type": "gemma"}}), "gemma"),
        (json!({"text_config": []}), "text_config. is no object"),
        (json!({"text_config": {"model_type": "qwen2", "use_sliding_window": true}}), "text_config.use_sliding_window"),
    ] {
        refused(config.clone(), &change, &[part]);
    }
    // The text side is a llama where nothing is said.
    let mut config = config;
    config["text_config"] = Value::Null;
    assert_eq!(read(&config).unwrap().config.text_config.hidden_size, 4096);
}

#[test]
fn what_hive_does_not_compute_is_refused_by_name() {
    for (change, parts) in [
        (json!({"model_type": "mistral"}), &["model_type", "mistral", "qwen2"][..]),
        (json!({"hidden_act": "gelu"}), &["hidden_act is gelu", "silu"]),
        (json!({"mlp_bias": true}), &["mlp_bias is true"]),
        (json!({"attention_bias": true}), &["attention_bias is true", "o_proj"]),
        (json!({"head_dim": 128}), &["head_dim is 128", "64"]),
        (json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), &["rope_scaling.rope_type is linear", "llama3"]),
        (json!({"rope_parameters": {"rope_type": "yarn"}}), &["rope_parameters.rope_type is yarn"]),
        (json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), &["rope_parameters differ"]),
        (json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}), &["rope_scaling.low_freq_factor is missing"]),
        (json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor is 0.5"]),
        (json!({"layer_types": ["full_attention", "sliding_attention"]}), &["layer_types"]),
        (json!({"hidden_size": "big"}), &["hidden_size is \"big\"", "whole number"]),
        (json!({"hidden_size": -1}), &["hidden_size is -1"]),
        (json!({"hidden_size": 0, "head_dim": null}), &["every size"]),
        (json!({"num_attention_heads": 0, "head_dim": null}), &["every size"]),
        (json!({"num_key_value_heads": 5}), &["num_key_value_heads 5"]),
        (json!({"num_hidden_layers": 1_000_000_000}), &["num_hidden_layers is 1000000000", "1024"]),
        (json!({"vocab_size": u64::MAX}), &["vocab_size is 18446744073709551615"]),
        (json!({"rope_theta": 0}), &["rope_theta is 0"]),
        (json!({"tie_word_embeddings": 1}), &["tie_word_embeddings is 1", "true or false"]),
        (json!({"eos_token_id": [1, "x"]}), &["eos_token_id"]),
    ] {
        refused(llama(), &change, parts);
    }
    refused(json!({"model_type": "qwen2"}), &json!({"use_sliding_window": true}), &["use_sliding_window"]);
    for act in ["gelu", "gelu_new", "quick_gelu"] {
        refused(json!({"model_type": "siglip_vision_model"}), &json!({"hidden_act": act}), &[act, "gelu_pytorch_tanh"]);
    }
    for text in ["", "[]", "{", "null", "nonsense"] {
        let error = ModelSpec::read(text, None).unwrap_err().to_string();
        assert!(error.starts_with("config.json"), "{error}");
    }
    let deep = "{\"a\":".repeat(100_000);
    assert!(ModelSpec::read(&deep, None).unwrap_err().to_string().contains("recursion"));
}

#[test]
fn own_files_have_three_parts() {
    let own = json!({
        "vision_config": {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 20,
            "patch_size": 4},
        "text_config": {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "attention_bias": true},
        "link_config": {"vision_layers": [1, 2], "language_layers": [1, 3]}
    });
    let spec = read(&own).unwrap();
    assert_eq!((spec.kind, &spec.config.link_config.language_layers[..]), (Wiring::Linked, &[1, 3][..]));
    assert_eq!(spec.config, serde_json::from_value(own.clone()).unwrap());
    let mut flat = own.clone();
    flat["kind"] = "cascade".into();
    assert_eq!(read(&flat).unwrap().kind, Wiring::Flattened);
    // Parts taken from Hugging Face's files keep the meaning of their class.
    let mut mixed = own.clone();
    mixed["text_config"] = llama();
    assert_eq!(read(&mixed).unwrap().config.text_config.rope_scaling, Some(SCALING));
    mixed["vision_config"]["model_type"] = "clip_vision_model".into();
    refused(mixed, &json!({}), &["vision_config.model_type is clip_vision_model"]);

    refused(own.clone(), &json!({"text_config": null}), &["model_type"]);
    refused(own.clone(), &json!({"kind": "attentive_probe"}), &["model_type"]);
    refused(own.clone(), &json!({"text_config": {"hidden_size": "x"}}), &["text_config cannot be used"]);
    refused(own, &json!({"link_config": {"vision_layers": [1]}}), &["vision_layers"]);
}

#[test]
fn fixtures_are_read() {
    for (name, kind) in [
        ("llama", Wiring::Text),
        ("llama-untied", Wiring::Text),
        ("qwen2", Wiring::Text),
        ("vision", Wiring::Tower),
        ("hive", Wiring::Linked),
        ("hive-qwen2", Wiring::Linked),
        ("cascade", Wiring::Flattened),
        ("training", Wiring::Linked),
    ] {
        let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let folder = Folder::new(crate::platform::folder_blobs(path).unwrap()).unwrap();
        let spec = crate::platform::block_on(ModelSpec::open(&folder)).unwrap();
        assert_eq!(
            (spec.kind, spec.config.text_config.num_hidden_layers),
            (kind, if name == "vision" { 1 } else { 4 })
        );
    }
}
