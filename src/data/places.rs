//! Where the rows that a picture becomes lie in it: what a map of attention is drawn by.

use super::image::Fit;
use super::tiles::{Cut, Picture, Recipe, inner_of, reduced_to, unpadded};

/// Left, top, right and bottom, as shares of the picture's width and height; may reach beyond it where it was padded.
pub type Place = [f64; 4];

impl Recipe {
    /// The place of each row of [`Recipe::rows`]; none for what stands at the ends of rows.
    #[must_use]
    pub fn places(&self, picture: &Picture, side: usize) -> Vec<Option<Place>> {
        let cells = |[left, top, right, bottom]: Place, rows: usize, columns: usize| {
            let (wide, high) = ((right - left) / columns as f64, (bottom - top) / rows as f64);
            let cell = move |i: usize| {
                let (x, y) = (left + wide * (i % columns) as f64, top + high * (i / columns) as f64);
                Some([x, y, x + wide, y + high])
            };
            (0..rows * columns).map(cell).collect::<Vec<_>>()
        };
        let whole = cells([0.0, 0.0, 1.0, 1.0], side, side);
        let [down, across] = picture.grid;
        let squares = || {
            (0..down * across).flat_map(move |i| {
                let share = |at: usize, of: usize| at as f64 / of as f64;
                let (row, column) = (i / across, i % across);
                [[share(column, across), share(row, down), share(column + 1, across), share(row + 1, down)]]
            })
        };
        match &self.cut {
            Cut::Whole => cells(self.seen(picture.size), side, side),
            Cut::Rows { .. } => squares().flat_map(|place| cells(place, side, side)).chain(whole).collect(),
            Cut::Sides { whole: first, .. } => {
                let first = if *first || down * across == 0 { whole } else { Vec::new() };
                let rest = squares().filter(|_| down * across > 1).flat_map(|place| cells(place, side, side));
                let alone = if first.is_empty() && down * across <= 1 {
                    cells([0.0, 0.0, 1.0, 1.0], side, side)
                } else {
                    first
                };
                if down * across <= 1 { alone } else { alone.into_iter().chain(rest).collect() }
            }
            Cut::Sizes { .. } if picture.grid == [0, 0] => {
                cells(self.seen(picture.size), side, side).into_iter().chain([None]).collect()
            }
            Cut::Sizes { most, .. } => {
                let features = picture.grid.map(|g| g * side);
                let [_, rows, _, columns] = unpadded(picture.size, features);
                let [rows, columns] = reduced_to([rows, columns], *most, side);
                // What is not padding is the picture, to a patch.
                let mut out = whole;
                for row in cells([0.0, 0.0, 1.0, 1.0], rows, columns).chunks(columns) {
                    out.extend_from_slice(row);
                    out.push(None);
                }
                out
            }
        }
    }

    /// The part of a picture (height, width) that one square shows.
    fn seen(&self, [height, width]: [usize; 2]) -> Place {
        let (h, w) = (height as f64, width as f64);
        let [side, cut] = match self.square.fit {
            Fit::Squash => return [0.0, 0.0, 1.0, 1.0],
            Fit::Pad => [h.max(w), 1.0],
            Fit::Crop => [h.min(w), inner_of(&self.square)],
        };
        let around = |own: f64| {
            let reach = side * cut / own / 2.0;
            [0.5 - reach, 0.5 + reach]
        };
        let ([left, right], [top, bottom]) = (around(w), around(h));
        [left, top, right, bottom]
    }
}

/// How much each of `across` x `down` cells of a picture is looked at, where rows at these places are by so much.
#[must_use]
pub fn heat(places: &[Option<Place>], looked: &[f32], across: usize, down: usize) -> Vec<f32> {
    let mut out = vec![0.0_f32; across * down];
    for (place, weight) in places.iter().zip(looked) {
        let Some([left, top, right, bottom]) = place else { continue };
        let range = |from: f64, to: f64, cells: usize| {
            let (from, to) = ((from * cells as f64).max(0.0), (to * cells as f64).min(cells as f64));
            (from, to, (from as usize).min(cells)..(to.ceil() as usize).min(cells))
        };
        let (x0, x1, columns) = range(*left, *right, across);
        let (y0, y1, rows) = range(*top, *bottom, down);
        let area = ((right - left) * across as f64 * (bottom - top) * down as f64).max(1e-9);
        for y in rows {
            let high = (y1.min(y as f64 + 1.0) - y0.max(y as f64)).max(0.0);
            for x in columns.clone() {
                let wide = (x1.min(x as f64 + 1.0) - x0.max(x as f64)).max(0.0);
                out[y * across + x] += weight * (wide * high / area) as f32;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image::Preprocess;

    fn picture(recipe: &Recipe, size: [usize; 2]) -> Picture {
        let (squares, grid) = recipe.squares(size, true);
        Picture { squares, grid, size, ..Picture::default() }
    }

    /// As many places as rows; looked at alike all over, every cell of the picture is.
    #[test]
    fn every_row_has_its_place_and_nothing_is_lost() {
        let square = Preprocess::new(20);
        let sizes = (1..=3).flat_map(|h| (1..=3).map(move |w| [20 * h, 20 * w])).collect();
        let cuts = [
            Cut::Whole,
            Cut::Rows { longest: 80, split: true },
            Cut::Rows { longest: 80, split: false },
            Cut::Sizes { sizes, most: Some(1) },
            Cut::Sides { longest: 60, enlarge: true, whole: true },
            Cut::Sides { longest: 60, enlarge: false, whole: false },
        ];
        for cut in cuts {
            let recipe = Recipe { square: square.clone(), cut };
            for size in [[60, 60], [40, 100], [97, 13], [7, 5]] {
                let picture = picture(&recipe, size);
                let (rows, places) = (recipe.rows(&picture, 5, 0), recipe.places(&picture, 5));
                assert_eq!(rows.len(), places.len(), "{recipe:?} {size:?}");
                let ends = rows.iter().filter(|row| row.taps[0] == 0).count();
                assert_eq!(places.iter().filter(|place| place.is_none()).count(), ends);
                let map = heat(&places, &vec![1.0; places.len()], 7, 6);
                let sum: f32 = map.iter().sum();
                assert!((sum - (places.len() - ends) as f32).abs() < 1e-2, "{recipe:?} {size:?}: {sum}");
                assert!(map.iter().all(|v| *v > 0.0), "{recipe:?} {size:?}");
            }
        }
    }

    #[test]
    fn a_row_of_a_square_is_where_the_square_was_cut() {
        let recipe = Recipe { square: Preprocess::new(20), cut: Cut::Rows { longest: 80, split: true } };
        let wide = picture(&recipe, [40, 80]);
        assert_eq!(wide.grid, [2, 4]);
        // The first row of the square in row 1, column 2 (from 0), of 5 x 5 rows each.
        let at = recipe.places(&wide, 5)[(4 + 2) * 25].unwrap();
        let want = [0.5, 0.5, 0.55, 0.6];
        assert!(at.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{at:?}");
        // A padded picture lies in the middle of its square.
        let padded = Recipe::from(Preprocess::new(20).padded());
        let places = padded.places(&Picture { squares: 1, grid: [0, 0], size: [50, 100], ..Picture::default() }, 4);
        assert_eq!((places[0].unwrap(), places[15].unwrap()), ([0.0, -0.5, 0.25, 0.0], [0.75, 1.0, 1.0, 1.5]));
    }
}
