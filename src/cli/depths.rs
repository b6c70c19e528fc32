//! `hive depths`: where in a tower answers live.

use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::say;
use super::progress::Progress;
use super::shared::{ended, load, open_gpu};
use crate::engine::assets::made_source;
use crate::gpu::Gpu;
use crate::model::config::HiveConfig;
use crate::model::probe::Kind;
use crate::nn::params::Weights;
use crate::platform::block_on;
use crate::train::depths::Depths;
use crate::train::source::Source;

const HELP: &str = "\
hive depths [--model NAME|FILE]

Where in a model's tower answers live: for each depth (0: the embedded patches) and each attribute of a thing, how often a
probe in the form of a link reads it right in held-out scenes. Of a shipped model or a checkpoint of generated data whose
things have attributes; default grounds-start.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (0, &["model"]), &[], HELP)? else { return Ok(()) };
    let checkpoint = load(args.option("model").unwrap_or("grounds-start"))?;
    let source = made_source(&checkpoint.meta.preset)?;
    let gpu = open_gpu(&args)?;
    let Some(found) = measure(&gpu, &checkpoint.meta.model, &checkpoint.weights, &source)? else {
        return Err(Fault::Failed(format!(
            "the things of \"{}\" have no attributes to look for",
            checkpoint.meta.preset.data
        )));
    };
    if args.flag("json") {
        let names: Vec<_> =
            found.attributes.iter().map(|(name, guess)| json!({"name": name, "guessed": guess})).collect();
        say(&format!("{}\n", json!({"attributes": names, "depths": found.shares})));
    } else {
        say(&table(&found));
    }
    Ok(())
}

/// The table of a tower, with a line of progress.
pub(super) fn measure(
    gpu: &Gpu,
    config: &HiveConfig,
    weights: &Weights,
    source: &Source,
) -> Result<Option<Depths>, Fault> {
    let mut progress = Progress::new();
    let tell = |share: f64| {
        progress.show(|| format!("looking at every depth of the tower: {:.0} %", share * 100.0));
        // Who watches signals looks whether one came.
        ended().is_none()
    };
    Ok(block_on(Depths::measure(gpu, config, weights, source, Kind::Link, tell))?)
}

/// A row per depth, a column per attribute; below, what guessing gives.
pub(super) fn table(found: &Depths) -> String {
    let line = |label: &str, values: &[f64]| {
        let cells: String = values.iter().map(|v| format!("  {v:>8.2}")).collect();
        format!("{label:<9}{cells}\n")
    };
    let names: String = found.attributes.iter().map(|(name, _)| format!("  {name:>8}")).collect();
    let mut out = format!("{:<9}{names}\n", "");
    for (depth, shares) in found.shares.iter().enumerate() {
        out += &line(&format!("depth {depth}"), shares);
    }
    out + &line("guessed", &found.attributes.iter().map(|a| a.1).collect::<Vec<_>>())
}
