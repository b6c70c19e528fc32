//! `hive train`: the three stages of a preset, on generated data or a folder, resumable.

use std::path::{Path, PathBuf};

use super::args::Args;
use super::fault::Fault;
use super::folder::folder_source;
use super::output::{outlive_readers, say, warn};
use super::progress::Steps;
use super::report::{FolderPage, StageCurves};
use super::shared::{
    checkpoint, claim, ended, find_preset, keep_earlier, open_gpu, resumed, save, stop_if_asked, write,
};
use crate::engine::assets::{self, FIRST, made_source};
use crate::gpu::Gpu;
use crate::model::weights::Precision;
use crate::nn::params::Weights;
use crate::platform::{self, block_on, now_secs, watch_signals};
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::{Label, Picture, Scores};
use crate::train::pretrain::Reader;
use crate::train::recipe::Preset;
use crate::train::run::Run;
use crate::train::source::Source;
use crate::train::stage::Stage;
use crate::train::trainer::Report;

const HELP: &str = "\
hive train [--preset NAME|FILE] [--data FOLDER] [--out FOLDER] [--set KEY=VALUE]... [--links WHICH] [--stage N]...
           [--steps N] [--save-every N] [--resume FILE] [--start FILE] [--f16] [--questions N] [--force] [--kill-after N]

Trains the stages of a preset one after the other and writes OUT/checkpoint.safetensors (default OUT: out) every
--save-every steps (default 200), at least every half minute, and at the end of each stage, also while the text of a folder is
read. Ctrl-C ends it after the step, saved; a second one at once. A checkpoint of another run in OUT is replaced with --force alone. --resume goes on from such a
file, bit for bit, with its own preset, seed and steps. --data takes
a folder with a LLaVA conversation list (*.json or *.jsonl) and pictures, or such a list. --set changes one key of the preset, as in
--set stages.1.1.learning_rate=0.001. --links says which depth of the tower each linked layer reads: paper (shallow states to
early layers), deep-first, last, or a list such as 1,2,3,4. --stage runs only the stages named, --steps cuts each to N steps.
--f16 writes the final weights alone, in half precision. --questions is how many held-out questions are asked after each
stage (default 500). Of a folder, OUT/report.html has the scores, the curves and what of the data is left out. --kill-after
stops after N steps without saving, as a crash would, to try --resume.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = [
        "preset",
        "data",
        "out",
        "set",
        "links",
        "stage",
        "steps",
        "save-every",
        "resume",
        "start",
        "questions",
        "kill-after",
    ];
    let Some(args) = Args::or_help(list, (0, &options), &["f16", "force"], HELP)? else { return Ok(()) };
    let out = PathBuf::from(args.option("out").unwrap_or("out"));
    let path = out.join("checkpoint.safetensors");
    let resumed = resumed(&args)?;
    let same = |other: &Path| platform::real_path(other).ok() == platform::real_path(&path).ok();
    if path.exists() && !args.flag("force") && !resumed.is_some_and(same) {
        return Err(Fault::Failed(format!(
            "{0} is there, of an earlier run. Go on with it (--resume {0}), choose another --out, or replace it with --force",
            path.display()
        )));
    }
    // Before the folder is made: what cannot begin leaves none.
    let earlier = resumed.map(checkpoint).transpose()?;
    let mut preset = match &earlier {
        Some(earlier) => earlier.meta.preset.clone(),
        // A folder is of any colour; the tower of the first preset learned its names without.
        None => find_preset(&args, if args.option("data").is_some() { "pictures" } else { FIRST })?,
    };
    let _claim = claim(&out)?;
    watch_signals();
    outlive_readers();
    let start = match (&earlier, args.option("start")) {
        (None, Some(path)) => Some(checkpoint(Path::new(path))?),
        (None, None) if preset.data != "folder" => Some(block_on(assets::model(&format!("{}-start", preset.data)))?),
        _ => None,
    };
    // Before the GPU: what pictures take while they are decoded and what a driver takes are never taken at once.
    let source = match args.option("data") {
        Some(folder) => folder_source(folder, &mut preset, earlier.as_ref().map(|e| &e.meta))?,
        None if preset.data == "folder" => {
            return Err(Fault::usage("the run learns from a folder of pictures: give it again, with --data FOLDER"));
        }
        None => made_source(&preset)?,
    };
    let gpu = open_gpu(&args)?;
    let mut job = Job {
        path,
        every: args.number("save-every")?.unwrap_or(200),
        questions: args.number("questions")?.unwrap_or(500),
        json: args.flag("json"),
        again: ["out", "data"].iter().filter_map(|o| Some(format!(" --{o} {}", args.option(o)?))).collect(),
        kill_after: args.number("kill-after")?,
        curves: Vec::new(),
        adapter: format!("{} ({})", gpu.summary.name, gpu.summary.driver),
        report: out.join("report.html"),
    };
    let began = now_secs();
    if earlier.is_none() && source.left_out.is_some() {
        keep_earlier(&job.report)?;
    }
    let mut run = match earlier {
        Some(earlier) => resume(&gpu, earlier, preset, source, &job)?,
        None => begin(&gpu, preset, source, start, &job)?,
    };
    stages(&args, &mut run, &mut job)?;
    if args.flag("f16") {
        let mut checkpoint = block_on(run.checkpoint())?;
        checkpoint.moments = Default::default();
        write(&job.path, &checkpoint.to_bytes(&run.specs(), Precision::F16)?)?;
    }
    finish(&run, &job, began)
}

/// Says what of the data was left out, again, and writes the page of a training on a folder.
fn finish(run: &Run, job: &Job, began: f64) -> Result<(), Fault> {
    // Said before the first step, too, which is far up by now.
    let notes = run.source.said();
    notes.iter().for_each(|note| warn(&format!("{note}\n")));
    if job.json && !notes.is_empty() {
        say(&format!("{}\n", serde_json::json!({"notes": notes, "left_out": run.source.left_out})));
    }
    if let Some(left_out) = &run.source.left_out {
        let (secs, curves) = (now_secs() - began, job.curves.as_slice());
        let page = FolderPage { adapter: job.adapter.clone(), secs, run, curves, notes, left_out };
        write(&job.report, page.html().as_bytes())?;
        say(&format!("wrote {}\n", job.report.display()));
    }
    say(&format!("wrote {}\n", job.path.display()));
    Ok(())
}

/// Seconds after which a step is saved that no multiple of `--save-every` is.
const SAVE_SECS: f64 = 30.0;

struct Job {
    path: PathBuf,
    every: u64,
    questions: usize,
    json: bool,
    /// Further words of the command that goes on.
    again: String,
    /// Stop without saving after so many steps: what a crash would do (tests of resuming).
    kill_after: Option<u64>,
    /// Losses of the stages so far, for the report.
    curves: Vec<StageCurves>,
    adapter: String,
    report: PathBuf,
}

impl Job {
    /// How it goes on from what is saved.
    fn again(&self) -> String {
        format!("stopped, and saved. Go on with: hive train --resume {}{}", self.path.display(), self.again)
    }
}

fn begin(gpu: &Gpu, preset: Preset, source: Source, start: Option<Checkpoint>, job: &Job) -> Result<Run, Fault> {
    // A folder has words of its own: of the start weights only the tower can serve.
    let folder = source.dataset().is_none();
    let keep = |name: &String| !folder || name.starts_with("vision_model.");
    let mut weights: Weights =
        start.map_or_else(Default::default, |c| c.weights.into_iter().filter(|(n, _)| keep(n)).collect());
    if folder {
        weights = read_captions(gpu, &preset, &source, weights, None, job)?;
    }
    Ok(Run::new(gpu, preset, source, &weights)?)
}

/// Steps of language pre-training on a folder's own text.
const CAPTION_STEPS: u64 = 300;

/// The stages never train embeddings, so a language model for a folder's words first reads the folder's text alone. Saved as a
/// checkpoint before all stages, with the tower that they begin with; gives both.
fn read_captions(
    gpu: &Gpu,
    preset: &Preset,
    source: &Source,
    mut weights: Weights,
    earlier: Option<&Checkpoint>,
    job: &Job,
) -> Result<Weights, Fault> {
    let Some(mut recipe) = preset.pretrain_language.clone() else { return Ok(weights) };
    recipe.steps = CAPTION_STEPS.min(preset.stages.iter().map(|(_, r)| r.steps).sum());
    let mut reader = Reader::new(gpu, preset, source, &recipe)?;
    earlier.map_or(Ok(()), |earlier| reader.go_on(earlier))?;
    let mut progress = Steps::new("language model, text alone".into(), recipe.steps);
    let mut saved = now_secs();
    while reader.updates() < recipe.steps {
        progress.show(&block_on(reader.step(source)).map_err(Fault::Failed)?);
        if now_secs() - saved > SAVE_SECS || ended().is_some() {
            let mut made = block_on(reader.checkpoint(preset, source))?;
            made.weights.extend(weights.clone());
            write(&job.path, &made.to_bytes(&made.specs(), Precision::F32)?)?;
            saved = now_secs();
        }
        stop_if_asked(|| Ok(job.again()))?;
    }
    progress.end("");
    weights.extend(block_on(reader.weights())?);
    Ok(weights)
}

fn resume(gpu: &Gpu, mut earlier: Checkpoint, preset: Preset, source: Source, job: &Job) -> Result<Run, Fault> {
    // With moments before all stages: it was stopped while it read.
    if earlier.meta.stage.is_some() || earlier.moments.0.is_empty() {
        return Ok(Run::resume(gpu, earlier, source)?);
    }
    if source.dataset().is_some() {
        let help = "Go on with: hive pretrain vision, or language, with --resume and this file";
        return Err(Fault::Failed(format!("this is a pre-training that was stopped, and no run. {help}")));
    }
    let mut tower = std::mem::take(&mut earlier.weights);
    let language = tower.extract_if(.., |name, _| !name.starts_with("vision_model.")).collect();
    earlier.weights = language;
    let weights = read_captions(gpu, &preset, &source, tower, Some(&earlier), job)?;
    Ok(Run::new(gpu, preset, source, &weights)?)
}

fn stages(args: &Args, run: &mut Run, job: &mut Job) -> Result<(), Fault> {
    let wanted: Vec<usize> = args
        .all("stage")
        .map(|v| v.parse().map_err(|_unparsed| Fault::usage(format!("--stage needs 1, 2 or 3, not \"{v}\""))))
        .collect::<Result<_, _>>()?;
    let there: Vec<usize> = Stage::ALL.iter().filter(|s| run.preset.stage(**s).is_some()).map(|s| s.number()).collect();
    if let Some(other) = wanted.iter().find(|n| !there.contains(n)) {
        return Err(Fault::usage(format!("--stage {other} is none of the preset's stages, which are {there:?}")));
    }
    if there.is_empty() {
        return Err(Fault::usage("the preset has no stages, so that there is nothing to train"));
    }
    let done = run.stage();
    let in_progress = run.in_progress();
    let mut trained = false;
    for stage in Stage::ALL {
        let over = done.is_some_and(|d| stage < d) || done == Some(stage) && in_progress.is_none();
        if over || run.preset.stage(stage).is_none() || !(wanted.is_empty() || wanted.contains(&stage.number())) {
            continue;
        }
        trained = true;
        if in_progress != Some(stage) {
            block_on(run.enter(stage))?;
        }
        stage_loop(run, stage, job)?;
        block_on(run.leave())?;
        let scores = block_on(run.evaluate(Picture::Own, job.questions))?;
        say(&format!("stage {}: {}\n", stage.number(), line(&scores)));
        // Of nothing no share is kept, which others would read as none of all.
        if scores.all.of > 0 {
            run.scores.push((Label::after(stage), scores));
        }
        save(run, &job.path)?;
        stop_if_asked(|| Ok(job.again()))?;
    }
    if !trained {
        warn("nothing was trained: the run has these stages behind it already\n");
    }
    Ok(())
}

fn stage_loop(run: &mut Run, stage: Stage, job: &mut Job) -> Result<(), Fault> {
    let steps = run.preset.stage(stage).map_or(0, |r| r.steps);
    let mut progress = Steps::new(format!("stage {}", stage.number()), steps);
    let (mut here, mut saved, mut losses) = (0, now_secs(), Vec::new());
    while let Some(report) = block_on(run.step())? {
        if job.json {
            say(&format!("{}\n", json(stage, &report)));
        } else {
            progress.show(&report);
        }
        losses.push((report.update, report.loss));
        here += 1;
        if job.kill_after == Some(here) {
            return Err(Fault::Failed(format!("stopped after {here} steps without saving, as asked")));
        }
        let due = report.update.is_multiple_of(job.every.max(1)) || now_secs() - saved > SAVE_SECS;
        if report.update < steps && (due || ended().is_some()) {
            save(run, &job.path)?;
            saved = now_secs();
            stop_if_asked(|| Ok(job.again()))?;
        }
    }
    if !job.json {
        progress.end("");
    }
    job.curves.push(StageCurves { stage, losses, norms: Vec::new() });
    Ok(())
}

/// One line per step for programs; `bits` are the loss' exact bits.
fn json(stage: Stage, r: &Report) -> serde_json::Value {
    serde_json::json!({
        "stage": stage.number(), "step": r.update, "loss": r.loss, "bits": r.loss.to_bits(),
        "grad_norm": r.grad_norm, "learning_rate": r.learning_rate,
    })
}

/// Scores in a line.
fn line(s: &Scores) -> String {
    if s.all.of == 0 {
        return "nothing is held out, so that nothing can be said of accuracy".to_owned();
    }
    let kinds: Vec<String> = s.kinds.iter().map(|(k, v)| format!("{k} {:.2}", v.value())).collect();
    let several =
        if s.several.of > 0 { format!(", with several things {:.3}", s.several.value()) } else { String::new() };
    format!("exact answers {:.3}{several}, loss {:.3} ({})", s.all.value(), s.loss, kinds.join(", "))
}
