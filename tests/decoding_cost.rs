//! What one token costs: dispatches, and how the cost grows with the text.

use std::io::Write as _;
use std::sync::Arc;

use hive::engine::speed;
use hive::gpu::{AdapterKind, Gpu, GpuOptions};
use hive::model::decode::{Decoder, Prompt};
use hive::model::load::Formats;
use hive::model::model::Model;
use hive::nn::Params;
use hive::ops::packed::Format;
use hive::ops::sample::Settings;
use hive::platform::block_on;

use crate::common::{difference, done, every_gpu, gpu};

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
    let Some(devices) = every_gpu() else { return };
    let gpu = &devices[0];
    let (mut config, wiring) = speed::size("smollm2-135m").unwrap();
    config.text_config.num_hidden_layers = 6;
    let mut decoder = block_on(speed::random(gpu, &config, wiring, Formats::of(Format::Int8), 1040)).unwrap();
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
    done(gpu);
}

/// A piece of a prompt looks at what it can see, not at all the room there is.
#[test]
fn a_prompt_costs_the_same_in_any_room() {
    let Some(devices) = every_gpu() else { return };
    let gpu = &devices[0];
    let (mut config, wiring) = speed::size("smollm2-135m").unwrap();
    config.text_config.num_hidden_layers = 2;
    config.text_config.vocab_size = 1024;
    let ids: Vec<u32> = (0..200).map(|i| (i * 31 + 7) % 1024).collect();
    let measured = [256, 4096].map(|room| {
        let mut decoder = block_on(speed::random(gpu, &config, wiring, Formats::of(Format::F32), room)).unwrap();
        let prompt = Prompt { ids: &ids, ..Prompt::default() };
        block_on(decoder.begin(prompt, &Settings::default())).unwrap();
        block_on(decoder.next(1)).unwrap();
        let logits = block_on(decoder.logits()).unwrap();
        let mut attention = || {
            let kernels = block_on(decoder.prompt_program(0).profile()).unwrap();
            kernels.iter().filter(|k| k.kernel.starts_with("attention/forward")).map(|k| k.secs).sum::<f64>()
        };
        let mut times: Vec<f64> = (0..7).map(|_| attention()).collect();
        times.sort_by(f64::total_cmp);
        (logits, times[3])
    });
    let [(small, little), (large, much)] = measured;
    assert!(difference(&large, &small) < 1e-6, "{:e}", difference(&large, &small));
    say(&format!("attention of 128 tokens in a room of 4096: {:.2} of that in a room of 256", much / little));
    assert!(much < 3.0 * little, "{much:e} s, {little:e} s in a small room");
    done(gpu);
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
