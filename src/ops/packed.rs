//! Packed matrices of frozen weights: f32, f16, int8 and int4, made on the GPU from the bytes of a file. See
//! `docs/MATH.md#packed`. Layers stack (q, k and v; gate and up) as views of one matrix; large tables are cut into shards
//! by rows, so that every binding stays within the WebGPU default.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::case::{Array, Built, Case};
use super::matmul::{self, Epilogue, Order, Variant};
use super::{blocks, elementwise};
use crate::gpu::kernels::packed as k;
use crate::gpu::{DType, Dest, Gpu, KernelDef, Recorder, Sabotage, Tensor};

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

/// y (M, N) = x (M, K) wᵀ, plus what the epilogue says: unpacks the layer, then the usual product. For many rows.
#[track_caller]
pub fn linear(r: &mut Recorder, x: &Tensor, w: &View, epilogue: Epilogue<'_>, label: &'static str) -> Tensor {
    let y = r.alloc([x.shape().rows(), w.rows], label);
    let turned = unpack(r, w);
    let variant = Variant::of(r.gpu());
    matmul::product(r, variant, Order::Nn, x, &turned, epilogue, Dest::Write(&y));
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

/// Words of a file with (rows, cols) numbers whose quantised values do not hang on the last bit: 0.2 steps at most from the
/// middle of a step, and one value per group of 32 that fixes the scale.
pub(super) fn words(rows: usize, cols: usize, format: Format, source: Encoding, seed: u64) -> Array {
    let (low, high) = if format == Format::Int4 { (-8.0, 7.0) } else { (-127.0, 127.0) };
    let noise = Array::random(&[2, rows, cols], seed).values;
    let (steps, off) = noise.split_at(rows * cols);
    let mut bits: Vec<u32> = Vec::new();
    for (i, (step, off)) in steps.iter().zip(off).enumerate() {
        let (row, col) = (i / cols, i % cols);
        let scale = f64::from(1 + (row + col / 32) as u32 % 5) / 1024.0;
        let q = if col % 32 == row % 32.min(cols - col / 32 * 32) {
            low * scale
        } else {
            scale * ((step / 3.0 * high).round().clamp(low + 1.0, high - 1.0) + 0.2 * off.clamp(-1.0, 1.0))
        };
        // Values that are subnormal as f16 may be read as zero, and some drivers do.
        let q = if q.abs() < 1e-4 { 0.0 } else { q };
        bits.push(match source {
            Encoding::F32 => (q as f32).to_bits(),
            Encoding::F16 => u32::from(half::f16::from_f32(q as f32).to_bits()),
            Encoding::Bf16 => u32::from(half::bf16::from_f32(q as f32).to_bits()),
            Encoding::Int8 | Encoding::Int4 => panic!("blocks have scales of their own"),
        });
    }
    let words: Vec<u32> = if source == Encoding::F32 {
        bits
    } else {
        bits.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 16)).collect()
    };
    Array::whole(&[words.len()], &words)
}

/// Two layers that alternate panel by panel, packed in parts and unpacked.
fn views_case(rows: usize, cols: usize, format: Format, source: Encoding) -> Case {
    Case {
        name: format!("two layers {}, {source:?} file, N={rows} K={cols}", format.name()),
        inputs: vec![words(rows, cols, format, source, 1), words(rows, cols, format, source, 2)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let stored = 2 * rows.next_multiple_of(PANEL);
            let matrix = Arc::new(Matrix::new(r.gpu(), format, stored, cols));
            let views = [0, PANEL].map(|start| View { matrix: Arc::clone(&matrix), start, rows, step: 2 });
            for (view, raw) in views.iter().zip(x) {
                pack(r, raw, source, view, 0, rows);
            }
            Built { outs: views.iter().map(|v| unpack(r, v)).collect(), grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let each = x.iter().map(|words| oracle::decode(words, source)[..rows * cols].to_vec());
            each.map(|v| oracle::transposed(&oracle::quantised(&v, cols, format), cols)).collect()
        }),
        backward: None,
        tolerance: 1e-6,
    }
}

/// Blocks of a file, from row 32 on, in the format they are in, or as plain numbers.
fn blocks_case(rows: usize, cols: usize, stored: Format, format: Format) -> Case {
    let source = if stored == Format::Int8 { Encoding::Int8 } else { Encoding::Int4 };
    let values: Vec<f32> = Array::random(&[rows, cols], 9).values.iter().map(|v| *v as f32).collect();
    let mut file = blocks::encode(&values, cols, stored);
    let kept: Vec<f64> = blocks::decode(&file, cols, stored).iter().map(|v| f64::from(*v)).collect();
    file.resize(file.len().next_multiple_of(4), 0);
    let words: Vec<u32> = file.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Case {
        name: format!("blocks {} as {} N={rows} K={cols}", stored.name(), format.name()),
        inputs: vec![Array::whole(&[words.len()], &words)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let matrix = Arc::new(Matrix::new(r.gpu(), format, rows + PANEL, cols));
            let view = View { matrix, start: PANEL, rows, step: 1 };
            pack(r, &x[0], source, &view, 0, rows);
            Built { outs: vec![unpack(r, &view)], grads: vec![] }
        }),
        forward: Box::new(move |_| {
            let exact = if format == Format::F16 { oracle::quantised(&kept, cols, format) } else { kept.clone() };
            vec![oracle::transposed(&exact, cols)]
        }),
        backward: None,
        tolerance: 1e-7,
    }
}

/// A table in shards of one panel: rows by ids.
fn gather_case(rows: usize, cols: usize, format: Format) -> Case {
    let ids: Vec<u32> = (0..2 * rows as u32).map(|i| i * 7 % rows as u32).collect();
    let source = Encoding::Bf16;
    Case {
        name: format!("gather {} V={rows} C={cols}", format.name()),
        inputs: vec![words(rows, cols, format, source, 3), Array::whole(&[ids.len()], &ids)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let table = Arc::new(Matrix::with_limit(r.gpu(), format, rows, cols, 1));
            pack(r, &x[0], source, &table.whole(), 0, rows);
            Built { outs: vec![gather(r, &x[1], &table)], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let values = &oracle::decode(&x[0], source)[..rows * cols];
            vec![super::embed::oracle::forward(&x[1], &oracle::quantised(values, cols, format), cols)]
        }),
        backward: None,
        tolerance: 1e-6,
    }
}

/// A layer that begins inside a panel, on several rows.
fn linear_case(m: usize, n: usize, cols: usize, format: Format) -> Case {
    let source = Encoding::F32;
    Case {
        name: format!("linear {} M={m} N={n} K={cols}", format.name()),
        inputs: vec![Array::random(&[m, cols], 4), words(n, cols, format, source, 5), Array::random(&[n], 6)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let matrix = Arc::new(Matrix::new(r.gpu(), format, n + 5, cols));
            let view = View { matrix, start: 5, rows: n, step: 1 };
            pack(r, &x[1], source, &view, 0, n);
            let epilogue = Epilogue { bias: Some(&x[2]), residual: None };
            Built { outs: vec![linear(r, &x[0], &view, epilogue, "y")], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let w = oracle::quantised(&oracle::decode(&x[1], source), cols, format);
            let mut y = matmul::oracle::nt(&x[0], &w, m, n, cols);
            y.iter_mut().enumerate().for_each(|(i, v)| *v += x[2][i % n]);
            vec![y]
        }),
        backward: None,
        tolerance: 2e-6,
    }
}

/// Every format from every kind of file; one, primes, more than a panel and a block, several shards.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for format in Format::ALL {
        all.push(views_case(8, 32, format, Encoding::F32));
        all.push(views_case(37, 101, format, Encoding::F16));
        all.push(views_case(70, 192, format, Encoding::Bf16));
        all.push(views_case(1, 1, format, Encoding::Bf16));
        all.push(gather_case(67, 70, format));
        all.push(linear_case(5, 41, 96, format));
        let same = [Format::Int8, Format::Int4].into_iter().filter(|stored| !format.scaled() || *stored == format);
        all.extend(same.map(|stored| blocks_case(37, 101, stored, format)));
    }
    all.extend([(1, 1, Format::Int8), (64, 192, Format::Int4)].map(|(rows, cols, f)| blocks_case(rows, cols, f, f)));
    all
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "packed/pack_int4", find: "n < TRIES", replace: "n < 1u" },
    Sabotage { kernel: "packed/pack_f16", find: "at % 2u == 1u);\n        } else", replace: "false);\n        } else" },
    Sabotage { kernel: "packed/pack_int4", find: "p.source == STORED", replace: "false" },
    Sabotage { kernel: "packed/pack_f32", find: "28u - 4u * (i % 2u)", replace: "28u" },
    Sabotage { kernel: "packed/unpack_int8", find: "k / 32u % 2u == 1u", replace: "false" },
    Sabotage { kernel: "packed/gather_f32", find: "let row = id - p.start", replace: "let row = id" },
];
