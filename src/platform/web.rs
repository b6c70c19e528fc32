//! Browser side of the platform layer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use futures_channel::oneshot;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
#[cfg(feature = "gui")]
use web_sys::HtmlAnchorElement;
use web_sys::{Document, Element, MessageChannel, MessagePort};

/// The browser's event loop must not be blocked.
pub const BLOCKING: bool = false;

/// Does a pasted picture reach the window?
pub const PASTES_PICTURES: bool = false;

/// Seconds since the page's time origin.
#[must_use]
pub fn now_secs() -> f64 {
    web_sys::window().and_then(|w| w.performance()).map_or(0.0, |p| p.now() * 1e-3)
}

/// The time of day by the browser's clock and zone.
#[must_use]
pub fn local_time() -> super::LocalTime {
    let now = js_sys::Date::new_0();
    super::LocalTime {
        year: now.get_full_year(),
        month: now.get_month() + 1,
        day: now.get_date(),
        hour: now.get_hours(),
        minute: now.get_minutes(),
        second: now.get_seconds(),
        weekday: now.get_day(),
    }
}

/// Bytes of memory of the program; the GPU's are not among them.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().dyn_into().ok()?;
    let buffer: js_sys::ArrayBuffer = memory.buffer().dyn_into().ok()?;
    Some(buffer.byte_length().into())
}

/// A variable of the environment; a page has none.
pub fn variable(_name: &str) -> Result<Option<String>, std::env::VarError> {
    Ok(None)
}

/// Runs a future as a task of the page's event loop.
pub fn spawn<F: Future<Output = ()> + 'static>(_name: &str, make: impl FnOnce() -> F + 'static) {
    wasm_bindgen_futures::spawn_local(make());
}

/// Does `work` for each number below `count`, one after the other. `heard` has each result, and says whether to go on.
pub fn in_parallel<T>(count: usize, work: &dyn Fn(usize) -> T, heard: &mut dyn FnMut(usize, T) -> bool) {
    let _ = (0..count).all(|i| heard(i, work(i)));
}

/// Room beside memory; a page has none.
#[derive(Debug)]
pub enum Scratch {}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in programs")]
impl Scratch {
    pub fn new() -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub fn keep(&mut self, _bytes: &[u8]) -> std::io::Result<u64> {
        match *self {}
    }

    pub fn replace(&mut self, _at: u64, _bytes: &[u8]) -> std::io::Result<()> {
        match *self {}
    }

    pub fn get(&mut self, _at: u64, _len: usize) -> std::io::Result<Vec<u8>> {
        match *self {}
    }
}

/// Turns of the event loop by messages to ourselves: unlike timers, messages are not slowed down in a hidden tab.
struct Turns {
    port: MessagePort,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _listener: Closure<dyn FnMut()>,
}

impl Turns {
    fn new() -> Option<Self> {
        let channel = MessageChannel::new().ok()?;
        let waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let queue = Rc::clone(&waiting);
        let listener = Closure::<dyn FnMut()>::new(move || {
            let next = queue.borrow_mut().pop_front();
            // The task that waited may be gone.
            let _ = next.map(|turn| turn.send(()));
        });
        channel.port1().set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Some(Self { port: channel.port2(), waiting, _listener: listener })
    }

    fn next(&self) -> Option<oneshot::Receiver<()>> {
        let (send, receive) = oneshot::channel();
        self.waiting.borrow_mut().push_back(send);
        self.port.post_message(&JsValue::NULL).ok()?;
        Some(receive)
    }
}

thread_local! {
    static TURNS: Option<Turns> = Turns::new();
    /// The last file that was handed out for downloading.
    static LAST_URL: RefCell<Option<String>> = const { RefCell::new(None) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets the page draw and react: a turn of the event loop, not only of the promise queue.
pub async fn yield_now() {
    let turn = TURNS.with(|t| t.as_ref().and_then(Turns::next));
    if let Some(turn) = turn {
        // The page goes on without the pause if messages do not work.
        let _ = turn.await;
    }
}

fn document() -> Option<Document> {
    web_sys::window()?.document()
}

pub(super) fn element(id: &str) -> Option<Element> {
    document()?.get_element_by_id(id)
}

/// Shows a line to screen readers.
pub fn announce(line: &str) {
    if let Some(e) = element("hive-live") {
        e.set_text_content(Some(line));
    }
}

/// `window.hive`, which `index.html` defines.
fn page() -> Result<JsValue, JsValue> {
    let window: JsValue = web_sys::window().ok_or(JsValue::NULL)?.into();
    js_sys::Reflect::get(&window, &"hive".into())
}

/// Has the page found no graphics processor, but a driver that computes on the CPU?
#[must_use]
pub fn page_is_software() -> bool {
    page().and_then(|hive| js_sys::Reflect::get(&hive, &"software".into())).is_ok_and(|v| v.is_truthy())
}

/// Calls a function of the page's `hive`.
fn page_call(name: &str, texts: &[&str]) {
    let call = || -> Result<(), JsValue> {
        let hive = page()?;
        let function: js_sys::Function = js_sys::Reflect::get(&hive, &name.into())?.dyn_into()?;
        let list: js_sys::Array = texts.iter().map(|t| JsValue::from_str(t)).collect();
        function.apply(&hive, &list).map(drop)
    };
    // Another page than ours: it shows nothing then.
    let _ = call();
}

/// Can photos be taken here?
pub const HAS_CAMERA: bool = true;

/// Shows what the camera sees; a photo comes as a dropped file.
pub fn camera() {
    page_call("camera", &[]);
}

/// Keeps the camera on, small in a corner, or ends that.
pub fn live(on: bool) {
    page_call("live", &[if on { "on" } else { "" }]);
}

/// What the camera sees now comes as a dropped file.
pub fn live_frame() {
    page_call("frame", &[]);
}

/// Takes away the page's loading screen.
pub fn page_started() {
    page_call("started", &[]);
}

/// Shows a failure in place of the canvas: what happened, what to do about it, and the details.
pub fn page_failed(what: &str, remedy: &str, detail: &str) {
    page_call("fail", &[what, remedy, detail]);
}

/// Text of the last panic, empty where there was none; recorded once [`watch_panics`] was called.
#[must_use]
pub fn last_panic() -> String {
    PANIC.with_borrow(Clone::clone)
}

/// Shows panics in the page, in place of the canvas: nothing draws any more after one.
pub fn watch_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.to_string();
        page_failed(
            "Hive has stopped because of a fault in the program.",
            "Reload the page; a run that you saved can be loaded again. If this repeats, please report it with the text below.",
            &text,
        );
        PANIC.with_borrow_mut(|last| *last = text);
        default(info);
    }));
}

/// What stands behind the # of the page's address, decoded.
#[must_use]
pub fn location_hash() -> String {
    let hash = web_sys::window().and_then(|w| w.location().hash().ok()).unwrap_or_default();
    let hash = hash.trim_start_matches('#');
    js_sys::decode_uri_component(hash).map_or_else(|_malformed| hash.to_owned(), String::from)
}

/// Saves a file: the browser downloads it, and asks where to if it is set to ask.
#[cfg(feature = "gui")]
pub fn save_as(name: &str, bytes: &std::sync::Arc<Vec<u8>>) -> impl Future<Output = Result<(), String>> + use<> {
    let result = download(name, bytes).map_err(|e| format!("the browser refuses the download: {e:?}"));
    async move { result }
}

#[cfg(feature = "gui")]
fn download(name: &str, bytes: &[u8]) -> Result<(), JsValue> {
    let document = document().ok_or(JsValue::NULL)?;
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    let blob = web_sys::Blob::new_with_u8_array_sequence(&parts)?;
    let url = web_sys::Url::create_object_url_with_blob(&blob)?;
    let link: HtmlAnchorElement = document.create_element("a")?.unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    // The browser reads the file after this turn of the event loop, so it is let go with the next one.
    if let Some(old) = LAST_URL.replace(Some(url)) {
        web_sys::Url::revoke_object_url(&old)?;
    }
    Ok(())
}

/// A file that was dropped on the page.
pub type DroppedFile = web_sys::File;

/// Its contents.
pub async fn dropped_bytes(file: &DroppedFile) -> Result<Vec<u8>, String> {
    let blob = super::Blob::file(file.clone());
    blob.read(0, blob.len() as usize).await
}

/// Its name.
#[must_use]
pub fn dropped_name(file: &DroppedFile) -> String {
    file.name()
}

/// The page's address without its hash.
#[must_use]
pub fn page_address() -> String {
    let href = web_sys::window().and_then(|w| w.location().href().ok()).unwrap_or_default();
    href.split('#').next().unwrap_or_default().to_owned()
}

/// The address of a file beside the page.
#[must_use]
pub fn beside_page(path: &str) -> String {
    web_sys::Url::new_with_base(path, &page_address()).map_or_else(|_wrong| path.to_owned(), |url| url.href())
}

/// The program's version: `index.html` knows which module it loads.
#[must_use]
pub fn version() -> String {
    let version = page().and_then(|hive| js_sys::Reflect::get(&hive, &"version".into()));
    version.ok().and_then(|v| v.as_string()).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

/// A model's files: what to call them, and they themselves or why they cannot be had.
pub type ModelFiles = (String, Result<Vec<super::Blob>, String>);

/// What files without a folder are called.
const NAMELESS: &str = "model from files";

/// Asks for a model's files, several at once; none where the dialog is cancelled.
#[cfg(feature = "gui")]
pub fn pick_model() -> impl Future<Output = Option<ModelFiles>> + use<> {
    let dialog = rfd::AsyncFileDialog::new().pick_files();
    async move {
        let files = dialog.await?;
        Some((NAMELESS.to_owned(), Ok(files.iter().map(|f| super::Blob::file(f.inner().clone())).collect())))
    }
}

/// A browser gives the files of a dropped folder one by one, if at all.
#[must_use]
pub fn dropped_folder(_file: &DroppedFile) -> Option<ModelFiles> {
    None
}

/// A dropped file, to be read piece by piece.
///
/// # Errors
/// None here; the system's words natively.
pub fn dropped_blob(file: &DroppedFile) -> Result<super::Blob, String> {
    Ok(super::Blob::file(file.clone()))
}

/// What files that were dropped together are called.
#[must_use]
pub fn dropped_together(_files: &[DroppedFile]) -> String {
    NAMELESS.to_owned()
}

impl super::Blob {
    /// A file that the user chose or dropped on the page.
    #[must_use]
    pub fn file(file: web_sys::File) -> Self {
        Self::of_file(&file.name(), file.size() as u64, super::web_blob::FileBytes::new(file.into()))
    }
}
