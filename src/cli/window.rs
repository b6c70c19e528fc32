//! `hive app` and `hive bench frames`: the window.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eframe::egui;
use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::say;
use crate::app::App;
use crate::app::measure::Measurement;
use crate::gpu::GpuOptions;
use crate::platform::{self, Blob};

const APP_HELP: &str = "\
hive app [LINK] [--model FOLDER]

Opens the window: data, model and stages, what the model learned. LINK restores a state, as in
  hive app 'preset=shapes&stage=1&hide=recipe'
and is the text after # in the address of the page; \"Copy link\" in the window writes one.

  --model FOLDER             opens a published model too: config.json, *.safetensors, tokenizer.json
";

pub(super) fn app(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (1, &["model"]), &[], APP_HELP)? else { return Ok(()) };
    open(&args, args.word(0).unwrap_or_default(), None)
}

/// Opens the window and runs until it is closed.
fn open(args: &Args, link: &str, measure: Option<Arc<Mutex<Measurement>>>) -> Result<(), Fault> {
    platform::watch_panics();
    let model = args.option("model").map(model).transpose()?;
    let gpu = GpuOptions { adapter: args.option("adapter").map(str::to_owned), ..GpuOptions::default() };
    let viewport =
        egui::ViewportBuilder::default().with_inner_size([1280.0, 800.0]).with_min_inner_size([640.0, 400.0]);
    // A measured window must not depend on, or change, what was saved.
    let options = eframe::NativeOptions { viewport, persist_window: measure.is_none(), ..Default::default() };
    let name = if measure.is_some() { "hive-measured" } else { "hive" };
    let make: eframe::AppCreator<'_> = Box::new(move |cc| {
        let mut app =
            App::new(cc, gpu, Duration::ZERO, link).measured(measure).dropping(|file| Some(file.path().to_owned()));
        if let Some((name, blobs)) = model {
            app.open_model(name, blobs);
        }
        Ok(Box::new(app))
    });
    eframe::run_native(name, options, make).map_err(|e| {
        Fault::Failed(format!(
            "no window can be opened: {e}. On a machine without a display, hive demo does the same as a report"
        ))
    })
}

/// A folder's name and files.
fn model(path: &str) -> Result<(String, Vec<Blob>), Fault> {
    let path = Path::new(path);
    let blobs = platform::folder_blobs(path).map_err(|e| Fault::unreadable(path, &e))?;
    let name = path.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    Ok((name.unwrap_or_else(|| "model".to_owned()), blobs))
}

const FRAMES_HELP: &str = "\
hive bench frames [--preset NAME] [--secs N] [--link LINK]

Opens the window, trains (default preset tiny, over and over) and prints the times between frames, and the memory of the
process at the beginning and the end. Default 30 seconds after a warm-up of 10.
";

pub(super) fn frames(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (1, &["preset", "secs", "link"]), &[], FRAMES_HELP)? else { return Ok(()) };
    let secs = args.number("secs")?.unwrap_or(30.0);
    let preset = args.option("preset").unwrap_or("tiny");
    let text = args.option("link").map_or_else(|| format!("preset={preset}&run=1"), str::to_owned);
    let measurement = Arc::new(Mutex::new(Measurement::of(secs)));
    open(&args, &text, Some(Arc::clone(&measurement)))?;
    let m = measurement.lock().map_err(|e| Fault::Failed(e.to_string()))?;
    let (median, p95, worst) = (m.quantile(0.5), m.quantile(0.95), m.quantile(1.0));
    let (first, last) = m.memory();
    if args.flag("json") {
        say(&format!(
            "{}\n",
            json!({"frames": m.frames.len(), "median_ms": median, "p95_ms": p95, "worst_ms": worst, "steps": m.steps, "memory_first_mib": first, "memory_last_mib": last})
        ));
    } else {
        say(&format!(
            "{} frames in {secs} s while {} steps were trained: median {median:.1} ms, p95 {p95:.1} ms, worst {worst:.1} ms\n\
             memory of the process: {first:.0} MiB at the beginning, {last:.0} MiB at the end\n",
            m.frames.len(),
            m.steps
        ));
    }
    Ok(())
}
