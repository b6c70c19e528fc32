//! Weights from files to the GPU, a few megabytes at a time: the host never holds a tensor whole. Packing and quantising
//! happen on the GPU.

use thiserror::Error;

use super::files::{Checkpoint, FileDType, FilesError, Found, Resolved, TensorInfo, blocks_of};
use crate::gpu::{DType, Gpu, GpuError, Recorder, Tensor};
use crate::nn::{ParamId, ParamSpec, Params, Role, Stack};
use crate::ops::packed::{self, Encoding, Format, MAX_SHARD, PANEL, View};

/// Most bytes that are read at once.
pub(super) const CHUNK: usize = 8 << 20;
/// Chunks under way before the GPU is waited for: its driver keeps a copy of each until then.
pub(super) const UNDER_WAY: usize = 4;

/// Why a model is not loaded.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LoadError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A layer that no binding holds. Tables are cut by rows, layers are not.
    #[error("{name} takes {mib} MiB on the GPU, at most {most} MiB can be used at once. {remedy}")]
    Wide {
        /// Name of the weight.
        name: String,
        mib: u64,
        /// What a binding holds.
        most: u64,
        remedy: &'static str,
    },
    #[error("loading was stopped")]
    Stopped,
}

/// The format of each part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Formats {
    pub tower: Format,
    /// Projectors, image keys and values.
    pub link: Format,
    /// Layers of the language model.
    pub layer: Format,
    pub table: Format,
}

impl Formats {
    /// The parts' formats where the layers have this one: with int4 layers everything else is int8, which costs little
    /// memory and keeps much of the quality.
    #[must_use]
    pub fn of(layer: Format) -> Self {
        let rest = if layer == Format::Int4 { Format::Int8 } else { layer };
        Self { tower: rest, link: rest, layer, table: rest }
    }

    /// By what a matrix is for.
    #[must_use]
    pub fn by_role(&self, role: Role) -> Format {
        match role {
            Role::Tower => self.tower,
            Role::Link => self.link,
            Role::Layer => self.layer,
            Role::Table => self.table,
        }
    }
}

/// How far loading is, in bytes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// To read in all.
    pub total: u64,
}

/// What the bytes of a tensor are, of a weight with so many rows and columns.
fn source(info: &TensorInfo, rows: usize, cols: usize) -> Option<Encoding> {
    match info.dtype {
        FileDType::F32 => Some(Encoding::F32),
        FileDType::F16 => Some(Encoding::F16),
        FileDType::BF16 => Some(Encoding::Bf16),
        _ => match blocks_of(info, &[rows, cols])? {
            Format::Int8 => Some(Encoding::Int8),
            _ => Some(Encoding::Int4),
        },
    }
}

/// Refuses layers that a kernel could not have in one binding: packed, with those they share a matrix with, or unpacked.
fn check_widths(gpu: &Gpu, specs: &[ParamSpec], stacks: &[Stack], formats: Formats) -> Result<(), LoadError> {
    let most = MAX_SHARD.min(gpu.max_binding);
    for stack in stacks.iter().filter(|s| s.role != Role::Table) {
        let format = formats.by_role(stack.role);
        let packed = stack.data_bytes(specs, format);
        let unpacked = stack.members.iter().map(|(weight, _)| 4 * specs[weight.0].len() as u64).max().unwrap_or(0);
        let bytes = packed.max(unpacked);
        if bytes > most {
            let smaller = format == Format::F32 && unpacked <= most;
            return Err(LoadError::Wide {
                name: specs[stack.members[0].0.0].name.clone(),
                mib: bytes.div_ceil(1 << 20),
                most: most >> 20,
                remedy: if smaller { "Choose f16, int8 or int4" } else { "Choose a model with narrower layers" },
            });
        }
    }
    Ok(())
}

/// Loads the parameters of `specs` as `resolved` places them. `tell` hears of every chunk; false stops.
///
/// # Errors
/// Files that cannot be read, a GPU that has too little memory or is lost, or a stop.
pub async fn load(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    resolved: &Resolved,
    specs: Vec<ParamSpec>,
    stacks: &[Stack],
    formats: Formats,
    mut tell: impl FnMut(Progress) -> bool,
) -> Result<Params, LoadError> {
    let mut order: Vec<(ParamId, Found)> =
        (0..specs.len()).filter_map(|i| Some((ParamId(i), resolved.found.get(&specs[i].name)?.clone()))).collect();
    check_widths(gpu, &specs, stacks, formats)?;
    // As they lie in the files: disks and downloads like that best.
    order.sort_by_key(|(_, f)| (f.place.blob, f.place.info.start));
    let params = Params::frozen(gpu, specs, stacks, &|stack| formats.by_role(stack.role));
    // A device without the memory says so now.
    gpu.finished().await?;
    let total = order.iter().map(|(_, f)| f.place.info.bytes).sum();
    let mut loader = Loader {
        gpu,
        checkpoint,
        staging: gpu.tensor([staging_bytes(order.iter().map(|o| &o.1)) as usize / 4], DType::U32, "bytes of the file"),
        under_way: 0,
        progress: Progress { done: 0, total },
    };
    for (id, found) in &order {
        match params.packed_view(*id) {
            Some(view) => loader.matrix(view, found, &mut tell).await?,
            None => {
                params.write(*id, &checkpoint.read_values(&found.name).await?);
                loader.advance(found.place.info.bytes, &mut tell)?;
            }
        }
    }
    gpu.finished().await?;
    Ok(params)
}

/// Rows that are read at once, whole panels, and bytes of a row.
fn rows_at_once(found: &Found) -> (usize, usize) {
    let info = &found.place.info;
    let rows = info.shape.first().copied().unwrap_or(1).max(1);
    let row = info.bytes as usize / rows;
    ((CHUNK / row.max(1) / PANEL * PANEL).clamp(PANEL, rows.next_multiple_of(PANEL)), row)
}

/// Bytes of the largest piece of a tensor that is read at once.
pub(super) fn staging_bytes<'a>(all: impl Iterator<Item = &'a Found>) -> u64 {
    let bytes = all.map(|found| {
        let (rows, row) = rows_at_once(found);
        ((rows * row) as u64).min(found.place.info.bytes)
    });
    bytes.max().unwrap_or(0).next_multiple_of(4).max(4)
}

struct Loader<'a> {
    gpu: &'a Gpu,
    checkpoint: &'a Checkpoint,
    staging: Tensor,
    under_way: usize,
    progress: Progress,
}

impl Loader<'_> {
    async fn matrix(
        &mut self,
        view: &View,
        found: &Found,
        tell: &mut impl FnMut(Progress) -> bool,
    ) -> Result<(), LoadError> {
        let info = &found.place.info;
        let Some(source) = source(info, view.rows, view.matrix.cols) else {
            let (file, tensor) = (self.checkpoint.blob(found.place.blob).name().to_owned(), found.name.clone());
            return Err(FilesError::Unread { file, tensor, dtype: info.dtype }.into());
        };
        let (at_once, row) = rows_at_once(found);
        for first in (0..view.rows).step_by(at_once) {
            let count = at_once.min(view.rows - first);
            let bytes = self.checkpoint.read_bytes(&found.name, (first * row) as u64, count * row).await?;
            self.gpu.write_bytes(&self.staging, &bytes);
            let mut r = Recorder::new(self.gpu);
            packed::pack(&mut r, &self.staging, source, view, first, count);
            r.finish().run();
            self.under_way += 1;
            if self.under_way == UNDER_WAY {
                self.gpu.finished().await?;
                self.under_way = 0;
            }
            self.advance(bytes.len() as u64, tell)?;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64, tell: &mut impl FnMut(Progress) -> bool) -> Result<(), LoadError> {
        self.progress.done += bytes;
        if tell(self.progress) { Ok(()) } else { Err(LoadError::Stopped) }
    }
}
