//! `hive eval`: held-out accuracy.

use std::collections::BTreeMap;

use serde_json::json;

use super::args::Args;
use super::benchmark;
use super::fault::Fault;
use super::folder::folder_source;
use super::output::say;
use super::shared::{load, open_gpu, table};
use crate::engine::assets::made_source;
use crate::platform::block_on;
use crate::train::evaluate::Picture;
use crate::train::run::Run;

const HELP: &str = "\
hive eval [--model NAME|FILE] [--data FOLDER] [--questions N]: held-out accuracy by kind of question (default 1000 questions), with the question's own picture, with another's, and with none
hive eval --task NAME --score FILE: answers to a published set, made elsewhere; hive eval --task --help says more
";

pub(super) fn eval(list: &[String]) -> Result<(), Fault> {
    if benchmark::is_asked(list) {
        return benchmark::run(list);
    }
    let Some(args) = Args::or_help(list, (0, &["model", "data", "questions"]), &[], HELP)? else { return Ok(()) };
    let checkpoint = load(args.option("model").unwrap_or("grounds"))?;
    let source = match args.option("data") {
        Some(folder) => folder_source(folder, &mut checkpoint.meta.preset.clone(), Some(&checkpoint.meta))?,
        None => made_source(&checkpoint.meta.preset)?,
    };
    if source.held_out_size() == 0 {
        return Err(Fault::Failed("no picture is held out, so that nothing can be said of accuracy".to_owned()));
    }
    let gpu = open_gpu(&args)?;
    let run = Run::resume(&gpu, checkpoint, source)?;
    let count = args.number("questions")?.unwrap_or(1000);
    let mut rows = Vec::new();
    for (label, picture) in
        [("own picture", Picture::Own), ("swapped", Picture::Swapped), ("no picture", Picture::None)]
    {
        rows.push((label.to_owned(), block_on(run.evaluate(picture, count))?));
    }
    if args.flag("json") {
        let mut all: BTreeMap<String, serde_json::Value> = rows.into_iter().map(|(l, s)| (l, json!(s))).collect();
        all.insert("notes".to_owned(), json!(run.source.said()));
        all.insert("left_out".to_owned(), json!(run.source.left_out));
        say(&format!("{}\n", json!(all)));
    } else {
        say(&table(&rows));
    }
    Ok(())
}
