//! `hive pretrain vision|language`: start weights.

use std::path::{Path, PathBuf};

use super::args::Args;
use super::fault::Fault;
use super::folder::folder_source;
use super::output::say;
use super::progress::Steps;
use super::shared::{checkpoint, find_preset, open_gpu, resumed, stop_if_asked, table, write};
use crate::engine::assets::{FIRST, made_source};
use crate::model::weights::Precision;
use crate::nn::ParamSpec;
use crate::nn::params::Weights;
use crate::platform::{block_on, read_file, watch_signals};
use crate::train::checkpoint::{Checkpoint, Meta};
use crate::train::pretrain::{Reader, Tower, meta};

const HELP: &str = "\
hive pretrain vision|language [--preset NAME|FILE] [--data FOLDER] [--set KEY=VALUE]... [--out FILE] [--steps N]
                              [--resume FILE]

Makes the pre-trained half of the start weights: the tower by naming what each patch shows, the language model by reading
descriptions of scenes. Both halves go into one file (default assets/models/DATA-start.safetensors, f16): the second call
adds to what the first one left. Ctrl-C ends it after the step, saved beside OUT as *.vision.unfinished or
*.language.unfinished; --resume goes on from that, bit for bit, with its own preset, seed and steps.
";

/// Questions that a reader is asked in the end.
const QUESTIONS: usize = 1000;

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "data", "set", "out", "steps", "resume"];
    let Some(args) = Args::or_help(list, (1, &options), &[], HELP)? else { return Ok(()) };
    let part = args.word(0).unwrap_or_default();
    let earlier = resumed(&args)?.map(checkpoint).transpose()?;
    let mut preset = match &earlier {
        Some(earlier) => earlier.meta.preset.clone(),
        None => find_preset(&args, FIRST)?,
    };
    let recipe = match part {
        "vision" => &mut preset.pretrain_vision,
        "language" => &mut preset.pretrain_language,
        _ => return Err(Fault::usage("hive pretrain needs vision or language")),
    };
    let recipe = recipe.as_mut().ok_or_else(|| Fault::usage(format!("the preset has no pretrain_{part}")))?;
    if let Some(steps) = args.number("steps")? {
        recipe.steps = steps;
    }
    let recipe = recipe.clone();
    preset.check()?;
    let source = match args.option("data") {
        Some(folder) if part == "language" => folder_source(folder, &mut preset, earlier.as_ref().map(|e| &e.meta))?,
        Some(_) => {
            return Err(Fault::usage(
                "a folder's pictures have no labels per patch; hive pretrain vision takes generated data",
            ));
        }
        None => made_source(&preset)?,
    };
    let default = format!("assets/models/{}-start.safetensors", preset.data);
    let path = PathBuf::from(args.option("out").unwrap_or(&default));
    let keep = |made: Checkpoint, specs: &[ParamSpec]| {
        let unfinished = path.with_extension(format!("{part}.unfinished"));
        write(&unfinished, &made.to_bytes(specs, Precision::F32)?)?;
        let more: String = ["out", "data"].iter().filter_map(|o| Some(format!(" --{o} {}", args.option(o)?))).collect();
        let file = unfinished.display();
        Ok(format!("stopped, and saved. Go on with: hive pretrain {part} --resume {file}{more}"))
    };
    let gpu = open_gpu(&args)?;
    watch_signals();
    let seed = preset.seed;
    let mut progress = Steps::new(part.to_owned(), recipe.steps);
    let failed = Fault::Failed;
    let other = |e| Fault::Failed(format!("--resume names no pre-training of {part} that was stopped: {e}"));
    let weights = if part == "vision" {
        let classes = source.dataset().map_or(Vec::new(), |d| d.label_classes());
        let mut tower = Tower::new(&gpu, &preset, &classes, &recipe)?;
        earlier.as_ref().map_or(Ok(()), |earlier| tower.go_on(earlier)).map_err(other)?;
        while tower.updates() < recipe.steps {
            progress.show(&block_on(tower.step(&source, seed)).map_err(failed)?);
            stop_if_asked(|| keep(block_on(tower.checkpoint(&preset, &source))?, tower.specs()))?;
        }
        let accuracy = block_on(tower.accuracy(&source, 40)).map_err(failed)?;
        progress.end(&format!("held-out accuracy on patches with things: {accuracy:.3?}"));
        block_on(tower.weights())?
    } else {
        let mut reader = Reader::new(&gpu, &preset, &source, &recipe)?;
        earlier.as_ref().map_or(Ok(()), |earlier| reader.go_on(earlier)).map_err(other)?;
        while reader.updates() < recipe.steps {
            progress.show(&block_on(reader.step(&source)).map_err(failed)?);
            stop_if_asked(|| {
                let made = block_on(reader.checkpoint(&preset, &source))?;
                let specs = made.specs();
                keep(made, &specs)
            })?;
        }
        progress.end("done");
        if source.dataset().is_some() {
            let scores = block_on(reader.scores(&source, QUESTIONS))?;
            say(&format!("answers about descriptions it never read:\n{}", table(&[("read", scores)])));
        }
        block_on(reader.weights())?
    };
    add(weights, meta(&preset, &source, 0), &path)
}

/// Writes a half, with the other one if the file has that.
fn add(weights: Weights, meta: Meta, path: &Path) -> Result<(), Fault> {
    // A file that cannot be used is not written over.
    let mut all = match read_file(path) {
        Ok(_) => checkpoint(path)?.weights,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Default::default(),
        Err(e) => return Err(Fault::unreadable(path, &e)),
    };
    all.extend(weights);
    let checkpoint = Checkpoint { meta, weights: all, moments: Default::default(), attachments: Default::default() };
    write(path, &checkpoint.to_bytes(&checkpoint.specs(), Precision::F16)?)?;
    say(&format!("wrote {}\n", path.display()));
    Ok(())
}
