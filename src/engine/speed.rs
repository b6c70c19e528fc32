//! How fast a model of a given shape runs on an adapter, beside what the adapter can do at best. Weights are random: time
//! does not depend on their values, and nobody has to download a gigabyte to know how fast it would be.

use std::sync::Arc;

use super::assets;
use crate::data::rng::Rng;
use crate::gpu::{DType, Dest, Gpu, GpuError, Program, Recorder, Timing};
use crate::model::config::{HiveConfig, LanguageConfig, LinkConfig};
use crate::model::decode::{DecodeError, Decoder, Prompt};
use crate::model::files::ModelSpec;
use crate::model::load::Formats;
use crate::model::model::{Model, Wiring};
use crate::nn::{ParamId, Params, Role};
use crate::ops::matmul::{Epilogue, Order, Variant, product};
use crate::ops::packed::{self, Encoding, PANEL};
use crate::ops::sample::Settings;
use crate::platform::now_secs;
use crate::train::statistics;

/// Names of the published sizes that [`size`] knows.
pub const SIZES: [&str; 4] = ["mobilellm-600m", "qwen2-0.5b", "smollm2-135m", "smolvlm-256m"];

/// What the published configuration of SmolVLM-256M says beside what is usual.
const SMOLVLM_256M: &str = r#"{
    "model_type": "idefics3", "scale_factor": 4, "tie_word_embeddings": false, "image_token_id": 49190,
    "vision_config": {"hidden_size": 768, "image_size": 512, "patch_size": 16, "num_attention_heads": 12},
    "text_config": {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49280, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5, "rope_theta": 100000}
}"#;

/// Floats of a block of random weights, at least one panel.
const BLOCK: usize = 1 << 21;
/// Standard deviation of weights, as models are initialised.
const STD: f32 = 0.02;

/// A published size: SigLIP-L/16-384 linked to MobileLLM-600M at eight depths, the same tower before Qwen2-0.5B with the
/// image in the text, SmolLM2-135M alone, or SmolVLM-256M, which is SigLIP-B/16-512 before a model as that.
#[must_use]
pub fn size(name: &str) -> Option<(HiveConfig, Wiring)> {
    let hive = assets::preset("hive-siglip-large").ok()?.model;
    match name {
        "mobilellm-600m" => Some((hive, Wiring::Linked)),
        "qwen2-0.5b" => {
            let text_config = LanguageConfig {
                hidden_size: 896,
                intermediate_size: 4864,
                num_hidden_layers: 24,
                num_attention_heads: 14,
                num_key_value_heads: 2,
                vocab_size: 151_936,
                rope_theta: 1e6,
                max_position_embeddings: 32_768,
                rms_norm_eps: 1e-6,
                attention_bias: true,
                ..LanguageConfig::default()
            };
            Some((HiveConfig { text_config, link_config: LinkConfig::default(), ..hive }, Wiring::Flattened))
        }
        "smollm2-135m" => Some((HiveConfig::default(), Wiring::Text)),
        "smolvlm-256m" => ModelSpec::read(SMOLVLM_256M, None).ok().map(|spec| (spec.config, spec.kind)),
        _ => None,
    }
}

/// A decoder of that size with random weights.
pub async fn random(
    gpu: &Gpu,
    config: &HiveConfig,
    wiring: Wiring,
    formats: Formats,
    room: usize,
) -> Result<Decoder, GpuError> {
    let (model, specs) = Model::new(config, wiring);
    let params = Params::frozen(gpu, specs, &model.stacks(), &|stack| formats.by_role(stack.role));
    gpu.finished().await?;
    let mut rng = Rng::new(1, 0);
    let mut values = |len: usize, mean: f32| (0..len).map(|_| rng.normal().mul_add(STD, mean)).collect::<Vec<_>>();
    let block = values(BLOCK, 0.0);
    let staging = gpu.tensor([BLOCK], DType::U32, "random weights");
    gpu.write_bytes(&staging, bytemuck::cast_slice(&block));
    for (i, spec) in params.specs().iter().enumerate() {
        let Some(view) = params.packed_view(ParamId(i)) else {
            // Gains of norms are about one.
            params.write(ParamId(i), &values(spec.len(), 1.0));
            continue;
        };
        let at_once = (BLOCK / view.matrix.cols / PANEL * PANEL).max(PANEL);
        let mut r = Recorder::new(gpu);
        for first in (0..view.rows).step_by(at_once) {
            packed::pack(&mut r, &staging, Encoding::F32, view, first, at_once.min(view.rows - first));
        }
        r.finish().run();
    }
    gpu.finished().await?;
    Decoder::new(Arc::new(model), Arc::new(params), room, true).await
}

/// What an adapter can do at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Bytes per second of a copy, read and written ones together.
    pub copy: f64,
    /// Floating-point operations per second of a large product, f32.
    pub product: f64,
}

/// Measures it: a copy of 64 MiB, and a square product (side 512 on CPU drivers, 2048 elsewhere) by the adapter's kernel.
pub async fn roofline(gpu: &Gpu, runs: usize) -> Result<Roofline, GpuError> {
    let len = 16 << 20;
    let [a, b] = ["from", "to"].map(|label| gpu.tensor([len], DType::F32, label));
    let mut r = Recorder::new(gpu);
    r.copy(&a, &b);
    let copy = r.finish();
    let secs = median(gpu, runs, || copy.run()).await?;
    let side = if gpu.is_software() { 512 } else { 2048 };
    let mut rng = Rng::new(2, 0);
    let mut matrix = |label| {
        let values: Vec<f32> = (0..side * side).map(|_| rng.normal()).collect();
        gpu.upload(&values, [side, side], label)
    };
    let (a, b) = (matrix("a"), matrix("b"));
    let y = gpu.tensor([side, side], DType::F32, "y");
    let mut r = Recorder::new(gpu);
    product(&mut r, Variant::of(gpu), Order::Nt, &a, &b, Epilogue::default(), Dest::Write(&y));
    let program = r.finish();
    let product = program.flops() / median(gpu, runs, || program.run()).await?;
    Ok(Roofline { copy: 8.0 * len as f64 / secs, product })
}

/// Median seconds of `run` until the GPU is done, after one run to warm up.
pub async fn median(gpu: &Gpu, runs: usize, mut run: impl FnMut()) -> Result<f64, GpuError> {
    let mut times = Vec::new();
    for i in 0..=runs.max(1) {
        let start = now_secs();
        run();
        gpu.finished().await?;
        if i > 0 {
            times.push(now_secs() - start);
        }
    }
    Ok(statistics::median(times).unwrap_or(f64::NAN))
}

/// One token at a position of the text.
#[derive(Clone, Debug)]
pub struct TokenSpeed {
    /// Tokens in the caches.
    pub context: usize,
    /// Seconds of a token, several per submission.
    pub secs: f64,
    /// By kernel, with a timestamp around each dispatch.
    pub kernels: Vec<Timing>,
}

impl TokenSpeed {
    /// Share of attention in the time on the GPU: the one part that grows with the text.
    #[must_use]
    pub fn attention(&self) -> f64 {
        share(&self.kernels, "cached_attention/")
    }
}

/// Share of the kernels whose names begin so in the time of all.
#[must_use]
pub fn share(kernels: &[Timing], prefix: &str) -> f64 {
    let all: f64 = kernels.iter().map(|k| k.secs).sum();
    kernels.iter().filter(|k| k.kernel.starts_with(prefix)).map(|k| k.secs).sum::<f64>() / all.max(1e-12)
}

/// Measures tokens after `context` others, `count` per submission.
pub async fn token(
    gpu: &Gpu,
    decoder: &mut Decoder,
    context: usize,
    count: usize,
    runs: usize,
) -> Result<TokenSpeed, GpuError> {
    let mut times = Vec::new();
    for i in 0..=runs.max(1) {
        decoder.place(context);
        let start = now_secs();
        decoder.step_program().run_times(count);
        gpu.finished().await?;
        if i > 0 {
            times.push((now_secs() - start) / count as f64);
        }
    }
    decoder.place(context);
    let kernels = decoder.step_program().profile().await?;
    Ok(TokenSpeed { context, secs: statistics::median(times).unwrap_or(f64::NAN), kernels })
}

/// Bytes of weights that a token reads: the layers and the head, not the tower.
#[must_use]
pub fn weights_per_token(decoder: &Decoder) -> u64 {
    let (params, head) = (decoder.params(), decoder.model().language().head);
    let layers = params.packed().stacks.iter().filter(|s| s.role == Role::Layer).map(|s| s.matrix.bytes());
    layers.sum::<u64>() + params.stack(head).matrix.bytes()
}

/// A program as it is replayed.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ProgramSpeed {
    pub secs: f64,
    pub flops: f64,
    pub dispatches: usize,
    pub kernels: Vec<Timing>,
}

/// Measures a program.
pub async fn program(gpu: &Gpu, program: &Program, runs: usize) -> Result<ProgramSpeed, GpuError> {
    let secs = median(gpu, runs, || program.run()).await?;
    let kernels = program.profile().await?;
    Ok(ProgramSpeed { secs, flops: program.flops(), dispatches: program.dispatches(), kernels })
}

/// Seconds until a prompt of so many tokens is read into the caches, piece after piece.
///
/// # Errors
/// More tokens than there is room for, or a GPU fault.
pub async fn reading(gpu: &Gpu, decoder: &mut Decoder, tokens: usize, runs: usize) -> Result<f64, DecodeError> {
    // A model with links wants its picture, and looks at it once.
    let v = &decoder.model().config().vision_config;
    let linked = decoder.model().sees() && !decoder.model().links().is_empty();
    let pixels = vec![0.0; if linked { v.num_channels * v.image_size * v.image_size } else { 0 }];
    let mut times = Vec::new();
    for run in 0..=runs.max(1) {
        // Others than before: what the caches hold is not read again. The last one is not read but fed.
        let ids = vec![1 + run as u32 % 2; tokens + 1];
        let start = now_secs();
        decoder.begin(Prompt { ids: &ids, pixels: &pixels, ..Prompt::default() }, &Settings::default()).await?;
        gpu.finished().await?;
        if run > 0 {
            times.push(now_secs() - start);
        }
    }
    Ok(statistics::median(times).unwrap_or(f64::NAN))
}
