//! What one token costs: dispatches, and how the cost grows with the text.

use std::io::Write as _;
use std::sync::Arc;

use hive::engine::speed;
use hive::gpu::{AdapterKind, Gpu, GpuOptions};
use hive::model::decode::Decoder;
use hive::model::load::Formats;
use hive::model::model::Model;
use hive::nn::Params;
use hive::ops::packed::Format;
use hive::platform::block_on;

use crate::common::{done, gpu};

/// Largest ratio allowed between a token late in the text and one early, attention left out.
const FLAT: f64 = 1.5;

/// A decoder of a published size in int4, whose programs are recorded and never run.
fn recorded(options: &GpuOptions, size: &str) -> usize {
    let gpu = block_on(Gpu::new(options)).unwrap();
    let (config, wiring) = speed::size(size).unwrap();
    let (model, specs) = Model::new(&config, wiring);
    let formats = Formats::of(Format::Int4);
    let params = Params::frozen(&gpu, specs, &model.stacks(), &|stack| formats.by_role(stack.role));
    let decoder = block_on(Decoder::new(Arc::new(model), Arc::new(params), 1024, true)).unwrap();
    decoder.step_program().dispatches()
}

#[test]
fn a_token_takes_few_dispatches() {
    let Some(_one_at_a_time) = gpu() else { return };
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        let options = GpuOptions { kind: Some(kind), ..GpuOptions::default() };
        let counts = ["mobilellm-600m", "qwen2-0.5b"].map(|size| recorded(&options, size));
        say(&format!("dispatches per token, {kind:?} kernels: MobileLLM-600M {}, Qwen2-0.5B {}", counts[0], counts[1]));
        assert!(counts[0] <= 300 && counts[1] <= 180, "{kind:?}: {counts:?}");
    }
}

#[test]
fn later_tokens_cost_more_in_attention_only() {
    let Some(gpu) = gpu() else { return };
    let (mut config, wiring) = speed::size("smollm2-135m").unwrap();
    config.text_config.num_hidden_layers = 6;
    let mut decoder = block_on(speed::random(&gpu, &config, wiring, Formats::of(Format::Int8), 1040)).unwrap();
    let mut rest = |context: usize| {
        decoder.place(context);
        let kernels = block_on(decoder.step_program().profile()).unwrap();
        let all: f64 = kernels.iter().map(|k| k.secs).sum();
        all * (1.0 - speed::share(&kernels, "cached_attention/"))
    };
    // In pairs, as the machine does other things, too.
    let mut pair = || {
        let early = rest(16);
        rest(1024) / early
    };
    let mut ratios: Vec<f64> = (0..15).map(|_| pair()).collect();
    ratios.sort_by(f64::total_cmp);
    say(&format!("a token after 1024 others, attention left out: {:.2} of one after 16", ratios[7]));
    assert!((1.0 / FLAT..FLAT).contains(&ratios[7]), "{ratios:.2?}");
    done(&gpu);
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
