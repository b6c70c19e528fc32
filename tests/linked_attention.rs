//! Linked attention in a small model: what its rows weigh, and the cached decoder against the whole text.

use std::collections::BTreeSet;
use std::sync::Arc;

use hive::gpu::Recorder;
use hive::model::config::{HiveConfig, LanguageConfig, LinkConfig, VisionConfig};
use hive::model::decode::{Decoder, Made, Prompt};
use hive::model::inputs::{HostBatch, Inputs};
use hive::model::model::{Model, Wiring};
use hive::nn::Params;
use hive::nn::params::Weights;
use hive::ops::case::Array;
use hive::ops::sample::Settings;
use hive::platform::block_on;
use hive::train::init;
use hive::train::recipe::Init;

use crate::common::{done, gpu};

/// A model with grouped heads, two depths linked and a layer that is not.
fn small() -> (HiveConfig, Model, Vec<hive::nn::ParamSpec>, Weights) {
    let config = HiveConfig {
        vision_config: VisionConfig {
            hidden_size: 24,
            intermediate_size: 32,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            image_size: 12,
            patch_size: 4,
            ..VisionConfig::default()
        },
        text_config: LanguageConfig {
            hidden_size: 32,
            intermediate_size: 40,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            vocab_size: 50,
            rope_theta: 1000.0,
            // A tied head would make every token choose itself.
            tie_word_embeddings: false,
            ..LanguageConfig::default()
        },
        link_config: LinkConfig { vision_layers: vec![1, 3], language_layers: vec![0, 2], ..LinkConfig::default() },
        ..HiveConfig::default()
    };
    config.check().unwrap();
    let (model, specs) = Model::new(&config, Wiring::Linked);
    // Livelier than a start: embeddings of unit size, so that choices differ from token to token.
    let weights = init::draw(&specs, &config, &Init { embed_std: 1.0, residual_scale: 2.0, ..Init::default() }, 11);
    (config, model, specs, weights)
}

fn pixels(config: &HiveConfig, seed: u64) -> Vec<f32> {
    let v = &config.vision_config;
    Array::random(&[v.num_channels * v.image_size * v.image_size], seed).values.iter().map(|v| *v as f32).collect()
}

#[test]
fn the_cached_decoder_agrees_with_the_whole_text_at_every_token() {
    const ROOM: usize = 14;
    let Some(gpu) = gpu() else { return };
    let (config, model, specs, weights) = small();
    let vocab = config.text_config.vocab_size;
    let params = Params::new(&gpu, specs, &weights, &BTreeSet::new());
    let picture = pixels(&config, 21);
    let mut texts = BTreeSet::new();
    let params = Arc::new(params);
    let cases: [(usize, bool, &[usize]); 5] =
        [(0, true, &[]), (2, true, &[]), (0, false, &[]), (2, true, &[0]), (0, true, &[0, 2])];
    for (offset, with_image, cut) in cases {
        let model = Arc::new(model.without(cut));
        // One more row: a token is made after the last.
        let made = Decoder::new(Arc::clone(&model), Arc::clone(&params), ROOM + 1, with_image);
        let mut decoder = block_on(made).unwrap();
        let begin = |decoder: &mut Decoder, ids: &[u32], pixels: &[f32]| {
            block_on(decoder.begin(Prompt { ids, pixels, offset, rows: &[] }, &Settings::default())).unwrap();
        };
        // A second text with the same decoder must not see the first.
        begin(&mut decoder, &[7, 8, 9], &pixels(&config, 99));
        block_on(decoder.next(5)).unwrap();
        let mut ids: Vec<u32> = vec![1, 17, 33];
        let mut choices: Vec<(usize, Made)> = Vec::new();
        for t in 0..ids.len() {
            begin(&mut decoder, &ids[..=t], &picture);
            choices.push((t, block_on(decoder.next(1)).unwrap()[0]));
        }
        ids.push(choices[choices.len() - 1].1.token);
        for t in ids.len() - 1..ROOM {
            let made = block_on(decoder.next(1)).unwrap()[0];
            choices.push((t, made));
            if ids.len() < ROOM {
                ids.push(made.token);
            }
        }
        assert!(decoder.is_full());

        let inputs = Inputs::new(&gpu, &config, 1, ROOM, with_image);
        let batch = HostBatch {
            ids: &ids,
            labels: &[-100; ROOM],
            lengths: &[ROOM as u32],
            offset: &[offset as u32],
            pixels: if with_image { &picture } else { &[] },
            told: &[],
        };
        inputs.write(batch, 1);
        let mut r = Recorder::new(&gpu);
        let look = model.look(&mut r, &params, &inputs);
        r.finish().run();
        let logits = block_on(gpu.read_f32(&look.logits)).unwrap();
        for &(t, choice) in &choices {
            let row = &logits[t * vocab..(t + 1) * vocab];
            let best = (0..vocab).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            let sum: f64 = row.iter().map(|v| f64::from(v - row[best]).exp()).sum();
            assert_eq!(
                choice.token as usize, best,
                "token {t}, offset {offset}, image {with_image}, cut {cut:?}: {choice:?}"
            );
            assert!(
                (f64::from(choice.probability) * sum - 1.0).abs() < 1e-4,
                "token {t}: {choice:?}, whole text 1 / {sum}"
            );
        }
        texts.insert(ids);
    }
    assert!(texts.len() > 1, "neither the image nor its place changes the text: this model tests nothing");
    done(&gpu);
}

/// With all links cut a picture is as one that no token may look at; with one cut, the other still sees it.
#[test]
fn a_cut_link_sees_nothing_and_changes_nothing_else() {
    const T: usize = 9;
    let Some(gpu) = gpu() else { return };
    let (config, model, specs, weights) = small();
    let params = Params::new(&gpu, specs, &weights, &BTreeSet::new());
    let ids: Vec<u32> = (0..T as u32).map(|i| i * 7 % 50).collect();
    let inputs = Inputs::new(&gpu, &config, 1, T, true);
    let logits = |cut: &[usize], offset: usize, picture: u64| {
        let (labels, pixels) = ([-100; T], pixels(&config, picture));
        let (lengths, offset) = ([T as u32], [offset as u32]);
        let host =
            HostBatch { ids: &ids, labels: &labels, lengths: &lengths, offset: &offset, pixels: &pixels, told: &[] };
        inputs.write(host, 1);
        let mut r = Recorder::new(&gpu);
        let look = model.without(cut).look(&mut r, &params, &inputs);
        r.finish().run();
        let seeing: Vec<usize> = look.attention.iter().map(|a| a.0).collect();
        (block_on(gpu.read_f32(&look.logits)).unwrap(), seeing)
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (whole, one, both) = (logits(&[], 0, 1), logits(&[0], 0, 1), logits(&[0, 2], 0, 1));
    assert_eq!([whole.1.as_slice(), &one.1, &both.1], [[0, 2].as_slice(), &[2], &[]]);
    assert!(far(&both.0, &logits(&[], T, 1).0) < 2e-5);
    assert_eq!(both.0, logits(&[0, 2], 0, 2).0, "what is cut depends on no picture");
    assert!(far(&whole.0, &one.0) > 1e-2 && far(&one.0, &both.0) > 1e-2 && far(&one.0, &logits(&[0], 0, 2).0) > 1e-2);
    done(&gpu);
}

#[test]
fn attention_rows_sum_to_one_and_respect_the_mask() {
    const T: usize = 9;
    let Some(gpu) = gpu() else { return };
    let (config, model, specs, weights) = small();
    let n = config.vision_config.tokens();
    let params = Params::new(&gpu, specs, &weights, &BTreeSet::new());
    let inputs = Inputs::new(&gpu, &config, 2, T, true);
    let ids: Vec<u32> = (0..2 * T as u32).map(|i| i * 7 % 50).collect();
    let offset = [0, 3];
    let both: Vec<f32> = [1, 2].iter().flat_map(|s| pixels(&config, *s)).collect();
    inputs.write(
        HostBatch {
            ids: &ids,
            labels: &[-100; 2 * T],
            lengths: &[T as u32, 6],
            offset: &offset,
            pixels: &both,
            told: &[],
        },
        1,
    );
    let mut r = Recorder::new(&gpu);
    let look = model.look(&mut r, &params, &inputs);
    r.finish().run();
    assert_eq!(look.attention.iter().map(|a| a.0).collect::<Vec<_>>(), config.link_config.language_layers);
    let heads = config.text_config.num_attention_heads;
    for (layer, tensor) in &look.attention {
        assert_eq!(tensor.shape().dims(), [2, heads, T, T + n]);
        let values = block_on(gpu.read_f32(tensor)).unwrap();
        for (i, row) in values.chunks(T + n).enumerate() {
            let (b, t) = (i / (heads * T), i % T);
            let sum: f64 = row.iter().map(|v| f64::from(*v)).sum();
            assert!((sum - 1.0).abs() <= 1e-5 && row.iter().all(|v| *v >= 0.0), "layer {layer}, row {i}: {sum}");
            assert!(row[t + 1..T].iter().all(|v| *v == 0.0), "layer {layer}, sample {b}: token {t} sees a later one");
            let sees_image = row[T..].iter().any(|v| *v != 0.0);
            assert_eq!(sees_image, t >= offset[b] as usize, "layer {layer}, sample {b}, token {t}");
        }
    }
    done(&gpu);
}
