//! Linear, GELU (erf), Linear: from the tower's width to the decoder's, for links and for image tokens in the text.

use super::{Footprint, Linear, Params, Role, Stack};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::gelu::{self, Form};

/// Parameters.
#[derive(Clone, Debug)]
pub struct Projector {
    /// (C, W).
    pub fc1: Linear,
    /// (C, C).
    pub fc2: Linear,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    pub(super) x: Tensor,
    hidden: Tensor,
    active: Tensor,
}

impl Saved {
    /// What went in.
    pub(super) fn input(&self) -> &Tensor {
        &self.x
    }
}

impl Projector {
    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> [Stack; 2] {
        [&self.fc1, &self.fc2].map(|l| Stack::of(Role::Link, &[l]))
    }

    /// (R, C) from x (R, W).
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> (Tensor, Saved) {
        let hidden = self.fc1.forward(r, p, x);
        let active = gelu::forward(r, &hidden, Form::Exact);
        let y = self.fc2.forward(r, p, &active);
        (y, Saved { x: x.clone(), hidden, active })
    }

    /// Forward's temporaries for n rows, from width w to c; the last is the result.
    pub fn footprint(b: &mut Footprint, n: usize, w: usize, c: usize) {
        b.linear(n, w, c);
        b.take([n * c]);
        b.linear(n, c, c);
    }

    /// Parameter gradients, and dx if someone needs it.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: Saved, dy: &Tensor, dx: Option<Dest<'_>>) {
        let Saved { x, hidden, active } = saved;
        let dactive = r.alloc(active.shape().dims(), "dactive");
        self.fc2.backward(r, p, &active, dy, Some(Dest::Write(&dactive)));
        let dhidden = gelu::backward(r, &hidden, &dactive, Form::Exact);
        drop(dactive);
        self.fc1.backward(r, p, &x, &dhidden, dx);
    }
}
