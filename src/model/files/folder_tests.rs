//! Folders with one file, with several, and with files that contradict each other.

use super::super::header::tests::{entry, file};
use super::*;
use crate::platform::block_on;

fn open(blobs: Vec<Blob>) -> Result<Checkpoint, FilesError> {
    block_on(Checkpoint::open(&Folder::new(blobs).unwrap()))
}

fn fault(blobs: Vec<Blob>, parts: &[&str]) {
    let text = open(blobs).unwrap_err().to_string();
    assert!(parts.iter().all(|p| text.contains(p)), "{text}\nlacks one of {parts:?}");
}

/// A file with one F32 tensor of two values.
fn one(file_name: &str, tensor: &str, values: [f32; 2]) -> Blob {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    file(file_name, &format!("{{{}}}", entry(tensor, "F32", "[2]", 0, 8)), &data)
}

fn index(entries: &[(&str, &str)]) -> Blob {
    let list: Vec<String> = entries.iter().map(|(t, f)| format!("{t:?}:{f:?}")).collect();
    let text = format!(r#"{{"metadata":{{"total_size":16}},"weight_map":{{{}}}}}"#, list.join(","));
    Blob::memory(INDEX, text.into_bytes())
}

const A: &str = "model-00001-of-00002.safetensors";
const B: &str = "model-00002-of-00002.safetensors";

#[test]
fn one_file_by_its_name_or_alone() {
    let c = open(vec![one(WHOLE, "a", [1.0, 2.0]), one("io.safetensors", "b", [3.0, 4.0])]).unwrap();
    assert_eq!(c.tensors().keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(block_on(c.read_values("a")).unwrap(), [1.0, 2.0]);
    assert_eq!(block_on(c.read_bytes("a", 4, 4)).unwrap(), 2.0_f32.to_le_bytes());
    for (start, len) in [(4, 5), (9, 0), (u64::MAX, 2)] {
        let text = block_on(c.read_bytes("a", start, len)).unwrap_err().to_string();
        assert!(text.contains("tensor a has 8 bytes") && text.contains(WHOLE), "{text}");
    }
    assert_eq!(block_on(c.read_values("b")).unwrap_err(), FilesError::NoTensor("b".into()));
    let c = open(vec![one("other.safetensors", "b", [3.0, 4.0])]).unwrap();
    assert_eq!((c.blob(c.tensors()["b"].blob).name(), c.tensors().len()), ("other.safetensors", 1));
    fault(vec![one("x.safetensors", "a", [0.0; 2]), one("y.safetensors", "b", [0.0; 2])], &["x.safetensors, y.safe"]);
    let bytes = file(WHOLE, &format!("{{{}}}", entry("a", "U8", "[1]", 0, 1)), &[7]);
    let text = block_on(open(vec![bytes]).unwrap().read_values("a")).unwrap_err().to_string();
    assert!(text.contains("tensor a is U8") && text.contains(WHOLE), "{text}");
}

#[test]
fn several_files_by_their_index() {
    let (a, b) = (one(A, "a", [1.0, 2.0]), one(B, "b", [3.0, 4.0]));
    let c = open(vec![b.clone(), index(&[("b", B), ("a", A)]), a.clone()]).unwrap();
    assert_eq!(block_on(c.read_values("b")).unwrap(), [3.0, 4.0]);
    assert_eq!(c.blob(c.tensors()["a"].blob).name(), A);

    fault(vec![a.clone(), index(&[("a", A), ("b", B)])], &[INDEX, "not there", B]);
    fault(vec![a.clone(), b.clone(), index(&[("a", B), ("b", B)])], &["a in", B, "does not have it"]);
    fault(vec![a.clone(), index(&[("a", A), ("c", A)])], &["c in", A, "does not have it"]);
    fault(vec![a.clone(), one(B, "a", [0.0; 2]), index(&[("a", A), ("b", B)])], &["tensor a is in", A, B]);
    fault(vec![a.clone(), b.clone(), index(&[("a", A), ("b", B), ("a", B)])], &[INDEX, "two tensors called a"]);
    for name in
        ["../x.safetensors", "/x.safetensors", "C:x.safetensors", "d\\x.safetensors", ".safetensors", "x.bin", ""]
    {
        fault(vec![a.clone(), index(&[("a", name)])], &[INDEX, "only names of", &name.replace('\0', "?")]);
    }
    fault(vec![a.clone(), index(&[])], &[INDEX]);
    fault(vec![Blob::memory(INDEX, *b"{}")], &[INDEX, "weight_map"]);
    fault(vec![Blob::memory(INDEX, *b"{\"weight_map\":{\"a\":[]}}")], &[INDEX, "a: invalid type"]);
    // The fault of a file inside is told with its name.
    fault(vec![a, Blob::memory(B, *b"123"), index(&[("a", A), ("b", B)])], &[B, "3 bytes"]);
}

#[test]
fn a_folder_without_weights_says_what_to_do() {
    fault(vec![], &["no files at all"]);
    fault(vec![Blob::memory("config.json", *b"{}")], &["config.json", "no *.safetensors"]);
    let pickle = || Blob::memory("pytorch_model.bin", *b"PK");
    fault(vec![pickle()], &["pytorch_model.bin", "pickle", "safe_serialization=True"]);
    fault(vec![pickle(), index(&[])], &["pickle"]);
    assert!(open(vec![pickle(), one(WHOLE, "a", [0.0; 2])]).is_ok());
    let twice = Folder::new([pickle(), pickle()]).unwrap_err().to_string();
    assert!(twice.contains("pytorch_model.bin"), "{twice}");
}

#[test]
fn texts_are_limited() {
    let folder = Folder::new([
        Blob::memory("config.json", *b"{\"\xc3\xa9\":1}"),
        Blob::memory("broken.json", *b"\xff"),
        Blob::memory("tokenizer.json", vec![b' '; TEXT_LIMIT as usize + 1]),
        Blob::memory("long.json", vec![b' '; CONFIG_LIMIT as usize + 1]),
        Blob::memory("page.json", *b"\n<!DOCTYPE html>"),
    ])
    .unwrap();
    let text = |name| block_on(folder.text(name)).map_err(|e| e.to_string());
    assert_eq!(text("config.json").unwrap().unwrap(), "{\"é\":1}");
    assert_eq!(text("nobody.json").unwrap(), None);
    assert!(text("broken.json").unwrap_err().contains("broken.json is damaged"));
    assert!(text("long.json").unwrap_err().contains("long.json has 8388609 bytes"));
    assert!(text("tokenizer.json").unwrap_err().contains("tokenizer.json has 67108865 bytes"));
    assert!(text("page.json").unwrap_err().contains("page.json is a web page"));
    assert!(block_on(folder.required_text("nobody.json")).unwrap_err().to_string().contains("nobody.json"));
}
