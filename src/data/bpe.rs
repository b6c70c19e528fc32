//! Tokenizers of published models, from their `tokenizer.json`: byte-level pairs (Qwen2, SmolLM2), `SentencePiece`'s (Llama), and
//! whole words.
//! Text comes back token by token without ever cutting a character.

use thiserror::Error;
use tokenizers::{AddedToken, Tokenizer};

use super::bpe_check::check;

/// Why a tokenizer cannot be used.
#[derive(Debug, Error)]
pub enum BpeError {
    /// Not a tokenizer, or one of a kind that is not known.
    #[error(
        "tokenizer.json cannot be used ({0}): copy or download it again, or save it again with a current transformers"
    )]
    Unusable(String),
}

/// A tokenizer.
#[derive(Clone)]
pub struct Bpe {
    inner: Tokenizer,
    /// Are special tokens left out of texts?
    plain: bool,
}

impl Bpe {
    /// From the text of `tokenizer.json`.
    ///
    /// # Errors
    /// A text that is no tokenizer.
    pub fn from_json(text: &str) -> Result<Self, BpeError> {
        check(text).map_err(BpeError::Unusable)?;
        let mut inner = Tokenizer::from_bytes(text.as_bytes()).map_err(|e| BpeError::Unusable(e.to_string()))?;
        // What a file asks for when texts are padded or cut to one length has no place in a conversation.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| BpeError::Unusable(e.to_string()))?;
        Ok(Self { inner, plain: true })
    }

    /// Ids of a text. Special tokens are recognised where they are written; `add_special` adds those that the file puts around
    /// every text. A text that the rules cannot split gives no ids.
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool) -> Vec<u32> {
        self.inner.encode_fast(text, add_special).map_or(Vec::new(), |e| e.get_ids().to_vec())
    }

    /// From now on special tokens are part of texts: answers of some models are made of them.
    pub fn show_specials(&mut self) {
        self.plain = false;
    }

    /// Text of ids, special tokens left out unless they are shown; ids without a token are left out too.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, self.plain).unwrap_or_default()
    }

    /// Adds special tokens that it has not, in their order.
    pub fn add(&mut self, tokens: &[String]) {
        let all: Vec<AddedToken> = tokens.iter().map(|t| AddedToken::from(t.as_str(), true)).collect();
        // A vocabulary that refuses one has it not, which the prompt then says.
        let _ = self.inner.add_special_tokens(all);
    }

    /// The id of a token, as it is written in the file.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as it is written in the file.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// No tokens at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Text that comes token by token.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream { bpe: self, ids: Vec::new(), context: 0, told: 0 }
    }
}

/// Turns tokens to text as they come. What [`Self::push`] and [`Self::finish`] give, joined, is what [`Bpe::decode`] gives for
/// all ids at once. Only where bytes make no character the number of signs for that may differ: a decoder may take back
/// characters beside them, and what was told cannot be.
pub struct Stream<'a> {
    bpe: &'a Bpe,
    ids: Vec<u32>,
    /// First id that is decoded again, so that the next ones stand in context: a word's leading space depends on it.
    context: usize,
    /// Ids whose text was given.
    told: usize,
}

impl Stream<'_> {
    /// The text that this token completes; nothing while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.rest();
        // The sign for a broken character: more bytes of it may come.
        if text.is_empty() || text.ends_with('\u{fffd}') {
            return String::new();
        }
        (self.context, self.told) = (self.told, self.ids.len());
        text
    }

    /// What is left: the bytes of a character that was never completed.
    pub fn finish(&mut self) -> String {
        let text = self.rest();
        (self.context, self.told) = (self.told, self.ids.len());
        text
    }

    fn rest(&self) -> String {
        let before = self.bpe.decode(&self.ids[self.context..self.told]);
        let all = self.bpe.decode(&self.ids[self.context..]);
        match all.strip_prefix(&before) {
            Some(text) => text.to_owned(),
            None => self.bpe.decode(&self.ids[self.told..]),
        }
    }
}
