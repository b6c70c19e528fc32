//! JSON that is not trusted: objects whose keys must differ, lists of bounded length, typed keys of a configuration.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::{FilesError, cut, shown};
use crate::data::json;

/// An object whose keys must differ. (A map alone would keep the last of two equal keys silently.)
pub(super) struct Entries<T> {
    pub(super) map: BTreeMap<String, T>,
    /// A key that is there twice.
    pub(super) twice: Option<String>,
}

impl<T> Entries<T> {
    pub(super) fn new() -> Self {
        Self { map: BTreeMap::new(), twice: None }
    }

    /// Reads the value of `key` from a parser that has just read the key.
    pub(super) fn read<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>
    where
        T: Deserialize<'de>,
    {
        let value = map.next_value().map_err(|e| A::Error::custom(format!("{}: {}", shown(&key), brief(&e))))?;
        match self.map.entry(key) {
            Entry::Occupied(first) => self.twice = Some(first.key().clone()),
            Entry::Vacant(place) => drop(place.insert(value)),
        }
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = Entries::new();
                while let Some(key) = map.next_key()? {
                    out.read(key, &mut map)?;
                }
                Ok(out)
            }
        }
        from.deserialize_map(All(PhantomData))
    }
}

/// A shape of at most [`DIMENSIONS`] numbers.
pub(super) struct Dimensions(pub(super) Vec<u64>);

/// Most dimensions of a tensor.
const DIMENSIONS: usize = 16;

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Dimensions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shape: a list of whole numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(size) = list.next_element::<u64>()? {
                    if out.len() == DIMENSIONS {
                        return Err(A::Error::custom(format!("a shape has more than {DIMENSIONS} dimensions")));
                    }
                    out.push(size);
                }
                Ok(Dimensions(out))
            }
        }
        from.deserialize_seq(Few)
    }
}

/// What a parser says, cut: it may quote the file.
pub(super) fn brief(e: &impl ToString) -> String {
    cut(&e.to_string(), 400)
}

/// Reads JSON of the file `file`.
pub(super) fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, FilesError> {
    let damaged = |reason: String| FilesError::Json { file: shown(file), reason };
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(brief(&e)))?;
    json::parse(text).map_err(|e| damaged(brief(&e)))
}

/// An object of a configuration; `null` counts as absent.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    map: &'a Map<String, Value>,
    file: &'a str,
    /// What stands before a key in sentences: nothing, or `text_config.`.
    at: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of `value` in `file`, which must be an object.
    pub(super) fn of(value: &'a Value, file: &'a str, at: &'a str) -> Result<Self, FilesError> {
        let wrong =
            || FilesError::Config { file: file.to_owned(), text: format!("{at} is no object of keys and values") };
        Ok(Self { map: value.as_object().ok_or_else(wrong)?, file, at })
    }

    /// An error about a key.
    pub(super) fn fault(&self, key: &str, text: &str) -> FilesError {
        FilesError::Config { file: self.file.to_owned(), text: format!("{}{key} {text}", self.at) }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// Is the key there, if only with `null`?
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Is any value itself an object?
    pub(super) fn is_nested(&self) -> bool {
        self.map.values().any(Value::is_object)
    }

    /// Keys of an object inside; `at` stands before them in sentences.
    pub(super) fn object(&self, key: &str, at: &'a str) -> Result<Option<Self>, FilesError> {
        self.value(key).map(|v| Self::of(v, self.file, at)).transpose()
    }

    fn typed<T>(&self, key: &str, what: &str, f: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, FilesError> {
        let wrong = |v: &Value| self.fault(key, &format!("is {}, {what} is expected", shown(&v.to_string())));
        self.value(key).map(|v| f(v).ok_or_else(|| wrong(v))).transpose()
    }

    /// A whole number from 0 on.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, FilesError> {
        self.typed(key, "a whole number from 0 on", |v| usize::try_from(v.as_u64()?).ok())
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, FilesError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, FilesError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, FilesError> {
        self.typed(key, "a text", Value::as_str)
    }

    /// All texts, in their order.
    pub(super) fn texts(self) -> Vec<String> {
        self.map.values().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A token id, or a list of them.
    pub(super) fn ids(&self, key: &str) -> Result<Option<Vec<u32>>, FilesError> {
        let id = |v: &Value| u32::try_from(v.as_u64()?).ok();
        self.typed(key, "a token id or a list of token ids", |v| match v {
            Value::Array(list) => list.iter().map(id).collect(),
            _ => Some(vec![id(v)?]),
        })
    }
}
