//! What chat templates may do: the functions that transformers gives them, what of Jinja the library lacks, and bounds. A
//! template comes with a model from anywhere; whatever it does ends soon, in little memory.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, escape_formatter};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::strftime::strftime;
use crate::platform::local_time;

/// Steps and 64-byte pieces of text that a template may take: one that never ends must not keep a page waiting.
const FUEL: u64 = 1_500_000;
/// Words and signs that one tag may have: each may nest the parser by a level, and stacks are finite.
const TAG: usize = 2000;
/// Levels of brackets in a tag, and of statements inside statements.
const BRACKETS: usize = 60;
/// Tags, and those of them that are `elif`, each of which nests the parser.
const TAGS: [usize; 2] = [5000, 300];
/// Bytes that a method of a text can make of it at once.
const MADE: usize = 16 << 20;
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
    // As Jinja reads files that were written on Windows.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len() * 5 / 4);
    let (mut rest, mut tags, mut open) = (source.as_str(), [0, 0], 0_usize);
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
        tags = [tags[0] + 1, tags[1] + usize::from(word == "elif")];
        match word {
            "if" | "for" | "macro" | "call" | "filter" | "with" | "block" => open += 1,
            _ if word.starts_with("end") => open = open.saturating_sub(1),
            _ => {}
        }
        if tags[0] > TAGS[0] || tags[1] > TAGS[1] || open > BRACKETS {
            let text =
                format!("it has more than {} statements, {} of elif, or {BRACKETS} inside another", TAGS[0], TAGS[1]);
            return Err(Error::new(ErrorKind::SyntaxError, text));
        }
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
    let end = if tag.starts_with("{%") { '%' } else { '}' };
    let (mut braces, mut before) = (0, ' ');
    for (i, c) in outside(&tag[2..]) {
        let mut seen = c;
        match c {
            '}' if before == end => return 2 + i + 1,
            '{' => braces += 1,
            // One that closes a dictionary closes no tag.
            '}' if braces > 0 => (braces, seen) = (braces - 1, ' '),
            _ => {}
        }
        before = seen;
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

/// Refuses a tag with more than [`TAG`] words and signs or [`BRACKETS`]. What stands between quotes counts once.
fn measure(body: &str) -> Result<(), Error> {
    let (mut word, mut count, mut depth, mut deepest) = (false, 0, 0_i64, 0);
    for (_, c) in outside(body) {
        depth += i64::from("([{".contains(c)) - i64::from(")]}".contains(c));
        deepest = deepest.max(depth);
        let part = c.is_alphanumeric() || c == '_';
        count += usize::from(!(c.is_whitespace() || part && word));
        word = part;
    }
    let text = match (count > TAG, deepest > BRACKETS as i64) {
        (true, _) => format!("a tag has more than {TAG} words and signs"),
        (_, true) => format!("a tag has more than {BRACKETS} levels of brackets"),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::SyntaxError, text))
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

/// Bytes that a method makes of a text, at most.
fn made_of(method: &str, text: &str, args: &[Value]) -> usize {
    let len = |i: usize| args.get(i).and_then(Value::as_str).map_or(0, str::len);
    match method {
        "format" => text.len().saturating_add(text.matches('{').count() * if text.contains(':') { 9999 } else { 0 }),
        "replace" if len(0) == 0 => (text.len() + 1).saturating_mul(len(1) + 1),
        "replace" => (text.len() / len(0)).saturating_mul(len(1)),
        "join" => {
            let items = args.first().and_then(|list| list.try_iter().ok());
            items.map_or(0, |all| all.map(|v| v.as_str().map_or(0, str::len) + text.len()).sum())
        }
        _ => 0,
    }
}

fn list(parts: &[&str]) -> Value {
    parts.iter().map(|part| Value::from(*part)).collect::<Vec<_>>().into()
}

/// Methods of Python's texts that the library lacks.
fn python(method: &str, text: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let arg = |i: usize| args.get(i).and_then(Value::as_str);
    let wide = || args.first().and_then(Value::as_usize).filter(|width| *width < 10_000);
    let fill = |left: usize, right: usize| {
        let fill = arg(1).unwrap_or(" ");
        format!("{}{text}{}", fill.repeat(left), fill.repeat(right))
    };
    let missing = || wide().map(|width| width.saturating_sub(text.chars().count()));
    let made: Value = match method {
        "removeprefix" => text.strip_prefix(arg(0)?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(arg(0)?).unwrap_or(text).into(),
        "partition" => match text.split_once(arg(0)?) {
            Some((before, after)) => list(&[before, arg(0)?, after]),
            None => list(&[text, "", ""]),
        },
        "rpartition" => match text.rsplit_once(arg(0)?) {
            Some((before, after)) => list(&[before, arg(0)?, after]),
            None => list(&["", "", text]),
        },
        "rsplit" if arg(0).is_some_and(|separator| !separator.is_empty()) => {
            let most = args.get(1).and_then(Value::as_usize).unwrap_or(usize::MAX - 1);
            let mut all: Vec<&str> = text.rsplitn(most.saturating_add(1), arg(0)?).collect();
            all.reverse();
            list(&all)
        }
        "index" => match text.find(arg(0)?) {
            Some(at) => text[..at].chars().count().into(),
            None => return Some(Err(Error::new(ErrorKind::InvalidOperation, "substring not found"))),
        },
        "ljust" => fill(0, missing()?).into(),
        "rjust" => fill(missing()?, 0).into(),
        // Of an odd number Python gives the left side one more where the width is odd, too.
        "center" => {
            let (missing, width) = (missing()?, wide()?);
            let left = missing / 2 + (missing & width & 1);
            fill(left, missing - left).into()
        }
        "zfill" => {
            let sign = text.find(|c| c != '+' && c != '-').filter(|at| *at == 1).unwrap_or(0);
            format!("{}{}{}", &text[..sign], "0".repeat(missing()?), &text[sign..]).into()
        }
        "swapcase" => {
            let swap =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            text.chars().map(swap).collect::<String>().into()
        }
        _ => return None,
    };
    Some(Ok(made))
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
        if let Some(text) = value.as_str() {
            if method == "format" && is_wide(text, args) {
                return Err(too_much("a format is wider than 9999 characters"));
            }
            if made_of(method, text, args) > MADE {
                return Err(too_much(format!("{method}() makes more than {MADE} bytes of a text")));
            }
            if let Some(made) = python(method, text, args) {
                return made;
            }
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
    // What has a length and places, texts and maps among them.
    let has_places = |value: &Value| value.as_str().is_some() || is_container(value);
    all.add_test("sequence", has_places);
    all.add_template("chat", prepared)?;
    Ok(all)
}

/// JSON on one line as Python writes it, with what stands between items and behind keys.
struct Spaced {
    item: String,
    key: String,
}

impl Formatter for Spaced {
    fn begin_array_value<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { self.item.as_bytes() })
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { self.item.as_bytes() })
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(self.key.as_bytes())
    }
}

/// On lines that are indented by this, or on one.
fn write_json(
    value: &impl Serialize,
    to: &mut Vec<u8>,
    indent: Option<String>,
    spaced: Spaced,
) -> serde_json::Result<()> {
    match indent {
        Some(width) => {
            value.serialize(&mut Serializer::with_formatter(to, PrettyFormatter::with_indent(width.as_bytes())))
        }
        None => value.serialize(&mut Serializer::with_formatter(to, spaced)),
    }
}

/// The filter `tojson` of transformers, `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`: unlike the
/// usual one it leaves `<`, `>`, `&` and `'` as they are.
#[expect(clippy::needless_pass_by_value, reason = "filters get their arguments like this")]
fn to_json(state: &State<'_, '_>, value: &Value, rest: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    look(state, value, PARTS)?;
    let given = |i: usize, name: &str| -> Result<Option<Value>, Error> {
        let by_name: Option<Value> = named.get(name)?;
        Ok(by_name.or(rest.get(i).cloned()).filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let (ascii, indent, separators) = (given(0, "ensure_ascii")?, given(1, "indent")?, given(2, "separators")?);
    let is_sorted = given(3, "sort_keys")?.is_some_and(|v| v.is_true());
    named.assert_all_used()?;
    let fault = |e: String| Error::new(ErrorKind::BadSerialization, e);
    let mut out = Vec::new();
    let part = |i: usize| Some(separators.as_ref()?.get_item_by_index(i).ok()?.to_string());
    let pretty = indent.as_ref().and_then(Value::as_usize).map(|width| " ".repeat(width.min(16)));
    let default = if pretty.is_some() { "," } else { ", " };
    let spaced = Spaced { item: part(0).unwrap_or(default.to_owned()), key: part(1).unwrap_or(": ".to_owned()) };
    // The library keeps the keys of its own objects in order.
    let ordered = is_sorted.then(|| serde_json::to_value(value)).transpose();
    let written = match ordered.map_err(|e| fault(e.to_string()))? {
        Some(ordered) => write_json(&ordered, &mut out, pretty, spaced),
        None => write_json(value, &mut out, pretty, spaced),
    };
    written.map_err(|e| fault(e.to_string()))?;
    let text = String::from_utf8(out).map_err(|e| fault(e.to_string()))?;
    if !ascii.is_some_and(|v| v.is_true()) {
        return Ok(text);
    }
    let mut units = [0; 2];
    let escaped = |c: char| match c {
        ' '..='~' | '\n' => c.to_string(),
        _ => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    Ok(text.chars().map(escaped).collect())
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
