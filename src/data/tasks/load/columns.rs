//! Columns of Parquet's tables: what they are called, whether one is of the kind that is wanted, and their values as JSON.

use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::record::Field;
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Number, Value};

/// What a column is to be.
#[derive(Clone, Copy)]
pub(super) enum Want {
    Text,
    /// A text or a whole number.
    Id,
    Whole,
    Texts,
    /// Texts, or structs with one.
    Answers,
    Picture,
}

impl Want {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Id => "string or int64",
            Self::Whole => "int8",
            Self::Texts => "list of string",
            Self::Answers => "list of string, or of struct with a string \"answer\"",
            Self::Picture => "struct of bytes (binary) and path (string)",
        }
    }

    pub(super) fn fits(self, found: &Type) -> bool {
        let is = |found: &Type, kind: &str| kind_of(found) == kind;
        let whole = |found: &Type| ["int", "uint"].iter().any(|start| kind_of(found).starts_with(start));
        match self {
            Self::Text => is(found, "string"),
            Self::Id => is(found, "string") || whole(found),
            Self::Whole => whole(found),
            Self::Texts => element(found).is_some_and(|inner| is(inner, "string")),
            Self::Answers => element(found).is_some_and(|inner| {
                is(inner, "string") || child(inner, "answer").is_some_and(|answer| is(answer, "string"))
            }),
            Self::Picture => child(found, "bytes").is_some_and(|bytes| is(bytes, "binary")),
        }
    }
}

fn repeats(of: &Type) -> bool {
    let info = of.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

/// A field of a struct.
pub(super) fn child<'a>(of: &'a Type, name: &str) -> Option<&'a TypePtr> {
    let fields = if of.is_group() { of.get_fields() } else { &[] };
    fields.iter().find(|field| field.name() == name)
}

/// What a list is of: it is three levels deep, and its inner names are not the same everywhere.
fn element(of: &Type) -> Option<&TypePtr> {
    if !of.is_group() || of.get_basic_info().converted_type() != ConvertedType::LIST {
        return None;
    }
    let [repeated] = of.get_fields() else { return None };
    let fields = if repeated.is_group() && repeats(repeated) { repeated.get_fields() } else { &[] };
    if let [inner] = fields { Some(inner) } else { None }
}

/// As people who write tables call a type.
pub(super) fn kind_of(of: &Type) -> String {
    if of.is_group() {
        if let Some(inner) = element(of) {
            return format!("list of {}", kind_of(inner));
        }
        let names: Vec<&str> = of.get_fields().iter().map(|field| field.name()).collect();
        return format!("struct of {}", names.join(", "));
    }
    if repeats(of) {
        return "repeated".to_owned();
    }
    let name = match (of.get_physical_type(), of.get_basic_info().converted_type()) {
        (Physical::BOOLEAN, _) => "bool",
        (_, ConvertedType::INT_8) => "int8",
        (_, ConvertedType::INT_16) => "int16",
        (_, ConvertedType::UINT_8) => "uint8",
        (_, ConvertedType::UINT_16) => "uint16",
        (_, ConvertedType::UINT_32) => "uint32",
        (_, ConvertedType::UINT_64) => "uint64",
        (Physical::INT32, ConvertedType::NONE | ConvertedType::INT_32) => "int32",
        (Physical::INT64, ConvertedType::NONE | ConvertedType::INT_64) => "int64",
        (Physical::FLOAT, _) => "float32",
        (Physical::DOUBLE, _) => "float64",
        (Physical::BYTE_ARRAY, ConvertedType::UTF8) => "string",
        (Physical::BYTE_ARRAY, ConvertedType::NONE) => "binary",
        (physical, converted) => return format!("{physical} ({converted})").to_lowercase(),
    };
    name.to_owned()
}

/// Has it a form in JSON? Of what has none (dates, other pictures) nothing is asked.
pub(super) fn is_json(of: &Type) -> bool {
    const KINDS: [&str; 12] = [
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
        "string",
    ];
    if !of.is_group() {
        return KINDS.contains(&kind_of(of).as_str());
    }
    if let Some(inner) = element(of) {
        return is_json(inner);
    }
    of.get_basic_info().converted_type() == ConvertedType::NONE
        && !repeats(of)
        && !of.get_fields().is_empty()
        && of.get_fields().iter().all(|field| is_json(field))
}

pub(super) fn json_of(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => Number::from_f64(value.into()).map_or(Value::Null, Value::Number),
        Field::Double(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        Field::Str(value) => value.into(),
        Field::Group(row) => row.into_columns().into_iter().map(|(name, field)| (name, json_of(field))).collect(),
        Field::ListInternal(list) => list.elements().iter().cloned().map(json_of).collect(),
        other => other.to_string().into(),
    }
}
