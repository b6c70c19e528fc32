//! The self-test: every case on this adapter against its oracle, and the test of the test: broken kernels must be caught.

use super::ALL;
use super::case::Failure;
use crate::gpu::{Gpu, GpuError, GpuOptions, Sabotage};

/// Outcome of one case.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Outcome {
    pub op: &'static str,
    pub case: String,
    /// Worst error against the oracle, or what went wrong.
    pub parity: Result<f64, String>,
    pub tolerance: f64,
    /// Worst error of the oracle's gradients against finite differences.
    pub finite_difference: Option<f64>,
}

/// Largest error of finite differences.
pub const DIFFERENCE_TOLERANCE: f64 = 1e-6;

impl Outcome {
    /// Did everything hold?
    #[must_use]
    pub fn passed(&self) -> bool {
        self.parity.is_ok() && self.finite_difference.is_none_or(|e| e <= DIFFERENCE_TOLERANCE)
    }
}

/// The first case of every op, which is a small one: a self-test of seconds.
#[must_use]
pub fn first_cases() -> Vec<(&'static str, super::case::Case)> {
    ALL.iter().filter_map(|op| Some((op.name, (op.cases)().into_iter().next()?))).collect()
}

/// All cases of all ops.
#[must_use]
pub fn all_cases() -> Vec<(&'static str, super::case::Case)> {
    ALL.iter().flat_map(|op| (op.cases)().into_iter().map(|case| (op.name, case))).collect()
}

/// Runs all cases of the ops whose name contains `filter`, telling each outcome as it comes.
///
/// # Errors
/// A lost device.
pub async fn run(gpu: &Gpu, filter: &str, mut tell: impl FnMut(&Outcome)) -> Result<Vec<Outcome>, GpuError> {
    let mut outcomes = Vec::new();
    for op in ALL.iter().filter(|op| op.name.contains(filter)) {
        for case in (op.cases)() {
            let parity = match case.parity(gpu).await {
                Ok(error) => Ok(error),
                Err(Failure::Wrong(text)) => Err(text),
                Err(Failure::Gpu(e)) => return Err(e),
            };
            let finite_difference = case.finite_difference();
            let outcome =
                Outcome { op: op.name, tolerance: case.tolerance, case: case.name, parity, finite_difference };
            tell(&outcome);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// Does this adapter run the kernel? All but those that hand rows round in a subgroup of 8 are portable; these are
/// optimisations with portable twins.
#[must_use]
pub fn runs_on(gpu: &Gpu, kernel: &str) -> bool {
    !kernel.contains("broadcast") || (gpu.is_software() && gpu.subgroup == Some(8))
}

/// The faults that the ops' files list, with the name of their op.
pub fn sabotages() -> impl Iterator<Item = (&'static str, &'static Sabotage)> {
    ALL.iter().flat_map(|op| op.sabotages.iter().map(move |fault| (op.name, fault)))
}

/// Is this fault noticed? Runs the op's cases on a device whose kernel is broken.
///
/// # Errors
/// No device.
pub async fn caught(options: &GpuOptions, fault: &Sabotage) -> Result<bool, GpuError> {
    let gpu = Gpu::new(&GpuOptions { sabotage: vec![fault.clone()], ..options.clone() }).await?;
    let broken = ALL.iter().filter(|op| fault.kernel.split('/').next() == Some(op.name));
    for case in broken.flat_map(|op| (op.cases)()) {
        if case.parity(&gpu).await.is_err() {
            return Ok(true);
        }
    }
    Ok(false)
}
