//! L7: the command line. Subcommands print what people read, or JSON with `--json`; exit codes: 0 all right, 1 a check or
//! a run failed, 2 wrong usage, 3 no usable GPU.

pub mod args;
pub mod ask;
pub mod bench;
mod bench_model;
pub mod chat;
pub mod check;
pub mod convert;
pub mod demo;
pub mod fetch;
pub mod pretrain;
pub mod quantise;
pub mod report;
pub mod train;
#[cfg(feature = "gui")]
pub mod window;

use std::path::Path;

use args::Args;
use thiserror::Error;

use crate::engine::answers::assistant::ReplyError;
use crate::engine::answers::open::OpenError;
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
    /// A model to answer.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A question.
    #[error(transparent)]
    Reply(#[from] ReplyError),
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

const HELP: &str = "\
hive: linked attention between a vision encoder and a small language model, in WebGPU compute shaders

  hive app [LINK]               open the window (in a browser: ./hive web)
  hive demo                     align tower and language model in three stages on pictures, with a report (minutes)
  hive train                    the same with your choice of preset, data, seed; can be stopped and resumed
  hive pretrain vision|language make start weights
  hive ask IMAGE QUESTION       ask the shipped model, or --model FILE or FOLDER, about a picture
  hive chat --model FOLDER      talk with a language model or a vision-language model from Hugging Face's files
  hive fetch ID|URL             get such a model from a hub or a web server; its id then stands for its folder
  hive plan FOLDER              what such a model takes: disk, GPU, host
  hive quantise FOLDER          what packing its weights costs: error of every tensor, loss on a text
  hive convert FROM OUT         a checkpoint or a folder in another form: for transformers, another type, shards, parts merged
  hive eval                     held-out accuracy by kind of question, with own, swapped and no pictures
  hive parity DIR               check this GPU against published fixtures
  hive verify [OP]              check every operation on this GPU against its reference
  hive bench gemm|step|decode|encode|frames   measure
  hive doctor                   adapters, limits, self-test

Every command: --adapter NAME, --seed N, --json, --help. Exit codes: 0 fine, 1 failed, 2 usage, 3 no usable GPU.
";

/// Runs a command line (without the program's name); returns the exit code.
#[must_use]
pub fn run(list: &[String]) -> u8 {
    let Some((command, rest)) = list.split_first() else {
        say(HELP);
        return 2;
    };
    let help = |text: &str| {
        say(text);
        Ok(())
    };
    let result = match command.as_str() {
        #[cfg(feature = "gui")]
        "app" => window::app(rest),
        #[cfg(feature = "gui")]
        "bench" if rest.first().is_some_and(|w| w == "frames") => window::frames(&rest[1..]),
        #[cfg(not(feature = "gui"))]
        "app" => Err(Fault::Failed("this build has no window; ./hive app builds one that has".into())),
        "demo" => demo::run(rest),
        "train" => train::run(rest),
        "pretrain" => pretrain::run(rest),
        "ask" => ask::ask(rest),
        "chat" => chat::chat(rest),
        "plan" => chat::plan(rest),
        "quantise" => quantise::quantise(rest),
        "convert" => convert::convert(rest),
        "fetch" => fetch::run(rest),
        "eval" => ask::eval(rest),
        "parity" => check::parity(rest),
        "verify" => check::verify(rest),
        "doctor" => check::doctor(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => help(HELP),
        "--version" | "-V" => help(concat!("hive ", env!("CARGO_PKG_VERSION"), "\n")),
        other => Err(Fault::usage(format!("no command called \"{other}\""))),
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
pub fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes to standard error.
pub fn warn(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The adapter that the arguments choose.
///
/// # Errors
/// No usable GPU.
pub fn open_gpu(args: &Args) -> Result<Gpu, Fault> {
    let options = GpuOptions { adapter: args.option("adapter").map(str::to_owned), ..GpuOptions::default() };
    Ok(platform::block_on(Gpu::new(&options))?)
}

/// A file's contents.
///
/// # Errors
/// A sentence with the path.
pub fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    platform::read_file(path).map_err(|e| unreadable(path, &e))
}

/// A file or folder that cannot be read.
fn unreadable(path: &Path, e: &std::io::Error) -> Fault {
    Fault::File { what: "cannot read", path: path.display().to_string(), reason: e.to_string() }
}

/// Writes a file, all or nothing.
///
/// # Errors
/// A sentence with the path.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), Fault> {
    platform::write_file(path, contents).map_err(|e| Fault::File {
        what: "cannot write",
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}
