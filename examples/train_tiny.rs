//! A run of the library without the command line: twenty steps of the first stage on made-up shapes, from drawn weights.
//! `cargo run --release --example train_tiny`
#![allow(clippy::print_stdout, reason = "an example")]

use hive::data::dataset::Dataset;
use hive::data::tokenizer::Tokenizer;
use hive::data::worlds::Split;
use hive::gpu::{Gpu, GpuOptions};
use hive::nn::params::Weights;
use hive::platform::{block_on, now_secs};
use hive::train::evaluate::Picture;
use hive::train::recipe::Preset;
use hive::train::run::Run;
use hive::train::source::Source;
use hive::train::stage::Stage;

const STEPS: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A preset says everything: model, data, stages. Here stage 2, cut short.
    let mut preset = Preset::parse(include_str!("../assets/presets/shapes.json"))?;
    preset.stages.iter_mut().for_each(|(_, recipe)| recipe.steps = STEPS);

    // Data are a function of seed and index; nothing is stored.
    let sample = Dataset::Shapes.sample(Split::Train, preset.seed, 0, 2);
    println!("a picture of {} things; {} {}", sample.things, sample.turns[0].question, sample.turns[0].answer);
    let tokenizer = Tokenizer::new(Dataset::Shapes.words())?;
    let source = Source::made(Dataset::Shapes, tokenizer, preset.mix.clone(), preset.seed);

    block_on(train(preset, source))
}

async fn train(preset: Preset, source: Source) -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::new(&GpuOptions::default()).await?;
    println!("adapter: {}", gpu.summary.name);

    // No start weights: all are drawn.
    let mut run = Run::new(&gpu, preset, source, &Weights::new())?;
    run.enter(Stage::Adaptation).await?;
    let start = now_secs();
    while let Some(report) = run.step().await? {
        println!("step {:2}  loss {:.3}  gradient norm {:.2}", report.update, report.loss, report.grad_norm);
    }
    println!("{:.1} steps per second", STEPS as f64 / (now_secs() - start));
    run.leave().await?;

    let scores = run.evaluate(Picture::Own, 50).await?;
    println!("exact answers to held-out questions: {:.2} (hardly any yet)", scores.all.value());
    let file = run.checkpoint().await?.to_bytes(&run.specs(), hive::model::weights::Precision::F32)?;
    println!("a checkpoint of this run has {} bytes", file.len());
    Ok(())
}
