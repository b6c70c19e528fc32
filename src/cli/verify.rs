//! `hive verify` and `hive doctor`: does this machine compute right?

use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::say;
use super::shared::open_gpu;
use crate::gpu::{AdapterKind, AdapterSummary, Gpu, GpuError, GpuOptions, Sabotage};
use crate::ops::verify::{self, Outcome};
use crate::platform::{self, block_on};

const HELP: &str = "\
hive verify [OP] [--sabotage] [--checked] [--portable] [--hardware]

Runs the cases of every operation (or of those whose name contains OP), forward and backward, on this adapter against f64
references, on NaN-filled memory with guard words; and the references' gradients against finite differences. --sabotage
then breaks kernels on purpose and fails if that is not noticed. --checked compiles kernels with bounds checks, --portable
uses no optional feature, --hardware runs the kernels meant for graphics processors on a software adapter.
";

pub(super) fn verify(list: &[String]) -> Result<(), Fault> {
    let flags = ["sabotage", "checked", "portable", "hardware"];
    let Some(args) = Args::or_help(list, (1, &[]), &flags, HELP)? else { return Ok(()) };
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
            say(&line(o));
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

fn line(o: &Outcome) -> String {
    let parity = match &o.parity {
        Ok(error) => format!("error {error:.1e} of {:.0e}", o.tolerance),
        Err(text) => text.clone(),
    };
    let difference = o.finite_difference.map_or(String::new(), |e| format!(", gradients of the reference {e:.1e}"));
    format!("{} {:14} {:44} {parity}{difference}\n", if o.passed() { "ok  " } else { "FAIL" }, o.op, o.case)
}

pub(super) fn doctor(list: &[String]) -> Result<(), Fault> {
    let help = "hive doctor [--quick]: adapters, limits, which kernels are used, and (without --quick) the self-test\n";
    let Some(args) = Args::or_help(list, (0, &[]), &["quick"], help)? else { return Ok(()) };
    let adapters = block_on(Gpu::adapters());
    if adapters.is_empty() {
        return Err(GpuError::NoAdapter.into());
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
        wrong.iter().for_each(|o| say(&line(o)));
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
