//! Why a model cannot be fetched.

use thiserror::Error;

use crate::model::files::cut;

/// Why a model cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentences say what the fields are")]
pub enum FetchError {
    /// Neither an id nor an address.
    #[error("\"{text}\" names no model: {reason}. Give OWNER/NAME or an http address of a folder")]
    Address { text: String, reason: &'static str },
    /// A variable of the environment.
    #[error(
        "the variable {0} of the environment has a value that cannot be one: HF_ENDPOINT is an http address, HF_TOKEN is of letters, digits and signs. Set it anew, or unset it"
    )]
    Variable(&'static str),
    /// No model of that id.
    #[error("the hub has no model {id} at {revision}. Check the spelling; a private model needs HF_TOKEN")]
    NoModel { id: String, revision: String },
    #[error("there is no {url}. Check the address")]
    NotThere { url: String },
    #[error(
        "{url} is not open to everybody (status {status}). If it is a model of a hub, accept its licence on its page and set HF_TOKEN"
    )]
    Denied { url: String, status: u16 },
    #[error("{url} answers with status {status}. Try again later")]
    Server { url: String, status: u16 },
    #[error("{host} cannot be reached: {reason}. Check the network, then try again: it goes on where it stopped")]
    Network { host: String, reason: String },
    /// Not the files of a model.
    #[error("this is no model that can be fetched: {0}. Choose another one")]
    NoFiles(String),
    /// A file whose length nobody tells.
    #[error(
        "the server does not say how long {url} is: it must send Content-Length, or Content-Range for parts of files (for pages from elsewhere also Access-Control-Expose-Headers: Content-Range)"
    )]
    NoLength { url: String },
    /// A name from the server that would lead out of the folder.
    #[error("the server names a file \"{0}\", which is a path and not a name. It is not written")]
    Path(String),
    /// A server that contradicts itself.
    #[error("{0}. The server is faulty, or the file has changed meanwhile: try again, or another server")]
    Lying(String),
    /// Other contents than the hub says.
    #[error("{file} has the SHA-256 {have}, the hub says {want}. What was fetched of it is removed: try again")]
    Hash { file: String, want: String, have: String },
    #[error(
        "there is no room for {file}: {missing} MB are missing in {place}. Make room and try again: it goes on where it stopped"
    )]
    Full { file: String, missing: u64, place: String },
    /// Files of somebody else.
    #[error("{place} has a file {file} that was not fetched into it. Choose another folder, or remove the file")]
    Foreign { place: String, file: String },
    #[error("{place} cannot be used: {reason}")]
    Store { place: String, reason: String },
    #[error("{address} is not here. Get it with: hive fetch {address}")]
    Absent { address: String },
    #[error("of {address}, {file} is not whole yet. Go on with: hive fetch {address}")]
    Incomplete { address: String, file: String },
    /// Stopped by the one who is told of the progress.
    /// Files that are not as they were fetched.
    #[error("{place} has other contents than were fetched: {files}. Get them again with: hive fetch {address}")]
    Differs { address: String, place: String, files: String },
    /// A server that gives bytes, but hardly any.
    #[error(
        "{host} sends {rate} bytes a second: {file} would take {hours} hours. Try again later or elsewhere: it goes on where it stopped"
    )]
    Slow { host: String, file: String, rate: u64, hours: u64 },
    #[error("stopped. Fetching it again goes on from here")]
    Stopped,
}

impl FetchError {
    /// What is wrong, without what to do.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Network { host, reason } => format!("{host}: {reason}"),
            Self::Server { url, status } => format!("{url} answers with status {status}"),
            Self::Lying(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A text from elsewhere as it can stand in a sentence: without control characters, and cut.
pub(super) fn shown(text: &str) -> String {
    cut(text, 200)
}
