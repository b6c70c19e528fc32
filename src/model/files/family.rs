//! What a published family of vision-language models does with pictures and prompts, as data; and families that are not read.

use crate::data::tags::Tags;
use crate::data::tiles::{Cut, Recipe};

/// What a family does beside computing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// What stands around a picture in a prompt.
    pub tags: Tags,
    /// How pictures are cut, where no file of a processor says it.
    pub recipe: Option<Recipe>,
    /// The same where a processor's file says the rest.
    pub cut: Option<Cut>,
    /// A chat template, where the configuration has it.
    pub template: Option<String>,
    /// The entry on the hub that has the tokenizer, where the folder has none.
    pub tokenizer: Option<String>,
    /// Tokens that are added to it, in their order.
    pub added: Vec<String>,
    /// What a token for a row of a picture is called there.
    pub image_token: Option<String>,
    /// Tokens that end an answer, where the tokenizer has them.
    pub stops: &'static [&'static str],
}

/// Families that are told by name: their `model_type`, and what they have that Hive has not.
pub(super) const OTHERS: &[(&str, &str)] = &[
    ("internvl", "InternVL: its tower has a CLS token and layer scale"),
    ("qwen2_vl", "Qwen2-VL: its tower and its decoder turn by positions of their own"),
    ("qwen2_5_vl", "Qwen2.5-VL: its tower and its decoder turn by positions of their own"),
    ("qwen3_vl", "Qwen3-VL: its tower and its decoder turn by positions of their own"),
    ("paligemma", "PaliGemma: its decoder is Gemma, which sees its prompt in both directions"),
    ("gemma3", "Gemma 3: its decoder is Gemma"),
    ("llava_next", "LLaVA-NeXT: its pictures are cut by another rule, and its tower is CLIP or read at several depths"),
    ("llava_qwen2", "FastVLM: its tower is convolutional"),
    ("lfm2_vl", "LFM2-VL: its tower takes pictures of any shape, and its decoder has convolutions"),
    ("minicpmv", "MiniCPM-V: its tower takes pictures of any shape, and a resampler reads it"),
    ("mllama", "Llama 3.2 Vision: its tower is another one, and gated layers read it"),
    ("florence2", "Florence-2: its tower and its encoder are others"),
    ("idefics2", "Idefics2: a resampler reads its tower"),
    ("phi3_v", "Phi-3-Vision: its tower is CLIP"),
    ("moondream1", "moondream: it runs by code of its own"),
    ("blip-2", "BLIP-2: a transformer of its own reads its tower"),
    ("instructblip", "InstructBLIP: a transformer of its own reads its tower"),
    ("multi_modality", "Janus: its tower's GELU and its aligner are others"),
    ("janus", "Janus: its tower's GELU and its aligner are others"),
];
