//! Numbers as people read them.

/// A count in few characters: `950`, `12.3 k`, `1.23 M`.
#[must_use]
pub fn compact(n: usize) -> String {
    let (value, unit) = match n {
        0..1_000 => return n.to_string(),
        1_000..1_000_000 => (n as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (n as f64 / 1e6, "M"),
        _ => (n as f64 / 1e9, "G"),
    };
    format!("{} {unit}", short(value))
}

/// Bytes: `512 B`, `3.0 MiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{n} B")
}

/// A number of an axis whose marks are a step apart: `0.2`, `1.0`, `400`.
#[must_use]
pub fn at_step(v: f64, step: f64) -> String {
    let digits = -step.log10().floor();
    if !(0.0..=4.0).contains(&digits) {
        return short(v);
    }
    let digits = digits as usize;
    format!("{v:.digits$}")
}

/// About three digits that count: `0.0012`, `0.123`, `1.23`, `123`; very small and very large ones with an exponent.
#[must_use]
pub fn short(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !a.is_finite() => v.to_string(),
        a if !(1e-4..1e6).contains(&a) => format!("{v:.1e}"),
        a if a < 1e-2 => format!("{v:.5}").trim_end_matches('0').to_owned(),
        a if a < 1.0 => format!("{v:.3}"),
        a if a < 10.0 => format!("{v:.2}"),
        a if a < 100.0 => format!("{v:.1}"),
        _ => format!("{v:.0}"),
    }
}

/// A share in percent: `41 %`, `4.1 %`, `0.41 %`.
#[must_use]
pub fn percent(share: f32) -> String {
    let p = f64::from(share) * 100.0;
    match p.abs() {
        a if a >= 9.95 => format!("{p:.0} %"),
        a if a >= 0.995 || a == 0.0 => format!("{p:.1} %"),
        _ => format!("{p:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([950, 12_345, 530_000, 1_234_567].map(compact), ["950", "12.3 k", "530 k", "1.23 M"]);
        assert_eq!([512, 3 << 20].map(bytes), ["512 B", "3.0 MiB"]);
        assert_eq!(
            [0.0, 0.00123, 0.1234, 1.234, 123.4, 1e-9].map(short),
            ["0", "0.00123", "0.123", "1.23", "123", "1.0e-9"]
        );
        assert_eq!(
            [(0.6, 0.2), (1.0, 0.5), (0.0035, 5e-4), (400.0, 200.0), (3.0, 1.0)].map(|(v, step)| at_step(v, step)),
            ["0.6", "1.0", "0.0035", "400", "3"]
        );
        assert_eq!([0.41, 0.041, 0.0041, 1.0, 0.0].map(percent), ["41 %", "4.1 %", "0.41 %", "100 %", "0.0 %"]);
    }
}
