//! Start values of parameters, drawn by name.

use super::recipe::Init;
use crate::data::rng::{Rng, hash_bytes};
use crate::model::config::HiveConfig;
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// Values for all `specs`: matrices N(0, 1 / fan-in), biases 0, gains 1, but for what [`Init`] says. Each tensor has a
/// stream of its own, so that adding one changes no other.
#[must_use]
pub fn draw(specs: &[ParamSpec], config: &HiveConfig, init: &Init, seed: u64) -> Weights {
    specs.iter().map(|s| (s.name.clone(), tensor(s, config, init, seed))).collect()
}

fn tensor(spec: &ParamSpec, config: &HiveConfig, init: &Init, seed: u64) -> Vec<f32> {
    let name = spec.name.as_str();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
    if ends(&["q_norm.weight", "k_norm.weight"]) {
        return vec![init.qk_gain as f32; spec.len()];
    }
    if spec.shape.len() == 1 {
        return vec![if name.ends_with("bias") { 0.0 } else { 1.0 }; spec.len()];
    }
    if name.ends_with("position_embedding.weight") {
        return sines(config.vision_config.side(), spec.shape[1], init.position_std);
    }
    let fan_in: usize = spec.shape[1..].iter().product();
    let deep = |layers: usize| 1.0 / (2.0 * layers as f64).sqrt();
    let scale = if name.ends_with("embed_tokens.weight") {
        init.embed_std
    } else if ends(&["o_proj.weight", "down_proj.weight"]) {
        init.residual_scale * deep(config.text_config.num_hidden_layers) / (fan_in as f64).sqrt()
    } else if ends(&["out_proj.weight", "mlp.fc2.weight"]) {
        deep(config.vision_config.num_hidden_layers) / (fan_in as f64).sqrt()
    } else {
        1.0 / (fan_in as f64).sqrt()
    };
    let mut rng = Rng::new(seed, hash_bytes(name.as_bytes()));
    (0..spec.len()).map(|_| rng.normal() * scale as f32).collect()
}

/// 2-D sine position embeddings (side * side, width): a quarter each of sin row, cos row, sin column, cos column at
/// frequencies falling from π/4 per patch. Small random ones drown in the patches' content, and places are never learned.
fn sines(side: usize, width: usize, size: f64) -> Vec<f32> {
    let quarter = width / 4;
    let frequency = |i: usize| std::f64::consts::FRAC_PI_4 * 4.0_f64.powf(-(i as f64) / quarter.max(1) as f64);
    let mut out = Vec::with_capacity(side * side * width);
    for cell in 0..side * side {
        let (row, col) = ((cell / side) as f64, (cell % side) as f64);
        for i in 0..width {
            let angle = |x: f64| x * frequency(i % quarter.max(1));
            let value = match i / quarter.max(1) {
                0 => angle(row).sin(),
                1 => angle(row).cos(),
                2 => angle(col).sin(),
                3 => angle(col).cos(),
                _ => 0.0,
            };
            out.push((value * size * std::f64::consts::SQRT_2) as f32);
        }
    }
    out
}
