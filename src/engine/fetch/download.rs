//! Fetching the files of a list: what is here stays, what was cut off goes on, what does not fit is read from elsewhere.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::address::{Address, is_usual};
use super::error::{FetchError, shown};
use super::list::{self, Listing, Remote, TEXT_LIMIT};
use super::manifest::{Entry, Manifest, hex, whole};
use super::options::{FetchOptions, FetchProgress, Fetched};
use super::sink::{Pace, Sink};
use crate::platform::{
    Blob, HttpError, HttpRequest, HttpResponse, NetworkFile, Store, StoreError, http_send, http_send_patiently,
    origin_of,
};

/// Largest file that is held in memory where it cannot be kept and not be read by parts.
const MEMORY: u64 = 128 << 20;
/// Files of up to so many bytes are held in memory where they cannot be kept: asking for each part of them would be slow.
const SMALL: u64 = 4 << 20;
/// Files above so many bytes are worth a word about servers that cannot go on.
const TOLD: u64 = 16 << 10;
const NO_RANGES: &str = "this server gives no parts of files: where the connection breaks, a file begins again";

/// One call of [`super::fetch`].
pub(super) struct Session<'a, F> {
    options: &'a FetchOptions,
    store: Option<Store>,
    place: String,
    /// Bytes that may still be kept, where that is known.
    room: Option<u64>,
    manifest: Manifest,
    notes: Vec<String>,
    progress: FetchProgress,
    tell: F,
}

/// Why a try failed.
enum Trouble {
    /// Another one may help; seconds that the server wants us to wait.
    Again(FetchError, Option<f64>),
    /// It does not.
    Final(FetchError),
    /// The server's parts are not those that were asked for.
    BadRanges,
}

impl From<FetchError> for Trouble {
    fn from(e: FetchError) -> Self {
        Self::Final(e)
    }
}

/// A file on its way.
struct Transfer<'a> {
    remote: &'a Remote,
    /// Its place in the manifest.
    at: usize,
    sink: Sink,
    /// Of what is there, where there is something to compare it with.
    hash: Sha256,
    /// Are parts asked for?
    ranges: bool,
}

impl<'a, F: FnMut(&FetchProgress) -> bool> Session<'a, F> {
    pub(super) fn new(
        address: &Address,
        options: &'a FetchOptions,
        store: Option<Store>,
        place: String,
        notes: Vec<String>,
        tell: F,
    ) -> Self {
        let hub = match address {
            Address::Hub { .. } => Some(options.endpoint.clone()).filter(|hub| !is_usual(hub)),
            Address::Folder { .. } => None,
        };
        let manifest = Manifest { address: address.to_string(), hub, ..Manifest::default() };
        Self { options, store, place, room: None, manifest, notes, progress: FetchProgress::default(), tell }
    }

    /// Fetches what is missing.
    pub(super) async fn run(mut self, listing: Listing, old: Option<Manifest>) -> Result<Fetched, FetchError> {
        self.manifest.commit = listing.commit;
        self.manifest.license = listing.license;
        self.manifest.files = listing.files.iter().map(|f| f.entry.clone()).collect();
        let mut blobs = self.settle(old.clone().unwrap_or_default()).await?;
        self.progress.total = self.manifest.files.iter().filter_map(|f| f.size).sum();
        self.room = match &self.store {
            Some(store) => [store.room().await, self.options.room].into_iter().flatten().min(),
            None => None,
        };
        if old.is_none_or(|old| old != self.manifest)
            && let Err(e) = self.save().await
            && blobs.iter().any(Option::is_none)
        {
            // Of a model that is whole nothing need be written: its disk may be read-only.
            return Err(e);
        }
        self.said("")?;
        let written = self.manifest.clone();
        let kept = |me: &Self| me.store.is_some();
        let mut all_kept = kept(&self);
        for (at, remote) in listing.files.iter().enumerate() {
            if blobs[at].is_none() {
                let (blob, is_kept) = self.one(at, remote).await?;
                blobs[at] = Some(blob);
                all_kept &= is_kept;
            }
        }
        if self.manifest != written {
            self.save().await?;
        }
        let place = (all_kept && kept(&self)).then_some(self.place);
        let blobs = blobs.into_iter().flatten().collect();
        Ok(Fetched { blobs, notes: self.notes, place, license: self.manifest.license })
    }

    /// Compares what is here with what is wanted: whole files are used, parts of the same contents stay, the rest goes.
    async fn settle(&mut self, old: Manifest) -> Result<Vec<Option<Blob>>, FetchError> {
        let Some(store) = self.store.clone() else { return Ok(vec![None; self.manifest.files.len()]) };
        let mut blobs = Vec::new();
        for entry in &mut self.manifest.files {
            let known = old.entry(&entry.name);
            let is_same = known.is_some_and(|k| k.is_same(entry));
            let mut blob = None;
            if let Some(known) = known.filter(|_| is_same) {
                entry.validator.clone_from(&known.validator);
                entry.size = entry.size.or(known.size);
                entry.came.clone_from(&known.came);
                blob = whole(&store, entry).await;
                let cached = match &blob {
                    Some(blob) => blob.len(),
                    None => store.part_len(&entry.name).await,
                };
                self.progress.cached += cached;
                self.progress.done += blob.as_ref().map_or(0, Blob::len);
            } else if known.is_none() && store.file(&entry.name).await.is_ok_and(|f| f.is_some()) {
                return Err(FetchError::Foreign { place: self.place.clone(), file: shown(&entry.name) });
            } else {
                store.remove(&entry.name).await.map_err(|e| trouble(&self.place, &e))?;
            }
            blobs.push(blob);
        }
        for gone in old.files.iter().filter(|f| self.manifest.entry(&f.name).is_none()) {
            store.remove(&gone.name).await.map_err(|e| trouble(&self.place, &e))?;
        }
        Ok(blobs)
    }

    /// Writes the manifest. Without room for it nothing is kept, where that is allowed.
    async fn save(&mut self) -> Result<(), FetchError> {
        let Some(store) = &self.store else { return Ok(()) };
        match self.manifest.write(store).await {
            Ok(()) => Ok(()),
            Err(e) if self.options.stream => {
                self.note(format!("nothing can be kept ({e}): the model is not there after a reload"));
                self.store = None;
                Ok(())
            }
            Err(StoreError::Full) => Err(self.full(super::manifest::NAME, 0)),
            Err(e) => Err(trouble(&self.place, &e)),
        }
    }

    fn full(&self, file: &str, missing: u64) -> FetchError {
        FetchError::Full { file: shown(file), missing: missing.div_ceil(1_000_000), place: self.place.clone() }
    }

    fn said(&mut self, file: &str) -> Result<(), FetchError> {
        if self.progress.file != file {
            self.progress.file = file.to_owned();
        }
        if (self.tell)(&self.progress) { Ok(()) } else { Err(FetchError::Stopped) }
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// One file, and whether it is kept.
    async fn one(&mut self, at: usize, remote: &Remote) -> Result<(Blob, bool), FetchError> {
        let name = &remote.entry.name;
        if let Some(store) = self.store.clone() {
            let before = self.progress.done;
            let fetched = if self.fits(&store, &remote.entry).await {
                self.kept(&store, at, remote).await
            } else {
                Err(self.full(name, remote.entry.size.unwrap_or(0)))
            };
            match fetched {
                Ok(blob) => {
                    self.room = self.room.map(|room| room.saturating_sub(blob.len()));
                    return Ok((blob, true));
                }
                Err(FetchError::Full { .. }) if self.options.stream => {
                    self.progress.done = before;
                    // Half a file is of no use and takes room from others. If it cannot be removed, it stays.
                    let _ = store.remove(name).await;
                }
                Err(e) => return Err(e),
            }
        }
        Ok((self.passing(at, remote).await?, false))
    }

    /// Is there room for what is missing of a file?
    async fn fits(&self, store: &Store, entry: &Entry) -> bool {
        let Some(room) = self.room else { return true };
        entry.size.unwrap_or(0).saturating_sub(store.part_len(&entry.name).await) <= room
    }

    async fn kept(&mut self, store: &Store, at: usize, remote: &Remote) -> Result<Blob, FetchError> {
        let name = &remote.entry.name;
        let failed = |me: &Self, e: StoreError| match e {
            StoreError::Full => me.full(name, remote.entry.size.unwrap_or(0)),
            other @ StoreError::Other(_) => trouble(&me.place, &other),
        };
        let part = store.part(name).await.map_err(|e| failed(self, e))?;
        let sink = self.transfer(at, remote, Sink::Part(part)).await?;
        match sink {
            Sink::Part(part) => part.finish().await.map_err(|e| failed(self, e)),
            Sink::Memory(bytes) => Ok(Blob::memory(name, bytes)),
        }
    }

    /// A file that is not kept: in memory, or read from its server when it is used.
    async fn passing(&mut self, at: usize, remote: &Remote) -> Result<Blob, FetchError> {
        let (name, size) = (&remote.entry.name, remote.entry.size.unwrap_or(0));
        let in_network = size > SMALL && self.has_ranges(remote).await?;
        if in_network {
            self.note(format!(
                "there is no room to keep {}: it is read from the network while the model loads",
                shown(name)
            ));
            let validator = self.manifest.files[at].validator.clone();
            let request = Arc::new(HttpRequest { if_range: validator, ..list::request(&remote.url, self.options) });
            self.progress.done += size;
            self.said(name)?;
            return Ok(Blob::network(name, size, NetworkFile { request }));
        }
        if size > MEMORY {
            return Err(self.full(name, size));
        }
        self.note("there is no room to keep the model: it runs from memory, and is fetched again next time".to_owned());
        match self.transfer(at, remote, Sink::Memory(Vec::with_capacity(size as usize))).await? {
            Sink::Memory(bytes) => Ok(Blob::memory(name, bytes)),
            Sink::Part(part) => part.finish().await.map_err(|e| trouble(&self.place, &e)),
        }
    }

    async fn has_ranges(&self, remote: &Remote) -> Result<bool, FetchError> {
        if let Some(known) = remote.ranges {
            return Ok(known);
        }
        let first = HttpRequest { range: Some((0, Some(1))), ..list::request(&remote.url, self.options) };
        let response = http_send_patiently(&first).await.map_err(|e| list::unreachable(&remote.url, &e))?;
        match response.status {
            206 => Ok(true),
            200 => Ok(false),
            _ => Err(list::refused(&remote.url, &response)),
        }
    }

    /// Brings the bytes of a file, in as many tries as it takes, and compares their hash.
    async fn transfer(&mut self, at: usize, remote: &Remote, sink: Sink) -> Result<Sink, FetchError> {
        let patience = self.options.patience;
        let base = self.progress.done;
        let mut it = Transfer { remote, at, sink, hash: Sha256::new(), ranges: true };
        let name = &remote.entry.name;
        let size = self.manifest.files[at].size;
        if remote.ranges == Some(false) && size.is_some_and(|size| size > TOLD) {
            self.note(NO_RANGES.to_owned());
        }
        if size.is_some_and(|size| it.sink.len() > size) {
            it.sink.restart().await.map_err(|e| trouble(&self.place, &e))?;
        }
        it.hash = it.sink.hash().await.map_err(|e| trouble(&self.place, &e))?;
        self.progress.done = base + it.sink.len();
        let (mut tries, mut most) = (1, it.sink.len());
        while size != Some(it.sink.len()) {
            match self.attempt(&mut it, base).await {
                Ok(()) => break,
                Err(Trouble::Final(e)) => return Err(e),
                Err(Trouble::BadRanges) => {
                    it.ranges = false;
                    self.note(format!(
                        "the server gives other parts of {} than were asked for: it is fetched whole",
                        shown(name)
                    ));
                }
                Err(Trouble::Again(e, requested)) => {
                    tries = if it.sink.len() > most { 1 } else { tries + 1 };
                    most = most.max(it.sink.len());
                    if tries > patience.tries {
                        // The rest can come another day.
                        let _ = it.sink.keep().await;
                        return Err(e);
                    }
                    self.progress.trouble = format!("{}: try {tries} of {}", e.in_short(), patience.tries);
                    self.said(name)?;
                    patience.pause((tries - 1).max(1), requested).await;
                }
            }
        }
        self.progress.total += it.sink.len() - size.unwrap_or(0);
        self.manifest.files[at].size = Some(it.sink.len());
        if size.is_none() {
            self.save().await?;
        }
        let have = hex(it.hash);
        // Written down with the next change of the manifest, or at the end.
        self.manifest.files[at].came = Some(have.clone());
        match &remote.entry.sha256 {
            Some(want) if *want != have => {
                drop(it.sink);
                if let Some(store) = &self.store {
                    store.remove(name).await.map_err(|e| trouble(&self.place, &e))?;
                }
                Err(FetchError::Hash { file: shown(name), want: want.clone(), have })
            }
            _ => Ok(it.sink),
        }
    }

    /// One request, and what comes of it.
    async fn attempt(&mut self, it: &mut Transfer<'_>, base: u64) -> Result<(), Trouble> {
        let (remote, name) = (it.remote, it.remote.entry.name.clone());
        let entry = &self.manifest.files[it.at];
        // Going on is safe if the contents are known to be the same, or are compared at the end.
        if it.sink.len() > 0 && !(it.ranges && (entry.validator.is_some() || entry.sha256.is_some())) {
            self.restart(it, base).await?;
        }
        let start = it.sink.len();
        let request = HttpRequest {
            // A range from 0 on, too: browsers ask for compressed files otherwise, whose lengths mean something else.
            range: it.ranges.then_some((start, None)),
            if_range: self.manifest.files[it.at].validator.clone().filter(|_| start > 0),
            ..list::request(&remote.url, self.options)
        };
        let mut response = http_send(&request).await.map_err(|e| again(&remote.url, &e))?;
        self.check(it, base, &response).await?;
        let size = self.manifest.files[it.at].size;
        let mut pace = Pace::new();
        while let Some(bytes) = response.next().await.map_err(|e| again(&remote.url, &e))? {
            let end = it.sink.len() + bytes.len() as u64;
            if end > size.unwrap_or(TEXT_LIMIT) {
                self.restart(it, base).await?;
                let text = format!(
                    "{} is longer than the {} bytes that were announced",
                    shown(&name),
                    size.unwrap_or(TEXT_LIMIT)
                );
                return Err(FetchError::Lying(text).into());
            }
            match it.sink.write(&bytes).await {
                Ok(()) => {}
                Err(StoreError::Full) => return Err(self.full(&name, size.unwrap_or(0) - it.sink.len()).into()),
                Err(e) => return Err(trouble(&self.place, &e).into()),
            }
            it.hash.update(&bytes);
            self.progress.done = base + it.sink.len();
            self.progress.trouble.clear();
            if let Some(rate) = pace.crawls(bytes.len() as u64, &self.options.patience) {
                let _ = it.sink.keep().await;
                let hours = size.unwrap_or(0).saturating_sub(it.sink.len()) / rate / 3600;
                let host = shown(origin_of(&remote.url));
                return Err(FetchError::Slow { host, file: shown(&name), rate, hours }.into());
            }
            if let Err(stopped) = self.said(&name) {
                let _ = it.sink.keep().await;
                return Err(stopped.into());
            }
        }
        match size {
            Some(size) if it.sink.len() < size => {
                let text = format!("{} ends after {} of {size} bytes", shown(&name), it.sink.len());
                Err(Trouble::Again(FetchError::Lying(text), None))
            }
            _ => Ok(()),
        }
    }

    async fn restart(&mut self, it: &mut Transfer<'_>, base: u64) -> Result<(), FetchError> {
        it.sink.restart().await.map_err(|e| trouble(&self.place, &e))?;
        it.hash = Sha256::new();
        self.progress.done = base;
        Ok(())
    }

    /// Do the headers fit what was asked for? Afterwards the sink is where the body begins.
    async fn check(&mut self, it: &mut Transfer<'_>, base: u64, response: &HttpResponse) -> Result<(), Trouble> {
        let (remote, name) = (it.remote, shown(&it.remote.entry.name));
        let start = it.sink.len();
        let new = response.validator().map(str::to_owned);
        let known = self.manifest.files[it.at].validator.clone();
        if response.is_passing() {
            return Err(Trouble::Again(list::refused(&remote.url, response), response.retry_after()));
        }
        match response.status {
            200 if start > 0 => {
                self.restart(it, base).await?;
                self.note(format!("the server did not go on with {name}: it is fetched again from its first byte"));
            }
            206 if it.ranges => {
                // A browser may hide the header; then the length decides.
                let last = self.manifest.files[it.at].size.map(|size| size - 1);
                let fits = |r: crate::platform::ContentRange| {
                    let all = r.len.is_none_or(|len| last.is_none_or(|l| len == l + 1));
                    all && r.bytes.is_some_and(|(a, b)| a == start && last.is_none_or(|l| b == l))
                };
                if response.content_range().is_some_and(|r| !fits(r)) {
                    return Err(Trouble::BadRanges);
                }
                // Without a word about the contents a part may be of another file; a hash would tell at the end.
                let silent = new.is_none() && remote.entry.sha256.is_none();
                if start > 0 && known.is_some() && new != known && (new.is_some() || silent) {
                    self.restart(it, base).await?;
                    self.manifest.files[it.at].validator = None;
                    return Err(Trouble::Again(FetchError::Lying(format!("{name} has changed")), None));
                }
            }
            200 => {}
            416 if start > 0 => {
                self.restart(it, base).await?;
                return Err(Trouble::Again(FetchError::Lying(format!("{name} is shorter than it was")), None));
            }
            206 => {
                return Err(
                    FetchError::Lying(format!("the server sends a part of {name}, all of it was asked for")).into()
                );
            }
            _ => return Err(list::refused(&remote.url, response).into()),
        }
        let start = it.sink.len();
        if let (Some(size), Some(n)) = (self.manifest.files[it.at].size, response.content_length())
            && n != size - start
        {
            let text = format!("the server announces {n} bytes of {name}, {} are expected", size - start);
            return Err(FetchError::Lying(text).into());
        }
        if start == 0 && new != known {
            self.manifest.files[it.at].validator = new;
            self.save().await?;
        }
        Ok(())
    }
}

fn again(url: &str, e: &HttpError) -> Trouble {
    let error = list::unreachable(url, e);
    match e {
        HttpError::Broken(_) => Trouble::Again(error, None),
        HttpError::Refused(_) => Trouble::Final(error),
    }
}

fn trouble(place: &str, e: &StoreError) -> FetchError {
    FetchError::Store { place: place.to_owned(), reason: e.to_string() }
}
