//! What a comparison of runs says: means with their spread, and how likely a difference is by chance.

/// The middle one of some values, the larger of two; none of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Mean and standard deviation (of a sample: divided by n - 1; 0 for one value).
#[must_use]
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// Two models were asked the same questions; `a` and `b` say which each answered right. The probability of a difference at least
/// so large if both were equally good: `McNemar`'s exact test, two-sided, over the questions on which they differ.
///
/// # Panics
/// If they were asked different numbers of questions: a bug of the caller.
#[must_use]
pub fn chance_of_difference(a: &[bool], b: &[bool]) -> f64 {
    assert_eq!(a.len(), b.len(), "the same questions");
    let only = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
    let (one, other) = (only(a, b), only(b, a));
    let n = one + other;
    // Sum of binomial terms at most as likely as the smaller count, from logarithms of factorials.
    let mut logs = vec![0.0; n + 1];
    (1..=n).for_each(|i| logs[i] = logs[i - 1] + (i as f64).ln());
    let term = |k: usize| (logs[n] - logs[k] - logs[n - k] - n as f64 * std::f64::consts::LN_2).exp();
    (2.0 * (0..=one.min(other)).map(term).sum::<f64>()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_of_known_values() {
        assert_eq!(mean_and_deviation(&[2.0, 4.0, 6.0]), (4.0, 2.0));
        assert_eq!(mean_and_deviation(&[3.0]), (3.0, 0.0));
        assert_eq!(mean_and_deviation(&[]), (0.0, 0.0));
    }

    /// By hand: 2 (sum of C(n, k) for k up to the smaller count) / 2^n.
    #[test]
    fn differences_by_chance_are_those_of_the_binomial() {
        let of = |one: usize, other: usize, same: usize| {
            let a: Vec<bool> = (0..one + other + same).map(|i| i < one || i >= one + other).collect();
            let b: Vec<bool> = (0..one + other + same).map(|i| i >= one).collect();
            chance_of_difference(&a, &b)
        };
        assert_eq!(of(0, 0, 9), 1.0);
        assert!((of(0, 5, 3) - 2.0 / 32.0).abs() < 1e-12);
        assert!((of(9, 1, 0) - 2.0 * 11.0 / 1024.0).abs() < 1e-12);
        assert!((of(5, 5, 2) - 1.0).abs() < 1e-12);
        let many = of(400, 300, 1000);
        assert!((1e-5..1e-3).contains(&many), "{many}");
        assert_eq!(of(30, 12, 0), of(12, 30, 7));
    }
}
