//! `hive study`: the comparison behind HIVE's claim, repeatable and resumable.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::args::Args;
use super::fault::Fault;
use super::output::{say, warn};
use super::progress::Steps;
use super::shared::{claim, ended, find_preset, load, open_gpu, read, stop_if_asked, write};
use super::study_report::{self, Study, trained};
use crate::engine::assets::{FIRST, made_source};
use crate::gpu::Gpu;
use crate::model::weights::Precision;
use crate::nn::params::Weights;
use crate::platform::{self, block_on, now_secs, watch_signals};
use crate::train::recipe::Preset;
use crate::train::study::{Arm, Bench, Settings, StudyError, UNTOUCHED, arms};
use crate::train::trainer::Report;

const HELP: &str = "\
hive study [--preset NAME|FILE] [--start NAME|FILE] [--out FOLDER] [--seeds LIST] [--arms LIST] [--questions N]
           [--steps N] [--set KEY=VALUE]... [--jobs N] [--quick]

What HIVE claims, at a size that runs here: links at several depths, in both orders, against every single depth and against the
flattened control (with as many trained parameters, and as published), with the same data, seeds, steps and stages; learning
rates are chosen for each alike, by questions of a validation part. Then each tower is judged by a vision-language model in
LLaVA's wiring that a fresh language model learns on it, and by probes; links are cut, and parts of the method taken away.
Writes OUT/study.json (default OUT: study) after each piece of work, and goes on from there, also after Ctrl-C; OUT/report.html
opens offline.
--seeds: default 1,2,3. --arms: some of them, by name and separated by semicolons; what is taken away is tried with the first
seed. --jobs: pieces of work at a time, each on a device of its own (default 1). It changes no result but the times of steps. On
llvmpipe, LP_NUM_THREADS=1 and a job for each core end sooner. --quick: one seed, short stages, few arms, no choice of
rates: minutes, to see what comes; its numbers say little.
";

/// Longest stages, and arms, of a quick study.
const QUICK_STEPS: [u64; 3] = [90, 120, 90];
const QUICK_ARMS: [&str; 4] = ["deep first", "paper", "depth 4", "flattened"];

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "start", "out", "seeds", "arms", "questions", "steps", "set", "jobs"];
    let Some(args) = Args::or_help(list, (0, &options), &["quick"], HELP)? else { return Ok(()) };
    let quick = args.flag("quick");
    let mut preset = find_preset(&args, FIRST)?;
    if quick {
        for (stage, recipe) in &mut preset.stages {
            recipe.steps = recipe.steps.min(QUICK_STEPS[stage.number() - 1]);
        }
    }
    let start = load(args.option("start").unwrap_or("grounds-start"))?.weights;
    let out = PathBuf::from(args.option("out").unwrap_or("study"));
    let seeds = seeds(args.option("seeds").unwrap_or(if quick { "1" } else { "1,2,3" }))?;
    let settings = Settings {
        questions: args.number("questions")?.unwrap_or(if quick { 200 } else { 500 }),
        rates: if quick { vec![1.0] } else { vec![0.5, 1.0, 2.0] },
        tried: 0.25,
        probes: if quick { vec!["link".into()] } else { ["link", "attentive", "linear"].map(String::from).into() },
    };
    let mut chosen = arms(&preset).map_err(StudyError::from)?;
    match args.option("arms") {
        Some(list) => chosen = only(chosen, &list.split(';').map(str::trim).collect::<Vec<_>>())?,
        None if quick => chosen.retain(|a| QUICK_ARMS.contains(&a.name.as_str())),
        None => {}
    }
    let jobs = args.number("jobs")?.unwrap_or(1);
    if jobs == 0 {
        return Err(Fault::usage("--jobs needs 1 or more"));
    }
    let _claim = claim(&out)?;
    let gpus = (0..jobs).map(|_| open_gpu(&args)).collect::<Result<Vec<Gpu>, Fault>>()?;
    let gpu = &gpus[0];
    let adapter = format!("{} ({})", gpu.summary.name, gpu.summary.driver);
    let fresh = Study {
        preset,
        settings,
        seeds,
        quick,
        adapter,
        jobs: Some(1),
        tuning: BTreeMap::new(),
        outcomes: Vec::new(),
        untouched: Vec::new(),
    };
    let mut study = kept(&out, fresh)?;
    watch_signals();
    if let Err(fault) = work(&gpus, &start, &chosen, &mut study, &out) {
        let kept = if file(&out).exists() { "what is done is kept" } else { "nothing is done yet" };
        stop_if_asked(|| Ok(format!("stopped: {kept} in {}. The same command goes on", file(&out).display())))?;
        return Err(fault);
    }
    let page = study_report::html(&study, &chosen, &study_report::looks(gpu, &out, &study, &start)?);
    write(&out.join("report.html"), page.as_bytes())?;
    say(&study_report::text(&study, &chosen));
    say(&format!("\nreport: {}, numbers: {}\n", out.join("report.html").display(), file(&out).display()));
    Ok(())
}

fn file(out: &Path) -> PathBuf {
    out.join("study.json")
}

fn seeds(list: &str) -> Result<Vec<u64>, Fault> {
    let parse = |s: &str| s.trim().parse().map_err(|_e| Fault::usage(format!("--seeds needs numbers, not \"{list}\"")));
    list.split(',').map(parse).collect()
}

fn only(all: Vec<Arm>, names: &[&str]) -> Result<Vec<Arm>, Fault> {
    if let Some(name) = names.iter().find(|n| all.iter().all(|a| a.name != **n)) {
        let known: Vec<&str> = all.iter().map(|a| a.name.as_str()).collect();
        return Err(Fault::usage(format!("no arm called \"{name}\". Arms: {}", known.join("; "))));
    }
    Ok(all.into_iter().filter(|a| names.contains(&a.name.as_str())).collect())
}

/// The study that the folder holds, if it is this one; a study that is new there otherwise.
fn kept(out: &Path, fresh: Study) -> Result<Study, Fault> {
    let path = file(out);
    if !platform::list_folder(out).is_ok_and(|names| names.iter().any(|n| n == "study.json")) {
        return Ok(fresh);
    }
    let parse = |bytes: Vec<u8>| serde_json::from_slice::<Study>(&bytes).map_err(|e| e.to_string());
    let held = parse(read(&path)?).map_err(|e| {
        Fault::Failed(format!("{} is no study ({e}); choose another folder with --out", path.display()))
    })?;
    if held.preset != fresh.preset || held.settings != fresh.settings || held.quick != fresh.quick {
        return Err(Fault::Failed(format!(
            "{} holds a study of another preset or with other settings; choose another folder with --out",
            path.display()
        )));
    }
    // More seeds than before are more of the same.
    Ok(Study { seeds: fresh.seeds, ..held })
}

/// A line for what is trained, as long as it is.
struct Telling {
    now: RefCell<Option<(String, Steps)>>,
    jobs: usize,
}

impl Telling {
    fn hear(&self, title: &str, steps: u64, report: &Report) {
        let mut now = self.now.borrow_mut();
        if now.as_ref().is_none_or(|(t, _)| t != title) {
            *now = Some((title.to_owned(), Steps::beside(title.to_owned(), steps, self.jobs)));
        }
        if let Some((_, line)) = now.as_mut() {
            line.show(report);
            if report.update == steps {
                line.end("");
            }
        }
    }
}

/// Work that is done in one go, and then kept.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Rates(&'a Arm),
    Outcome(&'a Arm, u64),
    /// The tower before any stage, judged with this seed.
    Untouched(u64),
}

impl Piece<'_> {
    /// As the lines about its training begin.
    fn title(self) -> String {
        match self {
            Self::Rates(arm) => format!("{}, rates", arm.name),
            Self::Outcome(arm, seed) => format!("{} {seed}", arm.name),
            Self::Untouched(seed) => format!("{UNTOUCHED} {seed}"),
        }
    }
}

/// What those who work share.
struct Desk<'a> {
    start: &'a Weights,
    settings: Settings,
    preset: Preset,
    /// The seed of what is tried once.
    first: u64,
    out: &'a Path,
    /// Pieces at a time.
    jobs: usize,
    study: Mutex<&'a mut Study>,
}

/// All that is not done yet, a piece on each device at a time; after each piece the file is written.
fn work(gpus: &[Gpu], start: &Weights, chosen: &[Arm], study: &mut Study, out: &Path) -> Result<(), Fault> {
    made_source(&study.preset)?;
    let first = study.seeds.first().copied().unwrap_or(1);
    let compared = || chosen.iter().filter(|a| a.compared);
    let rates = compared().filter(|a| study.settings.rates.len() > 1 && !study.tuning.contains_key(&a.name));
    let rates: Vec<Piece<'_>> = rates.map(Piece::Rates).collect();
    let mut rest = Vec::new();
    for &seed in &study.seeds {
        let arms = chosen.iter().filter(|a| a.compared || seed == first);
        let left = arms.filter(|a| study.outcomes.iter().all(|o| (&o.arm, o.seed) != (&a.name, seed)));
        rest.extend(left.map(|arm| Piece::Outcome(arm, seed)));
        rest.extend(study.untouched.iter().all(|(s, _)| *s != seed).then_some(Piece::Untouched(seed)));
    }
    let jobs = gpus.len();
    if !rest.is_empty() {
        study.jobs = study.jobs.map(|before| before.max(jobs));
    }
    let (settings, preset) = (study.settings.clone(), study.preset.clone());
    let desk = Desk { start, settings, preset, first, out, jobs, study: Mutex::new(study) };
    // Rates first: what is taken away keeps those of the reference.
    desk.all(gpus, rates)?;
    desk.all(gpus, rest)
}

impl<'a> Desk<'a> {
    fn all(&self, gpus: &[Gpu], pieces: Vec<Piece<'_>>) -> Result<(), Fault> {
        let left = Mutex::new(pieces.into_iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = |gpu: &Gpu| -> Result<(), Fault> {
            while let Some(piece) = next() {
                if let Err(fault) = self.told(gpu, piece) {
                    // What failed here would fail there, hours later: the others end what they are at.
                    while next().is_some() {}
                    return Err(fault);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = gpus.iter().map(|gpu| scope.spawn(|| work(gpu))).collect();
            workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// A piece; where lines of several mix, one says that it begins and one how it ended.
    fn told(&self, gpu: &Gpu, piece: Piece<'_>) -> Result<(), Fault> {
        let (title, began) = (piece.title(), now_secs());
        let tell = |text: &str| {
            if self.jobs > 1 {
                warn(&format!("{title}: {text}\n"));
            }
        };
        tell("begins");
        let done = self.piece(gpu, piece);
        match &done {
            Ok(()) => tell(&format!("done after {:.0} s", now_secs() - began)),
            Err(_) if ended().is_some() => tell("stopped"),
            Err(_) => tell("failed; the others end what they are at"),
        }
        done
    }

    fn study(&self) -> MutexGuard<'_, &'a mut Study> {
        self.study.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn piece(&self, gpu: &Gpu, piece: Piece<'_>) -> Result<(), Fault> {
        let telling = Telling { now: RefCell::new(None), jobs: self.jobs };
        let bench = Bench {
            gpu,
            start: self.start,
            settings: &self.settings,
            source: &|preset| made_source(preset).unwrap_or_else(|e| unreachable!("made before: {e}")),
            tell: &|title, steps, report| telling.hear(title, steps, report),
            ended: &|| ended().is_some(),
        };
        match piece {
            Piece::Rates(arm) => {
                let found = block_on(bench.tune(arm, self.first))?;
                self.study().tuning.insert(arm.name.clone(), found);
            }
            Piece::Outcome(arm, seed) => {
                let rate = rate(&self.study(), arm);
                let (outcome, model) = block_on(bench.outcome(arm, seed, rate))?;
                let specs = crate::model::model::Model::new(&model.meta.model, model.meta.preset.wiring).1;
                write(&trained(self.out, &arm.name, seed), &model.to_bytes(&specs, Precision::F16)?)?;
                self.study().outcomes.push(outcome);
            }
            Piece::Untouched(seed) => {
                let preset = Preset { seed, ..self.preset.clone() };
                let judged = block_on(bench.judge(&preset, self.start, &format!("{UNTOUCHED} {seed}")))?;
                self.study().untouched.push((seed, judged));
            }
        }
        // The same order whoever ends first.
        let mut study = self.study();
        study.outcomes.sort_by_key(|o| o.seed);
        study.untouched.sort_by_key(|(seed, _)| *seed);
        save(&study, self.out)
    }
}

/// The factor that served the arm best; what is taken away keeps that of the reference.
fn rate(study: &Study, arm: &Arm) -> f64 {
    let tried = study.tuning.get(&arm.name).or_else(|| study.tuning.get(crate::train::study::REFERENCE));
    tried.and_then(|t| t.iter().max_by(|a, b| a.1.total_cmp(&b.1))).map_or(1.0, |t| t.0)
}

fn save(study: &Study, out: &Path) -> Result<(), Fault> {
    write(&file(out), serde_json::to_string_pretty(study).map_err(Fault::failed)?.as_bytes())
}
