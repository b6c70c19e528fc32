//! Quantised weights as they lie in files: each row in blocks of 32 values, a block an f16 scale and the whole numbers it
//! multiplies. Made on the host by the rule of `packed/pack`, which reads them. See `docs/MATH.md#packed`.

use half::f16;

use super::packed::Format;

/// Values of a block.
const BLOCK: usize = 32;
/// Added and taken away again it leaves the nearest whole number, ties to even, of values below 2^22.
const ROUND: f32 = 12_582_912.0;

/// Bytes of a block: the scale, then 8 or 4 bits for each value, the lower half of a byte first.
fn block_bytes(format: Format) -> Option<usize> {
    match format {
        Format::Int8 => Some(2 + BLOCK),
        Format::Int4 => Some(2 + BLOCK / 2),
        Format::F32 | Format::F16 => None,
    }
}

/// Bytes of a row of `cols` values; none for formats without blocks. The last block is filled up with zeros.
#[must_use]
pub fn row_bytes(format: Format, cols: usize) -> Option<usize> {
    Some(cols.div_ceil(BLOCK) * block_bytes(format)?)
}

/// The format whose rows of `cols` values have so many bytes.
#[must_use]
pub fn format_of(cols: usize, bytes: usize) -> Option<Format> {
    Format::ALL.into_iter().find(|f| cols > 0 && row_bytes(*f, cols) == Some(bytes))
}

/// Least and largest whole number, and what the block's value of largest size may become.
fn range(format: Format) -> (f32, f32, Vec<f32>) {
    if format == Format::Int4 {
        (-8.0, 7.0, (0..8_u8).map(|n| 0.25 * f32::from(n) - 8.0).collect())
    } else {
        (-127.0, 127.0, (0..64_u8).map(|n| 127.0 - f32::from(n)).collect())
    }
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn step_of(x: f32, inverse: f32, low: f32, high: f32) -> f32 {
    ((x * inverse + ROUND) - ROUND).max(low).min(high)
}

/// The scale with the least squared error.
fn scale_of(values: &[f32; BLOCK], low: f32, high: f32, steps: &[f32]) -> f16 {
    let most = values.iter().fold(0.0, |m: f32, v| if v.abs() > m.abs() { *v } else { m });
    let mut best = (f32::INFINITY, f16::ZERO);
    for t in steps {
        let scale = f16::from_f32((most / t).clamp(-65504.0, 65504.0));
        let (s, inv) = (scale.to_f32(), inverse(scale.to_f32()));
        let error: f32 = values.iter().map(|v| v - s * step_of(*v, inv, low, high)).map(|off| off * off).sum();
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// Rows of `cols` values as blocks; empty for formats without blocks.
#[must_use]
pub fn encode(values: &[f32], cols: usize, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    if block_bytes(format).is_none() {
        return out;
    }
    let (low, high, steps) = range(format);
    for chunk in values.chunks(cols.max(1)).flat_map(|row| row.chunks(BLOCK)) {
        let mut block = [0.0; BLOCK];
        block[..chunk.len()].copy_from_slice(chunk);
        let scale = scale_of(&block, low, high, &steps);
        out.extend(scale.to_le_bytes());
        let inv = inverse(scale.to_f32());
        let whole = block.map(|v| step_of(v, inv, low, high) as i8 as u8);
        if format == Format::Int4 {
            out.extend(whole.chunks(2).map(|pair| pair[0] & 15 | pair[1] << 4));
        } else {
            out.extend(whole);
        }
    }
    out
}

/// The values of rows of `cols` values; exact.
#[must_use]
pub fn decode(bytes: &[u8], cols: usize, format: Format) -> Vec<f32> {
    let (Some(row), Some(block)) = (row_bytes(format, cols), block_bytes(format)) else { return Vec::new() };
    let value = |block: &[u8], i: usize| {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let whole = match format {
            Format::Int4 => ((block[2 + i / 2] >> (4 * (i % 2))) << 4) as i8 >> 4,
            _ => block[2 + i] as i8,
        };
        scale * f32::from(whole)
    };
    let of_row =
        |row: &[u8]| -> Vec<f32> { (0..cols).map(|k| value(&row[k / BLOCK * block..][..block], k % BLOCK)).collect() };
    bytes.chunks_exact(row).flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case::Array;
    use crate::ops::packed::oracle::quantised;

    #[test]
    fn blocks_hold_what_the_rule_says() {
        for (format, bytes) in [(Format::Int8, [34, 34, 136]), (Format::Int4, [18, 18, 72])] {
            for (cols, bytes) in [1, 32, 101].into_iter().zip(bytes) {
                assert_eq!((row_bytes(format, cols), format_of(cols, bytes)), (Some(bytes), Some(format)));
                let values = Array::random(&[7, cols], 3).values;
                let rounded: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                let file = encode(&rounded, cols, format);
                assert_eq!(file.len(), 7 * bytes);
                let (got, want) = (decode(&file, cols, format), quantised(&values, cols, format));
                let error = |a: &[f64]| values.iter().zip(a).map(|(v, q)| (v - q).powi(2)).sum::<f64>();
                let got: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
                // Where two scales are as good, f32 may take the other one: what counts is the error.
                assert!((error(&got) - error(&want)).abs() < 1e-6 * error(&want) + 1e-12, "{format:?} {cols}");
                // What was rounded once stays.
                let again: Vec<f32> = got.iter().map(|v| *v as f32).collect();
                assert!(format == Format::Int4 || decode(&encode(&again, cols, format), cols, format) == again);
            }
        }
        assert_eq!((row_bytes(Format::F16, 32), format_of(32, 64)), (None, None));
        assert_eq!(decode(&encode(&[0.0; 5], 5, Format::Int8), 5, Format::Int8), [0.0; 5]);
    }
}
