//! `hive parity`, `hive verify`, `hive doctor`: is this machine right?

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Args;
use super::{Fault, open_gpu, say};
use crate::gpu::{AdapterKind, AdapterSummary, Gpu, GpuOptions, Sabotage};
use crate::model::files::Folder;
use crate::ops::verify::{self, Outcome};
use crate::platform::{self, block_on};
use crate::train::parity::{self, Group};

const PARITY_HELP: &str = "\
hive parity DIR

DIR is a fixture folder (config.json, model.safetensors, io.safetensors), or a folder of such folders. Prints the worst error
of each group of tensors against its tolerance; fails when one is exceeded or an expected tensor is missing.
";

/// `hive parity`.
///
/// # Errors
/// See [`Fault`].
pub fn parity(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &[], &["checked"])?;
    if args.flag("help") {
        say(PARITY_HELP);
        return Ok(());
    }
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
        let blobs = platform::folder_blobs(path).map_err(|e| super::unreadable(path, &e))?;
        let checked = match Folder::new(blobs) {
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
                say(&parity_line(name, g));
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

fn parity_line(name: &str, g: &Group) -> String {
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
    let list = |p: &Path| {
        platform::list_folder(p).map_err(|e| Fault::File {
            what: "cannot read",
            path: p.display().to_string(),
            reason: e.to_string(),
        })
    };
    let entries = list(folder)?;
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

const VERIFY_HELP: &str = "\
hive verify [OP] [--sabotage] [--checked] [--portable] [--hardware]

Runs the cases of every operation (or of those whose name contains OP), forward and backward, on this adapter against f64
references, on NaN-filled memory with guard words; and the references' gradients against finite differences. --sabotage
then breaks kernels on purpose and fails if that is not noticed. --checked compiles kernels with bounds checks, --portable
uses no optional feature, --hardware runs the kernels meant for graphics processors on a software adapter.
";

/// `hive verify`.
///
/// # Errors
/// See [`Fault`].
pub fn verify(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &[], &["sabotage", "checked", "portable", "hardware"])?;
    if args.flag("help") {
        say(VERIFY_HELP);
        return Ok(());
    }
    let options = GpuOptions {
        adapter: args.option("adapter").map(str::to_owned),
        checked: args.flag("checked"),
        portable: args.flag("portable"),
        kind: args.flag("hardware").then_some(AdapterKind::Hardware),
        ..GpuOptions::default()
    };
    let gpu = block_on(Gpu::new(&options))?;
    let start = platform::now_secs();
    let quiet = args.flag("json");
    let filter = args.word(0).unwrap_or_default();
    let outcomes = block_on(verify::run(&gpu, filter, |o| {
        if !quiet {
            say(&verify_line(o));
        }
    }))?;
    let mut wrong: Vec<String> =
        outcomes.iter().filter(|o| !o.passed()).map(|o| format!("{} {}", o.op, o.case)).collect();
    if outcomes.is_empty() {
        wrong.push(format!("no operation called \"{filter}\""));
    }
    if args.flag("sabotage") {
        let chosen = |(op, fault): &(&str, &Sabotage)| op.contains(filter) && verify::runs_on(&gpu, fault.kernel);
        for (_, fault) in verify::sabotages().filter(chosen) {
            let caught = block_on(verify::caught(&options, fault))?;
            if !quiet {
                let verdict = if caught { "ok  " } else { "FAIL" };
                say(&format!("{verdict} sabotage of {}: \"{}\" for \"{}\"\n", fault.kernel, fault.replace, fault.find));
            }
            if !caught {
                wrong.push(format!("sabotage of {} went unnoticed", fault.kernel));
            }
        }
    }
    let secs = platform::now_secs() - start;
    if quiet {
        let rows: Vec<_> = outcomes
            .iter()
            .map(|o| json!({"op": o.op, "case": o.case, "error": o.parity.as_ref().ok(), "fault": o.parity.as_ref().err(), "finite_difference": o.finite_difference, "passed": o.passed()}))
            .collect();
        say(&format!("{}\n", json!({"adapter": gpu.summary.name, "cases": rows, "failed": wrong, "secs": secs})));
    } else {
        say(&format!("{} cases on {}, {} wrong, {secs:.1} s\n", outcomes.len(), gpu.summary.name, wrong.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Fault::Failed(format!("verify fails: {}", wrong.join("; ")))) }
}

fn verify_line(o: &Outcome) -> String {
    let parity = match &o.parity {
        Ok(error) => format!("error {error:.1e} of {:.0e}", o.tolerance),
        Err(text) => text.clone(),
    };
    let difference = o.finite_difference.map_or(String::new(), |e| format!(", gradients of the reference {e:.1e}"));
    format!("{} {:14} {:44} {parity}{difference}\n", if o.passed() { "ok  " } else { "FAIL" }, o.op, o.case)
}

/// `hive doctor`.
///
/// # Errors
/// See [`Fault`].
pub fn doctor(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &[], &["quick"])?;
    if args.flag("help") {
        say("hive doctor [--quick]: adapters, limits, which kernels are used, and (without --quick) the self-test\n");
        return Ok(());
    }
    let adapters = block_on(Gpu::adapters());
    if adapters.is_empty() {
        return Err(crate::gpu::GpuError::NoAdapter.into());
    }
    let json_mode = args.flag("json");
    if !json_mode {
        adapters.iter().for_each(|a| say(&describe(a)));
    }
    let gpu = open_gpu(&args)?;
    let tier = match (gpu.summary.kind, gpu.subgroup) {
        (AdapterKind::Software, _) => "software: register-tile kernels for a CPU driver",
        (AdapterKind::Hardware, Some(_)) => "hardware with subgroups: tiled kernels",
        (AdapterKind::Hardware, None) => "hardware: tiled kernels",
    };
    let outcomes = if args.flag("quick") { Vec::new() } else { block_on(verify::run(&gpu, "", |_| ()))? };
    let wrong: Vec<&Outcome> = outcomes.iter().filter(|o| !o.passed()).collect();
    if json_mode {
        let list: Vec<_> = adapters.iter().map(|a| json!({"name": a.name, "driver": a.driver, "backend": a.backend, "software": a.kind == AdapterKind::Software, "features": a.features, "subgroup": [a.subgroup.0, a.subgroup.1], "limits": a.limits.iter().map(|(n, v)| json!([n, v])).collect::<Vec<_>>()})).collect();
        say(&format!(
            "{}\n",
            json!({"adapters": list, "used": gpu.summary.name, "tier": tier, "cases": outcomes.len(), "wrong": wrong.len()})
        ));
    } else {
        say(&format!("used: {}\ntier: {tier}\n", gpu.summary.name));
        wrong.iter().for_each(|o| say(&verify_line(o)));
        if !outcomes.is_empty() {
            say(&format!("self-test: {} of {} cases right\n", outcomes.len() - wrong.len(), outcomes.len()));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Fault::Failed(
            "this adapter computes wrong results; choose another with --adapter or update its driver".into(),
        ))
    }
}

fn describe(a: &AdapterSummary) -> String {
    let kind = if a.kind == AdapterKind::Software { "software" } else { "hardware" };
    let mut text = format!("{} ({kind}, {}, {})\n", a.name, a.backend, a.driver);
    let features = if a.features.is_empty() { "none".to_owned() } else { a.features.join(", ") };
    text.push_str(&format!("  optional features: {features}; subgroups of {} to {}\n", a.subgroup.0, a.subgroup.1));
    for (name, value) in &a.limits {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    text
}
