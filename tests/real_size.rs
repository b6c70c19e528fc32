//! Models of the published sizes, on a device that has the WebGPU default limits and no more: SigLIP-L/16-384 with
//! MobileLLM-600M by 8 links, and with Qwen2-0.5B in the text; SmolVLM-256M as published. Weights are drawn; see
//! `tests/real_size/weights.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "writes files larger than memory should be, and looks at its own process"
)]

mod common;
#[path = "real_size/published.rs"]
mod published;
#[path = "real_size/weights.rs"]
mod weights;

use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use common::allocator::Counting;
use common::{difference, done, open, repository};
use hive::data::chat::{IMAGE, Message};
use hive::engine::answers::assistant::Options;
use hive::engine::answers::open::ModelFolder;
use hive::gpu::{Gpu, GpuOptions, Program};
use hive::model::decode::{Decoder, Prompt};
use hive::model::files::{Checkpoint, Folder, ModelSpec, Resolved, resolve};
use hive::model::load::{Formats, load};
use hive::model::memory::Plan;
use hive::model::model::{Model, Wiring};
use hive::model::weights::{HostTensors, parse};
use hive::nn::ParamSpec;
use hive::ops::packed::Format;
use hive::ops::sample::Settings;
use hive::platform::{block_on, folder_blobs, now_secs, read_file};
use serde_json::{Value, json};
use weights::{FINE, GRID};

/// Bytes that this program has from its allocator, and the most it ever had. A driver has memory of its own.
static NOW: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// What everything may take on the host.
const HOST: u64 = 256 << 20;
/// Rows of text: those of a picture, where it stands in the text, and some more.
const ROOM: usize = 640;
/// Tokens of the prompt.
const PROMPT: u32 = 40;
/// Tokens that are made.
const TOKENS: usize = 5;
/// Layers of a model that PyTorch computed too.
const DEPTH: usize = 2;

/// Says so where the test harness does not swallow it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// A device with the limits that every WebGPU device has; for one test at a time.
fn gpu() -> Option<MutexGuard<'static, Gpu>> {
    static GPU: OnceLock<Option<Mutex<Gpu>>> = OnceLock::new();
    let options = GpuOptions { default_limits: true, ..GpuOptions::default() };
    let gpu = GPU.get_or_init(|| open(&options).map(Mutex::new)).as_ref()?;
    Some(gpu.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How a model of real size is told: file name, and text tokens before the picture.
const SIZES: [(&str, usize); 3] = [("hive", 1), ("cascade", 14), ("smolvlm", 14)];

/// A folder with a model.
struct Size {
    name: &'static str,
    offset: usize,
    model: Arc<Model>,
    specs: Vec<ParamSpec>,
    checkpoint: Checkpoint,
    resolved: Resolved,
    _folder: weights::Folder,
}

impl Size {
    /// With `depth`: so many layers in tower and language model, and the last of them linked.
    fn write((name, offset): (&'static str, usize), depth: Option<usize>, levels: u32) -> Self {
        let mut config: Value = match name {
            "smolvlm" => published::config(),
            _ => {
                let text = read_file(&repository(&format!("tests/real_size/{name}.json"))).unwrap();
                serde_json::from_slice(&text).unwrap()
            }
        };
        if let Some(depth) = depth {
            config["vision_config"]["num_hidden_layers"] = json!(depth);
            config["text_config"]["num_hidden_layers"] = json!(depth);
            if config.get("link_config").is_some() {
                config["link_config"] = json!({ "vision_layers": [depth], "language_layers": [depth - 1] });
            }
        }
        let spec = ModelSpec::read(&config.to_string(), None).unwrap();
        let wiring = if spec.kind == Wiring::Linked { Wiring::Linked } else { Wiring::Flattened };
        let (model, specs) = Model::new(&spec.config, wiring);
        let written = weights::write(&format!("{name}-{levels}-{depth:?}"), &config, &specs, levels);
        let folder = Folder::new(folder_blobs(written.path()).unwrap()).unwrap();
        assert_eq!(block_on(ModelSpec::open(&folder)).unwrap(), spec);
        let checkpoint = block_on(Checkpoint::open(&folder)).unwrap();
        let resolved = resolve(&checkpoint, &specs, &spec.config.link_config.language_layers).unwrap();
        assert_eq!(resolved.extra, [""; 0]);
        Self { name, offset, model: Arc::new(model), specs, checkpoint, resolved, _folder: written }
    }

    /// A decoder; `tell` hears of every chunk that is loaded.
    fn decoder(&self, gpu: &Gpu, format: Format, mut tell: impl FnMut()) -> Decoder {
        let (specs, stacks) = (self.specs.clone(), self.model.stacks());
        let heard = |_| {
            tell();
            true
        };
        let formats = Formats::of(format);
        let params = block_on(load(gpu, &self.checkpoint, &self.resolved, specs, &stacks, formats, heard)).unwrap();
        block_on(Decoder::new(Arc::clone(&self.model), Arc::new(params), ROOM, true)).unwrap()
    }

    fn pixels(&self) -> Vec<f32> {
        let v = &self.model.config().vision_config;
        weights::pixels(v.num_channels * v.image_size * v.image_size)
    }

    /// Reads picture and text.
    fn begin(&self, decoder: &mut Decoder, pixels: &[f32]) {
        let ids = weights::ids(PROMPT, self.model.language_config().vocab_size);
        let prompt = Prompt { ids: &ids, pixels, offset: self.offset, rows: &[] };
        block_on(decoder.begin(prompt, &Settings::default())).unwrap();
    }

    /// Logits of the first token.
    fn logits(&self, decoder: &mut Decoder, pixels: &[f32]) -> Vec<f32> {
        self.begin(decoder, pixels);
        let made = block_on(decoder.next(1)).unwrap();
        let logits = block_on(decoder.logits()).unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(made[0].token as usize, best);
        logits
    }
}

/// Largest difference of logits from those of PyTorch. Where a format holds the weights exactly, rounding of f32 is all there
/// is. What quantising costs with weights between its steps was measured; half more is allowed.
fn tolerance(levels: u32, format: Format) -> f64 {
    match (levels, format) {
        (FINE, Format::Int8) => 0.025,
        (FINE, Format::Int4) => 0.33,
        _ => 2e-5,
    }
}

#[test]
fn logits_at_full_width_are_those_of_pytorch() {
    let Some(gpu) = gpu() else { return };
    let expected: HostTensors = parse(&read_file(&repository("tests/real_size/expect.safetensors")).unwrap()).unwrap();
    let [f32, f16, int8, int4] = Format::ALL;
    let runs: [(_, _, _, &[Format]); 6] = [
        (SIZES[0], GRID, "grid", &[f32, f16, int8, int4]),
        (SIZES[0], FINE, "fine", &[int8, int4]),
        (SIZES[1], GRID, "grid", &[f16, int8, int4]),
        (SIZES[1], FINE, "fine", &[int4]),
        (SIZES[2], GRID, "grid", &[f16, int8, int4]),
        (SIZES[2], FINE, "fine", &[int8, int4]),
    ];
    for (size, levels, kind, formats) in runs {
        let start = now_secs();
        let model = Size::write(size, Some(DEPTH), levels);
        let of = |what: &str| &expected[&format!("{}.{kind}.{what}", model.name)].values;
        let (want, seen) = (of("logits"), f64::from(of("other_picture")[0]));
        let stride = model.model.language_config().vocab_size / want.len();
        let pixels = model.pixels();
        say(&format!("{} {kind}: {DEPTH} layers written in {:.1} s", model.name, now_secs() - start));
        for &format in formats {
            let start = now_secs();
            let mut decoder = model.decoder(&gpu, format, || ());
            let got = model.logits(&mut decoder, &pixels);
            let some: Vec<f32> = got.iter().step_by(stride).copied().collect();
            let top = of("top").iter().map(|i| got[*i as usize]);
            let error = difference(&some, want).max(difference(&top.collect::<Vec<_>>(), of("top_logits")));
            let tolerance = tolerance(levels, format);
            say(&format!(
                "{} {kind} {}: logits off by {error:.1e} of the largest, {tolerance} allowed ({:.1} s)",
                model.name,
                format.name(),
                now_secs() - start
            ));
            assert!(error < tolerance, "{} {kind} {}: {error:.1e}", model.name, format.name());
            // Another picture changes far more.
            assert!(levels == FINE || seen > 1000.0 * tolerance, "{seen}");
        }
    }
    done(&gpu);
}

/// A line of this process' `/proc/self/status` in bytes, where the system has such a thing.
fn status(line: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))?;
    Some(found.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Sets its flag when it goes out of scope.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What `f` gives, and the most memory that the process had meanwhile, program and libraries included: its own, and what it
/// shares with others. A driver of the processor keeps buffers in the latter, or they cannot be told from the former.
fn watched<T>(f: impl FnOnce() -> T) -> (T, u64, u64) {
    let (over, own, shared) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let look = || {
        let bytes = |line| status(line).unwrap_or(0);
        own.fetch_max(bytes("RssAnon") + bytes("RssFile"), Ordering::Relaxed);
        shared.fetch_max(bytes("RssShmem"), Ordering::Relaxed);
    };
    let out = thread::scope(|scope| {
        // Also where `f` panics.
        let _end = End(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                look();
                thread::sleep(Duration::from_millis(5));
            }
        });
        f()
    });
    (out, own.into_inner(), shared.into_inner())
}

/// What a run took.
#[derive(Default)]
struct Taken {
    /// Most bytes from this program's allocator.
    host: u64,
    /// Most bytes of buffers on the device.
    gpu: Cell<u64>,
    /// Most bytes that the driver set aside for them.
    reserved: Cell<u64>,
}

impl Taken {
    fn look(&self, gpu: &Gpu) {
        self.gpu.set(self.gpu.get().max(gpu.allocated_bytes()));
        self.reserved.set(self.reserved.get().max(gpu.reserved_bytes().unwrap_or(0)));
    }
}

/// Loads, looks at a picture if there is one, and makes tokens, with the memory that all of it took.
fn run(size: &Size, gpu: &Gpu, format: Format, pixels: Option<&[f32]>) -> Taken {
    let mut taken = Taken::default();
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let start = now_secs();
    let mut decoder = size.decoder(gpu, format, || taken.look(gpu));
    let loaded = now_secs();
    if let Some(pixels) = pixels {
        size.begin(&mut decoder, pixels);
        block_on(gpu.finished()).unwrap();
    }
    let read = now_secs();
    if pixels.is_none() {
        // As if a token had been read, of which the caches know nothing.
        decoder.place(1);
    }
    let made = block_on(decoder.next(TOKENS)).unwrap();
    assert!(made.len() == TOKENS && made.iter().all(|m| m.probability > 0.0 && m.probability <= 1.0), "{made:?}");
    let end = now_secs();
    taken.look(gpu);
    assert!(block_on(decoder.logits()).unwrap().iter().all(|v| v.is_finite()));
    taken.host = (MOST.load(Ordering::Relaxed) - before) as u64;
    say(&format!(
        "{} {}: GPU {} MiB in buffers, {} MiB set aside; {} MiB from the host's allocator; load {:.1} s, picture and prompt {:.1} s, {:.2} s a token",
        size.name,
        format.name(),
        mib(taken.gpu.get()),
        mib(taken.reserved.get()),
        mib(taken.host),
        loaded - start,
        read - loaded,
        (end - read) / TOKENS as f64
    ));
    taken
}

/// A picture takes a CPU driver a minute: each model sees one in one format, and is loaded and decoded in all.
#[test]
fn models_of_real_size_fit_their_plans_and_the_host_holds_little() {
    let Some(gpu) = gpu() else { return };
    for size in &SIZES[..2] {
        let start = now_secs();
        let model = Size::write(*size, None, FINE);
        say(&format!("{}: written in {:.1} s", model.name, now_secs() - start));
        let pixels = model.pixels();
        for format in [Format::F16, Format::Int8, Format::Int4] {
            let plan = Plan::new(&model.model, &model.specs, &model.resolved, Formats::of(format), ROOM);
            let seen = if model.name == "hive" { Format::F16 } else { Format::Int4 };
            let (taken, own, shared) = watched(|| run(&model, &gpu, format, (format == seen).then_some(&pixels)));
            let (planned, got) = (plan.gpu() as f64, taken.gpu.get() as f64);
            say(&format!(
                "{} {}: planned {} MiB, {:.3} of that",
                model.name,
                format.name(),
                mib(plan.gpu()),
                got / planned
            ));
            assert!(got < 1.1 * planned && got > 0.8 * planned, "{got} bytes of {planned} planned");
            assert!(taken.host < HOST, "{} MiB of host memory", mib(taken.host));
            // Where the driver's buffers are in memory of another kind, all the rest of the process counts.
            if shared > taken.gpu.get() / 2 {
                say(&format!("{} {}: the process has {} MiB beside its buffers", model.name, format.name(), mib(own)));
                assert!(own < HOST, "{} MiB of host memory", mib(own));
            }
            assert!(taken.host < plan.host, "{} MiB of host memory, {} planned", mib(taken.host), mib(plan.host));
        }
    }
    done(&gpu);
}

/// The whole way of a photo, with the memory that the plan says. Five squares in f16, and one in the others; with
/// `HIVE_PHOTO=whole` one of 13 squares, for which a CPU driver needs a quarter of an hour.
#[test]
fn a_published_model_of_real_size_answers_about_a_photo_within_its_plan() {
    let Some(gpu) = gpu() else { return };
    let written = weights::Folder::new("smolvlm-256m");
    if !published::write(written.path()) {
        return;
    }
    let folder = Folder::new(folder_blobs(written.path()).unwrap()).unwrap();
    for format in [Format::F16, Format::Int8, Format::Int4] {
        let mut opened = block_on(ModelFolder::open(&folder)).unwrap();
        assert_eq!(opened.extra, [""; 0]);
        let formats = Formats::of(format);
        // What transformers makes of it: squares of 64 rows, and tags (`tests/fixtures-vlm/published.json`).
        let whole = std::env::var("HIVE_PHOTO").is_ok_and(|v| v == "whole");
        let ([width, height], squares, grid, rows) = match format {
            Format::F16 if whole => ([640, 480], 13, [3, 4], 862),
            Format::F16 => ([1200, 300], 5, [1, 4], 332),
            _ => ([640, 480], 1, [0, 0], 67),
        };
        if squares == 1 {
            opened.single();
        }
        let room = opened.room(None);
        let plan = opened.plan(formats, room);
        let mut taken = Taken::default();
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = now_secs();
        let tell = |_| {
            taken.look(&gpu);
            true
        };
        let mut assistant = block_on(opened.load(&gpu, formats, room, None, tell)).unwrap();
        taken.host = (MOST.load(Ordering::Relaxed) - before) as u64;
        let loaded = now_secs() - start;
        let picture = assistant.recipe().unwrap().picture(&published::photo(width, height), true);
        assert_eq!((picture.squares, picture.grid), (squares, grid));
        let pictures = [picture];
        let ask = |text: &str| [Message::new("user", text)];
        let marked = ask(&format!("{IMAGE}What is in this picture?"));
        let asked = assistant.tokens(&marked, &pictures).unwrap();
        let around = assistant.encode("<|im_start|>User:What is in this picture?<end_of_utterance>\nAssistant:").len();
        assert_eq!((asked.rows.len(), asked.ids.len() - around), (64 * squares, rows));
        let options = Options { limit: TOKENS, ..Options::default() };
        let reply = block_on(assistant.reply(&marked, &pictures, &options, |_| true)).unwrap();
        assert!(reply.tokens.iter().all(|m| m.probability > 0.0 && m.probability <= 1.0), "{reply:?}");
        assert!(block_on(assistant.decoder().logits()).unwrap().iter().all(|v| v.is_finite()));
        taken.look(&gpu);
        // The time of its parts by themselves.
        let run = |program: &Program| {
            let start = now_secs();
            program.run();
            block_on(gpu.finished()).unwrap();
            now_secs() - start
        };
        let square = run(assistant.decoder().image_program().unwrap());
        let piece = run(assistant.decoder_mut().prompt_program(384));
        let parts = squares as f64 * square + reply.prompt as f64 / 128.0 * piece;
        let (planned, got) = (plan.gpu() as f64, taken.gpu.get() as f64);
        say(&format!(
            "SmolVLM-256M {}: loaded in {loaded:.1} s; {squares} squares, {} rows, first token after {:.1} s ({:.2} of its parts: squares of {square:.1} s, pieces of 128 rows of {piece:.1} s), then {:.1} a second; GPU {} MiB, {:.3} of the plan; {} MiB from the host's allocator",
            format.name(),
            reply.prompt,
            reply.first_secs,
            reply.first_secs / parts,
            reply.rate(),
            mib(taken.gpu.get()),
            got / planned,
            mib(taken.host),
        ));
        assert!(got < 1.1 * planned && got > 0.8 * planned, "{got} bytes of {planned} planned");
        assert!(taken.host < HOST.min(plan.host), "{} MiB of host memory", mib(taken.host));
    }
    done(&gpu);
}

#[test]
#[ignore = "half a gigabyte that stays, for the page's test of the same: ./hive test full"]
fn the_page_has_a_published_model_of_real_size() {
    published::write(&repository("target/models/smolvlm-256m"));
}
