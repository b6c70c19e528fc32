//! Parameters by name: every block is built here, with Hugging Face's names where a Hugging Face class has the tensor.

use super::config::{HiveConfig, LanguageConfig, LinkConfig, VisionConfig};
use crate::nn::decoder_layer::DecoderLayer;
use crate::nn::image_projector::{ImageProjector, Layers};
use crate::nn::linked_attention::Link;
use crate::nn::self_attention::SelfAttention;
use crate::nn::vit_block::VitBlock;
use crate::nn::{LayerNorm, Linear, ParamId, ParamSpec, Projector, RmsNorm, SwigluMlp};

/// Collects specs; ids count in order of registration.
#[derive(Debug, Default)]
pub struct Registry {
    /// Names and shapes so far.
    pub specs: Vec<ParamSpec>,
}

impl Registry {
    /// One tensor.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) -> ParamId {
        self.specs.push(ParamSpec { name: name.into(), shape: shape.to_vec() });
        ParamId(self.specs.len() - 1)
    }

    /// `name.weight` (out, in) and, if `bias`, `name.bias` (out).
    pub fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) -> Linear {
        let w = self.add(format!("{name}.weight"), &[out, input]);
        Linear { w, b: bias.then(|| self.add(format!("{name}.bias"), &[out])) }
    }

    /// `name.weight` and `name.bias`.
    pub fn layer_norm(&mut self, name: &str, width: usize, eps: f64) -> LayerNorm {
        let w = self.add(format!("{name}.weight"), &[width]);
        LayerNorm { w, b: self.add(format!("{name}.bias"), &[width]), eps: eps as f32 }
    }

    /// `name.weight`.
    pub fn rms_norm(&mut self, name: &str, width: usize, eps: f64) -> RmsNorm {
        RmsNorm { w: self.add(format!("{name}.weight"), &[width]), eps: eps as f32 }
    }

    /// Block `i` of the tower.
    pub fn vit_block(&mut self, c: &VisionConfig, i: usize) -> VitBlock {
        let (name, w, f) = (format!("vision_model.encoder.layers.{i}"), c.hidden_size, c.intermediate_size);
        VitBlock {
            norm1: self.layer_norm(&format!("{name}.layer_norm1"), w, c.layer_norm_eps),
            q: self.linear(&format!("{name}.self_attn.q_proj"), w, w, true),
            k: self.linear(&format!("{name}.self_attn.k_proj"), w, w, true),
            v: self.linear(&format!("{name}.self_attn.v_proj"), w, w, true),
            out: self.linear(&format!("{name}.self_attn.out_proj"), w, w, true),
            norm2: self.layer_norm(&format!("{name}.layer_norm2"), w, c.layer_norm_eps),
            fc1: self.linear(&format!("{name}.mlp.fc1"), f, w, true),
            fc2: self.linear(&format!("{name}.mlp.fc2"), w, f, true),
        }
    }

    /// Decoder layer `i`.
    pub fn decoder_layer(&mut self, c: &LanguageConfig, i: usize) -> DecoderLayer {
        let (name, h, f) = (format!("model.layers.{i}"), c.hidden_size, c.intermediate_size);
        let kv = c.num_key_value_heads * c.head();
        DecoderLayer {
            attention: SelfAttention {
                norm: self.rms_norm(&format!("{name}.input_layernorm"), h, c.rms_norm_eps),
                q: self.linear(&format!("{name}.self_attn.q_proj"), h, h, c.attention_bias),
                k: self.linear(&format!("{name}.self_attn.k_proj"), kv, h, c.attention_bias),
                v: self.linear(&format!("{name}.self_attn.v_proj"), kv, h, c.attention_bias),
                o: self.linear(&format!("{name}.self_attn.o_proj"), h, h, false),
            },
            mlp: SwigluMlp {
                norm: self.rms_norm(&format!("{name}.post_attention_layernorm"), h, c.rms_norm_eps),
                gate: self.linear(&format!("{name}.mlp.gate_proj"), f, h, false),
                up: self.linear(&format!("{name}.mlp.up_proj"), f, h, false),
                down: self.linear(&format!("{name}.mlp.down_proj"), h, f, false),
            },
        }
    }

    /// What makes rows of the text of a state of the tower, whose last norm is `post_norm`.
    pub fn image_projector(&mut self, config: &HiveConfig, post_norm: &LayerNorm) -> ImageProjector {
        let (v, c, own) = (&config.vision_config, &config.text_config, &config.projector_config);
        let wide = v.hidden_size * own.cell * own.cell;
        let layers = if own.single {
            Layers::One(self.linear("mm_projector.proj", c.hidden_size, wide, false))
        } else {
            let fc1 = self.linear("mm_projector.0", c.hidden_size, wide, true);
            Layers::Two(Projector { fc1, fc2: self.linear("mm_projector.2", c.hidden_size, c.hidden_size, true) })
        };
        ImageProjector {
            norm: own.post_norm.then(|| post_norm.clone()),
            side: v.side(),
            cell: own.cell,
            layers,
            newline: own.newline.then(|| self.add("image_newline", &[c.hidden_size])),
        }
    }

    /// Link `i`, to a decoder layer whose k and v projections serve the image too while they are shared.
    pub fn link(
        &mut self,
        v: &VisionConfig,
        c: &LanguageConfig,
        l: &LinkConfig,
        i: usize,
        layer: &SelfAttention,
    ) -> Link {
        let (name, kv) = (format!("links.{i}"), c.num_key_value_heads * c.head());
        let norm = self.layer_norm(&format!("{name}.mm_proj.norm"), v.hidden_size, c.rms_norm_eps);
        let fc1 = self.linear(&format!("{name}.mm_proj.fc1"), c.hidden_size, v.hidden_size, true);
        let fc2 = self.linear(&format!("{name}.mm_proj.fc2"), c.hidden_size, c.hidden_size, true);
        let image_k = self.linear(&format!("{name}.image_k_proj"), kv, c.hidden_size, c.attention_bias);
        let image_v = self.linear(&format!("{name}.image_v_proj"), kv, c.hidden_size, c.attention_bias);
        let q_norm = self.rms_norm(&format!("{name}.q_norm"), c.head(), c.rms_norm_eps);
        let k_norm = self.rms_norm(&format!("{name}.k_norm"), c.head(), c.rms_norm_eps);
        let shared = !l.separate_image_kv;
        Link {
            norm,
            projector: Projector { fc1, fc2 },
            image_k: if shared { layer.k.clone() } else { image_k },
            image_v: if shared { layer.v.clone() } else { image_v },
            qk_norm: l.qk_norm.then_some((q_norm, k_norm)),
        }
    }
}
