//! Packed matrices of frozen weights: f32, f16, int8 and int4, made on the GPU from the bytes of a file. See
//! `docs/MATH.md#packed`. Layers stack (q, k and v; gate and up) as views of one matrix; large tables are cut into shards
//! by rows, so that every binding stays within the WebGPU default.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::matmul::{self, Epilogue, Order, Variant};
use super::{blocks, elementwise, flag};
use crate::gpu::kernels::packed as k;
use crate::gpu::{DType, Dest, Gpu, KernelDef, Recorder, Tensor};

/// Rows of a panel.
pub const PANEL: usize = 32;
/// Rows are padded to a multiple of so many values.
const BLOCK: usize = 64;
/// Largest binding of a shard, bytes: what every WebGPU device has.
pub const MAX_SHARD: u64 = 128 << 20;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Four bytes a value.
    F32,
    /// Two bytes a value; needs no optional feature of the adapter.
    F16,
    /// One byte a value, and an f16 scale for each 32.
    Int8,
    /// Half a byte a value, and an f16 scale for each 32.
    Int4,
}

/// Type of numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Encoding {
    F32,
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Blocks of [`super::blocks`].
    Int8,
    Int4,
}

impl Encoding {
    /// Bytes of a row of `cols` numbers.
    #[must_use]
    pub fn row_bytes(self, cols: usize) -> usize {
        match self {
            Self::F32 => 4 * cols,
            Self::F16 | Self::Bf16 => 2 * cols,
            Self::Int8 => blocks::row_bytes(Format::Int8, cols).unwrap_or(0),
            Self::Int4 => blocks::row_bytes(Format::Int4, cols).unwrap_or(0),
        }
    }
}

impl Format {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Int8, Self::Int4];

    /// Its name in options, files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Values in 16 bytes.
    fn per_unit(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 8,
            Self::Int8 => 16,
            Self::Int4 => 32,
        }
    }

    /// Has it scales?
    #[must_use]
    pub fn scaled(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// Bytes of data and of scales of `rows` (a multiple of [`PANEL`]) padded rows of `cols` values.
    fn row_bytes(self, cols: usize) -> (u64, u64) {
        let padded = cols.next_multiple_of(BLOCK) as u64;
        (padded * 16 / self.per_unit() as u64, if self.scaled() { padded / 16 } else { 0 })
    }

    /// Bytes on the GPU of a matrix (rows, cols): data and scales, padding included.
    #[must_use]
    pub fn bytes(self, rows: usize, cols: usize) -> u64 {
        let (_, scales) = self.row_bytes(cols);
        let scales = if self.scaled() { rows.next_multiple_of(PANEL) as u64 * scales } else { 4 };
        self.data_bytes(rows, cols) + scales
    }

    /// The same without the scales: what lies in one binding where there is one shard.
    #[must_use]
    pub fn data_bytes(self, rows: usize, cols: usize) -> u64 {
        rows.next_multiple_of(PANEL) as u64 * self.row_bytes(cols).0
    }

    pub(super) fn pick(self, kernels: [&'static KernelDef; 4]) -> &'static KernelDef {
        kernels[self as usize]
    }
}

/// Rows `first ..` of a matrix.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Shard {
    pub first: usize,
    pub rows: usize,
    /// Units of 16 bytes: (panels, units, 32).
    pub data: Tensor,
    /// Two f16 per word: (panels, K / 64, 32); one word where the format has no scales.
    pub scales: Tensor,
}

/// A packed matrix (N, K).
#[derive(Debug)]
pub struct Matrix {
    /// Storage of its values.
    pub format: Format,
    /// N.
    pub rows: usize,
    /// K.
    pub cols: usize,
    /// One, unless the matrix is larger than a binding.
    pub shards: Vec<Shard>,
}

/// Rows of a matrix that form a layer: `rows` rows from `start` (a stored row) on, in every `step`-th panel.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct View {
    pub matrix: Arc<Matrix>,
    pub start: usize,
    pub rows: usize,
    /// 1; 2 where two layers alternate panel by panel.
    pub step: usize,
}

impl Matrix {
    /// Zeros. Cut into shards of at most [`MAX_SHARD`], or of what the device binds.
    #[must_use]
    pub fn new(gpu: &Gpu, format: Format, rows: usize, cols: usize) -> Self {
        Self::with_limit(gpu, format, rows, cols, MAX_SHARD.min(gpu.max_binding))
    }

    /// The same with shards of at most `limit` bytes.
    #[must_use]
    pub fn with_limit(gpu: &Gpu, format: Format, rows: usize, cols: usize, limit: u64) -> Self {
        let (data, scales) = format.row_bytes(cols);
        let panels = (limit / (data * PANEL as u64)).max(1) as usize;
        let most = panels * PANEL;
        let shards = (0..rows)
            .step_by(most)
            .map(|first| {
                let rows = most.min(rows - first);
                let stored = rows.next_multiple_of(PANEL);
                let make = |bytes: u64, label| gpu.tensor([(bytes / 4) as usize], DType::U32, label);
                Shard {
                    first,
                    rows,
                    data: make(stored as u64 * data, "packed weights"),
                    scales: make((stored as u64 * scales).max(4), "scales of weights"),
                }
            })
            .collect();
        Self { format, rows, cols, shards }
    }

    /// Bytes on the GPU.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.data.bytes() + s.scales.bytes()).sum()
    }

    /// Units of 16 bytes per stored row.
    #[must_use]
    pub fn units(&self) -> usize {
        self.cols.next_multiple_of(BLOCK) / self.format.per_unit()
    }

    /// All of it as a layer.
    #[must_use]
    pub fn whole(self: &Arc<Self>) -> View {
        View { matrix: Arc::clone(self), start: 0, rows: self.rows, step: 1 }
    }

    fn params(&self, rows: usize) -> k::Params {
        k::Params {
            rows: rows as u32,
            cols: self.cols as u32,
            units: self.units() as u32,
            step: 1,
            ..k::Params::default()
        }
    }
}

/// Packs rows `first .. first + count` of a view from `raw`, the file's bytes of those rows as words.
#[track_caller]
pub fn pack(r: &mut Recorder, raw: &Tensor, source: Encoding, view: &View, first: usize, count: usize) {
    let m = &view.matrix;
    let words = (count * source.row_bytes(m.cols)).div_ceil(4);
    assert!(first + count <= view.rows && raw.shape().len() >= words, "pack: {count} rows from {first} of {view:?}");
    assert!(first.is_multiple_of(PANEL), "pack: rows from {first}, not the start of a panel");
    let kernel = m.format.pick([&k::PACK_F32, &k::PACK_F16, &k::PACK_INT8, &k::PACK_INT4]);
    for shard in &m.shards {
        // Several shards serve whole matrices only: stored rows and rows are the same there.
        let (low, high) = (first.max(shard.first), (first + count).min(shard.first + shard.rows));
        let whole = m.shards.len() == 1;
        assert!(whole || view.step == 1 && view.start == 0, "pack: a view of a sharded matrix");
        if low >= high {
            continue;
        }
        let start = if whole { view.start + low * view.step } else { low - shard.first };
        let source = source as u32;
        let skip = (low - first) as u32;
        let params = k::Params { start: start as u32, step: view.step as u32, source, skip, ..m.params(high - low) };
        let blocks = m.cols.div_ceil(BLOCK);
        let (groups, lanes) = elementwise(r, (high - low) * blocks);
        r.dispatch(kernel, &[lanes], &params, &[raw, &shard.data, &shard.scales], groups);
    }
}

/// (K, R): the view's rows as columns of floats.
#[track_caller]
pub fn unpack(r: &mut Recorder, view: &View) -> Tensor {
    let m = &view.matrix;
    let [shard] = m.shards.as_slice() else { panic!("unpack: {view:?} has several shards") };
    let y = r.alloc([m.cols, view.rows], "unpacked");
    let kernel = m.format.pick([&k::UNPACK_F32, &k::UNPACK_F16, &k::UNPACK_INT8, &k::UNPACK_INT4]);
    let params = k::Params { start: view.start as u32, step: view.step as u32, ..m.params(view.rows) };
    let (groups, lanes) = elementwise(r, view.rows * m.units());
    r.dispatch(kernel, &[lanes], &params, &[&shard.data, &shard.scales, &y], groups);
    y
}

/// y (R, K): rows of a packed table by ids (R).
#[track_caller]
pub fn gather(r: &mut Recorder, ids: &Tensor, table: &Matrix) -> Tensor {
    let rows = ids.shape().len();
    let y = r.alloc([rows, table.cols], "embedded");
    let kernel = table.format.pick([&k::GATHER_F32, &k::GATHER_F16, &k::GATHER_INT8, &k::GATHER_INT4]);
    for shard in &table.shards {
        let params = k::Params { start: shard.first as u32, shard: shard.rows as u32, ..table.params(rows) };
        let (groups, lanes) = elementwise(r, rows * table.cols);
        r.dispatch(kernel, &[lanes], &params, &[ids, &shard.data, &shard.scales, &y], groups);
    }
    y
}

/// How rows are multiplied by a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The layer becomes floats first, then the usual product: the second oracle, and what is faster on a CPU. See
    /// `hive bench packed`.
    Unpacked,
    /// Tiles through workgroup memory, decoded on their way. The view begins with a panel.
    Tile,
}

impl Product {
    /// The way on this device.
    #[must_use]
    pub fn of(gpu: &Gpu, w: &View) -> Self {
        if w.start.is_multiple_of(PANEL) && !gpu.is_software() { Self::Tile } else { Self::Unpacked }
    }
}

/// y (M, N) = x (M, K) wᵀ, plus what the epilogue says.
#[track_caller]
pub fn linear(r: &mut Recorder, x: &Tensor, w: &View, epilogue: Epilogue<'_>, label: &'static str) -> Tensor {
    let how = Product::of(r.gpu(), w);
    product(r, how, x, w, epilogue, label)
}

/// The same in a chosen way.
#[track_caller]
pub fn product(
    r: &mut Recorder,
    how: Product,
    x: &Tensor,
    w: &View,
    epilogue: Epilogue<'_>,
    label: &'static str,
) -> Tensor {
    let (m, n) = (x.shape().rows(), w.rows);
    let matrix = &w.matrix;
    let y = r.alloc([m, n], label);
    if how == Product::Unpacked {
        let turned = unpack(r, w);
        let variant = Variant::of(r.gpu());
        matmul::product(r, variant, Order::Nn, x, &turned, epilogue, Dest::Write(&y));
        return y;
    }
    let [shard] = matrix.shards.as_slice() else { panic!("product: {w:?} has several shards") };
    assert!(w.start.is_multiple_of(PANEL) && x.shape().cols() == matrix.cols, "product: {x:?}, {w:?}");
    let kernel = matrix.format.pick([&k::PRODUCT_F32, &k::PRODUCT_F16, &k::PRODUCT_INT8, &k::PRODUCT_INT4]);
    let (start, step, count) = (w.start as u32, w.step as u32, m as u32);
    let params = k::Params { start, step, count, ..matrix.params(n) };
    let constants = [flag("BIAS", epilogue.bias.is_some()), flag("RESIDUAL", epilogue.residual.is_some())];
    let (bias, residual) = (epilogue.bias.unwrap_or(x), epilogue.residual.unwrap_or(x));
    r.flops(2 * m * n * matrix.cols);
    let tensors = [x, &shard.data, &shard.scales, bias, residual, &y];
    r.dispatch(kernel, &constants, &params, &tensors, [n.div_ceil(PANEL), m.div_ceil(PANEL), 1]);
    y
}

/// Plain loops.
pub mod oracle {
    use half::{bf16, f16};

    use super::{Encoding, Format};

    /// The numbers that words of a file hold.
    #[must_use]
    pub fn decode(words: &[f64], source: Encoding) -> Vec<f64> {
        let halves = |word: u32| [word as u16, (word >> 16) as u16];
        let all = words.iter().map(|w| *w as u32);
        match source {
            Encoding::F32 => all.map(|w| f64::from(f32::from_bits(w))).collect(),
            Encoding::F16 => all.flat_map(halves).map(|h| f16::from_bits(h).to_f64()).collect(),
            Encoding::Bf16 => all.flat_map(halves).map(|h| bf16::from_bits(h).to_f64()).collect(),
            Encoding::Int8 | Encoding::Int4 => panic!("blocks are decoded row by row"),
        }
    }

    /// By way of f32: half's own conversion from f64 forgets the last bits where the processor has none for it.
    fn rounded(scale: f64) -> f64 {
        f16::from_f32(scale as f32).to_f64()
    }

    fn by(x: &[f64], scale: f64, low: f64, high: f64) -> Vec<f64> {
        x.iter()
            .map(|v| if scale == 0.0 { 0.0 } else { scale * (v / scale).round_ties_even().clamp(low, high) })
            .collect()
    }

    /// A group by the scale with the least squared error, of those that make its largest value so many steps.
    fn least(g: &[f64], steps: impl Iterator<Item = f64>, low: f64, high: f64) -> Vec<f64> {
        let most = g.iter().fold(0.0, |m: f64, v| if v.abs() > m.abs() { *v } else { m });
        let tries = steps.map(|t| by(g, rounded(most / t), low, high));
        let error = |y: &Vec<f64>| y.iter().zip(g).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        tries.min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or_default()
    }

    /// What (R, `cols`) values become in a format.
    #[must_use]
    pub fn quantised(x: &[f64], cols: usize, format: Format) -> Vec<f64> {
        let groups = x.chunks(cols).flat_map(|row| row.chunks(32));
        match format {
            Format::F32 => x.to_vec(),
            Format::F16 => x.iter().map(|v| rounded(*v)).collect(),
            Format::Int8 => {
                groups.flat_map(|g| least(g, (0..64).map(|n| 127.0 - f64::from(n)), -127.0, 127.0)).collect()
            }
            Format::Int4 => {
                groups.flat_map(|g| least(g, (0..8).map(|n| 0.25 * f64::from(n) - 8.0), -8.0, 7.0)).collect()
            }
        }
    }

    /// (R, C) as (C, R).
    #[must_use]
    pub fn transposed(x: &[f64], cols: usize) -> Vec<f64> {
        (0..cols).flat_map(|c| x.chunks(cols).map(move |row| row[c])).collect()
    }
}
