//! Weights that are a function of seed, name and index, written as folders of Hugging Face's files; `expect.py` draws the
//! same. Every value is exact as f16, those of [`GRID`] in every format that a model is run in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use half::f16;
use hive::nn::ParamSpec;
use serde_json::{Value, json};

/// Seed of everything.
pub(crate) const SEED: u32 = 2604;
/// Steps from zero of weights that int4, int8 and f16 hold exactly.
pub(crate) const GRID: u32 = 7;
/// Steps of weights that f16 holds exactly and quantising rounds.
pub(crate) const FINE: u32 = 255;

/// Most bytes of a file: a model has several.
const SHARD: u64 = 1 << 30;
/// Elements that are drawn at once.
const CHUNK: usize = 1 << 22;
/// Elements of a group, one of which is its largest.
const GROUP: u32 = 32;

/// The last steps of `MurmurHash3`.
pub(crate) fn mix(h: u32) -> u32 {
    let h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    let h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// FNV-1a of the name, mixed with the seed.
pub(crate) fn key(name: &str) -> u32 {
    mix(name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193)) ^ SEED)
}

/// The values that a tensor's elements have, and which of them has which.
struct Draw {
    key: u32,
    /// None for vectors.
    levels: Option<u32>,
    /// Bits of each value.
    values: Vec<u16>,
}

impl Draw {
    fn new(name: &str, shape: &[usize], levels: u32) -> Self {
        let (key, bits) = (key(name), |v: f64| f16::from_f64(v).to_bits());
        if shape.len() == 1 {
            // The gain of a norm, or a bias.
            let value =
                |i: i32| if name.ends_with("weight") { 1.0 + f64::from(i) / 1024.0 } else { f64::from(i) / 4096.0 };
            return Self { key, levels: None, values: (-256..256).map(|i| bits(value(i))).collect() };
        }
        let columns: usize = shape[1..].iter().product();
        let l = f64::from(levels);
        // Standard deviation 1 / sqrt(columns), to a power of two.
        let std = ((31.0 * l * (l + 1.0) / 3.0 + (l + 1.0).powi(2)) / 32.0).sqrt();
        let step = (-(std * (columns as f64).sqrt()).log2()).round().exp2();
        let most = levels as i32 + 1;
        let values = (-most..=most).map(|q| bits(f64::from(q) * step)).collect();
        Self { key, levels: Some(levels), values }
    }

    /// Little-endian bytes of the elements from `first` on, as many as fit.
    fn write(&self, first: usize, out: &mut [u8]) {
        let mut group = (u32::MAX, 0, 0);
        for (i, bytes) in (first as u32..).zip(out.chunks_exact_mut(2)) {
            let h = mix(i ^ self.key);
            let which = match self.levels {
                None => h >> 23,
                Some(levels) => {
                    if group.0 != i / GROUP {
                        let g = mix(!(i / GROUP) ^ self.key);
                        group = (i / GROUP, g % GROUP, if g & GROUP == 0 { 0 } else { 2 * levels + 2 });
                    }
                    let (_, at, largest) = group;
                    if i % GROUP == at { largest } else { (((h >> 16) * (2 * levels + 1)) >> 16) + 1 }
                }
            };
            bytes.copy_from_slice(&self.values[which as usize].to_le_bytes());
        }
    }
}

/// Numbers of a picture, -1 .. 1.
pub(crate) fn pixels(count: usize) -> Vec<f32> {
    let key = key("pixels");
    (0..count as u32).map(|i| ((mix(i ^ key) >> 23) as f32 - 256.0) / 256.0).collect()
}

/// Tokens of a prompt.
pub(crate) fn ids(count: u32, vocabulary: usize) -> Vec<u32> {
    let key = key("ids");
    (0..count).map(|i| mix(i ^ key) % vocabulary as u32).collect()
}

/// A folder that is removed when nobody needs it any more, also where a test fails.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The path of a folder of this process, which is still to be made.
    pub(crate) fn new(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Draws all tensors as f16, into files of at most about a gigabyte, beside `config.json`.
pub(crate) fn write(name: &str, config: &Value, specs: &[ParamSpec], levels: u32) -> Folder {
    let folder = Folder::new(name);
    let bytes: u64 = specs.iter().map(|s| 2 * s.len() as u64).sum();
    if let Err(e) = try_write(folder.path(), config, specs, levels) {
        // An error drops the folder: what was written is gone.
        panic!("{} cannot be written: {e}. It takes {} MB of disk", folder.path().display(), bytes / 1_000_000);
    }
    folder
}

fn try_write(path: &Path, config: &Value, specs: &[ParamSpec], levels: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::write(path.join("config.json"), config.to_string())?;
    let mut shards: Vec<Vec<&ParamSpec>> = Vec::new();
    let mut room = 0;
    for spec in specs {
        let bytes = 2 * spec.len() as u64;
        if bytes > room {
            shards.push(Vec::new());
            room = SHARD.max(bytes);
        }
        room -= bytes;
        shards.last_mut().into_iter().for_each(|s| s.push(spec));
    }
    let mut places = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(&path.join(&file), shard, levels)?;
        places.extend(shard.iter().map(|s| (&s.name, file.clone())));
    }
    fs::write(path.join("model.safetensors.index.json"), json!({ "weight_map": places }).to_string())
}

/// A file of drawn tensors.
pub(crate) fn write_shard(path: &Path, specs: &[&ParamSpec], levels: u32) -> io::Result<()> {
    let mut at = 0;
    let entries: BTreeMap<&String, Value> = specs
        .iter()
        .map(|spec| {
            let (start, end) = (at, at + 2 * spec.len() as u64);
            at = end;
            (&spec.name, json!({ "dtype": "F16", "shape": spec.shape, "data_offsets": [start, end] }))
        })
        .collect();
    let header = json!(entries).to_string();
    let mut file = File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    for spec in specs {
        let draw = Draw::new(&spec.name, &spec.shape, levels);
        for first in (0..spec.len()).step_by(CHUNK) {
            let mut bytes = vec![0; 2 * CHUNK.min(spec.len() - first)];
            // A whole number of groups each.
            let part = (bytes.len() / 2).div_ceil(workers).next_multiple_of(GROUP as usize);
            thread::scope(|scope| {
                for (k, out) in bytes.chunks_mut(2 * part).enumerate() {
                    let draw = &draw;
                    scope.spawn(move || draw.write(first + k * part, out));
                }
            });
            file.write_all(&bytes)?;
        }
    }
    Ok(())
}
