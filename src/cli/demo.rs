//! `hive demo`: the main job. Three stages from the shipped start weights, with numbers that show what each one did.

use std::path::PathBuf;

use serde_json::json;

use super::args::Args;
use super::progress::Steps;
use super::report::{self, Example, Maps, Page, StageCurves};
use super::shared::{find_preset, png, table};
use super::{Fault, open_gpu, say, write};
use crate::data::batch;
use crate::data::worlds::{Sample, Split};
use crate::engine::answers::look::Answerer;
use crate::engine::assets::{self, made_source};
use crate::engine::outline::norms_by_block;
use crate::gpu::{Gpu, Recorder};
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::model::{Model, Wiring};
use crate::model::weights::Precision;
use crate::nn::Params;
use crate::platform::{self, block_on};
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::{Label, Picture, Scores};
use crate::train::run::Run;
use crate::train::stage::Stage;
use crate::train::trainer::Trainer;

const HELP: &str = "\
hive demo [--preset pictures|shapes] [--out FOLDER] [--steps N] [--questions N]

Aligns a small pre-trained vision tower with a small pre-trained language model in three stages, on pictures, and shows what
each stage did: held-out accuracy by kind of question beside the same model with swapped pictures and the language model
alone, six questions answered before and after, and a report FOLDER/report.html (default: out) with curves, gradient norms
and attention maps. The trained model is FOLDER/checkpoint.safetensors; ask it with
  hive ask IMAGE QUESTION --model FOLDER/checkpoint.safetensors
";

/// The command.
///
/// # Errors
/// See [`Fault`].
pub fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "out", "steps", "set", "questions"];
    let Some(args) = Args::or_help(list, &options, &[], HELP)? else { return Ok(()) };
    let start = platform::now_secs();
    let preset = find_preset(&args, "pictures")?;
    let out = PathBuf::from(args.option("out").unwrap_or("out"));
    let questions = args.number("questions")?.unwrap_or(300);
    let gpu = open_gpu(&args)?;
    let weights = assets::model(&format!("{}-start", preset.data))?.weights;
    say(&format!("{}: {}\nrunning on {} ({})\n", preset.name, preset.about, gpu.summary.name, gpu.summary.driver));
    if gpu.is_software() {
        say("this is a software adapter: a graphics processor is many times faster\n");
    }
    let source = made_source(&preset)?;
    let mut run = Run::new(&gpu, preset, source, &weights)?;

    let samples = example_samples(&run);
    let before = answers(&gpu, &run, &samples)?;
    let alone = block_on(run.evaluate(Picture::None, questions))?;
    run.scores.push((Label::ALONE, alone));
    let mut curves = Vec::new();
    for stage in Stage::ALL {
        if let Some(curve) = train_stage(&mut run, stage, questions)? {
            curves.push(curve);
        }
    }
    say(&format!("\nheld-out exact answers, {questions} questions each:\n{}", table(&run.scores)));
    say(&verdict(&run.scores));

    let after = answers(&gpu, &run, &samples)?;
    let maps = attention(&gpu, &run, &samples)?;
    let examples = examples(&run, samples, &before, &after, maps)?;
    say("\nsix held-out questions, before and after:\n");
    for e in &examples {
        say(&format!("  {:34} before: {:22} after: {:22} right: {}\n", e.question, e.before, e.after, e.right));
    }
    let checkpoint = block_on(run.checkpoint())?;
    write(&out.join("checkpoint.safetensors"), &checkpoint.to_bytes(&run.specs(), Precision::F32)?)?;
    let page = Page {
        preset: &run.preset,
        adapter: format!("{} ({})", gpu.summary.name, gpu.summary.driver),
        secs: platform::now_secs() - start,
        scores: &run.scores,
        curves: &curves,
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

/// Runs one stage and scores it; none where the preset has no such stage.
fn train_stage(run: &mut Run, stage: Stage, questions: usize) -> Result<Option<StageCurves>, Fault> {
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
            norms.push((report.update, modules(run, trainer)?));
        }
    }
    block_on(run.leave())?;
    progress.end("");
    for picture in [Picture::Own, Picture::Swapped] {
        let scores = block_on(run.evaluate(picture, questions))?;
        run.scores.push((Label { stage: Some(stage), picture }, scores));
    }
    Ok(Some(StageCurves { stage, losses: progress.losses, norms }))
}

/// Gradient norm per block of the model.
fn modules(run: &Run, trainer: &Trainer) -> Result<Vec<(String, f32)>, Fault> {
    let mut out = norms_by_block(&block_on(trainer.gradient_norms())?, run.config());
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// What the numbers say, in a sentence.
fn verdict(scores: &[(Label, Scores)]) -> String {
    let value = |label: Label| scores.iter().find(|(l, _)| *l == label).map(|(_, s)| s.all.value());
    let Some(last) = scores.iter().rev().find_map(|(l, _)| l.stage).map(Label::after) else { return String::new() };
    match (value(last), value(Label { picture: Picture::Swapped, ..last }), value(Label::ALONE)) {
        (Some(own), Some(swapped), Some(alone)) => format!(
            "after {last} the model answers {:.0} % exactly: {:+.0} points over the language model alone, {:+.0} over itself with swapped pictures\n",
            own * 100.0,
            (own - alone) * 100.0,
            (own - swapped) * 100.0
        ),
        _ => String::new(),
    }
}

/// Six held-out samples, at most two of a kind of question; chosen before anything is trained.
fn example_samples(run: &Run) -> Vec<Sample> {
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

fn answers(gpu: &Gpu, run: &Run, samples: &[Sample]) -> Result<Vec<String>, Fault> {
    let checkpoint: Checkpoint = block_on(run.checkpoint())?;
    let mut answerer = Answerer::from_checkpoint(gpu, &checkpoint, true)?;
    let question = |s: &Sample| s.turns.first().map_or_else(String::new, |t| t.question.clone());
    samples.iter().map(|s| Ok(block_on(answerer.ask(&s.pixels, &question(s), |_| true))?.text())).collect()
}

/// For each sample and linked layer, where the token that begins the answer looks (mean over heads, image keys only).
fn attention(gpu: &Gpu, run: &Run, samples: &[Sample]) -> Result<Vec<Maps>, Fault> {
    const TOKENS: usize = 32;
    let checkpoint = block_on(run.checkpoint())?;
    let config = checkpoint.meta.model;
    let (model, specs) = Model::new(&config, Wiring::Linked);
    let params = Params::new(gpu, specs, &checkpoint.weights, &Default::default());
    let inputs = Inputs::new(gpu, &config, samples.len(), TOKENS, true);
    let batch = batch::questions(samples, run.source.tokenizer(), TOKENS);
    inputs.write(HostBatch::from(&batch), 1);
    let mut r = Recorder::new(gpu);
    let look = model.look(&mut r, &params, &inputs);
    r.finish().run();
    let (heads, n) = (config.text_config.num_attention_heads, config.vision_config.tokens());
    let mut maps: Vec<Maps> = vec![Vec::new(); samples.len()];
    for (layer, tensor) in &look.attention {
        let values = block_on(gpu.read_f32(tensor))?;
        for (b, map) in maps.iter_mut().enumerate() {
            // The row before the first target writes the first word of the answer.
            let labels = &batch.labels[b * TOKENS..(b + 1) * TOKENS];
            let row = labels.iter().position(|l| *l >= 0).unwrap_or(1).saturating_sub(1);
            let mut mean = vec![0.0; n];
            for h in 0..heads {
                let at = ((b * heads + h) * TOKENS + row) * (TOKENS + n) + TOKENS;
                mean.iter_mut().zip(&values[at..at + n]).for_each(|(m, v)| *m += v / heads as f32);
            }
            map.push((*layer, mean));
        }
    }
    Ok(maps)
}

fn examples(
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
