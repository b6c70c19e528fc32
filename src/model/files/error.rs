//! Why files of models cannot be used, and texts from files as they can stand in a sentence.

use thiserror::Error;

use super::dtype::FileDType;
use crate::model::config::ConfigError;

/// The configuration of a model.
pub(super) const CONFIG: &str = "config.json";

/// Why a folder cannot be used. Names from files are cut to a readable length.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum FilesError {
    /// The system refuses, or a file is shorter than it was.
    #[error("{0}")]
    Read(String),
    /// Too short to have a header.
    #[error("{file} has {len} bytes: too short for a safetensors file. It may be cut off: copy or download it again")]
    Short { file: String, len: u64 },
    /// A header that cannot be there.
    #[error(
        "{file}: its first 8 bytes announce a header of {claimed} bytes, at most {allowed} are possible. It may be cut off, or no safetensors file: copy or download it again"
    )]
    HeaderLength { file: String, claimed: u64, allowed: u64 },
    /// A line of text where a large file belongs.
    #[error("{0} is a Git LFS pointer, not the file itself. Fetch it in its folder with: git lfs pull")]
    Pointer(String),
    /// Weights of llama.cpp.
    #[error(
        "{0} is a GGUF file, which is not read. Give the folder with config.json, tokenizer.json and *.safetensors that it was made from"
    )]
    Gguf(String),
    /// What a server sends in place of a file.
    #[error(
        "{0} is a web page, not the file itself: its address needs a login, or is that of a page about the file. Download it again with: hive fetch ID"
    )]
    Page(String),
    /// Weights of other runtimes.
    #[error(
        "{0} is made for another program and is not read. Give the folder with config.json, tokenizer.json and *.safetensors that it was made from"
    )]
    Foreign(String),
    /// What changes a model, without the model.
    #[error(
        "the folder holds an adapter (adapter_config.json), which is not read alone. Merge it into its model with peft: merge_and_unload(), then save_pretrained(FOLDER)"
    )]
    Adapter,
    /// A tokenizer of sentencepiece.
    #[error(
        "tokenizer.json is missing; tokenizer.model, or vocab.json with merges.txt, is not read. Make the former with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )]
    Sentencepiece,
    /// A weight that is no number.
    #[error(
        "{file}: tensor {tensor} has values that are no finite numbers (NaN or infinity). Save the model again, or download it again"
    )]
    NotFinite { file: String, tensor: String },
    /// Text that cannot be understood.
    #[error("{file} is damaged: {reason}. Copy or download it again")]
    Json { file: String, reason: String },
    /// Two tensors of one name.
    #[error("{file} is damaged: it has two tensors called {tensor}. Copy or download it again")]
    Duplicate { file: String, tensor: String },
    /// An element type that the format does not have.
    #[error(
        "{file}: tensor {tensor} is of the unknown type {dtype}. Save the model again as float32, float16 or bfloat16"
    )]
    DType { file: String, tensor: String, dtype: String },
    /// Whole numbers, or floats of a size that is not read as a weight.
    #[error(
        "{file}: tensor {tensor} is {dtype}; F32, F16 and BF16 are read. Save the model again as float32, float16 or bfloat16"
    )]
    Unread { file: String, tensor: String, dtype: FileDType },
    /// Shape and bytes of a tensor that contradict each other.
    #[error(
        "{file}: tensor {tensor} of shape {shape:?} and type {dtype} does not have {have} bytes. The file is damaged: copy or download it again"
    )]
    Size { file: String, tensor: String, shape: Vec<u64>, dtype: FileDType, have: u64 },
    /// A tensor outside the file's data, or one that ends before it starts.
    #[error(
        "{file}: tensor {tensor} lies at {start}..{end} of {data} bytes of data. The file may be cut off or damaged: copy or download it again"
    )]
    Range { file: String, tensor: String, start: u64, end: u64, data: u64 },
    /// Two tensors share bytes.
    #[error(
        "{file}: tensors {tensor} and {other} overlap at byte {at} of the data. The file is damaged: copy or download it again"
    )]
    Overlap { file: String, tensor: String, other: String, at: u64 },
    /// Bytes that belong to no tensor.
    #[error(
        "{file}: bytes {start}..{end} of the data belong to no tensor. The file is damaged: copy or download it again"
    )]
    Hole { file: String, start: u64, end: u64 },
    /// Two files of one name.
    #[error("two files are called {0}. Give the files of one folder only")]
    SameFile(String),
    /// No weights.
    #[error("there is no *.safetensors file among {files}. Give the whole folder of a model")]
    NoWeights { files: String },
    /// Weights in a format that can run programs.
    #[error(
        "{0} is a pickle, which can run any program and is not read. Convert it with transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
    )]
    Pickle(String),
    /// Several files of weights and nothing that says how they belong together.
    #[error(
        "there are several files of weights ({files}) and neither model.safetensors nor model.safetensors.index.json. Give the index too, or one file alone"
    )]
    WhichFile { files: String },
    /// An index that names something else than a file beside it.
    #[error("{index} names the file \"{name}\": only names of *.safetensors files beside it are allowed")]
    ShardName { index: String, name: String },
    /// Files that the index names and the folder lacks.
    #[error("{index} names files that are not there: {files}. Download them too")]
    MissingShards { index: String, files: String },
    /// A tensor that is not where the index says.
    #[error(
        "{index} puts the tensor {tensor} in {file}, which does not have it. The files may be of different models: download all of them again"
    )]
    NotInShard { index: String, tensor: String, file: String },
    /// One tensor in two files.
    #[error(
        "tensor {tensor} is in {first} and in {second}. The files may be of different models: download all of them again"
    )]
    TwoShards { tensor: String, first: String, second: String },
    /// A text file of an unlikely size.
    #[error("{file} has {len} bytes; text files of up to {limit} bytes are read")]
    TextSize { file: String, len: u64, limit: u64 },
    /// A file that must be there.
    #[error("{0} is missing. Give the whole folder of a model")]
    NoFile(String),
    /// A tensor that nobody has.
    #[error("no file has a tensor called {0}")]
    NoTensor(String),
    /// Two names in the files for one parameter.
    #[error("the tensors {first} and {second} are both {name}. Remove one of them from the files")]
    Twice { name: String, first: String, second: String },
    /// Weights that do not fit the configuration.
    #[error("the weights do not fit config.json: {0}. Give config.json and weights of the same model")]
    Unfit(String),
    /// A configuration that is not supported.
    #[error("{file}: {text}")]
    Config { file: String, text: String },
}

impl From<ConfigError> for FilesError {
    fn from(e: ConfigError) -> Self {
        Self::Config { file: CONFIG.to_owned(), text: e.0 }
    }
}

/// Longest name in a sentence, in characters.
const SHOWN: usize = 120;
/// Most names in a sentence.
pub(super) const LISTED: usize = 20;

/// A text from a file as it can stand in a sentence: without control characters, and cut.
pub(super) fn shown(text: &str) -> String {
    cut(text, SHOWN)
}

/// At most so many characters of a text from elsewhere, without control characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// The first of a list of names or of short texts about them, and how many more there are.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let first: Vec<String> = names.iter().take(LISTED).map(|n| cut(n.as_ref(), 4 * SHOWN)).collect();
    let more = names.len() - first.len();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &tail
}
