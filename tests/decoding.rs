//! Models to run: loading piece by piece, packed weights, fused decoding, and text, against published outputs.

use std::sync::Arc;

use crate::common::fixture::Fixture;
use crate::common::{difference, done, gpu};
use hive::gpu::Gpu;
use hive::model::config::{HiveConfig, LanguageConfig};
use hive::model::decode::{DecodeError, Decoder, Prompt, most_room};
use hive::model::files::Resolved;
use hive::model::load::{Formats, load};
use hive::model::memory::Plan;
use hive::model::model::{Model, Wiring};
use hive::ops::packed::Format;
use hive::ops::sample::Settings;
use hive::platform::block_on;

impl Fixture {
    fn decoder(&self, gpu: &Gpu, format: Format, room: usize) -> Decoder {
        let resolved = self.resolved();
        let (specs, stacks) = (self.specs.clone(), self.model.stacks());
        let formats = Formats::of(format);
        let params = block_on(load(gpu, &self.checkpoint, &resolved, specs, &stacks, formats, |_| true)).unwrap();
        block_on(Decoder::new(Arc::clone(&self.model), Arc::new(params), room, self.with_image)).unwrap()
    }

    fn whole(&self, name: &str) -> Vec<u32> {
        self.io[name].values.iter().map(|v| *v as u32).collect()
    }

    /// Real tokens, offset and pixels of row 0.
    fn row(&self) -> (Vec<u32>, usize, Vec<f32>) {
        let length = self.whole("lengths")[0] as usize;
        let pixels = self.io.get("pixels").map_or(Vec::new(), |p| {
            let image: usize = p.shape[1..].iter().product();
            p.values[..image].to_vec()
        });
        let offset = if self.with_image { self.whole("offset")[0] as usize } else { 0 };
        (self.whole("ids")[..length].to_vec(), offset, pixels)
    }
}

const FIXTURES: [&str; 10] = [
    "llama",
    "llama-untied",
    "qwen2",
    "hive",
    "hive-1d",
    "hive-head64",
    "hive-qwen2",
    "hive-released",
    "hive-shared-kv",
    "cascade",
];

/// Largest difference of logits from those published, for formats that keep values.
fn tolerance(format: Format) -> f64 {
    if format == Format::F32 { 2e-4 } else { 8e-3 }
}

/// Logits after the first `count` tokens of row 0.
fn logits(fixture: &Fixture, decoder: &mut Decoder, count: usize) -> Vec<f32> {
    let (ids, offset, pixels) = fixture.row();
    let prompt = Prompt { ids: &ids[..count], pixels: &pixels, offset, rows: &[] };
    block_on(decoder.begin(prompt, &Settings::default())).unwrap();
    block_on(decoder.next(1)).unwrap();
    block_on(decoder.logits()).unwrap()
}

/// The shortest text that sees the picture, and all of it.
fn lengths(fixture: &Fixture) -> [usize; 2] {
    let (ids, offset, _) = fixture.row();
    [offset + 1, ids.len()]
}

#[test]
fn logits_of_packed_models_are_those_published() {
    let Some(gpu) = gpu() else { return };
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let vocabulary = fixture.model.language_config().vocab_size;
        for format in [Format::F32, Format::F16] {
            let mut decoder = fixture.decoder(&gpu, format, 64);
            for count in lengths(&fixture) {
                let got = logits(&fixture, &mut decoder, count);
                let want = &fixture.io["out.logits"].values[(count - 1) * vocabulary..count * vocabulary];
                let error = difference(&got, want);
                assert!(error < tolerance(format), "{name} {} {count} tokens: {error:.1e}", format.name());
            }
        }
    }
    done(&gpu);
}

/// A quantised model computes what an exact one does whose weights were rounded beforehand, and its error is what rounding costs.
#[test]
fn quantised_models_are_exact_models_with_rounded_weights() {
    let Some(gpu) = gpu() else { return };
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        for format in [Format::Int8, Format::Int4] {
            let mut quantised = fixture.decoder(&gpu, format, 64);
            let mut rounded = Fixture::open(name).rounded(format).decoder(&gpu, Format::F32, 64);
            let mut exact = fixture.decoder(&gpu, Format::F32, 64);
            for count in lengths(&fixture) {
                let got = logits(&fixture, &mut quantised, count);
                let (same, cost) = (
                    difference(&got, &logits(&fixture, &mut rounded, count)),
                    difference(&got, &logits(&fixture, &mut exact, count)),
                );
                assert!(same < 2e-3, "{name} {} {count} tokens: {same:.1e}", format.name());
                assert!(cost > 1e-4, "{name} {} {count} tokens: rounding changes nothing: {cost:.1e}", format.name());
            }
        }
    }
    done(&gpu);
}

#[test]
fn greedy_text_is_that_published_however_it_is_cut_into_submissions() {
    let Some(gpu) = gpu() else { return };
    for name in FIXTURES.into_iter().filter(|n| *n != "cascade") {
        let fixture = Fixture::open(name);
        let (_, offset, pixels) = fixture.row();
        let (prompt, want) = (fixture.whole("prompt"), fixture.whole("out.greedy"));
        for most in [1, 3, 64] {
            let mut decoder = fixture.decoder(&gpu, Format::F32, prompt.len() + want.len() + 1);
            block_on(decoder.begin(Prompt { ids: &prompt, pixels: &pixels, offset, rows: &[] }, &Settings::default()))
                .unwrap();
            let mut got = Vec::new();
            while got.len() < want.len() {
                let made = block_on(decoder.next(most.min(want.len() - got.len()))).unwrap();
                assert!(made.iter().all(|m| m.probability > 0.0 && m.probability <= 1.0), "{made:?}");
                got.extend(made.iter().map(|m| m.token));
            }
            assert_eq!(got, want, "{name}, {most} tokens per submission");
        }
    }
    done(&gpu);
}

/// Reading in pieces of 16, with padding and reuse of an equal beginning, changes nothing.
#[test]
fn a_conversation_that_goes_on_is_read_from_where_it_differs() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::open("llama");
    let ids: Vec<u32> = (0..150).map(|i| (i * 31 + 7) % 97).collect();
    let logits = |decoder: &mut Decoder, ids: &[u32]| {
        block_on(decoder.begin(Prompt { ids, ..Prompt::default() }, &Settings::default())).unwrap();
        block_on(decoder.next(2)).unwrap();
        block_on(decoder.logits()).unwrap()
    };
    let fresh = |ids: &[u32]| logits(&mut fixture.decoder(&gpu, Format::F32, 200), ids);
    let mut decoder = fixture.decoder(&gpu, Format::F32, 200);
    for count in [1, 17, 150, 40, 41] {
        assert!(difference(&logits(&mut decoder, &ids[..count]), &fresh(&ids[..count])) < 1e-5, "{count}");
    }
    let mut other = ids[..41].to_vec();
    other[20] = 96;
    assert!(difference(&logits(&mut decoder, &other), &fresh(&other)) < 1e-5);
    assert!(difference(&logits(&mut decoder, &other), &fresh(&ids[..41])) > 1e-3);
    done(&gpu);
}

/// A picture is looked at once: the next question about it reads what is new, and another picture is another picture.
#[test]
fn a_conversation_about_a_picture_goes_on() {
    let Some(gpu) = gpu() else { return };
    for name in ["hive", "hive-qwen2", "cascade"] {
        let fixture = Fixture::open(name);
        let (_, offset, pixels) = fixture.row();
        let other: Vec<f32> = pixels.iter().map(|v| -v).collect();
        let ids: Vec<u32> = (0..60).map(|i| (i * 31 + 7) % 97).collect();
        let logits = |decoder: &mut Decoder, count: usize, pixels: &[f32], offset: usize| {
            block_on(decoder.begin(Prompt { ids: &ids[..count], pixels, offset, rows: &[] }, &Settings::default()))
                .unwrap();
            block_on(decoder.next(2)).unwrap();
            block_on(decoder.logits()).unwrap()
        };
        let fresh = |count: usize, pixels: &[f32], offset: usize| {
            logits(&mut fixture.decoder(&gpu, Format::F32, 120), count, pixels, offset)
        };
        let mut decoder = fixture.decoder(&gpu, Format::F32, 120);
        for (count, pixels, offset) in [
            (20, &pixels, offset),
            (45, &pixels, offset),
            (45, &other, offset),
            (60, &other, offset + 2),
            (22, &pixels, offset),
        ] {
            let error = difference(&logits(&mut decoder, count, pixels, offset), &fresh(count, pixels, offset));
            assert!(error < 1e-5, "{name} {count} tokens, picture before {offset}: {error:.1e}");
        }
        // Only what is new is read: 25 tokens in two pieces.
        let mut asked = 0;
        logits(&mut decoder, 20, &pixels, offset);
        let longer = Prompt { ids: &ids[..45], pixels: &pixels, offset, rows: &[] };
        let mut count = || {
            asked += 1;
            true
        };
        assert!(block_on(decoder.begin_while(longer, &Settings::default(), &mut count)).unwrap());
        assert_eq!(asked, 2, "{name}: pieces that were read");
        assert!(
            difference(&fresh(45, &pixels, offset), &fresh(45, &other, offset)) > 1e-3,
            "{name}: pictures do not count"
        );
    }
    done(&gpu);
}

/// Reading that was ended leaves what was read, and the next prompt is answered as ever.
#[test]
fn reading_can_be_ended_between_pieces() {
    let Some(gpu) = gpu() else { return };
    for name in ["llama", "hive"] {
        let fixture = Fixture::open(name);
        let (_, offset, pixels) = fixture.row();
        let ids: Vec<u32> = (0..150).map(|i| (i * 31 + 7) % 97).collect();
        let prompt = Prompt { ids: &ids, pixels: &pixels, offset, rows: &[] };
        let mut decoder = fixture.decoder(&gpu, Format::F32, 200);
        let after = |decoder: &mut Decoder| {
            block_on(decoder.begin(prompt, &Settings::default())).unwrap();
            block_on(decoder.next(1)).unwrap();
            block_on(decoder.logits()).unwrap()
        };
        let want = after(&mut decoder);
        let mut asked = 0;
        let mut twice = || {
            asked += 1;
            asked <= 2
        };
        let other: Vec<u32> = ids.iter().map(|id| (id + 1) % 97).collect();
        let ended = Prompt { ids: &other, ..prompt };
        assert!(!block_on(decoder.begin_while(ended, &Settings::default(), &mut twice)).unwrap(), "{name}");
        assert!(difference(&after(&mut decoder), &want) < 1e-6, "{name}");
    }
    done(&gpu);
}

#[test]
fn prompts_that_cannot_be_answered_get_a_sentence() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::open("llama");
    let mut decoder = fixture.decoder(&gpu, Format::F32, 8);
    let mut begin = |ids: &[u32]| block_on(decoder.begin(Prompt { ids, ..Prompt::default() }, &Settings::default()));
    assert!(matches!(begin(&[]), Err(DecodeError::Empty)));
    assert!(begin(&[1; 8]).unwrap_err().to_string().contains("8 tokens, there is room for 8"));
    assert!(begin(&[1, 97]).unwrap_err().to_string().contains("token 97"));
    begin(&[1; 7]).unwrap();
    let made = block_on(decoder.next(64)).unwrap();
    assert_eq!(made.len(), 1);
    assert!(decoder.is_full());
    done(&gpu);
}

/// With prompts that use everything there is: the plan is what is allocated, also for models that are all padding.
#[test]
fn plans_are_what_models_take() {
    let Some(gpu) = gpu() else { return };
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let resolved = fixture.resolved();
        let (_, offset, pixels) = fixture.row();
        let vocabulary = fixture.model.language_config().vocab_size as u32;
        for format in Format::ALL {
            for room in [40, 300] {
                let plan = Plan::new(&fixture.model, &fixture.specs, &resolved, Formats::of(format), room);
                let before = gpu.allocated_bytes();
                let mut decoder = fixture.decoder(&gpu, format, room);
                let spliced = if name == "cascade" { fixture.model.config().vision_config.tokens() } else { 0 };
                let ids: Vec<u32> = (0..(room - spliced - 1) as u32).map(|i| (i * 31 + 7) % vocabulary).collect();
                block_on(decoder.begin(Prompt { ids: &ids, pixels: &pixels, offset, rows: &[] }, &Settings::default()))
                    .unwrap();
                block_on(decoder.next(1)).unwrap();
                let (got, planned) = ((gpu.allocated_bytes() - before) as f64, plan.gpu() as f64);
                let what = format!("{name} {} room {room}", format.name());
                assert!(got < 1.1 * planned && got > 0.8 * planned, "{what}: {got} bytes of {planned} planned");
            }
        }
    }
    done(&gpu);
}

/// A language model of one layer; no weights.
fn wide(hidden_size: usize, intermediate_size: usize) -> (Model, Vec<hive::nn::ParamSpec>) {
    let (num_hidden_layers, vocab_size) = (1, 8);
    let text_config =
        LanguageConfig { hidden_size, intermediate_size, num_hidden_layers, vocab_size, ..LanguageConfig::default() };
    Model::new(&HiveConfig { text_config, ..HiveConfig::default() }, Wiring::Text)
}

#[test]
fn what_no_binding_holds_is_refused_with_a_sentence() {
    let Some(gpu) = gpu() else { return };
    let checkpoint = Fixture::open("llama").checkpoint;
    let refusal = |hidden: usize, intermediate: usize, format: Format| {
        let ((model, specs), nothing) = (wide(hidden, intermediate), Resolved::default());
        let (stacks, formats) = (model.stacks(), Formats::of(format));
        block_on(load(&gpu, &checkpoint, &nothing, specs, &stacks, formats, |_| true)).err().map(|e| e.to_string())
    };
    let f32 = refusal(2304, 8192, Format::F32).unwrap();
    assert!(f32.contains("mlp.gate_proj.weight takes 144 MiB") && f32.contains("Choose f16, int8 or int4"), "{f32}");
    assert_eq!(refusal(2304, 8192, Format::F16), None);
    // Exactly what a binding holds.
    assert_eq!(refusal(2048, 8192, Format::F32), None);
    let any = refusal(4608, 14336, Format::Int4).unwrap();
    assert!(any.contains("gate_proj.weight takes 252 MiB") && any.contains("narrower layers"), "{any}");
    // A cache, in bytes: rows of 3 x 64 keys.
    let (model, _) = wide(576, 1536);
    let rows = most_room(&model);
    assert!((rows + 128) * 192 * 4 <= 128 << 20 && (rows + 1024) * 192 * 4 > 128 << 20, "{rows}");
    done(&gpu);
}
