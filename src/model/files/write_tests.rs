//! Files that are written and read again, by this crate and by the safetensors library.

use super::super::folder::Folder;
use super::*;
use crate::model::weights;
use crate::platform::{Blob, block_on};

const VALUES: [f32; 6] = [0.0, 1.0, -2.5, 0.125, 96.0, -0.375];

fn source(values: &[f32]) -> Checkpoint {
    let tensors = [
        ("b".to_owned(), vec![2, values.len() / 2], values),
        ("a".to_owned(), vec![values.len()], values),
        ("c \"quoted\"".to_owned(), vec![1], &values[..1]),
    ];
    let bytes = weights::write(&tensors, weights::Precision::F32).unwrap();
    block_on(Checkpoint::open(&Folder::new([Blob::memory(WHOLE, bytes)]).unwrap())).unwrap()
}

fn items(source: &Checkpoint, dtype: Option<FileDType>) -> Vec<Item> {
    source.tensors().iter().map(|(name, place)| Item::new(&format!("new.{name}"), 0, name, place, dtype)).collect()
}

fn bytes_of(shard: &Shard, source: &Checkpoint) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    block_on(shard.write(std::slice::from_ref(source), &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    }))?;
    assert_eq!(out.len() as u64, shard.bytes());
    Ok(out)
}

#[test]
fn every_type_is_read_again_here_and_elsewhere() {
    let source = source(&VALUES);
    for dtype in [None, Some(FileDType::F32), Some(FileDType::F16), Some(FileDType::BF16)] {
        let all = shards(items(&source, dtype), None);
        assert_eq!((all.len(), all[0].name.as_str(), index(&all)), (1, "model.safetensors", None));
        let bytes = bytes_of(&all[0], &source).unwrap();
        let theirs = weights::parse(&bytes).unwrap();
        assert_eq!(theirs["new.a"].values, VALUES);
        assert_eq!((&theirs["new.b"].shape[..], theirs["new.c \"quoted\""].values.len()), (&[2, 3][..], 1));
        let ours = block_on(Checkpoint::open(&Folder::new([Blob::memory(WHOLE, bytes)]).unwrap())).unwrap();
        assert_eq!(ours.tensors()["new.a"].info.dtype, dtype.unwrap_or(FileDType::F32));
        assert_eq!(ours.tensors()["new.a"].info.start % 8, 0);
    }
}

#[test]
fn shards_are_no_larger_than_asked_for_and_have_an_index() {
    let source = source(&VALUES);
    // a has 24 bytes, b and c together 28.
    let all = shards(items(&source, None), Some(30));
    let names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    let (name, text) = index(&all).unwrap();
    assert!(text.contains(r#""total_size": 52"#), "{text}");
    let blobs = all.iter().map(|s| Blob::memory(&s.name, bytes_of(s, &source).unwrap()));
    let folder = Folder::new(blobs.chain([Blob::memory(&name, text.into_bytes())])).unwrap();
    let again = block_on(Checkpoint::open(&folder)).unwrap();
    assert_eq!(block_on(again.read_values("new.b")).unwrap(), VALUES);
    // A tensor that is larger than a file may be has one for itself.
    assert_eq!(shards(items(&source, None), Some(1)).len(), 3);
    assert_eq!(shards(items(&source, None), Some(1 << 40)).len(), 1);
    assert_eq!(shards(Vec::new(), Some(1)).len(), 1);
}

#[test]
fn what_f16_does_not_have_is_told() {
    let wide = source(&[65504.0, -65505.0, 1e30, f32::INFINITY, f32::NAN, 0.0]);
    let half = shards(items(&wide, Some(FileDType::F16)), None);
    let error = bytes_of(&half[0], &wide).unwrap_err().to_string();
    assert!(error.contains("tensor a has 2 values beyond 65504") && error.contains("1e30"), "{error}");
    for dtype in [FileDType::F32, FileDType::BF16] {
        bytes_of(&shards(items(&wide, Some(dtype)), None)[0], &wide).unwrap();
    }
    let full = shards(items(&wide, None), None);
    let mut room = 100;
    let told = block_on(full[0].write(&[wide], &mut |bytes| {
        room -= bytes.len() as i64;
        if room < 0 { Err("the disk is full".to_owned()) } else { Ok(()) }
    }));
    assert!(matches!(told, Err(WriteError::Sink(text)) if text == "the disk is full"));
}
