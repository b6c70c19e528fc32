//! From `config.json` of the classes Hive can build to its own configuration: defaults of the classes, both spellings
//! of rotary scaling, and a sentence for whatever would compute something else.

use serde::Deserialize;
use serde_json::Value;

use super::error::{CONFIG, FilesError, shown};
use super::family::{Family, OTHERS};
use super::folder::{Checkpoint, Folder};
use super::json::{Keys, parse};
use super::names::head_differs;
use crate::model::config::{HiveConfig, LanguageConfig, RopeScaling, RopeType, VisionConfig, Wiring};
use crate::model::limits;

const GENERATION: &str = "generation_config.json";

/// A model as its folder describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Which model.
    pub kind: Wiring,
    /// Sizes. A part that the model does not have is a stand-in of the smallest size.
    pub config: HiveConfig,
    /// Hugging Face's name of the class; empty for Hive's own.
    pub model_type: String,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that the model was trained for.
    pub max_positions: usize,
    /// The token in whose place the image stands, for those who were trained with one.
    pub image_token: Option<u32>,
    /// What shines through transparent parts of pictures, where a model of Hive's own says so.
    pub background: Option<[u8; 3]>,
    /// What `generation_config.json` asks of whoever chooses tokens, by its key: nothing of it is done unless it is asked for.
    pub asked: Vec<(String, String)>,
    /// What its family does with pictures and prompts.
    pub family: Family,
}

impl ModelSpec {
    /// Reads `config.json` and, where there is one, `generation_config.json`.
    ///
    /// # Errors
    /// A class or an option that Hive does not compute, by its name; files that are missing or damaged.
    pub async fn open(folder: &Folder) -> Result<Self, FilesError> {
        let config = folder.required_text(CONFIG).await?;
        let generation = folder.text(GENERATION).await?;
        Self::read(&config, generation.as_deref())
    }

    /// The same beside its weights: a head of their own is used, whatever the configuration says.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub async fn beside(mut self, weights: &Checkpoint) -> Result<Self, FilesError> {
        let text = &mut self.config.text_config;
        // MobileLLM's own code has no head at all.
        if text.tie_word_embeddings && self.model_type != "mobilellm" {
            text.tie_word_embeddings = !head_differs(weights).await?;
        }
        Ok(self)
    }

    /// The same from the files' texts.
    pub fn read(config: &str, generation: Option<&str>) -> Result<Self, FilesError> {
        let value: Value = parse(CONFIG, config.as_bytes())?;
        let top = Keys::of(&value, CONFIG, "")?;
        if let Some(quantised) = top.object("quantization_config", "quantization_config.")? {
            let method = quantised.text("quant_method")?.unwrap_or("an unnamed method");
            let text = format!(
                "the weights are quantised by {}, which is not read. Give the model that they were made from, and choose int8 or int4 here",
                shown(method)
            );
            return Err(FilesError::Config { file: CONFIG.to_owned(), text });
        }
        let mut spec = Self::of(top)?;
        if let Some(text) = generation {
            let value: Value = parse(GENERATION, text.as_bytes())?;
            let keys = Keys::of(&value, GENERATION, "")?;
            spec.eos = keys.ids("eos_token_id")?.unwrap_or(spec.eos);
            spec.bos = keys.ids("bos_token_id")?.map_or(spec.bos, |ids| ids.first().copied());
            spec.asked = asked(keys)?;
        }
        limits::check(&spec.config).map_err(|e| FilesError::Config { file: CONFIG.to_owned(), text: e.0 })?;
        spec.config.check()?;
        Ok(spec)
    }

    fn of(top: Keys<'_>) -> Result<Self, FilesError> {
        let model_type = top.text("model_type")?.unwrap_or_default();
        let mut spec = Self {
            kind: Wiring::Text,
            config: HiveConfig {
                vision_config: VisionConfig::stand_in(),
                text_config: LanguageConfig::stand_in(),
                ..HiveConfig::default()
            },
            model_type: model_type.to_owned(),
            eos: Vec::new(),
            bos: None,
            max_positions: 0,
            image_token: None,
            background: None,
            asked: Vec::new(),
            family: Family::default(),
        };
        match model_type {
            "siglip_vision_model" => (spec.kind, spec.config.vision_config) = (Wiring::Tower, vision(top)?),
            "siglip" => {
                let part = top.object("vision_config", VISION)?;
                spec.kind = Wiring::Tower;
                spec.config.vision_config = part.map_or(Ok(VisionConfig::default()), vision)?;
            }
            "llava" => spec.llava(top, false)?,
            "llava_onevision" => spec.llava(top, true)?,
            // The files of lmms-lab name the decoder.
            "qwen2" | "llama" if top.has("mm_vision_tower") => spec.llava(top, true)?,
            "idefics3" | "smolvlm" => spec.idefics3(top)?,
            "" if top.has("vit_hidden_dim") && top.has("lm_hidden_dim") => spec.nano(top)?,
            "" => spec.own(top)?,
            _ => spec.language(top, top, Class::named(model_type).ok_or_else(|| unknown(top, model_type))?)?,
        }
        Ok(spec)
    }

    /// The text side, from `text`; what the whole model says is in `top`.
    pub(super) fn language(&mut self, text: Keys<'_>, top: Keys<'_>, class: Class) -> Result<(), FilesError> {
        self.config.text_config = language(text, top, class)?;
        self.tokens(text, top, class)
    }

    fn tokens(&mut self, text: Keys<'_>, top: Keys<'_>, class: Class) -> Result<(), FilesError> {
        self.max_positions = self.config.text_config.max_position_embeddings;
        // Null says that there is none; an absent key, that the class' own is meant.
        let ids = |key, class: &[u32]| -> Result<Vec<u32>, FilesError> {
            let absent = if text.has(key) || top.has(key) { &[][..] } else { class };
            Ok(text.ids(key)?.or(top.ids(key)?).unwrap_or_else(|| absent.to_vec()))
        };
        self.eos = ids("eos_token_id", class.eos())?;
        self.bos = ids("bos_token_id", class.bos())?.first().copied();
        Ok(())
    }

    /// Hive's own keys; parts with a `model_type` are read as those of that class.
    fn own(&mut self, top: Keys<'_>) -> Result<(), FilesError> {
        let kind = top.text("kind")?.unwrap_or("hive");
        self.kind = match kind {
            "cascade" => Wiring::Flattened,
            "hive" | "training" => Wiring::Linked,
            _ => return Err(unknown(top, "")),
        };
        let (Some(tower), Some(text)) = (top.object("vision_config", VISION)?, top.object("text_config", TEXT)?) else {
            return Err(unknown(top, ""));
        };
        self.config.vision_config = match tower.text("model_type")? {
            None => part(top, "vision_config")?,
            Some("siglip_vision_model") => vision(tower)?,
            Some(other) => {
                return Err(tower.fault("model_type", &format!("is {}, not siglip_vision_model", shown(other))));
            }
        };
        match text.text("model_type")? {
            None => {
                self.config.text_config = part(top, "text_config")?;
                self.tokens(text, top, Class::Own)?;
            }
            Some(class) => self.language(text, top, Class::named(class).ok_or_else(|| unknown(text, class))?)?,
        }
        if self.kind == Wiring::Linked {
            self.config.link_config = part(top, "link_config")?;
        }
        self.config.projector_config = part(top, "projector_config")?;
        self.background = part(top, "image_background")?;
        Ok(())
    }
}

/// Settings of generation that change a text, and their values that change none. The first four count where tokens are drawn.
const ASKED: [(&str, &[&str]); 12] = [
    ("temperature", &["1", "1.0"]),
    ("top_k", &["0"]),
    ("top_p", &["1", "1.0"]),
    ("min_p", &["0", "0.0"]),
    ("repetition_penalty", &["1", "1.0"]),
    ("no_repeat_ngram_size", &["0"]),
    ("num_beams", &["1"]),
    ("suppress_tokens", &["[]"]),
    ("begin_suppress_tokens", &["[]"]),
    ("bad_words_ids", &["[]"]),
    ("forced_bos_token_id", &[]),
    ("forced_eos_token_id", &[]),
];

/// The settings of `generation_config.json` that are not followed by themselves.
fn asked(keys: Keys<'_>) -> Result<Vec<(String, String)>, FilesError> {
    let drawn = keys.flag("do_sample")? == Some(true);
    let used = ASKED.iter().enumerate().filter(|(i, _)| drawn || *i > 3);
    let value = |key: &str| keys.value(key).map(Value::to_string);
    let all = used.filter_map(|(_, (key, none))| Some((*key, value(key).filter(|v| !none.contains(&v.as_str()))?)));
    Ok(all.map(|(key, value)| (key.to_owned(), shown(&value))).collect())
}

pub(super) const VISION: &str = "vision_config.";
pub(super) const TEXT: &str = "text_config.";

/// A decoder's class, for what its configuration leaves out.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Class {
    Llama,
    Qwen2,
    Own,
}

impl Class {
    pub(super) fn named(model_type: &str) -> Option<Self> {
        match model_type {
            // MobileLLM is a llama with keys of its own.
            "llama" | "mobilellm" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            _ => None,
        }
    }

    fn eos(self) -> &'static [u32] {
        if self == Self::Llama { &[2] } else { &[] }
    }

    fn bos(self) -> &'static [u32] {
        if self == Self::Llama { &[1] } else { &[] }
    }

    /// `LlamaConfig()` and `Qwen2Config()`.
    fn defaults(self) -> LanguageConfig {
        let llama = LanguageConfig {
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            vocab_size: 32000,
            rope_theta: 10_000.0,
            rope_scaling: None,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            attention_bias: false,
            tie_word_embeddings: false,
        };
        match self {
            Self::Llama => llama,
            Self::Qwen2 => LanguageConfig {
                intermediate_size: 22016,
                vocab_size: 151_936,
                max_position_embeddings: 32768,
                attention_bias: true,
                ..llama
            },
            Self::Own => LanguageConfig::default(),
        }
    }
}

pub(super) fn unknown(keys: Keys<'_>, model_type: &str) -> FilesError {
    if let Some((_, why)) = OTHERS.iter().find(|(name, _)| model_type.starts_with(name)) {
        return keys.fault("model_type", &format!("is \"{}\". {why}, which Hive has not", shown(model_type)));
    }
    let text = format!(
        "is \"{}\"; Hive reads llama, mobilellm, qwen2, siglip, siglip_vision_model, llava, llava_onevision, idefics3, smolvlm, nanoVLM, and its own files with vision_config, text_config and link_config",
        shown(model_type)
    );
    keys.fault("model_type", &text)
}

/// A part with Hive's own keys; its defaults where it is absent.
fn part<T: Default + for<'de> Deserialize<'de>>(top: Keys<'_>, key: &str) -> Result<T, FilesError> {
    let read = |v| T::deserialize(v).map_err(|e: serde_json::Error| top.fault(key, &format!("cannot be used: {e}")));
    top.value(key).map_or(Ok(T::default()), read)
}

/// Refuses every value of a key but one; `default` is the class' own.
pub(super) fn only(keys: Keys<'_>, key: &str, default: &str, supported: &str) -> Result<(), FilesError> {
    let value = keys.text(key)?.unwrap_or(default);
    if value == supported {
        return Ok(());
    }
    Err(keys.fault(key, &format!("is {}; {supported} is what Hive computes", shown(value))))
}

/// Refuses a switch that is on.
pub(super) fn off(keys: Keys<'_>, key: &str, why: &str) -> Result<(), FilesError> {
    if keys.flag(key)? == Some(true) { Err(keys.fault(key, &format!("is true; {why}"))) } else { Ok(()) }
}

fn vision(keys: Keys<'_>) -> Result<VisionConfig, FilesError> {
    vision_of(keys, &VisionConfig::default())
}

/// A tower; `d` are its class' defaults.
pub(super) fn vision_of(keys: Keys<'_>, d: &VisionConfig) -> Result<VisionConfig, FilesError> {
    only(keys, "hidden_act", "gelu_pytorch_tanh", "gelu_pytorch_tanh")?;
    Ok(VisionConfig {
        hidden_size: keys.size("hidden_size")?.unwrap_or(d.hidden_size),
        intermediate_size: keys.size("intermediate_size")?.unwrap_or(d.intermediate_size),
        num_hidden_layers: keys.size("num_hidden_layers")?.unwrap_or(d.num_hidden_layers),
        num_attention_heads: keys.size("num_attention_heads")?.unwrap_or(d.num_attention_heads),
        image_size: keys.size("image_size")?.unwrap_or(d.image_size),
        patch_size: keys.size("patch_size")?.unwrap_or(d.patch_size),
        num_channels: keys.size("num_channels")?.unwrap_or(d.num_channels),
        layer_norm_eps: keys.number("layer_norm_eps")?.unwrap_or(d.layer_norm_eps),
    })
}

fn language(keys: Keys<'_>, top: Keys<'_>, class: Class) -> Result<LanguageConfig, FilesError> {
    let d = class.defaults();
    only(keys, "hidden_act", "silu", "silu")?;
    off(keys, "mlp_bias", "MLPs have no biases")?;
    off(keys, "layer_sharing", "every layer runs once")?;
    off(keys, "use_sliding_window", "attention sees the whole text")?;
    let all_full = |v: &Value| v.as_array().is_some_and(|l| l.iter().all(|t| t == "full_attention"));
    if keys.value("layer_types").is_some_and(|v| !all_full(v)) {
        return Err(keys.fault("layer_types", "has other layers than full_attention; attention sees the whole text"));
    }
    if class == Class::Llama {
        off(keys, "attention_bias", "a llama then has a bias at o_proj too, which Hive does not have")?;
    }
    let max_position_embeddings = keys.size("max_position_embeddings")?.unwrap_or(d.max_position_embeddings);
    let (rope_theta, rope_scaling) = rope(keys, d.rope_theta, max_position_embeddings)?;
    let num_attention_heads = keys.size("num_attention_heads")?.unwrap_or(d.num_attention_heads);
    // A key of MobileLLM, whose tie_word_embeddings is false all the same.
    let shared = keys.flag("share_embedding")?.unwrap_or(false);
    let tied = keys.flag("tie_word_embeddings")?.or(top.flag("tie_word_embeddings")?);
    let config = LanguageConfig {
        hidden_size: keys.size("hidden_size")?.unwrap_or(d.hidden_size),
        intermediate_size: keys.size("intermediate_size")?.unwrap_or(d.intermediate_size),
        num_hidden_layers: keys.size("num_hidden_layers")?.unwrap_or(d.num_hidden_layers),
        num_attention_heads,
        num_key_value_heads: keys.size("num_key_value_heads")?.unwrap_or(num_attention_heads),
        vocab_size: keys.size("vocab_size")?.unwrap_or(d.vocab_size),
        rope_theta,
        rope_scaling,
        max_position_embeddings,
        rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(d.rms_norm_eps),
        attention_bias: d.attention_bias,
        tie_word_embeddings: shared || tied.unwrap_or(d.tie_word_embeddings),
    };
    let head = config.hidden_size.checked_div(config.num_attention_heads).unwrap_or(0);
    match keys.size("head_dim")? {
        Some(own) if own != head => {
            Err(keys
                .fault("head_dim", &format!("is {own}; hidden_size / num_attention_heads, here {head}, is supported")))
        }
        _ => Ok(config),
    }
}

/// Base and scaling, in the spelling of transformers 4 (`rope_theta` beside `rope_scaling`) or 5 (`rope_parameters`).
fn rope(keys: Keys<'_>, theta: f64, positions: usize) -> Result<(f64, Option<RopeScaling>), FilesError> {
    let whole = |k: Keys<'_>| match k.number("partial_rotary_factor")? {
        Some(part) if part != 1.0 => {
            Err(k.fault("partial_rotary_factor", &format!("is {part}; whole heads are rotated")))
        }
        _ => Ok(()),
    };
    whole(keys)?;
    let theta = keys.number("rope_theta")?.unwrap_or(theta);
    let new = keys.object("rope_parameters", "rope_parameters.")?;
    let Some(rope) = new.or(keys.object("rope_scaling", "rope_scaling.")?) else { return Ok((theta, None)) };
    whole(rope)?;
    if rope.is_nested() {
        return Err(keys.fault("rope_parameters", "differ between layers; all layers have the same angles"));
    }
    let kind = |k: Keys<'_>| -> Result<String, FilesError> {
        Ok(k.text("rope_type")?.or(k.text("type")?).unwrap_or("default").to_owned())
    };
    if let (Some(one), Some(other)) = (new, keys.object("rope_scaling", "rope_scaling.")?)
        && kind(one)? == "default"
        && kind(other)? != "default"
    {
        return Err(keys.fault("rope_scaling", "and rope_parameters say different things: remove one of them"));
    }
    let theta = rope.number("rope_theta")?.unwrap_or(theta);
    let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
    if kind == "default" {
        return Ok((theta, None));
    }
    if kind != "llama3" {
        return Err(rope.fault("rope_type", &format!("is {}; default and llama3 are what Hive computes", shown(kind))));
    }
    let number = |key| rope.number(key)?.ok_or_else(|| rope.fault(key, "is missing"));
    let scaling = RopeScaling {
        rope_type: RopeType::Llama3,
        factor: number("factor")?,
        low_freq_factor: number("low_freq_factor")?,
        high_freq_factor: number("high_freq_factor")?,
        original_max_position_embeddings: rope.size("original_max_position_embeddings")?.unwrap_or(positions),
    };
    Ok((theta, Some(scaling)))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
