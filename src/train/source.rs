//! Where batches come from: a generated data set or a folder. Every batch is a pure function of seed and index, so that a
//! resumed run sees the same data.

use serde::Serialize;

use super::recipe::DataRecipe;
use crate::data::batch::{self, Batch};
use crate::data::dataset::Dataset;
use crate::data::folder::{Files, Folder, SplitBy};
use crate::data::image::Preprocess;
use crate::data::rng::splitmix64;
use crate::data::tokenizer::Tokenizer;
use crate::data::worlds::{Sample, Split, Turn};

/// The first scene of [`Source::validation`]: no stage comes so far.
const VALIDATION: u64 = 1 << 50;

/// Tokens of a held-out question with its answer, at least.
const QUESTION_TOKENS: usize = 32;

/// Answers that rows have no room for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{cut} of {of} answers of {file} are longer than the row of {tokens} tokens and are cut, so that none of them counts as exact: all fit with --set tokens={needed}"
)]
#[allow(missing_docs, reason = "the sentence says what the fields are")]
pub struct TooLong {
    pub file: String,
    pub tokens: usize,
    pub cut: usize,
    pub of: usize,
    pub needed: usize,
}

/// Entries of a list that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// How many.
    pub entries: usize,
    /// Of so many.
    pub of: usize,
    /// The first of them, a sentence each.
    pub first: Vec<String>,
}

/// Reads files of the data folder by their names in the list.
pub type ReadFile = Box<dyn Files>;

/// Data with its words.
pub struct Source {
    kind: Kind,
    tokenizer: Tokenizer,
    recipe: DataRecipe,
    seed: u64,
    /// What of the data is left out or used otherwise than it stands there, a sentence each.
    pub notes: Vec<String>,
    /// What of a folder's list is left out.
    pub left_out: Option<LeftOut>,
}

enum Kind {
    Made(Dataset),
    Folder { folder: Box<Folder>, preprocess: Preprocess, read: ReadFile },
}

impl Source {
    /// A generated data set.
    #[must_use]
    pub fn made(dataset: Dataset, tokenizer: Tokenizer, recipe: DataRecipe, seed: u64) -> Self {
        Self { kind: Kind::Made(dataset), tokenizer, recipe, seed, notes: Vec::new(), left_out: None }
    }

    /// A user's folder.
    #[must_use]
    pub fn folder(
        folder: Folder,
        image_size: usize,
        read: ReadFile,
        tokenizer: Tokenizer,
        recipe: DataRecipe,
        seed: u64,
    ) -> Self {
        let preprocess = Self::preprocess(image_size);
        Self {
            kind: Kind::Folder { folder: Box::new(folder), preprocess, read },
            tokenizer,
            recipe,
            seed,
            notes: Vec::new(),
            left_out: None,
        }
    }

    /// The notes, and which pictures changed since they were written.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let changed = match &self.kind {
            Kind::Made(_) => Vec::new(),
            Kind::Folder { folder, .. } => folder.notes(),
        };
        [self.notes.clone(), changed].concat()
    }

    /// How a folder's pictures become pixels. Cut-out pictures stand on white, as they would on a page.
    #[must_use]
    pub fn preprocess(image_size: usize) -> Preprocess {
        Preprocess::on_white(image_size)
    }

    /// What decided which entries are held out.
    #[must_use]
    pub fn split_by(&self) -> SplitBy {
        match &self.kind {
            Kind::Made(_) => SplitBy::Id,
            Kind::Folder { folder, .. } => folder.split_by(),
        }
    }

    /// A number for what a folder says and shows; none for made-up data, which are what their name says.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        match &self.kind {
            Kind::Made(_) => None,
            Kind::Folder { folder, .. } => Some(folder.fingerprint()),
        }
    }

    /// Tokens that a turn of a folder takes in a row of its own: what begins and ends it, question and answer.
    fn turn_tokens(&self, turn: &Turn) -> usize {
        2 + self.tokenizer.encode(&turn.question).len() + self.tokenizer.encode(&turn.answer).len()
    }

    /// The turns of a folder that are longer than rows of so many tokens, if there are any.
    #[must_use]
    pub fn too_long(&self, tokens: usize) -> Option<TooLong> {
        let Kind::Folder { folder, .. } = &self.kind else { return None };
        let mut long = TooLong { file: folder.file().to_owned(), tokens, cut: 0, of: 0, needed: 0 };
        for turn in folder.records().iter().flat_map(|r| &r.turns) {
            let needed = self.turn_tokens(turn);
            long.needed = long.needed.max(needed);
            long.cut += usize::from(needed > tokens);
            long.of += 1;
        }
        (long.cut > 0).then_some(long)
    }

    /// Tokens of a row with a held-out question, where training has rows of `tokens`.
    #[must_use]
    pub fn question_tokens(&self, tokens: usize) -> usize {
        // Those of generated data are short.
        self.too_long(QUESTION_TOKENS).map_or(QUESTION_TOKENS, |long| tokens.min(long.needed).max(QUESTION_TOKENS))
    }

    /// The same data under other words: those a model was trained with.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: Tokenizer) -> Self {
        Self { tokenizer, ..self }
    }

    /// Its words.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The generated data set, if it is one.
    #[must_use]
    pub fn dataset(&self) -> Option<Dataset> {
        match self.kind {
            Kind::Made(d) => Some(d),
            Kind::Folder { .. } => None,
        }
    }

    /// Number of held-out samples; generated data never ends.
    #[must_use]
    pub fn held_out_size(&self) -> usize {
        match &self.kind {
            Kind::Made(_) => usize::MAX,
            Kind::Folder { folder, .. } => folder.size(Split::HeldOut),
        }
    }

    /// One sample.
    ///
    /// # Errors
    /// A picture that cannot be read, in a sentence.
    pub fn sample(&self, split: Split, index: u64, turns: usize, paint: bool) -> Result<Sample, String> {
        match &self.kind {
            Kind::Made(dataset) => Ok(self.scene(*dataset, Some(split), index, turns, paint)),
            Kind::Folder { folder, .. } if !paint => {
                folder.text_sample(split, self.seed, index, turns).map_err(|e| e.to_string())
            }
            Kind::Folder { folder, preprocess, read } => {
                folder.sample(split, self.seed, index, turns, preprocess, &**read).map_err(|e| e.to_string())
            }
        }
    }

    /// In training, scenes with a single thing are kept with the recipe's probability, else drawn again.
    fn scene(&self, dataset: Dataset, split: Option<Split>, index: u64, turns: usize, paint: bool) -> Sample {
        let draw = |index, paint| dataset.sample_with(split, self.seed, index, turns, &self.recipe.mix, paint);
        if split == Some(Split::HeldOut) {
            // Kinds evenly, whatever the training mix.
            return dataset.sample_with(split, 0, index, 1, &[], paint);
        }
        let keep = (self.recipe.keep_single * 1024.0) as u64;
        for attempt in 0..64 {
            let at = index * 64 + attempt;
            if draw(at, false).things > 1 || splitmix64(at ^ 0x51e5) % 1024 < keep {
                return draw(at, paint);
            }
        }
        draw(index * 64, paint)
    }

    /// Rows of conversation about pictures.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn conversation(&self, first: u64, rows: usize, tokens: usize, turns: usize) -> Result<Batch, String> {
        Ok(batch::conversation(&self.samples(Split::Train, first, rows, turns, true)?, &self.tokenizer, tokens))
    }

    /// Rows of text alone. Of generated data they tell of all scenes, held-out ones too: it is pictures that are held out, and
    /// a reader of the others alone would learn where each thing never stands.
    ///
    /// # Errors
    /// Never for generated data.
    pub fn text(&self, first: u64, rows: usize, tokens: usize, turns: usize) -> Result<Batch, String> {
        let samples = match self.kind {
            Kind::Made(dataset) => {
                (first..first + rows as u64).map(|i| self.scene(dataset, None, i, turns, false)).collect()
            }
            Kind::Folder { .. } => self.samples(Split::Train, first, rows, turns, false)?,
        };
        Ok(batch::text(&samples, &self.tokenizer, tokens))
    }

    /// One-question rows about descriptions, far behind those that pre-training comes to. Of a folder they are questions alone.
    ///
    /// # Errors
    /// Never for generated data.
    pub fn text_questions(&self, first: u64, rows: usize, tokens: usize) -> Result<Batch, String> {
        let mut samples: Vec<Sample> = match self.kind {
            Kind::Made(dataset) => {
                (0..rows as u64).map(|i| self.scene(dataset, None, VALIDATION + first + i, 1, false)).collect()
            }
            Kind::Folder { .. } => self.samples(Split::HeldOut, first, rows, 1, false)?,
        };
        samples.iter_mut().for_each(|s| s.described = true);
        Ok(batch::text(&samples, &self.tokenizer, tokens))
    }

    /// One-question rows of the held-out part.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn questions(&self, first: u64, rows: usize, tokens: usize) -> Result<Batch, String> {
        Ok(batch::questions(&self.samples(Split::HeldOut, first, rows, 1, true)?, &self.tokenizer, tokens))
    }

    /// One-question rows about scenes like those of training, far behind all that training sees. Of a folder the held-out part
    /// is all there is.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn validation(&self, first: u64, rows: usize, tokens: usize) -> Result<Batch, String> {
        match self.kind {
            Kind::Folder { .. } => self.questions(first, rows, tokens),
            Kind::Made(_) => {
                let samples = self.samples(Split::Train, VALIDATION + first, rows, 1, true)?;
                Ok(batch::questions(&samples, &self.tokenizer, tokens))
            }
        }
    }

    /// Samples of consecutive indices.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn samples(
        &self,
        split: Split,
        first: u64,
        rows: usize,
        turns: usize,
        paint: bool,
    ) -> Result<Vec<Sample>, String> {
        (0..rows as u64).map(|i| self.sample(split, first + i, turns, paint)).collect()
    }
}
