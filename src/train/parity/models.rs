//! Outputs and gradients of a model of each kind against a fixture.

use std::sync::Arc;

use super::{Fixture, FixtureError, Group, ROW_TOLERANCE, valid, whole};
use crate::data::batch::Batch;
use crate::gpu::{DType, Gpu, Recorder, Tensor};
use crate::model::config::HiveConfig;
use crate::model::decode::{Decoder, Prompt};
use crate::model::inputs::{HostBatch, Inputs};
use crate::model::load::{Formats, load};
use crate::model::model::{Model, Wiring};
use crate::model::probe::{Kind, Probe, ProbeInputs, Sizes};
use crate::model::registry::Registry;
use crate::model::vision::Vision;
use crate::nn::Params;
use crate::ops::packed::Format;
use crate::ops::sample::Settings;

pub(super) async fn vision(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let config = f.spec()?.config.vision_config;
    let mut g = Registry::default();
    let tower = Vision::new(&mut g, &config);
    let params = f.params(gpu, g.specs).await?;
    let pixels = f.expect("pixels")?;
    let seed = f.expect("in.grad")?;
    let rows = gpu.tensor([pixels.shape[0], 3], DType::U32, "rows");
    let on_gpu = gpu.upload(&pixels.values, pixels.shape.as_slice(), "pixels");
    let mut r = Recorder::new(gpu);
    let saved = tower.forward(&mut r, &params, &rows, &on_gpu, config.num_hidden_layers, true);
    let states = saved.states.clone();
    let mut gradients = vec![None; states.len()];
    let at = states.len() - 2;
    let d = gpu.upload(&seed.values, states[at].shape().dims(), "given gradient");
    // Walked in place, so hand over a copy.
    let copy = r.alloc(d.shape().dims(), "gradient");
    r.copy(&d, &copy);
    gradients[at] = Some(copy);
    tower.backward(&mut r, &params, saved, &mut gradients);
    r.finish().run();
    let mut group = f.outputs("vision states");
    for (i, values) in gpu.read_all(&states).await?.iter().enumerate() {
        let key = format!("out.vision.{i}");
        group.compare(&key, values, &f.expect(&key)?.values);
    }
    Ok(vec![group, f.gradients(&params.download_grads().await?)])
}

pub(super) async fn whole_model(gpu: &Gpu, f: &Fixture) -> Result<Vec<Group>, FixtureError> {
    let spec = f.spec()?;
    let (config, linked) = (spec.config, spec.kind == Wiring::Linked);
    let (model, specs) = Model::new(&config, spec.kind);
    let params = f.params(gpu, specs).await?;
    let batch = super::batch(&f.io, "")?;
    let inputs = Inputs::new(gpu, &config, batch.rows, batch.tokens, model.sees());
    let host = HostBatch::from(&batch);
    inputs.write(host, host.target_count());
    let loss = gpu.tensor([1], DType::F32, "loss");
    let mut r = Recorder::new(gpu);
    let look = model.look(&mut r, &params, &inputs);
    let saved = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved);
    r.finish().run();

    let mut groups = Vec::new();
    if linked {
        let mut states = f.outputs("vision states");
        for (i, values) in gpu.read_all(&look.vision).await?.iter().enumerate() {
            let key = format!("out.vision.{i}");
            states.compare(&key, values, &f.expect(&key)?.values);
        }
        let mut layers = f.outputs("decoder layers");
        let width = config.text_config.hidden_size;
        for (i, values) in gpu.read_all(&look.hidden).await?.iter().enumerate() {
            let key = format!("out.layer.{i}");
            layers.compare(&key, &valid(&batch, values, width), &valid(&batch, &f.expect(&key)?.values, width));
        }
        groups.extend([states, layers]);
        groups.extend(attention(gpu, f, &config, &look.attention).await?);
    }
    groups.push(logits(gpu, f, &batch, &look.logits).await?);
    groups.push(loss_group(gpu, f, &loss).await?);
    groups.push(f.gradients(&params.download_grads().await?));
    groups.extend(greedy(f, Arc::new(model), Arc::new(params), &batch).await?);
    Ok(groups)
}

pub(super) async fn attention(
    gpu: &Gpu,
    f: &Fixture,
    config: &HiveConfig,
    got: &[(usize, Tensor)],
) -> Result<[Group; 2], FixtureError> {
    let mut group = f.outputs("attention");
    let mut sums = Group::new("attention row sums", ROW_TOLERANCE);
    for &layer in &config.link_config.language_layers {
        let key = format!("out.attention.{layer}");
        let want = f.expect(&key)?;
        let Some((_, tensor)) = got.iter().find(|(l, _)| *l == layer) else {
            group.faults.push(format!("no {key}"));
            continue;
        };
        let values = gpu.read_f32(tensor).await?;
        group.compare(&key, &values, &want.values);
        let worst =
            values.chunks(want.shape[3]).map(|row| (row.iter().map(|v| f64::from(*v)).sum::<f64>() - 1.0).abs());
        sums.record(&key, worst.fold(0.0, f64::max));
    }
    Ok([group, sums])
}

pub(super) async fn logits(gpu: &Gpu, f: &Fixture, batch: &Batch, logits: &Tensor) -> Result<Group, FixtureError> {
    let mut group = f.outputs("logits");
    let width = logits.shape().cols();
    let values = gpu.read_f32(logits).await?;
    let want = &f.expect("out.logits")?.values;
    group.compare("out.logits", &valid(batch, &values, width), &valid(batch, want, width));
    Ok(group)
}

pub(super) async fn loss_group(gpu: &Gpu, f: &Fixture, loss: &Tensor) -> Result<Group, FixtureError> {
    let mut group = f.outputs("loss");
    group.compare("out.loss", &gpu.read_f32(loss).await?, &f.expect("out.loss")?.values);
    Ok(group)
}

/// Greedy tokens of the decoder, with weights as they are trained and with packed ones: against those that the same weights
/// choose without a cache, and, where rounding of the weights cannot have changed them, against the fixture's.
async fn greedy(
    f: &Fixture,
    model: Arc<Model>,
    params: Arc<Params>,
    batch: &Batch,
) -> Result<Vec<Group>, FixtureError> {
    let (resolved, specs, stacks) = (f.resolved(params.specs())?, params.specs().to_vec(), model.stacks());
    let formats = Formats::of(Format::F32);
    let packed = load(params.gpu(), &f.checkpoint, &resolved, specs, &stacks, formats, |_| true).await?;
    // A fixture without a text of its own to go on with has a batch.
    let prompt = f.io.get("prompt").map_or_else(|| batch.ids[..batch.lengths[0] as usize].to_vec(), whole);
    let want = f.io.get("out.greedy").map(whole);
    let (count, offset) = (want.as_ref().map_or(TOKENS, Vec::len), batch.offset[0] as usize);
    let pixels = &batch.pixels[..batch.pixels.len() / batch.rows];
    let (mut cached, mut agreed) = (Group::new("cached tokens", 0.0), Group::new("greedy tokens", 0.0));
    for weights in [Arc::clone(&params), Arc::new(packed)] {
        let room = prompt.len() + model.image_rows() + count + 1;
        let mut decoder = Decoder::new(Arc::clone(&model), weights, room, true).await?;
        decoder.begin(Prompt { ids: &prompt, pixels, offset, rows: &[] }, &Settings::default()).await?;
        let made: Vec<u32> = decoder.next(count).await?.iter().map(|made| made.token).collect();
        let uncached = uncached(&model, &params, &prompt, &made, pixels, batch.offset[0]).await?;
        same_tokens(&mut cached, &made, &uncached);
        if let Some(want) = want.as_ref().filter(|_| f.tolerances.tokens) {
            same_tokens(&mut agreed, &made, want);
        }
    }
    Ok([cached, agreed].into_iter().filter(|group| group.tensors > 0).collect())
}

/// Tokens that are made where a fixture does not say how many.
const TOKENS: usize = 8;

fn same_tokens(group: &mut Group, got: &[u32], want: &[u32]) {
    group.tensors += 1;
    if got != want {
        group.faults.push(format!("got {got:?}, expected {want:?}"));
    }
}

/// The likeliest token after the prompt and after each of `made` but the last, from one pass over all of them.
async fn uncached(
    model: &Model,
    params: &Params,
    prompt: &[u32],
    made: &[u32],
    pixels: &[f32],
    offset: u32,
) -> Result<Vec<u32>, FixtureError> {
    let ids = [prompt, &made[..made.len().saturating_sub(1)]].concat();
    let inputs = Inputs::new(params.gpu(), model.config(), 1, ids.len(), model.sees());
    let (labels, lengths) = (vec![-1; ids.len()], [ids.len() as u32]);
    inputs.write(HostBatch { ids: &ids, labels: &labels, lengths: &lengths, offset: &[offset], pixels, told: &[] }, 0);
    let mut r = Recorder::new(params.gpu());
    let look = model.look(&mut r, params, &inputs);
    r.finish().run();
    let logits = params.gpu().read_f32(&look.logits).await?;
    let rows = logits.chunks(look.logits.shape().cols()).skip(prompt.len().saturating_sub(1));
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32;
    Ok(rows.map(largest).collect())
}

pub(super) async fn probe(gpu: &Gpu, f: &Fixture, kind: Kind) -> Result<Vec<Group>, FixtureError> {
    let number = |key: &str| f.config[key].as_u64().unwrap_or(1) as usize;
    let sizes = Sizes {
        width: number("hidden_size"),
        heads: number("num_attention_heads"),
        classes: number("num_labels"),
        eps: f.config["layer_norm_eps"].as_f64().unwrap_or(1e-6),
    };
    let (model, specs) = Probe::new(kind, sizes);
    let params = f.params(gpu, specs).await?;
    let features = f.expect("features")?;
    let classes = whole(f.expect("classes")?);
    let batch = classes.len();
    let sequence: Vec<u32> = (0..batch as u32).collect();
    let mut segments = vec![0; 3 * batch];
    segments[2] = batch as u32;
    let inputs = ProbeInputs {
        features: gpu.upload(&features.values, [features.values.len() / sizes.width, sizes.width], "features"),
        classes: gpu.upload_u32(&classes, [batch], "classes"),
        zeros: gpu.tensor([batch], DType::U32, "zeros"),
        order: gpu.upload_u32(&sequence, [batch], "order"),
        segments: gpu.upload_u32(&segments, [batch, 3], "segments"),
        rows: gpu.tensor([batch, 3], DType::U32, "rows"),
        scale: gpu.upload(&[1.0 / batch as f32], [1], "scale"),
    };
    let (loss, dfeatures) =
        (gpu.tensor([1], DType::F32, "loss"), gpu.tensor(inputs.features.shape().dims(), DType::F32, "dfeatures"));
    let mut r = Recorder::new(gpu);
    let (out, saved) = model.forward(&mut r, &params, &inputs, &loss);
    model.backward(&mut r, &params, &inputs, saved, &dfeatures);
    r.finish().run();
    let mut logits = f.outputs("logits");
    logits.compare("out.logits", &gpu.read_f32(&out).await?, &f.expect("out.logits")?.values);
    let mut gradients = f.gradients(&params.download_grads().await?);
    gradients.compare("features", &gpu.read_f32(&dfeatures).await?, &f.expect("grad.features")?.values);
    Ok(vec![logits, loss_group(gpu, f, &loss).await?, gradients])
}
