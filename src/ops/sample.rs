//! Choosing the next token on the GPU, and stepping to the next position, so that several tokens fit one submission. See
//! `docs/MATH.md#sample`. Filters and their order are those of Hugging Face's logits processors.

use super::case::{Array, Built, Case};
use super::embed;
use crate::gpu::kernels::sample as k;
use crate::gpu::{DType, Recorder, Sabotage, Tensor};

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Only so many likeliest tokens; 0: all.
    pub top_k: u32,
    /// Only the likeliest tokens that together have this probability; 1: all.
    pub top_p: f32,
    /// Only tokens with this share of the likeliest one's probability; 0: all.
    pub min_p: f32,
    /// Logits of tokens that occurred are divided by it (multiplied where negative); 1: not.
    pub repetition_penalty: f32,
    /// Of the noise.
    pub seed: u64,
}

/// Words of the settings tensor.
pub const SETTINGS: usize = 8;

impl Default for Settings {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Settings {
    /// Can it be done? If not, a sentence.
    ///
    /// # Errors
    /// Which setting is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let rules = [
            (
                self.temperature >= 0.0 && self.temperature.is_finite(),
                "temperature is a number from 0 on",
                self.temperature,
            ),
            (self.top_p > 0.0 && self.top_p <= 1.0, "top-p is above 0 and at most 1", self.top_p),
            ((0.0..=1.0).contains(&self.min_p), "min-p is between 0 and 1", self.min_p),
            (
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
                "the repetition penalty is above 0",
                self.repetition_penalty,
            ),
        ];
        rules.iter().find(|(ok, ..)| !ok).map_or(Ok(()), |(_, rule, value)| Err(format!("{rule}, not {value}")))
    }

    /// For the settings tensor.
    #[must_use]
    pub fn words(&self) -> [u32; SETTINGS] {
        [
            self.temperature.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
            self.min_p.to_bits(),
            self.repetition_penalty.to_bits(),
            self.seed as u32,
            (self.seed >> 32) as u32,
            0,
        ]
    }
}

/// What choosing reads and advances.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// (8) words of [`Settings::words`].
    pub settings: &'a Tensor,
    /// (V); those of the history change if there is a penalty.
    pub logits: &'a Tensor,
    /// (room), by position; ids past the vocabulary are no tokens.
    pub tokens: &'a Tensor,
    /// (1, 3): length, offset, start; length and start grow by one.
    pub rows: &'a Tensor,
    /// (1): the chosen token.
    pub id: &'a Tensor,
    /// (room): its probability before temperature and filters, by position.
    pub chosen: &'a Tensor,
}

/// Chooses a token and steps on. One dispatch.
#[track_caller]
pub fn choose(r: &mut Recorder, c: &Choice<'_>) {
    let (vocab, room) = (c.logits.shape().len(), c.tokens.shape().len());
    assert!(vocab < 1 << 24 && c.chosen.shape().len() == room, "sample: {c:?}");
    let lanes = if r.gpu().is_software() { 8.0 } else { 256.0 };
    let params = k::Params { vocab: vocab as u32, room: room as u32, fault: f32::NAN.to_bits() };
    let weights = r.alloc([vocab], "weights of tokens");
    let tensors = [c.settings, c.logits, c.tokens, c.rows, &weights, c.id, c.chosen];
    r.dispatch(&k::CHOOSE, &[("WG", lanes)], &params, &tensors, [1, 1, 1]);
}

/// Plain loops.
pub mod oracle {
    use super::Settings;

    fn hash(a: u32, b: u32, c: u32) -> u32 {
        let mut h = a ^ 0x9e37_79b9;
        h = (h ^ b).wrapping_mul(0x85eb_ca6b);
        h ^= h >> 13;
        h = (h ^ c).wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        h = h.wrapping_mul(0x7feb_352d);
        h ^= h >> 15;
        h = h.wrapping_mul(0x846c_a68b);
        h ^ (h >> 16)
    }

    fn gumbel(seed: u64, position: u32, token: u32) -> f64 {
        let h = hash(hash(seed as u32, (seed >> 32) as u32, position), token, 0x68bc_21eb);
        -(-(1.0 - (f64::from(h >> 9) + 0.5) / 8_388_608.0).ln()).ln()
    }

    /// Logits after the penalty.
    #[must_use]
    pub fn penalised(logits: &[f64], history: &[u32], penalty: f32) -> Vec<f64> {
        let penalty = f64::from(penalty);
        let occurred = |i: usize| history.contains(&(i as u32));
        let one = |(i, z): (usize, &f64)| match (occurred(i), *z < 0.0) {
            (false, _) => *z,
            (true, true) => z * penalty,
            (true, false) => z / penalty,
        };
        logits.iter().enumerate().map(one).collect()
    }

    /// Tokens that pass the filters, and their probabilities; `z` after the penalty, temperature above 0.
    #[must_use]
    pub fn passing(z: &[f64], s: &Settings) -> Vec<(usize, f64)> {
        let top = z.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let mut all: Vec<(usize, f64)> =
            z.iter().map(|v| ((v - top) / f64::from(s.temperature)).exp()).enumerate().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        if s.top_k > 0 && (s.top_k as usize) < all.len() {
            let least = all[s.top_k as usize - 1].1;
            all.retain(|(_, w)| *w >= least);
        }
        if s.top_p < 1.0 {
            let wanted = f64::from(s.top_p) * all.iter().map(|(_, w)| w).sum::<f64>();
            let (mut sum, mut least) = (0.0, 1.0);
            for (_, w) in &all {
                if sum < wanted {
                    sum += w;
                    least = *w;
                }
            }
            all.retain(|(_, w)| *w >= least);
        }
        all.retain(|(_, w)| *w >= f64::from(s.min_p));
        let total: f64 = all.iter().map(|(_, w)| w).sum();
        all.into_iter().map(|(i, w)| (i, w / total)).collect()
    }

    /// The token, and its probability before filters.
    #[must_use]
    pub fn choose(logits: &[f64], history: &[u32], s: &Settings) -> (usize, f64) {
        let z = penalised(logits, history, s.repetition_penalty);
        let top = z.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let total: f64 = z.iter().map(|v| (v - top).exp()).sum();
        let position = history.len() as u32;
        let token = if s.temperature > 0.0 {
            let score = |i: usize| (z[i] - top) / f64::from(s.temperature) + gumbel(s.seed, position, i as u32);
            let better = |a: usize, b: usize| if score(b) > score(a) { b } else { a };
            passing(&z, s).into_iter().map(|(i, _)| i).reduce(better).unwrap_or(0)
        } else {
            (0..z.len()).reduce(|a, b| if z[b] > z[a] { b } else { a }).unwrap_or(0)
        };
        (token, (z[token] - top).exp() / total)
    }
}

fn case(vocab: usize, history: &[u32], settings: Settings, logits: Array) -> Case {
    let history = history.to_vec();
    let length = history.len();
    let room = length + 3;
    let mut tokens = history.clone();
    tokens.resize(room, u32::MAX);
    let names: Vec<f64> = (0..vocab).map(|i| i as f64).collect();
    Case {
        name: format!(
            "V={vocab} history={length} temperature={} top_k={} top_p={} min_p={} penalty={} seed={}",
            settings.temperature,
            settings.top_k,
            settings.top_p,
            settings.min_p,
            settings.repetition_penalty,
            settings.seed
        ),
        inputs: vec![
            Array::whole(&[SETTINGS], &settings.words()),
            logits,
            Array::whole(&[room], &tokens),
            Array::whole(&[3], &[length as u32, 0, length as u32]),
            Array::floats(&[vocab, 1], &names),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let (id, chosen) = (r.alloc_as([1], DType::U32, "id"), r.alloc([room], "probabilities"));
            let (logits, tokens) = (r.alloc([vocab], "logits"), r.alloc_as([room], DType::U32, "tokens"));
            let rows = r.alloc_as([3], DType::U32, "rows");
            r.copy(&x[1], &logits);
            r.copy(&x[2], &tokens);
            r.copy(&x[3], &rows);
            r.zero(&chosen);
            let choice =
                Choice { settings: &x[0], logits: &logits, tokens: &tokens, rows: &rows, id: &id, chosen: &chosen };
            choose(r, &choice);
            // Names of tokens as floats, by id and by the history's last place.
            Built { outs: vec![embed::forward(r, &id, &x[4]), chosen], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let (token, probability) = oracle::choose(&x[1], &history, &settings);
            let mut chosen = vec![0.0; room];
            chosen[length] = probability;
            vec![vec![token as f64], chosen]
        }),
        backward: None,
        tolerance: 1e-4,
    }
}

/// Each filter alone and all together, penalty with repeated tokens, ties, one token, primes, real vocabularies.
#[must_use]
pub fn cases() -> Vec<Case> {
    let hot = Settings { temperature: 1.0, seed: 7, ..Settings::default() };
    let penalty = |repetition_penalty| Settings { repetition_penalty, ..Settings::default() };
    let history = [3, 5, 3, u32::MAX, 6, 5];
    let random = |vocab, seed| Array::scaled(&[vocab], seed, 3.0);
    let long: Vec<u32> = (0..700).map(|i| i % 11).collect();
    let ties = Array::floats(&[9], &[1.0, 2.0, 0.0, 2.0, 2.0, 1.0, -1.0, 1.0, 0.0]);
    let everything = Settings { temperature: 0.7, top_k: 40, top_p: 0.9, min_p: 0.05, repetition_penalty: 1.3, ..hot };
    let mut all = vec![
        case(101, &[], Settings::default(), random(101, 1)),
        case(1, &[0], hot, random(1, 2)),
        case(1, &[0], Settings { top_k: 1, top_p: 0.5, min_p: 1.0, ..hot }, random(1, 2)),
        case(7, &history, penalty(1.7), random(7, 3)),
        case(13, &long, penalty(1.2), random(13, 10)),
        case(9, &[], Settings::default(), ties.clone()),
        case(49_999, &history, Settings::default(), random(49_999, 4)),
        case(50_000, &long, everything, random(50_000, 11)),
    ];
    for seed in [1_u64, 2, 3, 1 << 40] {
        let hot = Settings { seed, ..hot };
        all.extend([
            case(9, &[], Settings { top_k: 2, ..hot }, ties.clone()),
            case(9, &[], Settings { top_p: 0.5, ..hot }, ties.clone()),
            case(1009, &history, hot, random(1009, 5)),
            case(1009, &history, Settings { top_k: 5, ..hot }, random(1009, 6)),
            case(1009, &history, Settings { top_p: 0.6, ..hot }, random(1009, 7)),
            case(1009, &history, Settings { min_p: 0.2, ..hot }, random(1009, 8)),
            case(1009, &history, Settings { seed, ..everything }, random(1009, 9)),
        ]);
    }
    all
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "sample/choose", find: "logits[token] = weights[token]", replace: "logits[token] *= 1.0" },
    Sabotage { kernel: "sample/choose", find: "max(least, min_p)", replace: "least" },
    Sabotage { kernel: "sample/choose", find: "vec4<f32>(w > vec4<f32>())", replace: "w" },
    Sabotage { kernel: "sample/choose", find: "-f32(best)", replace: "f32(best)" },
    Sabotage { kernel: "sample/choose", find: "exp(logits[token] - top) / total", replace: "1.0 / total" },
];
