//! `hive study`: the comparison behind HIVE's claim, repeatable and resumable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::fault::Fault;
use super::output::say;
use super::progress::Steps;
use super::shared::{find_preset, load, open_gpu, read, write};
use super::study_report::{self, Study, trained};
use crate::engine::assets::made_source;
use crate::gpu::Gpu;
use crate::model::weights::Precision;
use crate::nn::params::Weights;
use crate::platform::{self, block_on};
use crate::train::recipe::Preset;
use crate::train::study::{Arm, Bench, Settings, StudyError, UNTOUCHED, arms};
use crate::train::trainer::Report;

const HELP: &str = "\
hive study [--preset NAME|FILE] [--start NAME|FILE] [--out FOLDER] [--seeds LIST] [--arms LIST] [--questions N]
           [--steps N] [--set KEY=VALUE]... [--quick]

What HIVE claims, at a size that runs here: links at several depths, in both orders, against every single depth and against the
flattened control (with as many trained parameters, and as published), with the same data, seeds, steps and stages; learning
rates are chosen for each alike, by questions of a validation part. Then each tower is judged by a vision-language model in
LLaVA's wiring that a fresh language model learns on it, and by probes; links are cut, and parts of the method taken away.
Writes OUT/study.json (default OUT: study) after each piece of work, and goes on from there; OUT/report.html opens offline.
--seeds: default 1,2,3. --arms: some of them, by name and separated by semicolons; what is taken away is tried with the first
seed. --quick: one seed, short stages, few arms, no choice of rates: minutes, to see what comes; its numbers say little.
";

/// Longest stages, and arms, of a quick study.
const QUICK_STEPS: [u64; 3] = [90, 120, 90];
const QUICK_ARMS: [&str; 4] = ["deep first", "paper", "depth 4", "flattened"];

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "start", "out", "seeds", "arms", "questions", "steps", "set"];
    let Some(args) = Args::or_help(list, &options, &["quick"], HELP)? else { return Ok(()) };
    let quick = args.flag("quick");
    let mut preset = find_preset(&args, "grounds")?;
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
    let gpu = open_gpu(&args)?;
    let adapter = format!("{} ({})", gpu.summary.name, gpu.summary.driver);
    let fresh = Study {
        preset,
        settings,
        seeds,
        quick,
        adapter,
        tuning: BTreeMap::new(),
        outcomes: Vec::new(),
        untouched: Vec::new(),
    };
    let mut study = kept(&out, fresh)?;
    work(&gpu, &start, &chosen, &mut study, &out)?;
    let page = study_report::html(&study, &chosen, &study_report::looks(&gpu, &out, &study, &start)?);
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
struct Telling(std::cell::RefCell<Option<(String, Steps)>>);

impl Telling {
    fn hear(&self, title: &str, steps: u64, report: &Report) {
        let mut now = self.0.borrow_mut();
        if now.as_ref().is_none_or(|(t, _)| t != title) {
            *now = Some((title.to_owned(), Steps::new(title.to_owned(), steps)));
        }
        if let Some((_, line)) = now.as_mut() {
            line.show(report);
            if report.update == steps {
                line.end("");
            }
        }
    }
}

/// All that is not done yet; after each piece the file is written.
fn work(gpu: &Gpu, start: &Weights, chosen: &[Arm], study: &mut Study, out: &Path) -> Result<(), Fault> {
    let telling = Telling(std::cell::RefCell::new(None));
    made_source(&study.preset)?;
    let settings = study.settings.clone();
    let bench = Bench {
        gpu,
        start,
        settings: &settings,
        source: &|preset| made_source(preset).unwrap_or_else(|e| unreachable!("made before: {e}")),
        tell: &|title, steps, report| telling.hear(title, steps, report),
    };
    let first = study.seeds.first().copied().unwrap_or(1);
    for arm in chosen.iter().filter(|a| a.compared) {
        if settings.rates.len() > 1 && !study.tuning.contains_key(&arm.name) {
            study.tuning.insert(arm.name.clone(), block_on(bench.tune(arm, first))?);
            save(study, out)?;
        }
    }
    for seed in study.seeds.clone() {
        for arm in chosen.iter().filter(|a| a.compared || seed == first) {
            if study.outcomes.iter().any(|o| o.arm == arm.name && o.seed == seed) {
                continue;
            }
            let (outcome, model) = block_on(bench.outcome(arm, seed, rate(study, arm)))?;
            let specs = crate::model::model::Model::new(&model.meta.model, model.meta.preset.wiring).1;
            write(&trained(out, &arm.name, seed), &model.to_bytes(&specs, Precision::F16)?)?;
            study.outcomes.push(outcome);
            save(study, out)?;
        }
        if study.untouched.iter().all(|(s, _)| *s != seed) {
            let preset = Preset { seed, ..study.preset.clone() };
            let judged = block_on(bench.judge(&preset, start, &format!("{UNTOUCHED} {seed}")))?;
            study.untouched.push((seed, judged));
            save(study, out)?;
        }
    }
    Ok(())
}

/// The factor that served the arm best; what is taken away keeps that of the reference.
fn rate(study: &Study, arm: &Arm) -> f64 {
    let tried = study.tuning.get(&arm.name).or_else(|| study.tuning.get(crate::train::study::REFERENCE));
    tried.and_then(|t| t.iter().max_by(|a, b| a.1.total_cmp(&b.1))).map_or(1.0, |t| t.0)
}

fn save(study: &Study, out: &Path) -> Result<(), Fault> {
    write(&file(out), serde_json::to_string_pretty(study).map_err(Fault::failed)?.as_bytes())
}
