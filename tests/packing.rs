//! What packing weights costs, against the reference of packing and against published logits.

use crate::common::fixture::Fixture;
use crate::common::{done, gpu};
use hive::gpu::Gpu;
use hive::model::load::{Formats, load};
use hive::model::packing::{held_out_loss, tensor_errors};
use hive::nn::ParamSpec;
use hive::ops::packed::Format;
use hive::ops::packed::oracle::quantised;
use hive::platform::block_on;

impl Fixture {
    fn loss(&self, gpu: &Gpu, format: Format, ids: &[u32]) -> f64 {
        let resolved = self.resolved();
        let (stacks, formats) = (self.model.stacks(), Formats::of(format));
        let specs = self.specs.clone();
        let params = block_on(load(gpu, &self.checkpoint, &resolved, specs, &stacks, formats, |_| true)).unwrap();
        block_on(held_out_loss(&self.model, &params, ids)).unwrap().unwrap()
    }

    /// Real tokens of row 0.
    fn ids(&self) -> Vec<u32> {
        let length = self.io["lengths"].values[0] as usize;
        self.io["ids"].values[..length].iter().map(|v| *v as u32).collect()
    }
}

#[test]
fn errors_of_tensors_are_those_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    for name in ["llama-untied", "hive-qwen2", "cascade"] {
        let f = Fixture::open(name);
        let resolved = f.resolved();
        let formats = [Format::F32, Format::F16, Format::Int8, Format::Int4].map(Formats::of);
        let mut told = Vec::new();
        let tell = |t: &hive::model::packing::TensorErrors| {
            told.push(t.name.clone());
            true
        };
        let all =
            block_on(tensor_errors(&gpu, &f.checkpoint, &resolved, (&f.model, &f.specs), &formats, tell)).unwrap();
        assert_eq!(all.iter().map(|t| t.name.clone()).collect::<Vec<_>>(), told);
        let weights = |s: &&ParamSpec| s.shape.len() > 1 && !s.name.contains("position_embedding");
        assert_eq!(all.len(), f.specs.iter().filter(weights).count(), "{name}: every matrix");
        for tensor in &all {
            let values: Vec<f64> = block_on(f.checkpoint.read_values(&resolved.found[&tensor.name].name))
                .unwrap()
                .iter()
                .map(|v| f64::from(*v))
                .collect();
            let squares: f64 = values.iter().map(|v| v * v).sum();
            for (i, (format, got)) in tensor.errors.iter().enumerate() {
                let rounded = quantised(&values, values.len() / tensor.shape[0], *format);
                let errors = || rounded.iter().zip(&values).map(|(a, b)| (a - b).abs());
                let rms = (errors().map(|e| e * e).sum::<f64>() / squares).sqrt();
                let what = format!("{name} {} {}", tensor.name, format.name());
                // The packed values are f32: their own rounding is all that may differ.
                assert!((got.rms - rms).abs() <= 1e-3 * rms + 1e-7, "{what}: {got:?}, {rms:e}");
                let max = errors().fold(0.0, f64::max);
                assert!((got.max - max).abs() <= 1e-3 * max + 1e-6, "{what}: {got:?}, {max:e}");
                let layer = tensor.name.starts_with("model.layers");
                assert_eq!(*format == Format::Int4, i == 3 && layer, "{what}");
                let coarse = [0.0, 1e-3, 2e-2, 2e-1][*format as usize];
                assert!(got.rms <= coarse && (*format == Format::F32 || got.rms > coarse / 100.0), "{what}: {got:?}");
            }
        }
    }
    done(&gpu);
}

#[test]
fn the_loss_is_that_of_published_logits_and_packing_changes_it() {
    let Some(gpu) = gpu() else { return };
    for name in ["llama", "llama-untied", "qwen2"] {
        let f = Fixture::open(name);
        let (ids, width) = (f.ids(), f.model.language_config().vocab_size);
        let row = |t: usize| &f.io["out.logits"].values[t * width..(t + 1) * width];
        let nats = |t: usize| {
            let sum: f64 = row(t).iter().map(|v| f64::from(*v).exp()).sum();
            sum.ln() - f64::from(row(t)[ids[t + 1] as usize])
        };
        let want = (0..ids.len() - 1).map(nats).sum::<f64>() / (ids.len() - 1) as f64;
        let exact = f.loss(&gpu, Format::F32, &ids);
        assert!((exact - want).abs() < 1e-5 * want, "{name}: {exact} and {want}");
        let mut changes = Vec::new();
        for format in [Format::F16, Format::Int8, Format::Int4] {
            let (packed, rounded) = (f.loss(&gpu, format, &ids), Fixture::open(name).rounded(format));
            // What is left is the order of sums in f32, and a scale here and there that was nearly as good.
            let (same, cost) = (rounded.loss(&gpu, Format::F32, &ids) - packed, packed - exact);
            assert!(same.abs() < 2e-4, "{name} {}: {same:e}", format.name());
            assert!(cost.abs() > 1e-5, "{name} {}: {cost:e}", format.name());
            changes.push(cost.abs());
        }
        assert!(changes[2] > changes[0], "{name}: {changes:?}");
        assert_eq!(f.loss(&gpu, Format::Int4, &ids).to_bits(), f.loss(&gpu, Format::Int4, &ids).to_bits());
    }
    done(&gpu);
}

/// A text of several windows is the sum of what its windows say, each from its own beginning on.
#[test]
fn long_texts_are_read_in_windows() {
    let Some(gpu) = gpu() else { return };
    let f = Fixture::open("llama");
    let ids: Vec<u32> = (0..300).map(|i| (i * 31 + i * i * 7) % 97).collect();
    let loss = |ids: &[u32]| f.loss(&gpu, Format::F32, ids) * (ids.len() - 1) as f64;
    let windows = loss(&ids[..128]) + loss(&ids[127..255]) + loss(&ids[254..]);
    let whole = loss(&ids);
    assert!((whole - windows).abs() < 1e-5 * windows, "{whole} and {windows}");
    assert!((whole - loss(&ids[..299])).abs() > 1e-3);
    done(&gpu);
}
