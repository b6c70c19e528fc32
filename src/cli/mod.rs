//! L7: the command line. Subcommands print what people read, or JSON with `--json`; exit codes: 0 all right, 1 a check or
//! a run failed, 2 wrong usage, 3 no usable GPU.

pub mod args;
mod asking;
pub mod bench;
mod bench_links;
mod bench_model;
mod bench_packed;
mod benchmark;
pub mod chat;
mod convert;
pub mod demo;
mod depths;
mod eval;
mod eval_report;
pub mod fault;
mod fetch;
mod figures;
mod folder;
mod lessons;
mod output;
mod parity;
mod photos;
mod plan;
mod pretrain;
mod probe;
mod probe_report;
mod progress;
mod quantise;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod shared;
mod study;
mod study_report;
mod train;
mod verify;
#[cfg(feature = "gui")]
mod window;

use fault::Fault;
use output::{say, warn};
use shared::{open_gpu, write};

/// What a command does with the words behind its name.
type Run = fn(&[String]) -> Result<(), Fault>;

/// Every command: its name with its words, a line about it, and what runs it.
const COMMANDS: &[(&str, &str, Run)] = &[
    ("app [LINK]", "open the window (in a browser: ./hive web)", app),
    ("demo", "align tower and language model in three stages on pictures, with a report (minutes)", demo::run),
    ("train", "the same with your choice of preset, data, seed; can be stopped and resumed", train::run),
    ("pretrain vision|language", "make start weights", pretrain::run),
    ("ask IMAGE QUESTION", "ask a shipped model, or --model FILE or FOLDER, about a picture", chat::ask),
    (
        "chat --model FOLDER",
        "talk with a language model or a vision-language model from Hugging Face's files",
        chat::chat,
    ),
    ("fetch ID|URL", "get such a model from a hub or a web server; its id then stands for its folder", fetch::run),
    ("plan FOLDER", "what such a model takes: disk, GPU, host; or a step of training, with --preset", plan::run),
    ("quantise FOLDER", "what packing its weights costs: error of every tensor, loss on a text", quantise::run),
    (
        "convert FROM OUT",
        "a checkpoint or a folder in another form: for transformers, another type, shards, parts merged",
        convert::run,
    ),
    ("depths", "where in a tower the answers live: probes per depth and attribute", depths::run),
    (
        "probe --data DIR",
        "what a frozen tower knows of a published set of pictures: attentive and linear probes",
        probe::run,
    ),
    ("study", "links at several depths against single depths and the flattened control, and a report", study::run),
    ("lessons", "measure what the lessons quote: stages, depths, answers of the trained model", lessons::run),
    ("serve", "a server on this machine for clients of OpenAI's chat completions", serve),
    ("eval", "held-out accuracy by kind of question, with own, swapped and no pictures", eval::eval),
    ("parity DIR", "check this GPU against published fixtures", parity::run),
    ("verify [OP]", "check every operation on this GPU against its reference", verify::verify),
    ("bench gemm|packed|step|links|decode|encode|frames", "measure", bench::run),
    ("doctor", "adapters, limits, self-test", verify::doctor),
];

#[cfg(feature = "gui")]
use window::app;

#[cfg(not(feature = "gui"))]
fn app(_: &[String]) -> Result<(), Fault> {
    Err(Fault::Failed("this build has no window; ./hive app builds one that has".into()))
}

#[cfg(feature = "serve")]
fn serve(list: &[String]) -> Result<(), Fault> {
    serve::run(list)
}

#[cfg(not(feature = "serve"))]
fn serve(_: &[String]) -> Result<(), Fault> {
    Err(Fault::Failed(
        "this build has no server; ./hive serve builds one that has (cargo run --release --features serve -- serve)"
            .into(),
    ))
}

fn help() -> String {
    // Words that are longer than their column stand off a little.
    let gap = |usage: &str| if usage.len() > 24 { "   " } else { " " };
    let line = |(usage, about, _): &(&str, &str, Run)| format!("  hive {usage:<24}{}{about}\n", gap(usage));
    let lines: String = COMMANDS.iter().map(line).collect();
    format!(
        "hive: linked attention between a vision encoder and a small language model, in WebGPU compute shaders\n\n{lines}\n\
         Every command: --adapter NAME, --seed N, --json, --help. \
         Exit codes: 0 fine, 1 failed, 2 usage, 3 no usable GPU.\n"
    )
}

/// The same with words as the system gives them, which may be no text.
#[must_use]
pub fn run_os(words: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    match words.map(std::ffi::OsString::into_string).collect::<Result<Vec<_>, _>>() {
        Ok(list) => run(&list),
        Err(word) => {
            let word = word.to_string_lossy();
            warn(&format!(
                "hive: the word \"{word}\" is not Unicode (each \u{fffd} stands for what is not). Rename the file, or give its folder\n"
            ));
            2
        }
    }
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
