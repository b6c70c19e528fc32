//! Pictures out of the bytes of their files: upright, whole, and of a size that memory has room for.
//!
//! The reading half of `image`, which makes pixels for a vision tower of them. A decoder fills what a file lacks with grey, and
//! a few bytes can stand for gigabytes: both are found before anything is decoded.

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageReader};

use super::rng::{hash_bytes, splitmix64};

/// The widest or highest picture that is decoded, in pixels.
pub const LARGEST_SIDE: u32 = 16_384;
/// Most bytes of a decoded picture: 66 million pixels in colour.
const MOST_BYTES: u64 = 200_000_000;

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum ImageError {
    /// The bytes are no picture that can be read.
    #[error("{name} cannot be read as a picture ({reason}): use a PNG, JPEG or WebP file")]
    Unreadable { name: String, reason: String },
    /// The file ends before the picture does.
    #[error("{name} is cut off: the file ends before the picture does. Copy or download it again")]
    Torn { name: String },
    /// Decoding it would take too much memory.
    #[error(
        "{name} is {width}x{height} pixels large, which is too large: use a picture of at most {LARGEST_SIDE} pixels a side and {millions} million in all"
    )]
    TooLarge { name: String, width: u32, height: u32, millions: u64 },
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

/// The picture in the bytes of a PNG, JPEG or WebP file, turned as its EXIF orientation says. Grey is repeated and 16 bits are
/// reduced to 8, as Pillow's `convert("RGB")` does. So is transparency dropped, unless a `background` is given.
///
/// # Errors
/// When the bytes are no whole picture of these formats, or a larger one than memory has room for; `name` is for the message.
pub fn decode(bytes: &[u8], name: &str, background: Option<[u8; 3]>) -> Result<Rgb, ImageError> {
    let unreadable = |reason: String| ImageError::Unreadable { name: name.to_owned(), reason };
    if bytes.is_empty() {
        return Err(unreadable("the file is empty".to_owned()));
    }
    if bytes.starts_with(&JPEG) && jpeg_parts(bytes).is_none() {
        return Err(ImageError::Torn { name: name.to_owned() });
    }
    let reader =
        ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().map_err(|e| unreadable(e.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(|e| unreadable(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    // Whatever it is in the file, red, green and blue are made of it.
    let each = u64::from(decoder.color_type().bytes_per_pixel()).max(3);
    let bytes_needed = u64::from(width) * u64::from(height) * each;
    if width.max(height) > LARGEST_SIDE || bytes_needed > MOST_BYTES {
        let millions = MOST_BYTES / each / 1_000_000;
        return Err(ImageError::TooLarge { name: name.to_owned(), width, height, millions });
    }
    // A tag that cannot be read is none, as other programs see it.
    let orientation = match decoder.orientation() {
        Ok(Orientation::NoTransforms) | Err(_) => late_orientation(bytes),
        Ok(orientation) => orientation,
    };
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|e| unreadable(e.to_string()))?;
    decoded.apply_orientation(orientation);
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

/// A number for what a picture shows, the same on every platform and under every name: of the pixels, where decoding them is
/// exact. Of a JPEG, which processors decode a little differently, it is that of the file without its remarks.
#[must_use]
pub fn content(bytes: &[u8], picture: &Rgb) -> u64 {
    match jpeg_parts(bytes).filter(|_| bytes.starts_with(&JPEG)) {
        Some(parts) => hash_bytes(&parts.concat()),
        None => splitmix64(hash_bytes(&picture.data) ^ picture.width as u64),
    }
}

/// The picture on a ground of one colour.
fn blend(picture: &::image::RgbaImage, colour: [u8; 3]) -> ::image::RgbImage {
    ::image::RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0.map(u32::from);
        let mix = |over: u32, under: u8| (over * a + u32::from(under) * (255 - a) + 127) / 255;
        ::image::Rgb([mix(r, colour[0]), mix(g, colour[1]), mix(b, colour[2])].map(|v| v as u8))
    })
}

/// How a JPEG file begins.
const JPEG: [u8; 2] = [0xff, 0xd8];
/// How a PNG file begins.
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The parts of a JPEG file up to its end, those for other programs (colour profile, EXIF, comments) left out. None where the
/// end is missing: it is looked for part by part, as a small picture inside has an end of its own.
fn jpeg_parts(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut parts, mut at) = (Vec::new(), JPEG.len());
    loop {
        // What stands before the next mark is the picture itself; in it, 0xff is followed by 0 or a restart.
        let rest = bytes.get(at..)?;
        let gap = rest.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0x00 | 0x01 | 0xff | 0xd0..=0xd7))?;
        parts.push(&rest[..gap]);
        let mark = rest[gap + 1];
        at += gap + 2;
        match mark {
            0xd9 => return Some(parts),
            0xd8 => {}
            _ => {
                let size = bytes.get(at..at + 2)?;
                let end = at + usize::from(u16::from_be_bytes([size[0], size[1]]));
                let part = bytes.get(at..end)?;
                if !matches!(mark, 0xe0..=0xef | 0xfe) {
                    parts.push(part);
                }
                at = end;
            }
        }
    }
}

/// The orientation of a PNG file whose EXIF part stands behind its pixels.
fn late_orientation(bytes: &[u8]) -> Orientation {
    let mut rest = bytes.strip_prefix(&PNG).unwrap_or_default();
    while let [a, b, c, d, k, i, n, e, after @ ..] = rest {
        let Some((body, next)) = after.split_at_checked(u32::from_be_bytes([*a, *b, *c, *d]) as usize) else { break };
        if [*k, *i, *n, *e] == *b"eXIf" {
            return Orientation::from_exif_chunk(body).unwrap_or(Orientation::NoTransforms);
        }
        // behind each part there is a sum of four bytes
        rest = next.get(4..).unwrap_or_default();
    }
    Orientation::NoTransforms
}
