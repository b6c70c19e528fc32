//! A model's folder, and its weights in one file or in several.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::error::{FilesError, listed, shown};
use super::header::{self, TensorInfo};
use super::json::{Entries, parse};
use crate::data::disguise::{is_page, is_pointer};
use crate::platform::Blob;

/// Longest `tokenizer.json` that is read, bytes.
pub const TEXT_LIMIT: u64 = 64 << 20;
/// Longest text file of any other name, bytes. What is read of it takes ten times as much memory.
pub const CONFIG_LIMIT: u64 = 8 << 20;

pub(super) const WHOLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const EXTENSION: &str = ".safetensors";
/// Buffers that models compute by themselves: older programs listed them in an index without saving them.
const COMPUTED: [&str; 3] = ["rotary_emb.inv_freq", ".position_ids", ".masked_bias"];

/// Files by name. Natively `Folder::new(platform::folder_blobs(path)?)`, in a browser the files that were dropped.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    files: BTreeMap<String, Blob>,
}

impl Folder {
    /// These files.
    ///
    /// # Errors
    /// Two files of one name.
    pub fn new(blobs: impl IntoIterator<Item = Blob>) -> Result<Self, FilesError> {
        let mut files = BTreeMap::new();
        // What macOS leaves beside files on foreign disks is none of them.
        for blob in blobs.into_iter().filter(|b| !b.name().starts_with("._")) {
            if let Some(twice) = files.insert(blob.name().to_owned(), blob) {
                return Err(FilesError::SameFile(shown(twice.name())));
            }
        }
        Ok(Self { files })
    }

    /// The file of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Blob> {
        self.files.get(name)
    }

    /// The files without the one of that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.files.remove(name);
        self
    }

    /// File names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The contents of a text file, or nothing where the folder has no such file.
    ///
    /// # Errors
    /// More than [`TEXT_LIMIT`] or [`CONFIG_LIMIT`] bytes, no UTF-8, or what the system says.
    pub async fn text(&self, name: &str) -> Result<Option<String>, FilesError> {
        let Some(blob) = self.get(name) else { return Ok(None) };
        let limit = if name == "tokenizer.json" { TEXT_LIMIT } else { CONFIG_LIMIT };
        let too_long = || FilesError::TextSize { file: shown(name), len: blob.len(), limit };
        let len = usize::try_from(blob.len()).ok().filter(|_| blob.len() <= limit).ok_or_else(too_long)?;
        let bytes = blob.read(0, len).await.map_err(FilesError::Read)?;
        if is_pointer(&bytes) {
            return Err(FilesError::Pointer(shown(name)));
        }
        if is_page(&bytes) {
            return Err(FilesError::Page(shown(name)));
        }
        let text = String::from_utf8(bytes);
        // Editors of Windows begin a file with a byte order mark.
        let text = text.map(|t| t.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(t));
        text.map(Some).map_err(|e| FilesError::Json { file: shown(name), reason: e.to_string() })
    }

    /// The contents of a text file that must be there.
    ///
    /// # Errors
    /// As [`Self::text`], and where there is no such file.
    pub async fn required_text(&self, name: &str) -> Result<String, FilesError> {
        self.text(name).await?.ok_or_else(|| self.lacks(name))
    }

    /// Why a file is not there: the folder may be of another program.
    fn lacks(&self, name: &str) -> FilesError {
        if let Some(gguf) = self.names().find(|n| n.to_ascii_lowercase().ends_with(".gguf")) {
            return FilesError::Gguf(shown(gguf));
        }
        match name {
            "config.json" if self.get("adapter_config.json").is_some() => FilesError::Adapter,
            "tokenizer.json" if ["tokenizer.model", "vocab.json"].iter().any(|n| self.get(n).is_some()) => {
                FilesError::Sentencepiece
            }
            _ => FilesError::NoFile(name.to_owned()),
        }
    }
}

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its file, for [`Checkpoint::blob`].
    pub blob: usize,
    /// Type, shape, and bytes in that file.
    pub info: TensorInfo,
}

/// The weights of a folder: every header is read and checked, no tensor is. Cheap to clone but for the names.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: Folder,
    blobs: Vec<Blob>,
    tensors: BTreeMap<String, Place>,
}

/// What is read of an index.
#[derive(Deserialize)]
struct Index {
    weight_map: Entries<String>,
}

impl Checkpoint {
    /// `model.safetensors`, or the files that `model.safetensors.index.json` names, or the only `*.safetensors` file.
    ///
    /// # Errors
    /// No weights, several that nobody explains, or files that contradict their index or themselves.
    pub async fn open(folder: &Folder) -> Result<Self, FilesError> {
        if let Some(blob) = folder.get(WHOLE) {
            return Self::of_files(folder, vec![blob.clone()], None).await;
        }
        if let Some(text) = folder.text(INDEX).await? {
            let list = parse::<Index>(INDEX, text.as_bytes())?.weight_map;
            if let Some(tensor) = list.twice {
                return Err(FilesError::Duplicate { file: INDEX.to_owned(), tensor: shown(&tensor) });
            }
            return Self::sharded(folder, list.map).await;
        }
        let weights: Vec<&str> = folder.names().filter(|n| n.ends_with(EXTENSION)).collect();
        match weights[..] {
            [one] => Self::of_files(folder, folder.get(one).cloned().into_iter().collect(), None).await,
            [] => Err(none(folder)),
            _ => Err(FilesError::WhichFile { files: listed(&weights) }),
        }
    }

    async fn sharded(folder: &Folder, index: BTreeMap<String, String>) -> Result<Self, FilesError> {
        let files: BTreeSet<&String> = index.values().collect();
        let (mut blobs, mut missing) = (Vec::new(), Vec::new());
        for file in files {
            if !is_plain(file) {
                return Err(FilesError::ShardName { index: INDEX.to_owned(), name: shown(file) });
            }
            match folder.get(file) {
                Some(blob) => blobs.push(blob.clone()),
                None => missing.push(file),
            }
        }
        if !missing.is_empty() {
            return Err(FilesError::MissingShards { index: INDEX.to_owned(), files: listed(&missing) });
        }
        if blobs.is_empty() {
            return Err(none(folder));
        }
        Self::of_files(folder, blobs, Some(index)).await
    }

    async fn of_files(
        folder: &Folder,
        blobs: Vec<Blob>,
        index: Option<BTreeMap<String, String>>,
    ) -> Result<Self, FilesError> {
        let mut tensors: BTreeMap<String, Place> = BTreeMap::new();
        // By their names in the files, where one may stand for several.
        let mut stored: BTreeMap<String, usize> = BTreeMap::new();
        for (at, blob) in blobs.iter().enumerate() {
            let all = header::read(blob).await?.tensors;
            stored.extend(all.keys().map(|name| (name.clone(), at)));
            let all = all.into_iter();
            for (name, info) in all.flat_map(|(name, info)| header::parted(name, info)) {
                if let Some(other) = tensors.get(&name) {
                    let (first, second) = (shown(blobs[other.blob].name()), shown(blob.name()));
                    return Err(FilesError::TwoShards { tensor: shown(&name), first, second });
                }
                tensors.insert(name, Place { blob: at, info });
            }
        }
        for (tensor, file) in index.into_iter().flatten() {
            if !stored.contains_key(&tensor) && COMPUTED.iter().any(|c| tensor.ends_with(c)) {
                continue;
            }
            if stored.get(&tensor).is_none_or(|blob| blobs[*blob].name() != file) {
                let index = INDEX.to_owned();
                return Err(FilesError::NotInShard { index, tensor: shown(&tensor), file: shown(&file) });
            }
        }
        Ok(Self { folder: folder.clone(), blobs, tensors })
    }

    /// All tensors by their names in the files.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Place> {
        &self.tensors
    }

    /// A file of [`Place::blob`].
    #[must_use]
    pub fn blob(&self, index: usize) -> &Blob {
        &self.blobs[index]
    }

    /// The folder's other files.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn place(&self, name: &str) -> Result<&Place, FilesError> {
        self.tensors.get(name).ok_or_else(|| FilesError::NoTensor(shown(name)))
    }

    /// `len` bytes of a tensor from its byte `start` on.
    ///
    /// # Errors
    /// No such tensor, a range past its end, a weight that is no finite number, or what the system says.
    pub async fn read_bytes(&self, name: &str, start: u64, len: usize) -> Result<Vec<u8>, FilesError> {
        let Place { blob, info } = self.place(name)?;
        let blob = &self.blobs[*blob];
        if start.checked_add(len as u64).is_none_or(|end| end > info.bytes) {
            return Err(FilesError::Read(format!(
                "{}: tensor {} has {} bytes, {len} are wanted from byte {start} on",
                shown(blob.name()),
                shown(name),
                info.bytes
            )));
        }
        let bytes = blob.read(info.start + start, len).await.map_err(FilesError::Read)?;
        if start.is_multiple_of(info.dtype.bytes()) && info.dtype.has_no_number(&bytes) {
            return Err(FilesError::NotFinite { file: shown(blob.name()), tensor: shown(name) });
        }
        Ok(bytes)
    }

    /// A small tensor, whole.
    ///
    /// # Errors
    /// No such tensor, a type that is not read, or what the system says.
    pub async fn read_values(&self, name: &str) -> Result<Vec<f32>, FilesError> {
        let Place { blob, info } = self.place(name)?;
        let file = shown(self.blobs[*blob].name());
        let too_long = || FilesError::Read(format!("{file}: tensor {} is too large for this platform", shown(name)));
        let len = usize::try_from(info.bytes).ok().ok_or_else(too_long)?;
        let bytes = self.read_bytes(name, 0, len).await?;
        let unread = || FilesError::Unread { file: file.clone(), tensor: shown(name), dtype: info.dtype };
        info.dtype.values(&bytes).ok_or_else(unread)
    }

    /// The contents of a text file beside the weights, or nothing.
    ///
    /// # Errors
    /// As [`Folder::text`].
    pub async fn text(&self, name: &str) -> Result<Option<String>, FilesError> {
        self.folder.text(name).await
    }
}

/// A file name without any folder.
fn is_plain(name: &str) -> bool {
    name.ends_with(EXTENSION) && !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.')
}

/// Why there are no weights: pickles are told apart.
fn none(folder: &Folder) -> FilesError {
    let pickle = |n: &&str| [".bin", ".pt", ".pth", ".pkl"].iter().any(|e| n.ends_with(e));
    let foreign = |n: &&str| [".onnx", ".h5", ".msgpack", ".tflite", ".mlmodel", ".npz"].iter().any(|e| n.ends_with(e));
    match folder.names().find(|n| pickle(n) && !n.ends_with("training_args.bin")) {
        Some(name) => FilesError::Pickle(shown(name)),
        None if folder.names().any(|n| foreign(&n)) => {
            FilesError::Foreign(listed(&folder.names().filter(foreign).collect::<Vec<_>>()))
        }
        None if folder.files.is_empty() => FilesError::NoWeights { files: "no files at all".to_owned() },
        None => FilesError::NoWeights { files: listed(&folder.names().collect::<Vec<_>>()) },
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
