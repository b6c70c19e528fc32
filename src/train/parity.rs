//! Parity with published fixtures: a folder with `config.json`, `model.safetensors` and `io.safetensors`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::model::Wiring;
use super::recipe::StageRecipe;
use super::stage::{Scope, Stage, enter_stage_two, trainable};
use super::trainer::{Setup, Trainer};
use crate::data::image::Preprocess;
use crate::gpu::{DType, Gpu, GpuError, Recorder, Tensor};
use crate::model::cascade::Cascade;
use crate::model::config::{ConfigError, HiveConfig, LanguageConfig, LinkConfig, VisionConfig};
use crate::model::generate::Generator;
use crate::model::hive::Hive;
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::probe::{Kind, Probe, ProbeInputs, Sizes};
use crate::model::registry::Registry;
use crate::model::vision::Vision;
use crate::model::weights::{self, HostTensor, HostTensors, WeightsError};
use crate::nn::params::Weights;
use crate::nn::{ParamSpec, Params};
use crate::ops::case::error_of;

/// Largest max |a - b| / max |b| of an output tensor.
pub const OUTPUT_TOLERANCE: f64 = 2e-4;
/// The same for gradients, and for the losses, norms and weights of a training run.
pub const GRADIENT_TOLERANCE: f64 = 2e-3;
/// Largest distance of the sum of an attention row from 1.
pub const ROW_TOLERANCE: f64 = 1e-5;

/// A fixture that cannot be used.
#[derive(Debug, Error)]
pub enum FixtureError {
    /// A file is not there.
    #[error("{name} cannot be read: {reason}. A fixture folder has config.json, io.safetensors and (but for preprocessing) model.safetensors")]
    File {
        /// File name.
        name: String,
        /// Why.
        reason: String,
    },
    /// `config.json` is not what it should be.
    #[error("config.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A kind that nobody knows.
    #[error("config.json: unknown kind \"{0}\"")]
    Kind(String),
    /// A model that cannot be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A picture that cannot be read.
    #[error("{0}")]
    Picture(String),
    /// The GPU failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Worst error of a group of tensors against its tolerance.
#[derive(Clone, Debug)]
pub struct Group {
    /// E.g. `logits`, `gradients`, `vision states`.
    pub name: String,
    /// Tensors compared.
    pub tensors: usize,
    /// Worst error.
    pub worst: f64,
    /// Where.
    pub worst_tensor: String,
    /// Allowed.
    pub tolerance: f64,
    /// What is wrong beyond numbers, in sentences.
    pub faults: Vec<String>,
}

impl Group {
    fn new(name: &str, tolerance: f64) -> Self {
        Self { name: name.into(), tensors: 0, worst: 0.0, worst_tensor: String::new(), tolerance, faults: Vec::new() }
    }

    /// Does it hold? A group with nothing in it does not.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.tensors > 0 && self.worst <= self.tolerance && self.faults.is_empty()
    }

    fn record(&mut self, name: &str, error: f64) {
        self.tensors += 1;
        if error >= self.worst {
            (self.worst, self.worst_tensor) = (error, name.to_owned());
        }
    }

    fn compare(&mut self, name: &str, got: &[f32], want: &[f32]) {
        let want: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
        match error_of(got, &want) {
            Ok(error) => self.record(name, error),
            Err(text) => {
                self.tensors += 1;
                self.faults.push(format!("{name}: {text}"));
            }
        }
    }
}

/// Files of a fixture by name.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

struct Fixture {
    config: Value,
    model: HostTensors,
    io: HostTensors,
}

fn file(read: Read<'_>, name: &str) -> Result<Vec<u8>, FixtureError> {
    read(name).map_err(|reason| FixtureError::File { name: name.into(), reason })
}

/// Checks a fixture of any kind.
///
/// # Errors
/// A folder that is no fixture, or a GPU fault. Wrong numbers are in the groups.
pub async fn check(gpu: &Gpu, read: Read<'_>) -> Result<Vec<Group>, FixtureError> {
    let config: Value = serde_json::from_slice(&file(read, "config.json")?)?;
    let io = weights::parse(&file(read, "io.safetensors")?)?;
    let kind = config["kind"].as_str().unwrap_or_default().to_owned();
    if kind == "preprocessing" {
        return preprocessing(&config, &io, read);
    }
    let model = weights::parse(&file(read, "model.safetensors")?)?;
    let f = Fixture { config, model, io };
    match kind.as_str() {
        "vision" => vision(gpu, &f).await,
        "language" | "hive" => hive(gpu, &f, kind == "hive").await,
        "cascade" => cascade(gpu, &f).await,
        "attentive_probe" => probe(gpu, &f, Kind::Attentive).await,
        "linear_probe" => probe(gpu, &f, Kind::Linear).await,
        "training" => training(gpu, &f).await,
        _ => Err(FixtureError::Kind(kind)),
    }
}

impl Fixture {
    fn expect(&self, key: &str) -> Result<&HostTensor, FixtureError> {
        get(&self.io, key)
    }

    /// All weights train: every gradient is asked for.
    fn params(&self, gpu: &Gpu, specs: Vec<ParamSpec>) -> Result<Params, FixtureError> {
        let (weights, _) = weights::select(self.model.clone(), &specs)?;
        let all = specs.iter().map(|s| s.name.clone()).collect();
        Ok(Params::new(gpu, specs, &weights, &all))
    }

    /// Gradients against `grad.*`; a weight without such a key must have none.
    fn gradients(&self, got: &Weights) -> Group {
        let mut group = Group::new("gradients", GRADIENT_TOLERANCE);
        let expected = self.io.iter().filter(|(k, _)| k.starts_with("grad."));
        let largest = expected.map(|(_, t)| largest(&t.values)).fold(0.0, f32::max);
        for (name, values) in got {
            match self.io.get(&format!("grad.{name}")) {
                // Zero in exact arithmetic (a softmax does not see the bias of its keys): only rounding is left of it.
                Some(want) if largest > 0.0 && self::largest(&want.values) < ROUNDING * largest => {
                    group.record(name, f64::from(self::largest(values) / largest));
                }
                Some(want) => group.compare(name, values, &want.values),
                None if values.iter().any(|v| *v != 0.0) => group.faults.push(format!("{name} has a gradient and must have none")),
                None => {}
            }
        }
        for key in self.io.keys().filter_map(|k| k.strip_prefix("grad.")) {
            if !got.contains_key(key) && key != "features" {
                group.faults.push(format!("no gradient for {key}"));
            }
        }
        group
    }
}

/// A gradient this small beside the largest of its file is rounding of zero.
const ROUNDING: f32 = 1e-9;

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| if v.is_nan() { f32::INFINITY } else { m.max(v.abs()) })
}

fn get<'a>(tensors: &'a HostTensors, key: &str) -> Result<&'a HostTensor, FixtureError> {
    let missing = || WeightsError::Missing { name: key.into(), hint: " in io.safetensors".into() };
    Ok(tensors.get(key).ok_or_else(missing)?)
}

fn whole(t: &HostTensor) -> Vec<u32> {
    t.values.iter().map(|v| *v as u32).collect()
}

/// A batch of `io` with keys under `prefix`.
struct Batch {
    rows: usize,
    tokens: usize,
    ids: Vec<u32>,
    labels: Vec<i32>,
    lengths: Vec<u32>,
    offset: Vec<u32>,
    pixels: Vec<f32>,
}

impl Batch {
    fn read(io: &HostTensors, prefix: &str) -> Result<Self, FixtureError> {
        let key = |k: &str| get(io, &format!("{prefix}{k}"));
        let ids = key("ids")?;
        let [rows, tokens] = ids.shape[..] else {
            return Err(WeightsError::Shape { name: "ids".into(), have: ids.shape.clone(), need: vec![0, 0] }.into());
        };
        Ok(Self {
            rows,
            tokens,
            ids: whole(ids),
            labels: key("labels")?.values.iter().map(|v| *v as i32).collect(),
            lengths: whole(key("lengths")?),
            offset: whole(key("offset")?),
            pixels: io.get(&format!("{prefix}pixels")).map_or(Vec::new(), |p| p.values.clone()),
        })
    }

    fn host(&self) -> HostBatch<'_> {
        HostBatch {
            ids: &self.ids,
            labels: &self.labels,
            lengths: &self.lengths,
            offset: &self.offset,
            pixels: &self.pixels,
        }
    }

    /// Values of rows within their lengths only, `width` values per row; the rest is meaningless.
    fn valid(&self, values: &[f32], width: usize) -> Vec<f32> {
        values
            .chunks(width)
            .enumerate()
            .filter(|(i, _)| i % self.tokens < self.lengths[i / self.tokens] as usize)
            .flat_map(|(_, row)| row.to_vec())
            .collect()
    }
}

async fn vision(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let config: VisionConfig = Deserialize::deserialize(&f.config)?;
    config.check()?;
    let mut g = Registry::default();
    let tower = Vision::new(&mut g, &config);
    let params = f.params(gpu, g.specs)?;
    let pixels = f.expect("pixels")?;
    let seed = f.expect("in.grad")?;
    let rows = gpu.tensor([pixels.shape[0], 3], DType::U32, "rows");
    let on_gpu = gpu.upload(&pixels.values, pixels.shape.as_slice(), "pixels");
    let mut r = Recorder::new(gpu);
    let saved = tower.forward(&mut r, &params, &rows, &on_gpu, config.num_hidden_layers, true);
    let states = saved.states.clone();
    let mut gradients = vec![None; states.len()];
    let at = states.len() - 2;
    let d = gpu.upload(&seed.values, states[at].shape().dims(), "given gradient");
    // Walked in place, so hand over a copy.
    let copy = r.alloc(d.shape().dims(), "gradient");
    r.copy(&d, &copy);
    gradients[at] = Some(copy);
    tower.backward(&mut r, &params, saved, &mut gradients);
    r.finish().run();
    let mut group = Group::new("vision states", OUTPUT_TOLERANCE);
    for (i, values) in gpu.read_all(&states).await?.iter().enumerate() {
        let key = format!("out.vision.{i}");
        group.compare(&key, values, &f.expect(&key)?.values);
    }
    Ok(vec![group, f.gradients(&params.download_grads().await?)])
}

/// The configuration of a `hive`, `cascade`, `training` or (text keys at the top) `language` fixture.
fn hive_config(f: &Fixture, with_image: bool) -> Result<HiveConfig, FixtureError> {
    let config = if with_image {
        HiveConfig::deserialize(&f.config)?
    } else {
        // No tower: the smallest one stands in and is never run.
        let vision_config = VisionConfig {
            hidden_size: 4,
            intermediate_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            image_size: 1,
            patch_size: 1,
            ..VisionConfig::default()
        };
        let link_config = LinkConfig::default();
        HiveConfig { vision_config, text_config: LanguageConfig::deserialize(&f.config)?, link_config }
    };
    config.check()?;
    Ok(config)
}

/// Parameters of the text side alone get zeros for the stand-in tower.
fn hive_params(gpu: &Gpu, f: &Fixture, specs: Vec<ParamSpec>, with_image: bool) -> Result<Params, FixtureError> {
    if with_image {
        return f.params(gpu, specs);
    }
    let (text, tower): (Vec<_>, Vec<_>) = specs.iter().cloned().partition(|s| !s.name.starts_with("vision_model."));
    let (mut weights, _) = weights::select(f.model.clone(), &text)?;
    weights.extend(tower.iter().map(|s| (s.name.clone(), vec![0.0; s.len()])));
    let names: BTreeSet<String> = text.into_iter().map(|s| s.name).collect();
    Ok(Params::new(gpu, specs, &weights, &names))
}

async fn hive(gpu: &Gpu, f: &Fixture, with_image: bool) -> Result<Vec<Group>, FixtureError> {
    let config = hive_config(f, with_image)?;
    let (model, specs) = Hive::new(&config);
    let params = hive_params(gpu, f, specs, with_image)?;
    let batch = Batch::read(&f.io, "")?;
    let inputs = Inputs::new(gpu, &config, batch.rows, batch.tokens, with_image);
    inputs.write(batch.host(), batch.host().target_count());
    let loss = gpu.tensor([1], DType::F32, "loss");
    let mut r = Recorder::new(gpu);
    let look = model.look(&mut r, &params, &inputs);
    let saved = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved);
    r.finish().run();

    let mut groups = Vec::new();
    if with_image {
        let mut states = Group::new("vision states", OUTPUT_TOLERANCE);
        for (i, values) in gpu.read_all(&look.vision).await?.iter().enumerate() {
            let key = format!("out.vision.{i}");
            states.compare(&key, values, &f.expect(&key)?.values);
        }
        let mut layers = Group::new("decoder layers", OUTPUT_TOLERANCE);
        let width = config.text_config.hidden_size;
        for (i, values) in gpu.read_all(&look.hidden).await?.iter().enumerate() {
            let key = format!("out.layer.{i}");
            layers.compare(&key, &batch.valid(values, width), &batch.valid(&f.expect(&key)?.values, width));
        }
        groups.extend([states, layers]);
        groups.extend(attention(gpu, f, &config, &look.attention).await?);
    }
    groups.push(logits(gpu, f, &batch, &look.logits).await?);
    groups.push(loss_group(gpu, f, &loss).await?);
    groups.push(f.gradients(&params.download_grads().await?));
    groups.push(greedy(f, &model, &params, &batch, with_image).await?);
    Ok(groups)
}

async fn attention(gpu: &Gpu, f: &Fixture, config: &HiveConfig, got: &[(usize, Tensor)]) -> Result<[Group; 2], FixtureError> {
    let mut group = Group::new("attention", OUTPUT_TOLERANCE);
    let mut sums = Group::new("attention row sums", ROW_TOLERANCE);
    for &layer in &config.link_config.language_layers {
        let key = format!("out.attention.{layer}");
        let want = f.expect(&key)?;
        let Some((_, tensor)) = got.iter().find(|(l, _)| *l == layer) else {
            group.faults.push(format!("no {key}"));
            continue;
        };
        let values = gpu.read_f32(tensor).await?;
        group.compare(&key, &values, &want.values);
        let worst = values.chunks(want.shape[3]).map(|row| (row.iter().map(|v| f64::from(*v)).sum::<f64>() - 1.0).abs());
        sums.record(&key, worst.fold(0.0, f64::max));
    }
    Ok([group, sums])
}

async fn logits(gpu: &Gpu, f: &Fixture, batch: &Batch, logits: &Tensor) -> Result<Group, FixtureError> {
    let mut group = Group::new("logits", OUTPUT_TOLERANCE);
    let width = logits.shape().cols();
    let values = gpu.read_f32(logits).await?;
    let want = &f.expect("out.logits")?.values;
    group.compare("out.logits", &batch.valid(&values, width), &batch.valid(want, width));
    Ok(group)
}

async fn loss_group(gpu: &Gpu, f: &Fixture, loss: &Tensor) -> Result<Group, FixtureError> {
    let mut group = Group::new("loss", OUTPUT_TOLERANCE);
    group.compare("out.loss", &gpu.read_f32(loss).await?, &f.expect("out.loss")?.values);
    Ok(group)
}

/// Tokens of a cached decoder against the uncached ones of the fixture.
async fn greedy(f: &Fixture, model: &Hive, params: &Params, batch: &Batch, with_image: bool) -> Result<Group, FixtureError> {
    let mut group = Group::new("greedy tokens", 0.0);
    let (prompt, want) = (whole(f.expect("prompt")?), whole(f.expect("out.greedy")?));
    let mut generator = Generator::new(model, params, prompt.len() + want.len(), with_image);
    let image = batch.pixels.len() / batch.rows;
    generator.start(&batch.pixels[..image], batch.offset[0] as usize);
    let got = generator.complete(&prompt, want.len(), None).await?;
    let got: Vec<u32> = got.iter().map(|c| c.token).collect();
    group.tensors = 1;
    if got != want {
        group.faults.push(format!("got {got:?}, expected {want:?}"));
    }
    Ok(group)
}

async fn cascade(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let config = hive_config(f, true)?;
    let (model, specs) = Cascade::new(&config);
    let params = f.params(gpu, specs)?;
    let batch = Batch::read(&f.io, "")?;
    let inputs = Inputs::new(gpu, &config, batch.rows, batch.tokens, true);
    inputs.write(batch.host(), batch.host().target_count());
    let loss = gpu.tensor([1], DType::F32, "loss");
    let mut r = Recorder::new(gpu);
    let all = model.logits(&mut r, &params, &inputs);
    let saved = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved);
    r.finish().run();
    Ok(vec![
        logits(gpu, f, &batch, &all).await?,
        loss_group(gpu, f, &loss).await?,
        f.gradients(&params.download_grads().await?),
    ])
}

async fn probe(gpu: &Gpu, f: &Fixture, kind: Kind) -> Result<Vec<Group>, FixtureError> {
    let number = |key: &str| f.config[key].as_u64().unwrap_or(1) as usize;
    let sizes = Sizes {
        width: number("hidden_size"),
        heads: number("num_attention_heads"),
        classes: number("num_labels"),
        eps: f.config["layer_norm_eps"].as_f64().unwrap_or(1e-6),
    };
    let (model, specs) = Probe::new(kind, sizes);
    let params = f.params(gpu, specs)?;
    let features = f.expect("features")?;
    let classes = whole(f.expect("classes")?);
    let batch = classes.len();
    let sequence: Vec<u32> = (0..batch as u32).collect();
    let mut segments = vec![0; 3 * batch];
    segments[2] = batch as u32;
    let inputs = ProbeInputs {
        features: gpu.upload(&features.values, [features.values.len() / sizes.width, sizes.width], "features"),
        classes: gpu.upload_u32(&classes, [batch], "classes"),
        zeros: gpu.tensor([batch], DType::U32, "zeros"),
        order: gpu.upload_u32(&sequence, [batch], "order"),
        segments: gpu.upload_u32(&segments, [batch, 3], "segments"),
        rows: gpu.tensor([batch, 3], DType::U32, "rows"),
        scale: gpu.upload(&[1.0 / batch as f32], [1], "scale"),
    };
    let (loss, dfeatures) = (gpu.tensor([1], DType::F32, "loss"), gpu.tensor(inputs.features.shape().dims(), DType::F32, "dfeatures"));
    let mut r = Recorder::new(gpu);
    let (out, saved) = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved, &dfeatures);
    r.finish().run();
    let mut logits = Group::new("logits", OUTPUT_TOLERANCE);
    logits.compare("out.logits", &gpu.read_f32(&out).await?, &f.expect("out.logits")?.values);
    let mut gradients = f.gradients(&params.download_grads().await?);
    gradients.compare("features", &gpu.read_f32(&dfeatures).await?, &f.expect("grad.features")?.values);
    Ok(vec![logits, loss_group(gpu, f, &loss).await?, gradients])
}

#[derive(Deserialize)]
struct TrainingConfig {
    #[serde(flatten)]
    model: HiveConfig,
    scope: Scope,
    steps_per_stage: u64,
    warmup_ratio: f64,
    weight_decay: f64,
    recipe: Vec<TrainingStage>,
    log: Vec<LogEntry>,
}

#[derive(Deserialize)]
struct TrainingStage {
    stage: usize,
    learning_rate: f64,
    beta2: f64,
    max_grad_norm: f64,
    floor: f64,
}

#[derive(Deserialize)]
struct LogEntry {
    learning_rate: f64,
    loss: f64,
    grad_norm: f64,
}

async fn training(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let t = TrainingConfig::deserialize(&f.config)?;
    let mut config = t.model.clone();
    config.check()?;
    let specs = Hive::new(&config).1;
    let (mut weights, _) = weights::select(f.model.clone(), &specs)?;
    let mut log = [("losses", GRADIENT_TOLERANCE), ("gradient norms", GRADIENT_TOLERANCE), ("learning rates", 1e-9)]
        .map(|(name, tolerance)| Group::new(name, tolerance));
    let mut frozen = Group::new("frozen tensors", 0.0);
    let mut n = 0;
    for stage in &t.recipe {
        let which = Stage::of(stage.stage).ok_or_else(|| FixtureError::Kind(format!("stage {}", stage.stage)))?;
        if which == Stage::Adaptation {
            enter_stage_two(&mut config, &mut weights);
        }
        let trained = trainable(&specs, &config.link_config, which, t.scope);
        let first = Batch::read(&f.io, &format!("step.{n}."))?;
        let recipe = StageRecipe {
            steps: t.steps_per_stage,
            learning_rate: stage.learning_rate,
            warmup_ratio: t.warmup_ratio,
            floor: stage.floor,
            beta2: stage.beta2,
            max_grad_norm: stage.max_grad_norm,
            weight_decay: t.weight_decay,
            batch: first.rows,
            accumulate: 1,
        };
        let setup = Setup { config: &config, wiring: Wiring::Hive, trained: &trained, recipe: &recipe, tokens: first.tokens, with_image: true };
        let mut trainer = Trainer::new(gpu, &setup, &weights);
        for _ in 0..t.steps_per_stage {
            let batch = Batch::read(&f.io, &format!("step.{n}."))?;
            let report = trainer.step(&[batch.host()]).await?;
            let want = &t.log[n];
            let name = format!("step {n}");
            for (group, got, want) in [
                (0, f64::from(report.loss), want.loss),
                (1, f64::from(report.grad_norm), want.grad_norm),
                (2, report.learning_rate, want.learning_rate),
            ] {
                log[group].record(&name, (got - want).abs() / want.abs().max(1e-30));
            }
            n += 1;
        }
        let after = trainer.params.download().await?;
        for name in after.keys().filter(|name| !trained.contains(*name)) {
            frozen.record(name, f64::from(u8::from(bits(&after[name]) != bits(&weights[name]))));
        }
        weights = after;
    }
    let mut end = Group::new("final weights", GRADIENT_TOLERANCE);
    let expected: BTreeMap<&str, &HostTensor> = f.io.iter().filter_map(|(k, v)| Some((k.strip_prefix("end.")?, v))).collect();
    for (name, want) in expected {
        match weights.get(name) {
            Some(got) => end.compare(name, got, &want.values),
            None => end.faults.push(format!("no weight called {name}")),
        }
    }
    Ok(log.into_iter().chain([frozen, end]).collect())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn preprocessing(config: &Value, io: &HostTensors, read: Read<'_>) -> Result<Vec<Group>, FixtureError> {
    let preprocess = Preprocess::deserialize(config)?;
    // One step of 255 over a range of two.
    let mut group = Group::new("pixels", 1.0 / 255.0 + 1e-6);
    for (key, want) in io {
        let name = format!("{}.png", key.strip_prefix("out.").unwrap_or(key));
        let got = preprocess.decode(&file(read, &name)?, &name).map_err(|e| FixtureError::Picture(e.to_string()))?;
        let worst = got.iter().zip(&want.values).fold(0.0_f64, |m, (a, b)| m.max(f64::from((a - b).abs()) / 2.0));
        if got.len() == want.values.len() {
            group.record(key, worst);
        } else {
            group.faults.push(format!("{key}: {} values, {} expected", got.len(), want.values.len()));
        }
    }
    Ok(vec![group])
}
