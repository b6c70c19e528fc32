//! Python's pickles as data: numbers, texts, lists, dictionaries, and `NumPy`'s arrays of bytes. Nothing in them is ever run: what would
//! call anything but the three names that `NumPy`'s arrays are made by is refused.
//!
//! Values are ranges of the file, and no length that the file claims is asked of the memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::tasks::load::{LoadError, wrong};

/// Bytes that a small file's values may take; those of a larger one, as many as the file has.
const LEAST: usize = 1 << 20;
/// What a value takes with its place on the stack and in a list, about; and what another place of it takes.
const VALUE: usize = 64;
const PLACE: usize = 16;

/// Number of a value.
pub(super) type Id = usize;

/// What a name stands for that may be called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Maker {
    Reconstruct,
    Array,
    Type,
}

/// Names that `NumPy`'s arrays are made by; `NumPy` 2 moved one of them.
const MAKERS: [(&str, &str, Maker); 4] = [
    ("numpy.core.multiarray", "_reconstruct", Maker::Reconstruct),
    ("numpy._core.multiarray", "_reconstruct", Maker::Reconstruct),
    ("numpy", "ndarray", Maker::Array),
    ("numpy", "dtype", Maker::Type),
];

/// A value; what is long is where it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    /// Bytes, or a text in UTF-8.
    Text(Range<usize>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Tuple(Vec<Id>),
    /// A `NumPy` array of bytes, row by row.
    Array {
        shape: Vec<usize>,
        data: Range<usize>,
    },
    Maker(Maker),
    /// `NumPy`'s type of bytes.
    ByteType,
}

/// A pickle that was read.
pub(super) struct Pickle {
    values: Vec<Value>,
    top: Id,
}

impl Pickle {
    /// Its outermost value.
    pub(super) fn top(&self) -> &Value {
        &self.values[self.top]
    }

    /// A value by its number.
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }
}

/// Names of the codes, for what is said of those that are refused.
const CODES: [(u8, &str); 26] = [
    (b'0', "POP"),
    (b'1', "POP_MARK"),
    (b'2', "DUP"),
    (b'F', "FLOAT"),
    (b'I', "INT"),
    (b'L', "LONG"),
    (b'P', "PERSID"),
    (b'Q', "BINPERSID"),
    (b'S', "STRING"),
    (b'V', "UNICODE"),
    (b'g', "GET"),
    (b'i', "INST"),
    (b'o', "OBJ"),
    (b'p', "PUT"),
    (0x81, "NEWOBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x8b, "LONG4"),
    (0x8f, "EMPTY_SET"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (0x92, "NEWOBJ_EX"),
    (0x96, "BYTEARRAY8"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
];

struct Reader<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the code in progress stands.
    code: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<usize, Id>,
    taken: usize,
}

/// Reads the pickle in the bytes of a file; `name` is for what is said of it.
///
/// # Errors
/// A code that is no data's, a name that would be called, or a file that is damaged, with the byte where it stands.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Pickle, LoadError> {
    let mut reader = Reader {
        name,
        bytes,
        at: 0,
        code: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        taken: 0,
    };
    while reader.step()? {}
    let top = reader.pop()?;
    Ok(Pickle { values: reader.values, top })
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, LoadError> {
        wrong(format!("{}, byte {}", self.name, self.code), what)
    }

    fn damaged<T>(&self) -> Result<T, LoadError> {
        self.wrong("its pickle is damaged: a value is missing there, or of another kind")
    }

    fn spend(&mut self, bytes: usize) -> Result<(), LoadError> {
        self.taken += bytes;
        if self.taken > self.bytes.len().max(LEAST) {
            return self.wrong("its pickle has far more values than a batch of pictures has");
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<Range<usize>, LoadError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return self.wrong("its pickle is cut off: the file ends before this value does") };
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// A number of at most eight bytes, the lowest first, without a sign.
    fn number(&mut self, len: usize) -> Result<u64, LoadError> {
        let range = self.take(len)?;
        Ok(self.bytes[range].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A line of a name.
    fn line(&mut self) -> Result<&'a str, LoadError> {
        let bytes: &'a [u8] = self.bytes;
        let rest = &bytes[self.at..];
        let Some(len) = rest.iter().position(|byte| *byte == b'\n') else { return self.damaged() };
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).or_else(|_| self.damaged())
    }

    fn push(&mut self, value: Value) -> Result<(), LoadError> {
        self.spend(VALUE)?;
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), LoadError> {
        let len = self.number(width)?;
        let range = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        self.push(Value::Text(range))
    }

    /// The value on top; a mark is none.
    fn pop(&mut self) -> Result<Id, LoadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return self.damaged();
        }
        self.stack.pop().map_or_else(|| self.damaged(), Ok)
    }

    /// What stands above the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, LoadError> {
        let Some(mark) = self.marks.pop() else { return self.damaged() };
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id, LoadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(<[Id]>::last).copied().map_or_else(|| self.damaged(), Ok)
    }

    fn append(&mut self, new: Vec<Id>) -> Result<(), LoadError> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(new),
            _ => return self.damaged(),
        }
        Ok(())
    }

    fn set(&mut self, new: &[Id]) -> Result<(), LoadError> {
        let top = self.top()?;
        let (pairs, []) = new.as_chunks::<2>() else { return self.damaged() };
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return self.damaged(),
        }
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Result<(), LoadError> {
        let mut all = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        all.reverse();
        self.push(Value::Tuple(all))
    }

    fn keep(&mut self, key: usize) -> Result<(), LoadError> {
        self.spend(VALUE)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), LoadError> {
        self.spend(PLACE)?;
        let Some(id) = self.memo.get(&key) else { return self.damaged() };
        self.stack.push(*id);
        Ok(())
    }

    /// A name that would be called.
    fn named(&mut self, module: &str, name: &str) -> Result<(), LoadError> {
        match MAKERS.iter().find(|(m, n, _)| (*m, *n) == (module, name)) {
            Some((.., maker)) => self.push(Value::Maker(*maker)),
            None => {
                let (module, name) = (shown(module), shown(name));
                self.wrong(format!(
                    "its pickle would call {module}.{name}, and no pickle is run here: only NumPy arrays of bytes are read. If you trust the file, write it anew without that"
                ))
            }
        }
    }

    /// The text of a value, for a name.
    fn said(&self, id: Id) -> Result<&'a str, LoadError> {
        let bytes: &'a [u8] = self.bytes;
        let Value::Text(range) = &self.values[id] else { return self.damaged() };
        std::str::from_utf8(&bytes[range.clone()]).or_else(|_| self.damaged())
    }

    fn size(&self, id: Id) -> Result<usize, LoadError> {
        match self.values[id] {
            Value::Int(size) => usize::try_from(size).or_else(|_| self.damaged()),
            _ => self.damaged(),
        }
    }

    /// What a call makes of its arguments.
    fn reduce(&mut self) -> Result<(), LoadError> {
        let (given, maker) = (self.pop()?, self.pop()?);
        let (Value::Maker(maker), Value::Tuple(given)) = (&self.values[maker], &self.values[given]) else {
            return self.wrong("its pickle would call a value (REDUCE), and no pickle is run here");
        };
        let first = given.first().map(|id| &self.values[*id]);
        match (maker, first, given.first()) {
            (Maker::Reconstruct, Some(Value::Maker(Maker::Array)), _) => {
                self.push(Value::Array { shape: Vec::new(), data: 0..0 })
            }
            (Maker::Type, Some(Value::Text(_)), Some(id)) => match self.said(*id)?.trim_start_matches('|') {
                "u1" | "uint8" | "B" => self.push(Value::ByteType),
                other => {
                    let other = shown(other);
                    self.wrong(format!(
                        "its pickle has a NumPy array of type {other}, and arrays of bytes (u1) are read"
                    ))
                }
            },
            _ => self.wrong("its pickle would call one of NumPy's names otherwise than for an array of bytes (REDUCE)"),
        }
    }

    /// Fills what a call has made.
    fn build(&mut self) -> Result<(), LoadError> {
        let (state, made) = (self.pop()?, self.top()?);
        match (&self.values[made], &self.values[state]) {
            // The order of the bytes of one.
            (Value::ByteType, Value::Tuple(_)) => Ok(()),
            (Value::Array { .. }, Value::Tuple(state)) => {
                let [_, shape, of, by_columns, data] = state[..] else { return self.damaged() };
                let (Value::Tuple(shape), Value::ByteType, Value::Text(data)) =
                    (&self.values[shape], &self.values[of], &self.values[data])
                else {
                    return self.wrong("its pickle has a NumPy array that is none of bytes");
                };
                let shape = shape.iter().map(|id| self.size(*id)).collect::<Result<Vec<_>, _>>()?;
                let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
                let data = data.clone();
                if count != Some(data.len()) {
                    let len = data.len();
                    return self.wrong(format!("its pickle has a NumPy array of shape {shape:?} with {len} bytes"));
                }
                if shape.len() > 1 && self.is_true(by_columns) {
                    return self.wrong("its pickle has a NumPy array that stands column by column, and rows are read");
                }
                self.values[made] = Value::Array { shape, data };
                Ok(())
            }
            _ => self.wrong("its pickle would set an object up (BUILD), and no pickle is run here"),
        }
    }

    fn is_true(&self, id: Id) -> bool {
        match &self.values[id] {
            Value::Int(number) => *number != 0,
            Value::Bool => true,
            _ => false,
        }
    }

    /// The next code. False: the last one.
    fn step(&mut self) -> Result<bool, LoadError> {
        self.code = self.at;
        let Some(code) = self.bytes.get(self.at).copied() else {
            return self.wrong("its pickle is cut off: the file ends before the pickle does");
        };
        self.at += 1;
        match code {
            b'.' => return Ok(false),
            // The version; how long a frame is, which changes nothing.
            0x80 | 0x95 => {
                self.take(if code == 0x80 { 1 } else { 8 })?;
            }
            b'(' => {
                self.spend(PLACE)?;
                self.marks.push(self.stack.len());
            }
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool)?,
            // False: nothing that is read here needs to know it from none.
            0x89 => self.push(Value::Int(0))?,
            b'K' | b'M' => {
                let number = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(number as i64))?;
            }
            b'J' => {
                let number = self.number(4)? as u32;
                self.push(Value::Int(i64::from(number as i32)))?;
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Float)?;
            }
            b'U' | b'C' | 0x8c => self.text(1)?,
            b'T' | b'B' | b'X' => self.text(4)?,
            0x8d | 0x8e => self.text(8)?,
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b')' => self.tuple(0)?,
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.named(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.said(module)?, self.said(name)?);
                self.named(module, name)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let (module, name) = (shown(module), shown(name));
                return self.wrong(format!("its pickle would call {module}.{name} (INST), and no pickle is run here"));
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            _ => self.gather(code)?,
        }
        Ok(true)
    }

    /// Codes that put values together, or move them.
    fn gather(&mut self, code: u8) -> Result<(), LoadError> {
        match code {
            b'l' | b't' | b'e' | b'u' | b'd' => {
                let all = self.since_mark()?;
                match code {
                    b'l' => self.push(Value::List(all)),
                    b't' => self.push(Value::Tuple(all)),
                    b'e' => self.append(all),
                    b'u' => self.set(&all),
                    _ => {
                        self.push(Value::Dict(Vec::new()))?;
                        self.set(&all)
                    }
                }
            }
            b'a' => {
                let new = self.pop()?;
                self.append(vec![new])
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            b'q' | b'r' => {
                let key = self.number(if code == b'q' { 1 } else { 4 })?;
                self.keep(key as usize)
            }
            0x94 => self.keep(self.memo.len()),
            b'h' | b'j' => {
                let key = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(key as usize)
            }
            _ => {
                let known = CODES.iter().find(|(known, _)| *known == code);
                let said = known.map_or_else(|| format!("code 0x{code:02x}"), |(_, name)| (*name).to_owned());
                self.wrong(format!(
                    "its pickle has {said}: numbers, texts, lists, dictionaries, tuples and NumPy arrays of bytes in Python's binary form are read, and nothing is run"
                ))
            }
        }
    }

    /// A whole number of any length, of which eight bytes are read.
    fn long(&mut self) -> Result<(), LoadError> {
        let len = self.number(1)? as usize;
        if len > 8 {
            return self.wrong("its pickle has a number of more than eight bytes");
        }
        let value = self.number(len)?;
        let spare = 64 - 8 * len as u32;
        // Signed, whatever its length; nothing is zero.
        let value = if len == 0 { 0 } else { ((value << spare) as i64) >> spare };
        self.push(Value::Int(value))
    }
}

/// A name of the file as a sentence can have it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
