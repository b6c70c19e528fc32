//! Pictures out of the bytes of their files: upright, whole, and of a size that memory has room for.
//!
//! The reading half of `image`, which makes pixels for a vision tower of them. A decoder fills what a file lacks with grey, and
//! a few bytes can stand for gigabytes: both are found before anything is decoded.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ::image::metadata::Orientation;
use ::image::{ColorType, ImageDecoder, ImageFormat, ImageReader};

use super::disguise::{begins, is_page, is_pointer};
use super::rng::{hash_bytes, splitmix64};

/// The widest or highest picture that is decoded, in pixels.
pub const LARGEST_SIDE: u32 = 16_384;
/// Most bytes that decoding takes: 50 million pixels of a PNG file or a usual photograph. A few bytes of a file can stand for
/// all of them, and a page never gives memory back.
const MOST_BYTES: u64 = 151_000_000;
/// Most bytes of a picture's file: more than 50 million pixels have in any format.
pub const LARGEST_FILE: u64 = 100_000_000;
/// Bytes of a picture in colour up to which a turned one is a copy, which is faster than turning it in its place.
const COPIED: usize = 48_000_000;

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
        "{name} is {width}x{height} pixels large, which is too large: of files of its kind, pictures of at most {LARGEST_SIDE} pixels a side and {millions} million in all are read"
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

/// What becomes of a picture whose EXIF data say how it is to be turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orienting {
    /// It is turned, so that it stands upright.
    Upright,
    /// It stays as it is stored.
    AsStored,
}

/// The picture in the bytes of a PNG, JPEG or WebP file, upright; see [`decode_as`].
///
/// # Errors
/// As [`decode_as`].
pub fn decode(bytes: &[u8], name: &str, background: Option<[u8; 3]>) -> Result<Rgb, ImageError> {
    decode_as(bytes, name, background, Orienting::Upright)
}

/// The picture in the bytes of a PNG, JPEG or WebP file, turned as its EXIF orientation says, or as it is stored. Grey is repeated and of 16 bits
/// the upper 8 are taken, as Pillow's `convert("RGB")` does (but for grey of 16 bits, which it cuts at 255: all of it is white then).
/// So is transparency dropped, unless a `background` is given.
///
/// # Errors
/// When the bytes are no whole picture of these formats, or a larger one than memory has room for; `name` is for the message.
pub fn decode_as(
    bytes: &[u8],
    name: &str,
    background: Option<[u8; 3]>,
    orienting: Orienting,
) -> Result<Rgb, ImageError> {
    let unreadable = |reason: String| ImageError::Unreadable { name: name.to_owned(), reason };
    if let Some(kind) = other_kind(bytes) {
        return Err(unreadable(kind.to_owned()));
    }
    if bytes.starts_with(&JPEG) && jpeg_parts(bytes).is_none() {
        return Err(ImageError::Torn { name: name.to_owned() });
    }
    let reader =
        ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().map_err(|e| unreadable(e.to_string()))?;
    let format = reader.format();
    let mut decoder = reader.into_decoder().map_err(|e| unreadable(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    let each = bytes_each(bytes, format, colour);
    let takes = u64::from(width) * u64::from(height) * each;
    if width.max(height) > LARGEST_SIDE || takes > MOST_BYTES {
        let millions = MOST_BYTES / each / 1_000_000;
        return Err(ImageError::TooLarge { name: name.to_owned(), width, height, millions });
    }
    // A tag that cannot be read is none, as other programs see it.
    let orientation = match format {
        Some(ImageFormat::WebP) => webp_part(bytes, *b"EXIF").and_then(Orientation::from_exif_chunk),
        _ => decoder.orientation().ok().filter(|o| *o != Orientation::NoTransforms),
    };
    let orientation = orientation.unwrap_or_else(|| late_orientation(bytes));
    let (width, height) = (width as usize, height as usize);
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { name: name.to_owned(), width, height });
    }
    let _turn = Turn::of(takes);
    let len = usize::try_from(decoder.total_bytes()).map_err(|e| unreadable(e.to_string()))?;
    let mut data = Vec::with_capacity(len.max(width * height * 3));
    data.resize(len, 0);
    decoder.read_image(&mut data).map_err(|e| unreadable(e.to_string()))?;
    let data = in_colour(data, colour, width * height, background).ok_or_else(|| unreadable(format!("{colour:?}")))?;
    let picture = Rgb { width, height, data };
    Ok(match orienting {
        Orienting::Upright => turned(picture, orientation),
        Orienting::AsStored => picture,
    })
}

/// Bytes up to which pictures are decoded beside each other.
const BESIDE_BYTES: u64 = MOST_BYTES / 4;

/// Held while a picture is decoded: of several threads one alone decodes a large one, so that all of them together take little
/// more than one picture may.
#[expect(dead_code, reason = "they are held, not looked at")]
enum Turn {
    Beside(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    fn of(bytes: u64) -> Self {
        static TURNS: RwLock<()> = RwLock::new(());
        // Nothing is behind the lock that a thread that panicked could have spoilt.
        match bytes {
            ..=BESIDE_BYTES => Self::Beside(TURNS.read().unwrap_or_else(PoisonError::into_inner)),
            _ => Self::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// What a file is that people take for a picture, and is none that can be read.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let begins = |letters: &[u8]| begins(bytes, letters);
    let brand = bytes.get(4..12).unwrap_or_default();
    match bytes {
        [] => Some("the file is empty"),
        _ if is_pointer(bytes) => Some("it is a Git LFS pointer, not the file itself: git lfs pull fetches it"),
        _ if is_page(bytes) => Some("it is a web page: download the picture again"),
        _ if begins(b"<svg") || begins(b"<?xml") => Some("it is a drawing, SVG"),
        _ if begins(b"%PDF") => Some("it is a PDF document"),
        _ if brand.starts_with(b"ftypavif") => Some("it is an AVIF file"),
        _ if brand.starts_with(b"ftyp") => Some("it is a HEIC file or a film"),
        _ if begins(b"GIF8") => Some("it is a GIF file"),
        _ if begins(b"II*\0") || begins(b"MM\0*") => Some("it is a TIFF file, or a camera's raw one"),
        _ => None,
    }
}

/// Bytes that each pixel of a file takes while it is decoded, as they are counted for the limit; none if it is no picture.
#[must_use]
pub fn counted_bytes(bytes: &[u8]) -> Option<u64> {
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().ok()?;
    let format = reader.format();
    Some(bytes_each(bytes, format, reader.into_decoder().ok()?.color_type()))
}

/// Bytes that each pixel takes while a file is decoded: what the decoder keeps, and what it gives.
fn bytes_each(bytes: &[u8], format: Option<ImageFormat>, colour: ColorType) -> u64 {
    // Whatever it is in the file, red, green and blue are made of it, in its place.
    let given = u64::from(colour.bytes_per_pixel()).max(3);
    let kept = match format {
        Some(ImageFormat::Jpeg) => frequencies(bytes),
        Some(ImageFormat::WebP) => webp_layers(bytes),
        _ => 0,
    };
    given + kept
}

/// Bytes that the decoder of WebP files keeps of each pixel beside what it gives.
fn webp_layers(bytes: &[u8]) -> u64 {
    match bytes.get(12..16) {
        // Brightness, and a quarter of two colours.
        Some(b"VP8 ") => 2,
        // A frame, the canvas that it is drawn on, and the transparency of the frame.
        _ if webp_part(bytes, *b"ANIM").is_some() => 9,
        // Red, green, blue and transparency, of which what is wanted is copied.
        _ if webp_part(bytes, *b"VP8L").is_some() => 4,
        // Transparency is a picture of its own, of which one colour is copied.
        _ if webp_part(bytes, *b"ALPH").is_some() => 7,
        Some(b"VP8X") => 2,
        _ => 4,
    }
}

/// A part of a WebP file that has parts beside its picture.
fn webp_part(bytes: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..).filter(|rest| rest.starts_with(b"VP8X"))?;
    while let [a, b, c, d, e, f, g, h, after @ ..] = rest {
        // A size of more than there is would be asked of the memory.
        let size = u32::from_le_bytes([*e, *f, *g, *h]) as usize;
        let body = after.get(..size)?;
        if [*a, *b, *c, *d] == name {
            return Some(body);
        }
        rest = after.get(size.checked_next_multiple_of(2)?..).unwrap_or_default();
    }
    None
}

/// Bytes that each pixel of a JPEG file takes where it is kept as frequencies until all of it is there, as its channels come
/// one after the other or in several passes: two for each of its channels, of which some have fewer pixels.
fn frequencies(bytes: &[u8]) -> u64 {
    let parts = jpeg_parts(bytes).unwrap_or_default();
    let frame = |part: &&(u8, &[u8])| matches!(part.0, 0xc0..=0xcf) && !matches!(part.0, 0xc4 | 0xc8 | 0xcc);
    let Some((mark, frame)) = parts.iter().find(frame) else { return 0 };
    // How many channels the first pass has stands behind its length.
    let together = parts.iter().find(|part| part.0 == 0xda).and_then(|part| part.1.get(2));
    if matches!(mark, 0xc0 | 0xc1) && together == frame.get(7) {
        return 0;
    }
    // Its length, the precision, height and width; how many channels; three bytes of each, the second with its sampling.
    let channels = frame.get(8..).unwrap_or_default().chunks(3).filter_map(|c| c.get(1));
    let areas: Vec<u64> = channels.map(|s| u64::from(s >> 4) * u64::from(s & 15)).collect();
    let whole = areas.iter().copied().max().unwrap_or(1).max(1);
    (2 * areas.iter().sum::<u64>()).div_ceil(whole)
}

/// Pixels of whatever kind as red, green and blue of 8 bits each, in the same memory: grey is repeated, of 16 bits the upper
/// 8 are taken, transparency is dropped or shows `background`. None for kinds that no decoder here gives.
fn in_colour(mut data: Vec<u8>, colour: ColorType, count: usize, background: Option<[u8; 3]>) -> Option<Vec<u8>> {
    let deep = match colour {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => 1,
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => 2,
        _ => return None,
    };
    if colour == ColorType::Rgb8 {
        return Some(data);
    }
    let channels = usize::from(colour.channel_count());
    let each = channels * deep;
    let pixel = |data: &[u8], i: usize| {
        let value = |c: usize| match data[i * each + c * deep..][..deep] {
            [first, second] => (u16::from_ne_bytes([first, second]) >> 8) as u8,
            [one, ..] => one,
            [] => 0,
        };
        let shown = if channels < 3 { [value(0); 3] } else { [value(0), value(1), value(2)] };
        match background {
            Some(under) if colour.has_alpha() => mixed(shown, value(channels - 1), under),
            _ => shown,
        }
    };
    // Where pixels grow, the last goes first, so that none is written over before it is read.
    if each < 3 {
        data.resize(count * 3, 0);
        for i in (0..count).rev() {
            let rgb = pixel(&data, i);
            data[i * 3..][..3].copy_from_slice(&rgb);
        }
    } else {
        for i in 0..count {
            let rgb = pixel(&data, i);
            data[i * 3..][..3].copy_from_slice(&rgb);
        }
        data.truncate(count * 3);
    }
    Some(data)
}

/// A colour over another, as far as it is opaque.
fn mixed(over: [u8; 3], alpha: u8, under: [u8; 3]) -> [u8; 3] {
    let a = u32::from(alpha);
    std::array::from_fn(|c| ((u32::from(over[c]) * a + u32::from(under[c]) * (255 - a) + 127) / 255) as u8)
}

/// The picture upright.
fn turned(mut picture: Rgb, orientation: Orientation) -> Rgb {
    use Orientation::{
        FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270, Rotate270FlipH,
    };
    if matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH) {
        transpose(&mut picture);
    }
    let (pixels, _) = picture.data.as_chunks_mut::<3>();
    match orientation {
        NoTransforms | Rotate90FlipH => {}
        Rotate180 | Rotate270FlipH => pixels.reverse(),
        FlipHorizontal | Rotate90 => pixels.chunks_exact_mut(picture.width).for_each(<[_]>::reverse),
        FlipVertical | Rotate270 => {
            let rows = picture.height;
            for y in 0..rows / 2 {
                let (above, below) = pixels.split_at_mut((rows - 1 - y) * picture.width);
                above[y * picture.width..][..picture.width].swap_with_slice(&mut below[..picture.width]);
            }
        }
    }
    picture
}

/// Rows become columns.
fn transpose(picture: &mut Rgb) {
    let (w, h) = (picture.width, picture.height);
    let (pixels, _) = picture.data.as_chunks_mut::<3>();
    if w * h * 3 <= COPIED {
        let mut copy = Vec::with_capacity(w * h * 3);
        (0..w).for_each(|x| (0..h).for_each(|y| copy.extend(pixels[y * w + x])));
        picture.data = copy;
    } else {
        transpose_in_place(pixels, w, h);
    }
    (picture.width, picture.height) = (h, w);
}

/// The same in one memory: each pixel goes where it belongs, and the one that was there goes on, until a circle closes.
fn transpose_in_place(pixels: &mut [[u8; 3]], width: usize, height: usize) {
    let mut moved = vec![0_u64; pixels.len().div_ceil(64)];
    for start in 0..pixels.len() {
        if moved[start / 64] >> (start % 64) & 1 == 1 {
            continue;
        }
        let (mut at, mut held) = (start, pixels[start]);
        loop {
            at = at % width * height + at / width;
            std::mem::swap(&mut held, &mut pixels[at]);
            moved[at / 64] |= 1 << (at % 64);
            if at == start {
                break;
            }
        }
    }
}

/// A number for what a picture shows, the same on every platform and under every name: of the pixels, where decoding them is
/// exact. Of a JPEG, which processors decode a little differently, it is that of the file without its remarks.
#[must_use]
pub fn content(bytes: &[u8], picture: &Rgb) -> u64 {
    match jpeg_parts(bytes).filter(|_| bytes.starts_with(&JPEG)) {
        Some(parts) => hash_bytes(&parts.iter().map(|p| p.1).collect::<Vec<_>>().concat()),
        None => splitmix64(hash_bytes(&picture.data) ^ picture.width as u64),
    }
}

/// How a JPEG file begins.
const JPEG: [u8; 2] = [0xff, 0xd8];
/// How a PNG file begins.
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The parts of a JPEG file up to its end with their marks (0 for the picture itself), those for other programs (colour profile,
/// EXIF, comments) left out. None where the end is missing: it is looked for part by part, as a small picture inside has an
/// end of its own.
fn jpeg_parts(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (mut parts, mut at) = (Vec::new(), JPEG.len());
    loop {
        // What stands before the next mark is the picture itself; in it, 0xff is followed by 0 or a restart.
        let rest = bytes.get(at..)?;
        let gap = rest.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0x00 | 0x01 | 0xff | 0xd0..=0xd7))?;
        parts.push((0, &rest[..gap]));
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
                    parts.push((mark, part));
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

#[cfg(test)]
#[path = "picture_file_tests.rs"]
mod tests;
