//! What packing weights costs: the error of every tensor against its file, and the loss on a text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::{Checkpoint, FileDType, FilesError, Found, Resolved};
use super::inputs::{HostBatch, Inputs};
use super::language::Context;
use super::load::{Formats, LoadError};
use super::model::Model;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::nn::{ParamSpec, Params};
use crate::ops::matmul::Epilogue;
use crate::ops::packed::{self, Encoding, Format, Matrix, PANEL, Shard, View};

/// Most elements of a tensor that are compared at once.
const ELEMENTS: usize = 1 << 20;
/// Tokens that are read at once; each but the first of them is predicted.
const WINDOW: usize = 128;

/// How far packed values are from those of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounding {
    /// sqrt(Σ (packed - file)² / Σ file²).
    pub rms: f64,
    /// max |packed - file|.
    pub max: f64,
}

/// A tensor in several formats.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorErrors {
    /// Name of the parameter.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Format and error, as many as were asked for: which format a part has depends on what it is for.
    pub errors: Vec<(Format, Rounding)>,
}

/// The errors of all packed tensors, in the model's order. `tell` hears of each; false stops.
///
/// # Errors
/// Files that cannot be read, a GPU fault, or a stop.
pub async fn tensor_errors(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    resolved: &Resolved,
    (model, specs): (&Model, &[ParamSpec]),
    formats: &[Formats],
    mut tell: impl FnMut(&TensorErrors) -> bool,
) -> Result<Vec<TensorErrors>, LoadError> {
    let mut all = Vec::new();
    for stack in model.stacks() {
        let kinds: Vec<Format> = formats.iter().map(|f| f.by_role(stack.role)).collect();
        for (weight, _) in &stack.members {
            let spec = &specs[weight.0];
            let Some(found) = resolved.found.get(&spec.name) else { continue };
            let errors = errors_of(gpu, checkpoint, found, &kinds).await?;
            let tensor = TensorErrors { name: spec.name.clone(), shape: spec.shape.clone(), errors };
            if !tell(&tensor) {
                return Err(LoadError::Stopped);
            }
            all.push(tensor);
        }
    }
    Ok(all)
}

/// Sums of one tensor and format.
#[derive(Clone, Copy, Default)]
struct Sums {
    error: f64,
    value: f64,
    max: f64,
}

async fn errors_of(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    found: &Found,
    kinds: &[Format],
) -> Result<Vec<(Format, Rounding)>, LoadError> {
    let info = &found.place.info;
    let unread = || FilesError::Unread {
        file: checkpoint.blob(found.place.blob).name().to_owned(),
        tensor: found.name.clone(),
        dtype: info.dtype,
    };
    let source = match info.dtype {
        FileDType::F32 => Encoding::F32,
        FileDType::F16 => Encoding::F16,
        FileDType::BF16 => Encoding::Bf16,
        _ => return Err(unread().into()),
    };
    let rows = info.shape.first().copied().unwrap_or(1);
    let row = info.bytes as usize / rows.max(1);
    let cols = row / info.dtype.bytes() as usize;
    let at_once = (ELEMENTS / cols.max(1) / PANEL * PANEL).max(PANEL);
    let staging = gpu.tensor([(at_once.min(rows) * row).div_ceil(4)], DType::U32, "bytes of the file");
    let mut sums = vec![Sums::default(); kinds.len()];
    for first in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - first);
        let bytes = checkpoint.read_bytes(&found.name, (first * row) as u64, count * row).await?;
        let values = info.dtype.values(&bytes).ok_or_else(unread)?;
        gpu.write_bytes(&staging, &bytes);
        for (sums, kind) in sums.iter_mut().zip(kinds) {
            // Groups lie within rows, so a piece is packed as it would be in the whole.
            let view = Arc::new(Matrix::new(gpu, *kind, count, cols)).whole();
            let mut r = Recorder::new(gpu);
            packed::pack(&mut r, &staging, source, &view, 0, count);
            let turned = packed::unpack(&mut r, &view);
            let program = r.finish();
            program.run();
            for (i, packed) in gpu.read_f32(&turned).await?.iter().enumerate() {
                let value = f64::from(values[i % count * cols + i / count]);
                let error = f64::from(*packed) - value;
                sums.error += error * error;
                sums.value += value * value;
                sums.max = sums.max.max(error.abs());
            }
        }
    }
    let rounding =
        |s: &Sums| Rounding { rms: if s.value > 0.0 { (s.error / s.value).sqrt() } else { 0.0 }, max: s.max };
    Ok(kinds.iter().copied().zip(sums.iter().map(rounding)).collect())
}

/// Reads a text in windows and says how well each next token was foreseen.
struct Reader {
    gpu: Gpu,
    inputs: Inputs,
    program: Program,
    /// Logits (T, words) of parts of the vocabulary, in order.
    logits: Vec<Tensor>,
}

impl Reader {
    fn new(model: &Model, params: &Params, window: usize) -> Self {
        let gpu = params.gpu();
        let inputs = Inputs::new(gpu, model.config(), 1, window, false);
        let language = model.language();
        let mut r = Recorder::new(gpu);
        let x = language.embed(&mut r, params, &inputs.ids);
        let text = Context { plain: inputs.sequence(0), linked: BTreeMap::new(), links: BTreeMap::new() };
        let (x, _) = language.forward(&mut r, params, &text, x, false);
        let (x, _) = language.norm.forward(&mut r, params, &x);
        let head = params.stack(language.head);
        let parts = parts(&head.matrix, gpu.max_binding);
        let logits = parts.iter().map(|w| packed::linear(&mut r, &x, w, Epilogue::default(), "logits")).collect();
        Self { gpu: gpu.clone(), inputs, program: r.finish(), logits }
    }

    /// Sum of -ln p of all tokens but the first.
    async fn read(&self, ids: &[u32]) -> Result<f64, GpuError> {
        let window = self.inputs.text;
        let mut padded = ids.to_vec();
        padded.resize(window, 0);
        let labels = vec![-100; window];
        let batch = HostBatch {
            ids: &padded,
            labels: &labels,
            lengths: &[ids.len() as u32],
            offset: &[0],
            pixels: &[],
            told: &[],
        };
        self.inputs.write(batch, 1);
        self.program.run_shared().await?;
        let parts = self.gpu.read_all(&self.logits).await?;
        let mut sum = 0.0;
        for (t, next) in ids.iter().skip(1).enumerate() {
            let row = || parts.iter().flat_map(|p| &p[t * (p.len() / window)..(t + 1) * (p.len() / window)]);
            let most = row().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let total: f64 = row().map(|v| f64::from(v - most).exp()).sum();
            let target = row().nth(*next as usize).copied().unwrap_or(f32::NEG_INFINITY);
            sum += total.ln() - f64::from(target - most);
        }
        Ok(sum)
    }
}

/// A matrix as layers none of which is larger than a binding when unpacked.
fn parts(matrix: &Matrix, binding: u64) -> Vec<View> {
    let most = (binding as usize / (4 * matrix.cols.max(1)) / PANEL * PANEL).max(PANEL);
    let whole = |shard: &Shard| {
        let shards = vec![Shard { first: 0, ..shard.clone() }];
        Arc::new(Matrix { format: matrix.format, rows: shard.rows, cols: matrix.cols, shards })
    };
    let views = matrix.shards.iter().flat_map(|shard| {
        let matrix = whole(shard);
        let view =
            move |start| View { matrix: Arc::clone(&matrix), start, rows: most.min(matrix.rows - start), step: 1 };
        (0..shard.rows).step_by(most).map(view)
    });
    views.collect()
}

/// Mean of -ln p, in nats, of all tokens of a text but the first, each foreseen from what stands before it in a window of
/// 128 tokens, without a picture. Nothing for fewer than two tokens.
pub async fn held_out_loss(model: &Model, params: &Params, ids: &[u32]) -> Result<Option<f64>, GpuError> {
    if ids.len() < 2 {
        return Ok(None);
    }
    let reader = Reader::new(model, params, WINDOW.min(ids.len()));
    // Windows share a token: what ends one begins the next.
    let (mut sum, mut start) = (0.0, 0);
    while start + 1 < ids.len() {
        let end = (start + WINDOW).min(ids.len());
        sum += reader.read(&ids[start..end]).await?;
        start = end - 1;
    }
    Ok(Some(sum / (ids.len() - 1) as f64))
}
