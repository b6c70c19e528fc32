//! Files that are written and read again, by this crate and by the safetensors library.

use safetensors::SafeTensors;

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
    let bytes = weights::write(&tensors, weights::Precision::F32);
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
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        let shape = |name: &str| theirs.tensor(name).unwrap().shape().to_vec();
        assert_eq!((shape("new.b"), shape("new.c \"quoted\"")), (vec![2, 3], vec![1]));
        let dtype = dtype.unwrap_or(FileDType::F32);
        let theirs = theirs.tensor("new.a").unwrap();
        assert_eq!((theirs.dtype().to_string().as_str(), theirs.data()), (dtype.name(), &dtype.encode(&VALUES)[..]));
        assert_eq!(weights::parse(&bytes).unwrap()["new.a"].values, VALUES);
        let ours = block_on(Checkpoint::open(&Folder::new([Blob::memory(WHOLE, bytes)]).unwrap())).unwrap();
        assert_eq!(ours.tensors()["new.a"].info.dtype, dtype);
        assert_eq!(ours.tensors()["new.a"].info.start % 8, 0);
    }
}

#[test]
fn a_file_in_memory_has_its_bytes_by_name_and_type_only() {
    let tensor = |name: &str, dtype, bytes: &[u8]| {
        let shape = vec![bytes.len() / FileDType::bytes(dtype) as usize];
        NewTensor { name: name.to_owned(), dtype, shape, bytes: bytes.to_vec() }
    };
    let all = [
        tensor("z", FileDType::F32, &FileDType::F32.encode(&VALUES)),
        tensor("a note", FileDType::U8, b"odd"),
        tensor("a", FileDType::F16, &FileDType::F16.encode(&VALUES)),
        tensor("nothing", FileDType::U8, b""),
    ];
    let meta = ("hive", "{\"quoted\": \"\\n\"}");
    let bytes = file(meta, all.to_vec());
    assert_eq!(bytes, file(meta, all.iter().rev().cloned().collect()));
    let (_, theirs) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(theirs.metadata().as_ref().unwrap()["hive"], meta.1);
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    let header = weights::header_of(&bytes).unwrap();
    assert_eq!((header.tensors.len(), header.metadata["hive"].as_str()), (4, meta.1));
    for t in &all {
        assert_eq!(theirs.tensor(&t.name).unwrap().data(), t.bytes);
        assert_eq!(header.tensors[&t.name].start % t.dtype.bytes(), 0);
    }
    assert_eq!(weights::attachments(&header, &bytes)["a note"], b"odd");
    assert_eq!(weights::tensors(&header, &bytes).unwrap()["a"].values, VALUES);
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
    for bad in [f32::INFINITY, f32::NAN] {
        let wrong = source(&[1.0, 2.0, bad, 0.0, 0.0, 0.0]);
        for dtype in [None, Some(FileDType::F16), Some(FileDType::BF16)] {
            let error = bytes_of(&shards(items(&wrong, dtype), None)[0], &wrong).unwrap_err().to_string();
            assert!(error.contains("tensor a has values that are no finite numbers"), "{error}");
        }
    }
    let wide = source(&[65504.0, -65505.0, 1e30, 2.0, 1.0, 0.0]);
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
