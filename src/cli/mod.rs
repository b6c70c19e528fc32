//! L7: the command line. Subcommands print what people read, or JSON with `--json`; exit codes: 0 all right, 1 a check or
//! a run failed, 2 wrong usage, 3 no usable GPU.

pub mod args;
pub mod ask;
pub mod bench;
mod bench_model;
pub mod chat;
mod convert;
pub mod demo;
mod fetch;
mod parity;
mod pretrain;
mod progress;
mod quantise;
pub mod report;
mod shared;
mod train;
mod verify;
#[cfg(feature = "gui")]
mod window;

use std::path::Path;

use args::Args;
use thiserror::Error;

use crate::engine::answers::look::AnswerError;
use crate::engine::assets::AssetError;
use crate::engine::losses::LossesError;
use crate::gpu::{Gpu, GpuError, GpuOptions};
use crate::model::weights::WeightsError;
use crate::platform;
use crate::train::checkpoint::CheckpointError;
use crate::train::evaluate::EvaluateError;
use crate::train::recipe::PresetError;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Fault {
    /// Wrong words.
    #[error("{0}. See hive --help")]
    Usage(String),
    /// A check found something wrong; what was said already.
    #[error("{0}")]
    Failed(String),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// A preset, weights or data of that name.
    #[error("{0}. See hive --help")]
    Asset(#[from] AssetError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A question.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A first stretch of training.
    #[error(transparent)]
    Losses(#[from] LossesError),
    /// Held-out questions.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// A file.
    #[error("{what} {path}: {reason}")]
    File {
        /// "cannot read" or "cannot write".
        what: &'static str,
        /// Path.
        path: String,
        /// The system's words.
        reason: String,
    },
}

impl Fault {
    /// Wrong words.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// What another error says.
    fn failed(e: impl std::error::Error) -> Self {
        Self::Failed(e.to_string())
    }

    fn unreadable(path: &Path, e: &std::io::Error) -> Self {
        Self::File { what: "cannot read", path: path.display().to_string(), reason: e.to_string() }
    }

    fn unwritable(path: &Path, e: &std::io::Error) -> Self {
        Self::File { what: "cannot write", path: path.display().to_string(), reason: e.to_string() }
    }

    /// Exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Preset(_)
            | Self::Asset(_)
            | Self::Losses(LossesError::Asset(_) | LossesError::Stage { .. }) => 2,
            Self::Gpu(
                GpuError::NoAdapter
                | GpuError::AdapterNotFound { .. }
                | GpuError::NoDevice { .. }
                | GpuError::LimitTooSmall { .. },
            ) => 3,
            _ => 1,
        }
    }
}

/// What a command does with the words behind its name.
type Run = fn(&[String]) -> Result<(), Fault>;

/// Every command: its name with its words, a line about it, and what runs it.
const COMMANDS: [(&str, &str, Run); 15] = [
    ("app [LINK]", "open the window (in a browser: ./hive web)", app),
    ("demo", "align tower and language model in three stages on pictures, with a report (minutes)", demo::run),
    ("train", "the same with your choice of preset, data, seed; can be stopped and resumed", train::run),
    ("pretrain vision|language", "make start weights", pretrain::run),
    ("ask IMAGE QUESTION", "ask the shipped model, or --model FILE or FOLDER, about a picture", ask::ask),
    (
        "chat --model FOLDER",
        "talk with a language model or a vision-language model from Hugging Face's files",
        chat::chat,
    ),
    ("fetch ID|URL", "get such a model from a hub or a web server; its id then stands for its folder", fetch::run),
    ("plan FOLDER", "what such a model takes: disk, GPU, host", chat::plan),
    ("quantise FOLDER", "what packing its weights costs: error of every tensor, loss on a text", quantise::run),
    (
        "convert FROM OUT",
        "a checkpoint or a folder in another form: for transformers, another type, shards, parts merged",
        convert::run,
    ),
    ("eval", "held-out accuracy by kind of question, with own, swapped and no pictures", ask::eval),
    ("parity DIR", "check this GPU against published fixtures", parity::run),
    ("verify [OP]", "check every operation on this GPU against its reference", verify::verify),
    ("bench gemm|step|decode|encode|frames", "measure", bench::run),
    ("doctor", "adapters, limits, self-test", verify::doctor),
];

#[cfg(feature = "gui")]
use window::app;

#[cfg(not(feature = "gui"))]
fn app(_: &[String]) -> Result<(), Fault> {
    Err(Fault::Failed("this build has no window; ./hive app builds one that has".into()))
}

fn help() -> String {
    let lines: String = COMMANDS.iter().map(|(usage, about, _)| format!("  hive {usage:<24} {about}\n")).collect();
    format!(
        "hive: linked attention between a vision encoder and a small language model, in WebGPU compute shaders\n\n{lines}\n\
         Every command: --adapter NAME, --seed N, --json, --help. \
         Exit codes: 0 fine, 1 failed, 2 usage, 3 no usable GPU.\n"
    )
}

/// Runs a command line (without the program's name); returns the exit code.
#[must_use]
pub fn run(list: &[String]) -> u8 {
    let Some((command, rest)) = list.split_first() else {
        say(&help());
        return 2;
    };
    let result = match command.as_str() {
        "help" | "--help" | "-h" => {
            say(&help());
            Ok(())
        }
        "--version" | "-V" => {
            say(concat!("hive ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        name => match COMMANDS.iter().find(|(usage, ..)| usage.split(' ').next() == Some(name)) {
            Some((.., run)) => run(rest),
            None => Err(Fault::usage(format!("no command called \"{name}\""))),
        },
    };
    match result {
        Ok(()) => 0,
        Err(fault) => {
            warn(&format!("hive: {fault}\n"));
            fault.code()
        }
    }
}

/// Writes to standard output; a closed pipe ends the program quietly, as it does other tools.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes to standard error.
fn warn(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The adapter that the arguments choose.
fn open_gpu(args: &Args) -> Result<Gpu, Fault> {
    let options = GpuOptions { adapter: args.option("adapter").map(str::to_owned), ..GpuOptions::default() };
    Ok(platform::block_on(Gpu::new(&options))?)
}

/// A file's contents.
fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    platform::read_file(path).map_err(|e| Fault::unreadable(path, &e))
}

/// Writes a file, all or nothing.
fn write(path: &Path, contents: &[u8]) -> Result<(), Fault> {
    platform::write_file(path, contents).map_err(|e| Fault::unwritable(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_row_for_every_command() {
        let readme = include_str!("../../README.md").replace("\\|", "|");
        let row = |line: &str| Some(line.strip_prefix("| `hive ")?.split_once("` |")?.0.to_owned());
        let mut rows: Vec<String> = readme.lines().filter_map(row).collect();
        let mut commands: Vec<&str> = COMMANDS.iter().map(|c| c.0).collect();
        rows.sort();
        commands.sort_unstable();
        assert_eq!(rows, commands);
    }
}
