//! `hive demo`: the main job. Three stages from the shipped start weights, with numbers that show what each one did.

use std::path::PathBuf;

use serde_json::json;

use super::args::Args;
use super::depths::{measure, table as depth_table};
use super::progress::Steps;
use super::report::{self, Example, Maps, Page, StageCurves};
use super::shared::{claim, find_preset, keep_earlier, png, save, stop_if_asked, table};
use super::{Fault, open_gpu, say, write};
use crate::data::chat::Message;
use crate::data::tiles::Picture as Shown;
use crate::data::worlds::{Sample, Split};
use crate::engine::answers::assistant::Options;
use crate::engine::answers::look::Looker;
use crate::engine::answers::open::trained;
use crate::engine::assets::{self, FIRST, made_source};
use crate::engine::outline::norms_by_block;
use crate::gpu::Gpu;
use crate::model::config::Wiring;
use crate::nn::params::Weights;
use crate::platform::{self, block_on, watch_signals};
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::{Label, Picture, Scores};
use crate::train::run::Run;
use crate::train::stage::Stage;
use crate::train::trainer::Trainer;

const HELP: &str = "\
hive demo [--preset grounds|pictures|shapes] [--links WHICH] [--out FOLDER] [--steps N] [--questions N]

Aligns a small pre-trained vision tower with a small pre-trained language model in three stages, on pictures, and shows what
each stage did: held-out accuracy by kind of question beside the same model with swapped pictures, the language model alone,
and stage 2 going on instead of stage 3; where in the tower answers live; six questions answered before and after; and a
report FOLDER/report.html (default: out) with curves, gradient norms and attention maps. The trained model is FOLDER/checkpoint.safetensors, saved
after each stage and when Ctrl-C ends it; what an earlier run left there keeps another name. Ask the model with
  hive ask IMAGE QUESTION --model FOLDER/checkpoint.safetensors
";

/// The command.
pub fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "out", "steps", "set", "links", "questions"];
    let Some(args) = Args::or_help(list, (0, &options), &[], HELP)? else { return Ok(()) };
    let start = platform::now_secs();
    let preset = find_preset(&args, FIRST)?;
    let out = PathBuf::from(args.option("out").unwrap_or("out"));
    let questions = args.number("questions")?.unwrap_or(300);
    let _claim = claim(&out)?;
    let path = out.join("checkpoint.safetensors");
    for earlier in [&path, &out.join("report.html")] {
        keep_earlier(earlier)?;
    }
    watch_signals();
    let gpu = open_gpu(&args)?;
    let weights = block_on(assets::model(&format!("{}-start", preset.data)))?.weights;
    say(&format!("{}: {}\nrunning on {} ({})\n", preset.name, preset.about, gpu.summary.name, gpu.summary.driver));
    if gpu.is_software() {
        say("this is a software adapter: a graphics processor is many times faster\n");
    }
    let source = made_source(&preset)?;
    let mut run = Run::new(&gpu, preset, source, &weights)?;

    let keep = |run: &Run| {
        save(run, &path)?;
        let (file, out) = (path.display(), out.display());
        Ok(format!("stopped, and the model is saved. Train it on with: hive train --resume {file} --out {out}"))
    };
    let mut depths = Vec::new();
    let mut look = |when: &'static str, run: &Run, weights: &Weights| {
        if let Some(found) = measure(&gpu, run.config(), weights, &run.source)? {
            say(&format!(
                "\nthe tower {when}: share of things whose attribute a probe reads right\n{}",
                depth_table(&found)
            ));
            depths.push((when, found));
        }
        stop_if_asked(|| keep(run))
    };
    look("before", &run, &weights)?;
    let samples = example_samples(&run);
    let before = answers(&run, &samples)?;
    let alone = block_on(run.evaluate(Picture::None, questions))?;
    run.scores.push((Label::ALONE, alone));
    let mut curves = Vec::new();
    let mut between = None;
    for stage in Stage::ALL {
        if let Some(curve) = train_stage(&mut run, stage, questions, &keep)? {
            curves.push(curve);
        }
        if stage == Stage::Adaptation {
            between = Some(block_on(run.checkpoint())?);
        }
    }
    let instead = instead(&gpu, between, questions, &|| keep(&run))?;
    run.scores.extend(instead.map(|scores| (Label::INSTEAD, scores)));
    say(&format!("\nheld-out exact answers, {questions} questions each:\n{}", table(&run.scores)));
    say(&verdict(&run.scores));

    let after = answers(&run, &samples)?;
    let maps = attention(&run, &samples)?;
    let examples = examples(&run, samples, &before, &after, maps)?;
    say("\nsix held-out questions, before and after:\n");
    for e in &examples {
        say(&format!("  {:34} before: {:22} after: {:22} right: {}\n", e.question, e.before, e.after, e.right));
    }
    let checkpoint = block_on(run.checkpoint())?;
    look("after", &run, &checkpoint.weights)?;
    let page = Page {
        preset: &run.preset,
        adapter: format!("{} ({})", gpu.summary.name, gpu.summary.driver),
        secs: platform::now_secs() - start,
        scores: &run.scores,
        curves: &curves,
        depths: &depths,
        examples: &examples,
    };
    write(&out.join("report.html"), report::html(&page).as_bytes())?;
    if args.flag("json") {
        let rows: Vec<_> = run.scores.iter().map(|(l, s)| json!({"label": l, "scores": s})).collect();
        say(&format!("{}\n", json!({"adapter": gpu.summary.name, "secs": page.secs, "scores": rows})));
    }
    say(&format!("\n{:.0} s in all. Report: {}\n", page.secs, out.join("report.html").display()));
    Ok(())
}

/// Saves a run, and says how it goes on.
type Keep<'a> = &'a dyn Fn(&Run) -> Result<String, Fault>;

/// Runs one stage and scores it; none where the preset has no such stage. The model is kept after it, and after the step in
/// which a signal came.
pub(super) fn train_stage(
    run: &mut Run,
    stage: Stage,
    questions: usize,
    keep: Keep<'_>,
) -> Result<Option<StageCurves>, Fault> {
    let Some(recipe) = run.preset.stage(stage) else { return Ok(None) };
    let steps = recipe.steps;
    block_on(run.enter(stage))?;
    let mut progress = Steps::new(format!("stage {} ({})", stage.number(), stage.name()), steps);
    let mut norms = Vec::new();
    let every = (steps / 40).max(1);
    while let Some(report) = block_on(run.step())? {
        progress.show(&report);
        if report.update.is_multiple_of(every)
            && let Some(trainer) = run.trainer()
        {
            norms.push((report.update, modules(trainer)?));
        }
        stop_if_asked(|| keep(run))?;
    }
    block_on(run.leave())?;
    progress.end("");
    keep(run)?;
    for picture in [Picture::Own, Picture::Swapped] {
        stop_if_asked(|| keep(run))?;
        let scores = block_on(run.evaluate(picture, questions))?;
        run.scores.push((Label { picture, ..Label::after(stage) }, scores));
    }
    Ok(Some(StageCurves { stage, losses: progress.losses, norms }))
}

/// What came of it if stage 2 had gone on, tower frozen, where stage 3 trained the tower: as many steps, by the same recipe.
/// The model itself is kept by now.
pub(super) fn instead(
    gpu: &Gpu,
    between: Option<Checkpoint>,
    questions: usize,
    kept: &dyn Fn() -> Result<String, Fault>,
) -> Result<Option<Scores>, Fault> {
    let Some(checkpoint) = between else { return Ok(None) };
    let Some(recipe) = checkpoint.meta.preset.stage(Stage::Vision).cloned() else { return Ok(None) };
    let source = made_source(&checkpoint.meta.preset)?;
    let mut progress = Steps::new("stage 2 going on instead".to_owned(), recipe.steps);
    let mut run = Run::resume(gpu, checkpoint, source)?;
    block_on(run.go_on(Stage::Adaptation, recipe))?;
    while let Some(report) = block_on(run.step())? {
        progress.show(&report);
        stop_if_asked(kept)?;
    }
    block_on(run.leave())?;
    progress.end("");
    Ok(Some(block_on(run.evaluate(Picture::Own, questions))?))
}

/// Gradient norm per block of the model.
fn modules(trainer: &Trainer) -> Result<Vec<(String, f32)>, Fault> {
    let norms = norms_by_block(&block_on(trainer.gradient_norms())?);
    let mut out: Vec<_> = norms.into_iter().map(|(id, norm)| (id.title(), norm)).collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// What the numbers say, in a sentence.
fn verdict(scores: &[(Label, Scores)]) -> String {
    let value = |label: Label| scores.iter().find(|(l, _)| *l == label).map(|(_, s)| s.all.value());
    let Some(last) = scores.iter().rev().find_map(|(l, _)| l.stage.filter(|_| !l.more)).map(Label::after) else {
        return String::new();
    };
    let gain = value(last).zip(value(Label::INSTEAD)).map(|(own, more)| (own - more) * 100.0);
    let gain =
        gain.map_or(String::new(), |g| format!("{last} gave {g:+.0} points over as many more steps of stage 2\n"));
    let all = match (value(last), value(Label { picture: Picture::Swapped, ..last }), value(Label::ALONE)) {
        (Some(own), Some(swapped), Some(alone)) => format!(
            "after {last} the model answers {:.0} % exactly: {:+.0} points over the language model alone, {:+.0} over itself with swapped pictures\n",
            own * 100.0,
            (own - alone) * 100.0,
            (own - swapped) * 100.0
        ),
        _ => String::new(),
    };
    all + &gain
}

/// Six held-out samples, at most two of a kind of question; chosen before anything is trained.
pub(super) fn example_samples(run: &Run) -> Vec<Sample> {
    let mut out: Vec<Sample> = Vec::new();
    for index in 0..400 {
        let Ok(sample) = run.source.sample(Split::HeldOut, 5000 + index, 1, true) else { continue };
        let same = |s: &&Sample| s.turns.first().map(|t| t.kind) == sample.turns.first().map(|t| t.kind);
        if out.iter().filter(same).count() < 2 {
            out.push(sample);
        }
        if out.len() == 6 {
            break;
        }
    }
    out
}

fn asked(sample: &Sample) -> &str {
    sample.turns.first().map_or("", |t| t.question.as_str())
}

pub(super) fn answers(run: &Run, samples: &[Sample]) -> Result<Vec<String>, Fault> {
    let (model, params) = run.on_gpu();
    let mut assistant = block_on(trained(model, params, run.source.tokenizer()))?;
    let mut answer = |s: &Sample| {
        let messages = [Message::question(asked(s), true)];
        Ok(block_on(assistant.reply(&messages, &[Shown::of(&s.pixels)], &Options::default(), |_| true))?.text)
    };
    samples.iter().map(&mut answer).collect()
}

/// For each sample and linked layer, where the token that begins the answer looks (mean over heads, image keys only).
pub(super) fn attention(run: &Run, samples: &[Sample]) -> Result<Vec<Maps>, Fault> {
    let (model, params) = run.on_gpu();
    let words = run.source.tokenizer();
    let Some(looker) = Looker::new(&model, &params) else { return Ok(vec![Vec::new(); samples.len()]) };
    let assistant = block_on(trained(model, params, words))?;
    let links = &run.preset.model.link_config;
    let linked = run.preset.wiring == Wiring::Linked;
    let name = |layer: usize| match links.link_of(layer).filter(|_| linked) {
        Some(link) => format!("layer {}, depth {}", layer + 1, links.vision_layers[link]),
        None => format!("layer {}", layer + 1),
    };
    let look = |s: &Sample| {
        let prompt = assistant.tokens(&[Message::question(asked(s), true)], &[Shown::of(&s.pixels)])?.ids;
        let maps = block_on(looker.maps(&s.pixels, &prompt, &[], words))?;
        let layers = maps.layers.iter().enumerate();
        Ok(layers.map(|(i, layer)| (name(*layer), maps.map(i, None, maps.first_answer))).collect())
    };
    samples.iter().map(look).collect()
}

pub(super) fn examples(
    run: &Run,
    samples: Vec<Sample>,
    before: &[String],
    after: &[String],
    maps: Vec<Maps>,
) -> Result<Vec<Example>, Fault> {
    let size = run.config().vision_config.image_size;
    samples
        .into_iter()
        .zip(maps)
        .enumerate()
        .map(|(i, (sample, maps))| {
            let turn = sample.turns.first();
            Ok(Example {
                png: png(&sample.pixels, size)?,
                question: turn.map_or_else(String::new, |t| t.question.clone()),
                right: turn.map_or_else(String::new, |t| t.answer.clone()),
                before: before[i].clone(),
                after: after[i].clone(),
                maps,
            })
        })
        .collect()
}
