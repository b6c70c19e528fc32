//! SwiGLU: y = silu(gate) up. See `docs/MATH.md#swiglu`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::swiglu as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// y = gate / (1 + exp(-gate)) * up, same shapes.
#[track_caller]
pub fn forward(r: &mut Recorder, gate: &Tensor, up: &Tensor) -> Tensor {
    assert_eq!(gate.shape(), up.shape(), "swiglu");
    let y = r.alloc(gate.shape().dims(), "swiglu");
    let (groups, lanes) = elementwise(r, gate.shape().len());
    r.dispatch(&k::FORWARD, &[lanes], &k::Params { count: gate.shape().len() as u32 }, &[gate, up, &y], groups);
    y
}

/// (dgate, dup).
pub fn backward(r: &mut Recorder, gate: &Tensor, up: &Tensor, dy: &Tensor) -> (Tensor, Tensor) {
    let dgate = r.alloc(gate.shape().dims(), "dgate");
    let dup = r.alloc(gate.shape().dims(), "dup");
    let (groups, lanes) = elementwise(r, gate.shape().len());
    let params = k::Params { count: gate.shape().len() as u32 };
    r.dispatch(&k::BACKWARD, &[lanes], &params, &[dy, gate, up, &dgate, &dup], groups);
    (dgate, dup)
}

/// Plain f64 loops.
pub mod oracle {
    /// silu(gate) up.
    #[must_use]
    pub fn forward(gate: &[f64], up: &[f64]) -> Vec<f64> {
        gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
    }

    /// dgate, dup.
    #[must_use]
    pub fn backward(gate: &[f64], up: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
        let s: Vec<f64> = gate.iter().map(|g| 1.0 / (1.0 + (-g).exp())).collect();
        let dgate = (0..dy.len()).map(|i| dy[i] * up[i] * s[i] * (1.0 + gate[i] * (1.0 - s[i]))).collect();
        let dup = (0..dy.len()).map(|i| dy[i] * gate[i] * s[i]).collect();
        vec![dgate, dup]
    }
}

/// One, prime, large values.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(1, 1.0), (997, 2.0), (640, 25.0)]
        .map(|(n, scale)| Case {
            name: format!("count={n} scale={scale}"),
            inputs: vec![Array::scaled(&[n], 1, scale), Array::random(&[n], 2)],
            wrt: vec![0, 1],
            record: Box::new(|r, x, dout| {
                let y = forward(r, &x[0], &x[1]);
                let [dy] = dout else { return Built { outs: vec![y], grads: vec![] } };
                let (dgate, dup) = backward(r, &x[0], &x[1], dy);
                Built { outs: vec![y], grads: vec![dgate, dup] }
            }),
            forward: Box::new(|x| vec![oracle::forward(&x[0], &x[1])]),
            backward: Some(Box::new(|x, dy| oracle::backward(&x[0], &x[1], &dy[0]))),
            tolerance: 3e-6,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] =
    &[Sabotage { kernel: "swiglu/backward", find: "fma(g, 1.0 - s, 1.0)", replace: "1.0" }];
