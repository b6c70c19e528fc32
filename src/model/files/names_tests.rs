//! Names of every writer, and folders that lack something.

use super::super::folder::Folder;
use super::super::header::tests::{entry, file};
use super::*;
use crate::platform::block_on;

#[test]
fn every_writers_names_become_ours() {
    for (name, want) in [
        ("model.embed_tokens.weight", "model.embed_tokens.weight"),
        ("language_model.model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("model.language_model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
        ("vision_model.post_layernorm.bias", "vision_model.post_layernorm.bias"),
        ("encoder.layers.0.mlp.fc1.bias", "vision_model.encoder.layers.0.mlp.fc1.bias"),
        ("embeddings.patch_embedding.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("vision_tower.encoder.layers.0.mlp.fc1.bias", "vision_model.encoder.layers.0.mlp.fc1.bias"),
        ("vision_tower.vision_model.post_layernorm.bias", "vision_model.post_layernorm.bias"),
        ("model.vision_tower.vision_model.head.probe", "vision_model.head.probe"),
        ("model.vision_tower.post_layernorm.weight", "vision_model.post_layernorm.weight"),
        ("vision_tower.vision_tower.vision_model.post_layernorm.bias", "vision_model.post_layernorm.bias"),
        ("model.vision_tower.vision_tower.vision_model.post_layernorm.bias", "vision_model.post_layernorm.bias"),
        ("model.mm_projector.0.weight", "mm_projector.0.weight"),
        ("mm_projector.2.bias", "mm_projector.2.bias"),
        ("multi_modal_projector.linear_1.weight", "mm_projector.0.weight"),
        ("model.multi_modal_projector.linear_2.bias", "mm_projector.2.bias"),
        ("links.1.k_norm.weight", "links.1.k_norm.weight"),
        ("anything.else", "anything.else"),
    ] {
        assert_eq!(canonical(name, &[]), want);
    }
}

#[test]
fn links_of_the_published_code_need_links() {
    for (part, want) in [
        ("mm_proj.0.bias", "mm_proj.norm.bias"),
        ("mm_proj.1.weight", "mm_proj.fc1.weight"),
        ("mm_proj.3.weight", "mm_proj.fc2.weight"),
        ("q_norm.weight", "q_norm.weight"),
        ("k_norm.weight", "k_norm.weight"),
        ("image_k_proj.weight", "image_k_proj.weight"),
        ("image_v_proj.bias", "image_v_proj.bias"),
    ] {
        let name = format!("model.layers.9.self_attn.{part}");
        assert_eq!(canonical(&name, &[4, 9]), format!("links.1.{want}"));
        // A layer that is not linked; a model without links: q_norm is then another model's.
        assert_eq!(canonical(&name, &[4]), name);
        assert_eq!(canonical(&name, &[]), name);
    }
    assert_eq!(canonical("model.layers.9.self_attn.q_proj.weight", &[9]), "model.layers.9.self_attn.q_proj.weight");
    assert_eq!(canonical("model.layers.99999999999999999999.self_attn.q_norm.weight", &[9])[..13], *"model.layers.");
}

#[test]
fn what_may_be_left_out_has_a_reason() {
    for name in [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "vision_model.embeddings.position_ids",
        "text_model.final_layer_norm.weight",
        "logit_scale",
        "logit_bias",
        "vision_model.head.probe",
        "lm_head.weight",
    ] {
        assert!(unused(name).is_some(), "{name}");
    }
    assert_eq!(unused("model.layers.0.mlp.up_proj.weight"), None);
}

fn spec(name: &str, shape: &[usize]) -> ParamSpec {
    ParamSpec { name: name.into(), shape: shape.into() }
}

/// Tensors of one byte per element.
fn checkpoint(tensors: &[(&str, &str, u64)]) -> Checkpoint {
    let mut at = 0;
    let entries = tensors.iter().map(|(name, dtype, elements)| {
        let start = at;
        at += elements * if *dtype == "F32" { 4 } else { 1 };
        entry(name, dtype, &format!("[{elements}]"), start, at)
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let folder = Folder::new([file("model.safetensors", &header, &vec![0; at as usize])]).unwrap();
    block_on(Checkpoint::open(&folder)).unwrap()
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let c = checkpoint(&[
        ("language_model.model.norm.weight", "F32", 3),
        ("language_model.lm_head.weight", "F32", 2),
        ("model.layers.0.self_attn.q_norm.weight", "F32", 2),
        ("logit_scale", "F32", 1),
    ]);
    // Tied: the head is silently unused.
    let r = resolve(&c, &[spec("model.norm.weight", &[3])], &[]).unwrap();
    assert_eq!(r.extra, ["model.layers.0.self_attn.q_norm.weight"]);
    assert_eq!(r.found["model.norm.weight"].name, "language_model.model.norm.weight");
    assert_eq!(r.found["model.norm.weight"].place, c.tensors()["language_model.model.norm.weight"]);
    // Untied and linked: everything is asked for.
    let all = [spec("model.norm.weight", &[3]), spec("lm_head.weight", &[2]), spec("links.0.q_norm.weight", &[2])];
    assert!(resolve(&c, &all, &[0]).unwrap().extra.is_empty());

    let wrong = [spec("model.norm.weight", &[3, 1]), spec("links.0.k_norm.weight", &[2]), spec("lm_head.weight", &[2])];
    let text = resolve(&c, &wrong, &[0]).unwrap_err().to_string();
    for part in [
        "1 missing: links.0.k_norm.weight (nearest unused name: model.layers.0.self_attn.q_norm.weight)",
        "1 of another shape or type: language_model.model.norm.weight is [3] and must be [3, 1]",
        "1 not used: model.layers.0.self_attn.q_norm.weight",
    ] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
    let text = resolve(&c, &[spec("model.norm.weight", &[4])], &[]).unwrap_err().to_string();
    assert!(text.contains("language_model.model.norm.weight is [3] and must be [4]"), "{text}");
    let many: Vec<ParamSpec> = (0..50).map(|i| spec(&format!("model.x{i}"), &[1])).collect();
    let text = resolve(&c, &many, &[]).unwrap_err().to_string();
    assert!(
        text.contains("50 missing: model.x0") && text.contains("model.x19") && text.contains("and 30 more"),
        "{text}"
    );
    assert!(!text.contains("model.x20"), "{text}");
}

#[test]
fn two_tensors_for_one_parameter_and_whole_numbers_are_refused() {
    let c =
        checkpoint(&[("vision_tower.head.a", "U8", 1), ("encoder.a", "F32", 1), ("vision_tower.encoder.a", "F32", 1)]);
    let text = resolve(&c, &[spec("vision_model.encoder.a", &[1])], &[]).unwrap_err().to_string();
    assert!(["encoder.a", "vision_tower.encoder.a"].iter().all(|n| text.contains(n)), "{text}");
    // Nobody asks for it: then it is no question which one is meant.
    assert_eq!(resolve(&c, &[], &[]).unwrap().extra.len(), 2);
    let text = resolve(&c, &[spec("vision_model.head.a", &[1])], &[]).unwrap_err().to_string();
    assert!(text.contains("is U8 and must be F32, F16 or BF16"), "{text}");
}
