//! Browser side of `Store`: a folder of the page's private files. A writer of such a file works on a copy, and what it wrote
//! is lost with a reload before it is closed; so a file is kept as pieces `NAME@START` of some MB, which are read as one. An
//! empty file `NAME.whole` says that it is complete.

use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemRemoveOptions, FileSystemWritableFileStream,
};

use super::Blob;
use super::store::StoreError;
use super::web_blob::FileBytes;
use super::web_http::words;

/// Bytes of a piece: what a reload loses at most.
const PIECE: u64 = 8 << 20;
/// Ending of the file that says that a file is complete.
const WHOLE: &str = ".whole";

/// What a writer holds.
#[derive(Debug)]
pub struct Claim;

/// A folder of fetched files.
#[derive(Clone, Debug)]
pub struct Store {
    folder: FileSystemDirectoryHandle,
}

/// Where models are kept.
#[must_use]
pub fn cache_root() -> Option<String> {
    Some("models".to_owned())
}

fn name_of(e: &JsValue) -> String {
    Reflect::get(e, &"name".into()).ok().and_then(|n| n.as_string()).unwrap_or_default()
}

fn fault(e: &JsValue) -> StoreError {
    if name_of(e) == "QuotaExceededError" { StoreError::Full } else { StoreError::Other(words(e)) }
}

/// A missing file is no error here.
fn if_there<T>(result: Result<T, JsValue>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if name_of(&e) == "NotFoundError" => Ok(None),
        Err(e) => Err(fault(&e)),
    }
}

async fn root() -> Result<FileSystemDirectoryHandle, StoreError> {
    let storage = web_sys::window().map(|w| w.navigator().storage());
    // Some browsers have none in private windows, or on pages that are not secure.
    let storage = storage.filter(|s| Reflect::has(s, &"getDirectory".into()).unwrap_or(false));
    let storage = storage.ok_or_else(|| StoreError::Other("this browser has no private files".to_owned()))?;
    let folder = JsFuture::from(storage.get_directory()).await.map_err(|e| fault(&e))?;
    Ok(folder.unchecked_into())
}

async fn folder_at(path: &str, create: bool) -> Result<Option<FileSystemDirectoryHandle>, StoreError> {
    let mut folder = root().await?;
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(create);
        let next = JsFuture::from(folder.get_directory_handle_with_options(part, &options)).await;
        let Some(next) = if_there(next)? else { return Ok(None) };
        folder = next.unchecked_into();
    }
    Ok(Some(folder))
}

/// Names of a folder's entries of a kind, `file` or `directory`, sorted.
async fn names(folder: &FileSystemDirectoryHandle, kind: &str) -> Result<Vec<String>, StoreError> {
    let (entries, mut out) = (folder.values(), Vec::new());
    loop {
        let next = entries.next().map_err(|e| fault(&e))?;
        let next = JsFuture::from(next).await.map_err(|e| fault(&e))?;
        if Reflect::get(&next, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            out.sort();
            return Ok(out);
        }
        let entry = Reflect::get(&next, &"value".into()).map_err(|e| fault(&e))?;
        let text = |key: &str| Reflect::get(&entry, &key.into()).ok().and_then(|v| v.as_string());
        if text("kind").as_deref() == Some(kind) {
            out.extend(text("name"));
        }
    }
}

impl Store {
    /// The folder at `path`, which is made.
    ///
    /// # Errors
    /// The browser has no such files, or refuses.
    pub async fn open(path: &str) -> Result<Self, StoreError> {
        let folder = folder_at(path, true).await?;
        folder.map(|folder| Self { folder }).ok_or_else(|| StoreError::Other("the browser makes no folder".to_owned()))
    }

    /// The folder for one writer alone. Browsers tell nobody whose tab writes what: two tabs that fetch the same at once both
    /// do the work, and each piece is written whole by one of them.
    #[expect(clippy::unused_async, reason = "as natively")]
    pub async fn claim(&self) -> Result<Option<Claim>, StoreError> {
        Ok(Some(Claim))
    }

    /// Names of the folders in a cache, sorted.
    pub async fn folders(root: &str) -> Result<Vec<String>, StoreError> {
        match folder_at(root, false).await? {
            Some(folder) => names(&folder, "directory").await,
            None => Ok(Vec::new()),
        }
    }

    /// Removes a folder of a cache with all its files.
    pub async fn forget(root: &str, name: &str) -> Result<(), StoreError> {
        let Some(folder) = folder_at(root, false).await? else { return Ok(()) };
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        if_there(JsFuture::from(folder.remove_entry_with_options(name, &options)).await).map(drop)
    }

    async fn handle(&self, name: &str, create: bool) -> Result<Option<FileSystemFileHandle>, StoreError> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        let handle = JsFuture::from(self.folder.get_file_handle_with_options(name, &options)).await;
        Ok(if_there(handle)?.map(JsValue::unchecked_into))
    }

    async fn entry(&self, name: &str) -> Result<Option<File>, StoreError> {
        let Some(handle) = self.handle(name, false).await? else { return Ok(None) };
        let file = JsFuture::from(handle.get_file()).await.map_err(|e| fault(&e))?;
        Ok(Some(file.unchecked_into()))
    }

    async fn writer(&self, name: &str) -> Result<FileSystemWritableFileStream, StoreError> {
        let handle = self.handle(name, true).await?;
        let handle = handle.ok_or_else(|| StoreError::Other(format!("the browser makes no file {name}")))?;
        if !Reflect::has(&handle, &"createWritable".into()).unwrap_or(false) {
            return Err(StoreError::Other("this browser does not let pages write their private files".to_owned()));
        }
        let writer = JsFuture::from(handle.create_writable()).await.map_err(|e| fault(&e))?;
        Ok(writer.unchecked_into())
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let writer = self.writer(name).await?;
        append(&writer, bytes).await?;
        close(&writer).await
    }

    /// Bytes that the cache may still take, as the browser estimates.
    pub async fn room(&self) -> Option<u64> {
        let estimate = web_sys::window()?.navigator().storage().estimate().ok()?;
        let estimate = JsFuture::from(estimate).await.ok()?;
        let number = |key: &str| Reflect::get(&estimate, &key.into()).ok()?.as_f64();
        Some((number("quota")? - number("usage")?).max(0.0) as u64)
    }

    /// Bytes of all files, whole or not.
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let mut sum = 0;
        for name in names(&self.folder, "file").await? {
            sum += self.entry(&name).await?.map_or(0, |f| f.size() as u64);
        }
        Ok(sum)
    }

    /// A small text file.
    pub async fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        let Some(file) = self.entry(name).await? else { return Ok(None) };
        Ok(JsFuture::from(file.text()).await.map_err(|e| fault(&e))?.as_string())
    }

    /// Writes a small text file, all or nothing.
    pub async fn put_text(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.put(name, text.as_bytes()).await
    }

    /// The pieces of a file from its start on.
    async fn pieces(&self, name: &str) -> Result<Pieces, StoreError> {
        let mut out = Pieces { files: Array::new(), len: 0 };
        while let Some(file) = self.entry(&piece(name, out.len)).await? {
            if file.size() == 0.0 {
                break;
            }
            out.push(&file);
        }
        Ok(out)
    }

    /// A whole file.
    pub async fn file(&self, name: &str) -> Result<Option<Blob>, StoreError> {
        match self.entry(&format!("{name}{WHOLE}")).await? {
            Some(_) => self.pieces(name).await?.blob(name).map(Some),
            None => Ok(None),
        }
    }

    /// Bytes of a file that is not whole yet.
    pub async fn part_len(&self, name: &str) -> u64 {
        self.pieces(name).await.map_or(0, |p| p.len)
    }

    /// Removes a file, whole or not.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let (whole, start) = (format!("{name}{WHOLE}"), format!("{name}@"));
        for entry in names(&self.folder, "file").await? {
            if entry == whole || entry.starts_with(&start) {
                if_there(JsFuture::from(self.folder.remove_entry(&entry)).await)?;
            }
        }
        Ok(())
    }

    /// A file to go on with, or a new one.
    pub async fn part(&self, name: &str) -> Result<Part, StoreError> {
        if_there(JsFuture::from(self.folder.remove_entry(&format!("{name}{WHOLE}"))).await)?;
        let pieces = self.pieces(name).await?;
        Ok(Part { store: self.clone(), name: name.to_owned(), len: pieces.len, pieces, open: None })
    }
}

/// Name of the piece of a file that begins at `start`.
fn piece(name: &str, start: u64) -> String {
    format!("{name}@{start}")
}

async fn append(writer: &FileSystemWritableFileStream, bytes: &[u8]) -> Result<(), StoreError> {
    // A copy, as the program's memory may move while the browser writes.
    let bytes = Uint8Array::from(bytes);
    let written = writer.write_with_js_u8_array(&bytes).map_err(|e| fault(&e))?;
    JsFuture::from(written).await.map(drop).map_err(|e| fault(&e))
}

async fn close(writer: &FileSystemWritableFileStream) -> Result<(), StoreError> {
    JsFuture::from(writer.close()).await.map(drop).map_err(|e| fault(&e))
}

/// Pieces of a file, in order.
#[derive(Debug)]
struct Pieces {
    files: Array,
    len: u64,
}

impl Pieces {
    fn push(&mut self, file: &File) {
        self.files.push(file);
        self.len += file.size() as u64;
    }

    /// All pieces as one: nothing is read or copied.
    fn joined(&self) -> Result<FileBytes, StoreError> {
        Ok(FileBytes::new(web_sys::Blob::new_with_blob_sequence(&self.files).map_err(|e| fault(&e))?))
    }

    fn blob(&self, name: &str) -> Result<Blob, StoreError> {
        Ok(Blob::of_file(name, self.len, self.joined()?))
    }
}

/// A file that is being fetched.
#[derive(Debug)]
pub struct Part {
    store: Store,
    name: String,
    /// Closed pieces.
    pieces: Pieces,
    /// The piece that is being written.
    open: Option<FileSystemWritableFileStream>,
    len: u64,
}

impl Part {
    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// At most `len` of the bytes that are there, from `start` on.
    pub async fn read(&mut self, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        self.keep().await?;
        let len = (self.len - start.min(self.len)).min(len as u64);
        self.pieces.joined()?.read(start, len as usize).await.map_err(StoreError::Other)
    }

    /// Appends.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.open.is_none() {
            self.open = Some(self.store.writer(&piece(&self.name, self.pieces.len)).await?);
        }
        if let Some(writer) = &self.open {
            append(writer, bytes).await?;
        }
        self.len += bytes.len() as u64;
        if self.len - self.pieces.len >= PIECE {
            self.keep().await?;
        }
        Ok(())
    }

    /// Begins again.
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        if let Some(writer) = self.open.take() {
            // What it wrote is not wanted.
            let _ = JsFuture::from(writer.abort()).await;
        }
        self.store.remove(&self.name).await?;
        (self.pieces, self.len) = (Pieces { files: Array::new(), len: 0 }, 0);
        Ok(())
    }

    /// Makes sure that the bytes so far are still there after a reload.
    pub async fn keep(&mut self) -> Result<(), StoreError> {
        let Some(writer) = self.open.take() else { return Ok(()) };
        close(&writer).await?;
        let lost = || StoreError::Other(format!("the browser lost what was written of {}", self.name));
        let file = self.store.entry(&piece(&self.name, self.pieces.len)).await?.ok_or_else(lost)?;
        self.pieces.push(&file);
        if self.pieces.len == self.len { Ok(()) } else { Err(lost()) }
    }

    /// The file is whole.
    pub async fn finish(mut self) -> Result<Blob, StoreError> {
        self.keep().await?;
        self.store.put(&format!("{}{WHOLE}", self.name), b"").await?;
        self.pieces.blob(&self.name)
    }
}
