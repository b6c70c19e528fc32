//! `hive ask` and `hive eval`: questions about a picture, and held-out accuracy.

use std::path::Path;

use serde_json::json;

use super::args::Args;
use super::shared::{folder_source, load, png, table};
use super::{Fault, chat, fetch, open_gpu, read, say, warn};
use crate::data::dataset::Dataset;
use crate::data::image::Preprocess;
use crate::data::worlds::Split;
use crate::engine::answers::assistant::{Options, question as chat_question};
use crate::engine::answers::open::of_checkpoint;
use crate::engine::assets::made_source;
use crate::platform::{self, block_on};
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::Picture;
use crate::train::run::Run;

const ASK_HELP: &str = "\
hive ask IMAGE QUESTION [--model NAME|FILE|FOLDER|ID]

Asks a model about a picture (PNG, JPEG or WebP). --model is a shipped model (pictures, shapes), a checkpoint file, or a folder
with Hugging Face's files or the id of a model that hive fetch got (then with the options of hive chat, and without IMAGE where it knows text alone); default pictures. IMAGE can also be held-out:N, a held-out picture of the model's own data, which is then saved beside you as
held-out-N.png. The shipped models know a small world; hive ask --model NAME --help lists its words.
";

/// `hive ask`.
///
/// # Errors
/// See [`Fault`].
pub fn ask(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &chat::ask_options(), &[])?;
    if args.option("model").is_some_and(|m| platform::is_folder(m) || fetch::is_name(m)) && !args.flag("help") {
        return chat::ask(&args);
    }
    let name = args.option("model").unwrap_or("pictures");
    if args.flag("help") {
        say(ASK_HELP);
        let words = load(name)?.meta.tokenizer.words()[4..].join(" ");
        say(&format!("\nwords of {name}: {words}\n"));
        return Ok(());
    }
    let (Some(image), Some(_)) = (args.word(0), args.word(1)) else {
        return Err(Fault::usage("hive ask needs an image and a question, as in: hive ask dog.png \"what is it ?\""));
    };
    let question = args.words()[1..].join(" ");
    let checkpoint = load(name)?;
    let pixels = pixels_of(image, &checkpoint)?;
    let question = if question.trim_end().ends_with('?') { question } else { format!("{question} ?") };
    let unknown = checkpoint.meta.tokenizer.unknown(&question);
    if !unknown.is_empty() {
        warn(&format!(
            "the model does not know: {}. hive ask --model {name} --help lists its words\n",
            unknown.join(", ")
        ));
    }
    let gpu = open_gpu(&args)?;
    let mut assistant = block_on(of_checkpoint(&gpu, &checkpoint))?;
    let messages = [chat_question(&question, assistant.preprocess().is_some())];
    let answer = block_on(assistant.reply(&messages, &pixels, &Options::default(), |_| true))?;
    if args.flag("json") {
        let words: Vec<_> = answer
            .tokens
            .iter()
            .map(|t| json!({"word": checkpoint.meta.tokenizer.decode(&[t.token]), "probability": t.probability}))
            .collect();
        say(&format!("{}\n", json!({"question": question, "answer": answer.text, "words": words, "unknown": unknown})));
    } else {
        say(&format!("{}\n", answer.text));
    }
    Ok(())
}

/// Pixels of a picture file, or of `held-out:N`.
fn pixels_of(image: &str, checkpoint: &Checkpoint) -> Result<Vec<f32>, Fault> {
    let size = checkpoint.meta.model.vision_config.image_size;
    if let Some(n) = image.strip_prefix("held-out:") {
        let index = n.parse().map_err(|_unparsed| Fault::usage(format!("held-out:N needs a number, not \"{n}\"")))?;
        let dataset = Dataset::by_name(&checkpoint.meta.preset.data)
            .ok_or_else(|| Fault::usage("this model was trained on a folder; give a picture"))?;
        let sample = dataset.sample(Split::HeldOut, 0, index, 1);
        let path = format!("held-out-{n}.png");
        super::write(Path::new(&path), &png(&sample.pixels, size)?)?;
        warn(&format!("wrote {path}; its own question: {}\n", sample.turns.first().map_or("", |t| &t.question)));
        return Ok(sample.pixels);
    }
    let preprocess = Preprocess::on_white(size);
    preprocess.decode(&read(Path::new(image))?, image).map_err(|e| Fault::Failed(e.to_string()))
}

/// `hive eval`.
///
/// # Errors
/// See [`Fault`].
pub fn eval(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &["model", "data", "questions"], &[])?;
    if args.flag("help") {
        say(
            "hive eval [--model NAME|FILE] [--data FOLDER] [--questions N]: held-out accuracy by kind of question (default 1000 questions), with the question's own picture, with another's, and with none\n",
        );
        return Ok(());
    }
    let checkpoint = load(args.option("model").unwrap_or("pictures"))?;
    let source = match args.option("data") {
        Some(folder) => folder_source(folder, &mut checkpoint.meta.preset.clone())?
            .with_tokenizer(checkpoint.meta.tokenizer.clone()),
        None => made_source(&checkpoint.meta.preset)?,
    };
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
        say(&format!("{}\n", json!(rows.into_iter().collect::<std::collections::BTreeMap<_, _>>())));
    } else {
        say(&table(&rows));
    }
    Ok(())
}
