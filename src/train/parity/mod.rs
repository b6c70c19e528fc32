//! Parity with published fixtures: a folder with `config.json`, `model.safetensors` and `io.safetensors`.

mod models;
mod training;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::data::batch::Batch;
use crate::data::image::Preprocess;
use crate::gpu::{Gpu, GpuError};
use crate::model::config::ConfigError;
use crate::model::decode::DecodeError;
use crate::model::files::{Checkpoint, FileDType, FilesError, Folder, ModelSpec, Resolved, resolve};
use crate::model::load::LoadError;
use crate::model::probe::Kind;
use crate::model::weights::{self, HostTensor, HostTensors, WeightsError};
use crate::nn::params::Weights;
use crate::nn::{ParamSpec, Params};
use crate::ops::case::error_of;
use crate::platform::Blob;

/// Largest errors allowed, as max |a - b| / max |b|.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Of outputs.
    pub output: f64,
    /// Of gradients, and of the losses, norms and weights of a training run.
    pub gradient: f64,
    /// Must greedy tokens be the same? Where two are nearly as likely, rounding chooses another, and then all differ.
    pub tokens: bool,
}

/// By the type of the weights in the file. Fixtures are computed from f32 weights, so a copy of another type is off by
/// its rounding, 2^-11 of a weight in f16 and 2^-8 in bf16, and by what layers and backward make of that: on the
/// fixtures up to 11 times as much in outputs and 32 times in gradients. The factors here are 16 and 48.
pub const TOLERANCES: [(FileDType, Tolerances); 3] = [
    (FileDType::F32, Tolerances { output: 2e-4, gradient: 2e-3, tokens: true }),
    (FileDType::F16, Tolerances { output: 16.0 / 2048.0, gradient: 48.0 / 2048.0, tokens: false }),
    (FileDType::BF16, Tolerances { output: 16.0 / 256.0, gradient: 48.0 / 256.0, tokens: false }),
];

/// Largest distance of the sum of an attention row from 1.
pub const ROW_TOLERANCE: f64 = 1e-5;

/// A fixture that cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FixtureError {
    /// A file is not there.
    #[error(
        "{name} cannot be read: {reason}. A fixture folder has config.json, io.safetensors and (but for preprocessing) model.safetensors"
    )]
    File { name: String, reason: String },
    /// `config.json` is not what it should be.
    #[error("config.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A kind that nobody knows.
    #[error("config.json: unknown kind \"{0}\"")]
    Kind(String),
    /// Weights or a configuration that cannot be read, or do not fit each other.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A model that cannot be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Inputs or outputs that are not there.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A picture that cannot be read.
    #[error("{0}")]
    Picture(String),
    /// Weights that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A model that cannot be asked.
    #[error("{0}")]
    Model(String),
    /// A prompt that cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Worst error of a group of tensors against its tolerance.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Group {
    /// E.g. `logits`, `gradients`, `vision states`.
    pub name: String,
    pub tensors: usize,
    pub worst: f64,
    pub worst_tensor: String,
    pub tolerance: f64,
    /// What is wrong beyond numbers, in sentences.
    pub faults: Vec<String>,
}

impl Group {
    /// Nothing is compared yet.
    #[must_use]
    pub fn new(name: &str, tolerance: f64) -> Self {
        Self { name: name.into(), tensors: 0, worst: 0.0, worst_tensor: String::new(), tolerance, faults: Vec::new() }
    }

    /// Does it hold? A group with nothing in it does not.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.tensors > 0 && self.worst <= self.tolerance && self.faults.is_empty()
    }

    /// The error of a tensor.
    pub fn record(&mut self, name: &str, error: f64) {
        self.tensors += 1;
        if error >= self.worst {
            (self.worst, self.worst_tensor) = (error, name.to_owned());
        }
    }

    /// Values against those that are right.
    pub fn compare(&mut self, name: &str, got: &[f32], want: &[f32]) {
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

const CONFIG: &str = "config.json";
const IO: &str = "io.safetensors";

struct Fixture {
    /// `config.json` as it is: fixtures have keys of their own.
    config: Value,
    text: String,
    checkpoint: Checkpoint,
    io: HostTensors,
    tolerances: Tolerances,
}

/// A file of a fixture, whole.
///
/// # Errors
/// It is not there, or cannot be read.
pub async fn contents(folder: &Folder, name: &str) -> Result<Vec<u8>, FixtureError> {
    let fault = |reason| FixtureError::File { name: name.into(), reason };
    let blob = folder.get(name).ok_or_else(|| fault("it is not there".into()))?;
    let len = usize::try_from(blob.len()).map_err(|e| fault(e.to_string()))?;
    blob.read(0, len).await.map_err(fault)
}

/// Checks a fixture of any kind whose weights are in one file or several, in f32, f16 or bf16.
///
/// # Errors
/// A folder that is no fixture, or a GPU fault. Wrong numbers are in the groups.
pub async fn check_folder(gpu: &Gpu, folder: &Folder) -> Result<Vec<Group>, FixtureError> {
    let io = weights::parse(&contents(folder, IO).await?)?;
    let text = String::from_utf8_lossy(&contents(folder, CONFIG).await?).into_owned();
    let config: Value = serde_json::from_str(&text)?;
    let kind = config["kind"].as_str().unwrap_or_default().to_owned();
    if kind == "preprocessing" {
        return preprocessing(&config, &io, folder).await;
    }
    let checkpoint = Checkpoint::open(&folder.clone().without(IO)).await?;
    let tolerances = tolerances(&checkpoint);
    let f = Fixture { config, text, checkpoint, io, tolerances };
    match kind.as_str() {
        "vision" => models::vision(gpu, &f).await,
        "language" | "hive" | "cascade" => models::whole_model(gpu, &f).await,
        "attentive_probe" => models::probe(gpu, &f, Kind::Attentive).await,
        "linear_probe" => models::probe(gpu, &f, Kind::Linear).await,
        "training" => training::training(gpu, &f).await,
        _ => Err(FixtureError::Kind(kind)),
    }
}

/// Checks a fixture of one file of weights from its files' contents.
///
/// # Errors
/// As [`check_folder`].
pub async fn check(gpu: &Gpu, read: Read<'_>) -> Result<Vec<Group>, FixtureError> {
    let file = |name: &str| read(name).map_err(|reason| FixtureError::File { name: name.into(), reason });
    let (config, io) = (file(CONFIG)?, file(IO)?);
    // Pictures are named after what is expected of them.
    let pictures = weights::parse(&io)?.into_keys().filter_map(|k| Some(format!("{}.png", k.strip_prefix("out.")?)));
    let more =
        pictures.chain(["model.safetensors".into()]).filter_map(|name| Some(Blob::memory(&name, read(&name).ok()?)));
    check_folder(gpu, &Folder::new(more.chain([Blob::memory(CONFIG, config), Blob::memory(IO, io)]))?).await
}

/// Those of the coarsest type among the weights.
#[must_use]
pub fn tolerances(checkpoint: &Checkpoint) -> Tolerances {
    let has = |dtype| checkpoint.tensors().values().any(|p| p.info.dtype == dtype);
    TOLERANCES.iter().rev().find(|(dtype, _)| has(*dtype)).unwrap_or(&TOLERANCES[0]).1
}

impl Fixture {
    fn expect(&self, key: &str) -> Result<&HostTensor, FixtureError> {
        get(&self.io, key)
    }

    fn spec(&self) -> Result<ModelSpec, FixtureError> {
        Ok(ModelSpec::read(&self.text, None)?)
    }

    fn outputs(&self, name: &str) -> Group {
        Group::new(name, self.tolerances.output)
    }

    fn resolved(&self, specs: &[ParamSpec]) -> Result<Resolved, FixtureError> {
        let links = self.config["link_config"]["language_layers"].as_array().into_iter().flatten();
        let links: Vec<usize> = links.filter_map(|l| usize::try_from(l.as_u64()?).ok()).collect();
        Ok(resolve(&self.checkpoint, specs, &links)?)
    }

    async fn weights(&self, specs: &[ParamSpec]) -> Result<Weights, FixtureError> {
        let mut out = Weights::new();
        for (name, found) in self.resolved(specs)?.found {
            out.insert(name, self.checkpoint.read_values(&found.name).await?);
        }
        Ok(out)
    }

    /// All weights train: every gradient is asked for.
    async fn params(&self, gpu: &Gpu, specs: Vec<ParamSpec>) -> Result<Params, FixtureError> {
        let weights = self.weights(&specs).await?;
        let all = specs.iter().map(|s| s.name.clone()).collect();
        Ok(Params::new(gpu, specs, &weights, &all))
    }

    /// Gradients against `grad.*`; a weight without such a key must have none.
    fn gradients(&self, got: &Weights) -> Group {
        let mut group = Group::new("gradients", self.tolerances.gradient);
        let expected = self.io.iter().filter(|(k, _)| k.starts_with("grad."));
        let largest = expected.map(|(_, t)| largest(&t.values)).fold(0.0, f32::max);
        for (name, values) in got {
            match self.io.get(&format!("grad.{name}")) {
                // Zero in exact arithmetic (a softmax does not see the bias of its keys): only rounding is left of it.
                Some(want) if largest > 0.0 && self::largest(&want.values) < ROUNDING * largest => {
                    group.record(name, f64::from(self::largest(values) / largest));
                }
                Some(want) => group.compare(name, values, &want.values),
                None if values.iter().any(|v| *v != 0.0) => {
                    group.faults.push(format!("{name} has a gradient and must have none"));
                }
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
fn batch(io: &HostTensors, prefix: &str) -> Result<Batch, FixtureError> {
    let key = |k: &str| get(io, &format!("{prefix}{k}"));
    let ids = key("ids")?;
    let [rows, tokens] = ids.shape[..] else {
        return Err(WeightsError::Shape { name: "ids".into(), have: ids.shape.clone(), need: vec![0, 0] }.into());
    };
    Ok(Batch {
        rows,
        tokens,
        ids: whole(ids),
        labels: key("labels")?.values.iter().map(|v| *v as i32).collect(),
        lengths: whole(key("lengths")?),
        offset: whole(key("offset")?),
        pixels: io.get(&format!("{prefix}pixels")).map_or(Vec::new(), |p| p.values.clone()),
        ..Batch::default()
    })
}

/// Values of rows within their lengths only, `width` values per row; the rest is meaningless.
fn valid(batch: &Batch, values: &[f32], width: usize) -> Vec<f32> {
    values
        .chunks(width)
        .enumerate()
        .filter(|(i, _)| i % batch.tokens < batch.lengths[i / batch.tokens] as usize)
        .flat_map(|(_, row)| row.to_vec())
        .collect()
}

async fn preprocessing(config: &Value, io: &HostTensors, folder: &Folder) -> Result<Vec<Group>, FixtureError> {
    let preprocess = Preprocess::deserialize(config)?;
    // One step of 255 over a range of two.
    let mut group = Group::new("pixels", 1.0 / 255.0 + 1e-6);
    for (key, want) in io {
        let name = format!("{}.png", key.strip_prefix("out.").unwrap_or(key));
        let got = preprocess
            .decode(&contents(folder, &name).await?, &name)
            .map_err(|e| FixtureError::Picture(e.to_string()))?;
        let worst = got.iter().zip(&want.values).fold(0.0_f64, |m, (a, b)| m.max(f64::from((a - b).abs()) / 2.0));
        if got.len() == want.values.len() {
            group.record(key, worst);
        } else {
            group.faults.push(format!("{key}: {} values, {} expected", got.len(), want.values.len()));
        }
    }
    Ok(vec![group])
}
