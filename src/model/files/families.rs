//! Published vision-language models whose parts Hive has: what their `config.json` leaves out, and how they differ. A family is
//! data: where the tower is read, how many patches become a row, how pictures are cut, what stands around them in a prompt.

use serde_json::Value;

use super::config::{Class, ModelSpec, TEXT, VISION, off, only, unknown, vision_of};
use super::error::{CONFIG, FilesError, shown};
use super::json::Keys;
use super::preprocess::MOST_SIDE;
use crate::data::chat::IMAGE;
use crate::data::image::{Filter, Preprocess};
use crate::data::tags::Tags;
use crate::data::tiles::{Cut, Recipe};
use crate::model::config::{LanguageConfig, ProjectorConfig, VisionConfig, Wiring};

/// `Idefics3VisionConfig()`: other numbers than those of `SigLIP`'s class.
const IDEFICS3_TOWER: VisionConfig = VisionConfig {
    hidden_size: 1152,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 16,
    image_size: 224,
    patch_size: 32,
    num_channels: 3,
    layer_norm_eps: 1e-6,
};

/// State k of a tower with so many blocks, as configurations count: from the end where it is negative.
fn state(top: Keys<'_>, key: &str, default: i64, blocks: usize) -> Result<usize, FilesError> {
    let value = match top.value(key) {
        None => default,
        // A list of one is that one.
        Some(Value::Array(list)) if list.len() == 1 => list[0].as_i64().unwrap_or(i64::MAX),
        Some(Value::Array(_)) => {
            return Err(top.fault(key, "are several: their states are joined there, and Hive reads one"));
        }
        Some(other) => other.as_i64().unwrap_or(i64::MAX),
    };
    // Sizes are judged later: there may be any number of blocks.
    let states = i64::try_from(blocks).unwrap_or(i64::MAX).saturating_add(1);
    let at = if value < 0 { states.saturating_add(value) } else { value };
    usize::try_from(at).ok().filter(|k| *k <= blocks).ok_or_else(|| {
        let have = top.value(key).map_or_else(String::new, |v| shown(&v.to_string()));
        top.fault(key, &format!("is {have}; the tower has the states 0 to {blocks}, or -1 to -{states}"))
    })
}

impl ModelSpec {
    /// The text side of a model whose `text_config` may be absent.
    fn text_part(&mut self, top: Keys<'_>, default: &str) -> Result<(), FilesError> {
        let text = top.object("text_config", TEXT)?;
        let class = text.map_or(Ok(None), |t| t.text("model_type"))?.unwrap_or(default);
        let class = Class::named(class).ok_or_else(|| unknown(top, class))?;
        let empty = Value::Object(serde_json::Map::new());
        match text {
            Some(text) => self.language(text, top, class),
            None => self.language(Keys::of(&empty, CONFIG, TEXT)?, top, class),
        }
    }

    /// Llava, and LLaVA-OneVision where `any` resolution is taken.
    pub(super) fn llava(&mut self, top: Keys<'_>, any: bool) -> Result<(), FilesError> {
        if top.has("mm_vision_tower") {
            return self.llava_own(top);
        }
        self.kind = Wiring::Flattened;
        let tower = top.object("vision_config", VISION)?;
        let kind = tower.map_or(Ok(None), |t| t.text("model_type"))?;
        let kind = kind.unwrap_or(if any && tower.is_none() { "siglip_vision_model" } else { "clip_vision_model" });
        if kind != "siglip_vision_model" {
            let text = format!("is {}; the towers that Hive has are siglip_vision_model", shown(kind));
            return Err(top.fault("vision_config.model_type", &text));
        }
        let default = VisionConfig {
            hidden_size: 1152,
            intermediate_size: 4304,
            num_hidden_layers: 26,
            num_attention_heads: 16,
            image_size: 384,
            patch_size: 14,
            ..VisionConfig::default()
        };
        self.config.vision_config = match tower {
            Some(tower) => vision_of(tower, &VisionConfig::default())?,
            None => default,
        };
        self.text_part(top, if any { "qwen2" } else { "llama" })?;
        only(top, "projector_hidden_act", "gelu", "gelu")?;
        only(top, "vision_feature_select_strategy", if any { "full" } else { "default" }, "full")?;
        if top.flag("multimodal_projector_bias")? == Some(false) {
            return Err(top.fault("multimodal_projector_bias", "is false; projectors have biases"));
        }
        let blocks = self.config.vision_config.num_hidden_layers;
        let layer = state(top, "vision_feature_layer", if any { -1 } else { -2 }, blocks)?;
        self.config.projector_config =
            ProjectorConfig { vision_layer: Some(layer), newline: any, ..ProjectorConfig::default() };
        let image = top.ids("image_token_index")?.or(top.ids("image_token_id")?);
        let default = if any { 151_646 } else { 32_000 };
        self.image_token = Some(image.and_then(|ids| ids.first().copied()).unwrap_or(default));
        if any {
            let (side, key) = (self.config.vision_config.image_size, "image_grid_pinpoints");
            let sizes = match top.value(key) {
                Some(list) => pinpoints(top, key, list)?,
                None => (1..=6).flat_map(|h| (1..=6).map(move |w| [h, w].map(|n| side.saturating_mul(n)))).collect(),
            };
            let most = most_squares(top, "vision_aspect_ratio", "anyres_max_9")?;
            self.family.cut = Some(self.sizes(top, sizes, most)?);
        }
        Ok(())
    }

    /// Sizes of pictures as whole numbers of squares.
    fn sizes(&self, top: Keys<'_>, sizes: Vec<[usize; 2]>, most: Option<usize>) -> Result<Cut, FilesError> {
        let side = self.config.vision_config.image_size;
        let fits = |size: &[usize; 2]| size.iter().all(|s| *s > 0 && s.is_multiple_of(side) && *s / side <= MOST_SIDE);
        if sizes.is_empty() || !sizes.iter().all(fits) || sizes.len() > MOST_SIZES {
            let text =
                format!("must be pairs of multiples of {side}, up to {MOST_SIDE} times that, and at most {MOST_SIZES}");
            return Err(top.fault("image_grid_pinpoints", &text));
        }
        Ok(Cut::Sizes { sizes, most })
    }

    /// The files of lmms-lab: flat keys of the decoder, and a tower by its name.
    fn llava_own(&mut self, top: Keys<'_>) -> Result<(), FilesError> {
        self.kind = Wiring::Flattened;
        let name = top.text("mm_vision_tower")?.unwrap_or_default();
        let Some(tower) = named_tower(name) else {
            let text = format!("is {}; the towers that Hive has are google/siglip-*-patch*", shown(name));
            return Err(top.fault("mm_vision_tower", &text));
        };
        self.config.vision_config = tower;
        only(top, "mm_projector_type", "mlp2x_gelu", "mlp2x_gelu")?;
        only(top, "mm_patch_merge_type", "spatial_unpad", "spatial_unpad")?;
        let architectures =
            top.value("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or_default();
        let class = if architectures.contains("Qwen") { Class::Qwen2 } else { Class::Llama };
        self.language(top, top, class)?;
        let whole = self.config.vision_config.num_hidden_layers;
        let layer = state(top, "mm_vision_select_layer", -2, whole)?;
        // The blocks above are not in the file.
        self.config.vision_config.num_hidden_layers = layer;
        self.config.projector_config =
            ProjectorConfig { vision_layer: Some(layer), newline: true, ..ProjectorConfig::default() };
        let (side, key) = (self.config.vision_config.image_size, "image_grid_pinpoints");
        let sizes = match top.value(key) {
            Some(Value::String(range)) => range_of(range, side)
                .ok_or_else(|| top.fault(key, "must be a list of pairs, or a range such as (1x1),...,(6x6)"))?,
            Some(list) => pinpoints(top, key, list)?,
            None => return Err(top.fault(key, "is missing")),
        };
        let most = most_squares(top, "image_aspect_ratio", "anyres")?;
        let cut = self.sizes(top, sizes, most)?;
        self.family.recipe = Some(Recipe { square: Preprocess::new(side).padded(), cut });
        Ok(())
    }

    /// Idefics3 and `SmolVLM`: the same mathematics.
    pub(super) fn idefics3(&mut self, top: Keys<'_>) -> Result<(), FilesError> {
        self.kind = Wiring::Flattened;
        let tower = top.object("vision_config", VISION)?;
        let kind = tower.map_or(Ok(None), |t| t.text("model_type"))?.unwrap_or("idefics3_vision");
        if !["idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"].contains(&kind) {
            let text = format!("is {}; idefics3_vision and smolvlm_vision are this family's", shown(kind));
            return Err(top.fault("vision_config.model_type", &text));
        }
        self.config.vision_config = tower.map_or(Ok(IDEFICS3_TOWER), |t| vision_of(t, &IDEFICS3_TOWER))?;
        if let Some(text) = top.object("text_config", TEXT)? {
            for key in ["qk_layer_norms", "use_resampler", "rope_interleaved"] {
                off(text, key, "which Hive does not compute")?;
            }
        }
        self.text_part(top, "llama")?;
        // What counts is what the whole model says, not its part.
        self.config.text_config.tie_word_embeddings = top.flag("tie_word_embeddings")?.unwrap_or(false);
        self.config.projector_config = ProjectorConfig {
            vision_layer: Some(self.config.vision_config.num_hidden_layers),
            post_norm: true,
            cell: top.size("scale_factor")?.unwrap_or(2),
            single: true,
            newline: false,
        };
        let image = top.ids("image_token_id")?.and_then(|ids| ids.first().copied());
        self.image_token = Some(image.unwrap_or(128_257));
        self.family.tags = Tags::Framed;
        self.family.stops = &["<end_of_utterance>"];
        Ok(())
    }

    /// nanoVLM: keys of its own, in four forms that followed each other.
    pub(super) fn nano(&mut self, top: Keys<'_>) -> Result<(), FilesError> {
        self.kind = Wiring::Flattened;
        "nanovlm".clone_into(&mut self.model_type);
        let size = |key: &str| top.size(key)?.ok_or_else(|| top.fault(key, "is missing"));
        off(top, "vit_cls_flag", "its tower has a CLS token then, which Hive has not")?;
        self.config.vision_config = VisionConfig {
            hidden_size: size("vit_hidden_dim")?,
            intermediate_size: size("vit_inter_dim")?,
            num_hidden_layers: size("vit_n_blocks")?,
            num_attention_heads: size("vit_n_heads")?,
            image_size: size("vit_img_size")?,
            patch_size: size("vit_patch_size")?,
            num_channels: 3,
            layer_norm_eps: top.number("vit_ln_eps")?.unwrap_or(1e-6),
        };
        if top.number("lm_attn_scaling")?.is_some_and(|scale| scale != 1.0) {
            return Err(top.fault("lm_attn_scaling", "is not 1; scores are divided by the root of a head's width"));
        }
        self.config.text_config = LanguageConfig {
            hidden_size: size("lm_hidden_dim")?,
            intermediate_size: size("lm_inter_dim")?,
            num_hidden_layers: size("lm_n_blocks")?,
            num_attention_heads: size("lm_n_heads")?,
            num_key_value_heads: size("lm_n_kv_heads")?,
            vocab_size: size("lm_vocab_size")?,
            rope_theta: top.number("lm_re_base")?.unwrap_or(100_000.0),
            rope_scaling: None,
            max_position_embeddings: size("lm_max_position_embeddings")?,
            rms_norm_eps: top.number("lm_rms_eps")?.unwrap_or(1e-5),
            attention_bias: false,
            tie_word_embeddings: top.flag("lm_tie_weights")?.unwrap_or(true),
        };
        self.max_positions = self.config.text_config.max_position_embeddings;
        self.config.projector_config = ProjectorConfig {
            vision_layer: Some(self.config.vision_config.num_hidden_layers),
            post_norm: true,
            cell: top.size("mp_pixel_shuffle_factor")?.unwrap_or(2),
            single: true,
            newline: false,
        };
        self.nano_manners(top)
    }

    /// Its pictures and prompts, by the keys that each of its forms has.
    fn nano_manners(&mut self, top: Keys<'_>) -> Result<(), FilesError> {
        self.eos = top.ids("lm_eos_token_id")?.unwrap_or_default();
        let (side, extra) =
            (self.config.vision_config.image_size, top.object("vlm_extra_tokens", "vlm_extra_tokens.")?);
        // Values from 0 to 1, as they are in the file.
        let square = Preprocess { image_mean: [0.0; 3], image_std: [1.0; 3], ..Preprocess::new(side) };
        let longest = top.size("max_img_size")?;
        let token = |key: &str| extra.map_or(Ok(None), |e| e.text(key)).map(|t| t.map(str::to_owned));
        let whole = token("global_image_token")?;
        let recipe = match longest {
            Some(longest) => {
                let fits = longest > 0 && longest.is_multiple_of(side) && longest / side <= MOST_SIDE;
                if !fits {
                    let text = format!("must be a multiple of vit_img_size {side}, up to {MOST_SIDE} times it");
                    return Err(top.fault("max_img_size", &text));
                }
                let enlarge = top.flag("resize_to_max_side_len")?.unwrap_or(false);
                Recipe { square, cut: Cut::Sides { longest, enlarge, whole: whole.is_some() } }
            }
            None => Preprocess { filter: Filter::Bilinear, ..square }.into(),
        };
        self.family.recipe = Some(recipe);
        // The earliest form has no token for a row: they stand before the text.
        self.family.image_token =
            token("image_token")?.or_else(|| top.has("mp_image_token_length").then(|| "<|image|>".to_owned()));
        let tile = |r: usize, c: usize| Ok::<_, FilesError>(token(&format!("r{r}c{c}"))?.map(|t| ((r, c), t)));
        let mut squares = std::collections::BTreeMap::new();
        for (r, c) in (1..=MOST_SIDE).flat_map(|r| (1..=MOST_SIDE).map(move |c| (r, c))) {
            squares.extend(tile(r, c)?);
        }
        self.family.added = extra.map_or_else(Vec::new, Keys::texts);
        self.family.tags = match &self.family.image_token {
            Some(image) => Tags::Named { image: image.clone(), whole, squares, spoken: longest.is_some() },
            None => Tags::Named { image: IMAGE.to_owned(), whole, squares, spoken: false },
        };
        self.family.template = Some(match top.text("lm_chat_template")? {
            Some(template) if longest.is_some() => template.to_owned(),
            _ => QUESTION.to_owned(),
        });
        self.family.tokenizer = top.text("lm_tokenizer")?.map(str::to_owned);
        if longest.is_some() {
            self.family.stops = &["<|im_end|>"];
        } else if self.eos.is_empty() {
            self.eos = vec![0];
        }
        Ok(())
    }
}

/// Most sizes that a file may name.
const MOST_SIZES: usize = 1024;
/// How nanoVLM asked before it had a chat template.
const QUESTION: &str = "{% for m in messages %}{% if m['role'] == 'user' %}Question: {{ m['content'] }} Answer:{% else %}{{ m['content'] }}\n{% endif %}{% endfor %}";

/// Pairs of height and width.
fn pinpoints(top: Keys<'_>, key: &str, list: &Value) -> Result<Vec<[usize; 2]>, FilesError> {
    let pair = |pair: &Value| {
        let side = |i: usize| usize::try_from(pair.get(i)?.as_u64()?).ok();
        Some([side(0)?, side(1)?])
    };
    let pairs = list.as_array().and_then(|list| list.iter().map(pair).collect());
    pairs.ok_or_else(|| top.fault(key, "must be a list of pairs, height and width"))
}

/// The sizes of a range such as "(1x1),...,(6x6)", of squares with so many pixels a side.
fn range_of(text: &str, side: usize) -> Option<Vec<[usize; 2]>> {
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse::<usize>().ok());
    let [from_h, from_w, to_h, to_w] = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    (to_h <= MOST_SIDE && to_w <= MOST_SIDE).then(|| {
        (from_h..=to_h).flat_map(|h| (from_w..=to_w).map(move |w| [h, w].map(|n| n.saturating_mul(side)))).collect()
    })
}

/// The 9 of `anyres_max_9`; none for `anyres`.
fn most_squares(top: Keys<'_>, key: &str, default: &str) -> Result<Option<usize>, FilesError> {
    let value = top.text(key)?.unwrap_or(default);
    if value == "anyres" {
        return Ok(None);
    }
    let most = value.strip_prefix("anyres_max_").and_then(|n| n.parse().ok()).filter(|n| (1..=1024).contains(n));
    most.map(Some)
        .ok_or_else(|| top.fault(key, &format!("is {}; anyres and anyres_max_N are what Hive computes", shown(value))))
}

/// A published tower by its name.
fn named_tower(name: &str) -> Option<VisionConfig> {
    let rest = name.strip_prefix("google/siglip-")?;
    let (kind, rest) = rest.split_once("-patch")?;
    let (patch, image) = rest.split_once('-')?;
    let [width, mlp, layers, heads] = match kind {
        "base" => [768, 3072, 12, 12],
        "large" => [1024, 4096, 24, 16],
        "so400m" => [1152, 4304, 27, 16],
        _ => return None,
    };
    Some(VisionConfig {
        hidden_size: width,
        intermediate_size: mlp,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        image_size: image.parse().ok()?,
        patch_size: patch.parse().ok()?,
        ..VisionConfig::default()
    })
}
