//! Everything that reads what comes from outside, on inputs that were changed at random: no panic, no hang, bounded memory.
//! `cargo test --test fuzz -- --cases N --seed N`; a case that fails is named, and `--only TARGET --case N` runs it alone.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "prints, and looks at the clock")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own that tells what it did")]

#[path = "../common/allocator.rs"]
mod allocator;
mod hub;
mod mutate;
mod seeds;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use allocator::Counting;
use hive::data::image::{counted_bytes, decode};
use hive::data::rng::Rng;
use targets::{TARGETS, Target, WRONG};

/// Cases where nothing else is said.
const CASES: u64 = 20_000;
/// A case that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);
/// Stack of the thread that runs the cases: that of the engine's thread.
const STACK: usize = 2 << 20;

/// Bytes in use, and the most there were since a case began.
static USED: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting(|bytes| {
    let used = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(used, Ordering::Relaxed);
});

/// The case in progress, and when it began in milliseconds since the start; 0: none.
static NOW: AtomicU64 = AtomicU64::new(0);
static SINCE: AtomicU64 = AtomicU64::new(0);
/// Where the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// What came of a target's cases.
#[derive(Default)]
struct Count {
    cases: u64,
    taken: u64,
    longest: Duration,
    most: i64,
}

struct Options {
    cases: u64,
    seed: u64,
    only: Option<String>,
    case: Option<u64>,
    /// The first case: a run that was ended goes on.
    from: u64,
    trace: bool,
}

fn options() -> Options {
    let mut options = Options { cases: CASES, seed: 1, only: None, case: None, from: 0, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("{word} needs a number"));
        match word.as_str() {
            "--cases" => options.cases = number(),
            "--seed" => options.seed = number(),
            "--from" => options.from = number(),
            "--case" => options.case = Some(number()),
            "--trace" => options.trace = true,
            "--only" => options.only = words.next(),
            // What cargo hands to every program of tests.
            _ => {}
        }
    }
    options
}

/// Ends the program where a case hangs: its thread cannot be stopped.
fn watch(start: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let since = SINCE.load(Ordering::Relaxed);
            let now = start.elapsed().as_millis() as u64;
            if since > 0 && now.saturating_sub(since) > LONGEST.as_millis() as u64 {
                let case = NOW.load(Ordering::Relaxed);
                println!("case {case} ({}) hangs", TARGETS[case as usize % TARGETS.len()].name);
                std::process::exit(1);
            }
        }
    });
}

/// Runs a case; what is wrong with it, in a sentence.
fn run(target: &Target, case: u64, seed: u64, start: Instant, count: &mut Count) -> Result<(), String> {
    let mut rng = Rng::new(seed, case);
    let input = target.input(&mut rng);
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let began = Instant::now();
    NOW.store(case, Ordering::Relaxed);
    SINCE.store((start.elapsed().as_millis() as u64).max(1), Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
    SINCE.store(0, Ordering::Relaxed);
    let (took, most) = (began.elapsed(), MOST.load(Ordering::Relaxed) - before);
    count.cases += 1;
    count.longest = count.longest.max(took);
    count.most = count.most.max(most);
    let allowed = target.memory + 64 * input.len() as i64;
    match outcome {
        Err(_) => Err(format!("panicked {}", PANIC.lock().unwrap_or_else(PoisonError::into_inner))),
        Ok(_) if most > allowed => Err(format!("took {most} bytes, {allowed} are allowed")),
        Ok(taken) => {
            count.taken += u64::from(taken);
            Ok(())
        }
    }
}

fn all(options: &Options, start: Instant) -> bool {
    let mut counts: Vec<Count> = TARGETS.iter().map(|_| Count::default()).collect();
    let mut wrong = Vec::new();
    let cases = options.case.map_or(options.from..options.cases, |case| case..case + 1);
    for case in cases {
        let i = case as usize % TARGETS.len();
        let target = &TARGETS[i];
        if options.only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        if options.trace {
            println!("case {case} ({})", target.name);
        }
        if let Err(what) = run(target, case, options.seed, start, &mut counts[i]) {
            println!("case {case} ({}): {what}", target.name);
            wrong.push(what);
        }
        if wrong.len() >= 100 {
            println!("the rest is left out");
            break;
        }
    }
    println!("{:<14}{:>10}{:>10}{:>14}{:>14}", "target", "cases", "taken", "longest, ms", "most, kB");
    for (target, c) in TARGETS.iter().zip(&counts) {
        let (longest, most) = (c.longest.as_millis(), c.most / 1000);
        println!("{:<14}{:>10}{:>10}{longest:>14}{most:>14}", target.name, c.cases, c.taken);
        // Mutations that nothing takes reach nothing behind the first check.
        assert!(c.cases < 500 || c.taken > 0, "{}: nothing is taken", target.name);
    }
    println!("{} wrong, seed {}, {:.0} s", wrong.len(), options.seed, start.elapsed().as_secs_f64());
    wrong.is_empty()
}

/// A grey JPEG file that has its three channels one after the other, each in a pass of its own.
fn channel_by_channel(side: u16) -> Vec<u8> {
    let part = |mark: u8, body: &[u8]| [&[0xff, mark], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat();
    let size = side.to_be_bytes();
    let frame = [&[8], &size[..], &size, &[3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]].concat();
    // Codes of one bit: no change of the mean, and nothing else in a block.
    let codes = |class: u8| [&[class, 1][..], &[0; 15], &[0]].concat();
    let blocks = usize::from(side / 8) * usize::from(side / 8);
    let pass = |channel: u8| [part(0xda, &[1, channel, 0, 0, 63, 0]), vec![0; blocks * 2 / 8]].concat();
    let tables = [part(0xdb, &[&[0][..], &[1; 64]].concat()), part(0xc4, &codes(0)), part(0xc4, &codes(0x10))].concat();
    [vec![0xff, 0xd8], tables, part(0xc0, &frame), pass(1), pass(2), pass(3), vec![0xff, 0xd9]].concat()
}

/// Bytes that decoding takes for each pixel, by kind: what limits the size of a picture has to count them all.
fn pictures_take_what_is_counted() -> bool {
    let side: u32 = 1600;
    let png = |picture: image::DynamicImage, format| {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap_or_else(|e| panic!("{e}"));
        file.into_inner()
    };
    let stored = |name: &str| {
        let path = format!("{}/tests/field/data/large-pictures/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap_or_else(|e| panic!("{e}"))
    };
    use image::DynamicImage as Of;
    use image::ImageFormat::{Jpeg, Png, WebP};
    let kinds: [(&str, Vec<u8>); 13] = [
        ("grey", png(Of::new_luma8(side, side), Png)),
        ("colour", png(Of::new_rgb8(side, side), Png)),
        ("with transparency", png(Of::new_rgba8(side, side), Png)),
        ("16 bits", png(Of::new_rgba16(side, side), Png)),
        ("jpeg", png(Of::new_rgb8(side, side), Jpeg)),
        ("progressive jpeg", stored("progressive-420.jpg")),
        ("progressive jpeg, whole", stored("progressive-444.jpg")),
        ("jpeg, channel by channel", channel_by_channel(side as u16)),
        ("webp", png(Of::new_rgb8(side, side), WebP)),
        ("webp with losses", stored("lossy.webp")),
        ("webp with losses and transparency", stored("lossy-transparent.webp")),
        ("webp with transparency", stored("lossless-transparent.webp")),
        ("moving webp", stored("animated.webp")),
    ];
    let mut fine = true;
    for (name, file) in kinds {
        let each = counted_bytes(&file).unwrap_or(0) as i64;
        let before = USED.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let decoded = decode(&file, name, Some([255; 3]));
        let most = MOST.load(Ordering::Relaxed) - before;
        // The decoder's own tables, and a copy of the file.
        let allowed = each * i64::from(side * side) + file.len() as i64 + 1_500_000;
        if decoded.is_err() || most > allowed {
            println!("a {name} picture takes {most} bytes, {allowed} are counted");
            fine = false;
        }
    }
    fine
}

fn main() {
    let (options, start) = (options(), Instant::now());
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let what: String = info.to_string().lines().skip(1).collect::<Vec<_>>().join(" ").chars().take(200).collect();
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = format!("at {place}: {what}");
    }));
    watch(start);
    // A check that notices nothing is none.
    for target in &WRONG {
        let noticed = run(target, 0, 1, start, &mut Count::default()).is_err();
        assert!(noticed, "{} goes unnoticed", target.name);
    }
    // Made outside of any case: what they take is not counted.
    for target in &TARGETS {
        (target.seeds)();
    }
    let counted = pictures_take_what_is_counted();
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || all(&options, start));
    let fine = counted & thread.unwrap().join().unwrap_or(false);
    std::process::exit(i32::from(!fine));
}
