//! Weights that ship with Hive. The native program carries them. The page's module does not: they are files beside it, which
//! are fetched when something needs them, and kept by the page's worker.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::platform::{self, BrowserCache, HttpError, HttpRequest, Patience};

/// The files' folder beside the page.
const FOLDER: &str = "models";
/// People wait for it: a server is not asked for long.
const PATIENCE: Patience = Patience { secs: 30.0, tries: 3, pause_secs: 0.5, interval_secs: 60.0, least_rate: 256 };

/// A file of weights.
pub struct Shipped {
    /// `-start`: pre-trained tower and language model; without it: the trained model.
    pub(super) name: &'static str,
    len: usize,
    sha256: &'static str,
    /// Natively its bytes.
    carried: Option<&'static [u8]>,
    /// In the page its bytes, once they were fetched.
    fetched: OnceLock<Vec<u8>>,
}

// `ALL`, as the build found them.
include!(concat!(env!("OUT_DIR"), "/models.rs"));

/// Why weights that ship with the page are not here.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ShippedError {
    #[error("the weights {name} cannot be fetched: {reason}")]
    Absent { name: &'static str, reason: String },
    #[error("the server has other weights {name} than this version of the page needs")]
    Other { name: &'static str },
}

impl ShippedError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Absent { .. } => {
                "Check the connection, then try again. If the server has no such file, the page was copied without its folder models."
            }
            Self::Other { .. } => "Reload the page. If that does not help, its folder models was not copied with it.",
        }
    }
}

impl Shipped {
    /// What there is to know of a file: `carried` are its bytes, where the program has them.
    #[must_use]
    pub const fn new(name: &'static str, len: usize, sha256: &'static str, carried: Option<&'static [u8]>) -> Self {
        Self { name, len, sha256, carried, fetched: OnceLock::new() }
    }

    /// The file. `tell` hears how many bytes of how many have come.
    pub(super) async fn bytes(&self, tell: impl FnMut(usize, usize)) -> Result<&[u8], ShippedError> {
        match self.carried {
            Some(bytes) => Ok(bytes),
            None => self.fetched_from(&platform::beside_page(FOLDER), tell).await,
        }
    }

    /// The file out of a folder of a server; asked for once.
    ///
    /// # Errors
    /// A server that cannot be reached, has no such file, or another one.
    pub async fn fetched_from(&self, folder: &str, mut tell: impl FnMut(usize, usize)) -> Result<&[u8], ShippedError> {
        if let Some(bytes) = self.fetched.get() {
            return Ok(bytes);
        }
        // The hash makes another address of other contents, so that whoever keeps answers does not mix versions.
        let url = format!("{folder}/{}.safetensors?v={}", self.name, self.sha256.get(..16).unwrap_or_default());
        let request = |cache| HttpRequest { cache, patience: PATIENCE, ..HttpRequest::get(&url) };
        // What was kept may be damaged: then it is fetched anew.
        for cache in [BrowserCache::Used, BrowserCache::Renewed] {
            let bytes = self.download(&request(cache), &mut tell).await?;
            if Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>() == self.sha256 {
                return Ok(self.fetched.get_or_init(|| bytes));
            }
        }
        Err(ShippedError::Other { name: self.name })
    }

    /// What the server sends, asked again where that may help.
    async fn download(
        &self,
        request: &HttpRequest,
        tell: &mut impl FnMut(usize, usize),
    ) -> Result<Vec<u8>, ShippedError> {
        let mut tries = 1;
        loop {
            match self.download_once(request, tell).await {
                Ok(bytes) => return Ok(bytes),
                Err(HttpError::Broken(_)) if tries < request.patience.tries => {}
                Err(e) => return Err(ShippedError::Absent { name: self.name, reason: e.text().to_owned() }),
            }
            request.patience.pause(tries, None).await;
            tries += 1;
        }
    }

    async fn download_once(
        &self,
        request: &HttpRequest,
        tell: &mut impl FnMut(usize, usize),
    ) -> Result<Vec<u8>, HttpError> {
        tell(0, self.len);
        let mut response = platform::http_send(request).await?;
        if response.status != 200 {
            let text = format!("the server answers with status {}", response.status);
            return Err(if response.is_passing() { HttpError::Broken(text) } else { HttpError::Refused(text) });
        }
        let mut bytes = Vec::with_capacity(self.len);
        while let Some(piece) = response.next().await? {
            bytes.extend_from_slice(&piece);
            // More than that is another file.
            if bytes.len() > self.len {
                break;
            }
            tell(bytes.len(), self.len);
        }
        Ok(bytes)
    }
}
