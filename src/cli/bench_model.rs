//! `hive bench decode` and `hive bench encode`: models of real size, beside what the adapter can do at best.

use serde_json::{Value, json};

use super::args::Args;
use super::{Fault, chat, open_gpu, say};
use crate::engine::answers::open::ROOM;
use crate::engine::speed::{self, Roofline};
use crate::gpu::{Gpu, GpuError, Timing};
use crate::model::decode::Decoder;
use crate::model::load::Formats;
use crate::ops::packed::Format;
use crate::platform::block_on;

const HELP: &str = "\
hive bench decode    tokens per second after 16, 256 and 1024 others, bytes of weights read per second, share per kernel
hive bench encode    the tower with what becomes of its states, for a picture or one square of it, and a piece of the prompt of
                     128 tokens: time, GFLOP/s, share per kernel

Both first measure the adapter's roofline: a copy of 64 MiB, and a large product.

  --size NAME        mobilellm-600m with SigLIP-L and 8 links (default), qwen2-0.5b behind SigLIP-L, smollm2-135m, smolvlm-256m;
                     random weights
  --model FOLDER     a model of your own instead
  --weights FORMAT   f32, f16 (default), int8 or int4
  --context N,N,...  tokens before the measured ones
  --prompt N         encode: a whole prompt of so many tokens, beside its pieces
  --tokens N         tokens per submission (default 8)
  --runs N           medians of so many (default 5)
";

const OPTIONS: [&str; 8] = ["size", "model", "weights", "context", "prompt", "tokens", "runs", "room"];
/// Kernels that are listed.
const LISTED: usize = 12;

/// What is measured on what.
struct Bench {
    gpu: Gpu,
    decoder: Decoder,
    name: String,
    format: Format,
    roofline: Roofline,
    runs: usize,
    json: bool,
}

impl Bench {
    /// Reads the arguments and makes the model; none: help was asked for, and given.
    fn open(list: &[String], room: usize) -> Result<Option<(Args, Self)>, Fault> {
        let Some(args) = Args::or_help(list, (1, &OPTIONS), &[], HELP)? else { return Ok(None) };
        let format = chat::format_of(&args)?;
        let runs = args.number("runs")?.unwrap_or(5);
        let gpu = open_gpu(&args)?;
        let name = args.option("model").or(args.option("size")).unwrap_or(speed::SIZES[0]).to_owned();
        let decoder = if args.option("model").is_some() {
            chat::load(&args, &gpu, Some(room))?.into_decoder()
        } else {
            let (config, wiring) = speed::size(&name)
                .ok_or_else(|| Fault::usage(format!("--size is {}, not \"{name}\"", speed::SIZES.join(", "))))?;
            block_on(speed::random(&gpu, &config, wiring, Formats::of(format), room))?
        };
        let roofline = block_on(speed::roofline(&gpu, runs))?;
        let bench = Self { gpu, decoder, name, format, roofline, runs, json: args.flag("json") };
        if !bench.json {
            let summary = &bench.gpu.summary;
            say(&format!(
                "{} ({}), median of {runs}\nroofline: copy {:.1} GB/s, product {:.1} GFLOP/s\n{} in {}\n",
                summary.name,
                summary.driver,
                roofline.copy * 1e-9,
                roofline.product * 1e-9,
                bench.name,
                format.name()
            ));
        }
        Ok(Some((args, bench)))
    }

    fn head(&self) -> Value {
        json!({
            "adapter": self.gpu.summary.name,
            "model": self.name,
            "weights": self.format.name(),
            "runs": self.runs,
            "copy_bytes_per_second": self.roofline.copy,
            "product_flops_per_second": self.roofline.product,
        })
    }
}

fn kernels_json(kernels: &[Timing]) -> Value {
    let row = |k: &Timing| json!({"kernel": k.kernel, "dispatches": k.dispatches, "seconds": k.secs, "flops": k.flops});
    kernels.iter().map(row).collect()
}

fn say_kernels(kernels: &[Timing]) {
    let total: f64 = kernels.iter().map(|k| k.secs).sum();
    for k in kernels.iter().take(LISTED) {
        say(&format!(
            "  {:28} {:5.1} %  {:4} dispatches  {:8.2} ms  {:8.2} GFLOP/s\n",
            k.kernel,
            100.0 * k.secs / total.max(1e-12),
            k.dispatches,
            k.secs * 1e3,
            k.flops / k.secs.max(1e-12) * 1e-9,
        ));
    }
}

pub(super) fn decode(list: &[String]) -> Result<(), Fault> {
    const ROOM: usize = 1200;
    let Some((args, mut bench)) = Bench::open(list, ROOM)? else { return Ok(()) };
    let count: usize = args.number("tokens")?.unwrap_or(8);
    let room = bench.decoder.room();
    let contexts = match args.option("context") {
        None => vec![16, 256, 1024],
        Some(text) => text
            .split(',')
            .map(|n| n.trim().parse().ok())
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(|| Fault::usage(format!("--context is a list of numbers, not \"{text}\"")))?,
    };
    if let Some(far) = contexts.iter().find(|c| **c + count >= room) {
        return Err(Fault::usage(format!("{count} tokens after {far} others do not fit in a room of {room}")));
    }
    let (dispatches, flops) = (bench.decoder.step_program().dispatches(), bench.decoder.step_program().flops());
    let weights = speed::weights_per_token(&bench.decoder) as f64;
    let mut rows = Vec::new();
    for context in contexts {
        let (gpu, decoder) = (&bench.gpu, &mut bench.decoder);
        let token = block_on(speed::token(gpu, decoder, context.max(1), count, bench.runs))?;
        let rate = weights / token.secs;
        if bench.json {
            rows.push(json!({"context": context, "seconds": token.secs, "tokens_per_second": 1.0 / token.secs,
                "bytes_per_second": rate, "attention": token.attention(), "kernels": kernels_json(&token.kernels)}));
            continue;
        }
        say(&format!(
            "\nafter {context} tokens: {:.2} tokens/s, {:.1} ms, {dispatches} dispatches; {:.1} MB of weights, {:.2} GB/s ({:.0} % of the copy), {:.2} GFLOP/s; attention {:.1} %\n",
            1.0 / token.secs,
            token.secs * 1e3,
            weights * 1e-6,
            rate * 1e-9,
            100.0 * rate / bench.roofline.copy,
            flops / token.secs * 1e-9,
            100.0 * token.attention(),
        ));
        say_kernels(&token.kernels);
    }
    if bench.json {
        let mut all = bench.head();
        all["dispatches"] = json!(dispatches);
        all["weight_bytes"] = json!(weights);
        all["contexts"] = json!(rows);
        say(&format!("{all}\n"));
    }
    Ok(())
}

/// Tokens of a piece of a prompt.
const PIECE: usize = 128;

pub(super) fn encode(list: &[String]) -> Result<(), Fault> {
    let Some((args, mut bench)) = Bench::open(list, ROOM)? else { return Ok(()) };
    let whole: Option<usize> = args.number("prompt")?;
    if let Some(tokens) = whole.filter(|tokens| *tokens == 0 || *tokens + 1 >= bench.decoder.room()) {
        let room = bench.decoder.room();
        return Err(Fault::usage(format!("--prompt is at least 1 and less than the room of {room}, not {tokens}")));
    }
    let mut all = bench.head();
    let image =
        bench.decoder.image_program().map(|p| block_on(speed::program(&bench.gpu, p, bench.runs))).transpose()?;
    let prompt = block_on(piece(&mut bench, 0))?;
    let parts = [("picture", image), ("prompt of 128 tokens", Some(prompt))];
    for (name, speed) in parts.into_iter().filter_map(|(name, speed)| Some((name, speed?))) {
        let rate = speed.flops / speed.secs;
        if bench.json {
            all[name] = json!({"seconds": speed.secs, "flops": speed.flops, "dispatches": speed.dispatches,
                "kernels": kernels_json(&speed.kernels)});
            continue;
        }
        say(&format!(
            "\n{name}: {:.1} ms, {} dispatches, {:.1} GFLOP, {:.2} GFLOP/s ({:.0} % of the product)\n",
            speed.secs * 1e3,
            speed.dispatches,
            speed.flops * 1e-9,
            rate * 1e-9,
            100.0 * rate / bench.roofline.product,
        ));
        say_kernels(&speed.kernels);
    }
    if let Some(tokens) = whole {
        let secs = block_on(speed::reading(&bench.gpu, &mut bench.decoder, tokens, bench.runs))
            .map_err(|e| Fault::Failed(e.to_string()))?;
        // A piece attends to all before it: what one in the middle takes is the mean.
        let piece = block_on(piece(&mut bench, tokens.saturating_sub(PIECE) / 2))?.secs;
        let of_its_pieces = secs / (piece * tokens as f64 / PIECE as f64);
        if bench.json {
            all["prompt"] = json!({"tokens": tokens, "seconds": secs, "of_its_pieces": of_its_pieces});
        } else {
            say(&format!(
                "\nprompt of {tokens} tokens: {:.1} ms, {:.0} tokens/s, {of_its_pieces:.2} of its pieces\n",
                secs * 1e3,
                tokens as f64 / secs,
            ));
        }
    }
    if bench.json {
        say(&format!("{all}\n"));
    }
    Ok(())
}

/// A piece of the prompt after `start` other tokens.
async fn piece(bench: &mut Bench, start: usize) -> Result<speed::ProgramSpeed, GpuError> {
    let (gpu, runs) = (&bench.gpu, bench.runs);
    speed::program(gpu, bench.decoder.prompt_program(start), runs).await
}
