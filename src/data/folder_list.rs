//! The list of a picture folder, entry by entry: its text, finding the entries in it, checking them, wording what is wrong.
//!
//! The reading half of `folder`, which keeps the entries and makes samples of them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::chat::IMAGE;
use super::disguise::is_pointer;
use super::folder_fault::FolderError;
use super::worlds::Turn;

/// The kinds of turns: answers to questions, and captions (answers to the picture alone).
pub const KINDS: [&str; 2] = ["question", "caption"];

/// One entry of the list: a picture and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The entry's id, or the picture's name where it has none.
    pub id: String,
    /// The picture's name, relative to the folder.
    pub image: String,
    /// Questions (without `<image>`, empty for captions) and answers; at least one.
    pub turns: Vec<Turn>,
    /// Where the entry begins in the list, from 1.
    pub line: usize,
    /// Which entry of the list it is, from 1.
    pub number: usize,
}

/// The text of a list: UTF-8, or UTF-16 as some editors save it.
pub(super) fn text_of<'a>(bytes: &'a [u8], file: &str) -> Result<Cow<'a, str>, FolderError> {
    let wrong = |line, hint| FolderError::Encoding { file: file.to_owned(), line, hint };
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|b| unit(*b)).collect();
        String::from_utf16(&units).map(Cow::Owned).map_err(|_broken| wrong(1, " (it begins like UTF-16)"))
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, _, _, ..] => Err(wrong(1, " (it begins like UTF-32)")),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        // Without a mark: a list begins with a letter of ASCII.
        [a, 0, b, 0, ..] if *a > 0 && *b > 0 => wide(bytes, u16::from_le_bytes),
        [0, a, 0, b, ..] if *a > 0 && *b > 0 => wide(bytes, u16::from_be_bytes),
        [0x1f, 0x8b, ..] => Err(wrong(1, " (it is compressed by gzip: unpack it)")),
        _ if is_pointer(bytes) => {
            Err(wrong(1, " (it is a Git LFS pointer, not the list itself: git lfs pull fetches it)"))
        }
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(e) => {
                let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
                Err(wrong(line, " (Latin-1 or Windows-1252?)"))
            }
        },
    }
}

/// What a list has after its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All that should be there.
    Whole,
    /// Not what closes it.
    CutOff(&'static str),
    /// More, from this line on.
    More(usize),
}

/// Gives `each` the entries of a list, one by one, each with the line where it begins: a JSON array, an object per line, or
/// objects over several lines.
pub(super) fn entries<'a>(text: &'a str, each: &mut dyn FnMut(usize, &'a str)) -> End {
    let start = text.trim_start();
    if start.starts_with('[') {
        return array_entries(text, each);
    }
    let incomplete =
        |line: &str| serde_json::from_str::<serde::de::IgnoredAny>(&pythons_numbers(line)).is_err_and(|e| e.is_eof());
    let mut lines = start.lines().map(str::trim).filter(|l| !l.is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    if first.starts_with('{') && second.is_some_and(|l| !l.starts_with('{')) && incomplete(first) {
        return object_entries(text, each);
    }
    let mut last = "";
    for (i, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if !line_text.is_empty() {
            each(i + 1, line_text);
            last = line_text;
        }
    }
    if !last.is_empty() && incomplete(last) { End::CutOff("its last line is no whole JSON object") } else { End::Whole }
}

/// Goes over the bytes outside strings: each with its place, its line and how many brackets are open before it.
fn brackets(text: &str, mut at: impl FnMut(usize, usize, usize, u8) -> bool) {
    let (mut depth, mut in_string, mut escaped, mut line) = (0_usize, false, false, 1);
    for (i, b) in text.bytes().enumerate() {
        if b == b'\n' {
            line += 1;
        }
        if in_string {
            in_string = escaped || b != b'"';
            escaped = b == b'\\' && !escaped;
            continue;
        }
        if !at(i, line, depth, b) {
            return;
        }
        match b {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The texts between the commas of a JSON array. The entries are parsed one by one, so that a bad one does not spoil the others.
fn array_entries<'a>(text: &'a str, each: &mut dyn FnMut(usize, &'a str)) -> End {
    let mut start: Option<(usize, usize)> = None;
    let mut end = None;
    brackets(text, |i, line, depth, b| {
        if depth == 1 && (b == b',' || b == b']') {
            if let Some((line, from)) = start.take() {
                each(line, text[from..i].trim());
            }
            if b == b']' {
                end = Some((i + 1, line));
            }
            return b != b']';
        }
        if depth >= 1 && start.is_none() && !b.is_ascii_whitespace() {
            start = Some((line, i));
        }
        true
    });
    // the array is not closed: what is left is an entry too, most likely a broken one
    if let Some((line, from)) = start {
        each(line, text[from..].trim());
    }
    match end {
        None => End::CutOff("it ends without ]"),
        Some((at, line)) if !text[at..].trim_matches(['\0', ' ', '\t', '\r', '\n']).is_empty() => End::More(line),
        Some(_) => End::Whole,
    }
}

/// Objects that go over several lines, one after the other.
fn object_entries<'a>(text: &'a str, each: &mut dyn FnMut(usize, &'a str)) -> End {
    let mut start: Option<(usize, usize)> = None;
    brackets(text, |i, line, depth, b| {
        if start.is_none() && !b.is_ascii_whitespace() && b != b',' {
            start = Some((line, i));
        }
        if depth == 1
            && b == b'}'
            && let Some((line, from)) = start.take()
        {
            each(line, &text[from..=i]);
        }
        true
    });
    let Some((line, from)) = start else { return End::Whole };
    each(line, text[from..].trim());
    End::CutOff("its last object is not closed")
}

/// JSON as Python writes it: numbers that are none become null, which nothing here reads.
fn pythons_numbers(entry: &str) -> Cow<'_, str> {
    if !["NaN", "Infinity"].iter().any(|word| entry.contains(word)) {
        return Cow::Borrowed(entry);
    }
    let mut out = String::with_capacity(entry.len());
    let mut from = 0;
    brackets(entry, |i, _, _, _| {
        if i >= from {
            for word in ["-Infinity", "Infinity", "NaN"] {
                if entry.as_bytes()[i..].starts_with(word.as_bytes()) && i >= from {
                    out.push_str(&entry[from..i]);
                    out.push_str("null");
                    from = i + word.len();
                }
            }
        }
        true
    });
    out.push_str(&entry[from..]);
    Cow::Owned(out)
}

/// What an entry is.
pub(super) struct Read {
    pub(super) record: Record,
    /// Was a turn of the system left out?
    pub(super) system: bool,
}

/// An entry that cannot be used: its line, its id and what is wrong.
pub(super) type Refused = (usize, Option<String>, String);

/// The keys of an object that is no entry but could hold them; none for others.
pub(super) fn keys_of_no_entry(entry: &str) -> Option<String> {
    let value: Map<String, Value> = serde_json::from_str(&pythons_numbers(entry)).ok()?;
    let is_entry = ["image", "images", "conversations", "id"].iter().any(|key| value.contains_key(*key));
    let keys: Vec<String> =
        value.keys().take(5).map(|k| format!("\"{}\"", k.chars().take(40).collect::<String>())).collect();
    (!is_entry).then(|| keys.join(", "))
}

/// One entry, or the sentence of its problem.
pub(super) fn record(entry: &str, line: usize, number: usize) -> Result<Read, Refused> {
    let value: Value = serde_json::from_str(&pythons_numbers(entry)).map_err(|e| {
        let at = line + e.line().saturating_sub(1);
        (at, None, format!("this entry is no valid JSON ({e}): correct it or remove it"))
    })?;
    let id = match value.get("id") {
        Some(Value::String(id)) => Ok(Some(id.clone())),
        Some(Value::Number(id)) => Ok(Some(id.to_string())),
        None | Some(Value::Null) => Ok(None),
        _ => {
            Err("`id` is neither a text nor a number: correct it, or leave it out to use the picture's name".to_owned())
        }
    };
    let named = id.clone().ok().flatten();
    let read = || {
        let id = id?;
        let image = image(&value)?;
        let (turns, system) = turns(&value)?;
        let id = id.unwrap_or_else(|| image.clone());
        Ok(Read { record: Record { id, image, turns, line, number }, system })
    };
    read().map_err(|sentence| (line, named, sentence))
}

/// The picture's name.
fn image(value: &Value) -> Result<String, String> {
    let key = if value.get("image").is_none() && value.get("images").is_some() { "images" } else { "image" };
    let image = match value.get(key) {
        Some(Value::Array(several)) => match several.as_slice() {
            [one] => one.as_str(),
            [] => None,
            more => {
                return Err(format!(
                    "this entry has {} pictures, and several pictures per entry are not supported: make an entry of each",
                    more.len()
                ));
            }
        },
        other => other.and_then(Value::as_str),
    };
    let Some(image) = image.filter(|s| !s.is_empty()) else {
        return Err("this entry has no `image`: give the picture's file name as a text".to_owned());
    };
    if image.starts_with("http://") || image.starts_with("https://") {
        return Err(
            "`image` is an address, and pictures are not fetched: download it, and give its file name".to_owned()
        );
    }
    if image.starts_with(['/', '\\']) || image.contains(':') || image.split(['/', '\\']).any(|p| p == "..") {
        return Err("`image` points outside the folder: give a file name relative to it".to_owned());
    }
    Ok(image.to_owned())
}

/// The turns, and whether some of the system were left out.
fn turns(value: &Value) -> Result<(Vec<Turn>, bool), String> {
    let Some(said) = value.get("conversations").and_then(Value::as_array).filter(|c| !c.is_empty()) else {
        let other = ["messages", "conversation", "caption", "text"].iter().find(|key| value.get(**key).is_some());
        let other = other.map_or_else(String::new, |key| format!(" (`{key}` is not read)"));
        return Err(format!(
            "this entry has no `conversations`{other}: give a list of {{\"from\": \"human\" or \"gpt\", \"value\": text}}"
        ));
    };
    let is_system = |turn: &Value| turn.get("from").and_then(Value::as_str) == Some("system");
    let mut spoken: Vec<(usize, &Value)> = Vec::new();
    for (place, turn) in (1..).zip(said) {
        // In place of an answer it is a fault.
        if spoken.len() % 2 == 1 || !is_system(turn) {
            spoken.push((place, turn));
        }
    }
    let turns = spoken.chunks(2).enumerate().map(|(i, pair)| turn(i, pair)).collect::<Result<Vec<_>, _>>()?;
    if turns.is_empty() {
        return Err("the conversation has a \"system\" turn alone: add a question and its answer".to_owned());
    }
    Ok((turns, spoken.len() < said.len()))
}

/// Question and answer number `i` of an entry, with their places in the conversation.
fn turn(i: usize, pair: &[(usize, &Value)]) -> Result<Turn, String> {
    let number = i + 1;
    let text = |(place, value): (usize, &Value), from: &str| {
        let is = value.get("from").and_then(Value::as_str);
        match value.get("value").and_then(Value::as_str) {
            Some(text) if is == Some(from) => Ok(text.to_owned()),
            _ => {
                let has = match is {
                    Some(is) if is == from => "its `value` is no text".to_owned(),
                    Some(is) => format!("it is from \"{}\"", is.chars().take(40).collect::<String>()),
                    None if value.get("role").is_some() => "it has `role` instead of `from`".to_owned(),
                    None => "it has no `from`".to_owned(),
                };
                Err(format!(
                    "turn {number} has no {{\"from\": \"{from}\", \"value\": text}} where it should (value {place} of the conversation: {has}): let \"human\" and \"gpt\" alternate"
                ))
            }
        }
    };
    let question = text(pair[0], "human")?;
    let Some(answer) = pair.get(1) else {
        return Err(
            "the conversation ends with a question: every \"human\" value needs a \"gpt\" value after it".to_owned()
        );
    };
    let answer = text(*answer, "gpt")?.trim().to_owned();
    if question.matches(IMAGE).count() != usize::from(i == 0) || answer.contains(IMAGE) {
        return Err(format!(
            "{IMAGE} must stand once in the first \"human\" value and nowhere else, but turn {number} has it otherwise: correct it"
        ));
    }
    let question = question.replace(IMAGE, " ").trim().to_owned();
    if answer.is_empty() {
        return Err(format!("the answer of turn {number} is empty: fill it in or remove the turn"));
    }
    if question.is_empty() && i > 0 {
        return Err(format!("the question of turn {number} is empty: fill it in or remove the turn"));
    }
    Ok(Turn { kind: KINDS[usize::from(question.is_empty())], question, answer })
}
