//! What a `tokenizer.json` may contain. The library that reads these files panics, then or later, where parts contradict each
//! other. So a file is looked through first, and only the kinds of parts are let through that language models use.

use std::collections::HashMap;

use serde::Deserialize;

/// How many times longer a text may become by its file's replacements: a chain of doublings would use up all memory.
const MOST_GROWTH: f64 = 4096.0;
/// Largest id of a token.
const MOST_ID: u32 = 1 << 30;
/// Most pieces of the template around a text.
const MOST_PIECES: usize = 64;

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<PreTokenizer>,
    post_processor: Option<PostProcessor>,
    decoder: Option<Decoder>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    // Of other kinds it is a list: their name should be told, not this.
    #[serde(default)]
    vocab: serde_json::Value,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Two tokens that become one: a pair, or in older files both with a space between them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

#[derive(Deserialize)]
struct Added {
    content: String,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Normalizer {
    Sequence {
        normalizers: Vec<Self>,
    },
    Replace {
        content: String,
    },
    ByteLevel,
    Prepend,
    Strip,
    StripAccents,
    Lowercase,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PreTokenizer {
    Sequence { pretokenizers: Vec<Self> },
    ByteLevel,
    Split,
    Digits,
    Metaspace,
    Punctuation,
    Whitespace,
    WhitespaceSplit,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    Sequence { processors: Vec<Self> },
    TemplateProcessing { single: Vec<Piece>, special_tokens: HashMap<String, Special> },
    ByteLevel,
}

/// A piece of the template around a text.
#[derive(Deserialize)]
enum Piece {
    Sequence { id: String },
    SpecialToken { id: String },
}

#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Decoder {
    Sequence { decoders: Vec<Self> },
    Replace { content: String },
    Strip { stop: usize },
    ByteLevel,
    ByteFallback,
    Fuse,
    Metaspace,
}

/// Says what is wrong with the text of a `tokenizer.json`.
pub(super) fn check(text: &str) -> Result<(), String> {
    let file: File = serde_json::from_str(text).map_err(|e| e.to_string())?;
    file.model.check(&file.added_tokens)?;
    let growth = file.normalizer.map_or(1.0, |n| n.growth()) * file.pre_tokenizer.map_or(1.0, |p| p.growth());
    let back = file.decoder.map_or(Ok(1.0), |d| d.growth())?;
    if growth.max(back) > MOST_GROWTH {
        return Err(format!("its replacements make a text up to {:.0} times as long", growth.max(back)));
    }
    let templates = file.post_processor.map_or(Ok(0), |p| p.templates())?;
    if templates > 1 {
        return Err(format!("{templates} templates stand around a text, at most one template is known"));
    }
    Ok(())
}

impl Model {
    fn check(&self, added: &[Added]) -> Result<(), String> {
        // Added tokens get ids behind the largest.
        if let Some((token, id)) = self.vocab.as_object().and_then(|v| v.iter().find(|(_, id)| !is_id(id))) {
            return Err(format!("the token {token:?} has the id {id}, which is none"));
        }
        match self.kind.as_deref() {
            None | Some("BPE") => {}
            Some("WordLevel") => return self.check_words(),
            Some(kind) => return Err(format!("its model is of type {kind}, only BPE and WordLevel are known")),
        }
        if self.continuing_subword_prefix.as_deref().is_some_and(|p| !p.is_empty()) {
            return Err("a continuing_subword_prefix is not known".to_owned());
        }
        if self.dropout.is_some_and(|d| d != 0.0) {
            return Err("with dropout a text has different tokens each time".to_owned());
        }
        let vocab = self.vocab.as_object().ok_or("its vocab is no table of tokens and ids")?;
        if let Some(unknown) = self.unk_token.as_deref().filter(|t| !t.is_empty())
            && !vocab.contains_key(unknown)
            && !added.iter().any(|a| a.content == unknown)
        {
            return Err(format!("the unk_token {unknown:?} is no token"));
        }
        for merge in &self.merges {
            let both = match merge {
                Merge::Pair(a, b) => format!("{a}{b}"),
                Merge::Line(line) if line.starts_with("#version") => continue,
                Merge::Line(line) => line.replacen(' ', "", 1),
            };
            if !vocab.contains_key(&both) {
                return Err(format!("its merges make {both:?}, which is no token"));
            }
        }
        Ok(())
    }

    /// A table of whole words, and one for all others.
    fn check_words(&self) -> Result<(), String> {
        let vocab = self.vocab.as_object().ok_or("its vocab is no table of words and ids")?;
        match self.unk_token.as_deref() {
            Some(unknown) if vocab.contains_key(unknown) => Ok(()),
            Some(unknown) => Err(format!("the unk_token {unknown:?} is no word")),
            None => Err("it has words and no unk_token for all others".to_owned()),
        }
    }
}

fn is_id(value: &serde_json::Value) -> bool {
    value.as_u64().is_some_and(|id| id <= u64::from(MOST_ID))
}

impl Normalizer {
    fn growth(&self) -> f64 {
        match self {
            Self::Sequence { normalizers } => normalizers.iter().map(Self::growth).product(),
            Self::Replace { content } => (content.len() + 1) as f64,
            Self::ByteLevel => 2.0,
            _ => 1.0,
        }
    }
}

impl PreTokenizer {
    fn growth(&self) -> f64 {
        match self {
            Self::Sequence { pretokenizers } => pretokenizers.iter().map(Self::growth).product(),
            Self::ByteLevel => 2.0,
            _ => 1.0,
        }
    }
}

impl PostProcessor {
    /// How many templates there are, each of which can be followed.
    fn templates(&self) -> Result<usize, String> {
        match self {
            Self::Sequence { processors } => processors.iter().map(Self::templates).sum(),
            Self::ByteLevel => Ok(0),
            Self::TemplateProcessing { single, special_tokens } => {
                if single.len() > MOST_PIECES {
                    return Err(format!("{} pieces stand around a text, at most {MOST_PIECES} may", single.len()));
                }
                if let Some((name, _)) = special_tokens.iter().find(|(_, s)| s.ids.len() != s.tokens.len()) {
                    return Err(format!("the special token {name:?} has not as many ids as tokens"));
                }
                for piece in single {
                    match piece {
                        Piece::Sequence { id } if id != "A" => {
                            return Err("the template of one text is that of pairs".to_owned());
                        }
                        Piece::SpecialToken { id } if !special_tokens.contains_key(id) => {
                            return Err(format!("the template names {id:?}, which is no special token of it"));
                        }
                        _ => {}
                    }
                }
                Ok(1)
            }
        }
    }
}

impl Decoder {
    fn growth(&self) -> Result<f64, String> {
        match self {
            Self::Sequence { decoders } => decoders.iter().map(Self::growth).product(),
            Self::Replace { content } => Ok((content.len() + 1) as f64),
            Self::Strip { stop } if *stop > 0 => Err(format!("its decoder strips {stop} at the end (stop)")),
            _ => Ok(1.0),
        }
    }
}
