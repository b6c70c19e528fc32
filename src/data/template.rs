//! What chat templates may do: the functions that transformers gives them, what of Jinja the library lacks, and bounds. A
//! template comes with a model from anywhere; whatever it does ends soon, in little memory.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, escape_formatter};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::strftime::strftime;
use crate::platform::local_time;

/// Steps and 64-byte pieces of text that a template may take: one that never ends must not keep a page waiting.
const FUEL: u64 = 1_500_000;
/// Words and signs that one tag may have: each may nest the parser by a level, and stacks are finite.
const TAG: usize = 2000;
/// Levels of a value: whatever walks one takes a piece of the stack for each.
const LEVELS: usize = 64;
/// Parts of a value, those inside parts counted.
const PARTS: usize = 20_000;
/// Parts of what is repeated, as in `[x] * 3`.
const REPEATED: usize = 100;

fn too_much(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutOfFuel, what.into())
}

/// The template with what the library lacks, and with a look at every value that is kept under a name: lists of lists and
/// namespaces that hold themselves grow without bound, and no step of that is expensive.
pub(super) fn prepared(source: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(source.len() * 5 / 4);
    let mut rest = source;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let len = if tag.starts_with("{#") { tag.find("#}").map_or(tag.len(), |end| end + 2) } else { length(tag) };
        let (tag, after) = tag.split_at(len);
        rest = after;
        if tag.starts_with("{#") {
            out.push_str(tag);
            continue;
        }
        let body = tag.get(2..tag.len().saturating_sub(2)).unwrap_or_default();
        measure(body)?;
        if tag.starts_with("{{") || !tag.ends_with("%}") {
            out.push_str(&with_repeats(tag)?);
            continue;
        }
        let statement = body.trim_matches(['-', '+']).trim();
        let word = statement.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        match statement {
            // Marks what the model is trained to say; rendering passes over it.
            "generation" => out.push_str(&tag.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen(word, "endif", 1)),
            _ => out.push_str(&with_repeats(tag)?),
        }
        if statement == "raw" {
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        let trim = if body.ends_with('-') {
            "-"
        } else if body.ends_with('+') {
            "+"
        } else {
            ""
        };
        for name in names(word, statement[word.len()..].trim_start()) {
            out.push_str(&format!("{{% do _look({name}) {trim}%}}"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Bytes of the tag that a text begins with, `}}` or `%}` included.
fn length(tag: &str) -> usize {
    let block = tag.starts_with("{%");
    let (mut braces, mut quote, mut before) = (0, None, ' ');
    for (i, c) in tag.char_indices().skip(2) {
        let mut seen = c;
        match (quote, c) {
            (Some(q), _) => quote = Some(q).filter(|q| before == '\\' || c != *q),
            (None, '\'' | '"') => quote = Some(c),
            (None, '}') if before == if block { '%' } else { '}' } => return i + 1,
            (None, '{') => braces += 1,
            // One that closes a dictionary closes no tag.
            (None, '}') if braces > 0 => (braces, seen) = (braces - 1, ' '),
            _ => {}
        }
        // A backslash that is escaped escapes nothing.
        before = if before == '\\' && c == '\\' { ' ' } else { seen };
    }
    tag.len()
}

/// The characters of a tag that stand outside quotes, with their places.
fn outside(body: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut before) = (None, ' ');
    body.char_indices().filter(move |(_, c)| {
        let inside = quote.is_some();
        match quote {
            Some(q) => quote = Some(q).filter(|q| before == '\\' || c != q),
            None => quote = Some(*c).filter(|c| matches!(c, '\'' | '"')),
        }
        before = if before == '\\' && *c == '\\' { ' ' } else { *c };
        !inside
    })
}

/// Refuses a tag with more than [`TAG`] words and signs. What stands between quotes counts once.
fn measure(body: &str) -> Result<(), Error> {
    let (mut word, mut count) = (false, 0);
    for (_, c) in outside(body) {
        let part = c.is_alphanumeric() || c == '_';
        count += usize::from(!(c.is_whitespace() || part && word));
        word = part;
    }
    let text = format!("a tag has more than {TAG} words and signs");
    if count > TAG { Err(Error::new(ErrorKind::SyntaxError, text)) } else { Ok(()) }
}

/// A tag with a look at what stands before each `*`, and behind it where that is a name.
fn with_repeats(tag: &str) -> Result<String, Error> {
    let places: Vec<(usize, char)> = outside(tag).collect();
    let (mut out, mut from) = (String::with_capacity(tag.len()), 0);
    for (i, (at, c)) in places.iter().enumerate() {
        let power = places.get(i + 1).is_some_and(|n| n.1 == '*') || i > 0 && places[i - 1].1 == '*';
        // Behind a bracket or a comma it stands for all arguments.
        let value = tag[..*at].trim_end().ends_with(|c: char| c.is_alphanumeric() || "_)]}'\"".contains(c));
        if *c != '*' || power || !value || *at < from {
            continue;
        }
        let right = tag[at + 1..].trim_start();
        if right.trim_start_matches(['(', ' ']).starts_with('[') {
            let text = "a list stands behind a *: write it before, as in [x] * 3";
            return Err(Error::new(ErrorKind::SyntaxError, text));
        }
        let name = right.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(0);
        let plain = !right[name..].trim_start().starts_with(['(', '[', '.']);
        let named = plain && right.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let end = tag.len() - right.len() + if named { name } else { 0 };
        out += &tag[from..*at];
        out += "|_repeated ";
        out += &tag[*at..end];
        out += if named { "|_repeated " } else { "" };
        from = end;
    }
    Ok(out + &tag[from..])
}

/// Names that a statement gives values to.
fn names<'a>(word: &str, rest: &'a str) -> Vec<&'a str> {
    let places: Vec<(usize, char)> = outside(rest).collect();
    let before = |c: char| places.iter().find(|p| p.1 == c).map(|p| &rest[..p.0]);
    let list = match word {
        "set" => before('=').unwrap_or_default(),
        "for" => rest.split_once(" in ").map_or("", |(names, _)| names),
        "with" => rest,
        "macro" | "call" => {
            let open = rest.find('(').map_or(rest.len(), |at| at + 1);
            let close = if word == "macro" { rest.rfind(')') } else { rest.find(')') };
            rest.get(open..close.unwrap_or(rest.len())).unwrap_or_default()
        }
        _ => "",
    };
    // Commas inside brackets are between values, whose words do no harm here.
    let (mut out, mut depth, mut from) = (Vec::new(), 0_i32, 0);
    let outer = matches!(word, "with" | "macro" | "call");
    for (at, c) in outside(list).chain([(list.len(), ',')]) {
        depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        if c == ',' && (depth <= 0 || !outer) {
            out.push(&list[from..at]);
            from = at + 1;
        }
    }
    let name =
        |piece: &'a str| piece.split('=').next().unwrap_or_default().trim_matches(['(', ')', ' ', '\t', '\n', '\r']);
    let is_name = |name: &&str| {
        let rest = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(rest) && *name != "caller"
    };
    out.into_iter().map(name).filter(is_name).collect()
}

/// Whether anything is inside.
fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// What is directly inside.
fn inside(value: &Value) -> Box<dyn Iterator<Item = Value> + '_> {
    match value.try_iter() {
        Ok(keys) if value.kind() == ValueKind::Map => {
            Box::new(keys.flat_map(|key| [value.get_item(&key).unwrap_or_default(), key]))
        }
        Ok(items) => Box::new(items),
        Err(_) => Box::new(std::iter::empty()),
    }
}

/// Refuses a value with more parts or levels than it may have. The parts count as steps.
fn look(state: &State<'_, '_>, value: &Value, most: usize) -> Result<(), Error> {
    if !is_container(value) {
        return Ok(());
    }
    let (mut count, mut open) = (0, vec![inside(value).collect_up_to(most)?.into_iter()]);
    while let Some(items) = open.last_mut() {
        let Some(item) = items.next() else {
            open.pop();
            continue;
        };
        count += 1;
        if count > most {
            return Err(too_much(format!("a value has more than {most} parts")));
        }
        if is_container(&item) {
            if open.len() == LEVELS {
                return Err(too_much(format!("a value has more than {LEVELS} levels")));
            }
            open.push(inside(&item).collect_up_to(most)?.into_iter());
        }
    }
    state.consume_fuel(count as u64 / 4)
}

/// So many items at most: lists can be longer than memory, as they are made while they are read.
trait UpTo {
    fn collect_up_to(self, most: usize) -> Result<Vec<Value>, Error>;
}

impl<I: Iterator<Item = Value>> UpTo for I {
    fn collect_up_to(self, most: usize) -> Result<Vec<Value>, Error> {
        let items: Vec<Value> = self.take(most + 1).collect();
        if items.len() > most { Err(too_much(format!("a value has more than {most} parts"))) } else { Ok(items) }
    }
}

/// Whether a format names a number of more than four digits, or takes its widths from arguments that do.
fn is_wide(format: &str, args: &[Value]) -> bool {
    let wide = |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 4);
    let nested = format.split('{').any(|piece| piece.contains(':') && !piece.contains('}'));
    wide(format) || nested && args.iter().any(|a| wide(&a.to_string()))
}

/// The library's settings, functions and filters as transformers has them, with bounds, and the template as `chat`.
pub(super) fn environment(prepared: &str) -> Result<Environment<'_>, Error> {
    let mut all = Environment::new();
    all.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    all.set_fuel(Some(FUEL));
    all.set_formatter(|out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value| {
        look(state, value, PARTS)?;
        escape_formatter(out, state, value)
    });
    all.set_unknown_method_callback(|state, value, method, args| {
        for value in args {
            look(state, value, PARTS)?;
        }
        if method == "format" && value.as_str().is_some_and(|format| is_wide(format, args)) {
            return Err(too_much("a format is wider than 9999 characters"));
        }
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
    all.add_function("_look", |state: &State<'_, '_>, value: Value| look(state, &value, PARTS));
    all.add_filter("_repeated", |state: &State<'_, '_>, value: Value| look(state, &value, REPEATED).map(|()| value));
    all.add_function("raise_exception", |text: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    all.add_function("strftime_now", |format: String| {
        strftime(&format, &local_time()).map_err(|e| Error::new(ErrorKind::SyntaxError, e))
    });
    all.add_filter("tojson", to_json);
    all.add_template("chat", prepared)?;
    Ok(all)
}

/// JSON on one line as Python writes it, with a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

/// The filter `tojson` of transformers: unlike the usual one it leaves `<`, `>`, `&` and `'` as they are.
#[expect(clippy::needless_pass_by_value, reason = "filters get their named arguments like this")]
fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<usize>, rest: Kwargs) -> Result<String, Error> {
    look(state, value, PARTS)?;
    let indent = indent.or(rest.get("indent")?);
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let width = " ".repeat(width.min(16));
            let pretty = PrettyFormatter::with_indent(width.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    let fault = |e: String| Error::new(ErrorKind::BadSerialization, e);
    written.map_err(|e| fault(e.to_string()))?;
    String::from_utf8(out).map_err(|e| fault(e.to_string()))
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
