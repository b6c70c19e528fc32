//! `hive plan`: what a model will take, from its headers alone; what a step of training will take, from its programs alone.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Args;
use super::chat::{format_of, open};
use super::fault::Fault;
use super::output::say;
use super::shared::{find_preset, gpu_options};
use crate::engine::assets::FIRST;
use crate::gpu::{Gpu, GpuOptions, Part};
use crate::model::limits::Rows;
use crate::model::load::Formats;
use crate::model::memory::Plan;
use crate::model::model::Wiring;
use crate::ops::packed::Format;
use crate::platform::block_on;
use crate::train::cost::Cost;
use crate::train::stage::Stage;

const HELP: &str = "\
hive plan FOLDER|ID [--weights FORMAT] [--room N]
hive plan --preset NAME|FILE [--links WHICH] [--text N] [--batch N] [--set KEY=VALUE]...

What a model will take, from its headers alone: bytes on disk, on the GPU and on the host, by part and format. With --preset what
a step of each stage takes, for the links and for the flattened control: arithmetic, dispatches and bytes by part of the model,
counted from the programs of a graphics processor without running them. --text is how many tokens a row has (default: the
preset's), --batch how many rows a step has (default 1).
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["weights", "room", "preset", "set", "links", "text", "batch"];
    let Some(args) = Args::or_help(list, (1, &options), &[], HELP)? else { return Ok(()) };
    match (args.word(0), args.option("preset")) {
        (Some(folder), None) => model(&args, folder),
        (None, Some(_)) => training(&args),
        _ => Err(Fault::usage("hive plan needs a folder, or --preset and its name")),
    }
}

/// What a model takes.
fn model(args: &Args, path: &str) -> Result<(), Fault> {
    let source = open(path)?;
    let formats: Vec<Format> = match args.option("weights") {
        Some(_) => vec![format_of(args)?],
        None => Format::ALL.to_vec(),
    };
    let room = source.room(args.number("room")?);
    let plans: Vec<Plan> = formats.iter().map(|f| source.plan(Formats::of(*f), room)).collect();
    if args.flag("json") {
        let parts = |p: &Plan| -> Vec<_> {
            p.weights
                .iter()
                .map(|w| json!({"part": w.name, "parameters": w.parameters, "file": w.file, "gpu": w.gpu}))
                .collect()
        };
        let all: Vec<_> = plans
            .iter()
            .map(|p| json!({"weights": p.formats.layer.name(), "room": room, "parts": parts(p), "cache": p.cache, "work": p.work, "gpu": p.gpu(), "host": p.host}))
            .collect();
        say(&format!("{}\n", json!(all)));
        return Ok(());
    }
    say(&table(&plans, room));
    Ok(())
}

fn table(plans: &[Plan], room: usize) -> String {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let mut text = format!("{:<26}{:>14}{:>12}", "MiB", "parameters", "on disk");
    for plan in plans {
        text.push_str(&format!("{:>12}", plan.formats.layer.name()));
    }
    text.push('\n');
    let Some(first) = plans.first() else { return text };
    for (i, part) in first.weights.iter().enumerate() {
        text.push_str(&format!("{:<26}{:>14}{:>12}", part.name, part.parameters, mib(part.file)));
        plans.iter().for_each(|p| text.push_str(&format!("{:>12}", mib(p.weights[i].gpu))));
        text.push('\n');
    }
    let cache = format!("cache for {room} tokens");
    let names = [cache.as_str(), "working memory", "GPU in all", "host at most, beside that"];
    for (i, name) in names.into_iter().enumerate() {
        text.push_str(&format!("{name:<26}{:>14}{:>12}", "", ""));
        plans.iter().for_each(|p| text.push_str(&format!("{:>12}", mib([p.cache, p.work, p.gpu(), p.host][i]))));
        text.push('\n');
    }
    text
}

/// What a step of training takes.
fn training(args: &Args) -> Result<(), Fault> {
    let mut preset = find_preset(args, FIRST)?;
    if let Some(tokens) = args.number("text")? {
        preset.tokens = tokens;
    }
    let batch = args.number("batch")?.unwrap_or(1);
    preset.stages.iter_mut().for_each(|(_, r)| (r.batch, r.accumulate) = (batch, 1));
    preset.check()?;
    let gpu = block_on(Gpu::new(&GpuOptions { counting: true, ..gpu_options(args) }))?;
    for wiring in [Wiring::Linked, Wiring::Flattened] {
        let (config, tokens) = (&preset.model, preset.tokens);
        Rows { config, wiring, tokens, with_image: true, facts: false }.check(&gpu, batch)?;
    }
    let both = |stage| {
        let cost = |wiring| Cost::of_stage(&gpu, &preset, wiring, stage);
        Some((stage, cost(Wiring::Linked)?, cost(Wiring::Flattened)?))
    };
    let stages: Vec<(Stage, Cost, Cost)> = Stage::ALL.into_iter().filter_map(both).collect();
    if args.flag("json") {
        let parts = |c: &Cost| -> Vec<_> {
            c.parts.iter().map(|p| json!({"part": p.name, "dispatches": p.dispatches, "flops": p.flops})).collect()
        };
        let one = |c: &Cost| {
            json!({"dispatches": c.dispatches, "flops": c.flops, "parameter_bytes": c.parameter_bytes,
                "temporary_bytes": c.temporary_bytes, "trained": c.trained, "parameters": c.parameters, "parts": parts(c)})
        };
        let all: Vec<_> = stages
            .iter()
            .map(|(s, own, flat)| json!({"stage": s.number(), "hive": one(own), "control": one(flat)}))
            .collect();
        say(&format!("{}\n", json!({"preset": preset.name, "text": preset.tokens, "batch": batch, "stages": all})));
        return Ok(());
    }
    say(&format!("{}: a step of {batch} rows with {} tokens of text each\n", preset.name, preset.tokens));
    for (stage, own, flat) in &stages {
        say(&format!("\nstage {} ({})\n{}", stage.number(), stage.name(), costs(own, flat)));
    }
    Ok(())
}

/// A row per part and for the sums; HIVE, its control, and how they compare.
fn costs(own: &Cost, flat: &Cost) -> String {
    let mut out = format!("{:<24}{:>12}{:>12}{:>9}\n", "", "hive", "control", "ratio");
    let mut line = |name: &str, own: f64, flat: f64, unit: &str| {
        let number = |v: f64| match v {
            0.0 => String::new(),
            v if v < 10.0 => format!("{v:.2}"),
            v => format!("{v:.0}"),
        };
        let ratio = if own * flat > 0.0 { format!("{:.3}", own / flat) } else { String::new() };
        let _ = writeln!(out, "{name:<24}{:>12}{:>12}{ratio:>9}  {unit}", number(own), number(flat));
    };
    let names = own.parts.iter().chain(&flat.parts).map(|p| p.name);
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
            let flops = |parts: &[Part]| parts.iter().filter(|p| p.name == name).map(|p| p.flops).sum::<f64>() / 1e9;
            line(name, flops(&own.parts), flops(&flat.parts), "GFLOP");
        }
    }
    line("all", own.flops / 1e9, flat.flops / 1e9, "GFLOP");
    line("dispatches", own.dispatches as f64, flat.dispatches as f64, "");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    line("weights and moments", mib(own.parameter_bytes), mib(flat.parameter_bytes), "MiB");
    line("activations and others", mib(own.temporary_bytes), mib(flat.temporary_bytes), "MiB");
    line("parameters trained", own.trained as f64 / 1e6, flat.trained as f64 / 1e6, "M");
    line("parameters", own.parameters as f64 / 1e6, flat.parameters as f64 / 1e6, "M");
    out
}
