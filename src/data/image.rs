//! Pictures as the vision tower wants them: bicubic resampling as Pillow does it, normalisation.
//!
//! Used by `folder`, by the commands and by the web page for users' pictures. Weights trained elsewhere expect exactly the
//! numbers that Pillow's 8-bit resampling gives, so its fixed-point arithmetic is repeated here step by step.

use std::borrow::Cow;
use std::f64::consts::PI;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use super::picture_file::{ImageError, LARGEST_FILE, LARGEST_SIDE, Rgb, content, counted_bytes, decode};

/// The paper behind what is transparent.
pub const WHITE: [u8; 3] = [255; 3];
/// Bits behind the point of the resampling weights: 32, less 8 for the bytes, less 2 for sums that overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// How a picture that is not square becomes square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Squeezed or stretched, as `SigLIP` does.
    #[default]
    Squash,
    /// Centred on a square of the mean colour.
    Pad,
    /// What is outside the square in its centre is cut off, as CLIP does.
    Crop,
}

/// How colours between pixels are found, and how many pixels a reduced one averages: Pillow's filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    #[default]
    Bicubic,
    Box,
    Hamming,
}

impl Filter {
    /// By Pillow's number, which configurations have as `resample`.
    #[must_use]
    pub fn numbered(number: usize) -> Option<Self> {
        let all = [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming];
        all.get(number).copied()
    }

    /// How far it reaches, in pixels of the result where that is smaller, else of the picture.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The weight at a distance.
    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming if x.abs() >= 1.0 => 0.0,
            Self::Hamming => sinc(x) * (0.54 + 0.46 * (x * PI).cos()),
            Self::Bicubic => bicubic(x),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// How pictures become pixels for a vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Side S of the result in pixels.
    pub image_size: usize,
    /// How a picture becomes square.
    #[serde(default)]
    pub fit: Fit,
    /// Side of the square, or of the picture's shorter side, before the centre of S pixels is cut out; none: S.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// How it is made smaller or larger.
    #[serde(default)]
    pub filter: Filter,
    /// What bytes are multiplied with before mean and deviation; none: 1 / 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescale: Option<f64>,
    /// Per channel, of values from 0 to 1.
    pub image_mean: [f64; 3],
    /// Per channel, of values from 0 to 1.
    pub image_std: [f64; 3],
    /// What shines through transparent parts (red, green, blue). None: transparency is dropped, which shows whatever colour
    /// the file keeps there, as Pillow's `convert("RGB")` does and as weights trained elsewhere expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
}

impl Preprocess {
    /// `SigLIP`: squashed, values from -1 to 1.
    #[must_use]
    pub fn new(image_size: usize) -> Self {
        Self {
            image_size,
            fit: Fit::Squash,
            resize: None,
            filter: Filter::Bicubic,
            rescale: None,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            background: None,
        }
    }

    /// The same with [`WHITE`] behind transparent parts: how this program's own models see pictures.
    #[must_use]
    pub fn on_white(image_size: usize) -> Self {
        Self { background: Some(WHITE), ..Self::new(image_size) }
    }

    /// The same, centred on a square of the mean colour.
    #[must_use]
    pub fn padded(self) -> Self {
        Self { fit: Fit::Pad, ..self }
    }

    /// A picture as pixels, `(3, S, S)`.
    #[must_use]
    pub fn pixels(&self, picture: &Rgb) -> Vec<f32> {
        self.normal(&self.square(picture).data)
    }

    /// A picture as bytes of the tower's size, `(S, S, 3)`.
    #[must_use]
    pub fn square(&self, picture: &Rgb) -> Rgb {
        let side = self.resize.unwrap_or(self.image_size).max(self.image_size);
        let (width, height) = match self.fit {
            Fit::Squash | Fit::Pad => (side, side),
            Fit::Crop => {
                let short = picture.width.min(picture.height).max(1);
                // The longer side is cut to a whole pixel, as the reference does.
                let long = |old: usize| (side as u64 * old as u64 / short as u64) as usize;
                if picture.width < picture.height { (side, long(picture.height)) } else { (long(picture.width), side) }
            }
        };
        if self.fit == Fit::Pad {
            let colour = self.image_mean.map(|m| (m * 255.0) as u8);
            let whole = padded(picture, colour, side, self.filter);
            return resize_part(&whole, [side, side], self.image_size, self.filter);
        }
        resize_part(picture, [width, height], self.image_size, self.filter)
    }

    /// Bytes `(S, S, 3)` as pixels, `(3, S, S)`.
    #[must_use]
    pub fn normal(&self, square: &[u8]) -> Vec<f32> {
        let scaled = |b: u8| self.rescale.map_or(f64::from(b) / 255.0, |factor| f64::from(b) * factor);
        let normal = |c: usize, b: u8| ((scaled(b) - self.image_mean[c]) / self.image_std[c]) as f32;
        (0..3).flat_map(|c| square.iter().skip(c).step_by(3).map(move |b| normal(c, *b))).collect()
    }

    /// The bytes of a picture file as pixels, `(3, S, S)`.
    ///
    /// # Errors
    /// When the bytes are no picture.
    pub fn decode(&self, bytes: &[u8], name: &str) -> Result<Vec<f32>, ImageError> {
        Ok(self.pixels(&decode(bytes, name, self.background)?))
    }
}

/// The picture centred on the smallest square that holds it, filled with `colour`, at the size of `side`. The square itself is
/// never made: of a strip it would be thousands of times as large.
#[must_use]
pub fn resize_padded(picture: &Rgb, colour: [u8; 3], side: usize) -> Rgb {
    padded(picture, colour, side, Filter::Bicubic)
}

fn padded(picture: &Rgb, colour: [u8; 3], side: usize, filter: Filter) -> Rgb {
    let whole = picture.width.max(picture.height);
    let (left, top) = ((whole - picture.width) / 2, (whole - picture.height) / 2);
    let weights = (side != whole).then(|| weights(whole, side, 0..side, filter));
    // A square's width goes first. Rows of one colour keep it.
    let mut data = colour.repeat(side * whole);
    let mut row = colour.repeat(whole);
    for (y, inner) in picture.data.chunks_exact(picture.width * 3).enumerate() {
        row[left * 3..][..inner.len()].copy_from_slice(inner);
        let to = &mut data[(top + y) * side * 3..][..side * 3];
        match &weights {
            Some(weights) => narrow(&row, weights, to),
            None => to.copy_from_slice(&row),
        }
    }
    resize_height(Cow::Owned(Rgb { width: side, height: whole, data }), side, 0..side, filter).into_owned()
}

/// The picture at another size, bicubic, byte for byte as Pillow 13's `resize((width, height), BICUBIC)`.
#[must_use]
pub fn resize(picture: &Rgb, width: usize, height: usize) -> Rgb {
    resize_ranges(picture, [width, height], [0..width, 0..height], Filter::Bicubic)
}

/// The same by another filter.
#[must_use]
pub fn resize_by(picture: &Rgb, width: usize, height: usize, filter: Filter) -> Rgb {
    resize_ranges(picture, [width, height], [0..width, 0..height], filter)
}

/// The centre of the picture at another size [width, height], a square of so many pixels. Nothing else of it is made: of a
/// strip it would be thousands of times as large.
fn resize_part(picture: &Rgb, size: [usize; 2], side: usize, filter: Filter) -> Rgb {
    let centre = size.map(|whole| {
        let first = (whole - side.min(whole)) / 2;
        first..(first + side).min(whole)
    });
    resize_ranges(picture, size, centre, filter)
}

/// A part of the picture at another size.
///
/// Two passes with bytes in between. Pillow 13 begins with the height where that shrinks much more than the width; earlier
/// versions always began with the width, which differs by a few steps of 255 in such pictures.
fn resize_ranges(picture: &Rgb, [width, height]: [usize; 2], [x, y]: [Range<usize>; 2], filter: Filter) -> Rgb {
    let less = |old: usize, new: usize| old as i64 - new as i64;
    let (shorter, narrower) = (less(picture.height, height), less(picture.width, width));
    let picture = Cow::Borrowed(picture);
    let done = if shorter > 0 && shorter > narrower * 2 {
        resize_width(resize_height(picture, height, y, filter), width, x, filter)
    } else {
        resize_height(resize_width(picture, width, x, filter), height, y, filter)
    };
    done.into_owned()
}

/// Columns `part` of the picture at another width.
fn resize_width(picture: Cow<'_, Rgb>, width: usize, part: Range<usize>, filter: Filter) -> Cow<'_, Rgb> {
    if width == picture.width && part == (0..width) {
        return picture;
    }
    let columns = part.len();
    let weights = weights(picture.width, width, part, filter);
    let mut data = vec![0; columns * picture.height * 3];
    for (row, to) in picture.data.chunks_exact(picture.width * 3).zip(data.chunks_exact_mut(columns * 3)) {
        narrow(row, &weights, to);
    }
    Cow::Owned(Rgb { width: columns, height: picture.height, data })
}

/// One row at another width.
fn narrow(row: &[u8], weights: &[(usize, Vec<i32>)], to: &mut [u8]) {
    for ((first, weights), to) in weights.iter().zip(to.chunks_exact_mut(3)) {
        for (c, to) in to.iter_mut().enumerate() {
            *to = weigh(weights, row[first * 3 + c..].iter().step_by(3));
        }
    }
}

/// Rows `part` of the picture at another height.
fn resize_height(picture: Cow<'_, Rgb>, height: usize, part: Range<usize>, filter: Filter) -> Cow<'_, Rgb> {
    if height == picture.height && part == (0..height) {
        return picture;
    }
    let (stride, rows) = (picture.width * 3, part.len());
    let mut data = Vec::with_capacity(stride * rows);
    for (first, weights) in &weights(picture.height, height, part, filter) {
        data.extend((0..stride).map(|x| weigh(weights, picture.data[first * stride + x..].iter().step_by(stride))));
    }
    Cow::Owned(Rgb { width: picture.width, height: rows, data })
}

/// The weighted sum of bytes, rounded and clipped to a byte.
fn weigh<'a>(weights: &[i32], bytes: impl Iterator<Item = &'a u8>) -> u8 {
    let half = 1 << (PRECISION_BITS - 1);
    let sum = weights.iter().zip(bytes).fold(half, |sum, (w, b)| sum + w * i32::from(*b));
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// For each position in `part` of `to` new ones the first of the `from` old ones that it draws on, and the weights from there
/// on, as whole numbers of 2^-22.
fn weights(from: usize, to: usize, part: Range<usize>, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let one = 1 << PRECISION_BITS;
    // Where nothing changes there is nothing to filter, and the nearest is one.
    if from == to {
        return part.map(|i| (i, vec![one])).collect();
    }
    if filter == Filter::Nearest {
        // Pillow adds step to step, which rounds otherwise than a product.
        let steps = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
        return steps.skip(part.start).take(part.len()).map(|at| ((at as usize).min(from - 1), vec![one])).collect();
    }
    // to reduce, the filter is stretched so that it averages
    let stretch = scale.max(1.0);
    let (support, inverse) = (filter.support() * stretch, 1.0 / stretch);
    part.map(|i| {
        let center = (i as f64 + 0.5) * scale;
        // the casts cut off towards 0 as in C, and stop at 0
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end).map(|x| filter.weight((x as f64 - center + 0.5) * inverse)).collect();
        let sum: f64 = raw.iter().sum();
        (first, raw.iter().map(|w| (w / sum * f64::from(one)).round() as i32).collect())
    })
    .collect()
}

/// The bicubic filter with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
