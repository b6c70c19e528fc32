//! Numbers that are not finite: a step, a tensor or a score that has one ends the work before anything is kept of it.

use std::fmt;

use super::trainer::{Report, Trainer};
use crate::gpu::GpuError;
use crate::nn::params::Weights;

/// The largest value that half precision has.
const LARGEST_HALF: f32 = 65504.0;

/// Something that should be a number and is not.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NotFinite {
    /// Loss or gradient norm of a step.
    Step {
        /// `stage 1`, or what else is trained.
        title: String,
        update: u64,
        /// Loss, and gradient norm before clipping.
        loss: f32,
        grad_norm: f32,
        /// Where in the model.
        part: String,
    },
    /// A tensor that is to be kept or was read.
    Tensor { name: String, value: f32 },
    /// A weight that half precision cannot hold.
    Half { name: String, value: f32 },
    /// The mean loss of answers.
    Answers(f64),
}

impl NotFinite {
    /// What happened.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Step { title, update, loss, grad_norm, part } => {
                let (name, value) = if loss.is_finite() { ("gradient norm", grad_norm) } else { ("loss", loss) };
                format!("step {update} of {title}: the {name} is {}, no finite number; {part}", words(*value))
            }
            Self::Tensor { name, value } => format!("the tensor {name} holds {}, no finite number", words(*value)),
            Self::Half { name, value } => {
                format!("the tensor {name} holds {value:e}, and half precision ends at {LARGEST_HALF}")
            }
            Self::Answers(loss) => {
                format!(
                    "the loss of the answers is {}, no finite number: these weights answer nothing",
                    words(*loss as f32)
                )
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Half { .. } => "Keep the weights in f32, or train with a smaller learning_rate",
            _ => {
                "What was saved before stays as it is. Go back to it and try a smaller learning_rate or weight_decay, a longer \
                 warmup_ratio or a smaller max_grad_norm, and look again at whatever was changed in the preset"
            }
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what(), self.remedy())
    }
}

impl std::error::Error for NotFinite {}

fn words(value: f32) -> &'static str {
    match value {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "infinity",
        _ => "-infinity",
    }
}

/// The first value that is no finite number, with its tensor.
///
/// # Errors
/// That value.
pub fn check(weights: &Weights) -> Result<(), NotFinite> {
    let mut wrong = weights.iter().filter_map(|(name, values)| Some((name, values.iter().find(|v| !v.is_finite())?)));
    wrong.next().map_or(Ok(()), |(name, value)| Err(NotFinite::Tensor { name: name.clone(), value: *value }))
}

/// The same, and that half precision can hold all of them.
///
/// # Errors
/// The first value that is wrong.
pub fn check_half(weights: &Weights) -> Result<(), NotFinite> {
    check(weights)?;
    let large = |values: &[f32]| values.iter().copied().find(|v| v.abs() > LARGEST_HALF);
    let mut wrong = weights.iter().filter_map(|(name, values)| Some((name, large(values)?)));
    wrong.next().map_or(Ok(()), |(name, value)| Err(NotFinite::Half { name: name.clone(), value }))
}

/// What a step reports, if both its numbers are finite; else where in the model they are not.
///
/// # Errors
/// A GPU fault while the model is looked through.
pub(super) async fn of_step(trainer: &Trainer, title: &str, report: &Report) -> Result<Option<NotFinite>, GpuError> {
    let Report { update, loss, grad_norm, .. } = *report;
    if loss.is_finite() && grad_norm.is_finite() {
        return Ok(None);
    }
    let gradients = trainer.gradient_norms().await?;
    let wrong: Vec<&String> = gradients.iter().filter(|(_, norm)| !norm.is_finite()).map(|(name, _)| name).collect();
    let mut part = match wrong.as_slice() {
        [] => "every gradient is finite".to_owned(),
        [name] => format!("the gradient of {name} is not finite"),
        [name, others @ ..] => format!("the gradients of {name} and {} more tensors are not finite", others.len()),
    };
    // Those that do not train are as they were before the step.
    let values = trainer.params.download().await?;
    let largest = |values: &[f32]| values.iter().filter(|v| v.is_finite()).fold(0.0_f32, |most, v| most.max(v.abs()));
    let all = values.iter().map(|(name, values)| (name, largest(values)));
    if let Some((name, most)) = all.max_by(|a, b| a.1.total_cmp(&b.1)) {
        part.push_str(&format!("; the largest weight is {most:.3e}, in {name}"));
    }
    Ok(Some(NotFinite::Step { title: title.to_owned(), update, loss, grad_norm, part }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_wrong_is_named() {
        let mut weights = Weights::from([("a".to_owned(), vec![1.0, -0.0]), ("b".to_owned(), vec![2.0, 7e4])]);
        assert_eq!(check(&weights), Ok(()));
        let half = check_half(&weights).unwrap_err();
        assert!(
            half.to_string().starts_with("the tensor b holds 7e4, and half precision ends at 65504. Keep"),
            "{half}"
        );
        weights.insert("c".to_owned(), vec![0.0, f32::NEG_INFINITY]);
        let text = check(&weights).unwrap_err().to_string();
        assert!(text.starts_with("the tensor c holds -infinity, no finite number. What was saved"), "{text}");
    }
}
