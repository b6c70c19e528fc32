//! `hive pretrain vision|language`: start weights.

use std::path::PathBuf;

use super::args::Args;
use super::fault::Fault;
use super::folder::folder_source;
use super::output::say;
use super::progress::Steps;
use super::shared::{checkpoint, find_preset, open_gpu, table, write};
use crate::engine::assets::{FIRST, made_source};
use crate::model::model::Model;
use crate::model::weights::Precision;
use crate::platform::{block_on, read_file};
use crate::train::checkpoint::{Checkpoint, FORMAT, Meta};
use crate::train::pretrain::{Reader, Tower};

const HELP: &str = "\
hive pretrain vision|language [--preset NAME|FILE] [--data FOLDER] [--set KEY=VALUE]... [--out FILE] [--steps N]

Makes the pre-trained half of the start weights: the tower by naming what each patch shows, the language model by reading
descriptions of scenes. Both halves go into one file (default assets/models/DATA-start.safetensors, f16): the second call
adds to what the first one left.
";

/// Questions that a reader is asked in the end.
const QUESTIONS: usize = 1000;

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["preset", "data", "set", "out", "steps"];
    let Some(args) = Args::or_help(list, (1, &options), &[], HELP)? else { return Ok(()) };
    let part = args.word(0).unwrap_or_default();
    let mut preset = find_preset(&args, FIRST)?;
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
        Some(folder) if part == "language" => folder_source(folder, &mut preset, None)?,
        Some(_) => {
            return Err(Fault::usage(
                "a folder's pictures have no labels per patch; hive pretrain vision takes generated data",
            ));
        }
        None => made_source(&preset)?,
    };
    let gpu = open_gpu(&args)?;
    let seed = preset.seed;
    let mut progress = Steps::new(part.to_owned(), recipe.steps);
    let failed = Fault::Failed;
    let weights = if part == "vision" {
        let classes = source.dataset().map_or(Vec::new(), |d| d.label_classes());
        let mut tower = Tower::new(&gpu, &preset, &classes, &recipe)?;
        for _ in 0..recipe.steps {
            progress.show(&block_on(tower.step(&source, seed)).map_err(failed)?);
        }
        let accuracy = block_on(tower.accuracy(&source, 40)).map_err(failed)?;
        progress.end(&format!("held-out accuracy on patches with things: {accuracy:.3?}"));
        block_on(tower.weights())?
    } else {
        let mut reader = Reader::new(&gpu, &preset, &source, &recipe)?;
        for _ in 0..recipe.steps {
            progress.show(&block_on(reader.step(&source)).map_err(failed)?);
        }
        progress.end("done");
        if source.dataset().is_some() {
            let scores = block_on(reader.scores(&source, QUESTIONS))?;
            say(&format!("answers about descriptions it never read:\n{}", table(&[("read", scores)])));
        }
        block_on(reader.weights())?
    };

    let default = format!("assets/models/{}-start.safetensors", preset.data);
    let path = PathBuf::from(args.option("out").unwrap_or(&default));
    // The other half may be in it: a file that cannot be used is not written over.
    let mut all = match read_file(&path) {
        Ok(_) => checkpoint(&path)?.weights,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Default::default(),
        Err(e) => return Err(Fault::unreadable(&path, &e)),
    };
    all.extend(weights);
    let meta = Meta {
        format: FORMAT,
        model: preset.model.clone(),
        tokenizer: source.tokenizer().clone(),
        preset,
        stage: None,
        update: 0,
        more: false,
        split: source.split_by(),
        scores: Vec::new(),
    };
    let specs = Model::new(&meta.model, meta.preset.wiring).1;
    let checkpoint = Checkpoint { meta, weights: all, moments: Default::default(), attachments: Default::default() };
    write(&path, &checkpoint.to_bytes(&specs, Precision::F16)?)?;
    say(&format!("wrote {}\n", path.display()));
    Ok(())
}
