//! Floats as JSON, which has no words for NaN and infinity: a number where it is one, else a text, and both come back. `null`
//! is what older programs wrote for all of them; it is read as NaN.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A float that JSON can say.
pub struct Number<T>(T);

/// What floats are made of, and what is made of floats.
pub trait Floats: Sized {
    /// The same, as JSON says it.
    type Json: Serialize + DeserializeOwned;
    /// To be written.
    fn written(&self) -> Self::Json;
    /// As it was read.
    fn read(json: Self::Json) -> Self;
}

/// For `#[serde(with = "..")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Floats, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.written().serialize(to)
}

/// For `#[serde(with = "..")]`.
///
/// # Errors
/// Neither a number nor one of the texts.
pub fn deserialize<'de, T: Floats, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::Json::deserialize(from).map(T::read)
}

const WORDS: [(&str, f64); 3] = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

fn word(value: f64) -> Option<&'static str> {
    WORDS.iter().find(|(_, v)| v.total_cmp(&value).is_eq() || v.is_nan() && value.is_nan()).map(|(word, _)| *word)
}

/// Reads a float of either size.
struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = f64;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }
    fn visit_unit<E: Error>(self) -> Result<f64, E> {
        Ok(f64::NAN)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        let known = WORDS.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl Serialize for Number<f32> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match word(self.0.into()) {
            Some(word) => word.serialize(to),
            None => self.0.serialize(to),
        }
    }
}

impl Serialize for Number<f64> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match word(self.0) {
            Some(word) => word.serialize(to),
            None => self.0.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Number<f32> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(from.deserialize_any(AnyNumber)? as f32))
    }
}

impl<'de> Deserialize<'de> for Number<f64> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(from.deserialize_any(AnyNumber)?))
    }
}

impl Floats for f32 {
    type Json = Number<Self>;
    fn written(&self) -> Number<Self> {
        Number(*self)
    }
    fn read(json: Number<Self>) -> Self {
        json.0
    }
}

impl Floats for f64 {
    type Json = Number<Self>;
    fn written(&self) -> Number<Self> {
        Number(*self)
    }
    fn read(json: Number<Self>) -> Self {
        json.0
    }
}

impl<T: Floats> Floats for Vec<T> {
    type Json = Vec<T::Json>;
    fn written(&self) -> Self::Json {
        self.iter().map(T::written).collect()
    }
    fn read(json: Self::Json) -> Self {
        json.into_iter().map(T::read).collect()
    }
}

impl<K: Clone + Serialize + DeserializeOwned, T: Floats> Floats for (K, T) {
    type Json = (K, T::Json);
    fn written(&self) -> Self::Json {
        (self.0.clone(), self.1.written())
    }
    fn read(json: Self::Json) -> Self {
        (json.0, T::read(json.1))
    }
}

impl<T: Floats> Floats for BTreeMap<String, T> {
    type Json = BTreeMap<String, T::Json>;
    fn written(&self) -> Self::Json {
        self.iter().map(|(key, value)| (key.clone(), value.written())).collect()
    }
    fn read(json: Self::Json) -> Self {
        json.into_iter().map(|(key, value)| (key, T::read(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super")]
        one: f64,
        #[serde(with = "super")]
        many: Vec<(String, f32)>,
    }

    #[test]
    fn every_float_comes_back() {
        for value in [0.1, -0.0, f32::MIN_POSITIVE / 4.0, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let both = Both { one: value.into(), many: vec![("a".into(), value)] };
            let text = serde_json::to_string(&both).unwrap();
            let back: Both = serde_json::from_str(&text).unwrap();
            assert_eq!(back.one.to_bits(), f64::from(value).to_bits(), "{text}");
            assert_eq!(back.many[0].1.to_bits(), value.to_bits(), "{text}");
        }
        let old: Both = serde_json::from_str(r#"{"one": null, "many": [["a", 3]]}"#).unwrap();
        assert!(old.one.is_nan() && old.many[0].1 == 3.0);
        assert!(serde_json::from_str::<Both>(r#"{"one": "nan", "many": []}"#).is_err());
    }
}
