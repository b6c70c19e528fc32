//! `hive parity`: does this GPU compute what published fixtures say?

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::say;
use crate::engine::{self, parity::EXPECT};
use crate::gpu::{Gpu, GpuOptions};
use crate::model::files::Folder;
use crate::platform::{self, block_on};
use crate::train::parity::{self, Group};

const HELP: &str = "\
hive parity DIR

DIR is a fixture folder (config.json, model.safetensors, io.safetensors; of vision-language models also expect.json, pictures,
tokenizer and processor), or a folder of such folders. Prints the worst error
of each group of tensors against its tolerance; fails when one is exceeded or an expected tensor is missing.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (1, &[]), &["checked"], HELP)? else { return Ok(()) };
    let folder = PathBuf::from(args.word(0).ok_or_else(|| Fault::usage("hive parity needs a folder"))?);
    let folders = fixture_folders(&folder)?;
    let options = GpuOptions {
        adapter: args.option("adapter").map(str::to_owned),
        checked: args.flag("checked"),
        ..GpuOptions::default()
    };
    let gpu = block_on(Gpu::new(&options))?;
    let quiet = args.flag("json");
    if !quiet {
        say(&format!("{} ({})\n", gpu.summary.name, gpu.summary.driver));
    }
    let mut failed = Vec::new();
    let mut rows = Vec::new();
    for (name, path) in &folders {
        let blobs = platform::folder_blobs(path).map_err(|e| Fault::unreadable(path, &e))?;
        let checked = match Folder::new(blobs) {
            Ok(folder) if folder.get(EXPECT).is_some() => block_on(engine::parity::check_folder(&gpu, &folder)),
            Ok(folder) => block_on(parity::check_folder(&gpu, &folder)),
            Err(e) => Err(e.into()),
        };
        let groups = match checked {
            Ok(groups) => groups,
            Err(parity::FixtureError::Gpu(e)) => return Err(e.into()),
            Err(e) => {
                failed.push(name.clone());
                say(&format!("{name}: {e}\n"));
                continue;
            }
        };
        for g in &groups {
            if !quiet {
                say(&line(name, g));
            }
            rows.push(json!({"fixture": name, "group": g.name, "tensors": g.tensors, "worst": g.worst, "worst_tensor": g.worst_tensor, "tolerance": g.tolerance, "faults": g.faults, "passed": g.passed()}));
        }
        if !groups.iter().all(Group::passed) {
            failed.push(name.clone());
        }
    }
    if quiet {
        say(&format!(
            "{}\n",
            json!({"adapter": gpu.summary.name, "driver": gpu.summary.driver, "groups": rows, "failed": failed})
        ));
    } else {
        say(&format!("{} of {} fixtures passed\n", folders.len() - failed.len(), folders.len()));
    }
    if failed.is_empty() { Ok(()) } else { Err(Fault::Failed(format!("parity fails for {}", failed.join(", ")))) }
}

fn line(name: &str, g: &Group) -> String {
    let verdict = if g.passed() { "ok  " } else { "FAIL" };
    let mut line = format!(
        "{verdict} {name:18} {:20} {:3} tensors  worst {:.1e} of {:.0e}  {}\n",
        g.name, g.tensors, g.worst, g.tolerance, g.worst_tensor
    );
    for fault in g.faults.iter().take(5) {
        line.push_str(&format!("       {fault}\n"));
    }
    line
}

/// The folder itself, or the folders in it that have a `config.json`.
fn fixture_folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, Fault> {
    let name = |p: &Path| p.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let entries = platform::list_folder(folder).map_err(|e| Fault::unreadable(folder, &e))?;
    if entries.iter().any(|e| e == "config.json") {
        return Ok(vec![(name(folder), folder.to_owned())]);
    }
    let is_fixture = |p: &PathBuf| platform::list_folder(p).is_ok_and(|e| e.iter().any(|n| n == "config.json"));
    let found: Vec<_> = entries.iter().map(|e| folder.join(e)).filter(is_fixture).map(|p| (name(&p), p)).collect();
    if found.is_empty() {
        return Err(Fault::Failed(format!("{} has no fixture: no folder with a config.json", folder.display())));
    }
    Ok(found)
}
