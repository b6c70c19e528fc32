//! From the names in files to Hive's names, which are those of `registry.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::dtype::FileDType;
use super::error::{FilesError, LISTED, listed, shown};
use super::folder::{Checkpoint, Place};
use super::header::TensorInfo;
use crate::model::weights::distance;
use crate::nn::ParamSpec;
use crate::ops::blocks;
use crate::ops::packed::Format;

/// What a name in a file begins with, and what stands there in Hive's name. The longest that fits is taken.
const PREFIXES: &[(&str, &str)] = &[
    // The tower: alone as transformers 5 and 4 write it, inside Llava, inside the published code's model.
    ("embeddings.", "vision_model.embeddings."),
    ("encoder.", "vision_model.encoder."),
    ("post_layernorm.", "vision_model.post_layernorm."),
    ("head.", "vision_model.head."),
    ("vision_model.", "vision_model."),
    ("vision_tower.", "vision_model."),
    ("vision_tower.vision_model.", "vision_model."),
    ("vision_tower.vision_tower.vision_model.", "vision_model."),
    ("model.vision_tower.", "vision_model."),
    ("model.vision_tower.vision_model.", "vision_model."),
    ("model.vision_tower.vision_tower.vision_model.", "vision_model."),
    // The language model, with its head or as transformers writes it without.
    ("embed_tokens.", "model.embed_tokens."),
    ("layers.", "model.layers."),
    ("norm.", "model.norm."),
    ("model.", "model."),
    ("language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("lm_head.", "lm_head."),
    ("language_model.lm_head.", "lm_head."),
    // The projector of the flattened wiring.
    ("mm_projector.", "mm_projector."),
    ("model.mm_projector.", "mm_projector."),
    ("multi_modal_projector.linear_1.", "mm_projector.0."),
    ("multi_modal_projector.linear_2.", "mm_projector.2."),
    ("model.multi_modal_projector.linear_1.", "mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "mm_projector.2."),
    ("links.", "links."),
    // Idefics3 and SmolVLM, and as MLX copies them.
    ("model.vision_model.", "vision_model."),
    ("model.text_model.", "model."),
    ("language_model.embed_tokens.", "model.embed_tokens."),
    ("language_model.layers.", "model.layers."),
    ("language_model.norm.", "model.norm."),
    ("model.connector.modality_projection.proj.", "mm_projector.proj."),
    ("connector.modality_projection.proj.", "mm_projector.proj."),
    // What stands at the ends of rows of a picture.
    ("image_newline", "image_newline"),
    ("model.image_newline", "image_newline"),
    // nanoVLM.
    ("vision_encoder.patch_embedding.conv.", "vision_model.embeddings.patch_embedding."),
    ("vision_encoder.patch_embedding.position_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("vision_encoder.layer_norm.", "vision_model.post_layernorm."),
    ("vision_encoder.blocks.", "vision_model.encoder.layers."),
    ("MP.proj.", "mm_projector.proj."),
    ("decoder.token_embedding.", "model.embed_tokens."),
    ("decoder.head.", "lm_head."),
    ("decoder.norm.", "model.norm."),
    ("decoder.blocks.", "model.layers."),
];

/// What nanoVLM calls the parts of a block, and what they are called here.
const NANO_PARTS: &[(&str, &str)] = &[
    (".ln1.", ".layer_norm1."),
    (".ln2.", ".layer_norm2."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".norm1.", ".input_layernorm."),
    (".norm2.", ".post_attention_layernorm."),
    (".attn.q_proj.", ".self_attn.q_proj."),
    (".attn.k_proj.", ".self_attn.k_proj."),
    (".attn.v_proj.", ".self_attn.v_proj."),
];

/// The embedding, and the output head.
const TABLE: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// Bytes that are compared at once.
const CHUNK: usize = 8 << 20;

/// What the published code calls the parts of a link, inside `model.layers.L.self_attn.`, and Hive inside `links.I.`.
const LINK_PARTS: &[(&str, &str)] = &[
    ("mm_proj.0.", "mm_proj.norm."),
    ("mm_proj.1.", "mm_proj.fc1."),
    ("mm_proj.3.", "mm_proj.fc2."),
    ("q_norm.", "q_norm."),
    ("k_norm.", "k_norm."),
    ("image_k_proj.", "image_k_proj."),
    ("image_v_proj.", "image_v_proj."),
];

/// A tensor that no model of Hive has, and why it may be left out: text, where it stands in Hive's name, reason.
const UNUSED: &[(&str, At, &str)] = &[
    (".rotary_emb.inv_freq", At::End, "angles are computed"),
    (".rotary_embd.inv_freq", At::End, "angles are computed"),
    ("position_ids", At::End, "positions are counted"),
    ("text_model.", At::Start, "the towers' text side is not built"),
    ("logit_scale", At::Start, "belongs to the contrastive loss"),
    ("logit_bias", At::Start, "belongs to the contrastive loss"),
    ("vision_model.head.", At::Start, "links and projectors read before the pooling head"),
    (HEAD, At::Start, "the head is the embedding where no parameter of this name is asked for"),
];

#[derive(Clone, Copy, PartialEq)]
enum At {
    Start,
    End,
}

/// Hive's name of a tensor; its own for one that is no part of a known model. `language_layers` are those of the links:
/// only with links have the names of the published code their meaning.
#[must_use]
pub fn canonical(name: &str, language_layers: &[usize]) -> String {
    let fitting = PREFIXES.iter().filter(|(from, _)| name.starts_with(from));
    let Some((from, to)) = fitting.max_by_key(|(from, _)| from.len()) else { return name.to_owned() };
    let mut plain = format!("{to}{}", &name[from.len()..]);
    if from.ends_with(".blocks.") {
        let part = NANO_PARTS.iter().find(|(part, _)| plain.contains(part));
        plain = part.map_or(plain.clone(), |(part, ours)| plain.replacen(part, ours, 1));
        if *to == "model.layers." {
            plain = plain.replacen(".self_attn.out_proj.", ".self_attn.o_proj.", 1);
        }
    }
    link_name(&plain, language_layers).unwrap_or(plain)
}

fn link_name(plain: &str, language_layers: &[usize]) -> Option<String> {
    let (layer, rest) = plain.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let link = language_layers.iter().position(|l| *l == layer)?;
    let rest = rest.strip_prefix("self_attn.")?;
    LINK_PARTS.iter().find_map(|(from, to)| Some(format!("links.{link}.{to}{}", rest.strip_prefix(from)?)))
}

/// Why a tensor of this canonical name may be left out without a word.
#[must_use]
pub fn unused(canonical: &str) -> Option<&'static str> {
    let fits = |text: &str, at| if at == At::Start { canonical.starts_with(text) } else { canonical.ends_with(text) };
    UNUSED.iter().find(|(text, at, _)| fits(text, *at)).map(|u| u.2)
}

/// The tensor of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in the file, for [`Checkpoint::read_bytes`].
    pub name: String,
    /// Where it is; always of a type that [`super::FileDType::is_weight`], or in blocks.
    pub place: Place,
}

/// Every parameter's tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// By the parameter's name; all that were asked for.
    pub found: BTreeMap<String, Found>,
    /// Tensors in the files that nothing explains, by their names there: a note for the user.
    pub extra: Vec<String>,
}

/// Finds the tensor of every parameter. `language_layers` as in [`canonical`].
///
/// # Errors
/// All parameters that are missing or of another shape or type, in one sentence; or two tensors for one of them.
pub fn resolve(
    checkpoint: &Checkpoint,
    specs: &[ParamSpec],
    language_layers: &[usize],
) -> Result<Resolved, FilesError> {
    let wanted: BTreeSet<&str> = specs.iter().map(|s| s.name.as_str()).collect();
    let (mut out, mut head) = (Resolved::default(), None);
    for (name, place) in checkpoint.tensors() {
        // A probe has a norm of its own, which is no language model's.
        let known = if wanted.contains(name.as_str()) { name.clone() } else { canonical(name, language_layers) };
        if wanted.contains(known.as_str()) {
            let found = Found { name: name.clone(), place: place.clone() };
            if let Some(first) = out.found.get(&known) {
                let (first, second) = (shown(&first.name), shown(name));
                return Err(FilesError::Twice { name: known, first, second });
            }
            out.found.insert(known, found);
        } else if unused(&known).is_none() {
            out.extra.push(name.clone());
        } else if known == HEAD {
            head = Some(Found { name: name.clone(), place: place.clone() });
        }
    }
    // Of two names for one table a file may have the other one.
    if let Some(head) = head.filter(|_| wanted.contains(TABLE)) {
        out.found.entry(TABLE.to_owned()).or_insert(head);
    }
    match problems(&out, specs, language_layers) {
        Some(text) => Err(FilesError::Unfit(text)),
        None => Ok(out),
    }
}

/// The format of a tensor whose rows are blocks of quantised values (see [`crate::ops::blocks`]), for a parameter of this shape.
#[must_use]
pub fn blocks_of(info: &TensorInfo, shape: &[usize]) -> Option<Format> {
    let (&rows, rest) = shape.split_first()?;
    let [stored, bytes] = info.shape[..] else { return None };
    let fits = info.dtype == FileDType::U8 && stored == rows && shape.len() > 1;
    blocks::format_of(rest.iter().product(), bytes).filter(|_| fits)
}

/// Whether the files have a head that is not the embedding, byte for byte. A configuration that says that both are one is not
/// followed then: that is how transformers 5 reads such files.
///
/// # Errors
/// What the system says.
pub async fn head_differs(checkpoint: &Checkpoint) -> Result<bool, FilesError> {
    let named = |wanted: &str| checkpoint.tensors().iter().find(|(name, _)| canonical(name, &[]) == wanted);
    let (Some((head, at)), Some((table, of))) = (named(HEAD), named(TABLE)) else {
        return Ok(false);
    };
    let (head_info, info) = (&at.info, &of.info);
    if (head_info.dtype, &head_info.shape) != (info.dtype, &info.shape) {
        return Ok(true);
    }
    for start in (0..info.bytes).step_by(CHUNK) {
        let len = (info.bytes - start).min(CHUNK as u64) as usize;
        if checkpoint.read_bytes(head, start, len).await? != checkpoint.read_bytes(table, start, len).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What does not fit, with names.
fn problems(out: &Resolved, specs: &[ParamSpec], language_layers: &[usize]) -> Option<String> {
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for spec in specs {
        let Some(Found { name, place }) = out.found.get(&spec.name) else {
            // Only as many hints as are shown: each looks at every unused name.
            missing.push(if missing.len() < LISTED { hint(spec, out, language_layers) } else { String::new() });
            continue;
        };
        let info = &place.info;
        if blocks_of(info, &spec.shape).is_some() {
            continue;
        }
        if info.shape != spec.shape {
            other.push(format!("{} is {:?} and must be {:?}", shown(name), info.shape, spec.shape));
        } else if !info.dtype.is_weight() {
            other.push(format!("{} is {} and must be F32, F16 or BF16", shown(name), info.dtype));
        }
    }
    if missing.is_empty() && other.is_empty() {
        return None;
    }
    let parts = [("missing", &missing), ("of another shape or type", &other), ("not used", &out.extra)];
    let text = |(what, names): &(&str, &Vec<String>)| {
        (!names.is_empty()).then(|| format!("{} {what}: {}", names.len(), listed(names)))
    };
    Some(parts.iter().filter_map(text).collect::<Vec<_>>().join("; "))
}

fn hint(spec: &ParamSpec, out: &Resolved, language_layers: &[usize]) -> String {
    let away = |name: &String| distance(&canonical(name, language_layers), &spec.name);
    let near = out.extra.iter().min_by_key(|name| away(name));
    near.map_or(spec.name.clone(), |near| format!("{} (nearest unused name: {})", spec.name, shown(near)))
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
