//! The page: how it starts, and what its tests and a developer's console can call (`wasmBindings.hive_verify("gelu")`).

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::HtmlCanvasElement;

use crate::app::App;
use crate::engine;
use crate::engine::fetch::{self, Address, FetchOptions, FetchProgress};
use crate::engine::losses::losses;
use crate::engine::parity::EXPECT;
use crate::gpu::{AdapterKind, Gpu, GpuOptions};
use crate::model::files::Folder;
use crate::ops::verify;
use crate::platform::{self, Blob};
use crate::train::parity::{self, Group};

/// Pictures per second where the processor draws them: it has to compute at the same time.
const SOFTWARE_FPS: u32 = 5;
/// Until news are drawn there. A picture takes two processors a quarter of a second, so this leaves them three quarters.
const SOFTWARE_PAUSE: Duration = Duration::from_secs(1);

/// Starts the app on the page's canvas. `index.html` has made sure that there is WebGPU.
pub fn start() {
    platform::watch_panics();
    // A second logger cannot be there yet.
    let _ = eframe::WebLogger::init(log::LevelFilter::Warn);
    platform::spawn("page", || async {
        let canvas = web_sys::window().and_then(|w| w.document()).and_then(|d| d.get_element_by_id("hive-canvas"));
        let Some(canvas) = canvas.and_then(|c| c.dyn_into::<HtmlCanvasElement>().ok()) else {
            platform::page_failed("This page has no canvas called hive-canvas.", "Use Hive's own index.html.", "");
            return;
        };
        let software = platform::page_is_software();
        let pause = if software { SOFTWARE_PAUSE } else { Duration::ZERO };
        let make: eframe::AppCreator<'static> = Box::new(move |cc| {
            watch_window_device(cc);
            let app = App::new(cc, GpuOptions::default(), pause, &platform::location_hash());
            Ok(Box::new(app.dropping(|file| file.web_file().cloned())))
        });
        let max_fps = software.then_some(SOFTWARE_FPS);
        let options = eframe::WebOptions { max_fps, dithering: !software, ..eframe::WebOptions::default() };
        match eframe::WebRunner::new().start(canvas, options, make).await {
            Ok(()) => platform::page_started(),
            Err(e) => platform::page_failed(
                "The browser has WebGPU, but gives this page no device to draw with.",
                "Close other pages that use the graphics card, restart the browser, update the graphics driver.",
                &e.as_string().unwrap_or_else(|| format!("{e:?}")),
            ),
        }
    });
}

/// The device that draws is not the one that trains: without it nothing can be shown any more.
fn watch_window_device(cc: &eframe::CreationContext<'_>) {
    if let Some(state) = &cc.wgpu_render_state {
        state.device.set_device_lost_callback(|reason, message| {
            platform::page_failed(
                "The browser has taken away the graphics device that draws this page.",
                "Reload the page; a run that you saved can be loaded again.",
                &format!("{reason:?} {message}"),
            );
        });
    }
}

type Answer = Result<String, String>;

async fn open() -> Result<Gpu, String> {
    Gpu::new(&GpuOptions::default()).await.map_err(|e| e.to_string())
}

/// Runs the cases of every operation whose name contains `filter` against their references; JSON. With `hardware`, by the
/// kernels meant for graphics processors, whatever the adapter is.
///
/// # Errors
/// No device, or a lost one.
#[wasm_bindgen]
pub async fn hive_verify(filter: String, hardware: bool) -> Answer {
    let options = GpuOptions { kind: hardware.then_some(AdapterKind::Hardware), ..GpuOptions::default() };
    let gpu = Gpu::new(&options).await.map_err(|e| e.to_string())?;
    let start = platform::now_secs();
    let outcomes = verify::run(&gpu, &filter, |_| ()).await.map_err(|e| e.to_string())?;
    let wrong: Vec<String> = outcomes
        .iter()
        .filter(|o| !o.passed())
        .map(|o| format!("{} {}: {:?} of {:e}, {:?}", o.op, o.case, o.parity, o.tolerance, o.finite_difference))
        .collect();
    let worst = outcomes.iter().filter_map(|o| Some(o.parity.as_ref().ok()? / o.tolerance)).fold(0.0, f64::max);
    let secs = platform::now_secs() - start;
    let answer = json!({"adapter": gpu.summary.name, "software": gpu.is_software(), "cases": outcomes.len(), "wrong": wrong, "worst": worst, "secs": secs});
    Ok(answer.to_string())
}

/// Checks a parity fixture, also of a vision-language model, from the names of its files, their lengths and their contents one
/// after the other; JSON.
///
/// # Errors
/// Files that are no fixture, no device, or a lost one.
#[wasm_bindgen]
pub async fn hive_parity(names: Vec<String>, lengths: Vec<u32>, contents: Vec<u8>) -> Answer {
    let gpu = open().await?;
    let mut rest = &contents[..];
    let mut blobs = Vec::new();
    for (name, length) in names.iter().zip(lengths) {
        let (own, after) = rest.split_at_checked(length as usize).ok_or("a file is shorter than it is said to be")?;
        blobs.push(Blob::memory(name, own.to_vec()));
        rest = after;
    }
    let folder = Folder::new(blobs).map_err(|e| e.to_string())?;
    let groups = match folder.get(EXPECT) {
        Some(_) => engine::parity::check_folder(&gpu, &folder).await,
        None => parity::check_folder(&gpu, &folder).await,
    };
    let groups = groups.map_err(|e| e.to_string())?;
    let rows: Vec<_> = groups
        .iter()
        .map(|g| json!({"group": g.name, "tensors": g.tensors, "worst": g.worst, "worst_tensor": g.worst_tensor, "tolerance": g.tolerance, "faults": g.faults, "passed": g.passed()}))
        .collect();
    Ok(json!({"adapter": gpu.summary.name, "groups": rows, "passed": groups.iter().all(Group::passed)}).to_string())
}

/// Losses of `steps` updates of a stage from the shipped start weights; JSON. Natively: `hive bench losses`.
///
/// # Errors
/// No such preset or stage, no device, or a lost one.
#[wasm_bindgen]
pub async fn hive_losses(preset: String, stage: usize, steps: u32, seed: Option<u32>) -> Answer {
    let gpu = open().await?;
    let start = platform::now_secs();
    let losses = losses(&gpu, &preset, stage, steps.into(), seed.map(u64::from)).await.map_err(|e| e.to_string())?;
    Ok(json!({"adapter": gpu.summary.name, "losses": losses, "secs": platform::now_secs() - start}).to_string())
}

/// Bytes of the program's memory. It never shrinks, so this is the most there ever was.
#[wasm_bindgen]
#[must_use]
pub fn hive_memory() -> f64 {
    platform::resident_bytes().map_or(f64::NAN, |bytes| bytes as f64)
}

/// Fetches a model; JSON of its files with their hashes, of the notes, and of the progress. `options` is JSON, too:
/// `offline`, `room` in bytes, `tries`, and `stop`, a number of bytes after which it stops.
#[wasm_bindgen]
pub async fn hive_fetch(address: String, options: String) -> Answer {
    let given: serde_json::Value = serde_json::from_str(&options).map_err(|e| e.to_string())?;
    let mut options = FetchOptions { offline: given["offline"] == true, ..FetchOptions::default() };
    options.room = given["room"].as_u64();
    options.patience.tries = given["tries"].as_u64().map_or(options.patience.tries, |n| n as u32);
    let stop = given["stop"].as_u64().unwrap_or(u64::MAX);
    let address = Address::parse(&address).map_err(|e| e.to_string())?;
    let (mut first, mut most) = (None, 0);
    let tell = |p: &FetchProgress| {
        first.get_or_insert_with(|| p.clone());
        most = most.max(platform::resident_bytes().unwrap_or(0));
        p.done < stop
    };
    let fetched = fetch::fetch(&address, &options, tell).await.map_err(|e| e.to_string())?;
    let mut files = Vec::new();
    for blob in &fetched.blobs {
        files.push(json!({"name": blob.name(), "bytes": blob.len(), "sha256": hash_of(blob).await?}));
        most = most.max(platform::resident_bytes().unwrap_or(0));
    }
    let first = first.unwrap_or_default();
    Ok(json!({"files": files, "notes": fetched.notes, "kept": fetched.place.is_some(), "cached": first.cached, "total": first.total, "memory": most}).to_string())
}

/// SHA-256 of a file that is read piece by piece.
async fn hash_of(blob: &Blob) -> Result<String, String> {
    const PIECE: u64 = 4 << 20;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < blob.len() {
        let len = PIECE.min(blob.len() - at);
        hash.update(blob.read(at, len as usize).await?);
        at += len;
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Keeps files that the user chose; JSON of the files as they are read back.
#[wasm_bindgen]
pub async fn hive_keep(name: String, files: Vec<web_sys::File>) -> Answer {
    let blobs: Vec<Blob> = files.into_iter().map(Blob::file).collect();
    let options = FetchOptions::default();
    let kept = fetch::keep(&name, &blobs, &options, |_| true).await.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for blob in &kept.blobs {
        rows.push(json!({"name": blob.name(), "bytes": blob.len(), "sha256": hash_of(blob).await?}));
    }
    Ok(json!({"files": rows, "notes": kept.notes, "kept": kept.place.is_some()}).to_string())
}

/// Opens a model that the browser keeps; JSON of its files.
#[wasm_bindgen]
pub async fn hive_kept(key: String) -> Answer {
    let kept = fetch::open(&key, &FetchOptions::default()).await.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for blob in &kept.blobs {
        rows.push(json!({"name": blob.name(), "bytes": blob.len(), "sha256": hash_of(blob).await?}));
    }
    Ok(json!({"files": rows}).to_string())
}

/// The models that the browser keeps; JSON.
#[wasm_bindgen]
pub async fn hive_cached() -> Answer {
    let all = fetch::cached(&FetchOptions::default()).await.map_err(|e| e.to_string())?;
    let rows: Vec<_> =
        all.iter().map(|c| json!({"address": c.address, "bytes": c.bytes, "whole": c.whole, "key": c.key})).collect();
    Ok(json!(rows).to_string())
}

/// Removes a model that the browser keeps.
#[wasm_bindgen]
pub async fn hive_forget(key: String) -> Answer {
    fetch::forget(&key, &FetchOptions::default()).await.map(|()| "true".to_owned()).map_err(|e| e.to_string())
}

/// Panics: shows what the page does then.
#[wasm_bindgen]
#[expect(clippy::panic, reason = "that is what it is for")]
pub fn hive_panic() {
    panic!("hive_panic was called");
}
