//! Weights of frozen models as packed matrices. Layers that read the same row lie in one matrix: q, k and v one after
//! the other, gate and up panel by panel, so that one dispatch computes them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ParamId, ParamSpec};
use crate::gpu::{DType, Gpu, Tensor};
use crate::ops::packed::{Format, Matrix, PANEL, View};

/// What a matrix is for; formats are chosen by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Tower,
    /// Projectors, image keys and values.
    Link,
    /// Layers of the language model.
    Layer,
    Table,
}

/// Weights that lie in one matrix; all have the same number of columns.
#[derive(Clone, Debug)]
pub struct Stack {
    /// What for.
    pub role: Role,
    /// Weight, and bias if there is one, from the first row on.
    pub members: Vec<(ParamId, Option<ParamId>)>,
    /// Do the two members alternate panel by panel?
    pub alternate: bool,
}

impl Stack {
    /// A table alone.
    #[must_use]
    pub fn table(id: ParamId) -> Self {
        Self { role: Role::Table, members: vec![(id, None)], alternate: false }
    }

    /// Rows of the members, stored rows in all, and columns.
    fn sizes(&self, specs: &[ParamSpec]) -> (Vec<usize>, usize, usize) {
        let rows: Vec<usize> = self.members.iter().map(|(w, _)| specs[w.0].shape[0]).collect();
        let cols = specs[self.members[0].0.0].len() / rows[0];
        let stored = if self.alternate { 2 * rows[0].next_multiple_of(PANEL) } else { rows.iter().sum() };
        (rows, stored, cols)
    }

    /// Bytes on the GPU in a format, and the same of its biases side by side.
    #[must_use]
    pub fn bytes(&self, specs: &[ParamSpec], format: Format) -> u64 {
        let (_, stored, cols) = self.sizes(specs);
        format.bytes(stored, cols) + if self.has_bias() { 4 * stored as u64 } else { 0 }
    }

    /// Bytes of the binding that its matrix lies in, where it is not cut.
    #[must_use]
    pub fn data_bytes(&self, specs: &[ParamSpec], format: Format) -> u64 {
        let (_, stored, cols) = self.sizes(specs);
        format.data_bytes(stored, cols)
    }

    fn has_bias(&self) -> bool {
        self.members.iter().any(|(_, b)| b.is_some())
    }
}

/// A stack on the device.
#[derive(Debug)]
pub struct Stacked {
    /// The matrix of all members.
    pub matrix: Arc<Matrix>,
    /// Biases of all members side by side, zero where one has none.
    pub bias: Option<Tensor>,
    /// What for.
    pub role: Role,
    /// Parameter of each bias, and its first element.
    biases: Vec<(ParamId, usize)>,
}

/// All stacks of a model.
#[derive(Debug, Default)]
pub struct Packed {
    /// The stacks, in the model's order.
    pub stacks: Vec<Stacked>,
    /// Stack and rows of each packed weight.
    views: BTreeMap<ParamId, (usize, View)>,
}

impl Packed {
    pub(super) fn new(gpu: &Gpu, specs: &[ParamSpec], stacks: &[Stack], format: &dyn Fn(&Stack) -> Format) -> Self {
        let mut packed = Self::default();
        for stack in stacks {
            let (rows, stored, cols) = stack.sizes(specs);
            let matrix = Arc::new(Matrix::new(gpu, format(stack), stored, cols));
            let bias = stack.has_bias().then(|| gpu.tensor([stored], DType::F32, "biases"));
            let (mut start, mut biases) = (0, Vec::new());
            for (i, &(weight, b)) in stack.members.iter().enumerate() {
                let (first, step) = if stack.alternate { (i * PANEL, 2) } else { (start, 1) };
                let view = View { matrix: Arc::clone(&matrix), start: first, rows: rows[i], step };
                packed.views.insert(weight, (packed.stacks.len(), view));
                biases.extend(b.map(|b| (b, first)));
                start += rows[i];
            }
            packed.stacks.push(Stacked { matrix, bias, role: stack.role, biases });
        }
        packed
    }

    /// Rows of a packed weight.
    #[must_use]
    pub fn view(&self, id: ParamId) -> Option<&View> {
        Some(&self.views.get(&id)?.1)
    }

    /// The stack that a packed weight lies in.
    #[must_use]
    pub fn stack_of(&self, id: ParamId) -> Option<&Stacked> {
        Some(&self.stacks[self.views.get(&id)?.0])
    }

    /// Bytes on the GPU.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stacks.iter().map(|s| s.matrix.bytes() + s.bias.as_ref().map_or(0, Tensor::bytes)).sum()
    }

    pub(super) fn write_bias(&self, gpu: &Gpu, id: ParamId, values: &[f32]) {
        for stack in &self.stacks {
            if let (Some(all), Some((_, first))) = (&stack.bias, stack.biases.iter().find(|(b, _)| *b == id)) {
                gpu.write_part(all, *first, values);
            }
        }
    }
}
