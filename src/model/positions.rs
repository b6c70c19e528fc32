//! Rotary angles, computed on the host in double precision and uploaded as (cos, sin) pairs.

use super::config::RopeLayout;

/// theta^(-2 j / D) for j in 0 .. D/2.
#[must_use]
pub fn frequencies(head: usize, theta: f64) -> Vec<f64> {
    (0..head / 2).map(|j| theta.powf(-2.0 * j as f64 / head as f64)).collect()
}

fn turn(angle: f64) -> [f32; 2] {
    [angle.cos() as f32, angle.sin() as f32]
}

/// One row (D) of an ordinary 1-D position.
#[must_use]
pub fn row_1d(position: usize, head: usize, theta: f64) -> Vec<f32> {
    frequencies(head, theta).iter().flat_map(|f| turn(position as f64 * f)).collect()
}

/// One row (D) of a key at (row, column, third).
///
/// Of the D/2 slots the first 6D/16 serve rows and columns, the rest the third coordinate. Interleaved: slot j keeps
/// frequency j, even slots take the row, odd ones the column. Released: first the even frequencies with the row, then
/// the odd ones with the column.
#[must_use]
pub fn row_3d(position: [usize; 3], head: usize, theta: f64, layout: RopeLayout) -> Vec<f32> {
    let f = frequencies(head, theta);
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
pub struct LinkedPositions {
    /// N.
    pub image: usize,
    /// D.
    pub head: usize,
    /// Base.
    pub theta: f64,
    /// 2-D image positions?
    pub two_d: bool,
    /// Frequency order.
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

    /// Angles of a text query.
    #[must_use]
    pub fn query(&self, t: usize, offset: usize) -> Vec<f32> {
        row_1d(self.text(t, offset), self.head, self.theta)
    }

    /// Angles of a text key.
    #[must_use]
    pub fn text_key(&self, t: usize, offset: usize) -> Vec<f32> {
        let p = self.text(t, offset);
        if self.two_d { row_3d([p; 3], self.head, self.theta, self.layout) } else { row_1d(p, self.head, self.theta) }
    }

    /// Angles of image key n.
    #[must_use]
    pub fn image_key(&self, n: usize, offset: usize) -> Vec<f32> {
        let side = self.side();
        if self.two_d {
            let at = [offset + n / side, offset + n % side, offset + side / 2];
            row_3d(at, self.head, self.theta, self.layout)
        } else {
            row_1d(offset + n, self.head, self.theta)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For heads of 64 the released layout puts the even frequencies 0..22 first, then the odd ones 1..23, then 24..31.
    #[test]
    fn released_layout_of_64() {
        let order: Vec<usize> = (0..12).map(|j| 2 * j).chain((0..12).map(|j| 2 * j + 1)).chain(24..32).collect();
        let f = frequencies(64, 1e4);
        let row = row_3d([1, 2, 3], 64, 1e4, RopeLayout::Released);
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
        assert_eq!(row_3d([5; 3], 32, 1e4, RopeLayout::Interleaved), row_1d(5, 32, 1e4));
    }
}
