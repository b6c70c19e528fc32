//! Fused head and next-token loss, chunked over rows and vocabulary. See `docs/MATH.md#cross_entropy`.
//!
//! The logits of training are never whole: a chunk of rows times a chunk of the vocabulary is made, scanned and, for the
//! gradient, made into its own gradient in place. With one vocabulary chunk nothing is computed twice.

use super::case::{Array, Built, Case};
use super::matmul::{self, Epilogue, Order, Variant};
use super::{elementwise, lanes};
use crate::gpu::kernels::cross_entropy as k;
use crate::gpu::{Dest, Recorder, Sabotage, Tensor};

/// Target of a row that has none.
pub const NO_TARGET: u32 = u32::MAX;

/// Largest chunk of logits, elements.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// Rows per chunk.
    pub rows: usize,
    /// Words per chunk; a multiple of 64 unless it is the whole vocabulary.
    pub words: usize,
}

impl Chunks {
    /// Chunks of at most 16 Mi elements (64 MiB) whose head rows fit a binding.
    #[must_use]
    pub fn plan(rows: usize, vocab: usize, cols: usize, max_binding: u64) -> Self {
        const ELEMENTS: usize = 16 << 20;
        let fit = (max_binding as usize / 4 / cols).min(ELEMENTS / 64) / 64 * 64;
        let words = vocab.min(fit);
        Self { rows: rows.min((ELEMENTS / words).max(1)), words }
    }
}

/// Inputs of a loss: hidden rows (R, C), head (V, C), targets (R), and the factor on each row's loss (1).
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Loss<'a> {
    pub x: &'a Tensor,
    pub head: &'a Tensor,
    /// Bias of the head (V), for classifiers.
    pub bias: Option<&'a Tensor>,
    /// Target ids, [`NO_TARGET`] for none.
    pub targets: &'a Tensor,
    /// One float: 1 / number of targets.
    pub scale: &'a Tensor,
}

/// Per-row (max, sum of exponentials, target logit, index of the max), from forward to backward.
#[must_use]
pub struct Saved {
    state: Tensor,
    chunks: Chunks,
    /// The only chunk of logits, when there is only one.
    logits: Option<Tensor>,
}

impl Saved {
    /// (R, 4): max, sum of exponentials, target logit, index of the max.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        &self.state
    }
}

/// Adds the scaled loss to `loss` (1).
pub fn forward(r: &mut Recorder, l: Loss<'_>, chunks: Chunks, loss: &Tensor) -> Saved {
    let rows = l.x.shape().rows();
    let state = r.alloc([rows, 4], "loss state");
    let single = chunks.rows >= rows && chunks.words >= l.head.shape().rows();
    let mut kept = None;
    each(l, chunks, |row0, row_count, word0, words| {
        let logits = logits(r, l, row0, row_count, word0, words);
        scan(r, &logits, l.targets, &state, row0, word0);
        if single {
            kept = Some(logits);
        }
    });
    let params = k::Params { rows: 0, cols: 0, row0: 0, vocab0: 0, first: 0, total: rows as u32 };
    let lanes = lanes(r).max(64);
    r.dispatch(&k::LOSS, &[("WG", lanes as f64)], &params, &[l.targets, &state, l.scale, loss], [1, 1, 1]);
    Saved { state, chunks, logits: kept }
}

/// One chunk into the running state of its rows.
fn scan(r: &mut Recorder, logits: &Tensor, targets: &Tensor, state: &Tensor, row0: usize, word0: usize) {
    let (rows, cols) = (logits.shape().rows(), logits.shape().cols());
    let params = k::Params {
        rows: rows as u32,
        cols: cols as u32,
        row0: row0 as u32,
        vocab0: word0 as u32,
        first: u32::from(word0 == 0),
        total: 0,
    };
    let lanes = ("WG", lanes(r) as f64);
    r.dispatch(&k::SCAN, &[lanes], &params, &[logits, targets, state], Recorder::fold(rows));
}

/// Gradients: dx (R, C) written, dhead (V, C) and dbias (V) added.
pub fn backward(
    r: &mut Recorder,
    l: Loss<'_>,
    saved: Saved,
    dx: Option<&Tensor>,
    dhead: Option<&Tensor>,
    dbias: Option<&Tensor>,
) {
    let Saved { state, chunks, mut logits } = saved;
    let cols = l.x.shape().cols();
    each(l, chunks, |row0, rows, word0, words| {
        let d = logits.take().unwrap_or_else(|| self::logits(r, l, row0, rows, word0, words));
        let params = k::Params {
            rows: rows as u32,
            cols: words as u32,
            row0: row0 as u32,
            vocab0: word0 as u32,
            first: 0,
            total: 0,
        };
        let (groups, lanes) = elementwise(r, rows * words);
        r.dispatch(&k::GRADIENT, &[lanes], &params, &[l.targets, &state, l.scale, &d], groups);
        let head = part(l.head, word0, words, cols);
        if let Some(dx) = dx {
            let dx = part(dx, row0, rows, cols);
            let dest = if word0 == 0 { Dest::Write(&dx) } else { Dest::Add(&dx) };
            matmul::backward_x(r, &d, &head, dest);
        }
        if let Some(dhead) = dhead {
            matmul::backward_w(r, &d, &part(l.x, row0, rows, cols), &part(dhead, word0, words, cols));
        }
        if let Some(dbias) = dbias {
            super::bias::backward(r, &d, Dest::Add(&part(dbias, word0, words, 1).reshaped([1, words])));
        }
    });
}

/// Calls `f(first row, rows, first word, words)` for every chunk, words innermost.
fn each(l: Loss<'_>, chunks: Chunks, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (rows, vocab) = (l.x.shape().rows(), l.head.shape().rows());
    for row0 in (0..rows).step_by(chunks.rows) {
        for word0 in (0..vocab).step_by(chunks.words) {
            f(row0, chunks.rows.min(rows - row0), word0, chunks.words.min(vocab - word0));
        }
    }
}

fn part(t: &Tensor, row0: usize, rows: usize, cols: usize) -> Tensor {
    if t.shape().len() == rows * cols {
        t.reshaped([rows, cols])
    } else {
        t.range(row0 * cols, rows * cols).reshaped([rows, cols])
    }
}

fn logits(r: &mut Recorder, l: Loss<'_>, row0: usize, rows: usize, word0: usize, words: usize) -> Tensor {
    let cols = l.x.shape().cols();
    let (x, head) = (part(l.x, row0, rows, cols), part(l.head, word0, words, cols));
    let y = r.alloc([rows, words], "logits chunk");
    let bias = l.bias.map(|b| part(b, word0, words, 1));
    let variant = Variant::of(r.gpu());
    let epilogue = Epilogue { bias: bias.as_ref(), residual: None };
    matmul::product(r, variant, Order::Nt, &x, &head, epilogue, Dest::Write(&y));
    y
}

/// Plain f64 loops.
pub mod oracle {
    /// Softmax of each row of logits (R, V).
    fn softmax(logits: &[f64], vocab: usize) -> Vec<f64> {
        logits
            .chunks(vocab)
            .flat_map(|row| {
                let top = row.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
                let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
                row.iter().map(move |v| (v - top).exp() / total)
            })
            .collect()
    }

    /// Sum over rows with a target of -log p\[target\], times scale.
    #[must_use]
    pub fn forward(logits: &[f64], targets: &[f64], vocab: usize, scale: f64) -> f64 {
        let p = softmax(logits, vocab);
        let rows = targets.iter().enumerate().filter(|(_, t)| **t < vocab as f64);
        -rows.map(|(r, t)| p[r * vocab + *t as usize].ln()).sum::<f64>() * scale
    }

    /// dlogits.
    #[must_use]
    pub fn backward(logits: &[f64], targets: &[f64], vocab: usize, scale: f64) -> Vec<f64> {
        let mut d = softmax(logits, vocab);
        for (row, t) in d.chunks_mut(vocab).zip(targets) {
            let on = *t < vocab as f64;
            row.iter_mut().enumerate().for_each(|(v, d)| {
                *d = if on { (*d - f64::from(u8::from(v == *t as usize))) * scale } else { 0.0 };
            });
        }
        d
    }
}

fn case(rows: usize, cols: usize, vocab: usize, chunks: Chunks) -> Case {
    const SCALE: f64 = 0.125;
    let targets: Vec<u32> =
        (0..rows as u32).map(|i| if i % 3 == 2 { NO_TARGET } else { i * 5 % vocab as u32 }).collect();
    Case {
        name: format!("R={rows} C={cols} V={vocab} by {}x{}", chunks.rows, chunks.words),
        inputs: vec![
            Array::random(&[rows, cols], 1),
            Array::random(&[vocab, cols], 2),
            Array::random(&[vocab], 3),
            Array::whole(&[rows], &targets),
            Array::floats(&[1], &[SCALE]),
        ],
        wrt: vec![0, 1, 2],
        record: Box::new(move |r, x, dout| {
            let loss = r.alloc([1], "loss");
            r.zero(&loss);
            let l = Loss { x: &x[0], head: &x[1], bias: Some(&x[2]), targets: &x[3], scale: &x[4] };
            let saved = forward(r, l, chunks, &loss);
            if dout.is_empty() {
                return Built { outs: vec![loss], grads: vec![] };
            }
            let grads = vec![r.alloc([rows, cols], "dx"), r.alloc([vocab, cols], "dhead"), r.alloc([vocab], "dbias")];
            grads.iter().for_each(|g| r.zero(g));
            backward(r, l, saved, Some(&grads[0]), Some(&grads[1]), Some(&grads[2]));
            Built { outs: vec![loss], grads }
        }),
        forward: Box::new(move |x| vec![vec![oracle::forward(&logits_of(x, rows, cols, vocab), &x[3], vocab, SCALE)]]),
        backward: Some(Box::new(move |x, _| {
            let d = oracle::backward(&logits_of(x, rows, cols, vocab), &x[3], vocab, SCALE);
            vec![
                matmul::oracle::nn(&d, &x[1], rows, cols, vocab),
                matmul::oracle::tn(&d, &x[0], vocab, cols, rows),
                super::bias::oracle::backward(&d, vocab),
            ]
        })),
        tolerance: 2e-5,
    }
}

fn logits_of(x: &[Vec<f64>], rows: usize, cols: usize, vocab: usize) -> Vec<f64> {
    super::bias::oracle::forward(&matmul::oracle::nt(&x[0], &x[1], rows, vocab, cols), &x[2])
}

/// One chunk; chunks of rows; chunks of words with a ragged end; one row, one word.
#[must_use]
pub fn cases() -> Vec<Case> {
    vec![
        case(12, 8, 17, Chunks { rows: 12, words: 17 }),
        case(1, 1, 1, Chunks { rows: 1, words: 1 }),
        case(20, 64, 97, Chunks { rows: 8, words: 97 }),
        case(11, 16, 300, Chunks { rows: 4, words: 64 }),
    ]
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "cross_entropy/scan", find: "old.y * exp(old.x - most)", replace: "old.y" },
    Sabotage { kernel: "cross_entropy/gradient", find: "target_word == 0xffffffffu", replace: "false" },
];
