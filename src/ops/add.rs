//! Sum of two tensors. See `docs/MATH.md#add`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::add as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// y = a + b, same number of elements; the shape of a.
#[track_caller]
pub fn forward(r: &mut Recorder, a: &Tensor, b: &Tensor) -> Tensor {
    assert_eq!(a.shape().len(), b.shape().len(), "add: {a:?} and {b:?}");
    let y = r.alloc(a.shape().dims(), "sum");
    let (groups, lanes) = elementwise(r, a.shape().len());
    r.dispatch(&k::FORWARD, &[lanes], &k::Params { count: a.shape().len() as u32 }, &[a, b, &y], groups);
    y
}

/// Plain f64 loops.
pub mod oracle {
    /// a + b.
    #[must_use]
    pub fn forward(a: &[f64], b: &[f64]) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a + b).collect()
    }
}

/// One, prime, more than a workgroup.
#[must_use]
pub fn cases() -> Vec<Case> {
    [1, 257, 5000]
        .map(|n| Case {
            name: format!("count={n}"),
            inputs: vec![Array::random(&[n], 1), Array::random(&[n], 2)],
            wrt: vec![0, 1],
            record: Box::new(|r, x, dout| {
                let y = forward(r, &x[0], &x[1]);
                // Both gradients are dy itself: nothing to compute.
                let grads = dout.iter().flat_map(|d| [d.clone(), d.clone()]).collect();
                Built { outs: vec![y], grads }
            }),
            forward: Box::new(|x| vec![oracle::forward(&x[0], &x[1])]),
            backward: Some(Box::new(|_, dy| vec![dy[0].clone(), dy[0].clone()])),
            tolerance: 1e-6,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "add/forward", find: "a[i] + b[i]", replace: "a[i] - b[i]" },
    Sabotage { kernel: "add/forward", find: "if i < p.count", replace: "if i < p.count + 1u" },
];
