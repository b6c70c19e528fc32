//! Running a model of any size token by token: programs for the picture, for pieces of the prompt, and for one token with
//! fused kernels. State, choice and advance live on the GPU, so that several tokens are made per submission.

mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::model::Model;
use crate::data::rng::{hash_bytes, splitmix64};
use crate::data::tiles::Blend;
use crate::gpu::{Gpu, GpuError, Program, Tensor};
use crate::nn::Params;
use crate::ops::packed::MAX_SHARD;
use crate::ops::sample::Settings;
use record::{Piece, Recording, Sight, Squares, State, Token};

/// Rows of a piece of the prompt: the largest that is full, and at the end the smallest, padded.
pub(super) const PIECES: [usize; 4] = [16, 32, 64, 128];

/// Most rows of text that a model has room for: a layer's keys lie in one binding, and so do all angles.
#[must_use]
pub fn most_room(model: &Model) -> usize {
    let c = model.language_config();
    let row = 4 * (c.num_key_value_heads * c.head()).max(2 * c.head());
    let others = PIECES[PIECES.len() - 1] + model.config().vision_config.tokens();
    (MAX_SHARD as usize / row.max(1)).saturating_sub(others)
}

/// Why a prompt cannot be answered.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DecodeError {
    #[error("the prompt is empty: give it at least one token")]
    Empty,
    /// More than the room.
    #[error(
        "the prompt has {tokens} tokens, there is room for {room} with an answer. Ask something shorter, or give more room"
    )]
    Long {
        /// Tokens of the prompt, the image's included.
        tokens: usize,
        /// Rows of the cache.
        room: usize,
    },
    /// An id that the model has no row for.
    #[error("token {id} is not in the model's vocabulary of {vocabulary}: tokenizer and model do not belong together")]
    Token {
        id: u32,
        /// V.
        vocabulary: usize,
    },
    /// More than a binding holds.
    #[error(
        "the pictures make {count} squares, and this GPU can have {most} at a time. Show fewer pictures, or smaller ones"
    )]
    Squares { count: usize, most: usize },
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Tokens to continue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'a> {
    /// Text. Where `rows` say what stands at a position, its id is not looked at.
    pub ids: &'a [u32],
    /// The picture (3, S, S), where the decoder has a tower; in the flattened wiring any number of such squares.
    pub pixels: &'a [f32],
    /// Text tokens before the picture, where there are no `rows`.
    pub offset: usize,
    /// In the flattened wiring: positions, rising, and which row of the squares stands there. None: all rows of one square
    /// stand at `offset`, and have no ids.
    pub rows: &'a [(usize, Blend)],
}

/// One token that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// Token id.
    pub token: u32,
    /// Its probability before any filter.
    pub probability: f32,
}

/// A model with its caches. See `docs/ARCHITECTURE.md`, life of a question.
pub struct Decoder {
    gpu: Gpu,
    model: Arc<Model>,
    params: Arc<Params>,
    room: usize,
    record: Recording,
    sight: Option<Sight>,
    /// In the flattened wiring.
    squares: Option<Squares>,
    /// Squares that went through the tower.
    looks: usize,
    pieces: BTreeMap<usize, Piece>,
    /// Shows where a token looks, once somebody asked.
    looking: Option<(Piece, Vec<Tensor>)>,
    state: State,
    step: Program,
    /// What the caches hold, by position: an id, or a number for what a row of a picture is made of.
    history: Vec<u64>,
    /// The weights that they were computed with.
    version: u64,
    /// The picture whose keys and values they hold, by its hash, and where it stands.
    seen: Option<(u64, usize)>,
    /// The token to feed next; it is not in the caches yet.
    position: usize,
}

impl Decoder {
    /// Records the programs for at most `room` rows: text and, where it stands in the text, the image. Without `with_image`
    /// the model answers from text alone, and linked layers are ordinary ones.
    pub async fn new(model: Arc<Model>, params: Arc<Params>, room: usize, with_image: bool) -> Result<Self, GpuError> {
        let gpu = params.gpu().clone();
        let with_image = with_image && model.sees();
        // A padded piece may begin at the last row.
        let rows = room + PIECES[PIECES.len() - 1];
        let record = Recording::new(&model, &params, rows, with_image).await?;
        let state = State::new(&gpu, rows, model.language_config().vocab_size);
        let step = record.step(&model, &params, &state);
        let sight = with_image.then(|| record.sight(&model, &params));
        let squares = sight.as_ref().and_then(|sight| record.squares(&model, &params, sight, 1));
        // A device without the memory says so now.
        gpu.finished().await?;
        Ok(Self {
            step,
            sight,
            squares,
            looks: 0,
            record,
            pieces: BTreeMap::new(),
            looking: None,
            room,
            state,
            history: Vec::new(),
            version: params.version(),
            seen: None,
            position: 0,
            gpu,
            model,
            params,
        })
    }

    /// The same with the links of these decoder layers cut: caches of its own, the same weights.
    pub async fn without(&self, layers: &[usize]) -> Result<Self, GpuError> {
        let model = Arc::new(self.model.without(layers));
        Self::new(model, Arc::clone(&self.params), self.room, self.sight.is_some()).await
    }

    /// Rows that a text may have.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Tokens in the text so far, image rows included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.position + 1
    }

    /// No room for another token?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used() >= self.room
    }

    /// Structure.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Weights.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// As if a text of `position` tokens had been read, whatever the caches hold: to measure the tokens after it.
    ///
    /// # Panics
    /// Where there is no room for another token.
    pub fn place(&mut self, position: usize) {
        assert!(position + 1 < self.room, "token {position} in a room of {}", self.room);
        self.history.clear();
        self.seen = None;
        self.position = position;
        self.gpu.write_u32(&self.state.tokens, &self.state.padded(&[]));
        self.gpu.write_u32(&self.state.settings, &Settings::default().words());
        self.gpu.write_u32(&self.state.id, &[0]);
        self.gpu.write_u32(&self.state.rows, &[position as u32 + 1, 0, position as u32]);
    }

    /// The program of a piece of the prompt of 128 tokens, the first of them at position `start`: to measure it.
    ///
    /// # Panics
    /// Where there is no room for so many.
    pub fn prompt_program(&mut self, start: usize) -> &Program {
        let size = PIECES[PIECES.len() - 1];
        assert!(start + size <= self.room, "{size} tokens from {start} on in a room of {}", self.room);
        let (record, model, params, squares) = (&self.record, &self.model, &self.params, self.squares.as_ref());
        let piece = self.pieces.entry(size).or_insert_with(|| record.piece(model, params, size, squares));
        // What the caches hold there is overwritten.
        self.history.truncate(start);
        piece.write(&self.gpu, &[Token::Text(0)], start, 0);
        &piece.program
    }

    /// The program of one token.
    #[must_use]
    pub fn step_program(&self) -> &Program {
        &self.step
    }

    /// The program of the picture.
    #[must_use]
    pub fn image_program(&self) -> Option<&Program> {
        self.sight.as_ref().map(|s| &s.program)
    }

    /// Squares of pictures that went through the tower so far. Those of a picture do once, for all that is asked about it.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.looks
    }

    /// Rows (1 + squares n, C) that the squares of the last prompt became, after the one that stands at the ends of rows; none
    /// where pictures have no rows.
    pub async fn square_rows(&self) -> Result<Option<Vec<f32>>, GpuError> {
        match &self.squares {
            Some(squares) => Ok(Some(self.gpu.read_f32(&squares.rows).await?)),
            None => Ok(None),
        }
    }

    /// Where the token at a position looks: softmax rows (L, H, position + 1), for models without links. None where the position
    /// was not read or is a row of a picture.
    pub async fn attention(&mut self, position: usize) -> Result<Option<Vec<f32>>, GpuError> {
        let id = self.history.get(position).and_then(|mark| u32::try_from(*mark).ok());
        let Some(id) = id.filter(|_| self.model.links().is_empty()) else { return Ok(None) };
        if self.looking.is_none() {
            self.looking = Some(self.record.looking(&self.model, &self.params));
        }
        let Some((piece, looked)) = &self.looking else { return Ok(None) };
        // Its keys and values are written once more, as they are.
        piece.write(&self.gpu, &[Token::Text(id)], position, 0);
        piece.program.run_shared().await?;
        let rows = looked.first().map_or(1, |t| t.shape().cols());
        let all = self.gpu.read_all(looked).await?;
        Ok(Some(all.iter().flat_map(|layer| layer.chunks(rows)).flat_map(|row| &row[..=position]).copied().collect()))
    }

    /// Logits (V) that the last token was chosen by.
    pub async fn logits(&self) -> Result<Vec<f32>, GpuError> {
        self.gpu.read_f32(&self.state.logits).await
    }

    /// Reads all of the prompt but its last token into the caches. What they hold already of a text stays.
    ///
    /// # Errors
    /// An empty or too long prompt, an unknown token, or a GPU fault.
    pub async fn begin(&mut self, prompt: Prompt<'_>, settings: &Settings) -> Result<(), DecodeError> {
        self.begin_while(prompt, settings, &mut || true).await.map(|_read| ())
    }

    /// The same; `go_on` is asked before every piece of the prompt. False when it ended the reading: then another prompt has
    /// to follow before a token is made.
    pub async fn begin_while(
        &mut self,
        prompt: Prompt<'_>,
        settings: &Settings,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, DecodeError> {
        let vocabulary = self.model.language_config().vocab_size;
        let Some(&last) = prompt.ids.last() else { return Err(DecodeError::Empty) };
        let tokens = self.tokens(&prompt);
        let unknown = |token: &Token| matches!(token, Token::Text(id) if *id as usize >= vocabulary);
        if let Some(Token::Text(id)) = tokens.iter().find(|token| unknown(token)) {
            return Err(DecodeError::Token { id: *id, vocabulary });
        }
        let total = tokens.len();
        if total >= self.room {
            return Err(DecodeError::Long { tokens: total, room: self.room });
        }
        let ids: Vec<Option<u32>> =
            tokens.iter().map(|token| if let Token::Text(id) = token { Some(*id) } else { None }).collect();
        self.gpu.write_u32(&self.state.tokens, &self.state.padded(&ids));
        self.gpu.write_u32(&self.state.settings, &settings.words());
        if self.version != self.params.version() {
            self.version = self.params.version();
            self.history.clear();
            self.seen = None;
            self.squares.iter_mut().for_each(|squares| squares.seen.fill(None));
        }
        // The last token is fed after the picture.
        let cached = &tokens[..total - 1];
        let read = match self.squares {
            Some(_) => self.read_rows(cached, prompt.pixels, go_on).await?,
            None => self.read_linked(cached, &prompt, go_on).await?,
        };
        if !read {
            return Ok(false);
        }
        self.position = total - 1;
        let offset = if self.squares.is_some() { 0 } else { prompt.offset };
        self.gpu.write_u32(&self.state.id, &[last]);
        self.gpu.write_u32(&self.state.rows, &[total as u32, offset as u32, total as u32 - 1]);
        Ok(true)
    }

    /// What stands at each position.
    fn tokens(&self, prompt: &Prompt<'_>) -> Vec<Token> {
        let mut tokens: Vec<Token> = prompt.ids.iter().copied().map(Token::Text).collect();
        for (at, blend) in prompt.rows {
            tokens[*at] = Token::Row(*blend);
        }
        if self.squares.is_some() && prompt.rows.is_empty() && !prompt.pixels.is_empty() {
            // The last token is fed after the picture.
            let at = prompt.offset.min(prompt.ids.len() - 1);
            tokens.splice(at..at, (0..self.model.image_rows()).map(|row| Token::Row(Blend::of(row))));
        }
        tokens
    }

    /// Keys and values of a prompt for a model with links, or without sight.
    async fn read_linked(
        &mut self,
        cached: &[Token],
        prompt: &Prompt<'_>,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, GpuError> {
        let offset = prompt.offset;
        let marks = marks(cached, &[], 0);
        let mut same = self.same(&marks);
        if let Some(sight) = &self.sight {
            // The picture stands in no row: its place is for positions and mask alone.
            let (at, seen) = (offset.min(cached.len()), (hash_bytes(bytemuck::cast_slice(prompt.pixels)), offset));
            self.record.write_linked(offset);
            // Of a picture the caches hold either all or nothing.
            if self.seen != Some(seen) || same < at {
                self.history.clear();
                self.seen = None;
                sight.write(&self.gpu, &self.record.positions, prompt.pixels, offset);
                if !self.read(&cached[..at], 0, offset, go_on).await? {
                    return Ok(false);
                }
                if let Some(sight) = &self.sight {
                    sight.program.run_shared().await?;
                }
                same = at;
                self.history = marks[..same].to_vec();
                self.seen = Some(seen);
            }
        }
        self.history.truncate(same);
        if !self.read(&cached[same..], same, offset, go_on).await? {
            return Ok(false);
        }
        self.history = marks;
        Ok(true)
    }

    /// Keys and values of a prompt with rows of pictures among its tokens.
    async fn read_rows(
        &mut self,
        cached: &[Token],
        pixels: &[f32],
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, DecodeError> {
        let (v, rows) = (&self.model.config().vision_config, self.model.image_rows());
        let square = v.num_channels * v.image_size * v.image_size;
        let squares: Vec<&[f32]> = pixels.chunks(square).collect();
        let hashes: Vec<u64> = squares.iter().map(|pixels| hash_bytes(bytemuck::cast_slice(pixels))).collect();
        let marks = marks(cached, &hashes, rows);
        let same = self.same(&marks);
        self.history.truncate(same);
        self.make_room(squares.len())?;
        // Only squares whose rows are read are looked at.
        let mut wanted = vec![false; squares.len()];
        for blend in cached[same..].iter().filter_map(|t| if let Token::Row(blend) = t { Some(blend) } else { None }) {
            for (tap, _) in blend.taps.iter().zip(blend.weights).filter(|(_, weight)| *weight != 0.0) {
                // Row 0 is of no square.
                let at = (*tap as usize).checked_sub(1).map_or(usize::MAX, |row| row / rows);
                wanted.get_mut(at).into_iter().for_each(|wanted| *wanted = true);
            }
        }
        for (at, pixels) in squares.iter().enumerate().filter(|(at, _)| wanted[*at]) {
            let (Some(sight), Some(kept)) = (&self.sight, &mut self.squares) else { continue };
            if kept.seen[at] == Some(hashes[at]) {
                continue;
            }
            if !go_on() {
                return Ok(false);
            }
            sight.write(&self.gpu, &self.record.positions, pixels, 0);
            sight.program.run_shared().await?;
            kept.keep(at, hashes[at]);
            self.looks += 1;
        }
        if !self.read(&cached[same..], same, 0, go_on).await? {
            return Ok(false);
        }
        self.history = marks;
        Ok(true)
    }

    /// Room for the rows of so many squares; what was recorded with less is recorded again.
    fn make_room(&mut self, count: usize) -> Result<(), DecodeError> {
        let (Some(sight), Some(squares)) = (&self.sight, &self.squares) else { return Ok(()) };
        if count <= squares.room() {
            return Ok(());
        }
        let row = 4 * self.model.language_config().hidden_size;
        let most =
            (MAX_SHARD.min(self.gpu.max_binding) as usize / row).saturating_sub(1) / self.model.image_rows().max(1);
        if count > most {
            return Err(DecodeError::Squares { count, most });
        }
        self.pieces.clear();
        let mut larger = self.record.squares(&self.model, &self.params, sight, count);
        larger.iter_mut().for_each(|larger| larger.take(&self.gpu, squares));
        self.squares = larger;
        Ok(())
    }

    /// How many positions from the first on the caches hold already.
    fn same(&self, marks: &[u64]) -> usize {
        self.history.iter().zip(marks).take_while(|(a, b)| a == b).count()
    }

    /// Keys and values of text whose first token is at position `start`. False when `go_on` ended it.
    async fn read(
        &mut self,
        tokens: &[Token],
        mut start: usize,
        offset: usize,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, GpuError> {
        let mut rest = tokens;
        while !rest.is_empty() {
            if !go_on() {
                return Ok(false);
            }
            let size = PIECES.into_iter().rev().find(|p| *p <= rest.len()).unwrap_or(PIECES[0]);
            if !self.pieces.contains_key(&size) {
                self.pieces.insert(size, self.record.piece(&self.model, &self.params, size, self.squares.as_ref()));
            }
            let (now, later) = rest.split_at(size.min(rest.len()));
            let piece = &self.pieces[&size];
            piece.write(&self.gpu, now, start, offset);
            piece.program.run_shared().await?;
            start += now.len();
            rest = later;
        }
        Ok(true)
    }

    /// Makes up to `count` tokens in one submission; fewer where the room ends.
    pub async fn next(&mut self, count: usize) -> Result<Vec<Made>, GpuError> {
        let count = count.min(self.room - self.used());
        self.step.run_times(count);
        let all = self.gpu.read_all(&[self.state.tokens.clone(), self.state.chosen.clone()]).await?;
        let made = |i: usize| Made { token: all[0][i].to_bits(), probability: all[1][i] };
        let made: Vec<Made> = (self.used()..self.used() + count).map(made).collect();
        // The last token made is not in the caches yet.
        self.history.extend((self.position..self.position + count).map(|i| u64::from(all[0][i].to_bits())));
        self.position += count;
        Ok(made)
    }
}

/// A number for what stands at each position: an id, or what a row of a picture is made of.
fn marks(tokens: &[Token], squares: &[u64], rows: usize) -> Vec<u64> {
    let mark = |token: &Token| match token {
        Token::Text(id) => u64::from(*id),
        Token::Row(Blend { taps, weights }) => {
            let of = |tap: u32| {
                let row = (tap as usize).checked_sub(1);
                let square = row.and_then(|row| Some((squares.get(row / rows)?, row % rows)));
                square.map_or(u64::from(tap), |(square, row)| square.wrapping_add(row as u64))
            };
            let all = taps.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
            // Above all ids.
            all.fold(1 << 63, |sum: u64, (tap, weight)| splitmix64(sum ^ of(*tap) ^ u64::from(weight.to_bits())))
                | 1 << 63
        }
    };
    tokens.iter().map(mark).collect()
}
