//! A block of the vision tower: x += attention(norm(x)); x += mlp(norm(x)). Bidirectional, biased projections, tanh GELU.

use super::layers::shared_backward;
use super::{LayerNorm, Linear, Params, Role, Stack};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::attention::{self, Layout};
use crate::ops::gelu::{self, Form};
use crate::ops::layer_norm;

/// Parameters of a block.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct VitBlock {
    pub norm1: LayerNorm,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub out: Linear,
    pub norm2: LayerNorm,
    /// (F, W).
    pub fc1: Linear,
    /// (W, F).
    pub fc2: Linear,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    norm1: layer_norm::Saved,
    y: Tensor,
    attention: attention::Saved,
    attended: Tensor,
    norm2: layer_norm::Saved,
    z: Tensor,
    hidden: Tensor,
    active: Tensor,
}

impl VitBlock {
    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> [Stack; 6] {
        [&self.q, &self.k, &self.v, &self.out, &self.fc1, &self.fc2].map(|l| Stack::of(Role::Tower, &[l]))
    }

    /// (B N, W) from x (B N, W). `rows` is any (B, 3) table: nothing is masked.
    pub fn forward(&self, r: &mut Recorder, p: &Params, rows: &Tensor, layout: Layout, x: &Tensor) -> (Tensor, Saved) {
        let (y, norm1) = self.norm1.forward(r, p, x);
        let q = self.q.forward(r, p, &y);
        let k = self.k.forward(r, p, &y);
        let v = self.v.forward(r, p, &y);
        let (attended, attention) = attention::forward(r, layout, rows, &q, &k, &v);
        let x = self.out.forward_add(r, p, &attended, Some(x));
        let (z, norm2) = self.norm2.forward(r, p, &x);
        let hidden = self.fc1.forward(r, p, &z);
        let active = gelu::forward(r, &hidden, Form::Tanh);
        let out = self.fc2.forward_add(r, p, &active, Some(&x));
        (out, Saved { norm1, y, attention, attended, norm2, z, hidden, active })
    }

    /// `d`: gradient of the output, then of the input.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: Saved, d: &Tensor) {
        let dactive = r.alloc(saved.active.shape().dims(), "dactive");
        self.fc2.backward(r, p, &saved.active, d, Some(Dest::Write(&dactive)));
        let dhidden = gelu::backward(r, &saved.hidden, &dactive, Form::Tanh);
        drop(dactive);
        let dz = r.alloc(saved.z.shape().dims(), "dz");
        self.fc1.backward(r, p, &saved.z, &dhidden, Some(Dest::Write(&dz)));
        self.norm2.backward(r, p, saved.norm2, &dz, Some(Dest::Add(d)));
        let dattended = r.alloc(saved.attended.shape().dims(), "dattended");
        self.out.backward(r, p, &saved.attended, d, Some(Dest::Write(&dattended)));
        let (dq, dk, dv) = attention::backward(r, saved.attention, &dattended);
        let dy = shared_backward(r, p, &saved.y, &[(&self.q, &dq), (&self.k, &dk), (&self.v, &dv)]);
        self.norm1.backward(r, p, saved.norm1, &dy, Some(Dest::Add(d)));
    }
}
