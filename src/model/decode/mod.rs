//! Running a model of any size token by token: programs for the picture, for pieces of the prompt, and for one token with
//! fused kernels. State, choice and advance live on the GPU, so that several tokens are made per submission.

mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::model::Model;
use crate::data::rng::hash_bytes;
use crate::gpu::{Gpu, GpuError, Program};
use crate::nn::Params;
use crate::ops::packed::MAX_SHARD;
use crate::ops::sample::Settings;
use record::{Piece, Recording, Sight, State};

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
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Tokens to continue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'a> {
    /// Text.
    pub ids: &'a [u32],
    /// The image (3, S, S), where the decoder has one.
    pub pixels: &'a [f32],
    /// Text tokens before the image.
    pub offset: usize,
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
    pieces: BTreeMap<usize, Piece>,
    state: State,
    step: Program,
    /// What the caches hold: tokens by position, none for an image row.
    history: Vec<Option<u32>>,
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
        // A device without the memory says so now.
        gpu.finished().await?;
        Ok(Self {
            step,
            sight,
            record,
            pieces: BTreeMap::new(),
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

    /// The program of a piece of the prompt of 128 tokens.
    pub fn prompt_program(&mut self) -> &Program {
        let size = PIECES[PIECES.len() - 1];
        let (record, model, params) = (&self.record, &self.model, &self.params);
        &self.pieces.entry(size).or_insert_with(|| record.piece(model, params, size)).program
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
        if let Some(&id) = prompt.ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(DecodeError::Token { id, vocabulary });
        }
        // The last token is fed after the picture. Where that stands in no row, the place is for positions and mask alone.
        let at = prompt.offset.min(prompt.ids.len() - 1);
        let spliced = self.sight.as_ref().map_or(0, Sight::spliced);
        let offset = if spliced > 0 { at } else { prompt.offset };
        let total = prompt.ids.len() + spliced;
        if total >= self.room {
            return Err(DecodeError::Long { tokens: total, room: self.room });
        }
        let (before, after) = prompt.ids.split_at(at);
        let text = |ids: &[u32]| ids.iter().copied().map(Some).collect::<Vec<_>>();
        let rows = [text(before), vec![None; spliced], text(after)].concat();
        self.gpu.write_u32(&self.state.tokens, &self.state.padded(&rows));
        self.gpu.write_u32(&self.state.settings, &settings.words());
        let cached = &rows[..total - 1];
        if self.version != self.params.version() {
            self.version = self.params.version();
            self.history.clear();
            self.seen = None;
        }
        // Rows that the caches hold already; of a picture either all or none.
        let seen = self.sight.is_some().then(|| (hash_bytes(bytemuck::cast_slice(prompt.pixels)), offset));
        let mut same = self.history.iter().zip(cached).take_while(|(a, b)| a == b).count();
        if self.sight.is_some() {
            self.record.write_linked(offset);
            if self.seen != seen || same < at + spliced {
                self.history.clear();
                self.seen = None;
                if !self.read(before, 0, offset, go_on).await? {
                    return Ok(false);
                }
                self.see(prompt.pixels, offset).await?;
                same = at + spliced;
                self.history = rows[..same].to_vec();
                self.seen = seen;
            }
        }
        self.history.truncate(same);
        let end = prompt.ids.len() - 1;
        if !self.read(&prompt.ids[(same - spliced).min(end)..end], same, offset, go_on).await? {
            return Ok(false);
        }
        self.history = cached.to_vec();
        self.position = total - 1;
        self.gpu.write_u32(&self.state.id, &[last]);
        self.gpu.write_u32(&self.state.rows, &[total as u32, offset as u32, total as u32 - 1]);
        Ok(true)
    }

    /// Keys and values of the picture.
    async fn see(&mut self, pixels: &[f32], offset: usize) -> Result<(), GpuError> {
        if let Some(sight) = &self.sight {
            sight.write(&self.gpu, &self.record.positions, pixels, offset);
            sight.program.run_shared().await?;
        }
        Ok(())
    }

    /// Keys and values of text whose first token is at position `start`. False when `go_on` ended it.
    async fn read(
        &mut self,
        ids: &[u32],
        mut start: usize,
        offset: usize,
        go_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, GpuError> {
        let mut rest = ids;
        while !rest.is_empty() {
            if !go_on() {
                return Ok(false);
            }
            let size = PIECES.into_iter().rev().find(|p| *p <= rest.len()).unwrap_or(PIECES[0]);
            if !self.pieces.contains_key(&size) {
                self.pieces.insert(size, self.record.piece(&self.model, &self.params, size));
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
        self.history.extend((self.position..self.position + count).map(|i| Some(all[0][i].to_bits())));
        self.position += count;
        Ok(made)
    }
}
