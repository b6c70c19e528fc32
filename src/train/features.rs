//! What a frozen tower shows of pictures, for probes: computed once, and kept in a file that a later run takes up.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::data::rng::{hash_bytes, splitmix64};
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::model::config::VisionConfig;
use crate::model::registry::Registry;
use crate::model::vision::Vision;
use crate::model::weights::WeightsError;
use crate::nn::params::Weights;
use crate::nn::{ParamSpec, Params};
use crate::platform::{Part, Store, StoreError};

/// Most numbers of a state (B N, W) in a pass of the tower, and of a probe.
pub const MOST: usize = 1 << 22;
/// Most pictures of a pass.
const PASS: usize = 64;

/// Names and shapes of a tower's parameters.
#[must_use]
pub fn specs(config: &VisionConfig) -> Vec<ParamSpec> {
    let mut g = Registry::default();
    let _ = Vision::new(&mut g, config);
    g.specs
}

/// A tower without its last block and its last norm: what it shows is the hidden state before them.
pub struct Tower {
    gpu: Gpu,
    program: Program,
    pixels: Tensor,
    state: Tensor,
    pass: usize,
    /// Hidden-state index that is shown, 0 the embedded patches.
    pub depth: usize,
    /// A number for the weights that it depends on, and the sizes.
    pub fingerprint: u64,
}

impl Tower {
    /// Uploads the weights and records a pass.
    ///
    /// # Errors
    /// A weight that is not there, or of another size.
    pub fn new(gpu: &Gpu, config: &VisionConfig, weights: &Weights) -> Result<Self, WeightsError> {
        let mut g = Registry::default();
        let vision = Vision::new(&mut g, config);
        let depth = config.num_hidden_layers.saturating_sub(1);
        let mut fingerprint = hash_bytes(format!("{config:?}").as_bytes());
        let last = [format!("vision_model.encoder.layers.{depth}."), "vision_model.post_layernorm.".to_owned()];
        for spec in &g.specs {
            let Some(values) = weights.get(&spec.name) else {
                return Err(WeightsError::Missing { name: spec.name.clone(), hint: String::new() });
            };
            if values.len() != spec.len() {
                let (name, have, need) = (spec.name.clone(), vec![values.len()], spec.shape.clone());
                return Err(WeightsError::Shape { name, have, need });
            }
            if !last.iter().any(|start| spec.name.starts_with(start)) {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                fingerprint = splitmix64(fingerprint ^ hash_bytes(spec.name.as_bytes())) ^ hash_bytes(&bytes);
            }
        }
        let params = Params::new(gpu, g.specs, weights, &Default::default());
        let pass = (MOST / (config.tokens() * config.hidden_size)).clamp(1, PASS);
        let pixels =
            gpu.tensor([pass, config.num_channels, config.image_size, config.image_size], DType::F32, "pixels");
        let rows = gpu.tensor([pass, 3], DType::U32, "rows");
        let state = gpu.tensor([pass * config.tokens(), config.hidden_size], DType::F32, "state");
        let mut r = Recorder::new(gpu);
        let shown = vision.states(&mut r, &params, &rows, &pixels, &[depth]);
        shown.iter().for_each(|shown| r.copy(shown, &state));
        Ok(Self { gpu: gpu.clone(), program: r.finish(), pixels, state, pass, depth, fingerprint })
    }

    /// Most pictures of a pass.
    #[must_use]
    pub fn pass(&self) -> usize {
        self.pass
    }

    /// Numbers that it shows of a picture, N W.
    #[must_use]
    pub fn size(&self) -> usize {
        self.state.shape().len() / self.pass
    }

    /// What it shows of each of these pictures (3, S, S), at most [`Self::pass`] of them: (N, W) each.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn features(&self, pictures: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, GpuError> {
        for (i, pixels) in pictures.iter().enumerate() {
            self.gpu.write_part(&self.pixels, i * pixels.len(), pixels);
        }
        self.program.run();
        let state = self.gpu.read_f32(&self.state).await?;
        Ok(state.chunks(self.size()).take(pictures.len()).map(<[f32]>::to_vec).collect())
    }
}

/// What is wrong with a file of features.
#[derive(Debug, Error)]
#[error("{file}: {what}")]
pub struct FeaturesError {
    /// Its name.
    pub file: String,
    /// A sentence.
    pub what: String,
}

/// What such a file begins with.
const MARK: &[u8; 16] = b"hive features 1\n";
/// Bytes before the first record: the mark, a number for what made them, how many numbers each has.
const HEADER: u64 = 32;
/// Bytes of a record before its numbers: a key, a check.
const HEAD: usize = 16;

/// A file of features. A record is a key for what a picture is, a check, and the numbers; what was cut off or damaged fails its
/// check, counts as not there, and is computed anew.
pub struct Features {
    file: Part,
    name: String,
    size: usize,
    /// Where each record begins.
    records: BTreeMap<u64, u64>,
}

fn check(key: u64, numbers: &[u8]) -> u64 {
    splitmix64(key) ^ hash_bytes(numbers)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Features {
    /// Opens the file of what `made` them in a folder, or begins one; `size` is how many numbers a picture has. All of it is read
    /// once and checked.
    ///
    /// # Errors
    /// A file of something else, one that another program writes, or as the system says.
    pub async fn open(folder: &str, made: u64, size: usize) -> Result<Self, FeaturesError> {
        let name = format!("{made:016x}.features");
        let file = format!("{folder}/{name}.part");
        let wrong = |what: &str| FeaturesError { file: file.clone(), what: what.to_owned() };
        let failed = |e: StoreError| wrong(&e.to_string());
        let store = Store::open(folder).await.map_err(failed)?;
        let mut part = store.part(&name).await.map_err(failed)?;
        let header = [&MARK[..], &made.to_le_bytes(), &(size as u64).to_le_bytes()].concat();
        let have = part.read(0, header.len()).await.map_err(failed)?;
        if !header.starts_with(&have) {
            return Err(wrong("it is no file of features of this tower: remove it, or give another --cache"));
        }
        // Torn before its first record.
        if have.len() < header.len() {
            part.restart().await.map_err(failed)?;
            part.write(&header).await.map_err(failed)?;
        }
        let mut all = Self { file: part, name: file, size, records: BTreeMap::new() };
        all.look_through().await?;
        Ok(all)
    }

    /// Bytes of a record.
    #[must_use]
    pub fn record(&self) -> u64 {
        (HEAD + 4 * self.size) as u64
    }

    fn failed(&self, e: &StoreError) -> FeaturesError {
        FeaturesError { file: self.name.clone(), what: e.to_string() }
    }

    async fn look_through(&mut self) -> Result<(), FeaturesError> {
        let mut at = HEADER;
        while at < self.file.bytes() {
            let record = self.file.read(at, self.record() as usize).await.map_err(|e| self.failed(&e))?;
            let missing = self.record() as usize - record.len();
            if missing > 0 {
                // A torn record is filled up, so that the next one begins where one does.
                self.file.write(&vec![0; missing]).await.map_err(|e| self.failed(&e))?;
                break;
            }
            if word(&record[8..]) == check(word(&record), &record[HEAD..]) {
                self.records.insert(word(&record), at);
            }
            at += self.record();
        }
        Ok(())
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keys of what is there.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.records.keys().copied()
    }

    /// Are the features of this picture there?
    #[must_use]
    pub fn has(&self, key: u64) -> bool {
        self.records.contains_key(&key)
    }

    /// Adds those of a picture.
    ///
    /// # Errors
    /// As the system says, a full disk before all.
    pub async fn add(&mut self, key: u64, features: &[f32]) -> Result<(), FeaturesError> {
        let numbers: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
        let at = self.file.bytes();
        let record = [&key.to_le_bytes()[..], &check(key, &numbers).to_le_bytes(), &numbers].concat();
        self.file.write(&record).await.map_err(|e| self.failed(&e))?;
        self.records.insert(key, at);
        Ok(())
    }

    /// Those of a picture, (N, W), at the end of `out`.
    ///
    /// # Errors
    /// They are not there any more; as the system says.
    pub async fn get(&mut self, key: u64, out: &mut Vec<f32>) -> Result<(), FeaturesError> {
        let gone = || FeaturesError {
            file: self.name.clone(),
            what: "what was read of a picture before is not there any more: run the command again".to_owned(),
        };
        let at = *self.records.get(&key).ok_or_else(gone)?;
        let record = self.file.read(at, self.record() as usize).await.map_err(|e| self.failed(&e))?;
        if record.len() as u64 != self.record() || word(&record[8..]) != check(key, &record[HEAD..]) {
            return Err(gone());
        }
        let (numbers, _) = record[HEAD..].as_chunks::<4>();
        out.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }

    /// Makes sure that what was added outlives a failure of the system.
    ///
    /// # Errors
    /// As the system says.
    pub async fn keep(&mut self) -> Result<(), FeaturesError> {
        self.file.keep().await.map_err(|e| self.failed(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{block_on, read_file, write_file};

    #[test]
    fn a_torn_file_goes_on_and_damage_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let open = |made, size| block_on(Features::open(path, made, size));
        let mut all = open(7, 3).unwrap();
        let name = std::path::PathBuf::from(all.name());
        for key in 1..=3 {
            block_on(all.add(key, &[key as f32, 2.5, -1.0])).unwrap();
        }
        assert!(open(7, 3).is_err_and(|e| e.to_string().contains("another program")));
        drop(all);
        let whole = read_file(&name).unwrap();
        assert_eq!(whole.len() as u64, HEADER + 3 * (HEAD as u64 + 12));
        for len in 0..whole.len() {
            write_file(&name, &whole[..len]).unwrap();
            let mut all = open(7, 3).unwrap();
            let want = len.saturating_sub(HEADER as usize) / (HEAD + 12);
            assert_eq!(all.keys().count(), want, "{len} bytes");
            block_on(all.add(9, &[9.0, 8.0, 7.0])).unwrap();
            drop(all);
            let mut all = open(7, 3).unwrap();
            let mut out = Vec::new();
            block_on(all.get(9, &mut out)).unwrap();
            assert_eq!((all.keys().count(), &out[..]), (want + 1, &[9.0, 8.0, 7.0][..]), "{len} bytes");
        }
        let mut broken = whole.clone();
        broken[HEADER as usize + HEAD + 5] ^= 1;
        write_file(&name, &broken).unwrap();
        let mut all = open(7, 3).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), [2, 3]);
        assert!(block_on(all.get(1, &mut Vec::new())).is_err());
        drop(all);
        // Of another size, or something else.
        assert!(open(7, 4).is_err_and(|e| e.to_string().contains("--cache")));
        write_file(&name, b"mine").unwrap();
        assert!(open(7, 3).is_err());
        assert_eq!(read_file(&name).unwrap(), b"mine");
    }
}
