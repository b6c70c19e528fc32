//! Folders with Hugging Face's files: what `save_pretrained` writes and model hubs hand out. Headers, configurations
//! and names are read here; tensors stay in their files until somebody asks for their bytes.
//!
//! Files are not trusted: whatever they contain, the answer is a sentence, and nothing is allocated for bytes that a
//! file only claims to have.

pub mod config;
pub mod folder;
pub mod header;
mod json;
pub mod names;
pub mod write;

use thiserror::Error;

pub use config::ModelSpec;
pub use folder::{Checkpoint, Folder, Place};
pub use header::{FileDType, Header, TensorInfo};
pub use names::{Found, Resolved, blocks_of, canonical, resolve};

use super::config::ConfigError;

/// Why a folder cannot be used. Names from files are cut to a readable length.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FilesError {
    /// The system refuses, or a file is shorter than it was.
    #[error("{0}")]
    Read(String),
    /// Too short to have a header.
    #[error("{file} has {len} bytes: too short for a safetensors file. It may be cut off: copy or download it again")]
    Short {
        /// File name.
        file: String,
        /// Its bytes.
        len: u64,
    },
    /// A header that cannot be there.
    #[error(
        "{file}: its first 8 bytes announce a header of {claimed} bytes, at most {allowed} are possible. It may be cut off, or no safetensors file: copy or download it again"
    )]
    HeaderLength {
        /// File name.
        file: String,
        /// Bytes of the header, as the file says.
        claimed: u64,
        /// What the file's length and the format allow.
        allowed: u64,
    },
    /// Text that cannot be understood.
    #[error("{file} is damaged: {reason}. Copy or download it again")]
    Json {
        /// File name.
        file: String,
        /// What the parser says.
        reason: String,
    },
    /// Two tensors of one name.
    #[error("{file} is damaged: it has two tensors called {tensor}. Copy or download it again")]
    Duplicate {
        /// File name.
        file: String,
        /// Tensor name.
        tensor: String,
    },
    /// An element type that the format does not have.
    #[error(
        "{file}: tensor {tensor} is of the unknown type {dtype}. Save the model again as float32, float16 or bfloat16"
    )]
    DType {
        /// File name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Its type, as the file says.
        dtype: String,
    },
    /// Whole numbers, or floats of a size that is not read as a weight.
    #[error(
        "{file}: tensor {tensor} is {dtype}; F32, F16 and BF16 are read. Save the model again as float32, float16 or bfloat16"
    )]
    Unread {
        /// File name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Its type.
        dtype: FileDType,
    },
    /// Shape and bytes of a tensor that contradict each other.
    #[error(
        "{file}: tensor {tensor} of shape {shape:?} and type {dtype} does not have {have} bytes. The file is damaged: copy or download it again"
    )]
    Size {
        /// File name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Dimensions.
        shape: Vec<u64>,
        /// Element type.
        dtype: FileDType,
        /// Bytes from start to end.
        have: u64,
    },
    /// A tensor outside the file's data, or one that ends before it starts.
    #[error(
        "{file}: tensor {tensor} lies at {start}..{end} of {data} bytes of data. The file may be cut off or damaged: copy or download it again"
    )]
    Range {
        /// File name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Bytes of data.
        data: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "{file}: tensors {tensor} and {other} overlap at byte {at} of the data. The file is damaged: copy or download it again"
    )]
    Overlap {
        /// File name.
        file: String,
        /// The later tensor.
        tensor: String,
        /// The earlier one.
        other: String,
        /// Where the later one starts.
        at: u64,
    },
    /// Bytes that belong to no tensor.
    #[error(
        "{file}: bytes {start}..{end} of the data belong to no tensor. The file is damaged: copy or download it again"
    )]
    Hole {
        /// File name.
        file: String,
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
    },
    /// Two files of one name.
    #[error("two files are called {0}. Give the files of one folder only")]
    SameFile(String),
    /// No weights.
    #[error("there is no *.safetensors file among {files}. Give the whole folder of a model")]
    NoWeights {
        /// The files there are.
        files: String,
    },
    /// Weights in a format that can run programs.
    #[error(
        "{0} is a pickle, which can run any program and is not read. Convert it with transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
    )]
    Pickle(String),
    /// Several files of weights and nothing that says how they belong together.
    #[error(
        "there are several files of weights ({files}) and neither model.safetensors nor model.safetensors.index.json. Give the index too, or one file alone"
    )]
    WhichFile {
        /// The files.
        files: String,
    },
    /// An index that names something else than a file beside it.
    #[error("{index} names the file \"{name}\": only names of *.safetensors files beside it are allowed")]
    ShardName {
        /// The index.
        index: String,
        /// What it says.
        name: String,
    },
    /// Files that the index names and the folder lacks.
    #[error("{index} names files that are not there: {files}. Download them too")]
    MissingShards {
        /// The index.
        index: String,
        /// The files.
        files: String,
    },
    /// A tensor that is not where the index says.
    #[error(
        "{index} puts the tensor {tensor} in {file}, which does not have it. The files may be of different models: download all of them again"
    )]
    NotInShard {
        /// The index.
        index: String,
        /// Tensor name.
        tensor: String,
        /// File name.
        file: String,
    },
    /// One tensor in two files.
    #[error(
        "tensor {tensor} is in {first} and in {second}. The files may be of different models: download all of them again"
    )]
    TwoShards {
        /// Tensor name.
        tensor: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A text file of an unlikely size.
    #[error("{file} has {len} bytes; text files of up to {limit} bytes are read")]
    TextSize {
        /// File name.
        file: String,
        /// Its bytes.
        len: u64,
        /// Allowed.
        limit: u64,
    },
    /// A file that must be there.
    #[error("{0} is missing. Give the whole folder of a model")]
    NoFile(String),
    /// A tensor that nobody has.
    #[error("no file has a tensor called {0}")]
    NoTensor(String),
    /// Two names in the files for one parameter.
    #[error("the tensors {first} and {second} are both {name}. Remove one of them from the files")]
    Twice {
        /// Hive's name.
        name: String,
        /// One of the files' names.
        first: String,
        /// The other.
        second: String,
    },
    /// Weights that do not fit the configuration.
    #[error("the weights do not fit config.json: {0}. Give config.json and weights of the same model")]
    Unfit(String),
    /// A configuration that is not supported.
    #[error("{file}: {text}")]
    Config {
        /// File name.
        file: String,
        /// What is wrong, with the key.
        text: String,
    },
}

impl From<ConfigError> for FilesError {
    fn from(e: ConfigError) -> Self {
        Self::Config { file: config::CONFIG.to_owned(), text: e.0 }
    }
}

/// Longest name in a sentence, in characters.
const SHOWN: usize = 120;
/// Most names in a sentence.
const LISTED: usize = 20;

/// A text from a file as it can stand in a sentence: without control characters, and cut.
fn shown(text: &str) -> String {
    cut(text, SHOWN)
}

fn cut(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// The first of a list of names or of short texts about them, and how many more there are.
fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let first: Vec<String> = names.iter().take(LISTED).map(|n| cut(n.as_ref(), 4 * SHOWN)).collect();
    let more = names.len() - first.len();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &tail
}
