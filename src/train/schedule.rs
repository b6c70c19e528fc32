//! Learning rates: linear warm-up, then cosine to a floor.

/// Peak, warm-up and floor of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub learning_rate: f64,
    /// Share of all steps that warm up.
    pub warmup_ratio: f64,
    /// Lowest rate as a share of the peak.
    pub floor: f64,
}

impl Schedule {
    /// Rate of update number `update` (1, 2, ... `total`).
    ///
    /// ```
    /// let s = hive::train::schedule::Schedule { learning_rate: 1.0, warmup_ratio: 0.2, floor: 0.1 };
    /// assert_eq!(s.rate(1, 10), 0.5);
    /// assert_eq!(s.rate(2, 10), 1.0);
    /// assert!((s.rate(10, 10) - 0.1).abs() < 1e-12);
    /// ```
    #[must_use]
    pub fn rate(&self, update: u64, total: u64) -> f64 {
        let warm = (self.warmup_ratio * total as f64).ceil();
        let step = update as f64;
        if step < warm {
            return self.learning_rate * step / warm.max(1.0);
        }
        let t = (step - warm) / (total as f64 - warm).max(1.0);
        self.learning_rate * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()))
    }
}
