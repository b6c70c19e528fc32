//! `hive bench`: speed of products, of a training step, of the parts of a step.

use super::args::Args;
use super::{Fault, bench_links, bench_model, bench_packed, open_gpu, say};
use crate::engine::assets::{self, made_source};
use crate::engine::losses::losses;
use crate::engine::speed::median;
use crate::gpu::{Dest, Gpu, GpuError, Recorder};
use crate::model::model::Wiring;
use crate::nn::params::Weights;
use crate::ops::case::Array;
use crate::ops::matmul::{Epilogue, Order, Variant, product};
use crate::platform::{self, block_on};
use crate::train::run::Run;
use crate::train::stage::Stage;
use crate::train::statistics;

/// One measured product.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Product {
    pub variant: Variant,
    pub order: Order,
    /// GFLOP/s, median of the runs.
    pub gflops: f64,
}

/// Square products of side `n` by every variant and order, median of `runs`.
pub async fn products(gpu: &Gpu, [m, n, k]: [usize; 3], runs: usize) -> Result<Vec<Product>, GpuError> {
    let random = |rows, cols, label| {
        let values: Vec<f32> = Array::random(&[rows, cols], 1).values.iter().map(|v| *v as f32).collect();
        gpu.upload(&values, [rows, cols], label)
    };
    let y = gpu.tensor([m, n], crate::gpu::DType::F32, "y");
    let mut out = Vec::new();
    for variant in [Variant::Naive, Variant::Tile, Variant::Soft, Variant::Broadcast] {
        for order in [Order::Nt, Order::Nn, Order::Tn] {
            let (a, b) = match order {
                Order::Nt => (random(m, k, "a"), random(n, k, "b")),
                Order::Nn => (random(m, k, "a"), random(k, n, "b")),
                Order::Tn => (random(k, m, "a"), random(k, n, "b")),
            };
            let mut r = Recorder::new(gpu);
            product(&mut r, variant, order, &a, &b, Epilogue::default(), Dest::Write(&y));
            let program = r.finish();
            let secs = median(gpu, runs, || program.run()).await?;
            out.push(Product { variant, order, gflops: 2.0 * (m * n * k) as f64 / secs * 1e-9 });
        }
    }
    Ok(out)
}

/// Which training step is measured.
struct StepCase {
    preset: &'static str,
    wiring: Wiring,
}

const HELP: &str = "\
hive bench gemm [MxNxK]   products by every kernel variant, GFLOP/s (default 512x512x512)
hive bench packed [NxK]   rows times weights in f32, f16, int8 and int4: unpacked first, and by the kernels that decode on the way
                          (default 1536x576); * marks what is used on this adapter
hive bench step           a training step of shapes, pictures and the flattened control, in stages 1 to 3: time, share per
                          kernel, dispatches, GFLOP/s, bytes of GPU memory against the plan
hive bench links          a training step linked beside one flattened, at lengths of text of --text (16,64,256): time, bytes,
                          operations. Of --preset (grounds), in --stage (2)
hive bench decode|encode  a model of real size, token by token; its tower and its prompt. See hive bench decode --help
hive bench losses         losses of --steps updates (100) of --stage (2) of --preset (tiny): the same numbers everywhere
";

/// The command.
pub fn run(list: &[String]) -> Result<(), Fault> {
    match list.split_first() {
        Some((what, rest)) if what == "decode" => return bench_model::decode(rest),
        Some((what, rest)) if what == "encode" => return bench_model::encode(rest),
        #[cfg(feature = "gui")]
        Some((what, rest)) if what == "frames" => return super::window::frames(rest),
        _ => {}
    }
    let words = if list.first().is_some_and(|what| what == "gemm" || what == "packed") { 2 } else { 1 };
    let options = ["runs", "preset", "stage", "steps", "text"];
    let Some(args) = Args::or_help(list, (words, &options), &[], HELP)? else { return Ok(()) };
    let runs = args.number("runs")?.unwrap_or(5);
    match args.word(0) {
        Some("gemm") => gemm(&args, runs),
        Some("packed") => bench_packed::run(&args, runs),
        Some("step") => step(&args, runs),
        Some("links") => bench_links::run(&args, runs),
        Some("losses") => print_losses(&args),
        _ => Err(Fault::usage("hive bench needs gemm, packed, step, links, decode, encode or losses")),
    }
}

fn print_losses(args: &Args) -> Result<(), Fault> {
    let preset = args.option("preset").unwrap_or("tiny");
    let (stage, steps) = (args.number("stage")?.unwrap_or(2), args.number("steps")?.unwrap_or(100));
    let gpu = open_gpu(args)?;
    let start = platform::now_secs();
    let losses = block_on(losses(&gpu, preset, stage, steps, args.number("seed")?))?;
    let secs = platform::now_secs() - start;
    if args.flag("json") {
        say(&format!("{}\n", serde_json::json!({"adapter": gpu.summary.name, "losses": losses, "secs": secs})));
    } else {
        losses.iter().for_each(|loss| say(&format!("{loss}\n")));
    }
    Ok(())
}

fn gemm(args: &Args, runs: usize) -> Result<(), Fault> {
    let text = args.word(1).unwrap_or("512x512x512");
    let sizes: Vec<usize> = text.split('x').filter_map(|v| v.parse().ok()).collect();
    let sizes: [usize; 3] =
        sizes.try_into().map_err(|_unparsed| Fault::usage(format!("sizes are MxNxK, not \"{text}\"")))?;
    let gpu = open_gpu(args)?;
    let products = block_on(products(&gpu, sizes, runs))?;
    let naive =
        |order| products.iter().find(|p| p.variant == Variant::Naive && p.order == order).map_or(1.0, |p| p.gflops);
    if args.flag("json") {
        let rows: Vec<_> = products
            .iter()
            .map(|p| serde_json::json!({"variant": format!("{:?}", p.variant), "order": format!("{:?}", p.order), "gflops": p.gflops, "ratio": p.gflops / naive(p.order)}))
            .collect();
        say(&format!(
            "{}\n",
            serde_json::json!({"adapter": gpu.summary.name, "sizes": sizes, "runs": runs, "products": rows})
        ));
        return Ok(());
    }
    say(&format!("{} ({}), {text}, median of {runs}\n", gpu.summary.name, gpu.summary.driver));
    for p in &products {
        let used = if Variant::of(&gpu) == p.variant { "  <- used on this adapter" } else { "" };
        let name = format!("{:?}", p.variant).to_lowercase();
        let order = format!("{:?}", p.order).to_lowercase();
        say(&format!("{name:9} {order}  {:8.2} GFLOP/s  {:5.1}x naive{used}\n", p.gflops, p.gflops / naive(p.order)));
    }
    Ok(())
}

fn step(args: &Args, runs: usize) -> Result<(), Fault> {
    let gpu = open_gpu(args)?;
    say(&format!("{} ({}), median of {runs}\n", gpu.summary.name, gpu.summary.driver));
    let cases = [
        StepCase { preset: "shapes", wiring: Wiring::Linked },
        StepCase { preset: "pictures", wiring: Wiring::Linked },
        StepCase { preset: "shapes", wiring: Wiring::Flattened },
    ];
    for case in cases.iter().filter(|c| args.option("preset").is_none_or(|p| p == c.preset)) {
        for stage in Stage::ALL.into_iter().filter(|s| args.option("stage").is_none_or(|n| n == s.number().to_string()))
        {
            one_step(&gpu, case, stage, runs)?;
        }
    }
    Ok(())
}

fn one_step(gpu: &Gpu, case: &StepCase, stage: Stage, runs: usize) -> Result<(), Fault> {
    let mut preset = assets::preset(case.preset)?;
    preset.wiring = case.wiring;
    let before = gpu.allocated_bytes();
    let source = made_source(&preset)?;
    let mut run = Run::new(gpu, preset, source, &Weights::new())?;
    block_on(run.enter(stage))?;
    block_on(run.step())?;
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let start = platform::now_secs();
        block_on(run.step())?;
        times.push(platform::now_secs() - start);
    }
    let secs = statistics::median(times).unwrap_or(f64::NAN);
    let Some(trainer) = run.trainer() else { return Ok(()) };
    let (program, optimiser) = (trainer.program(), trainer.optimiser());
    let mut timings = block_on(program.profile())?;
    timings.extend(block_on(optimiser.program().profile())?);
    let total: f64 = timings.iter().map(|t| t.secs).sum();
    // The plan: what the parameters' slabs and the recording's temporaries add up to. Measured: every buffer made.
    let plan = trainer.params.bytes() + program.bytes();
    let measured = gpu.allocated_bytes() - before;
    let name = format!("{:?}", case.wiring).to_lowercase();
    say(&format!(
        "\n{} {name} stage {}: {:.1} ms per step, {} + {} dispatches, {:.2} GFLOP, {:.2} GFLOP/s, parameters {:.1} MB + activations {:.1} MB = {:.1} MB planned, {:.1} MB allocated\n",
        case.preset,
        stage.number(),
        secs * 1e3,
        program.dispatches(),
        optimiser.dispatches(),
        program.flops() * 1e-9,
        program.flops() / secs * 1e-9,
        trainer.params.bytes() as f64 * 1e-6,
        program.bytes() as f64 * 1e-6,
        plan as f64 * 1e-6,
        measured as f64 * 1e-6,
    ));
    for t in timings.iter().take(12) {
        say(&format!(
            "  {:28} {:5.1} %  {:4} dispatches  {:8.2} ms  {:7.2} GFLOP/s\n",
            t.kernel,
            100.0 * t.secs / total,
            t.dispatches,
            t.secs * 1e3,
            t.flops / t.secs.max(1e-12) * 1e-9,
        ));
    }
    Ok(())
}
