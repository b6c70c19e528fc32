//! Linear layers, norms and the gated MLP as blocks over parameter ids.

use super::{ParamId, Params, Role, Stack};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::{bias, layer_norm, matmul, rms_norm, swiglu};

/// y = x wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in).
    pub w: ParamId,
    /// (out).
    pub b: Option<ParamId>,
}

impl Linear {
    /// (R, out) from x (R, in).
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> Tensor {
        self.forward_add(r, p, x, None)
    }

    /// The same, plus `residual` (R, out).
    pub fn forward_add(&self, r: &mut Recorder, p: &Params, x: &Tensor, residual: Option<&Tensor>) -> Tensor {
        let bias = self.b.map(|b| p.value(b));
        let epilogue = matmul::Epilogue { bias: bias.as_ref(), residual };
        p.linear(r, x, self.w, epilogue, "linear")
    }

    /// Parameter gradients from the input `x` and the output gradient, and dx if someone needs it.
    pub fn backward(&self, r: &mut Recorder, p: &Params, x: &Tensor, dy: &Tensor, dx: Option<Dest<'_>>) {
        if let Some(dx) = dx {
            matmul::backward_x(r, dy, &p.value(self.w), dx);
        }
        if let Some(dw) = p.grad(self.w) {
            matmul::backward_w(r, dy, x, &dw);
        }
        if let Some(db) = self.b.and_then(|b| p.grad(b)) {
            bias::backward(r, dy, Dest::Add(&db));
        }
    }
}

/// Layers that read the same x: parameter gradients from their dy, and the sum of their dx.
pub fn shared_backward(r: &mut Recorder, p: &Params, x: &Tensor, layers: &[(&Linear, &Tensor)]) -> Tensor {
    let dx = r.alloc(x.shape().dims(), "dx");
    for (i, (layer, dy)) in layers.iter().enumerate() {
        layer.backward(r, p, x, dy, Some(if i == 0 { Dest::Write(&dx) } else { Dest::Add(&dx) }));
    }
    dx
}

impl Stack {
    /// Layers one after the other.
    #[must_use]
    pub fn of(role: Role, layers: &[&Linear]) -> Self {
        Self { role, members: layers.iter().map(|l| (l.w, l.b)).collect(), alternate: false }
    }
}

/// Layer norm with gain and bias.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// (C).
    pub w: ParamId,
    /// (C).
    pub b: ParamId,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// Normed rows.
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> (Tensor, layer_norm::Saved) {
        layer_norm::forward(r, x, &p.value(self.w), &p.value(self.b), self.eps)
    }

    /// Parameter gradients, and dx if someone needs it.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: layer_norm::Saved, dy: &Tensor, dx: Option<Dest<'_>>) {
        let grads = p.grad(self.w).zip(p.grad(self.b));
        layer_norm::backward(r, saved, &p.value(self.w), dy, grads.as_ref().map(|(w, b)| (w, b)), dx);
    }
}

/// RMS norm with gain.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// (C).
    pub w: ParamId,
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm {
    /// Normed rows.
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> (Tensor, rms_norm::Saved) {
        rms_norm::forward(r, x, &p.value(self.w), self.eps)
    }

    /// Parameter gradient, and dx if someone needs it.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: rms_norm::Saved, dy: &Tensor, dx: Option<Dest<'_>>) {
        rms_norm::backward(r, saved, &p.value(self.w), dy, p.grad(self.w).as_ref(), dx);
    }
}

/// x + down(silu(gate(z)) up(z)), z = norm(x): the second half of a decoder layer.
#[derive(Clone, Debug)]
pub struct SwigluMlp {
    /// Norm before.
    pub norm: RmsNorm,
    /// (F, C).
    pub gate: Linear,
    /// (F, C).
    pub up: Linear,
    /// (C, F).
    pub down: Linear,
}

/// What the MLP's backward needs.
#[must_use]
pub struct SwigluSaved {
    norm: rms_norm::Saved,
    z: Tensor,
    gate: Tensor,
    up: Tensor,
    gated: Tensor,
}

impl SwigluMlp {
    /// Rows with the MLP's contribution added.
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> (Tensor, SwigluSaved) {
        let (z, norm) = self.norm.forward(r, p, x);
        let gate = self.gate.forward(r, p, &z);
        let up = self.up.forward(r, p, &z);
        let gated = swiglu::forward(r, &gate, &up);
        let y = self.down.forward_add(r, p, &gated, Some(x));
        (y, SwigluSaved { norm, z, gate, up, gated })
    }

    /// `d`: gradient of the output, then of the input.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: SwigluSaved, d: &Tensor) {
        let dgated = r.alloc(saved.gated.shape().dims(), "dgated");
        self.down.backward(r, p, &saved.gated, d, Some(Dest::Write(&dgated)));
        let (dgate, dup) = swiglu::backward(r, &saved.gate, &saved.up, &dgated);
        drop(dgated);
        let dz = shared_backward(r, p, &saved.z, &[(&self.up, &dup), (&self.gate, &dgate)]);
        self.norm.backward(r, p, saved.norm, &dz, Some(Dest::Add(d)));
    }
}
