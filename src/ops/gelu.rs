//! GELU, exact (erf: the link projectors) and by tanh (the vision tower). See `docs/MATH.md#gelu`.

use super::case::{Array, Built, Case};
use super::{elementwise, flag};
use crate::gpu::kernels::gelu as k;
use crate::gpu::{Constant, Recorder, Sabotage, Tensor};

/// Which formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// x Φ(x), with the error function.
    Exact,
    /// The tanh approximation, `gelu_pytorch_tanh`.
    Tanh,
}

impl Form {
    fn constant(self) -> Constant {
        flag("EXACT", self == Self::Exact)
    }
}

/// y = gelu(x), any shape.
pub fn forward(r: &mut Recorder, x: &Tensor, form: Form) -> Tensor {
    let y = r.alloc(x.shape().dims(), "gelu");
    let (groups, lanes) = elementwise(r, x.shape().len());
    r.dispatch(&k::FORWARD, &[lanes, form.constant()], &k::Params { count: x.shape().len() as u32 }, &[x, &y], groups);
    y
}

/// dx = dy gelu'(x).
pub fn backward(r: &mut Recorder, x: &Tensor, dy: &Tensor, form: Form) -> Tensor {
    let dx = r.alloc(x.shape().dims(), "dgelu");
    let (groups, lanes) = elementwise(r, x.shape().len());
    let params = k::Params { count: x.shape().len() as u32 };
    r.dispatch(&k::BACKWARD, &[lanes, form.constant()], &params, &[dy, x, &dx], groups);
    dx
}

/// Plain f64 loops.
pub mod oracle {
    use super::Form;
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

    /// Error function by its Taylor series near zero and a continued fraction beyond.
    #[must_use]
    pub fn erf(x: f64) -> f64 {
        let a = x.abs();
        if a < 2.5 {
            let (mut term, mut sum) = (a, a);
            for n in 1..80 {
                term *= -a * a / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return x.signum() * FRAC_2_SQRT_PI * sum;
        }
        let fraction = (1..60).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
        x.signum() * (1.0 - (-a * a).exp() / (fraction * PI.sqrt()))
    }

    /// gelu of each element.
    #[must_use]
    pub fn forward(x: &[f64], form: Form) -> Vec<f64> {
        x.iter()
            .map(|&v| match form {
                Form::Exact => 0.5 * v * (1.0 + erf(v * FRAC_1_SQRT_2)),
                Form::Tanh => 0.5 * v * (1.0 + ((2.0 / PI).sqrt() * (v + 0.044_715 * v.powi(3))).tanh()),
            })
            .collect()
    }

    /// dx.
    #[must_use]
    pub fn backward(x: &[f64], dy: &[f64], form: Form) -> Vec<f64> {
        let slope = |v: f64| match form {
            Form::Exact => 0.5 * (1.0 + erf(v * FRAC_1_SQRT_2)) + v * (-0.5 * v * v).exp() / (2.0 * PI).sqrt(),
            Form::Tanh => {
                let t = ((2.0 / PI).sqrt() * (v + 0.044_715 * v.powi(3))).tanh();
                0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * v * v)
            }
        };
        x.iter().zip(dy).map(|(x, d)| d * slope(*x)).collect()
    }
}

/// Both forms; values up to a hundred, where a careless tanh overflows.
#[must_use]
pub fn cases() -> Vec<Case> {
    let sizes = [
        (Form::Exact, 1, 1.0),
        (Form::Exact, 997, 2.0),
        (Form::Tanh, 1000, 1.0),
        (Form::Tanh, 131, 3.0),
        (Form::Exact, 64, 30.0),
        (Form::Tanh, 64, 30.0),
    ];
    sizes
        .map(|(form, n, scale)| Case {
            name: format!("{form:?} count={n} scale={scale}"),
            inputs: vec![Array::scaled(&[n], 1, scale)],
            wrt: vec![0],
            record: Box::new(move |r, x, dout| {
                let y = forward(r, &x[0], form);
                let grads = dout.iter().map(|dy| backward(r, &x[0], dy, form)).collect();
                Built { outs: vec![y], grads }
            }),
            forward: Box::new(move |x| vec![oracle::forward(&x[0], form)]),
            backward: Some(Box::new(move |x, dy| vec![oracle::backward(&x[0], &dy[0], form)])),
            tolerance: 2e-6,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[
    Sabotage { kernel: "gelu/backward", find: "3.0 * CUBIC", replace: "2.0 * CUBIC" },
    Sabotage { kernel: "gelu/forward", find: "v * ROOT_HALF", replace: "v * 0.7" },
];
