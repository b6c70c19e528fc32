//! The two trainable wirings behind one set of names: HIVE and the flattened control.

use crate::gpu::{Recorder, Tensor};
use crate::model::cascade::{self, Cascade};
use crate::model::config::HiveConfig;
use crate::model::hive::{self, Hive};
use crate::model::inputs::Inputs;
use crate::nn::{ParamSpec, Params};
use serde::{Deserialize, Serialize};

/// Which wiring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// Linked attention.
    #[default]
    Hive,
    /// Image tokens spliced into the text.
    Cascade,
}

/// A model of either wiring.
pub enum Model {
    /// HIVE.
    Hive(Box<Hive>),
    /// The control.
    Cascade(Box<Cascade>),
}

impl Model {
    /// Structure and parameter names.
    #[must_use]
    pub fn new(wiring: Wiring, config: &HiveConfig) -> (Self, Vec<ParamSpec>) {
        match wiring {
            Wiring::Hive => {
                let (m, specs) = Hive::new(config);
                (Self::Hive(Box::new(m)), specs)
            }
            Wiring::Cascade => {
                let (m, specs) = Cascade::new(config);
                (Self::Cascade(Box::new(m)), specs)
            }
        }
    }

    /// Adds the loss of the batch to `loss`.
    pub fn forward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, loss: &Tensor) -> Saved {
        match self {
            Self::Hive(m) => Saved::Hive(Box::new(m.forward(r, p, inputs, loss))),
            Self::Cascade(m) => Saved::Cascade(Box::new(m.forward(r, p, inputs, loss))),
        }
    }

    /// Adds gradients.
    ///
    /// # Panics
    /// If `saved` comes from a model of the other wiring.
    pub fn backward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, saved: Saved) {
        match (self, saved) {
            (Self::Hive(m), Saved::Hive(s)) => m.backward(r, p, inputs, *s),
            (Self::Cascade(m), Saved::Cascade(s)) => m.backward(r, p, inputs, *s),
            _ => unreachable!("saved by the same model"),
        }
    }
}

/// What backward needs, of either wiring.
#[must_use]
pub enum Saved {
    /// HIVE's.
    Hive(Box<hive::Saved>),
    /// The control's.
    Cascade(Box<cascade::Saved>),
}

impl Saved {
    /// (R, 4): max, sum of exponentials, target logit, greedy token of each text row.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        match self {
            Self::Hive(s) => s.state(),
            Self::Cascade(s) => s.state(),
        }
    }
}
