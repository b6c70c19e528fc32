//! Tests of how published models want their pictures.

use serde_json::json;

use super::*;

fn of(value: &Value, side: usize) -> Result<Preprocess, String> {
    let config = json!({"model_type": "llava", "vision_feature_select_strategy": "full",
        "vision_config": {"model_type": "siglip_vision_model", "image_size": side, "patch_size": 4}});
    let spec = ModelSpec::read(&config.to_string(), None).unwrap();
    let recipe = read(Keys::of(value, PREPROCESSOR, "").unwrap(), &spec).map_err(|e| e.to_string())?;
    assert_eq!(recipe.cut, Cut::Whole);
    Ok(recipe.square)
}

/// Defaults of transformers' classes stand for what is left out.
#[test]
fn processors_are_read_by_their_class() {
    let siglip =
        json!({"image_processor_type": "SiglipImageProcessorFast", "size": {"height": 12, "width": 12}, "resample": 2});
    let want = Preprocess { filter: Filter::Bilinear, ..Preprocess::new(12) };
    assert_eq!(of(&siglip, 12).unwrap(), want);
    let clip = json!({"feature_extractor_type": "CLIPFeatureExtractor"});
    let [image_mean, image_std] = CLIP;
    let want = Preprocess { fit: Fit::Crop, image_mean, image_std, ..Preprocess::new(224) };
    assert_eq!(of(&clip, 224).unwrap(), want);
    let cut =
        json!({"image_processor_type": "CLIPImageProcessor", "size": 256, "crop_size": 224, "do_normalize": false});
    let plain = Preprocess { image_mean: [0.0; 3], image_std: [1.0; 3], ..want };
    assert_eq!(of(&cut, 224).unwrap(), Preprocess { resize: Some(256), ..plain });
    let llava = json!({"image_processor_type": "LlavaImageProcessor", "do_pad": true, "size": {"shortest_edge": 24},
        "crop_size": {"height": 24, "width": 24}, "image_mean": [0.5, 0.25, 0.5], "image_std": [1, 1, 2], "do_rescale": false});
    let want = Preprocess {
        fit: Fit::Pad,
        image_mean: [0.5, 0.25, 0.5],
        image_std: [1.0, 1.0, 2.0],
        rescale: Some(1.0),
        ..Preprocess::new(24)
    };
    assert_eq!(of(&llava, 24).unwrap(), want);
}

#[test]
fn what_is_not_computed_is_named() {
    let siglip = |key: &str, value: Value| {
        let mut all = json!({"image_processor_type": "SiglipImageProcessor", "size": {"height": 12, "width": 12}});
        all[key] = value;
        of(&all, 12).unwrap_err()
    };
    for (key, value, says) in [
        ("image_processor_type", json!("ViltImageProcessor"), "is ViltImageProcessor; those of"),
        ("image_processor_type", json!("Idefics3ImageProcessor"), "another family"),
        ("image_processor_type", json!(null), "image_processor_type is missing"),
        ("do_resize", json!(false), "do_resize is false"),
        ("resample", json!(9), "resample is 9"),
        ("size", json!({"height": 14, "width": 14}), "vision_config.image_size"),
        ("size", json!({"height": 14, "width": 12}), "no square"),
        ("size", json!({"longest_edge": 14}), "shortest_edge alone"),
        ("image_mean", json!([0.5]), "three numbers"),
        ("image_std", json!([0.5, 0.0, 0.5]), "has a 0"),
    ] {
        let error = siglip(key, value);
        assert!(error.contains(says) && error.starts_with(PREPROCESSOR), "{key}: {error}");
    }
}
