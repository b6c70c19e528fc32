//! Pictures as the vision tower wants them: decoding, bicubic resampling as Pillow does it, normalisation.
//!
//! Used by `folder`, by the commands and by the web page for users' pictures. Weights trained elsewhere expect exactly the
//! numbers that Pillow's 8-bit resampling gives, so its fixed-point arithmetic is repeated here step by step.

use serde::{Deserialize, Serialize};

/// The widest or highest picture that is decoded, in pixels.
pub const LARGEST_SIDE: u32 = 16_384;
/// The paper behind what is transparent.
pub const WHITE: [u8; 3] = [255; 3];
/// Bits behind the point of the resampling weights: 32, less 8 for the bytes, less 2 for sums that overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum ImageError {
    /// The bytes are no picture that can be read.
    #[error(
        "{name} cannot be read as a picture ({reason}): use a PNG, JPEG or WebP file of at most {LARGEST_SIDE} pixels a side"
    )]
    Unreadable { name: String, reason: String },
    /// The picture has no pixels.
    #[error("{name} is {width}x{height} pixels large and so shows nothing: use another picture")]
    Empty { name: String, width: usize, height: usize },
}

/// A picture in 8-bit red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    /// `(height, width, 3)`.
    pub data: Vec<u8>,
}

/// How a picture that is not square becomes square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Squeezed or stretched, as `SigLIP` does.
    #[default]
    Squash,
    /// Centred on a square of the mean colour.
    Pad,
}

/// How pictures become pixels for a vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Side S of the result in pixels.
    pub image_size: usize,
    /// How a picture becomes square.
    #[serde(default)]
    pub fit: Fit,
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
        Self { image_size, fit: Fit::Squash, image_mean: [0.5; 3], image_std: [0.5; 3], background: None }
    }

    /// The same with [`WHITE`] behind transparent parts: how this program's own models see pictures.
    #[must_use]
    pub fn on_white(image_size: usize) -> Self {
        Self { background: Some(WHITE), ..Self::new(image_size) }
    }

    /// A picture as pixels, `(3, S, S)`.
    #[must_use]
    pub fn pixels(&self, picture: &Rgb) -> Vec<f32> {
        let square = match self.fit {
            Fit::Squash => resize(picture, self.image_size, self.image_size),
            Fit::Pad => {
                resize(&pad(picture, self.image_mean.map(|m| (m * 255.0) as u8)), self.image_size, self.image_size)
            }
        };
        let normal = |c: usize, b: u8| ((f64::from(b) / 255.0 - self.image_mean[c]) / self.image_std[c]) as f32;
        (0..3).flat_map(|c| square.data.iter().skip(c).step_by(3).map(move |b| normal(c, *b))).collect()
    }

    /// The bytes of a picture file as pixels, `(3, S, S)`.
    ///
    /// # Errors
    /// When the bytes are no picture.
    pub fn decode(&self, bytes: &[u8], name: &str) -> Result<Vec<f32>, ImageError> {
        Ok(self.pixels(&decode(bytes, name, self.background)?))
    }
}

/// The picture in the bytes of a PNG, JPEG or WebP file. Grey is repeated, 16 bits are reduced to 8, and no
/// rotation is applied, as Pillow's `convert("RGB")` does. So is transparency dropped, unless a `background` is given.
///
/// # Errors
/// When the bytes are no picture of these formats, or a larger one than [`LARGEST_SIDE`] allows; `name` is for the message.
pub fn decode(bytes: &[u8], name: &str, background: Option<[u8; 3]>) -> Result<Rgb, ImageError> {
    let unreadable = |reason: String| ImageError::Unreadable { name: name.to_owned(), reason };
    let mut reader = ::image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| unreadable(e.to_string()))?;
    let mut limits = ::image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|e| unreadable(e.to_string()))?;
    let picture = match background {
        Some(colour) if decoded.color().has_alpha() => blend(&decoded.into_rgba8(), colour),
        _ => decoded.into_rgb8(),
    };
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { name: name.to_owned(), width, height });
    }
    Ok(Rgb { width, height, data: picture.into_raw() })
}

/// The picture on a ground of one colour.
fn blend(picture: &::image::RgbaImage, colour: [u8; 3]) -> ::image::RgbImage {
    ::image::RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0.map(u32::from);
        let mix = |over: u32, under: u8| (over * a + u32::from(under) * (255 - a) + 127) / 255;
        ::image::Rgb([mix(r, colour[0]), mix(g, colour[1]), mix(b, colour[2])].map(|v| v as u8))
    })
}

/// The picture centred on the smallest square that holds it, which is filled with `colour`.
#[must_use]
pub fn pad(picture: &Rgb, colour: [u8; 3]) -> Rgb {
    let side = picture.width.max(picture.height);
    let mut data = colour.repeat(side * side);
    let (left, top) = ((side - picture.width) / 2, (side - picture.height) / 2);
    for (y, row) in picture.data.chunks_exact(picture.width * 3).enumerate() {
        data[((top + y) * side + left) * 3..][..row.len()].copy_from_slice(row);
    }
    Rgb { width: side, height: side, data }
}

/// The picture at another size, bicubic, byte for byte as Pillow 13's `resize((width, height), BICUBIC)`.
///
/// Two passes with bytes in between. Pillow 13 begins with the height where that shrinks much more than the width; earlier
/// versions always began with the width, which differs by a few steps of 255 in such pictures.
#[must_use]
pub fn resize(picture: &Rgb, width: usize, height: usize) -> Rgb {
    let less = |old: usize, new: usize| old as i64 - new as i64;
    let (shorter, narrower) = (less(picture.height, height), less(picture.width, width));
    if shorter > 0 && shorter > narrower * 2 {
        resize_width(resize_height(picture.clone(), height), width)
    } else {
        resize_height(resize_width(picture.clone(), width), height)
    }
}

fn resize_width(picture: Rgb, width: usize) -> Rgb {
    if width == picture.width {
        return picture;
    }
    let weights = weights(picture.width, width);
    let mut data = Vec::with_capacity(width * picture.height * 3);
    for row in picture.data.chunks_exact(picture.width * 3) {
        for (first, weights) in &weights {
            data.extend((0..3).map(|c| weigh(weights, row[first * 3 + c..].iter().step_by(3))));
        }
    }
    Rgb { width, height: picture.height, data }
}

fn resize_height(picture: Rgb, height: usize) -> Rgb {
    if height == picture.height {
        return picture;
    }
    let stride = picture.width * 3;
    let mut data = Vec::with_capacity(stride * height);
    for (first, weights) in &weights(picture.height, height) {
        data.extend((0..stride).map(|x| weigh(weights, picture.data[first * stride + x..].iter().step_by(stride))));
    }
    Rgb { width: picture.width, height, data }
}

/// The weighted sum of bytes, rounded and clipped to a byte.
fn weigh<'a>(weights: &[i32], bytes: impl Iterator<Item = &'a u8>) -> u8 {
    let half = 1 << (PRECISION_BITS - 1);
    let sum = weights.iter().zip(bytes).fold(half, |sum, (w, b)| sum + w * i32::from(*b));
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// For each of `to` new positions the first of the `from` old ones that it draws on, and the weights from there on, as whole
/// numbers of 2^-22.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    // to reduce, the filter is stretched so that it averages
    let stretch = scale.max(1.0);
    let (support, inverse) = (2.0 * stretch, 1.0 / stretch);
    (0..to)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // the casts cut off towards 0 as in C, and stop at 0
            let first = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw: Vec<f64> = (first..end).map(|x| bicubic((x as f64 - center + 0.5) * inverse)).collect();
            let sum: f64 = raw.iter().sum();
            let one = f64::from(1u32 << PRECISION_BITS);
            (first, raw.iter().map(|w| (w / sum * one).round() as i32).collect())
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
