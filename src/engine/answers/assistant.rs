//! A loaded model that one can talk to: messages to tokens, tokens to text as they come.

use thiserror::Error;

use crate::data::bpe::{Bpe, Stream};
use crate::data::chat::{ChatError, ChatTemplate, IMAGE, Message, said};
use crate::data::tags::{TagError, Tags};
use crate::data::tiles::{Blend, Picture, Recipe};
use crate::gpu::GpuError;
use crate::model::decode::{DecodeError, Decoder, Made, Prompt};
use crate::ops::sample::Settings;
use crate::platform::now_secs;

/// Time that a submission of several tokens should take, seconds: it is what cancelling waits for.
const SUBMISSION_SECS: f64 = 0.03;
/// Most tokens of a submission.
const MOST_TOKENS: usize = 8;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// The template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Pictures that have no place in it.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The prompt, or the GPU.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// How to answer.
#[derive(Clone, Debug)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Settings,
    /// Most tokens.
    pub limit: usize,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { sampling: Settings::default(), limit: 256, stop: Vec::new() }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model said so.
    EndToken,
    /// A stop text came.
    Stop,
    /// As many tokens as were allowed.
    Limit,
    /// No room for more.
    Full,
    /// Whoever listened had enough.
    Cancelled,
}

/// A piece of an answer as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Text that is complete now.
    pub text: &'a str,
    /// The token that was made; none while the prompt is read, and where only held back text comes.
    pub token: Option<Made>,
}

/// A conversation as tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Ids; those of rows of pictures are any.
    pub ids: Vec<u32>,
    /// Those before the picture, for a model with links.
    pub offset: usize,
    /// Where rows of pictures stand, for the others.
    pub rows: Vec<(usize, Blend)>,
}

/// How a model takes pictures.
#[derive(Clone, Debug)]
pub struct Sight {
    /// How a picture becomes squares.
    pub recipe: Recipe,
    /// What stands around them in a prompt.
    pub tags: Tags,
    /// The id that stands for a row of a picture, where there is one.
    pub token: Option<u32>,
}

impl From<Recipe> for Sight {
    fn from(recipe: Recipe) -> Self {
        Self { recipe, tags: Tags::Plain, token: None }
    }
}

/// An answer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Reply {
    pub text: String,
    /// Its tokens, without end mark.
    pub tokens: Vec<Made>,
    /// Tokens of the prompt.
    pub prompt: usize,
    pub end: End,
    /// Time until the first token was there, seconds.
    pub first_secs: f64,
    /// Time of all further tokens, seconds.
    pub rest_secs: f64,
}

impl Reply {
    /// Tokens per second after the first.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.tokens.len().saturating_sub(1) as f64 / self.rest_secs.max(1e-9)
    }
}

/// Where the tokens of an answer looked, of all rows of pictures: means over the tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked {
    /// L.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// Rows of all pictures, in their order.
    pub rows: usize,
    /// (L, H, rows), shares of each token's attention.
    pub shares: Vec<f32>,
}

impl Looked {
    /// The rows as a layer and head look at them; of none the mean over all.
    #[must_use]
    pub fn of(&self, layer: Option<usize>, head: Option<usize>) -> Vec<f32> {
        let all = |one: Option<usize>, count: usize| one.map_or(0..count, |i| i.min(count)..(i + 1).min(count));
        let (layers, heads) = (all(layer, self.layers), all(head, self.heads));
        let count = (layers.len() * heads.len()).max(1) as f32;
        let mut out = vec![0.0; self.rows];
        for at in layers.flat_map(|l| heads.clone().map(move |h| l * self.heads + h)) {
            out.iter_mut().zip(&self.shares[at * self.rows..]).for_each(|(sum, share)| *sum += share / count);
        }
        out
    }
}

/// What was asked last, to look into it.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// Tokens of the prompt, and positions of rows of pictures among them.
    prompt: usize,
    rows: Vec<usize>,
    /// Tokens of the answer.
    made: usize,
}

/// Stands for [`IMAGE`] where a template is not to find it: a character that no text has.
const TEXT_OF_IMAGE: &str = "\u{f8ff}";
/// Tokens of an answer that are looked into at most.
const LOOKED_INTO: usize = 24;

/// A model, its tokenizer and its chat template.
pub struct Assistant {
    decoder: Decoder,
    tokenizer: Bpe,
    template: ChatTemplate,
    ends: Vec<u32>,
    sight: Option<Sight>,
    secs_per_token: f64,
    last: Asked,
}

impl Assistant {
    /// From its parts. `ends` are the tokens that end an answer; `sight` is there where it takes pictures.
    #[must_use]
    pub fn new(
        decoder: Decoder,
        tokenizer: Bpe,
        template: ChatTemplate,
        mut ends: Vec<u32>,
        sight: Option<Sight>,
    ) -> Self {
        ends.extend(tokenizer.id("<|im_end|>"));
        Self { decoder, tokenizer, template, ends, sight, secs_per_token: 1.0, last: Asked::default() }
    }

    /// The same with the links of these decoder layers cut, on the same device and with the same weights.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn without(&self, layers: &[usize]) -> Result<Self, GpuError> {
        Ok(Self {
            decoder: self.decoder.without(layers).await?,
            tokenizer: self.tokenizer.clone(),
            template: self.template.clone(),
            ends: self.ends.clone(),
            sight: self.sight.clone(),
            secs_per_token: self.secs_per_token,
            last: Asked::default(),
        })
    }

    /// How pictures become pixels; none where the model takes none.
    #[must_use]
    pub fn recipe(&self) -> Option<&Recipe> {
        self.sight.as_ref().map(|sight| &sight.recipe)
    }

    /// Do pictures stand where they are shown among what is said? Otherwise before it, as servers write it for models whose
    /// templates take texts.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        self.template.takes_parts()
    }

    /// Tokens that end an answer.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The programs underneath, to measure them.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The same, to run them.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The decoder alone.
    #[must_use]
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// Ids of a text, special tokens as it names them.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, false)
    }

    /// A conversation as tokens, with all pictures of its turns, in their order.
    ///
    /// # Errors
    /// One that the template refuses, or that has no place for the pictures.
    pub fn tokens(&self, messages: &[Message], pictures: &[Picture]) -> Result<Tokens, ReplyError> {
        let Some(sight) = &self.sight else {
            // To a model that takes no pictures the mark is text.
            let ids = self.encode(&self.template.render(messages, true)?);
            return Ok(Tokens { ids, offset: 0, rows: Vec::new() });
        };
        let rows = self.decoder.model().image_rows();
        let shown: usize = messages.iter().map(|m| said(&m.content).0).sum();
        let text = match &sight.tags {
            Tags::Named { spoken, .. } => {
                if shown != pictures.len() {
                    return Err(TagError::Marks { marks: shown, pictures: pictures.len() }.into());
                }
                // The template knows no pictures: to it they are text.
                let head = sight.tags.head(pictures, rows)?.replace(IMAGE, TEXT_OF_IMAGE);
                let mut all: Vec<Message> =
                    messages.iter().map(|m| Message::new(&m.role, said(&m.content).1)).collect();
                match all.iter_mut().find(|m| m.role == "user") {
                    Some(first) if *spoken => first.content.insert_str(0, &head),
                    _ => {}
                }
                let text = self.template.render(&all, true)?;
                let text = if *spoken { text } else { head + &text };
                text.replace(TEXT_OF_IMAGE, IMAGE)
            }
            Tags::Plain | Tags::Framed => self.template.render(messages, true)?,
        };
        let marks = text.matches(IMAGE).count();
        if marks == 0 && shown > 0 && !matches!(sight.tags, Tags::Named { .. }) {
            return Err(ChatError::NoPicture.into());
        }
        if self.decoder.model().links().is_empty() {
            let side = rows.isqrt();
            let placed = sight.tags.place(&text, pictures, &sight.recipe, side, &self.tokenizer, sight.token)?;
            return Ok(Tokens { ids: placed.ids, offset: 0, rows: placed.rows });
        }
        if marks > 1 {
            return Err(ChatError::Marks(marks).into());
        }
        let (before, after) = text.split_once(IMAGE).unwrap_or(("", &text));
        let mut ids = self.encode(before);
        let offset = ids.len();
        ids.extend(self.encode(after));
        Ok(Tokens { ids, offset, rows: Vec::new() })
    }

    /// Whether a conversation leaves room for an answer of so many tokens.
    ///
    /// # Errors
    /// As [`Self::tokens`].
    pub fn has_room(&self, messages: &[Message], pictures: &[Picture], answer: usize) -> Result<bool, ReplyError> {
        Ok(self.tokens(messages, pictures)?.ids.len() + answer <= self.decoder.room())
    }

    /// Text of tokens.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids)
    }

    /// Answers a conversation about pictures, all of its turns, in their order. `tell` gets pieces as they come, and empty ones
    /// while the prompt is read; false ends the answer within a submission.
    ///
    /// # Errors
    /// A conversation that the template refuses or that is too long, or a GPU fault.
    pub async fn reply(
        &mut self,
        messages: &[Message],
        pictures: &[Picture],
        options: &Options,
        tell: impl FnMut(Piece<'_>) -> bool,
    ) -> Result<Reply, ReplyError> {
        let Tokens { ids, offset, rows } = self.tokens(messages, pictures)?;
        let pixels = match pictures {
            [one] => std::borrow::Cow::Borrowed(&one.pixels[..]),
            all => std::borrow::Cow::Owned(all.iter().flat_map(|p| p.pixels.iter().copied()).collect()),
        };
        self.go_on(Prompt { ids: &ids, pixels: &pixels, offset, rows: &rows }, options, tell).await
    }

    /// Where the first tokens of the last answer looked, of the rows of its pictures; none where there are no rows.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn look(&mut self) -> Result<Option<Looked>, GpuError> {
        let Asked { prompt, rows, made } = self.last.clone();
        let c = self.decoder.model().language_config();
        let (layers, heads) = (c.num_hidden_layers, c.num_attention_heads);
        let count = made.min(LOOKED_INTO);
        if rows.is_empty() || count == 0 {
            return Ok(None);
        }
        let mut shares = vec![0.0; layers * heads * rows.len()];
        for i in 0..count {
            // A token is chosen by what the one before it looks at.
            let position = prompt - 1 + i;
            let Some(all) = self.decoder.attention(position).await? else { return Ok(None) };
            for (own, to) in all.chunks(position + 1).zip(shares.chunks_mut(rows.len())) {
                rows.iter().zip(to).for_each(|(at, share)| *share += own[*at] / count as f32);
            }
        }
        Ok(Some(Looked { layers, heads, rows: rows.len(), shares }))
    }

    /// Goes on with tokens.
    ///
    /// # Errors
    /// A prompt that is empty or too long, or a GPU fault.
    pub async fn go_on(
        &mut self,
        prompt: Prompt<'_>,
        options: &Options,
        mut tell: impl FnMut(Piece<'_>) -> bool,
    ) -> Result<Reply, ReplyError> {
        let began = now_secs();
        let rows = prompt.rows.iter().map(|(at, _)| *at).collect();
        self.last = Asked { prompt: prompt.ids.len(), rows, made: 0 };
        // Nothing to tell yet, but whoever listens may have had enough.
        if !self.decoder.begin_while(prompt, &options.sampling, &mut || tell(Piece { text: "", token: None })).await? {
            let (tokens, first_secs) = (Vec::new(), now_secs() - began);
            let (text, prompt) = (String::new(), prompt.ids.len());
            return Ok(Reply { text, tokens, prompt, end: End::Cancelled, first_secs, rest_secs: 0.0 });
        }
        let mut writer = Writer {
            stream: self.tokenizer.stream(),
            text: String::new(),
            told: 0,
            stop: &options.stop,
            stopped: false,
        };
        let (mut tokens, mut first_secs, mut end) = (Vec::new(), 0.0, None);
        while end.is_none() {
            let requested = (SUBMISSION_SECS / self.secs_per_token).clamp(1.0, MOST_TOKENS as f64) as usize;
            let started = now_secs();
            let count = if tokens.is_empty() { 1 } else { requested.min(options.limit - tokens.len()) };
            let made = self.decoder.next(count).await.map_err(DecodeError::from)?;
            if tokens.is_empty() {
                first_secs = now_secs() - began;
            } else {
                self.secs_per_token = (now_secs() - started) / made.len().max(1) as f64;
            }
            for made in made {
                if self.ends.contains(&made.token) {
                    end = Some(End::EndToken);
                    break;
                }
                tokens.push(made);
                end = writer.push(made, &mut tell);
                if end.is_some() {
                    break;
                }
            }
            if end.is_none() && tokens.len() >= options.limit {
                end = Some(End::Limit);
            } else if end.is_none() && self.decoder.is_full() {
                end = Some(End::Full);
            }
        }
        let text = writer.finish(&mut tell);
        self.last.made = tokens.len();
        let rest_secs = now_secs() - began - first_secs;
        let prompt = prompt.ids.len();
        Ok(Reply { text, tokens, prompt, end: end.unwrap_or(End::Limit), first_secs, rest_secs })
    }
}

/// Text that is told as far as no stop text can begin in it.
struct Writer<'a> {
    stream: Stream<'a>,
    text: String,
    told: usize,
    stop: &'a [String],
    stopped: bool,
}

impl Writer<'_> {
    fn push(&mut self, made: Made, tell: &mut impl FnMut(Piece<'_>) -> bool) -> Option<End> {
        self.text.push_str(&self.stream.push(made.token));
        let found = self.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| self.text.find(s.as_str())).min();
        if let Some(at) = found {
            self.text.truncate(at);
            self.stopped = true;
            return Some(End::Stop);
        }
        self.tell_to(self.text.len() - self.held_back(), Some(made), tell)
    }

    /// Bytes at the end that may be the beginning of a stop text.
    fn held_back(&self) -> usize {
        let begins = |n: &usize| {
            let at = self.text.len() - n;
            self.text.is_char_boundary(at) && self.stop.iter().any(|s| s.starts_with(&self.text[at..]))
        };
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0).min(self.text.len());
        (1..=longest).rev().find(begins).unwrap_or(0)
    }

    fn tell_to(&mut self, end: usize, token: Option<Made>, tell: &mut impl FnMut(Piece<'_>) -> bool) -> Option<End> {
        let end = end.max(self.told);
        let go_on = tell(Piece { text: &self.text[self.told..end], token });
        self.told = end;
        (!go_on).then_some(End::Cancelled)
    }

    fn finish(mut self, tell: &mut impl FnMut(Piece<'_>) -> bool) -> String {
        if !self.stopped {
            let rest = self.stream.finish();
            self.text.push_str(&rest);
        }
        if self.told < self.text.len() {
            self.tell_to(self.text.len(), None, tell);
        }
        self.text
    }
}
