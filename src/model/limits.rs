//! Upper bounds: sizes that no model has, so that a damaged file is a sentence and not a day of work; and the rows that fit into
//! one buffer of a device.

use super::config::{ConfigError, HiveConfig, Wiring, ensure};
use crate::gpu::{Gpu, GpuError};

/// Largest value of each key of the tower and of the decoder.
const LIMITS: [(&str, usize); 10] = [
    ("hidden_size", 1 << 16),
    ("intermediate_size", 1 << 18),
    ("num_hidden_layers", 1 << 10),
    ("num_attention_heads", 1 << 10),
    ("num_key_value_heads", 1 << 10),
    ("vocab_size", 1 << 21),
    ("max_position_embeddings", 1 << 30),
    ("image_size", 1 << 13),
    ("patch_size", 1 << 13),
    ("num_channels", 1 << 5),
];
/// Most patches of a picture.
const PATCHES: usize = 1 << 18;
/// Most numbers of a tensor, and of all of them.
const NUMBERS: [f64; 2] = [(1_u64 << 33) as f64, (1_u64 << 41) as f64];

/// Are all numbers that size memory or time such as a model has? Zeros are judged elsewhere.
pub(super) fn check(config: &HiveConfig) -> Result<(), ConfigError> {
    let (v, c) = (&config.vision_config, &config.text_config);
    let sizes = [
        vec![v.hidden_size, c.hidden_size],
        vec![v.intermediate_size, c.intermediate_size],
        vec![v.num_hidden_layers, c.num_hidden_layers],
        vec![v.num_attention_heads, c.num_attention_heads],
        vec![c.num_key_value_heads],
        vec![c.vocab_size],
        vec![c.max_position_embeddings],
        vec![v.image_size],
        vec![v.patch_size],
        vec![v.num_channels],
    ];
    for ((key, most), values) in LIMITS.iter().zip(sizes) {
        if let Some(value) = values.iter().find(|v| *v > most) {
            return Err(ConfigError(format!("{key} is {value}; at most {most} is supported")));
        }
    }
    let patches = v.image_size.checked_div(v.patch_size).map_or(0, |side| side * side);
    if patches > PATCHES {
        return Err(ConfigError(format!("a picture has {patches} patches; at most {PATCHES} are supported")));
    }
    let (largest, all) = numbers(config);
    match [largest, all].iter().zip(NUMBERS).find(|(have, most)| **have > *most) {
        Some((have, most)) => Err(ConfigError(format!("these sizes make {have:.1e} numbers; {most:.1e} is the most"))),
        // On a platform of 32 bits a tensor of these sizes may have more bytes than can be counted.
        None if largest * 4.0 > usize::MAX as f64 => {
            Err(ConfigError(format!("a tensor of {largest:.1e} numbers is too large for this platform")))
        }
        None => Ok(()),
    }
}

impl HiveConfig {
    /// Can it be built?
    pub fn check(&self) -> Result<(), ConfigError> {
        check(self)?;
        self.vision_config.check()?;
        self.text_config.check()?;
        let l = &self.link_config;
        ensure(l.vision_layers.len() == l.language_layers.len(), || {
            format!(
                "link_config has {} vision_layers but {} language_layers; they come in pairs",
                l.vision_layers.len(),
                l.language_layers.len()
            )
        })?;
        let (deepest, layers) = (self.vision_config.num_hidden_layers, self.text_config.num_hidden_layers);
        ensure(l.vision_layers.iter().all(|v| *v <= deepest), || {
            format!("link_config: vision_layers go from 0 to {deepest}, got {:?}", l.vision_layers)
        })?;
        ensure(l.language_layers.iter().all(|v| *v < layers), || {
            format!("link_config: language_layers go from 0 to {}, got {:?}", layers - 1, l.language_layers)
        })?;
        ensure(l.language_layers.windows(2).all(|w| w[0] < w[1]), || {
            format!("link_config: language_layers must rise, got {:?}", l.language_layers)
        })?;
        let (p, side) = (&self.projector_config, self.vision_config.side());
        ensure(p.vision_layer.is_none_or(|layer| layer <= deepest), || {
            format!("projector_config: vision_layer goes from 0 to {deepest}, got {:?}", p.vision_layer)
        })?;
        ensure(p.cell > 0 && side.is_multiple_of(p.cell), || {
            format!("projector_config: {side} patches a side do not part into cells of {}", p.cell)
        })?;
        let head = self.text_config.head();
        ensure(l.language_layers.is_empty() || !l.rope_2d || head.is_multiple_of(8), || {
            format!("link_config: rope_2d needs heads a multiple of 8 wide, these are {head}")
        })
    }
}

/// Numbers of the largest tensor and of all, about.
fn numbers(config: &HiveConfig) -> (f64, f64) {
    let (v, c) = (&config.vision_config, &config.text_config);
    let (w, f, layers) = (v.hidden_size as f64, v.intermediate_size as f64, v.num_hidden_layers as f64);
    let side = (v.image_size / v.patch_size.max(1)) as f64;
    let tower = [w * w, w * f, side * side * w, v.num_channels as f64 * (v.patch_size as f64).powi(2) * w];
    let (width, mlp, words) = (c.hidden_size as f64, c.intermediate_size as f64, c.vocab_size as f64);
    let text = [width * width, width * mlp, words * width, width * w];
    let largest = tower.into_iter().chain(text).fold(0.0, f64::max);
    let of_tower = layers * (4.0 * tower[0] + 2.0 * tower[1]) + tower[2] + tower[3];
    let links = config.link_config.language_layers.len() as f64 * (3.0 * text[0] + text[3]);
    (largest, of_tower + links + c.num_hidden_layers as f64 * (4.0 * text[0] + 3.0 * text[1]) + 2.0 * text[2])
}

/// Numbers of all parameters, about.
#[must_use]
pub fn parameters(config: &HiveConfig) -> f64 {
    numbers(config).1
}

/// What makes the tensors of a batch.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rows<'a> {
    pub config: &'a HiveConfig,
    pub wiring: Wiring,
    /// T.
    pub tokens: usize,
    pub with_image: bool,
    /// May several tokens stand at one position?
    pub facts: bool,
}

impl Rows<'_> {
    /// The largest tensor that grows with the batch: what it is, and its bytes for one row.
    #[must_use]
    pub fn largest(&self) -> (&'static str, u64) {
        let (v, c) = (&self.config.vision_config, &self.config.text_config);
        let (patches, text) = (v.tokens(), self.tokens);
        let joined = text + if self.wiring == Wiring::Flattened && self.with_image { patches } else { 0 };
        let tower = v.hidden_size.max(v.intermediate_size).max(c.hidden_size);
        let mut all = vec![
            ("the text's states", joined * c.hidden_size.max(c.intermediate_size)),
            ("the angles", (text + patches) * c.head()),
            ("keys of text and picture", (text + patches) * c.key_width()),
        ];
        if self.with_image {
            let pixels = v.num_channels * v.image_size * v.image_size;
            all.extend([("the pictures", pixels), ("the tower's states", patches * tower)]);
        }
        if self.facts {
            all.push(("the told words", patches * c.vocab_size.max(c.hidden_size)));
        }
        let (what, numbers) = all.into_iter().fold(("", 0), |most, one| if one.1 > most.1 { one } else { most });
        (what, numbers as u64 * 4)
    }

    /// The most rows that a device takes.
    #[must_use]
    pub fn most(&self, gpu: &Gpu) -> usize {
        gpu.max_binding.checked_div(self.largest().1).map_or(usize::MAX, |rows| rows as usize)
    }

    /// Do so many rows fit?
    ///
    /// # Errors
    /// What does not, and how many rows would.
    pub fn check(&self, gpu: &Gpu, batch: usize) -> Result<(), GpuError> {
        let ((what, bytes), most) = (self.largest(), self.most(gpu));
        if batch <= most {
            return Ok(());
        }
        let need = bytes.saturating_mul(batch as u64);
        Err(GpuError::Batch { adapter: gpu.summary.name.clone(), what, batch, need, have: gpu.max_binding, most })
    }
}
