//! What is tried of `ops::packed`: every format from every kind of file, the products, and the faults that must be noticed.

use std::sync::Arc;

use super::blocks;
use super::case::{Array, Built, Case};
use super::matmul::{self, Epilogue};
use super::packed::{Encoding, Format, Matrix, PANEL, Product, View, gather, oracle, pack, product, unpack};
use crate::gpu::Sabotage;

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

/// The second of two layers that alternate panel by panel, on several rows; unpacked, one that begins inside a panel, too.
fn product_case(how: Product, [m, n, cols]: [usize; 3], format: Format) -> Case {
    let source = Encoding::F32;
    let start = if how == Product::Unpacked { 5 } else { PANEL };
    Case {
        name: format!("{how:?} {} M={m} N={n} K={cols}", format.name()),
        inputs: vec![
            Array::random(&[m, cols], 4),
            words(n, cols, format, source, 5),
            Array::random(&[n], 6),
            Array::random(&[m, n], 7),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let step = if how == Product::Unpacked { 1 } else { 2 };
            let stored = start + step * n.next_multiple_of(PANEL);
            let view = View { matrix: Arc::new(Matrix::new(r.gpu(), format, stored, cols)), start, rows: n, step };
            pack(r, &x[1], source, &view, 0, n);
            let all = Epilogue { bias: Some(&x[2]), residual: Some(&x[3]) };
            let outs = [all, Epilogue::default()].map(|e| product(r, how, &x[0], &view, e, "y"));
            Built { outs: outs.into(), grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let w = oracle::quantised(&oracle::decode(&x[1], source), cols, format);
            let y = matmul::oracle::nt(&x[0], &w, m, n, cols);
            let more = y.iter().enumerate().map(|(i, v)| v + x[2][i % n] + x[3][i]).collect();
            vec![more, y]
        }),
        backward: None,
        tolerance: 2e-6,
    }
}

/// Every format from every kind of file; one, primes, more than a panel and a block, several shards.
#[must_use]
pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for format in Format::ALL {
        all.push(views_case(8, 32, format, Encoding::F32));
        all.push(views_case(37, 101, format, Encoding::F16));
        all.push(views_case(70, 192, format, Encoding::Bf16));
        all.push(views_case(1, 1, format, Encoding::Bf16));
        all.push(gather_case(67, 70, format));
        all.push(product_case(Product::Unpacked, [5, 41, 96], format));
        // A tile and a little more; one value; whole tiles.
        all.extend([[35, 70, 101], [1, 1, 1], [64, 32, 64]].map(|size| product_case(Product::Tile, size, format)));
        let same = [Format::Int8, Format::Int4].into_iter().filter(|stored| !format.scaled() || *stored == format);
        all.extend(same.map(|stored| blocks_case(37, 101, stored, format)));
    }
    all.extend([(1, 1, Format::Int8), (64, 192, Format::Int4)].map(|(rows, cols, f)| blocks_case(rows, cols, f, f)));
    all
}

/// Faults that the cases must notice.
pub(super) const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "packed/pack_int4", find: "n < TRIES", replace: "n < 1u" },
    Sabotage { kernel: "packed/pack_f16", find: "at % 2u == 1u);\n        } else", replace: "false);\n        } else" },
    Sabotage { kernel: "packed/pack_int4", find: "p.source == STORED", replace: "false" },
    Sabotage { kernel: "packed/pack_f32", find: "28u - 4u * (i % 2u)", replace: "28u" },
    Sabotage { kernel: "packed/unpack_int8", find: "k / 32u % 2u == 1u", replace: "false" },
    Sabotage { kernel: "packed/product_int8", find: "scale_at(r + 3u, k0)", replace: "scale_at(r + 2u, k0)" },
    Sabotage { kernel: "packed/product_int4", find: "group.x * p.step", replace: "group.x" },
    Sabotage { kernel: "packed/product_f16", find: "data[at][word % 4u]", replace: "data[at][word % 2u]" },
    Sabotage { kernel: "packed/gather_f32", find: "let row = id - p.start", replace: "let row = id" },
];
