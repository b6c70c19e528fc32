//! `hive bench packed`: rows times packed weights, unpacked first and decoded on the way.

use std::sync::Arc;

use serde_json::json;

use super::args::Args;
use super::{Fault, open_gpu, say};
use crate::engine::speed;
use crate::gpu::{DType, Gpu, GpuError, Recorder};
use crate::ops::matmul::Epilogue;
use crate::ops::packed::{self, Format, Matrix, Product};
use crate::platform::block_on;

/// Rows that are tried: pieces of a prompt, and the patches of a square.
const ROWS: [usize; 6] = [16, 32, 64, 128, 256, 1024];
const WAYS: [Product; 2] = [Product::Unpacked, Product::Tile];

/// Seconds of the product of (m, k) and (n, k).
async fn seconds(gpu: &Gpu, how: Product, format: Format, [m, n, k]: [usize; 3], runs: usize) -> Result<f64, GpuError> {
    let x = gpu.tensor([m, k], DType::F32, "x");
    let w = Arc::new(Matrix::new(gpu, format, n, k)).whole();
    let mut r = Recorder::new(gpu);
    packed::product(&mut r, how, &x, &w, Epilogue::default(), "y");
    let program = r.finish();
    speed::median(gpu, runs, || program.run()).await
}

/// A matrix of `--size` N x K (1536x576) in every format, by every way; the used one is marked.
pub(super) fn run(args: &Args, runs: usize) -> Result<(), Fault> {
    let text = args.word(1).unwrap_or("1536x576");
    let size: Vec<usize> = text.split('x').filter_map(|v| v.parse().ok()).filter(|v| *v > 0).collect();
    let [n, k] = *size.as_slice() else { return Err(Fault::usage(format!("sizes are NxK, not \"{text}\""))) };
    let gpu = open_gpu(args)?;
    if !args.flag("json") {
        let summary = &gpu.summary;
        say(&format!("{} ({}), weights {text}, median of {runs}\n", summary.name, summary.driver));
        say("format   rows   unpacked       tile   GFLOP/s\n");
    }
    let mut rows = Vec::new();
    for format in Format::ALL {
        let w = Arc::new(Matrix::new(&gpu, format, 1, 1)).whole();
        for m in ROWS {
            let secs: Vec<f64> = WAYS
                .into_iter()
                .map(|how| block_on(seconds(&gpu, how, format, [m, n, k], runs)))
                .collect::<Result<_, _>>()?;
            let used = Product::of(&gpu, &w);
            let rates: Vec<f64> = secs.iter().map(|s| 2.0 * (m * n * k) as f64 / s * 1e-9).collect();
            if args.flag("json") {
                let ways: Vec<String> = WAYS.iter().map(|how| format!("{how:?}").to_lowercase()).collect();
                let used = format!("{used:?}").to_lowercase();
                rows.push(json!({"format": format, "rows": m, "ways": ways, "gflops": rates, "used": used}));
                continue;
            }
            let cells = WAYS.iter().zip(&rates).map(|(how, rate)| {
                let mark = if *how == used { "*" } else { " " };
                format!(" {rate:9.2}{mark}")
            });
            say(&format!("{:6} {m:6} {}\n", format.name(), cells.collect::<String>()));
        }
    }
    if args.flag("json") {
        say(&format!("{}\n", json!({"adapter": gpu.summary.name, "size": [n, k], "runs": runs, "products": rows})));
    }
    Ok(())
}
