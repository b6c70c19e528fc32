//! GIF files, their first frame: some pictures of published sets are such files under other names. Nothing else takes them.

use super::picture_file::{ImageError, LARGEST_SIDE, MOST_BYTES, Rgb};

/// Bytes that each pixel takes while it is decoded: its number, and three colours.
const EACH: u64 = 4;
/// Most codes of the table.
const CODES: usize = 1 << 12;
/// Marks of blocks.
const EXTENSION: u8 = 0x21;
const FRAME: u8 = 0x2c;

/// Does such a file begin so?
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GIF8")
}

/// The first frame on its canvas, `(height, width, 3)`. Transparency is dropped, and what the frame leaves free has the first colour of
/// the file, as with Pillow's `convert("RGB")`.
///
/// # Errors
/// A file that is damaged, cut off, without a frame, or too large; `name` is for the message.
pub(super) fn first_frame(bytes: &[u8], name: &str) -> Result<Rgb, ImageError> {
    let torn = || ImageError::Torn { name: name.to_owned() };
    let unreadable = |reason: &str| ImageError::Unreadable { name: name.to_owned(), reason: reason.to_owned() };
    let mut rest = Bytes(bytes.get(6..).ok_or_else(torn)?);
    let [width, height] = rest.sizes().ok_or_else(torn)?;
    let [flags, _, _] = rest.take().ok_or_else(torn)?;
    check(width, height, name)?;
    let global = rest.table(flags).ok_or_else(torn)?;
    loop {
        match rest.take().ok_or_else(torn)? {
            [EXTENSION] => {
                rest.take::<1>().ok_or_else(torn)?;
                rest.blocks(|_| true).ok_or_else(torn)?;
            }
            [FRAME] => break,
            _ => return Err(unreadable("it is a GIF file without a picture")),
        }
    }
    let [left, top] = rest.sizes().ok_or_else(torn)?;
    let [w, h] = rest.sizes().ok_or_else(torn)?;
    check(w, h, name)?;
    let [flags] = rest.take().ok_or_else(torn)?;
    let local = rest.table(flags).ok_or_else(torn)?;
    let colours = if local.is_empty() { global } else { local };
    if colours.is_empty() {
        return Err(unreadable("it is a GIF file without colours"));
    }
    let [size] = rest.take().ok_or_else(torn)?;
    let pixels =
        numbers(&mut rest, size, w * h).ok_or_else(|| unreadable("it is a GIF file that is damaged or cut off"))?;
    let mut data = colours[..3].repeat(width * height);
    for (row, y) in pixels.chunks_exact(w).zip(rows(h, flags & 0x40 != 0)) {
        for (x, number) in row.iter().enumerate().filter(|(x, _)| left + x < width && top + y < height) {
            let at = 3 * ((top + y) * width + left + x);
            let colour = colours.get(3 * usize::from(*number)..).and_then(|c| c.get(..3));
            data[at..at + 3]
                .copy_from_slice(colour.ok_or_else(|| unreadable("it is a GIF file with a colour that it has not"))?);
        }
    }
    Ok(Rgb { width, height, data })
}

fn check(width: usize, height: usize, name: &str) -> Result<(), ImageError> {
    let name = name.to_owned();
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { name, width, height });
    }
    if width.max(height) > LARGEST_SIDE as usize || (width * height) as u64 * EACH > MOST_BYTES {
        let (width, height, millions) = (width as u32, height as u32, MOST_BYTES / EACH / 1_000_000);
        return Err(ImageError::TooLarge { name, width, height, millions });
    }
    Ok(())
}

/// Rows in the order in which a file has them: interlaced, every eighth comes first.
fn rows(height: usize, interlaced: bool) -> Vec<usize> {
    if !interlaced {
        return (0..height).collect();
    }
    [(0, 8), (4, 8), (2, 4), (1, 2)].into_iter().flat_map(|(first, step)| (first..height).step_by(step)).collect()
}

/// What is left of the file.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    /// Two numbers of two bytes.
    fn sizes(&mut self) -> Option<[usize; 2]> {
        let [a, b, c, d] = self.take()?;
        Some([usize::from(u16::from_le_bytes([a, b])), usize::from(u16::from_le_bytes([c, d]))])
    }

    /// A table of colours, empty where the flags say that there is none.
    fn table(&mut self, flags: u8) -> Option<&'a [u8]> {
        let len = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
        let (table, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(table)
    }

    /// Blocks up to the empty one, as long as `heard` wants more. None: the file ends before.
    fn blocks(&mut self, mut heard: impl FnMut(&[u8]) -> bool) -> Option<()> {
        loop {
            let [len] = self.take()?;
            let (block, rest) = self.0.split_at_checked(usize::from(len))?;
            self.0 = rest;
            if len == 0 || !heard(block) {
                return Some(());
            }
        }
    }
}

/// The codes of a frame: what each stands for is a code before it and one more number.
struct Codes {
    /// The first code that no number has: all codes go; the next one ends the frame.
    clear: usize,
    before: Vec<u16>,
    last: Vec<u8>,
    previous: Option<usize>,
}

impl Codes {
    fn new(size: u8) -> Self {
        let clear = 1 << size;
        let mut codes = Self { clear, before: vec![0; clear + 2], last: vec![0; clear + 2], previous: None };
        codes.last.iter_mut().take(clear).enumerate().for_each(|(i, last)| *last = i as u8);
        codes
    }

    /// Bits of the next code.
    fn bits(&self) -> u32 {
        // The code that comes is one that the table will have with it.
        let next = (self.before.len() + usize::from(self.previous.is_some())).min(CODES);
        (next - 1).max(self.clear + 1).ilog2() + 1
    }

    /// Adds the numbers of a code, at most so many in all. None: there is no such code.
    fn add(&mut self, code: usize, out: &mut Vec<u8>, most: usize) -> Option<()> {
        let start = out.len();
        let known = code < self.before.len();
        let mut at = if known { code } else { self.previous.filter(|_| code == self.before.len())? };
        loop {
            out.push(self.last[at]);
            if at < self.clear {
                break;
            }
            at = usize::from(self.before[at]);
        }
        out[start..].reverse();
        let first = out[start];
        if !known {
            out.push(first);
        }
        if let Some(previous) = self.previous.filter(|_| self.before.len() < CODES) {
            self.before.push(previous as u16);
            self.last.push(first);
        }
        self.previous = Some(code);
        out.truncate(most);
        Some(())
    }
}

/// The numbers of a frame's colours, so many. None: it is damaged, or has fewer.
fn numbers(rest: &mut Bytes<'_>, size: u8, count: usize) -> Option<Vec<u8>> {
    if !(1..=8).contains(&size) {
        return None;
    }
    let (mut codes, mut out) = (Codes::new(size), Vec::new());
    let (mut held, mut have, mut fine) = (0_u32, 0, true);
    rest.blocks(|block| {
        for byte in block {
            held |= u32::from(*byte) << have;
            have += 8;
            while have >= codes.bits() && out.len() < count {
                let bits = codes.bits();
                let code = (held & ((1 << bits) - 1)) as usize;
                (held, have) = (held >> bits, have - bits);
                if code == codes.clear {
                    codes = Codes::new(size);
                } else if code == codes.clear + 1 {
                    return false;
                } else if codes.add(code, &mut out, count).is_none() {
                    fine = false;
                    return false;
                }
            }
        }
        out.len() < count
    })?;
    (fine && out.len() == count).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers packed as codes of so many bits each.
    fn packed(codes: &[(u16, u32)]) -> Vec<u8> {
        let (mut out, mut held, mut have) = (Vec::new(), 0_u32, 0);
        for (code, bits) in codes {
            held |= u32::from(*code) << have;
            have += bits;
            while have >= 8 {
                out.push(held as u8);
                (held, have) = (held >> 8, have - 8);
            }
        }
        out.push(held as u8);
        out
    }

    /// A file of four colours with one frame.
    fn file(canvas: [u8; 2], frame: [u8; 4], flags: u8, codes: &[(u16, u32)]) -> Vec<u8> {
        let data = packed(codes);
        let [left, top, w, h] = frame;
        [
            &b"GIF89a"[..],
            &[canvas[0], 0, canvas[1], 0, 0x81, 0, 0],
            &[0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90],
            &[EXTENSION, 0xf9, 4, 1, 0, 0, 3, 0],
            &[FRAME, left, 0, top, 0, w, 0, h, 0, flags, 2, data.len() as u8],
            &data,
            &[0, 0x3b],
        ]
        .concat()
    }

    fn reds(bytes: &[u8]) -> Vec<u8> {
        first_frame(bytes, "a").unwrap().data.chunks(3).map(|c| c[0] / 10).collect()
    }

    #[test]
    fn codes_stand_for_what_came_before() {
        // Clear; 1; 6, which is 1 1 and not known yet; 2; 7, which is 1 1 2 and the first of four bits; 0; the end.
        let codes = [(4, 3), (1, 3), (6, 3), (2, 3), (7, 4), (0, 4), (5, 4)];
        assert_eq!(reds(&file([8, 1], [0, 0, 8, 1], 0, &codes)), [1, 1, 1, 4, 1, 1, 4, 0]);
        // One beside the other on a larger canvas; and every second row last.
        let shown = [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 4, 0, 1, 1];
        assert_eq!(reds(&file([3, 5], [1, 2, 2, 4], 0, &codes)), shown);
        assert_eq!(reds(&file([2, 4], [0, 0, 2, 4], 0x40, &codes)), [1, 1, 1, 1, 1, 4, 4, 0]);
    }

    #[test]
    fn what_is_damaged_is_said() {
        let codes = [(4, 3), (1, 3), (6, 3), (2, 3), (7, 4), (0, 4), (5, 4)];
        let whole = file([8, 1], [0, 0, 8, 1], 0, &codes);
        let ends = whole.len() - 2;
        for len in 0..ends {
            assert!(first_frame(&whole[..len], "a").is_err(), "{len} of {} bytes", whole.len());
        }
        let says = |bytes: &[u8], what: &str| {
            let said = first_frame(bytes, "a.gif").unwrap_err().to_string();
            assert!(said.contains(what) && said.contains("a.gif"), "{said}");
        };
        says(&whole[..whole.len() - 3], "damaged or cut off");
        says(&file([8, 1], [0, 0, 0, 1], 0, &codes), "0x1 pixels");
        says(&file([8, 1], [0, 0, 9, 1], 0, &codes), "damaged or cut off");
        // A code that is not there yet.
        says(&file([8, 1], [0, 0, 8, 1], 0, &[(4, 3), (1, 3), (7, 3)]), "damaged or cut off");
        let mut large = whole.clone();
        large[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
        says(&large, "too large");
        let mut none = whole;
        none[25] = 0x3b;
        says(&none, "without a picture");
    }
}
