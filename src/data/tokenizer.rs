//! Words to ids and back: the word-level tokenizer of the made-up data sets and of small picture folders.
//!
//! Used by `batch` (rows), by the commands and the web page (a user's question), and saved beside a checkpoint as
//! `{"words": [...]}`, where a word's position is its id.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// Fills rows up; never read.
pub const PAD: u32 = 0;
/// Starts every row.
pub const START: u32 = 1;
/// Ends every answer.
pub const END: u32 = 2;
/// Stands for words outside the vocabulary.
pub const UNKNOWN: u32 = 3;
/// The special tokens; every vocabulary starts with them.
pub const SPECIALS: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// Why a list of words is no vocabulary.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum TokenizerError {
    /// The special tokens are missing or elsewhere.
    #[error(
        "the list of words must start with <pad>, <s>, </s>, <unk>, but word {position} is `{found}`: use the list saved with the model"
    )]
    Specials { position: usize, found: String },
    /// A word occurs twice.
    #[error(
        "the list of words has `{word}` twice, at {first} and {second}: remove one, or use the list saved with the model"
    )]
    Twice { word: String, first: usize, second: usize },
}

/// A vocabulary: word `i` has id `i`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Tokenizer {
    words: Vec<String>,
    ids: HashMap<String, u32>,
    /// The words with a hyphen that are also read where a space stands in place of the last one.
    joined: HashSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    words: Vec<String>,
}

impl TryFrom<Saved> for Tokenizer {
    type Error = TokenizerError;
    fn try_from(saved: Saved) -> Result<Self, TokenizerError> {
        Self::new(saved.words)
    }
}

impl From<Tokenizer> for Saved {
    fn from(tokenizer: Tokenizer) -> Self {
        Self { words: tokenizer.words }
    }
}

impl Tokenizer {
    /// The vocabulary of these words, which must start with [`SPECIALS`].
    ///
    /// # Errors
    /// When the special tokens are not in front or a word occurs twice.
    pub fn new(words: Vec<String>) -> Result<Self, TokenizerError> {
        for (position, special) in SPECIALS.iter().enumerate() {
            let found = words.get(position).cloned().unwrap_or_default();
            if found != *special {
                return Err(TokenizerError::Specials { position, found });
            }
        }
        let mut ids = HashMap::with_capacity(words.len());
        for (second, word) in words.iter().enumerate() {
            if let Some(first) = ids.insert(word.clone(), second as u32) {
                return Err(TokenizerError::Twice { word: word.clone(), first: first as usize, second });
            }
        }
        Ok(Self { joined: joined(&words), words, ids })
    }

    /// A vocabulary of the `size` most frequent words of these texts (special tokens included, ties in alphabetical order).
    #[must_use]
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>, size: usize) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for text in texts {
            for word in split(text) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut counted: Vec<(String, usize)> = counts.into_iter().collect();
        counted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let frequent = counted.into_iter().map(|c| c.0).take(size.saturating_sub(SPECIALS.len()));
        let words: Vec<String> = SPECIALS.into_iter().map(str::to_owned).chain(frequent).collect();
        let ids = words.iter().enumerate().map(|(i, w)| (w.clone(), i as u32)).collect();
        Self { joined: joined(&words), words, ids }
    }

    /// The words in the order of their ids.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Number of ids.
    #[must_use]
    pub fn size(&self) -> usize {
        self.words.len()
    }

    /// The id of a word as it stands in the vocabulary.
    #[must_use]
    pub fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The ids of a text, without start or end; [`UNKNOWN`] for words outside the vocabulary.
    ///
    /// Text is lower-cased and punctuation split off. A plural is read as word and `s` where the vocabulary has it so, and words
    /// as one where it joins them with a hyphen and with no other. A question mark that it lacks says nothing.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.read(text).iter().flat_map(|word| self.parts(word)).flatten().map(|id| id.unwrap_or(UNKNOWN)).collect()
    }

    /// The words of a text that the vocabulary lacks, each once, in the order of the text.
    #[must_use]
    pub fn unknown(&self, text: &str) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for word in self.read(text) {
            if self.parts(&word)[0].is_some_and(|id| id.is_none()) && !unknown.contains(&word) {
                unknown.push(word);
            }
        }
        unknown
    }

    /// The text of ids: words with spaces between them. Special tokens other than `<unk>` leave nothing behind.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let word = |id: &u32| self.words.get(*id as usize).map_or(SPECIALS[UNKNOWN as usize], String::as_str);
        ids.iter().filter(|id| **id >= UNKNOWN).map(word).collect::<Vec<_>>().join(" ")
    }

    /// The words of a text, as far as the vocabulary tells what is one.
    fn read(&self, text: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for word in split(text) {
            let joined = words.last().map(|last| format!("{last}-{word}"));
            match joined.filter(|joined| self.joined.contains(joined) && !word.contains('-')) {
                Some(joined) => {
                    words.pop();
                    words.push(joined);
                }
                None => words.push(word),
            }
        }
        words.retain(|word| word != "?" || self.ids.contains_key("?"));
        words
    }

    /// The parts of words that are also read without their last hyphen, in the order of their ids.
    pub(super) fn joints(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().filter(|word| self.joined.contains(*word)).filter_map(|word| word.rsplit_once('-'))
    }

    /// One id, or two for a plural: `[Some(None), None]` is an unknown word.
    fn parts(&self, word: &str) -> [Option<Option<u32>>; 2] {
        if let Some(id) = self.id(word) {
            return [Some(Some(id)), None];
        }
        let singular = word.strip_suffix('s').and_then(|w| self.id(w));
        match (singular, self.id("s")) {
            (Some(word), Some(s)) => [Some(Some(word)), Some(Some(s))],
            _ => [Some(None), None],
        }
    }
}

/// Is it a word of letters, rather than a punctuation mark?
pub(super) fn is_word(word: &str) -> bool {
    word.starts_with(char::is_alphanumeric) && split(word) == [word]
}

/// The words with a hyphen that may be read where a space stands in its place. Not those that share a part, as `a-b` and `b-c`
/// or `a-b-c` do: what "a b c" then is would depend on who reads it, this program or others by the file.
fn joined(words: &[String]) -> HashSet<String> {
    let parts =
        || words.iter().skip(SPECIALS.len()).filter(|w| is_word(w)).filter_map(|w| Some((w, w.rsplit_once('-')?)));
    let whole: HashSet<&str> = parts().map(|(word, _)| word.as_str()).collect();
    let (firsts, lasts): (HashSet<&str>, HashSet<&str>) = parts().map(|(_, both)| both).unzip();
    let alone = |first: &str, last: &str| !lasts.contains(first) && !whole.contains(first) && !firsts.contains(last);
    parts().filter(|(_, (first, last))| alone(first, last)).map(|(word, _)| word.clone()).collect()
}

/// The words of a text: lower case, at white space, with every punctuation mark a word of its own, apart from apostrophes
/// and hyphens inside words.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let lower: Vec<char> = text.to_lowercase().chars().collect();
    let letter = |i: Option<usize>| i.and_then(|i| lower.get(i)).is_some_and(|c| c.is_alphanumeric());
    let mut words: Vec<String> = Vec::new();
    let mut inside = false;
    for (i, c) in lower.iter().enumerate() {
        let joins = matches!(c, '\'' | '’' | '-') && letter(i.checked_sub(1)) && letter(Some(i + 1));
        if c.is_alphanumeric() || joins {
            match words.last_mut() {
                Some(word) if inside => word.push(*c),
                _ => words.push(c.to_string()),
            }
            inside = true;
        } else {
            if !c.is_whitespace() && !c.is_control() {
                words.push(c.to_string());
            }
            inside = false;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(words: &str) -> Tokenizer {
        Tokenizer::new(SPECIALS.into_iter().chain(words.split(' ')).map(str::to_owned).collect()).unwrap()
    }

    #[test]
    fn encodes_free_text() {
        let t = tokenizer("? is there a dog s how many are");
        assert_eq!(t.encode("Is there a dog?"), t.encode("is there a dog ?"));
        assert_eq!(t.encode("How many dogs?"), t.encode("how many dog s ?"));
        assert_eq!(t.encode("a zebra <s>"), [7, 3, 3, 9, 3]);
        assert_eq!(t.unknown("Is there a zebra, a zebra or dogs?"), ["zebra", ",", "or"]);
        assert_eq!(t.decode(&[1, 7, 3, 8, 2, 0, 99]), "a <unk> dog <unk>");
        let t = tokenizer("where is the top-left");
        assert_eq!(t.encode("Where is the TOP left?"), t.encode("where is the top-left"));
        assert_eq!((t.encode("top ? left").len(), t.unknown("top, left?").len()), (2, 3));
        // Which two of three words belong together nobody can say.
        let t = tokenizer("north-west west-end t-rex");
        assert_eq!(t.encode("north west end t rex north-west"), [3, 3, 3, 6, 4]);
        assert_eq!(
            split("A T-rex's \"well-known\" tail - ok?"),
            ["a", "t-rex's", "\"", "well-known", "\"", "tail", "-", "ok", "?"]
        );
    }

    #[test]
    fn json_round_trip_and_refusals() {
        let t = tokenizer("dog cat");
        let json = serde_json::to_string(&t).unwrap();
        assert_eq!(json, r#"{"words":["<pad>","<s>","</s>","<unk>","dog","cat"]}"#);
        assert_eq!(serde_json::from_str::<Tokenizer>(&json).unwrap(), t);
        let error = serde_json::from_str::<Tokenizer>(r#"{"words":["<pad>","dog"]}"#).unwrap_err().to_string();
        assert!(error.contains("word 1 is `dog`"), "{error}");
        let error = serde_json::from_str::<Tokenizer>(&json.replace("cat", "dog")).unwrap_err().to_string();
        assert!(error.contains("`dog` twice, at 4 and 5"), "{error}");
    }

    #[test]
    fn most_frequent_words_first() {
        let t = Tokenizer::from_texts(["A dog.", "a cat", "The cat."], 8);
        assert_eq!(t.words()[4..], [".", "a", "cat", "dog"]);
    }
}
