//! Where in a tower answers live: for each depth and each attribute of a thing, how often a probe (in a link's own form, or
//! another) reads it right in held-out scenes. The probes train on the frozen tower; nothing of them is kept.

use serde::{Deserialize, Serialize};

use super::evaluate::EvaluateError;
use super::head::Head;
use super::init;
use super::recipe::{Init, StageRecipe};
use super::source::Source;
use crate::data::rng::Rng;
use crate::data::worlds::{Sample, Split};
use crate::gpu::{DType, Gpu, Program, Recorder, Tensor};
use crate::model::config::HiveConfig;
use crate::model::probe::{Kind, Sizes};
use crate::model::registry::Registry;
use crate::model::vision::Vision;
use crate::nn::params::Weights;
use crate::nn::{ParamSpec, Params};

/// Scenes that probes train on, and that they are judged by.
const SCENES: [usize; 2] = [600, 300];
/// Scenes before the first of them: training never comes so far.
const FIRST: u64 = 1 << 40;
/// Scenes in a pass of the tower; divides both of [`SCENES`].
const PASS: usize = 50;
/// Things in a step.
const BATCH: usize = 64;
/// Steps of a probe.
const STEPS: u64 = 120;
/// Learning rate at first; it falls to nothing.
const RATE: f64 = 8e-3;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Depths {
    /// Names of the attributes, and what guessing would give.
    #[serde(with = "super::floats")]
    pub attributes: Vec<(String, f64)>,
    /// For each depth, 0 the embedded patches, the share of right answers per attribute.
    #[serde(with = "super::floats")]
    pub shares: Vec<Vec<f64>>,
}

/// Things as the tower shows them at one depth.
struct Things {
    /// (things, P, W).
    states: Vec<f32>,
    /// Per thing and attribute the class.
    values: Vec<Vec<Option<usize>>>,
}

impl Depths {
    /// Of a tower's `weights` in generated data whose things have attributes, by probes of this kind; none for other data. `tell`
    /// hears the share done; where it says false, the measurement ends without a result.
    ///
    /// # Errors
    /// A GPU fault, or a picture that cannot be read.
    pub async fn measure(
        gpu: &Gpu,
        config: &HiveConfig,
        weights: &Weights,
        source: &Source,
        kind: Kind,
        mut tell: impl FnMut(f64) -> bool,
    ) -> Result<Option<Self>, EvaluateError> {
        let attributes = source.dataset().map_or(Vec::new(), |d| d.attributes());
        if attributes.is_empty() {
            return Ok(None);
        }
        let [train, judge] = [(Split::Train, SCENES[0]), (Split::HeldOut, SCENES[1])]
            .map(|(split, count)| source.samples(split, FIRST, count, 1, true));
        let (train, judge) = (train.map_err(EvaluateError::Data)?, judge.map_err(EvaluateError::Data)?);
        let tower = Tower::new(gpu, config, weights);
        let (train, judge) = (tower.things(&train).await?, tower.things(&judge).await?);
        let mut shares = Vec::new();
        for (depth, (train, judge)) in train.iter().zip(&judge).enumerate() {
            let mut row = Vec::new();
            for (a, (_, classes)) in attributes.iter().enumerate() {
                row.push(share(gpu, config, kind, (train, judge), a, *classes).await?);
                let done = (depth * attributes.len() + a + 1) as f64;
                if !tell(done / ((tower.depth + 1) * attributes.len()) as f64) {
                    return Ok(None);
                }
            }
            shares.push(row);
        }
        let attributes =
            attributes.into_iter().map(|(name, classes)| (name.to_owned(), 1.0 / classes as f64)).collect();
        Ok(Some(Self { attributes, shares }))
    }
}

/// The tower up to its deepest linked state.
struct Tower {
    gpu: Gpu,
    program: Program,
    pixels: Tensor,
    states: Vec<Tensor>,
    depth: usize,
}

impl Tower {
    fn new(gpu: &Gpu, config: &HiveConfig, weights: &Weights) -> Self {
        let c = &config.vision_config;
        let depth = config.link_config.deepest().unwrap_or(c.num_hidden_layers - 1);
        let mut g = Registry::default();
        let vision = Vision::new(&mut g, c);
        let params = Params::new(gpu, g.specs, weights, &Default::default());
        let pixels = gpu.tensor([PASS, c.num_channels, c.image_size, c.image_size], DType::F32, "pixels");
        let rows = gpu.tensor([PASS, 3], DType::U32, "rows");
        let keep = || gpu.tensor([PASS * c.tokens(), c.hidden_size], DType::F32, "states");
        let states: Vec<Tensor> = (0..=depth).map(|_| keep()).collect();
        let mut r = Recorder::new(gpu);
        let saved = vision.forward(&mut r, &params, &rows, &pixels, depth, false);
        saved.states.iter().zip(&states).for_each(|(from, to)| r.copy(from, to));
        Self { gpu: gpu.clone(), program: r.finish(), pixels, states, depth }
    }

    /// The things of these scenes, per depth.
    async fn things(&self, samples: &[Sample]) -> Result<Vec<Things>, EvaluateError> {
        let width = self.states[0].shape().cols();
        let mut all: Vec<Things> =
            self.states.iter().map(|_| Things { states: Vec::new(), values: Vec::new() }).collect();
        for pass in samples.chunks_exact(PASS) {
            let pixels: Vec<f32> = pass.iter().flat_map(|s| s.pixels.iter().copied()).collect();
            self.gpu.write(&self.pixels, &pixels);
            self.program.run();
            let states = self.gpu.read_all(&self.states).await?;
            for (things, state) in all.iter_mut().zip(&states) {
                for (sample, rows) in pass.iter().zip(state.chunks(state.len() / PASS)) {
                    for seen in &sample.seen {
                        seen.patches.iter().for_each(|p| things.states.extend(&rows[p * width..][..width]));
                        things.values.push(seen.values.clone());
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Things {
    /// Values per thing.
    fn size(&self) -> usize {
        self.states.len() / self.values.len()
    }
}

/// Trains a probe for attribute `a` on the first things; the share that it reads right of the second.
async fn share(
    gpu: &Gpu,
    config: &HiveConfig,
    kind: Kind,
    (train, judge): (&Things, &Things),
    a: usize,
    classes: usize,
) -> Result<f64, EvaluateError> {
    let c = &config.vision_config;
    let sizes = Sizes { width: c.hidden_size, heads: 1, classes, eps: c.layer_norm_eps };
    let patches = train.size() / c.hidden_size;
    let recipe = StageRecipe {
        steps: STEPS,
        learning_rate: RATE,
        warmup_ratio: 0.0,
        floor: 0.0,
        beta2: 0.999,
        max_grad_norm: 0.0,
        weight_decay: 0.01,
        batch: BATCH,
        accumulate: 1,
    };
    let start = |specs: &[ParamSpec]| init::draw(specs, config, &Init::default(), 0);
    let head = Head::new(gpu, (kind, sizes), [BATCH, patches], &recipe, start, |name| !name.starts_with("norm."));

    let told = |things: &Things| -> Vec<usize> {
        (0..things.values.len()).filter(|i| things.values[*i][a].is_some()).collect()
    };
    let write = |things: &Things, chosen: &[usize]| {
        let size = things.size();
        let features: Vec<f32> =
            chosen.iter().flat_map(|i| things.states[i * size..][..size].iter().copied()).collect();
        head.write(&features, chosen.iter().map(|i| things.values[*i][a]));
    };
    let (known, mut rng) = (told(train), Rng::new(0, a as u64));
    for update in 1..=STEPS {
        let chosen: Vec<usize> = (0..BATCH).map(|_| *rng.pick(&known)).collect();
        write(train, &chosen);
        head.begin(BATCH);
        head.add();
        head.end(RATE * (1.0 - (update - 1) as f64 / STEPS as f64), recipe.beta2, update);
        if update.is_multiple_of(16) {
            gpu.finished().await?;
        }
    }
    let asked = told(judge);
    let mut right = 0;
    for chosen in asked.chunks(BATCH) {
        write(judge, chosen);
        let read = head.logits().await?;
        for (i, row) in chosen.iter().zip(read.chunks(classes)) {
            let best = (0..classes).max_by(|x, y| row[*x].total_cmp(&row[*y]));
            right += usize::from(best == judge.values[*i][a]);
        }
    }
    Ok(right as f64 / asked.len().max(1) as f64)
}
