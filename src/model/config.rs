//! Configurations: serde structs with the key names of Hugging Face's `config.json`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ops::attention::Layout;

/// A configuration that cannot be built, in a sentence.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("config: {0}")]
pub struct ConfigError(pub String);

/// SigLIP vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct VisionConfig {
    /// W.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Side of the image, pixels.
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    pub num_channels: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    /// The class defaults of `SiglipVisionConfig` (base, patch 16, 224 pixels).
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            layer_norm_eps: 1e-6,
        }
    }
}

/// Kinds of [`RopeScaling`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeType {
    /// That of Llama 3.1 and 3.2.
    #[default]
    Llama3,
}

/// Rotary frequencies of a model whose context was made longer after its training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// Kind.
    #[serde(alias = "type")]
    pub rope_type: RopeType,
    /// Slow turns are slower by this.
    pub factor: f64,
    /// Fewer turns than this in the original context are slow.
    pub low_freq_factor: f64,
    /// More turns than this in the original context stay as they are.
    pub high_freq_factor: f64,
    /// Tokens of the original context.
    pub original_max_position_embeddings: usize,
}

/// Llama-family or Qwen2 decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LanguageConfig {
    /// C.
    pub hidden_size: usize,
    /// F.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    /// H.
    pub num_attention_heads: usize,
    /// G.
    pub num_key_value_heads: usize,
    /// V.
    pub vocab_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Tokens that the model was trained for.
    pub max_position_embeddings: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Do the q, k and v projections have biases (Qwen2)?
    pub attention_bias: bool,
    /// Is the output head the embedding?
    pub tie_word_embeddings: bool,
}

impl Default for LanguageConfig {
    /// SmolLM2-135M.
    fn default() -> Self {
        Self {
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            vocab_size: 49152,
            rope_theta: 100_000.0,
            rope_scaling: None,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            attention_bias: false,
            tie_word_embeddings: true,
        }
    }
}

/// Frequency order of the keys' rotary angles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeLayout {
    /// Slot j keeps frequency j; rows and columns alternate.
    #[default]
    Interleaved,
    /// The published code: even frequencies first, then odd ones, against unpermuted queries.
    Released,
}

/// Which depths are linked, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkConfig {
    /// Hidden-state indices of the tower: 0 the embeddings, k after block k.
    pub vision_layers: Vec<usize>,
    /// Decoder layers, from 0, one per vision layer.
    pub language_layers: Vec<usize>,
    /// Does the image have key and value projections of its own? (No in stage 1.)
    pub separate_image_kv: bool,
    /// Norm queries and keys head by head after rotation?
    pub qk_norm: bool,
    /// Frequency order of keys.
    pub rope_layout: RopeLayout,
    /// Image positions by row and column, or one after the other?
    pub rope_2d: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            vision_layers: Vec::new(),
            language_layers: Vec::new(),
            separate_image_kv: true,
            qk_norm: true,
            rope_layout: RopeLayout::Interleaved,
            rope_2d: true,
        }
    }
}

/// How a state of the tower becomes rows of the text, in the flattened wiring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectorConfig {
    /// Hidden-state index of the tower that is read; none: the last but one.
    pub vision_layer: Option<usize>,
    /// Is the tower's last norm taken?
    pub post_norm: bool,
    /// Patches per side of a cell that becomes one row (pixel shuffle).
    pub cell: usize,
    /// One matrix without a bias, or two layers with a GELU between?
    pub single: bool,
    /// Does a row of its own stand at the end of each row of a picture?
    pub newline: bool,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self { vision_layer: None, post_norm: false, cell: 1, single: false, newline: false }
    }
}

impl ProjectorConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How pictures reach the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wiring {
    /// By links: hierarchical linked attention.
    #[default]
    #[serde(rename = "hive")]
    Linked,
    /// As tokens of the text, made by a projector (Llava; the flattened control).
    #[serde(rename = "cascade")]
    Flattened,
    /// Not at all: a decoder alone.
    #[serde(skip)]
    Text,
    /// There is no text: a tower alone.
    #[serde(skip)]
    Tower,
}

impl Wiring {
    /// Its name in configurations of our own.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Linked => "hive",
            Self::Flattened => "cascade",
            Self::Text => "text",
            Self::Tower => "tower",
        }
    }

    /// What such a model is, in a sentence.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Linked => "A vision tower linked to a language model: it sees pictures.",
            Self::Flattened => "A vision tower whose tokens stand in the text: it sees pictures.",
            Self::Text => "A language model: text only.",
            Self::Tower => "A vision tower alone.",
        }
    }
}

/// The three together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HiveConfig {
    pub vision_config: VisionConfig,
    pub text_config: LanguageConfig,
    #[serde(default)]
    pub link_config: LinkConfig,
    #[serde(default, skip_serializing_if = "ProjectorConfig::is_default")]
    pub projector_config: ProjectorConfig,
}

pub(super) fn ensure(ok: bool, text: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if ok { Ok(()) } else { Err(ConfigError(text())) }
}

impl VisionConfig {
    /// The smallest tower: it stands in where there is none, and is never run.
    #[must_use]
    pub fn stand_in() -> Self {
        Self {
            hidden_size: 4,
            intermediate_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            image_size: 1,
            patch_size: 1,
            ..Self::default()
        }
    }

    /// Patches per side.
    #[must_use]
    pub fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// N, image tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.side() * self.side()
    }

    /// Width of a head.
    #[must_use]
    pub fn head(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Can it be built?
    pub fn check(&self) -> Result<(), ConfigError> {
        let layers = [self.hidden_size, self.intermediate_size, self.num_hidden_layers, self.num_attention_heads];
        check_sizes("vision_config", &layers, [self.image_size, self.patch_size, self.num_channels])?;
        ensure(self.image_size >= self.patch_size, || {
            format!("image_size {} is less than patch_size {}: there is no patch", self.image_size, self.patch_size)
        })?;
        check_heads("vision_config", self.hidden_size, self.num_attention_heads, 4)
    }
}

fn check_sizes(part: &str, layers: &[usize], others: [usize; 3]) -> Result<(), ConfigError> {
    let fits = layers.iter().chain(&others).all(|size| *size > 0);
    ensure(fits, || format!("every size of {part} must be at least 1"))
}

fn check_heads(part: &str, width: usize, heads: usize, unit: usize) -> Result<(), ConfigError> {
    ensure(width.is_multiple_of(heads), || {
        format!("{part}: hidden_size {width} is not a multiple of num_attention_heads {heads}")
    })?;
    let head = width / heads;
    ensure(head.is_multiple_of(unit) && head <= 128, || {
        format!("{part}: heads are {head} wide; a multiple of {unit} up to 128 is supported")
    })
}

impl RopeScaling {
    /// Can angles be computed from it?
    fn check(&self) -> Result<(), ConfigError> {
        let numbers = [self.factor, self.low_freq_factor, self.high_freq_factor];
        let ok = numbers.iter().all(|n| n.is_finite() && *n > 0.0) && self.high_freq_factor > self.low_freq_factor;
        ensure(ok && self.original_max_position_embeddings > 0, || {
            format!(
                "rope_scaling needs positive numbers and a low_freq_factor below high_freq_factor, got factor {}, {}, {} and {} positions",
                self.factor, self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings
            )
        })
    }
}

impl LinkConfig {
    /// The link of decoder layer `layer`, by its index.
    #[must_use]
    pub fn link_of(&self, layer: usize) -> Option<usize> {
        self.language_layers.iter().position(|l| *l == layer)
    }

    /// The deepest state of the tower that is linked.
    #[must_use]
    pub fn deepest(&self) -> Option<usize> {
        self.vision_layers.iter().copied().max()
    }
}

impl LanguageConfig {
    /// The smallest model: it stands in where there is none, and is never run.
    #[must_use]
    pub fn stand_in() -> Self {
        Self {
            hidden_size: 4,
            intermediate_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            vocab_size: 1,
            ..Self::default()
        }
    }

    /// D.
    #[must_use]
    pub fn head(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Width of keys and values.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.num_key_value_heads * self.head()
    }

    /// Causal attention of `queries` rows per sample to `text` and `image` keys.
    #[must_use]
    pub fn layout(&self, batch: usize, queries: usize, text: usize, image: usize) -> Layout {
        let (heads, groups, head) = (self.num_attention_heads, self.num_key_value_heads, self.head());
        Layout { batch, queries, text, image, heads, groups, head, causal: true }
    }

    /// Can it be built?
    pub fn check(&self) -> Result<(), ConfigError> {
        let layers = [self.hidden_size, self.intermediate_size, self.num_hidden_layers, self.num_attention_heads];
        check_sizes("text_config", &layers, [self.num_key_value_heads, self.vocab_size, self.max_position_embeddings])?;
        ensure(self.num_attention_heads.is_multiple_of(self.num_key_value_heads), || {
            format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.num_attention_heads, self.num_key_value_heads
            )
        })?;
        ensure(self.rope_theta.is_finite() && self.rope_theta > 0.0, || {
            format!("rope_theta is {}; a positive number is expected", self.rope_theta)
        })?;
        self.rope_scaling.as_ref().map_or(Ok(()), RopeScaling::check)?;
        check_heads("text_config", self.hidden_size, self.num_attention_heads, 4)
    }
}

impl HiveConfig {
    /// State of the tower that the flattened wiring reads.
    #[must_use]
    pub fn projected_layer(&self) -> usize {
        self.projector_config.vision_layer.unwrap_or(self.vision_config.num_hidden_layers.saturating_sub(1))
    }

    /// Rows of the text that a square of pixels becomes in the flattened wiring.
    #[must_use]
    pub fn image_rows(&self) -> usize {
        let side = self.vision_config.side() / self.projector_config.cell.max(1);
        side * side
    }

    /// `count` pairs evenly spread, deep with deep: layer i of S is round(i L / S) on either side, less one.
    #[must_use]
    pub fn spread(count: usize, vision: usize, language: usize) -> (Vec<usize>, Vec<usize>) {
        let at = |i: usize, depth: usize| ((2 * i * depth + count) / (2 * count)).saturating_sub(1);
        ((1..=count).map(|i| at(i, vision)).collect(), (1..=count).map(|i| at(i, language)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_gives_the_published_links() {
        let (vision, language) = HiveConfig::spread(8, 24, 40);
        assert_eq!(vision, [2, 5, 8, 11, 14, 17, 20, 23]);
        assert_eq!(language, [4, 9, 14, 19, 24, 29, 34, 39]);
        assert_eq!(HiveConfig::spread(6, 24, 32).1, [4, 10, 15, 20, 26, 31].map(|v: usize| v));
    }

    #[test]
    fn rope_scaling_has_hugging_faces_keys() {
        let text = r#"{"rope_scaling": {"type": "llama3", "factor": 32.0, "low_freq_factor": 1, "high_freq_factor": 4,
            "original_max_position_embeddings": 8192}}"#;
        let c: LanguageConfig = serde_json::from_str(text).unwrap();
        assert_eq!((c.max_position_embeddings, c.rope_scaling.unwrap().factor), (2048, 32.0));
        let again = serde_json::to_string(&c).unwrap();
        assert!(again.contains(r#""rope_scaling":{"rope_type":"llama3","factor":32.0"#), "{again}");
        assert_eq!(serde_json::from_str::<LanguageConfig>(&again).unwrap(), c);
        assert!(!serde_json::to_string(&LanguageConfig::default()).unwrap().contains("rope_scaling"));
        let other = text.replace("llama3", "yarn");
        assert!(serde_json::from_str::<LanguageConfig>(&other).unwrap_err().to_string().contains("yarn"));

        let mut c = c;
        c.check().unwrap();
        c.rope_scaling.as_mut().unwrap().low_freq_factor = 4.0;
        assert!(c.check().unwrap_err().0.contains("low_freq_factor"));
    }

    #[test]
    fn checks_name_the_key() {
        let mut c = HiveConfig::default();
        c.check().unwrap();
        c.link_config.vision_layers = vec![1];
        assert!(c.check().unwrap_err().0.contains("vision_layers"));
        c.link_config.language_layers = vec![99];
        assert!(c.check().unwrap_err().0.contains("from 0 to 29"));
        c.vision_config.image_size = 15;
        assert!(c.check().unwrap_err().0.contains("patch_size"));
    }
}
