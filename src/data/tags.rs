//! What stands around the squares of a picture in a prompt, by family, and where their rows stand among its tokens.

use std::collections::BTreeMap;

use thiserror::Error;

use super::bpe::Bpe;
use super::chat::IMAGE;
use super::tiles::{Blend, Picture, Recipe};

/// How the mark of a picture becomes tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tags {
    /// The mark once for each row.
    #[default]
    Plain,
    /// Idefics3 and `SmolVLM`: tags in front of each square, lines parted as the squares' rows are, the whole picture last.
    Framed,
    /// nanoVLM: tokens by names of its own, in front of all that is said.
    Named {
        /// What stands for a row.
        image: String,
        /// In front of the whole picture.
        whole: Option<String>,
        /// In front of the square at a row and a column, from 1.
        squares: BTreeMap<(usize, usize), String>,
        /// Do they stand where the user begins to speak, or before the whole text?
        spoken: bool,
    },
}

/// Why a prompt has no place for a picture.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentences say what they are")]
pub enum TagError {
    #[error("the conversation has {marks} marks {IMAGE} for {pictures} pictures: leave {IMAGE} out of what is said")]
    Marks { marks: usize, pictures: usize },
    #[error(
        "the tokenizer makes {have} tokens {token} of {want} rows of pictures: tokenizer and model do not belong together"
    )]
    Tokens { have: usize, want: usize, token: String },
    #[error("the model has no token for the square in row {0} and column {1}: show a smaller picture")]
    Square(usize, usize),
}

/// A prompt with its pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    /// Ids; those of rows of pictures are any.
    pub ids: Vec<u32>,
    /// Positions of rows of pictures, rising, and what stands there.
    pub rows: Vec<(usize, Blend)>,
}

const FAKE: &str = "<fake_token_around_image>";

impl Tags {
    /// What stands in front of what the user says first, for families whose templates know no pictures. `rows` are those of one
    /// square.
    ///
    /// # Errors
    /// A square without a token of its own.
    pub fn head(&self, pictures: &[Picture], rows: usize) -> Result<String, TagError> {
        let Self::Named { image, whole, squares, .. } = self else { return Ok(String::new()) };
        // The earliest form has no token for a row.
        let (mut head, run) = (String::new(), if image == IMAGE { image.clone() } else { image.repeat(rows) });
        for (i, picture) in pictures.iter().enumerate() {
            if pictures.len() > 1 {
                head += &format!("<image: {i}>");
            }
            let [down, across] = picture.grid;
            if let Some(whole) = whole {
                head += &format!("{whole}{run}");
            } else if down * across <= 1 {
                head += &run;
            }
            if down * across > 1 {
                for (row, column) in (1..=down).flat_map(|r| (1..=across).map(move |c| (r, c))) {
                    let tag = squares.get(&(row, column)).ok_or(TagError::Square(row, column))?;
                    head += &format!("{tag}{run}");
                }
            }
        }
        Ok(head)
    }

    /// The text with what stands around the squares. `rows` has for each picture those of its squares, or all of its rows.
    fn expanded(&self, text: &str, pictures: &[Picture], counts: &[usize], token: &str, rows: usize) -> String {
        let mut parts = text.split(IMAGE);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for ((after, picture), count) in parts.zip(pictures).zip(counts) {
            match self {
                Self::Framed => {
                    let run = token.repeat(rows);
                    let [down, across] = picture.grid;
                    for row in 1..=down {
                        (1..=across).for_each(|column| out += &format!("{FAKE}<row_{row}_col_{column}>{run}"));
                        out.push('\n');
                    }
                    if down > 0 {
                        out.push('\n');
                    }
                    out += &format!("{FAKE}<global-img>{run}{FAKE}");
                }
                Self::Plain | Self::Named { .. } => out += &token.repeat(*count),
            }
            out += after;
        }
        out
    }

    /// A rendered text as tokens. `side` is that of a square in rows; `token` the id that stands for a row, where there is one.
    ///
    /// # Errors
    /// Marks that are not as many as pictures, or a tokenizer that does not know them.
    pub fn place(
        &self,
        text: &str,
        pictures: &[Picture],
        recipe: &Recipe,
        side: usize,
        tokenizer: &Bpe,
        token: Option<u32>,
    ) -> Result<Placed, TagError> {
        let (mut all, mut counts, mut first) = (Vec::new(), Vec::new(), 0);
        for picture in pictures {
            let rows = recipe.rows(picture, side, first);
            counts.push(rows.len());
            all.extend(rows);
            first += picture.squares * side * side;
        }
        let marks = text.matches(IMAGE).count();
        let named = matches!(self, Self::Named { .. });
        if !named && marks != pictures.len() {
            return Err(TagError::Marks { marks, pictures: pictures.len() });
        }
        let Some((token, name)) = token.and_then(|id| Some((id, tokenizer.token(id)?))) else {
            return Ok(around(text, &counts, all, tokenizer));
        };
        let text = if named { text.to_owned() } else { self.expanded(text, pictures, &counts, &name, side * side) };
        let ids = tokenizer.encode(&text, false);
        let places: Vec<usize> = (0..ids.len()).filter(|i| ids[*i] == token).collect();
        if places.len() != all.len() {
            return Err(TagError::Tokens { have: places.len(), want: all.len(), token: name });
        }
        Ok(Placed { ids, rows: places.into_iter().zip(all).collect() })
    }
}

/// For tokenizers without a token for rows: what is before, between and after the marks, and rows in their place.
fn around(text: &str, counts: &[usize], rows: Vec<Blend>, tokenizer: &Bpe) -> Placed {
    let (mut placed, mut rows) = (Placed::default(), rows.into_iter());
    for (i, part) in text.split(IMAGE).enumerate() {
        if i > 0 {
            let count = counts.get(i - 1).copied().unwrap_or(0);
            let start = placed.ids.len();
            placed.rows.extend(rows.by_ref().take(count).enumerate().map(|(k, row)| (start + k, row)));
            placed.ids.resize(start + count, 0);
        }
        placed.ids.extend(tokenizer.encode(part, false));
    }
    placed
}
