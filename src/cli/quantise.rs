//! `hive quantise`: what packing a model's weights costs.

use std::path::Path;

use serde_json::{Value, json};

use super::args::Args;
use super::chat;
use super::fault::Fault;
use super::output::{say, warn};
use super::progress::Progress;
use super::shared::{open_gpu, read};
use crate::model::packing::{Rounding, TensorErrors};
use crate::ops::packed::Format;
use crate::platform::block_on;

/// A text of this project's own, which no model was trained on.
const TEXT: &str = include_str!("../../assets/text/held-out.txt");

const HELP: &str = "\
hive quantise FOLDER [--weights f16|int8|int4] [--text FILE]

What a model loses when its weights are packed on this GPU. For every matrix the error of each format against the file's
own values: rms is sqrt(sum of squared errors / sum of squares), max the largest error. Then the mean loss of the next
token, in nats, on a text: in f32, and how it changes. The text is a short one that comes with Hive, or --text FILE. With
int4, everything but the layers of the language model is int8.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (1, &["weights", "text"]), &[], HELP)? else { return Ok(()) };
    let path = args.word(0).ok_or_else(|| Fault::usage("hive quantise needs a folder"))?;
    let formats = match args.option("weights") {
        None => vec![Format::F16, Format::Int8, Format::Int4],
        Some(_) => vec![chat::format_of(&args)?],
    };
    let text = match args.option("text") {
        None => TEXT.to_owned(),
        Some(file) => String::from_utf8(read(Path::new(file))?)
            .map_err(|e| Fault::Failed(format!("{file} is no text in UTF-8: {e}")))?,
    };
    let source = chat::open(path)?;
    let gpu = open_gpu(&args)?;
    let mut progress = Progress::new();
    let tell = |t: &TensorErrors| {
        progress.show(|| t.name.clone());
        true
    };
    let tensors = block_on(source.tensor_errors(&gpu, &formats, tell)).map_err(Fault::failed)?;
    progress.end(&format!("{} tensors measured", tensors.len()));
    if !args.flag("json") {
        say(&table(&tensors, &formats));
    }
    let ids = source.text_ids(&text);
    if ids.is_none() {
        warn("the model does not know most words of the text: no loss. Give it a text of its own with --text\n");
    }
    let ids = ids.unwrap_or_default();
    let mut losses = Vec::new();
    for format in [Format::F32].into_iter().chain(formats.iter().copied().filter(|f| *f != Format::F32)) {
        let loss = block_on(source.loss(&gpu, format, &ids)).map_err(Fault::failed)?;
        losses.extend(loss.map(|loss| (format, loss)));
    }
    if args.flag("json") {
        say(&format!("{}\n", as_json(&tensors, ids.len().saturating_sub(1), &losses)));
        return Ok(());
    }
    if let Some((_, exact)) = losses.first() {
        say(&format!("\nloss on {} tokens, nats each\n", ids.len() - 1));
        for (format, loss) in &losses {
            let change = if *format == Format::F32 { String::new() } else { format!("{:>+12.4}", loss - exact) };
            say(&format!("{:<6}{loss:>10.4}{change}\n", format.name()));
        }
    }
    Ok(())
}

fn as_json(tensors: &[TensorErrors], tokens: usize, losses: &[(Format, f64)]) -> Value {
    let error = |(f, e): &(Format, Rounding)| json!({"weights": f.name(), "rms": e.rms, "max": e.max});
    let tensor = |t: &TensorErrors| {
        let errors: Vec<Value> = t.errors.iter().map(error).collect();
        json!({"name": t.name, "shape": t.shape, "errors": errors})
    };
    let exact = losses.first().map_or(0.0, |l| l.1);
    let loss = |(f, l): &(Format, f64)| json!({"weights": f.name(), "loss": l, "change": l - exact});
    json!({
        "tensors": tensors.iter().map(tensor).collect::<Vec<_>>(),
        "tokens": tokens,
        "losses": losses.iter().map(loss).collect::<Vec<_>>(),
    })
}

fn table(tensors: &[TensorErrors], formats: &[Format]) -> String {
    let width = tensors.iter().map(|t| t.name.len()).max().unwrap_or(0);
    let mut text = format!("{:<width$}{:>16}", "tensor", "shape");
    for format in formats {
        text.push_str(&format!("{:>12} rms{:>10}", format.name(), "max"));
    }
    text.push('\n');
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        text.push_str(&format!("{:<width$}{:>16}", tensor.name, shape.join("x")));
        for (_, error) in &tensor.errors {
            text.push_str(&format!("{:>16.2e}{:>10.1e}", error.rms, error.max));
        }
        text.push('\n');
    }
    text
}
