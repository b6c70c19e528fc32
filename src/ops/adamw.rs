//! AdamW over a range of a parameter slab. See `docs/MATH.md#adamw`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::adamw as k;
use crate::gpu::{Recorder, Sabotage, Tensor};

/// Constants of a stage's optimiser.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Of the first moment.
    pub beta1: f32,
    /// Of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay of this range.
    pub decay: f32,
}

/// The numbers that change every step: (lr, lr / (1 - β1^t), 1 / sqrt(1 - β2^t)), t counted from 1.
#[must_use]
pub fn rate(lr: f64, beta1: f64, beta2: f64, t: u64) -> [f32; 3] {
    let t = i32::try_from(t).unwrap_or(i32::MAX);
    [lr as f32, (lr / (1.0 - beta1.powi(t))) as f32, (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32]
}

/// A range of parameters with its gradient and moments, all of one length.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Range<'a> {
    pub w: &'a Tensor,
    pub grad: &'a Tensor,
    pub m: &'a Tensor,
    pub v: &'a Tensor,
}

/// One update; `rate` (3) from [`rate`], `clip` (3) from [`super::sum_squares::clip`].
#[track_caller]
pub fn update(r: &mut Recorder, c: Constants, rate: &Tensor, clip: &Tensor, range: Range<'_>) {
    let count = range.w.shape().len();
    let params = k::Params { count: count as u32, decay: c.decay, beta1: c.beta1, beta2: c.beta2, eps: c.eps };
    let (groups, lanes) = elementwise(r, count);
    r.dispatch(&k::UPDATE, &[lanes], &params, &[rate, clip, range.grad, range.w, range.m, range.v], groups);
}

/// Plain f64 loops.
pub mod oracle {
    use super::Constants;

    /// New w, m, v.
    #[must_use]
    pub fn update(c: Constants, rate: &[f64], clip: &[f64], grad: &[f64], wmv: [&[f64]; 3]) -> Vec<Vec<f64>> {
        let [w, m, v] = wmv;
        if clip[2] != 1.0 {
            return vec![w.to_vec(), m.to_vec(), v.to_vec()];
        }
        let [b1, b2, eps, decay] = [c.beta1, c.beta2, c.eps, c.decay].map(f64::from);
        let g: Vec<f64> = grad.iter().map(|g| g * clip[0]).collect();
        let m: Vec<f64> = m.iter().zip(&g).map(|(m, g)| b1 * m + (1.0 - b1) * g).collect();
        let v: Vec<f64> = v.iter().zip(&g).map(|(v, g)| b2 * v + (1.0 - b2) * g * g).collect();
        let step = |i: usize| w[i] * (1.0 - rate[0] * decay) - rate[1] * m[i] / (v[i].sqrt() * rate[2] + eps);
        vec![(0..w.len()).map(step).collect(), m, v]
    }
}

/// First step, later step, a step with a broken gradient that must change nothing.
#[must_use]
pub fn cases() -> Vec<Case> {
    [(1, 1, 1.0), (997, 3, 1.0), (640, 2, 0.0)]
        .map(|(n, t, finite)| {
            let c = Constants { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 };
            let rate = rate(0.01, 0.9, 0.95, t).map(f64::from);
            let mut v = Array::random(&[n], 4);
            v.values.iter_mut().for_each(|x| *x = x.abs());
            Case {
                name: format!("count={n} step={t} finite={finite}"),
                inputs: vec![
                    Array::floats(&[3], &rate),
                    Array::floats(&[3], &[0.5, 2.0, finite]),
                    Array::random(&[n], 1),
                    Array::random(&[n], 2),
                    Array::random(&[n], 3),
                    v,
                ],
                wrt: vec![],
                record: Box::new(move |r, x, _| {
                    update(r, c, &x[0], &x[1], Range { grad: &x[2], w: &x[3], m: &x[4], v: &x[5] });
                    Built { outs: x[3..].to_vec(), grads: vec![] }
                }),
                forward: Box::new(move |x| oracle::update(c, &x[0], &x[1], &x[2], [&x[3], &x[4], &x[5]])),
                backward: None,
                tolerance: 2e-6,
            }
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "adamw/update", find: "rate[0] * p.decay", replace: "rate[1] * p.decay" },
    Sabotage { kernel: "adamw/update", find: "&& clip[2] == 1.0", replace: "" },
];
