//! Probes of a frozen tower on a set of pictures, each of one class: an attentive and a linear one, trained and judged as the paper
//! does. Its augmentation is left out, as features are computed once, and everything is in f32.

pub use super::features::MOST;
use super::features::{Features, FeaturesError};
use super::head::Head;
use super::recipe::StageRecipe;
use crate::data::rng::{Rng, hash_bytes};
use crate::gpu::{Gpu, GpuError};
use crate::model::config::VisionConfig;
use crate::model::probe::{Kind, Sizes};
use crate::nn::ParamSpec;
use crate::nn::params::Weights;

/// Pictures of a step.
const BATCH: usize = 512;
/// Classes among which the right one is to be, for the second score.
const FIRST: usize = 5;
/// Epsilon of the attentive probe's norm; the linear one's is the tower's last, with its values at the start.
const EPS: f64 = 1e-6;
/// Deviation of a normal number whose draws beyond two deviations are drawn again.
const TRUNCATED: f32 = 0.879_625_7;

/// How long and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Pace {
    pub epochs: u64,
    pub learning_rate: f64,
}

impl Pace {
    /// The paper's for ImageNet-1k.
    pub const IMAGENET: Self = Self { epochs: 1, learning_rate: 1e-3 };
    /// For every other set.
    pub const OTHERS: Self = Self { epochs: 5, learning_rate: 2e-4 };
}

/// A picture of a part: the key of its features, and its class.
pub type Seen = (u64, usize);

/// What a probe is trained on, and how.
#[allow(missing_docs, reason = "the names say it")]
pub struct Setup<'a> {
    pub tower: &'a VisionConfig,
    pub kind: Kind,
    pub classes: usize,
    pub train: &'a [Seen],
    pub test: &'a [Seen],
    pub pace: Pace,
    /// Steps instead of the pace's epochs.
    pub steps: Option<u64>,
    pub seed: u64,
    /// Numbers of features that are on the device at a time; of one picture at least, all of them. See [`MOST`].
    pub most: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Steps, and pictures of each but the last of an epoch.
    pub steps: u64,
    /// Pictures of a step at most.
    pub batch: usize,
    /// Mean loss of the last step.
    pub loss: f32,
    /// Test pictures whose class came first, and among the first five.
    pub top1: usize,
    /// Among the first five; of fewer classes, all.
    pub top5: usize,
    /// (classes, classes): how often a class (row) was taken for one (column).
    pub confusion: Vec<u32>,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum ProbeError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Features(#[from] FeaturesError),
    #[error("the probe's {0} is no finite number after {1} steps: the tower's weights may be damaged")]
    NotFinite(&'static str, u64),
}

/// Start weights: queries and their projections uniform as Glorot has it, the latter as one matrix (3 W, W); the projection out of the
/// attention normal as `LeCun` has it, cut at two deviations; the classifier normal of deviation W^-1/2; biases 0, gains 1.
#[must_use]
pub fn start(specs: &[ParamSpec], width: usize, seed: u64) -> Weights {
    let deviation = (width as f32).sqrt().recip();
    let tensor = |spec: &ParamSpec| {
        let mut rng = Rng::new(seed, hash_bytes(spec.name.as_bytes()));
        let mut fill = |draw: &mut dyn FnMut(&mut Rng) -> f32| (0..spec.len()).map(|_| draw(&mut rng)).collect();
        let uniform = |fans: f32| (6.0 / (fans * width as f32)).sqrt();
        match spec.name.as_str() {
            name if name.ends_with(".bias") => vec![0.0; spec.len()],
            _ if spec.shape.len() == 1 => vec![1.0; spec.len()],
            "query" => fill(&mut |rng| rng.uniform(-uniform(2.0), uniform(2.0))),
            "classifier.weight" => fill(&mut |rng| rng.normal() * deviation),
            "out_proj.weight" => fill(&mut |rng| {
                let within = std::iter::repeat_with(|| rng.normal()).find(|x| x.abs() <= 2.0);
                within.unwrap_or(0.0) * deviation / TRUNCATED
            }),
            _ => fill(&mut |rng| rng.uniform(-uniform(4.0), uniform(4.0))),
        }
    };
    specs.iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

/// Training pictures in the order of the steps, epoch by epoch.
struct Order<'a> {
    train: &'a [Seen],
    left: Vec<usize>,
    rng: Rng,
}

impl Order<'_> {
    /// Those of the next step; the last of an epoch has what is left of it.
    fn next(&mut self, batch: usize) -> Vec<Seen> {
        if self.left.is_empty() {
            self.left = (0..self.train.len()).collect();
            self.rng.shuffle(&mut self.left);
        }
        let rest = self.left.len().saturating_sub(batch);
        self.left.split_off(rest).into_iter().map(|i| self.train[i]).collect()
    }
}

/// Trains a probe on features that are all there, and judges it. `tell` hears the step, the steps, and now and then the loss; where
/// it says false, it ends without a result.
///
/// # Errors
/// A GPU fault, features that cannot be read, numbers that are none.
///
/// # Panics
/// Without a picture to train on.
pub async fn probe(
    gpu: &Gpu,
    features: &mut Features,
    setup: &Setup<'_>,
    mut tell: impl FnMut(u64, u64, f32) -> bool,
) -> Result<Option<Judged>, ProbeError> {
    let Setup { tower, classes, train, test, pace, .. } = *setup;
    assert!(!train.is_empty(), "no picture to train on");
    let (width, patches) = (tower.hidden_size, tower.tokens());
    let eps = if setup.kind == Kind::Linear { tower.layer_norm_eps } else { EPS };
    let sizes = Sizes { width, heads: tower.num_attention_heads, classes, eps };
    let batch = train.len().min(BATCH);
    let steps = setup.steps.unwrap_or(pace.epochs * train.len().div_ceil(batch) as u64);
    let recipe = StageRecipe {
        steps,
        learning_rate: pace.learning_rate,
        warmup_ratio: 0.03,
        floor: 0.0,
        beta2: 0.999,
        max_grad_norm: 3.0,
        weight_decay: 0.01,
        batch,
        accumulate: 1,
    };
    // What of a step is on the device at a time.
    let rows = (setup.most / (patches * width)).clamp(1, batch);
    let seed = setup.seed;
    let head =
        Head::new(gpu, (setup.kind, sizes), [rows, patches], &recipe, |specs| start(specs, width, seed), |_| true);
    let mut order = Order { train, left: Vec::new(), rng: Rng::new(seed, 0) };
    let (mut held, mut loss) = (Vec::new(), 0.0);
    for update in 1..=steps {
        let chosen = order.next(batch);
        head.begin(chosen.len());
        for part in chosen.chunks(rows) {
            read(features, part, &mut held).await?;
            head.write(&held, part.iter().map(|(_, class)| Some(*class)));
            head.add();
        }
        head.end(recipe.schedule().rate(update, steps), recipe.beta2, update);
        if update.is_multiple_of(16) || update == steps {
            loss = head.loss().await?;
            if !loss.is_finite() {
                return Err(ProbeError::NotFinite("loss", update));
            }
        }
        if !tell(update, steps, loss) {
            return Ok(None);
        }
    }
    let mut judged = Judged { steps, batch, loss, top1: 0, top5: 0, confusion: vec![0; classes * classes] };
    for part in test.chunks(rows) {
        read(features, part, &mut held).await?;
        head.write(&held, part.iter().map(|(_, class)| Some(*class)));
        let logits = head.logits().await?;
        for ((_, class), row) in part.iter().zip(logits.chunks(classes)) {
            if !row.iter().all(|logit| logit.is_finite()) {
                return Err(ProbeError::NotFinite("logit", steps));
            }
            judged.count(*class, row);
        }
        if !tell(steps, steps, loss) {
            return Ok(None);
        }
    }
    Ok(Some(judged))
}

/// The features of these pictures, one after the other.
async fn read(features: &mut Features, part: &[Seen], held: &mut Vec<f32>) -> Result<(), FeaturesError> {
    held.clear();
    for (key, _) in part {
        features.get(*key, held).await?;
    }
    Ok(())
}

impl Judged {
    /// A picture of this class, and its logits; of equal ones the first class comes first.
    fn count(&mut self, class: usize, logits: &[f32]) {
        let before = |other: usize| {
            let (own, other_logit) = (logits[class], logits[other]);
            other_logit > own || (other_logit == own && other < class)
        };
        let rank = (0..logits.len()).filter(|other| before(*other)).count();
        let first = |best: usize, other: usize| if logits[other] > logits[best] { other } else { best };
        let taken_for = (0..logits.len()).reduce(first).unwrap_or(class);
        self.top1 += usize::from(rank == 0);
        self.top5 += usize::from(rank < FIRST);
        self.confusion[class * logits.len() + taken_for] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probe::Probe;

    #[test]
    fn a_start_is_drawn_as_the_paper_does() {
        let (width, classes) = (64, 10);
        let sizes = Sizes { width, heads: 4, classes, eps: EPS };
        let (_, specs) = Probe::new(Kind::Attentive, sizes);
        let weights = start(&specs, width, 3);
        let largest = |name: &str| weights[name].iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let deviation = |name: &str| {
            let values = &weights[name];
            (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        for (name, bound) in
            [("query", 0.2165), ("q_proj.weight", 0.1531), ("k_proj.weight", 0.1531), ("v_proj.weight", 0.1531)]
        {
            assert!(largest(name) <= bound && largest(name) > 0.9 * bound, "{name}: {}", largest(name));
        }
        assert!(largest("out_proj.weight") <= 2.0 / 8.0 / TRUNCATED + 1e-6);
        for name in ["out_proj.weight", "classifier.weight"] {
            assert!((deviation(name) - 0.125).abs() < 0.01, "{name}: {}", deviation(name));
        }
        assert!(largest("classifier.weight") > 2.0 / 8.0 / TRUNCATED);
        let constant = |name: &str, value: f32| weights[name].iter().all(|v| *v == value);
        assert!(
            ["norm.bias", "q_proj.bias", "out_proj.bias", "classifier.bias"].iter().all(|name| constant(name, 0.0))
        );
        assert!(constant("norm.weight", 1.0));
        assert_eq!(weights.len(), specs.len());
        assert_ne!(start(&specs, width, 4)["query"], weights["query"]);
    }

    #[test]
    fn an_epoch_has_every_picture_once() {
        let train: Vec<Seen> = (0..10).map(|i| (i, 0)).collect();
        let mut order = Order { train: &train, left: Vec::new(), rng: Rng::new(1, 0) };
        let mut epochs: Vec<Vec<u64>> = Vec::new();
        for _ in 0..2 {
            let steps: Vec<Vec<Seen>> = (0..3).map(|_| order.next(4)).collect();
            assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
            epochs.push(steps.concat().into_iter().map(|(key, _)| key).collect());
        }
        assert_ne!(epochs[0], epochs[1]);
        for mut epoch in epochs {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn scores_count_ranks() {
        let mut judged = Judged { steps: 1, batch: 1, loss: 0.0, top1: 0, top5: 0, confusion: vec![0; 49] };
        judged.count(2, &[0.0, 1.0, 3.0, 2.0, 0.5, 0.1, 0.2]);
        judged.count(0, &[0.0, 1.0, 3.0, 2.0, 0.5, 0.1, 0.2]);
        judged.count(5, &[0.0, 1.0, 3.0, 2.0, 0.5, 0.4, 0.2]);
        // Of equal ones the first.
        judged.count(1, &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        judged.count(0, &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((judged.top1, judged.top5), (2, 4));
        let at = |row: usize, column: usize| judged.confusion[row * 7 + column];
        assert_eq!([at(2, 2), at(0, 2), at(5, 2), at(1, 0), at(0, 0)], [1; 5]);
        assert_eq!(judged.confusion.iter().sum::<u32>(), 5);
    }
}
