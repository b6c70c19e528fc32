//! Folders with Hugging Face's files that are damaged in every way: never a panic, always a sentence with the file's
//! name, and never memory for bytes that a file only claims to have.

use std::cell::Cell;

use crate::common::allocator::Counting;
use hive::data::rng::Rng;
use hive::model::files::write::{Item, shards};
use hive::model::files::{Checkpoint, FileDType, FilesError, Folder, ModelSpec, header, resolve};
use hive::model::weights;
use hive::nn::ParamSpec;
use hive::platform::{Blob, block_on, write_file};

thread_local! {
    /// Bytes in use, the most that were in use, and the largest single request of this thread.
    static USE: [Cell<i64>; 3] = const { [const { Cell::new(0) }; 3] };
}

fn count(bytes: i64) {
    // A thread that ends no longer counts.
    let _ = USE.try_with(|[now, most, largest]| {
        now.set(now.get() + bytes);
        most.set(most.get().max(now.get()));
        largest.set(largest.get().max(bytes));
    });
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// What `f` gives, the most bytes it had in use at once, and its largest single request.
fn measured<T>(f: impl FnOnce() -> T) -> (T, u64, u64) {
    let start = USE.with(|[now, most, largest]| {
        most.set(now.get());
        largest.set(0);
        now.get()
    });
    let out = f();
    USE.with(|[_, most, largest]| (out, (most.get() - start) as u64, largest.get() as u64))
}

/// Allocations that have nothing to do with a file's size.
const CONSTANT: u64 = 16 << 10;
/// Most bytes in use per byte of a header: names and places of tensors without elements are larger than their text.
const PER_BYTE: u64 = 12;

/// A safetensors file by hand: name, type, shape, bytes of each tensor.
fn file(tensors: &[(&str, &str, &[u64], Vec<u8>)]) -> Vec<u8> {
    let mut data: Vec<u8> = Vec::new();
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        let end = data.len();
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// Six numbers that every type holds exactly, and their bytes in it.
const NUMBERS: [f32; 6] = [0.0, 1.0, -2.5, 0.125, 96.0, -0.375];

fn bytes_of(dtype: &str) -> Vec<u8> {
    match dtype {
        "F32" => NUMBERS.iter().flat_map(|v| v.to_le_bytes()).collect(),
        // bf16 is the upper half of f32.
        "BF16" => NUMBERS.iter().flat_map(|v| v.to_le_bytes()[2..].to_vec()).collect(),
        "F16" => [0x0000_u16, 0x3c00, 0xc100, 0x3000, 0x5600, 0xb600].iter().flat_map(|v| v.to_le_bytes()).collect(),
        _ => panic!("{dtype}"),
    }
}

/// A file with tensors of all weight types, one of them without elements.
fn sample() -> Vec<u8> {
    file(&[
        ("model.norm.weight", "F32", &[2, 3], bytes_of("F32")),
        ("model.empty", "F16", &[0], Vec::new()),
        ("lm_head.weight", "F16", &[6], bytes_of("F16")),
        ("b", "BF16", &[3, 1, 2], bytes_of("BF16")),
    ])
}

const NAME: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

fn open(blobs: Vec<Blob>) -> Result<Checkpoint, FilesError> {
    block_on(Checkpoint::open(&Folder::new(blobs)?))
}

/// Opens a folder and reads everything in it, as a loader would.
fn use_all(blobs: Vec<Blob>) -> Result<usize, FilesError> {
    let checkpoint = open(blobs)?;
    let mut read = 0;
    for (name, place) in checkpoint.tensors() {
        read += block_on(checkpoint.read_bytes(name, 0, place.info.bytes as usize))?.len();
        if place.info.dtype.is_weight() {
            let elements: usize = place.info.shape.iter().product();
            assert_eq!(block_on(checkpoint.read_values(name))?.len(), elements, "{name}");
        }
    }
    let specs: Vec<ParamSpec> = checkpoint
        .tensors()
        .iter()
        .filter(|(_, p)| p.info.dtype.is_weight())
        .map(|(name, p)| ParamSpec { name: name.clone(), shape: p.info.shape.clone() })
        .collect();
    // Names may clash after their prefixes are taken away; nothing may panic.
    let _ = resolve(&checkpoint, &specs, &[0]);
    Ok(read)
}

/// Uses a file, with the promises that hold for every one. True if it is fine.
fn tried(bytes: &[u8], what: &dyn Fn() -> String) -> bool {
    let blob = Blob::memory(NAME, bytes);
    let (result, most, largest) = measured(|| block_on(header::read(&blob)).map(|_| ()));
    let len = bytes.len() as u64;
    assert!(largest <= len + CONSTANT, "{}: {largest} bytes at once for a file of {len}", what());
    assert!(most <= PER_BYTE * len + CONSTANT, "{}: {most} bytes for a file of {len}", what());
    if let Err(e) = &result {
        let text = e.to_string();
        assert!(text.contains(NAME) && text.len() < 1500, "{}: {text}", what());
        assert!(!text.contains(char::is_control), "{}: {text}", what());
    }
    let (used, _, largest) = measured(|| use_all(vec![blob.clone()]));
    // Values of f32 from bytes of half the size.
    assert!(largest <= 2 * len + CONSTANT, "{}: {largest} bytes at once for a file of {len}", what());
    // Values that are no numbers are read by nobody, whatever the header says.
    let infinite = used.as_ref().is_err_and(|e| e.to_string().contains("no finite numbers"));
    assert_eq!(used.is_ok() || infinite, result.is_ok(), "{}: {used:?}", what());
    if let Ok(read) = used {
        // What is taken for good is so for the safetensors library too, and every byte belongs to a tensor.
        let theirs = safetensors::SafeTensors::deserialize(bytes);
        assert!(theirs.is_ok(), "{}: {:?}", what(), theirs.err());
        let ours = weights::parse(bytes);
        let unread = matches!(ours, Err(weights::WeightsError::Type { .. }));
        assert!(ours.is_ok() || unread, "{}: {:?}", what(), ours.err());
        assert_eq!(8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) + read as u64, len, "{}", what());
    }
    result.is_ok()
}

#[test]
fn every_type_and_the_folders_shapes_give_the_same_values() {
    let whole = open(vec![Blob::memory(NAME, sample())]).unwrap();
    let tensor = |name: &'static str, dtype: &'static str| file(&[(name, dtype, &[6], bytes_of(dtype))]);
    let index = format!(r#"{{"weight_map":{{"lm_head.weight":"{}","b":"{}"}}}}"#, SHARDS[1], SHARDS[0]);
    let sharded = open(vec![
        Blob::memory(INDEX, index.into_bytes()),
        Blob::memory(SHARDS[0], tensor("b", "BF16")),
        Blob::memory(SHARDS[1], tensor("lm_head.weight", "F16")),
    ])
    .unwrap();
    for (checkpoint, name) in [
        (&whole, "model.norm.weight"),
        (&whole, "lm_head.weight"),
        (&whole, "b"),
        (&sharded, "b"),
        (&sharded, "lm_head.weight"),
    ] {
        assert_eq!(block_on(checkpoint.read_values(name)).unwrap(), NUMBERS, "{name}");
    }
    assert_eq!(whole.tensors()["b"].info.dtype, FileDType::BF16);
    assert_eq!(sharded.tensors().len(), 2);
    assert!(tried(&sample(), &|| "the sample".into()));
}

#[test]
fn a_file_cut_anywhere_is_told() {
    let whole = sample();
    for len in 0..whole.len() {
        assert!(!tried(&whole[..len], &|| format!("cut to {len} bytes")), "cut to {len} bytes");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(!tried(&longer, &|| "a byte more".into()));
}

#[test]
fn every_byte_of_a_header_may_be_wrong() {
    let whole = sample();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (mut fine, mut wrong) = (0, 0);
    for at in 0..header {
        let old = whole[at];
        for new in [old ^ 1, old ^ 0x80, 0, 0xff, b'"', b'9', b'-', b'{', b'}', b']', b'\\', b'e', b'.', b' '] {
            let mut bytes = whole.clone();
            bytes[at] = new;
            let ok = tried(&bytes, &|| format!("byte {at} is {new:#x}"));
            *if ok { &mut fine } else { &mut wrong } += 1;
        }
        for (name, bytes) in [
            ("left out", [&whole[..at], &whole[at + 1..]].concat()),
            ("doubled", [&whole[..=at], &whole[at..]].concat()),
        ] {
            assert!(!tried(&bytes, &|| format!("byte {at} {name}")), "byte {at} {name}");
        }
    }
    // Most changes break it; those inside a name or a text do not.
    assert!(wrong > 3 * fine && fine > 200, "{fine} fine, {wrong} wrong");
}

#[test]
fn random_damage_is_told_or_harmless() {
    let whole = sample();
    let mut rng = Rng::new(11, 0);
    let words: [&[u8]; 12] = [
        b"-1",
        b"18446744073709551615",
        b"9223372036854775808",
        b"1e400",
        b"[[[[",
        b"{\"a\":",
        b"null",
        b"F8_E4M3",
        b"U8",
        b"[0,0]",
        b"\\u0000",
        b"\xf0\x9f",
    ];
    for round in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len());
            match rng.below(5) {
                0 => bytes[at] = rng.next_u32() as u8,
                1 => drop(bytes.splice(at..at, words[rng.below(words.len())].iter().copied())),
                2 => drop(bytes.drain(at..(at + rng.below(20)).min(bytes.len()))),
                3 => {
                    let (from, len) = (rng.below(bytes.len()), rng.below(40));
                    let piece = bytes[from..(from + len).min(bytes.len())].to_vec();
                    let to = (at + piece.len()).min(bytes.len());
                    bytes.splice(at..to, piece);
                }
                _ => bytes.truncate(at),
            }
            if bytes.is_empty() {
                break;
            }
        }
        // Half of the time the length is right again, so that the damage reaches the parser.
        if rng.chance(0.5) && bytes.len() > 8 {
            let end = bytes.iter().rposition(|b| *b == b'}').unwrap_or(8).max(8);
            let len = (end as u64 - 7).min(bytes.len() as u64 - 8);
            bytes[..8].copy_from_slice(&len.to_le_bytes());
        }
        tried(&bytes, &|| format!("round {round}: {}", String::from_utf8_lossy(&bytes)));
    }
}

/// The header is text, the length may lie.
fn with_header(claimed: u64, header: &str, data: usize) -> Vec<u8> {
    let mut out = claimed.to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(vec![0; data]);
    out
}

#[test]
fn lies_cost_no_memory() {
    let refused = |bytes: Vec<u8>, what: &str| assert!(!tried(&bytes, &|| what.to_owned()), "{what}");
    for claimed in [3, 1000, 90_000_000, 100_000_001, 1 << 40, u64::MAX - 7, u64::MAX] {
        refused(with_header(claimed, "{}", 0), &format!("a header of {claimed} bytes"));
    }
    let entry = |shape: &str, start: &str, end: &str| {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#);
        with_header(header.len() as u64, &header, 8)
    };
    assert!(tried(&entry("[2]", "0", "8"), &|| "it is fine".into()));
    for (shape, start, end) in [
        ("[9223372036854775808]", "0", "8"),
        ("[9223372036854775808,2]", "0", "8"),
        ("[4611686018427387906]", "0", "8"),
        ("[2,0,9223372036854775808,4]", "0", "8"),
        ("[18446744073709551616]", "0", "8"),
        ("[2]", "8", "0"),
        ("[2]", "0", "18446744073709551615"),
        ("[2]", "18446744073709551608", "18446744073709551615"),
        ("[1]", "0", "4"),
        ("[1]", "4", "8"),
        ("[-2]", "0", "8"),
    ] {
        refused(entry(shape, start, end), &format!("{shape} at {start}..{end}"));
    }
    // Two tensors that share bytes.
    for (start, end) in [(4, 12), (0, 8), (4, 8), (8, 16)] {
        let entry = |name, start, end| {
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
        };
        let header = format!("{{{},{}}}", entry("a", 0, 8), entry("b", start, end));
        let bytes = with_header(header.len() as u64, &header, end.max(8));
        assert_eq!(tried(&bytes, &|| format!("{start}..{end}")), start == 8, "{start}..{end}");
    }
    // Millions of brackets, dimensions, and tensors without elements.
    for piece in ["[", r#"{"a":"#, r#"{"a":{"a":["#] {
        let header = piece.repeat(300_000);
        refused(with_header(header.len() as u64, &header, 0), "brackets");
    }
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{}0],"data_offsets":[0,0]}}}}"#, "0,".repeat(500_000));
    refused(with_header(header.len() as u64, &header, 0), "dimensions");
    let many: Vec<String> =
        (0..20_000).map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    let header = format!("{{{}}}", many.join(","));
    assert!(tried(&with_header(header.len() as u64, &header, 0), &|| "many tensors".into()));
    let header = format!(r#"{{"{}":1}}"#, "n".repeat(1_000_000));
    refused(with_header(header.len() as u64, &header, 0), "a long name");
}

#[test]
fn an_index_may_be_wrong_anywhere() {
    let shard = |name: &'static str| file(&[(name, "F32", &[6], bytes_of("F32"))]);
    let index =
        format!(r#"{{"metadata":{{"total_size":48}},"weight_map":{{"a":"{}","b":"{}"}}}}"#, SHARDS[0], SHARDS[1]);
    let folder = |index: &[u8]| {
        vec![Blob::memory(INDEX, index), Blob::memory(SHARDS[0], shard("a")), Blob::memory(SHARDS[1], shard("b"))]
    };
    assert_eq!(use_all(folder(index.as_bytes())).unwrap(), 48);
    let tell = |bytes: &[u8]| {
        let (result, _, largest) = measured(|| use_all(folder(bytes)));
        assert!(largest <= bytes.len() as u64 + CONSTANT, "{largest} bytes at once");
        if let Err(e) = result {
            let text = e.to_string();
            assert!(text.contains(INDEX) || SHARDS.iter().any(|s| text.contains(s)), "{text}");
        }
    };
    let mut rng = Rng::new(12, 0);
    for at in 0..index.len() {
        tell(&index.as_bytes()[..at]);
        for new in [rng.next_u32() as u8, 0, b'"', b'/', b'}', b'1'] {
            let mut bytes = index.clone().into_bytes();
            bytes[at] = new;
            tell(&bytes);
        }
    }
    let deep = format!(r#"{{"weight_map":{}"#, "[".repeat(200_000));
    tell(deep.as_bytes());
    // A shard that is not there, is another one's, or is damaged.
    let mut blobs = folder(index.as_bytes());
    blobs.pop();
    assert!(matches!(open(blobs), Err(FilesError::MissingShards { .. })));
    for len in 0..shard("b").len() {
        let mut blobs = folder(index.as_bytes());
        blobs[2] = Blob::memory(SHARDS[1], &shard("b")[..len]);
        assert!(open(blobs).unwrap_err().to_string().contains(SHARDS[1]));
    }
}

#[test]
fn configurations_may_be_wrong_anywhere() {
    let config = r#"{"model_type":"llava","image_token_index":96,
        "vision_feature_layer":-2,"vision_feature_select_strategy":"full",
        "vision_config":{"model_type":"siglip_vision_model","hidden_size":48,"num_attention_heads":3,
            "image_size":20,"patch_size":4},
        "text_config":{"model_type":"llama","hidden_size":64,"num_hidden_layers":4,"num_attention_heads":4,
            "vocab_size":97,"rope_parameters":{"rope_type":"llama3","rope_theta":1e4,"factor":8.0,
            "low_freq_factor":1,"high_freq_factor":4}}}"#;
    ModelSpec::read(config, Some(r#"{"eos_token_id":[2,3]}"#)).unwrap();
    let tell = |bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match ModelSpec::read(text, None) {
            // Whatever is accepted can be built: sizes are bounded and heads divide widths.
            Ok(spec) => spec.config.check().unwrap(),
            Err(e) => assert!(e.to_string().starts_with("config.json") && e.to_string().len() < 1500, "{e}"),
        }
    };
    let mut rng = Rng::new(13, 0);
    let words = ["-1", "0", "99999999999", "18446744073709551615", "1e999", "null", "[]", "{}", "\"x\"", "true", "0.5"];
    for at in 0..config.len() {
        tell(&config.as_bytes()[..at]);
        for word in words {
            let mut bytes = config.as_bytes().to_vec();
            bytes.splice(at..(at + 1 + rng.below(3)).min(config.len()), word.bytes());
            tell(&bytes);
        }
    }
    // Every value in turn, by its key.
    for (at, _) in config.match_indices(':') {
        let end = at + 1 + config[at + 1..].find([',', '}', '{']).unwrap();
        for word in words {
            tell([&config[..=at], word, &config[end..]].concat().as_bytes());
        }
    }
}

/// Half a gigabyte in one tensor, in a file that is one hole, to another type and back to nothing.
#[test]
fn weights_of_any_size_are_written_in_bounded_memory() {
    // Many times what may be in use.
    const ELEMENTS: u64 = 48 << 20;
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("large.safetensors");
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{ELEMENTS}],"data_offsets":[0,{}]}}}}"#, 4 * ELEMENTS);
    write_file(&path, &[&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8 + header.len() as u64 + 4 * ELEMENTS).unwrap();
    let source = [open(vec![Blob::open(&path).unwrap()]).unwrap()];
    for dtype in [FileDType::F16, FileDType::F32] {
        let item = Item::new("a", 0, "a", &source[0].tensors()["a"], Some(dtype));
        let shard = &shards(vec![item], None)[0];
        let (mut sum, mut len) = (0_u64, 0);
        let (result, most, _) = measured(|| {
            block_on(shard.write(&source, &mut |bytes| {
                len += bytes.len() as u64;
                sum += bytes.iter().map(|b| u64::from(*b)).max().unwrap_or(0);
                Ok(())
            }))
        });
        result.unwrap();
        assert_eq!(len, shard.bytes());
        assert!(sum < 1000, "zeros became {sum}");
        assert!(most < 32 << 20, "{most} bytes in use");
    }
    std::fs::remove_file(path).unwrap();
}
