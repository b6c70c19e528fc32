//! Headers that are right, and each way in which one can be wrong.

use super::*;
use crate::platform::block_on;

/// A safetensors file: its header as text, and its data.
pub(in crate::model::files) fn file(name: &str, header: &str, data: &[u8]) -> Blob {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    Blob::memory(name, bytes)
}

/// An entry of a header.
pub(in crate::model::files) fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn read_entries(entries: &[String], data: usize) -> Result<Header, FilesError> {
    block_on(read(&file("f.safetensors", &format!("{{{}}}", entries.join(",")), &vec![0; data])))
}

/// The sentence of a header of these entries over 8 bytes of data.
fn fault(entries: &[String]) -> String {
    let text = read_entries(entries, 8).unwrap_err().to_string();
    assert!(text.contains("f.safetensors"), "{text}");
    text
}

fn has(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|p| text.contains(p)), "{text}\nlacks one of {parts:?}");
}

#[test]
fn types_are_listed_in_their_order() {
    for (i, (dtype, name, bytes)) in FileDType::ALL.into_iter().enumerate() {
        assert_eq!(dtype as usize, i);
        assert_eq!((FileDType::named(name), dtype.name(), dtype.bytes()), (Some(dtype), name, bytes));
    }
    assert_eq!(FileDType::named("F4"), None);
}

#[test]
fn values_of_every_weight_type() {
    for (dtype, bytes, want) in [
        (FileDType::F32, &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0][..], [1.0, -2.5]),
        (FileDType::F16, &[0, 0x3c, 0, 0xc1], [1.0, -2.5]),
        (FileDType::BF16, &[0x80, 0x3f, 0x20, 0xc0], [1.0, -2.5]),
        (FileDType::I32, &[1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff], [1.0, -2.0]),
    ] {
        assert_eq!(dtype.values(bytes).unwrap(), want, "{dtype}");
    }
    assert_eq!(FileDType::F8E4M3.values(&[0]), None);
}

#[test]
fn a_header_gives_places_from_the_start_of_the_file() {
    let entries = [
        r#""__metadata__":{"format":"pt"}"#.to_owned(),
        // Not in the order of the data, one without elements, one without dimensions.
        entry("b", "F16", "[1,3]", 2, 8),
        entry("empty", "F32", "[0,9]", 2, 2),
        entry("a", "U8", "[2]", 0, 2),
    ];
    let header = format!("{{{}}}  ", entries.join(","));
    let blob = file("f.safetensors", &header, &[1; 8]);
    let base = 8 + header.len() as u64;
    let got = block_on(read(&blob)).unwrap();
    assert_eq!(got.metadata["format"], "pt");
    assert_eq!(got.tensors["b"], TensorInfo { dtype: FileDType::F16, shape: vec![1, 3], start: base + 2, bytes: 6 });
    assert_eq!((got.tensors["a"].start, got.tensors["empty"].bytes, got.tensors.len()), (base, 0, 3));
    let scalar = read_entries(&[entry("s", "F64", "[]", 0, 8)], 8).unwrap();
    assert_eq!(scalar.tensors["s"].shape, [0; 0]);
    assert!(read_entries(&[], 0).unwrap().tensors.is_empty());
}

#[test]
fn lengths_are_compared_with_the_file() {
    let error = |bytes: &[u8]| block_on(read(&Blob::memory("f.safetensors", bytes))).unwrap_err();
    assert_eq!(error(b"1234567"), FilesError::Short { file: "f.safetensors".into(), len: 7 });
    for claimed in [3, 90_000_000, 200_000_000, u64::MAX] {
        let mut bytes = u64::to_le_bytes(claimed).to_vec();
        bytes.extend(b"{}");
        let text = error(&bytes).to_string();
        has(&text, &["f.safetensors", &format!("{claimed} bytes"), "at most 2 are"]);
    }
}

#[test]
fn text_that_is_no_header_is_named() {
    let error = |header: &str| block_on(read(&file("f.safetensors", header, b""))).unwrap_err().to_string();
    for (header, part) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "the header of a safetensors file"),
        ("{} {}", "trailing"),
        (r#"{"a":3}"#, "a: invalid type"),
        (r#"{"a":{"dtype":"F32","shape":[]}}"#, "a: missing field `data_offsets`"),
        (r#"{"a":{"dtype":"F32","dtype":"F16"}}"#, "a: duplicate field"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, "integer `-1`"),
        (r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,0]}}"#, "1.5"),
        (r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0]}}"#, "array of length 2"),
        (r#"{"__metadata__":{"a":1}}"#, "__metadata__: invalid type"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#, "__metadata__ twice"),
    ] {
        has(&error(header), &["f.safetensors is damaged", part]);
    }
    let deep = format!(r#"{{"a":{}"#, "[".repeat(1_000_000));
    has(&error(&deep), &["f.safetensors is damaged", "a: "]);
    let deep = format!(r#"{{"a":{{"x":{}"#, r#"{"x":"#.repeat(1_000_000));
    has(&error(&deep), &["f.safetensors is damaged"]);
    let broad = format!(r#"{{"a":{{"dtype":"U8","shape":[{}1],"data_offsets":[0,1]}}}}"#, "1,".repeat(1000));
    has(&error(&broad), &["more than 16 dimensions"]);
    has(&block_on(read(&Blob::memory("f", *b"\x02\0\0\0\0\0\0\0{\xff"))).unwrap_err().to_string(), &["f is damaged"]);
    // Names of any length and content leave a short sentence of one line.
    let long = format!(r#"{{"a\n\u001b{}":3}}"#, "x".repeat(1_000_000));
    let text = error(&long);
    assert!(text.len() < 700 && !text.contains(['\n', '\x1b']) && text.contains("a??xx"), "{text}");
}

#[test]
fn tensors_that_contradict_the_file_are_named() {
    has(&fault(&[entry("a", "F4", "[8]", 0, 8)]), &["tensor a", "unknown type F4"]);
    has(&fault(&[entry("a", "F32", "[3]", 0, 8)]), &["tensor a", "[3]", "F32", "8 bytes"]);
    has(&fault(&[entry("a", "F32", "[2]", 8, 0)]), &["tensor a", "8..0 of 8 bytes"]);
    has(&fault(&[entry("a", "F32", "[4]", 0, 16)]), &["tensor a", "0..16 of 8 bytes"]);
    has(&fault(&[entry("a", "U8", "[9]", u64::MAX - 8, u64::MAX)]), &["of 8 bytes"]);
    // Sizes whose product does not fit.
    let half = 1_u64 << 63;
    for shape in
        [format!("[{half}]"), format!("[{half},2]"), "[4294967296,4294967296]".into(), format!("[{half},{half},0]")]
    {
        has(&fault(&[entry("a", "F16", &shape, 0, 8)]), &["tensor a", "does not have 8 bytes"]);
    }
    let twice = [entry("a", "U8", "[4]", 0, 4), entry("a", "U8", "[4]", 4, 8)];
    has(&fault(&twice), &["two tensors called a"]);
    let over = [entry("a", "U8", "[5]", 0, 5), entry("b", "U8", "[4]", 4, 8)];
    has(&fault(&over), &["tensors b and a overlap at byte 4"]);
    let inside = [entry("a", "U8", "[8]", 0, 8), entry("b", "U8", "[0]", 4, 4)];
    has(&fault(&inside), &["tensors b and a overlap at byte 4"]);
    let hole = [entry("a", "U8", "[3]", 0, 3), entry("b", "U8", "[4]", 4, 8)];
    has(&fault(&hole), &["bytes 3..4"]);
    has(&fault(&[entry("a", "U8", "[7]", 0, 7)]), &["bytes 7..8"]);
    has(&fault(&[entry("a", "U8", "[7]", 1, 8)]), &["bytes 0..1"]);
    has(&fault(&[]), &["bytes 0..8"]);
}
