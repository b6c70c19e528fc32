//! What the tests share: two devices per test program, small models, drawn weights; servers, and the program itself.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    missing_docs,
    reason = "helpers of tests"
)]

#[cfg(feature = "cli")]
pub(crate) mod program;

pub(crate) mod allocator;
pub(crate) mod fixture;
pub(crate) mod hub;
pub(crate) mod server;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use hive::data::dataset::Dataset;
use hive::data::tokenizer::Tokenizer;
use hive::gpu::{Gpu, GpuError, GpuOptions};
use hive::model::model::Model;
use hive::model::weights::Precision;
use hive::nn::params::Weights;
use hive::platform::{block_on, read_file};
use hive::train::checkpoint::{Checkpoint, FORMAT, Meta};
use hive::train::init;
use hive::train::recipe::Preset;
use hive::train::source::Source;

/// Says so where the test harness does not swallow it, unlike what `eprintln` writes.
fn skipped() {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "SKIPPED: no adapter ({})", thread.name().unwrap_or("a test"));
}

/// A device with these options. Without any adapter: none, and a loud line; a failure where `HIVE_REQUIRE_GPU=1`.
pub(crate) fn open(options: &GpuOptions) -> Option<Gpu> {
    match block_on(Gpu::new(options)) {
        Ok(gpu) => Some(gpu),
        Err(GpuError::NoAdapter) => {
            let required = std::env::var("HIVE_REQUIRE_GPU").is_ok_and(|v| v == "1");
            assert!(!required, "HIVE_REQUIRE_GPU=1, and there is no adapter");
            skipped();
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// The devices of this test binary. While one test works out on the processor what is right, another has the adapter.
fn devices() -> Option<&'static [Mutex<Gpu>]> {
    static DEVICES: OnceLock<Vec<Mutex<Gpu>>> = OnceLock::new();
    if DEVICES.get().is_some_and(Vec::is_empty) {
        skipped();
    }
    let open = || (0..2).map_while(|_| open(&GpuOptions::default()).map(Mutex::new)).collect();
    let devices = DEVICES.get_or_init(open);
    (!devices.is_empty()).then_some(devices)
}

/// A device, for one test at a time.
pub(crate) fn gpu() -> Option<MutexGuard<'static, Gpu>> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let devices = devices()?;
    let free = devices.iter().find_map(|device| match device.try_lock() {
        Ok(gpu) => Some(gpu),
        // A test that failed leaves the device usable.
        Err(TryLockError::Poisoned(failed)) => Some(failed.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    });
    let next = &devices[NEXT.fetch_add(1, Ordering::Relaxed) % devices.len()];
    Some(free.unwrap_or_else(|| next.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// All devices, for a test that measures time: the first is to be used.
pub(crate) fn every_gpu() -> Option<Vec<MutexGuard<'static, Gpu>>> {
    Some(devices()?.iter().map(|device| device.lock().unwrap_or_else(PoisonError::into_inner)).collect())
}

/// Every GPU test ends with this: all work is done, and the device reported no fault.
#[track_caller]
pub(crate) fn done(gpu: &Gpu) {
    block_on(gpu.finished()).unwrap();
    gpu.check().unwrap();
}

/// A path in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A shipped preset.
pub(crate) fn preset(name: &str) -> Preset {
    let text = read_file(&repository(&format!("assets/presets/{name}.json"))).unwrap();
    Preset::parse(&String::from_utf8(text).unwrap()).unwrap()
}

/// The generated data of a preset.
pub(crate) fn source(preset: &Preset) -> Source {
    let dataset = Dataset::by_name(&preset.data).unwrap();
    Source::made(dataset, Tokenizer::new(dataset.words()).unwrap(), preset.mix.clone(), preset.seed)
}

/// Drawn values for all parameters of a preset's model.
pub(crate) fn drawn(preset: &Preset, seed: u64) -> Weights {
    init::draw(&Model::new(&preset.model, preset.wiring).1, &preset.model, &preset.init, seed)
}

/// A file of start weights: tower and language model, drawn.
pub(crate) fn start_file(preset: &Preset, seed: u64) -> Vec<u8> {
    let meta = Meta {
        format: FORMAT,
        model: preset.model.clone(),
        tokenizer: source(preset).tokenizer().clone(),
        preset: preset.clone(),
        stage: None,
        update: 0,
        more: false,
        split: hive::data::folder::SplitBy::Id,
        data: None,
        scores: Vec::new(),
    };
    let mut weights = drawn(preset, seed);
    weights.retain(|name, _| !name.starts_with("links."));
    let checkpoint = Checkpoint { meta, weights, moments: Default::default(), attachments: Default::default() };
    checkpoint.to_bytes(&Model::new(&preset.model, preset.wiring).1, Precision::F32).unwrap()
}

/// The exact bits, so that NaN equals NaN and 0 differs from -0.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// max |a - b| / max |b|.
pub(crate) fn difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    let worst = a.iter().zip(b).fold(0.0_f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
    assert!(worst.is_finite() && largest.is_finite(), "values that are not finite");
    if largest > 0.0 { worst / largest } else { worst }
}
