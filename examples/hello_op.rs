//! One operation on the GPU, beside its reference: `cargo run --example hello_op`.
#![allow(clippy::print_stdout, reason = "an example")]

use hive::gpu::{Gpu, GpuError, GpuOptions, Recorder};
use hive::ops::case::error_of;
use hive::ops::layer_norm;
use hive::platform::block_on;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (rows, cols, eps) = (3, 8, 1e-5_f32);
    let x: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.7).sin()).collect();
    let (gain, bias) = (vec![1.5; cols], vec![0.25; cols]);

    let y = block_on(on_gpu(&x, &gain, &bias, cols, eps))?;

    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let reference = layer_norm::oracle::forward(&wide(&x), &wide(&gain), &wide(&bias), f64::from(eps));
    let error = error_of(&y, &reference)?;
    println!("layer_norm of {rows} rows of {cols}: {:.3?} ...", &y[..4]);
    println!("largest error against the f64 reference: {error:.1e}");
    if error < 1e-5 { Ok(()) } else { Err("this adapter computes something else".into()) }
}

async fn on_gpu(x: &[f32], gain: &[f32], bias: &[f32], cols: usize, eps: f32) -> Result<Vec<f32>, GpuError> {
    let gpu = Gpu::new(&GpuOptions::default()).await?;
    println!("adapter: {}", gpu.summary.name);
    let x = gpu.upload(x, [x.len() / cols, cols], "x");
    let (gain, bias) = (gpu.upload(gain, [cols], "gain"), gpu.upload(bias, [cols], "bias"));

    // Record once, run as often as you like.
    let mut r = Recorder::new(&gpu);
    let (y, _saved) = layer_norm::forward(&mut r, &x, &gain, &bias, eps);
    let program = r.finish();
    program.run();
    gpu.read_f32(&y).await
}
