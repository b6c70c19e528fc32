//! How to fetch, how far it is, and what comes of it.

use super::address::{Address, ENDPOINT};
use super::error::FetchError;
use crate::platform::{self, Blob, Patience};

/// How to fetch.
#[derive(Clone)]
pub struct FetchOptions {
    /// Address of the hub.
    pub endpoint: String,
    /// Token for the hub; sent to nobody else, and never printed.
    pub token: Option<String>,
    /// The folder to fetch into, instead of one in the cache. Native only.
    pub folder: Option<String>,
    /// The cache, instead of the user's own.
    pub cache: Option<String>,
    /// Never asks the network.
    pub offline: bool,
    /// Bytes that may be kept, where that is less than what there is room for.
    pub room: Option<u64>,
    /// Without room: use the model from memory or over the network, instead of refusing?
    pub stream: bool,
    /// How long and how often a server is asked.
    pub patience: Patience,
    /// Hears that a server is asked again for what there is; false stops.
    pub tell: Option<fn(&str) -> bool>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            token: None,
            folder: None,
            cache: None,
            offline: false,
            room: None,
            stream: !platform::BLOCKING,
            patience: Patience::default(),
            tell: None,
        }
    }
}

impl FetchOptions {
    /// The defaults, with `HF_ENDPOINT` and `HF_TOKEN` of the environment where they are set.
    ///
    /// # Errors
    /// A value that cannot be one.
    pub fn from_environment() -> Result<Self, FetchError> {
        let default = Self::default();
        let set = |name| platform::variable(name).map_err(|_not_unicode| FetchError::Variable(name));
        let (endpoint, token) = (set("HF_ENDPOINT")?, set("HF_TOKEN")?);
        // It becomes a line of a request.
        if token.as_ref().is_some_and(|t| !t.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(FetchError::Variable("HF_TOKEN"));
        }
        if endpoint.as_ref().is_some_and(|e| !matches!(Address::parse(e), Ok(Address::Folder { .. }))) {
            return Err(FetchError::Variable("HF_ENDPOINT"));
        }
        Ok(Self { endpoint: endpoint.unwrap_or(default.endpoint), token, ..default })
    }

    pub(super) fn root(&self) -> Option<String> {
        self.cache.clone().or_else(platform::cache_root)
    }

    /// Where the files of an address are.
    #[must_use]
    pub fn place(&self, address: &Address) -> Option<String> {
        self.folder.clone().or_else(|| Some(format!("{}/{}", self.root()?, address.key(&self.endpoint))))
    }
}

/// How far it is. Bytes count over all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// The file that is being fetched.
    pub file: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all files. Known before the first byte of weights.
    pub total: u64,
    /// Bytes that were here before.
    pub cached: u64,
    /// What it waits for, as a sentence; empty as long as bytes come.
    pub trouble: String,
}

/// A model's files.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Its files, for `Folder::new`.
    pub blobs: Vec<Blob>,
    /// Sentences that its user should read.
    pub notes: Vec<String>,
    /// Where the files are, if all of them are kept.
    pub place: Option<String>,
    /// Licence, as the model's card says.
    pub license: Option<String>,
}
