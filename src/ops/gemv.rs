//! One row times a packed matrix, with the norm before it and the sums after it in the same dispatch: what decoding does
//! most. See `docs/MATH.md#gemv`.

use std::sync::Arc;

use super::case::{Array, Built, Case};
use super::matmul::Epilogue;
use super::packed::{self, Encoding, Format, Matrix, PANEL, View};
use super::{flag, packed_cases, rms_norm, swiglu};
use crate::gpu::kernels::gemv as k;
use crate::gpu::{Constant, Recorder, Sabotage, Tensor};

type Norm<'a> = Option<(&'a Tensor, f32)>;

/// What happens before and after the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// RMS gain (K) and epsilon: x is normed first.
    pub norm: Option<(&'a Tensor, f32)>,
    /// (N).
    pub bias: Option<&'a Tensor>,
    /// (N); another tensor than y.
    pub residual: Option<&'a Tensor>,
}

/// Slices of K in a workgroup: a CPU driver has no use for more than one. A slice is 8 lanes with four rows each.
fn slices(r: &Recorder) -> [Constant; 2] {
    let slices = if r.gpu().is_software() { 1.0 } else { 32.0 };
    [("SLICES", slices), ("WG", 8.0 * slices)]
}

/// x, and the norm that the kernel is to do. Where all lanes of a vector load the same x, norming it once is cheaper than loading
/// the gain with it again and again.
fn normed<'a>(r: &mut Recorder, x: &Tensor, norm: Norm<'a>) -> (Tensor, Norm<'a>) {
    match norm {
        Some((gain, eps)) if r.gpu().is_software() => {
            let rows = x.reshaped([1, x.shape().len()]);
            (rms_norm::forward(r, &rows, gain, eps).0, None)
        }
        norm => (x.clone(), norm),
    }
}

/// y (N) = W norm(x) + bias + residual, x (K). Fast where K is a multiple of 4 and the view begins with a panel; a matrix of
/// several shards is used whole, and its K is a multiple of 4.
#[track_caller]
pub fn project(r: &mut Recorder, x: &Tensor, w: &View, fused: Fused<'_>, y: &Tensor) {
    let m = &w.matrix;
    let (n, cols) = (w.rows, m.cols);
    assert!(x.shape().len() == cols && y.shape().len() == n, "gemv: {x:?}, {w:?} -> {y:?}");
    assert!(m.shards.len() == 1 || w.start == 0 && w.step == 1, "gemv: a view of a matrix in shards: {w:?}");
    if !cols.is_multiple_of(4) || !w.start.is_multiple_of(PANEL) {
        return plain(r, x, w, fused, y);
    }
    let kernel = m.format.pick([&k::PROJECT_F32, &k::PROJECT_F16, &k::PROJECT_INT8, &k::PROJECT_INT4]);
    let (x, norm) = &normed(r, x, fused.norm);
    let flags =
        [flag("NORM", norm.is_some()), flag("BIAS", fused.bias.is_some()), flag("RESIDUAL", fused.residual.is_some())];
    let constants: Vec<Constant> = slices(r).into_iter().chain(flags).collect();
    let (gain, eps) = norm.unwrap_or((x, 0.0));
    let (bias, residual) = (fused.bias.unwrap_or(x), fused.residual.unwrap_or(x));
    for shard in &m.shards {
        let rows = if m.shards.len() == 1 { n } else { shard.rows.min(n - shard.first) };
        let params = k::Params {
            rows: rows as u32,
            cols: cols as u32,
            units: m.units() as u32,
            first: shard.first as u32,
            start: (w.start / PANEL) as u32,
            step: w.step as u32,
            eps,
        };
        r.flops(2 * rows * cols);
        let tensors = [x, gain, &shard.data, &shard.scales, bias, residual, y];
        r.dispatch(kernel, &constants, &params, &tensors, Recorder::fold(rows.div_ceil(PANEL)));
    }
}

/// y (F) = silu(gate z) ⊙ (up z), z = norm(x). Gate and up alternate panel by panel in one matrix.
#[track_caller]
pub fn gated(r: &mut Recorder, x: &Tensor, gate_up: &Arc<Matrix>, (gain, eps): (&Tensor, f32), y: &Tensor) {
    let (m, rows) = (gate_up, y.shape().len());
    assert!(x.shape().len() == m.cols && m.rows == 2 * rows.next_multiple_of(PANEL), "gemv: {x:?}, {m:?} -> {y:?}");
    let [shard] = m.shards.as_slice() else { panic!("gemv: gate and up in several shards: {m:?}") };
    if !m.cols.is_multiple_of(4) {
        let [gate, up] = [0, PANEL].map(|start| View { matrix: Arc::clone(m), start, rows, step: 2 });
        let (z, _) = rms_norm::forward(r, &x.reshaped([1, m.cols]), gain, eps);
        let [gate, up] = [gate, up].map(|w| packed::linear(r, &z, &w, Epilogue::default(), "gate or up"));
        let gated = swiglu::forward(r, &gate, &up);
        return r.copy(&gated, y);
    }
    let kernel = m.format.pick([&k::GATED_F32, &k::GATED_F16, &k::GATED_INT8, &k::GATED_INT4]);
    let (x, norm) = &normed(r, x, Some((gain, eps)));
    let [slices, lanes] = slices(r);
    let constants = [slices, lanes, flag("NORM", norm.is_some())];
    let (rows32, cols, units) = (rows as u32, m.cols as u32, m.units() as u32);
    let params = k::Params { rows: rows32, cols, units, first: 0, start: 0, step: 2, eps };
    r.flops(4 * rows * m.cols);
    let tensors = [x, gain, &shard.data, &shard.scales, y];
    r.dispatch(kernel, &constants, &params, &tensors, Recorder::fold(rows.div_ceil(PANEL)));
}

/// The same as [`project`] by the ordinary operations, for sizes that the kernel does not take.
fn plain(r: &mut Recorder, x: &Tensor, w: &View, fused: Fused<'_>, y: &Tensor) {
    let mut z = x.reshaped([1, w.matrix.cols]);
    if let Some((gain, eps)) = fused.norm {
        z = rms_norm::forward(r, &z, gain, eps).0;
    }
    let epilogue = Epilogue { bias: fused.bias, residual: fused.residual };
    let out = packed::linear(r, &z, w, epilogue, "projected");
    r.copy(&out, y);
}

/// Plain f64 loops.
pub mod oracle {
    use crate::ops::matmul;

    /// gain ⊙ x / sqrt(mean(x²) + eps).
    #[must_use]
    pub fn normed(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        x.iter().zip(gain).map(|(x, g)| x * g / (mean + eps).sqrt()).collect()
    }

    /// W x.
    #[must_use]
    pub fn times(w: &[f64], x: &[f64]) -> Vec<f64> {
        matmul::oracle::nt(x, w, 1, w.len() / x.len(), x.len())
    }
}

/// Packs rows (N, K) of a file into a view.
fn packed_rows(r: &mut Recorder, raw: &Tensor, view: &View) {
    packed::pack(r, raw, Encoding::F32, view, 0, view.rows);
}

fn project_case(n: usize, cols: usize, format: Format, fused: [bool; 3], limit: u64) -> Case {
    let [norm, bias, residual] = fused;
    Case {
        name: format!("{} N={n} K={cols} norm={norm} bias={bias} residual={residual}", format.name()),
        inputs: vec![
            Array::random(&[cols], 1),
            Array::random(&[cols], 2),
            packed_cases::words(n, cols, format, Encoding::F32, 3),
            Array::random(&[n], 4),
            Array::random(&[n], 5),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let matrix = Arc::new(Matrix::with_limit(r.gpu(), format, n, cols, limit));
            packed_rows(r, &x[2], &matrix.whole());
            let y = r.alloc([n], "y");
            let fused = Fused {
                norm: norm.then_some((&x[1], 1e-3)),
                bias: bias.then_some(&x[3]),
                residual: residual.then_some(&x[4]),
            };
            project(r, &x[0], &matrix.whole(), fused, &y);
            Built { outs: vec![y], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let w = packed::oracle::quantised(&packed::oracle::decode(&x[2], Encoding::F32), cols, format);
            let z = if norm { oracle::normed(&x[0], &x[1], f64::from(1e-3_f32)) } else { x[0].clone() };
            let add = |on: bool, v: f64| if on { v } else { 0.0 };
            let y = oracle::times(&w, &z);
            vec![y.iter().enumerate().map(|(i, v)| v + add(bias, x[3][i]) + add(residual, x[4][i])).collect()]
        }),
        backward: None,
        tolerance: 1e-5,
    }
}

/// The second of two layers that alternate panel by panel, or a layer from that row on.
fn view_case(n: usize, cols: usize, format: Format, start: usize, step: usize) -> Case {
    Case {
        name: format!("{} view N={n} K={cols} from {start} by {step}", format.name()),
        inputs: vec![Array::random(&[cols], 1), packed_cases::words(n, cols, format, Encoding::F32, 8)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let matrix = Arc::new(Matrix::new(r.gpu(), format, start + step * n.next_multiple_of(PANEL), cols));
            let view = View { matrix, start, rows: n, step };
            packed_rows(r, &x[1], &view);
            let y = r.alloc([n], "y");
            project(r, &x[0], &view, Fused::default(), &y);
            Built { outs: vec![y], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let w = packed::oracle::quantised(&packed::oracle::decode(&x[1], Encoding::F32), cols, format);
            vec![oracle::times(&w, &x[0])]
        }),
        backward: None,
        tolerance: 1e-5,
    }
}

fn gated_case(f: usize, cols: usize, format: Format) -> Case {
    Case {
        name: format!("gated {} F={f} K={cols}", format.name()),
        inputs: vec![
            Array::random(&[cols], 1),
            Array::random(&[cols], 2),
            packed_cases::words(f, cols, format, Encoding::F32, 6),
            packed_cases::words(f, cols, format, Encoding::F32, 7),
        ],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let matrix = Arc::new(Matrix::new(r.gpu(), format, 2 * f.next_multiple_of(PANEL), cols));
            for (i, raw) in x[2..].iter().enumerate() {
                packed_rows(r, raw, &View { matrix: Arc::clone(&matrix), start: i * PANEL, rows: f, step: 2 });
            }
            let y = r.alloc([f], "y");
            gated(r, &x[0], &matrix, (&x[1], 1e-3), &y);
            Built { outs: vec![y], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let z = oracle::normed(&x[0], &x[1], f64::from(1e-3_f32));
            let [gate, up] = [2, 3].map(|i| {
                let w = packed::oracle::quantised(&packed::oracle::decode(&x[i], Encoding::F32), cols, format);
                oracle::times(&w, &z)
            });
            vec![gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()]
        }),
        backward: None,
        tolerance: 1e-5,
    }
}

/// Every format, with and without what is fused; one, primes, several panels and shards, views, and what the kernel leaves to
/// others.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for format in Format::ALL {
        all.push(project_case(32, 64, format, [false, false, false], u64::MAX));
        all.push(project_case(97, 292, format, [true, false, true], u64::MAX));
        all.push(project_case(70, 132, format, [true, true, true], 1));
        all.push(project_case(34, 1100, format, [true, false, true], u64::MAX));
        all.push(project_case(1, 4, format, [false, true, false], u64::MAX));
        all.push(project_case(13, 37, format, [true, true, true], u64::MAX));
        all.push(view_case(71, 132, format, PANEL, 2));
        all.push(view_case(40, 68, format, 5, 1));
        all.push(gated_case(75, 100, format));
        all.push(gated_case(1, 4, format));
        all.push(gated_case(33, 30, format));
    }
    all
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "gemv/project_f16", find: "high * v[1]", replace: "high * v[0]" },
    Sabotage { kernel: "gemv/project_int8", find: "% 64u >= 32u", replace: "% 64u >= 64u" },
    Sabotage { kernel: "gemv/project_f32", find: "residual[n]", replace: "residual[row]" },
    Sabotage { kernel: "gemv/project_int4", find: "c += SLICES", replace: "c += 2u * SLICES" },
    Sabotage { kernel: "gemv/gated_int4", find: "2u * panel + 1u", replace: "2u * panel" },
    Sabotage { kernel: "gemv/gated_f32", find: "g / (1.0 + exp(-g)) * up", replace: "g * up" },
];
