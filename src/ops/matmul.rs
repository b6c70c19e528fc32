//! Matrix products: `y = x wᵀ (+ b) (+ residual)`, `dx = dy w`, `dw = dyᵀ x`. See `docs/MATH.md#matmul`.
//!
//! Four kernels behind one interface, chosen by the adapter: `tile` on hardware, `broadcast` on CPU drivers with subgroups
//! of 8, `soft` on other CPU drivers, `naive` as the second oracle.

use super::case::{Array, Built, Case};
use super::{elementwise, flag, lanes};
use crate::gpu::kernels::matmul as k;
use crate::gpu::{AdapterKind, Constant, Dest, Gpu, KernelDef, Recorder, Sabotage, Tensor};

/// Which kernel computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One invocation per element.
    Naive,
    /// 32 x 32 tiles through workgroup memory.
    Tile,
    /// Register tiles without workgroup memory, for CPU drivers.
    Soft,
    /// The same with elements handed round in a subgroup of 8, where the driver has those and N is a multiple of 4; else
    /// as `Soft`.
    Broadcast,
}

impl Variant {
    /// The variant for an adapter.
    #[must_use]
    pub fn of(gpu: &Gpu) -> Self {
        match (gpu.summary.kind, gpu.subgroup) {
            (AdapterKind::Hardware, _) => Self::Tile,
            (AdapterKind::Software, Some(8)) => Self::Broadcast,
            (AdapterKind::Software, _) => Self::Soft,
        }
    }
}

/// Which of the operands is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// y (M, N) = a (M, K) bᵀ, b (N, K).
    Nt,
    /// y (M, N) = a (M, K) b (K, N).
    Nn,
    /// y (M, N) = aᵀ b, a (K, M), b (K, N).
    Tn,
}

/// What is added to the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// (N), added to every row.
    pub bias: Option<&'a Tensor>,
    /// (M, N).
    pub residual: Option<&'a Tensor>,
}

/// y (M, N) = x (M, K) wᵀ, w (N, K), plus what the epilogue says. A new tensor.
#[track_caller]
pub fn linear(r: &mut Recorder, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>, label: &'static str) -> Tensor {
    let y = r.alloc([x.shape().rows(), w.shape().rows()], label);
    let variant = Variant::of(r.gpu());
    product(r, variant, Order::Nt, x, w, epilogue, Dest::Write(&y));
    y
}

/// dx (M, K) = dy (M, N) w, w (N, K).
#[track_caller]
pub fn backward_x(r: &mut Recorder, dy: &Tensor, w: &Tensor, dx: Dest<'_>) {
    let variant = Variant::of(r.gpu());
    product(r, variant, Order::Nn, dy, w, Epilogue::default(), dx);
}

/// dw (N, K) += dyᵀ x, dy (M, N), x (M, K).
#[track_caller]
pub fn backward_w(r: &mut Recorder, dy: &Tensor, x: &Tensor, dw: &Tensor) {
    let variant = Variant::of(r.gpu());
    product(r, variant, Order::Tn, dy, x, Epilogue::default(), Dest::Add(dw));
}

/// Any product by a chosen variant. Shapes are taken as matrices: all axes but the last are rows.
#[track_caller]
pub fn product(
    r: &mut Recorder,
    variant: Variant,
    order: Order,
    a: &Tensor,
    b: &Tensor,
    epilogue: Epilogue<'_>,
    y: Dest<'_>,
) {
    let ((ar, ac), (br, bc)) = ((a.shape().rows(), a.shape().cols()), (b.shape().rows(), b.shape().cols()));
    let (m, n, k, agree) = match order {
        Order::Nt => (ar, br, ac, ac == bc),
        Order::Nn => (ar, bc, ac, ac == br),
        Order::Tn => (ac, bc, ar, ar == br),
    };
    assert!(agree && y.tensor().shape().len() == m * n, "matmul {order:?}: {a:?}, {b:?} -> {:?}", y.tensor());
    if matches!(variant, Variant::Soft | Variant::Broadcast) && order == Order::Nt {
        let turned = transpose(r, b);
        return product(r, variant, Order::Nn, a, &turned, epilogue, y);
    }
    if order == Order::Nn && broadcasts(r, variant, n) {
        let turned = transpose(r, a);
        return product(r, variant, Order::Tn, &turned, b, epilogue, y);
    }
    let (kernel, groups, lanes) = choose(r, variant, order, m, n, k);
    // Bindings that an override switches off still need a buffer; any read-only one does.
    let constants: Vec<Constant> =
        [flag("BIAS", epilogue.bias.is_some()), flag("RESIDUAL", epilogue.residual.is_some()), y.accumulate()]
            .into_iter()
            .chain(lanes)
            .collect();
    let params = k::Params { m: m as u32, n: n as u32, k: k as u32 };
    let tensors = [a, b, epilogue.bias.unwrap_or(a), epilogue.residual.unwrap_or(a), y.tensor()];
    r.flops(2 * m * n * k);
    r.dispatch(kernel, &constants, &params, &tensors, groups);
}

/// Rows and columns of y that a workgroup of `matmul/tile` makes.
const TILE: usize = 32;

/// Kernel, grid and `WG` override (where the kernel has one).
fn choose(
    r: &Recorder,
    variant: Variant,
    order: Order,
    m: usize,
    n: usize,
    k_len: usize,
) -> (&'static KernelDef, [usize; 3], Option<Constant>) {
    match variant {
        Variant::Naive => {
            let kernel = match order {
                Order::Nt => &k::NAIVE_NT,
                Order::Nn => &k::NAIVE_NN,
                Order::Tn => &k::NAIVE_TN,
            };
            (kernel, [n.div_ceil(8), m.div_ceil(8), 1], None)
        }
        Variant::Tile => {
            let kernel = match order {
                Order::Nt => &k::TILE_NT,
                Order::Nn => &k::TILE_NN,
                Order::Tn => &k::TILE_TN,
            };
            (kernel, [n.div_ceil(TILE), m.div_ceil(TILE), 1], None)
        }
        Variant::Broadcast if broadcasts(r, variant, n) => (&k::BROADCAST, [n.div_ceil(32), m.div_ceil(16), 1], None),
        Variant::Soft | Variant::Broadcast => {
            let inner = if order == Order::Tn { m } else { k_len };
            let kernel = match (order, n.is_multiple_of(4) && inner.is_multiple_of(4)) {
                (Order::Tn, true) => &k::SOFT_TN_VEC4,
                (Order::Tn, false) => &k::SOFT_TN,
                (_, true) => &k::SOFT_NN_VEC4,
                (_, false) => &k::SOFT_NN,
            };
            let lanes = soft_lanes(r);
            (kernel, [n.div_ceil(4 * lanes), m.div_ceil(16), 1], Some(("WG", lanes as f64)))
        }
    }
}

/// Can `matmul/broadcast` do it?
fn broadcasts(r: &Recorder, variant: Variant, n: usize) -> bool {
    variant == Variant::Broadcast && n.is_multiple_of(4) && r.gpu().subgroup == Some(8)
}

/// One vector register of the CPU under a software driver.
fn soft_lanes(r: &Recorder) -> usize {
    match r.gpu().summary.subgroup {
        (low, high) if low == high && (4..=16).contains(&low) => low as usize,
        _ => 8,
    }
}

/// aᵀ as a new tensor.
pub fn transpose(r: &mut Recorder, a: &Tensor) -> Tensor {
    let (m, n) = (a.shape().rows(), a.shape().cols());
    let y = r.alloc([n, m], "transposed");
    let params = k::Params { m: m as u32, n: n as u32, k: 0 };
    if m.is_multiple_of(4) && n.is_multiple_of(4) {
        let (groups, lanes) = elementwise(r, m * n / 16);
        r.dispatch(&k::TRANSPOSE_VEC4, &[lanes], &params, &[a, &y], groups);
        return y;
    }
    let lanes = lanes(r);
    let groups = [m.div_ceil(lanes), n.div_ceil(8), 1];
    r.dispatch(&k::TRANSPOSE, &[("WG", lanes as f64)], &params, &[a, &y], groups);
    y
}

/// Plain f64 loops.
pub mod oracle {
    /// y (m, n) = x (m, k) wᵀ.
    #[must_use]
    pub fn nt(x: &[f64], w: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
        let row = |i: usize, j: usize| (0..k).map(|l| x[i * k + l] * w[j * k + l]).sum();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| row(i, j)).collect()
    }

    /// y (m, n) = a (m, k) b (k, n).
    #[must_use]
    pub fn nn(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
        let row = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| row(i, j)).collect()
    }

    /// y (m, n) = aᵀ b, a (k, m), b (k, n).
    #[must_use]
    pub fn tn(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
        let row = |i: usize, j: usize| (0..k).map(|l| a[l * m + i] * b[l * n + j]).sum();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| row(i, j)).collect()
    }
}

/// A linear layer with bias and residual and its gradients, by one variant.
fn case(variant: Variant, m: usize, n: usize, k: usize) -> Case {
    Case {
        name: format!("{variant:?} M={m} N={n} K={k}"),
        inputs: vec![
            Array::random(&[m, k], 1),
            Array::random(&[n, k], 2),
            Array::random(&[n], 3),
            Array::random(&[m, n], 4),
        ],
        wrt: vec![0, 1],
        record: Box::new(move |r, x, dout| {
            let y = r.alloc([m, n], "y");
            let epilogue = Epilogue { bias: Some(&x[2]), residual: Some(&x[3]) };
            product(r, variant, Order::Nt, &x[0], &x[1], epilogue, Dest::Write(&y));
            let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
            let dy = dy.reshaped([m, n]);
            let (dx, dw) = (r.alloc([m, k], "dx"), r.alloc([n, k], "dw"));
            product(r, variant, Order::Nn, &dy, &x[1], Epilogue::default(), Dest::Write(&dx));
            product(r, variant, Order::Tn, &dy, &x[0], Epilogue::default(), Dest::Write(&dw));
            Built { outs: vec![y], grads: vec![dx, dw] }
        }),
        forward: Box::new(move |x| {
            let mut y = oracle::nt(&x[0], &x[1], m, n, k);
            y.iter_mut().enumerate().for_each(|(i, v)| *v += x[2][i % n] + x[3][i]);
            vec![y]
        }),
        backward: Some(Box::new(move |x, dy| {
            vec![oracle::nn(&dy[0], &x[1], m, k, n), oracle::tn(&dy[0], &x[0], n, k, m)]
        })),
        tolerance: 1e-5,
    }
}

/// A weight gradient added to what is there.
fn accumulate_case(variant: Variant, m: usize, n: usize, k: usize) -> Case {
    Case {
        name: format!("{variant:?} accumulate M={m} N={n} K={k}"),
        inputs: vec![Array::random(&[m, n], 6), Array::random(&[m, k], 7), Array::random(&[n, k], 8)],
        wrt: vec![],
        record: Box::new(move |r, x, _| {
            let dw = r.alloc([n, k], "dw");
            r.copy(&x[2], &dw);
            product(r, variant, Order::Tn, &x[0], &x[1], Epilogue::default(), Dest::Add(&dw));
            Built { outs: vec![dw], grads: vec![] }
        }),
        forward: Box::new(move |x| {
            let mut dw = oracle::tn(&x[0], &x[1], n, k, m);
            dw.iter_mut().zip(&x[2]).for_each(|(d, old)| *d += old);
            vec![dw]
        }),
        backward: None,
        tolerance: 1e-5,
    }
}

/// Textbook, prime, one, more than a tile; every variant.
#[must_use]
pub fn cases() -> Vec<Case> {
    let sizes = [(16, 64, 48), (13, 29, 37), (1, 1, 1), (70, 132, 68), (5, 3, 101)];
    [Variant::Naive, Variant::Tile, Variant::Soft, Variant::Broadcast]
        .into_iter()
        .flat_map(|v| {
            let layers = sizes.map(|(m, n, k)| case(v, m, n, k));
            layers.into_iter().chain([accumulate_case(v, 33, 17, 36), accumulate_case(v, 20, 64, 128)])
        })
        .collect()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "matmul/tile_nt", find: "k0 += STEP", replace: "k0 += 2u * STEP" },
    Sabotage { kernel: "matmul/tile_tn", find: "row0 + ty * 4u", replace: "row0 + tx * 4u" },
    Sabotage { kernel: "matmul/soft_nn", find: "let last = p.n - 1u;", replace: "let last = p.n - 2u;" },
    Sabotage { kernel: "matmul/soft_tn_vec4", find: "c5 = fma(vec4(a1.y)", replace: "c5 = fma(vec4(a1.x)" },
    Sabotage { kernel: "matmul/naive_nn", find: "if BIAS { v += bias[col]; }", replace: "v += 1e-3;" },
    Sabotage { kernel: "matmul/transpose", find: "group.y * 8u + 8u", replace: "group.y * 8u + 7u" },
    Sabotage {
        kernel: "matmul/transpose_vec4",
        find: "y[to + 3u * down] = block[3]",
        replace: "y[to + 3u * down] = block[2]",
    },
    Sabotage { kernel: "matmul/broadcast", find: "(a1, 5u)", replace: "(a1, 4u)" },
];
