//! The three stages: which parameters each trains, and the hand-over from the first to the second.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::config::{HiveConfig, LinkConfig};
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// A stage of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Connector pre-training: projectors and QK gains.
    #[serde(rename = "1")]
    Connector,
    /// Modality adaptation: and the language side.
    #[serde(rename = "2")]
    Adaptation,
    /// Vision fine-tuning: and the tower.
    #[serde(rename = "3")]
    Vision,
}

impl Stage {
    /// In order.
    pub const ALL: [Self; 3] = [Self::Connector, Self::Adaptation, Self::Vision];

    /// 1, 2 or 3.
    #[must_use]
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// The stage of that number.
    #[must_use]
    pub fn of(number: usize) -> Option<Self> {
        Self::ALL.get(number.checked_sub(1)?).copied()
    }

    /// Its name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connector => "connector pre-training",
            Self::Adaptation => "modality adaptation",
            Self::Vision => "vision fine-tuning",
        }
    }
}

/// How much of the language model stages 2 and 3 train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The attention of linked layers.
    #[default]
    Linked,
    /// All but embeddings and head.
    Language,
}

/// Names of the parameters that a stage updates.
#[must_use]
pub fn trainable(specs: &[ParamSpec], links: &LinkConfig, stage: Stage, scope: Scope) -> BTreeSet<String> {
    specs.iter().filter(|s| trains(&s.name, links, stage, scope)).map(|s| s.name.clone()).collect()
}

fn trains(name: &str, links: &LinkConfig, stage: Stage, scope: Scope) -> bool {
    let later = stage >= Stage::Adaptation;
    if name.starts_with("links.") {
        return later || !(name.contains(".image_k_proj.") || name.contains(".image_v_proj."));
    }
    // The flattened control's connector, which takes the place of the links' projectors.
    if name.starts_with("mm_projector.") {
        return true;
    }
    if let Some(rest) = name.strip_prefix("model.layers.") {
        let layer = rest.split('.').next().and_then(|n| n.parse().ok());
        let linked = layer.is_some_and(|l: usize| links.link_of(l).is_some()) && name.contains(".self_attn.");
        return later && (scope == Scope::Language || linked);
    }
    if name == "model.norm.weight" {
        return later && scope == Scope::Language;
    }
    // Blocks past the deepest link and the final norm never run in training: they have no gradient, and without one
    // AdamW must not decay them either.
    let runs = name
        .strip_prefix("vision_model.encoder.layers.")
        .and_then(|rest| rest.split('.').next())
        .is_none_or(|n| links.deepest().is_none_or(|d| n.parse::<usize>().is_ok_and(|block| block < d)));
    stage == Stage::Vision && name.starts_with("vision_model.") && runs && !name.contains(".post_layernorm.")
}

/// Stage 1 to 2: the image gets key and value projections of its own, copied from the text's. The function of the model
/// does not change.
pub fn enter_stage_two(config: &mut HiveConfig, weights: &mut Weights) {
    for (i, layer) in config.link_config.language_layers.iter().enumerate() {
        for kind in ["k_proj", "v_proj"] {
            for part in ["weight", "bias"] {
                let text = weights.get(&format!("model.layers.{layer}.self_attn.{kind}.{part}")).cloned();
                if let Some(values) = text {
                    weights.insert(format!("links.{i}.image_{kind}.{part}"), values);
                }
            }
        }
    }
    config.link_config.separate_image_kv = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_trains_more() {
        let links = LinkConfig { vision_layers: vec![1], language_layers: vec![1], ..LinkConfig::default() };
        let on = |name: &str, stage, scope| trains(name, &links, stage, scope);
        use Scope::{Language, Linked};
        use Stage::{Adaptation, Connector, Vision};
        for (name, one, two_linked, two_language, three) in [
            ("links.0.mm_proj.fc1.weight", true, true, true, true),
            ("mm_projector.0.weight", true, true, true, true),
            ("links.0.image_k_proj.weight", false, true, true, true),
            ("model.layers.1.self_attn.q_proj.weight", false, true, true, true),
            ("model.layers.0.self_attn.q_proj.weight", false, false, true, false),
            ("model.layers.1.mlp.up_proj.weight", false, false, true, false),
            ("model.norm.weight", false, false, true, false),
            ("model.embed_tokens.weight", false, false, false, false),
            ("vision_model.post_layernorm.weight", false, false, false, false),
            ("vision_model.encoder.layers.0.mlp.fc1.weight", false, false, false, true),
            ("vision_model.encoder.layers.1.mlp.fc1.weight", false, false, false, false),
        ] {
            let got = [
                on(name, Connector, Linked),
                on(name, Adaptation, Linked),
                on(name, Adaptation, Language),
                on(name, Vision, Linked),
            ];
            assert_eq!(got, [one, two_linked, two_language, three], "{name}");
        }
    }
}
