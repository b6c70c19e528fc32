//! What several commands use: files, adapters, presets and data by their options, shipped models, tables of scores, pictures as files.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use super::args::Args;
use super::fault::Fault;
use super::output::{is_closed, warn};
use crate::data::worlds::to_rgb8;
use crate::engine::assets;
use crate::gpu::{Gpu, GpuOptions};
use crate::model::weights::Precision;
use crate::platform::{self, RunFolder};
use crate::train::checkpoint::{Checkpoint, CheckpointError};
use crate::train::evaluate::{Scores, Share};
use crate::train::recipe::Preset;
use crate::train::run::Run;

/// The adapter that the arguments choose.
pub(super) fn open_gpu(args: &Args) -> Result<Gpu, Fault> {
    Ok(platform::block_on(Gpu::new(&gpu_options(args)))?)
}

/// How the arguments want it.
pub(super) fn gpu_options(args: &Args) -> GpuOptions {
    GpuOptions { adapter: args.option("adapter").map(str::to_owned), ..GpuOptions::default() }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    platform::read_file(path).map_err(|e| Fault::unreadable(path, &e))
}

/// Writes a file, all or nothing.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), Fault> {
    platform::write_file(path, contents).map_err(|e| Fault::unwritable(path, &e))
}

/// Writes a run as it is, to go on from.
pub(super) fn save(run: &Run, path: &Path) -> Result<(), Fault> {
    write(path, &platform::block_on(run.checkpoint())?.to_bytes(&run.specs(), Precision::F32)?)
}

/// Exit code of one who was asked to end: by a signal, or as nobody listens any more.
pub(super) fn ended() -> Option<u8> {
    // A shell says the same of a program that a closed pipe has ended.
    platform::interrupted().map(|signal| 128 + signal).or(is_closed().then_some(141))
}

/// Ends a command that was asked to: `keep` saves what is of use, and says so and how to go on.
pub(super) fn stop_if_asked(keep: impl FnOnce() -> Result<String, Fault>) -> Result<(), Fault> {
    let Some(code) = ended() else { return Ok(()) };
    Err(Fault::Ended(code, keep()?))
}

/// Options that a run has its own of.
const FIXED: [&str; 6] = ["preset", "set", "links", "seed", "steps", "start"];

/// What `--resume` names. Nothing goes with it that it has itself.
pub(super) fn resumed(args: &Args) -> Result<Option<&Path>, Fault> {
    let path = args.option("resume").map(Path::new);
    if let Some(option) = FIXED.iter().find(|o| path.is_some() && args.option(o).is_some()) {
        return Err(Fault::usage(format!(
            "--{option} does not go with --resume: the run goes on with its own. Leave one of both out"
        )));
    }
    Ok(path)
}

/// A folder for the files of a run, tried before hours of work, and kept from other runs until what is given is dropped.
pub(super) fn claim(out: &Path) -> Result<RunFolder, Fault> {
    RunFolder::claim(out).map_err(|e| Fault::unwritable(out, &e))
}

/// Moves a file of an earlier run out of the way, and says so.
pub(super) fn keep_earlier(path: &Path) -> Result<(), Fault> {
    if !path.exists() {
        return Ok(());
    }
    let (stem, ending) = (path.file_stem().unwrap_or_default(), path.extension().unwrap_or_default());
    let named = |n: usize| path.with_file_name(format!("{}.{n}.{}", stem.to_string_lossy(), ending.to_string_lossy()));
    let free = (1..).map(named).find(|p| !p.exists()).unwrap_or_else(|| named(0));
    platform::move_file(path, &free).map_err(|e| Fault::unwritable(&free, &e))?;
    warn(&format!("{} of an earlier run is {} now\n", path.display(), free.display()));
    Ok(())
}

/// A checkpoint file.
pub(super) fn checkpoint(path: &Path) -> Result<Checkpoint, Fault> {
    let wrong = |e: CheckpointError| Fault::File {
        what: "cannot use",
        path: path.display().to_string(),
        reason: e.to_string(),
    };
    Checkpoint::from_bytes(&read(path)?).map_err(wrong)
}

/// A shipped model by name, or a checkpoint file.
pub(super) fn load(name: &str) -> Result<Checkpoint, Fault> {
    if Path::new(name).extension().is_some() {
        return checkpoint(Path::new(name));
    }
    Ok(platform::block_on(assets::model(name))?)
}

/// `--preset`, as a name or a file, with `--set`, `--links`, `--seed` and `--steps` applied.
pub(super) fn find_preset(args: &Args, default: &str) -> Result<Preset, Fault> {
    let name = args.option("preset").unwrap_or(default);
    let mut preset = if Path::new(name).extension().is_some_and(|e| e == "json") {
        let text = read(Path::new(name))?;
        Preset::parse(&String::from_utf8_lossy(&text))?
    } else {
        assets::preset(name)?
    };
    for pair in args.all("set") {
        preset = set(&preset, pair)?;
    }
    if let Some(links) = args.option("links") {
        preset.set_links(links)?;
    }
    if let Some(seed) = args.number("seed")? {
        preset.seed = seed;
    }
    if let Some(steps) = args.number::<u64>("steps")? {
        preset.stages.iter_mut().for_each(|(_, r)| r.steps = r.steps.min(steps));
    }
    Ok(preset)
}

/// The preset with one key changed: `a.b.0=value`.
fn set(preset: &Preset, pair: &str) -> Result<Preset, Fault> {
    let (key, value) =
        pair.split_once('=').ok_or_else(|| Fault::usage(format!("--set needs KEY=VALUE, not \"{pair}\"")))?;
    let mut json = serde_json::to_value(preset).map_err(|e| Fault::usage(e.to_string()))?;
    let pointer = format!("/{}", key.replace('.', "/"));
    let place = json.pointer_mut(&pointer).ok_or_else(|| Fault::usage(format!("the preset has no key \"{key}\"")))?;
    *place = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok(Preset::parse(&json.to_string())?)
}

/// Scores as a table: a row per label, a column per kind.
pub(super) fn table(rows: &[(impl Display, Scores)]) -> String {
    let kinds: BTreeSet<&String> = rows.iter().flat_map(|(_, s)| s.kinds.keys()).collect();
    let width = rows.iter().map(|(l, _)| l.to_string().len()).max().unwrap_or(0).max(8);
    let mut out = format!("{:width$}  {:>8}  {:>8}", "", "all", "several");
    kinds.iter().for_each(|k| out.push_str(&format!("  {k:>9}")));
    out.push('\n');
    for (label, s) in rows {
        let label = label.to_string();
        out.push_str(&format!("{label:width$}  {:>8}  {:>8}", share(s.all), share(s.several)));
        for k in &kinds {
            out.push_str(&s.kinds.get(*k).map_or("           ".into(), |v| format!("  {:>9}", share(*v))));
        }
        out.push('\n');
    }
    out
}

/// A share as a number; a dash where nothing was asked.
fn share(share: Share) -> String {
    if share.of == 0 { "-".to_owned() } else { format!("{:.3}", share.value()) }
}

/// A PNG file of pixels (3, S, S).
pub(super) fn png(pixels: &[f32], size: usize) -> Result<Vec<u8>, Fault> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut out,
        &to_rgb8(pixels),
        size as u32,
        size as u32,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(Fault::failed)?;
    Ok(out.into_inner())
}
