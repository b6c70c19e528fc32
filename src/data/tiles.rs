//! How published models cut a picture into squares for their tower, and which rows of the text the squares' rows become.
//!
//! Sizes are worked out in f64, as the reference programs do: in f32 some sizes give another number of tokens. Pixels are
//! Pillow's, byte for byte, through every one of several resizes.

use super::image::{Filter, ImageError, Preprocess, Rgb, decode, resize_by};

/// Rows that one is blended of.
const TAPS: usize = 4;
/// A picture whose features are reduced has more than so many times the features that are wanted.
const REDUCED_ABOVE: f64 = 1.1;

/// A row of a picture in the text: a blend of rows that the squares became. Row 0 is what stands at the ends of rows of a
/// picture; then come those of the squares, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blend {
    /// Rows; those of weight 0 are any.
    pub taps: [u32; TAPS],
    /// What each weighs.
    pub weights: [f32; TAPS],
}

impl Blend {
    /// What stands at the ends of rows of a picture.
    pub const NEWLINE: Self = Self { taps: [0; TAPS], weights: [1.0, 0.0, 0.0, 0.0] };

    /// Row `row` of all squares, as it is.
    #[must_use]
    pub fn of(row: usize) -> Self {
        Self { taps: [row as u32 + 1; TAPS], ..Self::NEWLINE }
    }
}

/// How a picture becomes squares.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// One square.
    Whole,
    /// Idefics3 and `SmolVLM`: the longer side gets so many pixels, then both sides become multiples of the square's; the squares
    /// by rows, and last the whole picture. Without `split` the whole picture alone.
    Rows {
        /// Pixels of the longer side.
        longest: usize,
        /// Is it cut?
        split: bool,
    },
    /// LLaVA-OneVision: the whole picture first, then the squares of one of these sizes, on black. Of several pictures in a
    /// conversation each is one square, padded with the mean colour.
    Sizes {
        /// (height, width), in the order of the file.
        sizes: Vec<[usize; 2]>,
        /// Features of more than so many squares are reduced to those of so many.
        most: Option<usize>,
    },
    /// nanoVLM: both sides become multiples of the square's, in one step; the whole picture first, where there are several.
    Sides {
        /// Most pixels of the longer side.
        longest: usize,
        /// Does it get them also where it has less?
        enlarge: bool,
        /// Is the whole picture put before the squares?
        whole: bool,
    },
}

/// How a model wants its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// One square.
    pub square: Preprocess,
    /// Squares of a picture.
    pub cut: Cut,
}

/// A picture as squares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// (3, S, S) each, one after the other.
    pub pixels: Vec<f32>,
    /// How many.
    pub squares: usize,
    /// Rows and columns of squares that it was cut into; zeros where it was not.
    pub grid: [usize; 2],
    /// Height and width of the picture before.
    pub size: [usize; 2],
}

impl Picture {
    /// One square, (3, S, S).
    #[must_use]
    pub fn of(pixels: &[f32]) -> Self {
        Self { pixels: pixels.to_vec(), squares: 1, grid: [0, 0], size: [1, 1] }
    }
}

impl From<Preprocess> for Recipe {
    fn from(square: Preprocess) -> Self {
        Self { square, cut: Cut::Whole }
    }
}

impl Recipe {
    /// The picture in the bytes of a file; `alone` if it is the only one of its conversation.
    ///
    /// # Errors
    /// When the bytes are no picture.
    pub fn decode(&self, bytes: &[u8], name: &str, alone: bool) -> Result<Picture, ImageError> {
        Ok(self.picture(&decode(bytes, name, self.square.background)?, alone))
    }

    /// A picture's squares; `alone` if it is the only one of its conversation.
    #[must_use]
    pub fn picture(&self, picture: &Rgb, alone: bool) -> Picture {
        let (tile, filter) = (self.square.image_size, self.square.filter);
        let to = |picture: &Rgb, [height, width]: [usize; 2]| resize_by(picture, width, height, filter);
        let size = [picture.height, picture.width];
        let (squares, grid) = match &self.cut {
            Cut::Whole => (vec![self.square.square(picture)], [0, 0]),
            Cut::Rows { longest, split } => {
                let (first, second) = row_sizes(size, *longest, tile);
                let whole = to(picture, first);
                if !split {
                    (vec![to(&whole, [tile; 2])], [0, 0])
                } else {
                    let whole = to(&whole, second);
                    if second == [tile; 2] {
                        (vec![whole], [0, 0])
                    } else {
                        let last = to(&whole, [tile; 2]);
                        (cut(&whole, tile).chain([last]).collect(), second.map(|side| side / tile))
                    }
                }
            }
            Cut::Sizes { sizes, .. } if alone && !sizes.is_empty() => {
                let all = best_size(size, sizes);
                let inner = within(size, all);
                let canvas = on_black(&to(picture, inner), all);
                let first = to(picture, [tile; 2]);
                (std::iter::once(first).chain(cut(&canvas, tile)).collect(), all.map(|side| side / tile))
            }
            Cut::Sizes { .. } => (vec![self.square.square(picture)], [0, 0]),
            Cut::Sides { longest, enlarge, whole } => {
                let new = side_sizes(size, *longest, tile, *enlarge);
                let resized = resize_by(picture, new[1], new[0], Filter::Bicubic);
                let squares: Vec<Rgb> = cut(&resized, tile).collect();
                let grid = new.map(|side| side / tile);
                if *whole && squares.len() > 1 {
                    // Not of bytes, and so not rounded to them.
                    let mut pixels = self.reduced(&resized);
                    squares.iter().for_each(|square| pixels.extend(self.square.normal(&square.data)));
                    return Picture { pixels, squares: squares.len() + 1, grid, size };
                }
                (squares, grid)
            }
        };
        let pixels = squares.iter().flat_map(|square| self.square.normal(&square.data)).collect();
        Picture { pixels, squares: squares.len(), grid, size }
    }

    /// Squares that a picture of this size (height, width) becomes, and rows and columns that it is cut into.
    #[must_use]
    pub fn squares(&self, size: [usize; 2], alone: bool) -> (usize, [usize; 2]) {
        let tile = self.square.image_size;
        let grid = match &self.cut {
            Cut::Rows { longest, split: true } => row_sizes(size, *longest, tile).1.map(|side| side / tile),
            Cut::Sizes { sizes, .. } if alone && !sizes.is_empty() => best_size(size, sizes).map(|side| side / tile),
            Cut::Sides { longest, enlarge, .. } => side_sizes(size, *longest, tile, *enlarge).map(|side| side / tile),
            Cut::Whole | Cut::Rows { .. } | Cut::Sizes { .. } => [0, 0],
        };
        let cut = grid[0] * grid[1];
        match &self.cut {
            Cut::Rows { .. } if cut <= 1 => (1, [0, 0]),
            Cut::Sides { whole, .. } => (cut + usize::from(*whole && cut > 1), grid),
            _ => (cut + 1, grid),
        }
    }

    /// The same with one square for each picture, whatever its size: fast, and blind for what is small.
    #[must_use]
    pub fn single(self) -> Self {
        let cut = match self.cut {
            Cut::Whole => Cut::Whole,
            Cut::Rows { longest, .. } => Cut::Rows { longest, split: false },
            Cut::Sizes { most, .. } => Cut::Sizes { sizes: Vec::new(), most },
            Cut::Sides { enlarge, whole, .. } => Cut::Sides { longest: self.square.image_size, enlarge, whole },
        };
        Self { cut, ..self }
    }

    /// The most pixels of the picture that squares are cut from.
    #[must_use]
    pub fn most_pixels(&self) -> usize {
        let tile = self.square.image_size;
        let up = |longest: usize| longest.max(1).div_ceil(tile) * tile;
        match &self.cut {
            Cut::Whole => tile * tile,
            Cut::Rows { longest, .. } | Cut::Sides { longest, .. } => up(*longest) * up(*longest),
            Cut::Sizes { sizes, .. } => {
                sizes.iter().map(|[h, w]| h.saturating_mul(*w)).max().unwrap_or(0).max(tile * tile)
            }
        }
    }

    /// The most rows of a text that a picture becomes, where a square becomes `side` x `side`.
    #[must_use]
    pub fn most_rows(&self, side: usize) -> usize {
        let (tile, per) = (self.square.image_size, side * side);
        let squares = |longest: usize| longest.div_ceil(tile) * longest.div_ceil(tile);
        match &self.cut {
            Cut::Whole => per,
            Cut::Rows { split: false, .. } => per,
            Cut::Rows { longest, .. } | Cut::Sides { longest, .. } => (squares(*longest) + 1) * per,
            Cut::Sizes { sizes, most } => {
                let largest = sizes.iter().map(|[h, w]| (h / tile) * (w / tile)).max().unwrap_or(0);
                let kept = most.map_or(largest, |most| largest.min(most + most / 4)) * per;
                // As many ends of rows as rows at most.
                per + kept + kept.isqrt() * 2 + 1
            }
        }
    }

    /// The rows of the text that a picture becomes, where each of its squares becomes `side` x `side` rows and the first of
    /// these is row `first` of all.
    #[must_use]
    pub fn rows(&self, picture: &Picture, side: usize, first: usize) -> Vec<Blend> {
        let per = side * side;
        let all = |squares: usize| (0..squares * per).map(|row| Blend::of(first + row));
        let Cut::Sizes { most, .. } = &self.cut else { return all(picture.squares).collect() };
        if picture.grid == [0, 0] {
            return all(1).chain([Blend::NEWLINE]).collect();
        }
        let at = |row: usize, column: usize| {
            let square = row / side * picture.grid[1] + column / side;
            first + (1 + square) * per + row % side * side + column % side
        };
        let [top, rows, left, columns] = unpadded(picture.size, picture.grid.map(|g| g * side));
        let less = reduced_to([rows, columns], *most, side);
        let mut out: Vec<Blend> = all(1).collect();
        if less != [rows, columns] {
            let (down, across) = (between(rows, less[0]), between(columns, less[1]));
            for (row, next, below) in down {
                for (column, beside, right) in &across {
                    let taps = [(row, *column), (row, *beside), (next, *column), (next, *beside)];
                    let weights =
                        [(1.0 - below) * (1.0 - right), (1.0 - below) * right, below * (1.0 - right), below * right];
                    out.push(Blend {
                        taps: taps.map(|(r, c)| at(top + r, left + c) as u32 + 1),
                        weights: weights.map(|w| w as f32),
                    });
                }
                out.push(Blend::NEWLINE);
            }
        } else {
            for row in 0..rows {
                out.extend((0..columns).map(|column| Blend::of(at(top + row, left + column))));
                out.push(Blend::NEWLINE);
            }
        }
        out
    }

    /// The whole picture at the size of a square, of numbers that are not rounded to bytes: bilinear, each pixel an average.
    fn reduced(&self, picture: &Rgb) -> Vec<f32> {
        let tile = self.square.image_size;
        let (down, across) = (averaging(picture.height, tile), averaging(picture.width, tile));
        let mut out = Vec::with_capacity(3 * tile * tile);
        for c in 0..3 {
            let value =
                |row: usize, column: usize| f64::from(picture.data[(row * picture.width + column) * 3 + c]) / 255.0;
            // Rows first, then columns: what is between stays as it is.
            let narrow: Vec<f64> = (0..tile)
                .flat_map(|y| {
                    let (first, weights) = &down[y];
                    (0..picture.width)
                        .map(move |x| weights.iter().zip(*first..).map(|(w, row)| w * value(row, x)).sum())
                })
                .collect();
            for row in narrow.chunks(picture.width) {
                out.extend(across.iter().map(|(first, weights)| {
                    let sum: f64 = weights.iter().zip(&row[*first..]).map(|(w, v)| w * v).sum();
                    ((sum - self.square.image_mean[c]) / self.square.image_std[c]) as f32
                }));
            }
        }
        out
    }
}

/// The squares of a picture, by rows.
fn cut(picture: &Rgb, tile: usize) -> impl Iterator<Item = Rgb> + '_ {
    let corners =
        (0..picture.height / tile).flat_map(move |r| (0..picture.width / tile).map(move |c| (r * tile, c * tile)));
    corners.map(move |(top, left)| {
        let row = |y: usize| &picture.data[((top + y) * picture.width + left) * 3..][..tile * 3];
        Rgb { width: tile, height: tile, data: (0..tile).flat_map(row).copied().collect() }
    })
}

/// The picture in the middle of a black one of this size (height, width).
fn on_black(picture: &Rgb, [height, width]: [usize; 2]) -> Rgb {
    let (top, left) = ((height - picture.height) / 2, (width - picture.width) / 2);
    let mut data = vec![0; height * width * 3];
    for (y, row) in picture.data.chunks_exact(picture.width * 3).enumerate() {
        data[((top + y) * width + left) * 3..][..row.len()].copy_from_slice(row);
    }
    Rgb { width, height, data }
}

/// Sizes (height, width) after the first and the second resize.
fn row_sizes([height, width]: [usize; 2], longest: usize, tile: usize) -> ([usize; 2], [usize; 2]) {
    let long = longest as f64;
    // Divided, then divided again or multiplied: as it is written there.
    let aspect = width as f64 / height as f64;
    let even = |short: f64| {
        let short = short as usize;
        (short + short % 2).max(1)
    };
    let first = if width >= height { [even(long / aspect), longest] } else { [longest, even(long * aspect)] };
    let up = |side: usize| side.div_ceil(tile) * tile;
    let aspect = first[1] as f64 / first[0] as f64;
    let second = if first[1] >= first[0] {
        let width = up(first[1]);
        [up((width as f64 / aspect) as usize), width]
    } else {
        let height = up(first[0]);
        [height, up((height as f64 * aspect) as usize)]
    };
    // A strip has a square for its width.
    (first, second.map(|side| side.max(tile)))
}

/// The size that shows most of a picture, and of those the one with the least around it.
fn best_size([height, width]: [usize; 2], sizes: &[[usize; 2]]) -> [usize; 2] {
    let (mut best, mut most, mut least) = (sizes.first().copied().unwrap_or([1, 1]), 0, usize::MAX);
    for &[h, w] in sizes {
        let scale = (w as f64 / width as f64).min(h as f64 / height as f64);
        let shown = (width as f64 * scale) as usize * (height as f64 * scale) as usize;
        let useful = shown.min(width * height);
        let waste = (h * w).saturating_sub(useful);
        if useful > most || useful == most && waste < least {
            (best, most, least) = ([h, w], useful, waste);
        }
    }
    best
}

/// The size of a picture that fits into another size.
fn within([height, width]: [usize; 2], [h, w]: [usize; 2]) -> [usize; 2] {
    let (down, across) = (h as f64 / height as f64, w as f64 / width as f64);
    let side = |old: usize, scale: f64, most: usize| ((old as f64 * scale).ceil() as usize).clamp(1, most);
    if across < down { [side(height, across, h), w] } else { [h, side(width, down, w)] }
}

/// Multiples of the square's side.
fn side_sizes([height, width]: [usize; 2], longest: usize, tile: usize, enlarge: bool) -> [usize; 2] {
    let (long, short) = (height.max(width), height.min(width));
    let up = |side: f64| (side / tile as f64).ceil() as usize * tile;
    let long_new = if enlarge { longest } else { longest.min(up(long as f64)) };
    let short_new = up(short as f64 * (long_new as f64 / long as f64)).max(tile);
    if width >= height { [short_new, long_new] } else { [long_new, short_new] }
}

/// First row, rows, first column and columns of features that show the picture and no padding.
pub(super) fn unpadded([height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> [usize; 4] {
    let (h, w, r, c) = (height as f64, width as f64, rows as f64, columns as f64);
    // Rounded to seven places before it is cut: counts of tokens differ without it.
    let cut = |side: f64| ((side * 1e7).round_ties_even() / 1e7) as usize;
    if w / h > c / r {
        let edge = (rows - cut(h * (c / w)).min(rows)) / 2;
        [edge, rows - 2 * edge, 0, columns]
    } else {
        let edge = (columns - cut(w * (r / h)).min(columns)) / 2;
        [0, rows, edge, columns - 2 * edge]
    }
}

/// Rows and columns that features are reduced to, where they are more than those of `most` squares of `side` x `side`.
pub(super) fn reduced_to([rows, columns]: [usize; 2], most: Option<usize>, side: usize) -> [usize; 2] {
    let ratio = most.map_or(0.0, |most| ((rows * columns) as f64 / (most * side * side) as f64).sqrt());
    let less = |count: usize| ((count as f64 / ratio).floor() as usize).max(1);
    if ratio > REDUCED_ABOVE { [less(rows), less(columns)] } else { [rows, columns] }
}

/// The share of a resized picture's shorter side that is not cut off.
pub(super) fn inner_of(square: &Preprocess) -> f64 {
    square.image_size as f64 / square.resize.unwrap_or(square.image_size).max(1) as f64
}

/// For each of `new` places the old ones before and after it, and how far it is from the first: bilinear, corners not aligned.
fn between(old: usize, new: usize) -> Vec<(usize, usize, f64)> {
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * (old as f64 / new as f64) - 0.5).max(0.0);
        let first = (at as usize).min(old - 1);
        (first, (first + 1).min(old - 1), at - first as f64)
    };
    (0..new).map(place).collect()
}

/// For each of `new` places the first old one that it averages, and the weights from there on.
fn averaging(old: usize, new: usize) -> Vec<(usize, Vec<f64>)> {
    let step = old as f64 / new as f64;
    let reach = step.max(1.0);
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * step;
        let weight = |x: usize| (1.0 - ((x as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let first = (centre - reach).max(0.0) as usize;
        let weights: Vec<f64> = (first..((centre + reach).ceil() as usize).min(old)).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.iter().map(|w| w / sum).collect())
    };
    (0..new).map(place).collect()
}
