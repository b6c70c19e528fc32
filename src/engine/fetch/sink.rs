//! Where the bytes of a file go while they come, and how fast they come.

use sha2::{Digest as _, Sha256};

use crate::platform::{Part, Patience, StoreError, now_secs};

/// Bytes that are read at a time to hash what is there.
const PIECE: usize = 1 << 20;

/// Where bytes go.
pub(super) enum Sink {
    Part(Part),
    Memory(Vec<u8>),
}

impl Sink {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Part(part) => part.bytes(),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Part(part) => part.write(bytes).await,
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub(super) async fn restart(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Part(part) => part.restart().await,
            Self::Memory(all) => {
                all.clear();
                Ok(())
            }
        }
    }

    pub(super) async fn keep(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Part(part) => part.keep().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// The hash of what is there.
    pub(super) async fn hash(&mut self) -> Result<Sha256, StoreError> {
        let mut hash = Sha256::new();
        match self {
            Self::Memory(all) => hash.update(all),
            Self::Part(part) => {
                let mut at = 0;
                while at < part.bytes() {
                    let bytes = part.read(at, PIECE).await?;
                    at += bytes.len() as u64;
                    hash.update(bytes);
                }
            }
        }
        Ok(hash)
    }
}

/// How fast bytes come.
pub(super) struct Pace {
    since: f64,
    bytes: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: now_secs(), bytes: 0 }
    }

    /// Counts bytes; gives bytes a second where a whole interval brought too few of them.
    pub(super) fn crawls(&mut self, bytes: u64, patience: &Patience) -> Option<u64> {
        self.bytes += bytes;
        let secs = now_secs() - self.since;
        if secs < patience.interval_secs {
            return None;
        }
        let rate = (self.bytes as f64 / secs) as u64;
        *self = Self::new();
        (rate < patience.least_rate).then_some(rate.max(1))
    }
}
