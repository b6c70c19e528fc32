//! Browser side of `Blob`: slices of a file that the user chose or dropped.

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// A file as the browser knows it.
#[derive(Clone, Debug)]
pub(super) struct FileBytes(web_sys::Blob);

impl FileBytes {
    pub(super) fn new(file: web_sys::Blob) -> Self {
        Self(file)
    }

    /// `len` bytes from `start` on, or fewer where the file has become shorter.
    pub(super) async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        self.slice(start, len).await.map_err(|e| format!("the browser refuses: {e:?}. Choose the file again"))
    }

    async fn slice(&self, start: u64, len: usize) -> Result<Vec<u8>, JsValue> {
        // Sizes of files are exact in f64.
        let part = self.0.slice_with_f64_and_f64(start as f64, start as f64 + len as f64)?;
        let buffer = JsFuture::from(part.array_buffer()).await?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }
}
