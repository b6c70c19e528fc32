//! `hive bench links`: a training step of a linked model beside one of the flattened control, at several lengths of text.

use super::args::Args;
use super::{Fault, open_gpu, say};
use crate::engine::assets;
use crate::gpu::{Gpu, GpuError};
use crate::model::inputs::HostBatch;
use crate::model::model::Wiring;
use crate::platform::{self, block_on};
use crate::train::cost::{Cost, trainer};
use crate::train::recipe::{Preset, StageRecipe};
use crate::train::stage::Stage;
use crate::train::statistics::median;
use crate::train::trainer::Trainer;

/// Tokens of text, by default.
const LENGTHS: &str = "16,64,256";

/// What a step of one wiring takes.
struct Step {
    secs: f64,
    bytes: u64,
    flops: f64,
}

impl Step {
    /// With the times of its steps.
    fn new(trainer: &Trainer, times: Vec<f64>) -> Self {
        let cost = Cost::of(trainer);
        Self {
            secs: median(times).unwrap_or(f64::NAN),
            bytes: cost.parameter_bytes + cost.temporary_bytes,
            flops: cost.flops,
        }
    }
}

pub(super) fn run(args: &Args, runs: usize) -> Result<(), Fault> {
    let gpu = open_gpu(args)?;
    let mut preset = assets::preset(args.option("preset").unwrap_or(assets::FIRST))?;
    let list = args.option("text").unwrap_or(LENGTHS);
    let wrong = |_unparsed| Fault::usage(format!("--text needs lengths such as {LENGTHS}, not \"{list}\""));
    let lengths: Vec<usize> = list.split(',').map(|n| n.trim().parse().map_err(wrong)).collect::<Result<_, _>>()?;
    let number = args.number("stage")?.unwrap_or(2);
    let none = || Fault::usage(format!("{} has no stage {number}", preset.name));
    let stage = Stage::ALL.into_iter().find(|s| s.number() == number).ok_or_else(none)?;
    let recipe = preset.stage(stage).cloned().ok_or_else(none)?;
    say(&format!(
        "{} ({}), preset {}, stage {number}, {} patches, median of {runs}; linked : flattened\n{:>6}  {:>30}  {:>30}  {:>30}\n",
        gpu.summary.name,
        gpu.summary.driver,
        preset.name,
        preset.model.vision_config.tokens(),
        "text",
        "ms per step",
        "MB",
        "GFLOP",
    ));
    for tokens in lengths {
        preset.tokens = tokens;
        let [linked, flattened] = block_on(steps(&gpu, &preset, stage, &recipe, runs))?;
        let cell = |of: fn(&Step) -> f64| {
            let (a, b) = (of(&linked), of(&flattened));
            format!("{a:9.2} : {b:9.2} = {:5.2}", a / b)
        };
        say(&format!(
            "{tokens:>6}  {:>30}  {:>30}  {:>30}\n",
            cell(|s| s.secs * 1e3),
            cell(|s| s.bytes as f64 * 1e-6),
            cell(|s| s.flops * 1e-9)
        ));
    }
    Ok(())
}

/// Both wirings, in turn, so that what else the machine does weighs on both.
async fn steps(
    gpu: &Gpu,
    preset: &Preset,
    stage: Stage,
    recipe: &StageRecipe,
    runs: usize,
) -> Result<[Step; 2], GpuError> {
    let [mut linked, mut flattened] =
        [Wiring::Linked, Wiring::Flattened].map(|wiring| trainer(gpu, preset, wiring, stage, recipe));
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..=runs.max(1) {
        for (trainer, times) in [&mut linked, &mut flattened].into_iter().zip(&mut times) {
            let start = platform::now_secs();
            step(trainer, preset).await?;
            // The first compiles.
            if run > 0 {
                times.push(platform::now_secs() - start);
            }
        }
    }
    let [of_linked, of_flattened] = times;
    Ok([Step::new(&linked, of_linked), Step::new(&flattened, of_flattened)])
}

/// A step on rows that are full of text.
async fn step(trainer: &mut Trainer, preset: &Preset) -> Result<(), GpuError> {
    let (rows, tokens, v) = (trainer.recipe().batch, preset.tokens, &preset.model.vision_config);
    let ids: Vec<u32> = (0..rows * tokens).map(|i| (i % preset.model.text_config.vocab_size) as u32).collect();
    let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let pixels = vec![0.5; rows * v.num_channels * v.image_size * v.image_size];
    let (lengths, offset) = (vec![tokens as u32; rows], vec![0; rows]);
    let batch =
        HostBatch { ids: &ids, labels: &labels, lengths: &lengths, offset: &offset, pixels: &pixels, told: &[] };
    let window = vec![batch; trainer.recipe().accumulate];
    trainer.step(&window).await.map(drop)
}
