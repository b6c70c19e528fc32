//! Rotary angles, computed on the host in double precision and uploaded as (cos, sin) pairs.

use std::f64::consts::TAU;

use super::config::{RopeLayout, RopeScaling};

/// theta^(-2 j / D) for j in 0 .. D/2. With scaling, frequencies of less than `low_freq_factor` turns in the original
/// context are divided by `factor`, those of more than `high_freq_factor` turns stay, those between are mixed of both.
#[must_use]
pub fn frequencies(head: usize, theta: f64, scaling: Option<RopeScaling>) -> Vec<f64> {
    let plain = (0..head / 2).map(|j| theta.powf(-2.0 * j as f64 / head as f64));
    let Some(s) = scaling else { return plain.collect() };
    let scaled = |frequency: f64| {
        let turns = s.original_max_position_embeddings as f64 * frequency / TAU;
        let kept = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
        let kept = kept.clamp(0.0, 1.0);
        kept * frequency + (1.0 - kept) * frequency / s.factor
    };
    plain.map(scaled).collect()
}

fn turn(angle: f64) -> [f32; 2] {
    [angle.cos() as f32, angle.sin() as f32]
}

/// One row (D) of an ordinary 1-D position.
#[must_use]
pub fn row_1d(position: usize, head: usize, theta: f64, scaling: Option<RopeScaling>) -> Vec<f32> {
    frequencies(head, theta, scaling).iter().flat_map(|f| turn(position as f64 * f)).collect()
}

/// One row (D) of a key at (row, column, third), from the frequencies of its D/2 slots.
///
/// Of the D/2 slots the first 6D/16 serve rows and columns, the rest the third coordinate. Interleaved: slot j keeps
/// frequency j, even slots take the row, odd ones the column. Released: first the even frequencies with the row, then
/// the odd ones with the column.
#[must_use]
pub fn row_3d(position: [usize; 3], f: &[f64], layout: RopeLayout) -> Vec<f32> {
    let head = 2 * f.len();
    let grid = 6 * head / 16;
    (0..head / 2)
        .flat_map(|slot| {
            let (frequency, axis) = match layout {
                _ if slot >= grid => (slot, 2),
                RopeLayout::Interleaved => (slot, slot % 2),
                RopeLayout::Released if slot < grid / 2 => (2 * slot, 0),
                RopeLayout::Released => (2 * (slot - grid / 2) + 1, 1),
            };
            turn(position[axis] as f64 * f[frequency])
        })
        .collect()
}

/// How a linked layer numbers its positions.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LinkedPositions {
    /// N.
    pub image: usize,
    /// D.
    pub head: usize,
    pub theta: f64,
    pub scaling: Option<RopeScaling>,
    /// 2-D image positions?
    pub two_d: bool,
    pub layout: RopeLayout,
}

impl LinkedPositions {
    fn side(&self) -> usize {
        self.image.isqrt()
    }

    /// Position of text token t: those after the image move by its side (2-D) or its length (1-D).
    #[must_use]
    pub fn text(&self, t: usize, offset: usize) -> usize {
        if t < offset {
            t
        } else if self.two_d {
            t + self.side()
        } else {
            t + self.image
        }
    }

    /// Angles at position p of a line.
    #[must_use]
    pub fn row(&self, p: usize) -> Vec<f32> {
        row_1d(p, self.head, self.theta, self.scaling)
    }

    fn grid(&self, at: [usize; 3]) -> Vec<f32> {
        row_3d(at, &frequencies(self.head, self.theta, self.scaling), self.layout)
    }

    /// Angles of a text query.
    #[must_use]
    pub fn query(&self, t: usize, offset: usize) -> Vec<f32> {
        self.row(self.text(t, offset))
    }

    /// Angles of a text key.
    #[must_use]
    pub fn text_key(&self, t: usize, offset: usize) -> Vec<f32> {
        let p = self.text(t, offset);
        if self.two_d { self.grid([p; 3]) } else { self.row(p) }
    }

    /// Angles of image key n.
    #[must_use]
    pub fn image_key(&self, n: usize, offset: usize) -> Vec<f32> {
        let side = self.side();
        if self.two_d {
            self.grid([offset + n / side, offset + n % side, offset + side / 2])
        } else {
            self.row(offset + n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::RopeType;

    /// For heads of 64 the released layout puts the even frequencies 0..22 first, then the odd ones 1..23, then 24..31.
    #[test]
    fn released_layout_of_64() {
        let order: Vec<usize> = (0..12).map(|j| 2 * j).chain((0..12).map(|j| 2 * j + 1)).chain(24..32).collect();
        let f = frequencies(64, 1e4, None);
        let row = row_3d([1, 2, 3], &f, RopeLayout::Released);
        for (slot, &frequency) in order.iter().enumerate() {
            let position = if slot < 12 {
                1.0
            } else if slot < 24 {
                2.0
            } else {
                3.0
            };
            assert_eq!(row[2 * slot..2 * slot + 2], turn(position * f[frequency]), "slot {slot}");
        }
    }

    #[test]
    fn text_keys_with_equal_coordinates_are_ordinary_in_the_interleaved_layout() {
        let f = frequencies(32, 1e4, None);
        assert_eq!(row_3d([5; 3], &f, RopeLayout::Interleaved), row_1d(5, 32, 1e4, None));
    }

    /// Inverse frequencies of Llama-3.2-1B by transformers 5.9 (float32).
    #[test]
    fn llama3_frequencies() {
        let scaling = RopeScaling {
            rope_type: RopeType::Llama3,
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let f = frequencies(64, 5e5, Some(scaling));
        for (j, want) in [
            (0, 1.0),
            (1, 0.663_601_279),
            (8, 0.037_606_030_7),
            (14, 0.003_211_446_11),
            (15, 0.001_290_548_01),
            (16, 4.295_567_05e-4),
            (17, 9.708_286_23e-5),
            (18, 1.946_163_87e-5),
            (31, 9.418_306_49e-8),
        ] {
            assert!((f[j] / want - 1.0).abs() < 1e-5, "{j}: {} {want}", f[j]);
        }
        assert_eq!(f.len(), 32);
    }
}
