//! The choice of a token: the spread of many choices, faults, logits that are no numbers, the end of the room.

use crate::common::{done, gpu};
use hive::gpu::{AdapterKind, DType, Gpu, GpuOptions, Recorder, Sabotage, Tensor};
use hive::ops::sample::{self, Choice, Settings};
use hive::ops::verify;
use hive::platform::block_on;

/// Tensors of a choice among tokens of these logits.
struct Chooser {
    settings: Tensor,
    logits: Tensor,
    tokens: Tensor,
    rows: Tensor,
    id: Tensor,
    chosen: Tensor,
}

impl Chooser {
    fn new(gpu: &Gpu, logits: &[f32], room: usize) -> Self {
        let vocab = logits.len();
        Self {
            settings: gpu.tensor([sample::SETTINGS], DType::U32, "settings"),
            logits: gpu.upload(logits, [vocab], "logits"),
            tokens: gpu.tensor([room], DType::U32, "tokens"),
            rows: gpu.tensor([3], DType::U32, "rows"),
            id: gpu.tensor([1], DType::U32, "id"),
            chosen: gpu.tensor([room], DType::F32, "probabilities"),
        }
    }

    fn choice(&self) -> Choice<'_> {
        Choice {
            settings: &self.settings,
            logits: &self.logits,
            tokens: &self.tokens,
            rows: &self.rows,
            id: &self.id,
            chosen: &self.chosen,
        }
    }

    fn words(gpu: &Gpu, t: &Tensor) -> Vec<u32> {
        block_on(gpu.read_all(std::slice::from_ref(t))).unwrap()[0].iter().map(|v| v.to_bits()).collect()
    }
}

/// Positions at which a token is chosen.
const CHOICES: usize = 2000;

/// How often each token is chosen.
fn counts(gpu: &Gpu, logits: &[f32], settings: Settings) -> Vec<f64> {
    let chooser = Chooser::new(gpu, logits, CHOICES + 1);
    let mut r = Recorder::new(gpu);
    sample::choose(&mut r, &chooser.choice());
    let program = r.finish();
    gpu.write_u32(&chooser.settings, &settings.words());
    gpu.write_u32(&chooser.rows, &[0, 0, 0]);
    (0..CHOICES / 100).for_each(|_| program.run_times(100));
    let mut counts = vec![0.0; logits.len()];
    Chooser::words(gpu, &chooser.tokens)[..CHOICES].iter().for_each(|t| counts[*t as usize] += 1.0);
    counts
}

/// Options of the kind of adapter that this one is not.
fn other_kind(gpu: &Gpu) -> GpuOptions {
    let kind = if gpu.is_software() { AdapterKind::Hardware } else { AdapterKind::Software };
    GpuOptions { kind: Some(kind), ..GpuOptions::default() }
}

#[test]
fn cases_are_right_with_the_other_kinds_shapes() {
    let Some(gpu) = gpu() else { return };
    let other = block_on(Gpu::new(&other_kind(&gpu))).unwrap();
    for op in ["gemv", "cached_attention", "sample"] {
        let outcomes = block_on(verify::run(&other, op, |_| ())).unwrap();
        let wrong: Vec<_> = outcomes.iter().filter(|o| !o.passed()).collect();
        assert!(!outcomes.is_empty() && wrong.is_empty(), "{wrong:#?}");
    }
    done(&other);
}

#[test]
fn faults_of_hardware_shapes_are_noticed() {
    let Some(_one_at_a_time) = gpu() else { return };
    let options = GpuOptions { kind: Some(AdapterKind::Hardware), ..GpuOptions::default() };
    for (kernel, find, replace) in [
        ("gemv/project_f16", "dot(v, v)", "v.x * v.x"),
        ("gemv/project_int4", "s < SLICES", "s < SLICES - 1u"),
        ("gemv/gated_f32", "* up * rstd", "* up"),
        ("cached_attention/partial", "q < PARTS", "q < 1u"),
    ] {
        let fault = Sabotage { kernel, find, replace };
        assert!(block_on(verify::caught(&options, &fault)).unwrap(), "{fault:?} was not noticed");
    }
}

#[test]
fn tokens_are_as_frequent_as_they_are_probable() {
    let Some(gpu) = gpu() else { return };
    let probabilities = [0.02, 0.4, 0.05, 0.3, 0.08, 0.15];
    let logits: Vec<f32> = probabilities.iter().map(|p: &f64| p.ln() as f32 + 1.5).collect();
    let hot = Settings { temperature: 1.0, ..Settings::default() };
    let filters: [(Settings, &[usize], f64); 6] = [
        (hot, &[0, 1, 2, 3, 4, 5], 1.0),
        (Settings { seed: 0xdead_beef_0000_0001, ..hot }, &[0, 1, 2, 3, 4, 5], 1.0),
        (Settings { temperature: 0.5, ..hot }, &[0, 1, 2, 3, 4, 5], 0.5),
        (Settings { top_k: 2, ..hot }, &[1, 3], 1.0),
        (Settings { top_p: 0.8, ..hot }, &[1, 3, 5], 1.0),
        (Settings { min_p: 0.19, ..hot }, &[1, 3, 4, 5], 1.0),
    ];
    for (settings, passing, temperature) in filters {
        let counts = counts(&gpu, &logits, settings);
        let weight = |i: &usize| probabilities[*i].powf(1.0 / temperature);
        let total: f64 = passing.iter().map(weight).sum();
        let mut squares = 0.0;
        for (i, count) in counts.iter().enumerate() {
            if passing.contains(&i) {
                let expected = weight(&i) / total * CHOICES as f64;
                squares += (count - expected) * (count - expected) / expected;
            } else {
                assert!(*count == 0.0, "{settings:?}: token {i} does not pass and was chosen {count} times");
            }
        }
        // χ² with at most 5 degrees of freedom exceeds 20.5 once in a thousand times.
        assert!(squares < 20.5, "{settings:?}: {counts:?}, chi squared {squares:.1}");
    }
    done(&gpu);
}

/// Token, probability and rows after one choice.
fn one_choice(gpu: &Gpu, logits: &[f32], settings: Settings, rows: [u32; 3], room: usize) -> (u32, f32, Vec<u32>) {
    let chooser = Chooser::new(gpu, logits, room);
    let mut r = Recorder::new(gpu);
    sample::choose(&mut r, &chooser.choice());
    gpu.write_u32(&chooser.settings, &settings.words());
    gpu.write_u32(&chooser.rows, &rows);
    r.finish().run();
    let chosen = block_on(gpu.read_f32(&chooser.chosen)).unwrap();
    let at = (rows[0] as usize).min(room - 1);
    (Chooser::words(gpu, &chooser.id)[0], chosen[at], Chooser::words(gpu, &chooser.rows))
}

#[test]
fn logits_that_are_no_numbers_are_noticed() {
    let Some(gpu) = gpu() else { return };
    for temperature in [0.0, 1.0] {
        let settings = Settings { temperature, ..Settings::default() };
        for at in [0, 1, 700, 998] {
            for fault in [f32::NAN, f32::INFINITY] {
                let mut logits = vec![0.5; 999];
                logits[3] = 2.0;
                logits[at] = fault;
                let (token, probability, _) = one_choice(&gpu, &logits, settings, [4, 0, 4], 9);
                assert!(token == 0 && probability.is_nan(), "{fault} at {at}: token {token}, {probability}");
            }
        }
        // Tokens ruled out are no fault.
        let (token, probability, _) = one_choice(&gpu, &[f32::NEG_INFINITY, 1.0], settings, [4, 0, 4], 9);
        assert_eq!((token, probability), (1, 1.0));
    }
    done(&gpu);
}

#[test]
fn choices_stay_in_the_room() {
    let Some(gpu) = gpu() else { return };
    let logits = [0.0, 1.0, 0.5];
    let at = |rows, room| one_choice(&gpu, &logits, Settings::default(), rows, room);
    assert_eq!(at([3, 1, 2], 5).2, [4, 1, 3]);
    assert_eq!(at([4, 1, 3], 5).2, [5, 1, 4]);
    assert_eq!(at([5, 1, 4], 5).2, [5, 1, 4], "the last place is written again");
    assert_eq!(at([5, 1, 4], 5).0, 1);
    done(&gpu);
}
