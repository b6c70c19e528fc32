//! A case: inputs, how the GPU computes, how the oracle computes. One declaration, four modes: parity with the oracle,
//! finite differences of the oracle, speed, support.

use crate::gpu::{DType, Gpu, GpuError, Recorder, Tensor};

/// A host tensor of a case.
#[derive(Clone, Debug)]
pub struct Array {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values; whole numbers where `dtype` says so.
    pub values: Vec<f64>,
    /// Element type on the GPU.
    pub dtype: DType,
}

impl Array {
    /// Reproducible values of about unit size, rounded to f32 so that both sides see the same.
    #[must_use]
    pub fn random(shape: &[usize], seed: u64) -> Self {
        Self::scaled(shape, seed, 1.0)
    }

    /// Like [`Self::random`], times `scale`.
    #[must_use]
    pub fn scaled(shape: &[usize], seed: u64, scale: f64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x2545_f491_4f6c_dd1d);
        let mut next = || {
            // xorshift64*: enough for test data.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let count = shape.iter().product();
        let values = (0..count).map(|_| f64::from(((next() + next() + next() - 1.5) * 2.0 * scale) as f32)).collect();
        Self { shape: shape.to_vec(), values, dtype: DType::F32 }
    }

    /// Whole numbers.
    #[must_use]
    pub fn whole(shape: &[usize], values: &[u32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape: shape.to_vec(), values: values.iter().map(|v| f64::from(*v)).collect(), dtype: DType::U32 }
    }

    /// Floats.
    #[must_use]
    pub fn floats(shape: &[usize], values: &[f64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape: shape.to_vec(), values: values.to_vec(), dtype: DType::F32 }
    }

    fn to_gpu(&self, r: &mut Recorder, label: &'static str) -> Tensor {
        let t = r.alloc_as(self.shape.as_slice(), self.dtype, label);
        match self.dtype {
            DType::F32 => r.gpu().write(&t, &self.values.iter().map(|v| *v as f32).collect::<Vec<_>>()),
            DType::U32 => r.gpu().write_u32(&t, &self.values.iter().map(|v| *v as u32).collect::<Vec<_>>()),
        }
        t
    }
}

/// What the GPU side of a case built: outputs in the oracle's order, then gradients in the order of [`Case::wrt`].
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Built {
    pub outs: Vec<Tensor>,
    pub grads: Vec<Tensor>,
}

/// Values in, values out, all f64.
pub type Forward = Box<dyn Fn(&[Vec<f64>]) -> Vec<Vec<f64>> + Send + Sync>;
/// Inputs and output gradients in, input gradients (those of [`Case::wrt`]) out.
pub type Backward = Box<dyn Fn(&[Vec<f64>], &[Vec<f64>]) -> Vec<Vec<f64>> + Send + Sync>;
/// Records the op: inputs and output gradients (no gradients wanted when empty).
pub type Record = Box<dyn Fn(&mut Recorder, &[Tensor], &[Tensor]) -> Built + Send + Sync>;

/// One declared computation.
#[allow(missing_docs, reason = "the names say it")]
pub struct Case {
    pub name: String,
    pub inputs: Vec<Array>,
    /// Indices of the inputs with gradients.
    pub wrt: Vec<usize>,
    /// How the GPU does it.
    pub record: Record,
    pub forward: Forward,
    /// The specification of the gradients.
    pub backward: Option<Backward>,
    /// Largest allowed max |a - b| / max |b| of any tensor.
    pub tolerance: f64,
}

/// Why a case failed, in a sentence.
#[derive(Debug)]
pub enum Failure {
    /// A result is off.
    Wrong(String),
    /// The GPU failed.
    Gpu(GpuError),
}

impl From<GpuError> for Failure {
    fn from(e: GpuError) -> Self {
        Self::Gpu(e)
    }
}

/// max |a - b| / max |b|, or a sentence when a value is not finite or everything expected is zero and `a` is not.
///
/// # Errors
/// A sentence that names the first bad index.
pub fn error_of(got: &[f32], want: &[f64]) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} values, {} expected", got.len(), want.len()));
    }
    if let Some(i) = got.iter().position(|v| !v.is_finite()) {
        return Err(format!("value {i} is {}, expected {}", got[i], want[i]));
    }
    let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).fold(0.0_f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()));
    Ok(if largest > 0.0 { worst / largest } else { worst })
}

impl Case {
    fn seeds(&self, outs: &[Vec<f64>]) -> Vec<Array> {
        // A single number is a loss: its own gradient is one.
        let seed = |i: u64, n: usize| if n == 1 { Array::floats(&[1], &[1.0]) } else { Array::random(&[n], 77 + i) };
        (0..).zip(outs).map(|(i, o)| seed(i, o.len())).collect()
    }

    /// Runs on the GPU, on fresh NaN-filled memory with guard words, and compares with the oracle.
    /// Returns the worst error of all outputs and gradients.
    ///
    /// # Errors
    /// A wrong value, a write outside a tensor, or a GPU fault.
    pub async fn parity(&self, gpu: &Gpu) -> Result<f64, Failure> {
        let inputs: Vec<Vec<f64>> = self.inputs.iter().map(|a| a.values.clone()).collect();
        let want = (self.forward)(&inputs);
        let seeds = if self.backward.is_some() { self.seeds(&want) } else { Vec::new() };
        let mut r = Recorder::audited(gpu);
        let tensors: Vec<Tensor> = self.inputs.iter().map(|a| a.to_gpu(&mut r, "input")).collect();
        let douts: Vec<Tensor> = seeds.iter().map(|a| a.to_gpu(&mut r, "output gradient")).collect();
        let built = (self.record)(&mut r, &tensors, &douts);
        let program = r.finish();
        program.run();
        let mut expected = want;
        if let Some(backward) = &self.backward {
            let seeds: Vec<Vec<f64>> = seeds.iter().map(|a| a.values.clone()).collect();
            expected.extend(backward(&inputs, &seeds));
        }
        let results: Vec<Tensor> = built.outs.iter().chain(&built.grads).cloned().collect();
        if results.len() != expected.len() {
            return Err(Failure::Wrong(format!("{} results, {} expected", results.len(), expected.len())));
        }
        let mut worst = 0.0_f64;
        for ((values, want), tensor) in gpu.read_all(&results).await?.iter().zip(&expected).zip(&results) {
            let error = error_of(values, want).map_err(|e| Failure::Wrong(format!("{}: {e}", tensor.label())))?;
            if error > self.tolerance {
                let text = format!("{}: error {error:.1e}, at most {:.1e} allowed", tensor.label(), self.tolerance);
                return Err(Failure::Wrong(text));
            }
            worst = worst.max(error);
        }
        match program.broken_guards().await?.first() {
            Some(label) => Err(Failure::Wrong(format!("wrote outside of {label}"))),
            None => Ok(worst),
        }
    }

    /// Compares the oracle's backward with central differences of its forward along a random direction of every input
    /// with a gradient. Returns the worst relative error.
    #[must_use]
    pub fn finite_difference(&self) -> Option<f64> {
        let backward = self.backward.as_ref()?;
        let inputs: Vec<Vec<f64>> = self.inputs.iter().map(|a| a.values.clone()).collect();
        let seeds: Vec<Vec<f64>> = self.seeds(&(self.forward)(&inputs)).into_iter().map(|a| a.values).collect();
        let grads = backward(&inputs, &seeds);
        let objective = |x: &[Vec<f64>]| -> f64 {
            (self.forward)(x).iter().zip(&seeds).flat_map(|(o, s)| o.iter().zip(s)).map(|(o, s)| o * s).sum()
        };
        let mut worst = 0.0_f64;
        for (grad, &input) in grads.iter().zip(&self.wrt) {
            let direction = Array::random(&[grad.len()], 1234 + input as u64).values;
            let slope: f64 = grad.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale: f64 = grad.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum::<f64>().max(1e-12);
            let at = |h: f64| {
                let mut moved = inputs.clone();
                moved[input].iter_mut().zip(&direction).for_each(|(x, d)| *x += h * d);
                objective(&moved)
            };
            // Fourth-order stencil: the error of the difference stays far below the tolerance.
            let h = 1e-3;
            let measured = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            worst = worst.max((measured - slope).abs() / scale);
        }
        Some(worst)
    }

    /// Median seconds of a replay over `runs`.
    pub async fn time(&self, gpu: &Gpu, runs: usize) -> Result<(f64, f64), GpuError> {
        let mut r = Recorder::new(gpu);
        let tensors: Vec<Tensor> = self.inputs.iter().map(|a| a.to_gpu(&mut r, "input")).collect();
        let built = (self.record)(&mut r, &tensors, &[]);
        let program = r.finish();
        program.run();
        gpu.finished().await?;
        let mut times = Vec::new();
        for _ in 0..runs.max(1) {
            let start = crate::platform::now_secs();
            program.run();
            gpu.finished().await?;
            times.push(crate::platform::now_secs() - start);
        }
        times.sort_by(f64::total_cmp);
        drop(built);
        Ok((times[times.len() / 2], program.flops()))
    }
}
