//! The model as a list of blocks: what a diagram draws, what a stage trains, and which shaders compute it. Pure: no GPU.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::Lane;
use crate::model::config::HiveConfig;
use crate::model::model::Model;
use crate::ops;
pub use crate::ops::BlockKind;
use crate::train::recipe::Preset;
use crate::train::stage::{Stage, enter_stage_two, trainable};

impl BlockKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Patches,
        Self::TowerBlock,
        Self::TowerNorm,
        Self::Link,
        Self::Projector,
        Self::Embedding,
        Self::DecoderLayer,
        Self::LinkedLayer,
        Self::Head,
    ];

    /// Its computation in a line or three.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Patches => "h₀ = W · patch(picture) + b + position",
            Self::TowerBlock => "h ← h + Attention(LayerNorm(h))\nh ← h + W₂ · gelu(W₁ · LayerNorm(h))",
            Self::TowerNorm => "LayerNorm(h): not read by the links",
            Self::Link => {
                "f = RmsNorm(W₂ · gelu(W₁ · LayerNorm(h))), h at the linked depth\nK_i = RmsNorm(Wk · f), V_i = Wv · f"
            }
            Self::Projector => "image tokens = W₂ · gelu(W₁ · h), put before the text",
            Self::Embedding => "x = E[token]",
            Self::DecoderLayer => "x ← x + Attention(RmsNorm(x))\nx ← x + Wd · (silu(Wg · z) ⊙ Wu · z), z = RmsNorm(x)",
            Self::LinkedLayer => {
                "x ← x + softmax(Q · [K_t ; K_i]^T / √d) · [V_t ; V_i]\none softmax over text and image keys; then the gated MLP"
            }
            Self::Head => "logits = E · RmsNorm(x)\nloss = −log softmax(logits)[next token]",
        }
    }

    /// Folders of `shaders/` that compute it, forward and backward.
    #[must_use]
    pub fn shaders(self) -> Vec<&'static str> {
        ops::ALL.iter().filter(|op| op.used_by.contains(&self)).map(|op| op.name).collect()
    }
}

/// Which block of a model. As text, also in run files: `tower 0`, `link 1`, `decoder 2`, `patches`, `embedding`, `head`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[allow(missing_docs, reason = "the names say it")]
pub enum BlockId {
    /// Picture to patch embeddings.
    Patches,
    /// A block of the tower.
    Tower(usize),
    /// The tower's last norm.
    TowerNorm,
    Link(usize),
    Projector,
    Embedding,
    /// A layer of the decoder.
    Decoder(usize),
    /// Last norm and output head.
    Head,
}

impl BlockId {
    /// Its name for people, who count from 1.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Patches => "patches and positions".to_owned(),
            Self::Tower(i) => format!("tower block {}", i + 1),
            Self::Link(i) => format!("link {}", i + 1),
            Self::Embedding => "token embeddings".to_owned(),
            Self::Decoder(i) => format!("decoder layer {}", i + 1),
            Self::Head => "norm and head".to_owned(),
            Self::TowerNorm | Self::Projector => self.to_string(),
        }
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patches => f.write_str("patches"),
            Self::Tower(i) => write!(f, "tower {i}"),
            Self::TowerNorm => f.write_str("tower norm"),
            Self::Link(i) => write!(f, "link {i}"),
            Self::Projector => f.write_str("projector"),
            Self::Embedding => f.write_str("embedding"),
            Self::Decoder(i) => write!(f, "decoder {i}"),
            Self::Head => f.write_str("head"),
        }
    }
}

impl From<BlockId> for String {
    fn from(id: BlockId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BlockId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, index) = text.split_once(' ').map_or((text.as_str(), None), |(n, i)| (n, i.parse().ok()));
        Ok(match (name, index) {
            ("patches", None) => Self::Patches,
            ("tower", Some(i)) => Self::Tower(i),
            ("tower", None) => Self::TowerNorm,
            ("link", Some(i)) => Self::Link(i),
            ("projector", None) => Self::Projector,
            ("embedding", None) => Self::Embedding,
            ("decoder", Some(i)) => Self::Decoder(i),
            ("head", None) => Self::Head,
            _ => return Err(format!("no block is called {text}")),
        })
    }
}

/// A box of the diagram.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Block {
    /// Which one it is.
    pub id: BlockId,
    pub kind: BlockKind,
    pub title: String,
    /// Shape of its output, with letters: `36 × 64 (patches × width)`.
    pub shape: String,
    pub parameters: usize,
    /// Parameters that the stage trains.
    pub trained: usize,
    /// Its tensors: name without prefix, and shape.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// The whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// Tower from the picture up.
    pub tower: Vec<Block>,
    /// Links, or the control's projector.
    pub links: Vec<Block>,
    /// Decoder from the tokens up.
    pub decoder: Vec<Block>,
    /// For each link the depth of the tower it reads (0: patch embeddings) and the decoder layer it feeds.
    pub wires: Vec<(usize, usize)>,
    /// Patches per side.
    pub side: usize,
}

impl Outline {
    /// All blocks.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.tower.iter().chain(&self.links).chain(&self.decoder)
    }

    /// Parameters in all, and those that train.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        self.blocks().fold((0, 0), |(all, trained), b| (all + b.parameters, trained + b.trained))
    }

    /// The model of a preset as it is in a stage (none: before any).
    #[must_use]
    pub fn new(preset: &Preset, lane: Lane, stage: Option<Stage>) -> Self {
        let mut config = preset.model.clone();
        config.link_config.separate_image_kv = false;
        if stage.is_some_and(|s| s >= Stage::Adaptation) {
            enter_stage_two(&mut config, &mut Default::default());
        }
        let specs = Model::new(&config, lane.wiring()).1;
        let trained = stage.map_or_else(Default::default, |s| trainable(&specs, &config.link_config, s, preset.scope));
        let mut outline = Self::empty(&config, lane);
        for spec in &specs {
            let id = block_of(&spec.name);
            let blocks = outline.tower.iter_mut().chain(&mut outline.links).chain(&mut outline.decoder);
            for block in blocks.filter(|b| b.id == id) {
                block.parameters += spec.len();
                block.trained += if trained.contains(&spec.name) { spec.len() } else { 0 };
                block.tensors.push((short(&spec.name).to_owned(), spec.shape.clone()));
            }
        }
        outline
    }

    fn empty(config: &HiveConfig, lane: Lane) -> Self {
        let (v, t, l) = (&config.vision_config, &config.text_config, &config.link_config);
        let block = |id: BlockId, kind, shape: String| Block {
            id,
            kind,
            title: id.title(),
            shape,
            parameters: 0,
            trained: 0,
            tensors: Vec::new(),
        };
        let patches = format!("{} × {} (patches × width)", v.tokens(), v.hidden_size);
        let text = format!("T × {} (tokens × width)", t.hidden_size);
        let mut tower = vec![block(BlockId::Patches, BlockKind::Patches, patches.clone())];
        tower
            .extend((0..v.num_hidden_layers).map(|i| block(BlockId::Tower(i), BlockKind::TowerBlock, patches.clone())));
        tower.push(block(BlockId::TowerNorm, BlockKind::TowerNorm, patches));
        let linked = lane == Lane::Hive;
        let width = t.key_width();
        let links = if linked {
            let keys = format!("{} × {width} keys and values", v.tokens());
            (0..l.language_layers.len()).map(|i| block(BlockId::Link(i), BlockKind::Link, keys.clone())).collect()
        } else {
            let shape = format!("{} × {} image tokens", v.tokens(), t.hidden_size);
            vec![block(BlockId::Projector, BlockKind::Projector, shape)]
        };
        let mut decoder = vec![block(BlockId::Embedding, BlockKind::Embedding, text.clone())];
        decoder.extend((0..t.num_hidden_layers).map(|i| {
            let kind =
                if linked && l.language_layers.contains(&i) { BlockKind::LinkedLayer } else { BlockKind::DecoderLayer };
            block(BlockId::Decoder(i), kind, text.clone())
        }));
        let head = format!("T × {} (tokens × words)", t.vocab_size);
        decoder.push(block(BlockId::Head, BlockKind::Head, head));
        let wires = if linked {
            l.vision_layers.iter().copied().zip(l.language_layers.iter().copied()).collect()
        } else {
            Vec::new()
        };
        Self { tower, links, decoder, wires, side: v.side() }
    }
}

/// The block a parameter belongs to.
fn block_of(name: &str) -> BlockId {
    let words: Vec<&str> = name.split('.').collect();
    let index = |text: &str| text.parse().unwrap_or_default();
    match words.as_slice() {
        ["links", i, ..] => BlockId::Link(index(i)),
        ["mm_projector", ..] => BlockId::Projector,
        ["model", "layers", i, ..] => BlockId::Decoder(index(i)),
        ["model", "embed_tokens", ..] => BlockId::Embedding,
        ["vision_model", "encoder", "layers", i, ..] => BlockId::Tower(index(i)),
        ["vision_model", "post_layernorm", ..] => BlockId::TowerNorm,
        ["vision_model", ..] => BlockId::Patches,
        _ => {
            debug_assert!(name == "model.norm.weight" || name == "lm_head.weight", "{name}");
            BlockId::Head
        }
    }
}

/// The part of a parameter's name that differs within its block.
fn short(name: &str) -> &str {
    for prefix in ["vision_model.encoder.layers.", "model.layers.", "links."] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return rest.split_once('.').map_or(rest, |(_, r)| r);
        }
    }
    name.strip_prefix("vision_model.").or_else(|| name.strip_prefix("model.")).unwrap_or(name)
}

/// Gradient norm per block, from the norms of its parameters.
#[must_use]
pub fn norms_by_block(norms: &[(String, f32)]) -> Vec<(BlockId, f32)> {
    let mut out: Vec<(BlockId, f32)> = Vec::new();
    for (name, norm) in norms {
        let id = block_of(name);
        match out.iter_mut().find(|(b, _)| *b == id) {
            Some((_, sum)) => *sum += norm * norm,
            None => out.push((id, norm * norm)),
        }
    }
    out.iter_mut().for_each(|(_, n)| *n = n.sqrt());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_parameter_stands_in_a_block_and_stages_train_more_and_more() {
        let preset = crate::engine::assets::preset("pictures").unwrap();
        for lane in Lane::ALL {
            let mut before = 0;
            for stage in Stage::ALL {
                let outline = Outline::new(&preset, lane, Some(stage));
                let mut config = preset.model.clone();
                config.link_config.separate_image_kv = stage >= Stage::Adaptation;
                let all: usize = Model::new(&config, lane.wiring()).1.iter().map(crate::nn::ParamSpec::len).sum();
                let (parameters, trained) = outline.totals();
                assert_eq!(parameters, all, "{lane:?} {stage:?}");
                assert!(trained > before, "{lane:?} {stage:?}: {trained} after {before}");
                before = trained;
            }
        }
    }

    #[test]
    fn norms_of_a_block_are_those_of_its_parameters_together() {
        let norms = [("links.1.norm.weight", 3.0), ("links.1.mm_proj.fc1.weight", 4.0), ("model.norm.weight", 1.0)];
        let blocks = norms_by_block(&norms.map(|(name, norm)| (name.to_owned(), norm)));
        assert_eq!(blocks, [(BlockId::Link(1), 5.0), (BlockId::Head, 1.0)]);
    }

    #[test]
    fn the_shaders_of_a_block_are_the_ops_that_say_so() {
        assert_eq!(BlockKind::Head.shaders(), ["matmul", "rms_norm", "cross_entropy"]);
        assert_eq!(BlockKind::TowerNorm.shaders(), ["layer_norm"]);
        let linked = BlockKind::LinkedLayer.shaders();
        assert!(linked.contains(&"attention") && !linked.contains(&"adamw"), "{linked:?}");
    }
}
