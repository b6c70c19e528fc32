//! The project's habits that a program can check: sizes, layers, where names may occur, documentation of every part.
#![allow(clippy::disallowed_methods, reason = "reads the project's own files")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hive::ops::ALL;

const RUST_LINES: usize = 500;
const WGSL_LINES: usize = 200;

/// Files above their limit, with the reason. An entry that is no longer needed fails the test, so the list only shrinks.
const LONG_FILES: &[(&str, &str)] = &[];

/// Layers from the bottom, with what each may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("platform", &[]),
    ("gpu", &["platform"]),
    ("ops", &["gpu", "platform"]),
    ("nn", &["ops", "gpu"]),
    ("data", &["platform"]),
    ("model", &["nn", "ops", "gpu", "data", "platform"]),
    ("train", &["model", "data", "nn", "ops", "gpu", "platform"]),
    ("engine", &["train", "model", "data", "nn", "ops", "gpu", "platform"]),
    ("app", &["engine", "data", "platform"]),
    ("cli", &["app", "engine", "train", "model", "data", "nn", "ops", "gpu", "platform"]),
];

/// Literals in kernels that are written with an exponent, and why each is no model's number.
const EXPONENTS: &[(&str, &str, &str)] = &[
    (
        "shaders/attention/visible.wgsl",
        "-1e30",
        "the score of a masked key: below every real score, its exponential is 0",
    ),
    (
        "shaders/cached_attention/partial.wgsl",
        "-1e30",
        "start of a running maximum, and keys past the end: their exponential is 0",
    ),
    ("shaders/packed/pack.wgsl", "3.0e38", "start of a running minimum of squared errors"),
    ("shaders/sample/choose.wgsl", "-3.0e38", "start of a running maximum: below every logit"),
    ("shaders/cross_entropy/scan.wgsl", "-1e30", "start of a running maximum: below every real logit"),
    ("shaders/sum_squares/clip.wgsl", "1e-6", "PyTorch's clip_grad_norm_ divides by the norm plus this"),
];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with that extension: path from the root, and contents.
pub(super) fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                out.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!out.is_empty(), "no *.{extension} in {folder}");
    out
}

fn folders(folder: &str) -> BTreeSet<String> {
    let list = std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
    // Version control knows no empty folders.
    let full = |p: &PathBuf| p.is_dir() && std::fs::read_dir(p).unwrap().next().is_some();
    list.filter(full).map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

pub(super) fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A line without its comment and without the contents of its string literals.
pub(super) fn code(line: &str) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped) = (false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if !in_string && c == '/' && chars.peek() == Some(&'/') {
            break;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        } else if !in_string {
            out.push(c);
        }
        escaped = in_string && c == '\\' && !escaped;
    }
    out
}

fn occurrences<'a>(all: &'a BTreeMap<String, String>, what: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
    all.iter().flat_map(move |(name, text)| {
        text.lines().enumerate().filter(move |(_, l)| code(l).contains(what)).map(move |(i, _)| (name.as_str(), i + 1))
    })
}

#[test]
fn code_is_a_line_without_comments_and_strings() {
    assert_eq!(code(r#"let a = "todo!()"; // dbg!"#), "let a = ; ");
    assert_eq!(code(r#"f("\"wgpu::", wgpu::Device)"#), "f(, wgpu::Device)");
}

#[test]
fn files_are_short() {
    let mut problems = Vec::new();
    for (extension, folder, limit) in
        [("rs", "src", RUST_LINES), ("rs", "tests", RUST_LINES), ("wgsl", "shaders", WGSL_LINES)]
    {
        for (name, text) in files(folder, extension) {
            let lines = text.lines().count();
            let excused = LONG_FILES.iter().any(|(n, _)| *n == name);
            if lines > limit && !excused {
                problems.push(format!("{name} has {lines} lines, at most {limit} are allowed"));
            } else if lines <= limit && excused {
                problems.push(format!("{name} has {lines} lines: remove it from the exceptions"));
            }
        }
    }
    problems.extend(
        LONG_FILES
            .iter()
            .filter(|(n, _)| !root().join(n).is_file())
            .map(|(n, _)| format!("{n} is gone: remove it from the exceptions")),
    );
    none(&problems);
}

#[test]
fn every_file_of_tests_is_run() {
    let all = files("tests", "rs");
    let program = &all["tests/main.rs"];
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let idle = all.keys().filter(|name| {
        let stem = &name["tests/".len()..name.len() - ".rs".len()];
        let of_main = program.lines().any(|line| line == format!("mod {stem};"));
        !stem.contains('/') && !of_main && !manifest.contains(&format!("path = \"{name}\""))
    });
    none(&idle.map(|name| format!("{name} is no module of tests/main.rs")).collect::<Vec<_>>());
}

/// Layers of this crate that a line of code names: `crate::gpu::Gpu`, also of `use crate::{gpu::Gpu, ops}`.
fn named_layers(line: &str) -> Vec<String> {
    let line = code(line);
    let mut out = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let mut depth = 0;
        let mut word = String::new();
        for c in rest.chars().chain([';']) {
            match c {
                '{' => depth += 1,
                _ if c.is_alphanumeric() || c == '_' => {
                    word.push(c);
                    continue;
                }
                _ => {}
            }
            // A first segment: right behind `crate::`, or of a group right behind it.
            if !word.is_empty() {
                out.push(std::mem::take(&mut word));
                if depth == 0 || c == '}' || c == ';' {
                    break;
                }
            }
            if c == ':' {
                // Skip the rest of this path.
                word.clear();
            }
        }
    }
    out.retain(|w| LAYERS.iter().any(|(n, _)| n == w));
    out
}

#[test]
fn layers_import_only_from_below() {
    assert_eq!(named_layers("use crate::gpu::{Gpu, Tensor};"), ["gpu"]);
    assert_eq!(named_layers("let x = crate::train::run::Run::new(crate::ops::ALL);"), ["train", "ops"]);
    assert_eq!(named_layers("use crate::{gpu::Gpu, ops};"), ["gpu", "ops"]);
    assert_eq!(named_layers("// use crate::cli;"), [""; 0]);

    assert_eq!(
        folders("src"),
        LAYERS.iter().map(|(n, _)| (*n).to_owned()).collect(),
        "the folders of src/ are the layers"
    );
    let mut problems = Vec::new();
    let mut seen = 0;
    for (name, text) in files("src", "rs") {
        let Some((layer, _)) = name["src/".len()..].split_once('/') else { continue };
        let (_, allowed) = LAYERS.iter().find(|(n, _)| *n == layer).unwrap();
        for (i, line) in text.lines().enumerate() {
            for other in named_layers(line) {
                seen += 1;
                if other != layer && !allowed.contains(&other.as_str()) {
                    problems.push(format!("{name}:{}: {layer} must not use {other}", i + 1));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found: the reader of this test is broken");
    none(&problems);
}

#[test]
fn names_have_one_home() {
    let all = files("src", "rs");
    type Rule<'a> = (&'a str, &'a dyn Fn(&str) -> bool, &'a str);
    let rules: [Rule<'_>; 4] = [
        ("wgpu::", &|f| f.starts_with("src/gpu/"), "src/gpu/"),
        (
            "cfg(target_",
            &|f| f.starts_with("src/platform/") || f == "src/main.rs" || f == "src/lib.rs",
            "src/platform/, main.rs and lib.rs",
        ),
        // The library checks our reader and writer; `data` cannot ask `model`, which is above it.
        ("safetensors::", &|f| f.ends_with("_tests.rs"), "unit tests"),
        (
            "std::fs::",
            &|f| f.starts_with("src/platform/native") || f.ends_with("_tests.rs"),
            "src/platform/native.rs and native_blob.rs",
        ),
    ];
    let mut problems = Vec::new();
    for (what, home, place) in rules {
        let (at_home, abroad): (Vec<_>, Vec<_>) = occurrences(&all, what).partition(|(f, _)| home(f));
        assert!(!at_home.is_empty(), "{what} occurs nowhere: the rule is void");
        problems.extend(abroad.iter().map(|(f, l)| format!("{f}:{l}: {what} belongs in {place}")));
    }
    none(&problems);
}

#[test]
fn no_leftovers() {
    let all = files("src", "rs");
    let found = ["todo!", "unimplemented!", "dbg!"]
        .into_iter()
        .flat_map(|w| occurrences(&all, w).map(move |(f, l)| format!("{f}:{l}: {w}")));
    let unfinished = all.iter().flat_map(|(f, text)| {
        let marked = |l: &str| ["TODO", "FIXME", "XXX"].iter().any(|w| l.contains(w));
        text.lines()
            .enumerate()
            .filter(move |(_, l)| marked(l))
            .map(move |(i, l)| format!("{f}:{}: {}", i + 1, l.trim()))
    });
    none(&found.chain(unfinished).collect::<Vec<_>>());
}

#[test]
fn every_op_is_complete() {
    let mut problems = Vec::new();
    for op in ALL {
        let cases = (op.cases)();
        let distinct: BTreeSet<String> = cases
            .iter()
            .map(|c| format!("{} {:?}", c.name, c.inputs.iter().map(|i| &i.shape).collect::<Vec<_>>()))
            .collect();
        if distinct.len() < 3 {
            problems.push(format!("{} has {} distinct cases, at least 3 are wanted", op.name, distinct.len()));
        }
        if distinct.len() < cases.len() {
            problems.push(format!("{} has the same case twice", op.name));
        }
        match op.no_gradient {
            None if !cases.iter().any(|c| c.backward.is_some()) => {
                problems.push(format!("{} has no backward, and no reason why", op.name));
            }
            Some("") => problems.push(format!("{}: why has it no gradient?", op.name)),
            Some(_) if cases.iter().any(|c| c.backward.is_some()) => {
                problems.push(format!("{} has a backward and says it has none", op.name));
            }
            _ => {}
        }
        // A tolerance is a claim about f32; a loose one hides faults.
        problems.extend(
            cases
                .iter()
                .filter(|c| c.tolerance > 5e-4)
                .map(|c| format!("{} {}: tolerance {}", op.name, c.name, c.tolerance)),
        );
        if op.sabotages.is_empty() {
            problems.push(format!("{} is never sabotaged", op.name));
        }
        let others = op.sabotages.iter().filter(|s| !s.kernel.starts_with(&format!("{}/", op.name)));
        problems.extend(others.map(|s| format!("a sabotage of {} breaks {}", op.name, s.kernel)));
        if !root().join(format!("src/ops/{}.rs", op.name)).is_file() || !root().join("shaders").join(op.name).is_dir() {
            problems.push(format!("{}: no file src/ops/{0}.rs or no folder shaders/{0}/", op.name));
        }
    }
    let names: BTreeSet<String> = ALL.iter().map(|o| o.name.to_owned()).collect();
    let mut shaders = folders("shaders");
    assert!(shaders.remove("shared"));
    problems
        .extend(shaders.symmetric_difference(&names).map(|n| format!("{n} is in one of shaders/ and ops::ALL only")));
    none(&problems);
}

#[test]
fn every_op_is_derived_in_math_and_every_folder_is_in_architecture() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let headings: BTreeSet<String> = read("docs/MATH.md")
        .lines()
        .filter_map(|l| l.trim_start_matches('#').strip_prefix(' ').filter(|_| l.starts_with('#')))
        .map(|h| h.trim().trim_matches('`').to_owned())
        .collect();
    let without = ALL
        .iter()
        .filter(|op| !headings.contains(op.name))
        .map(|op| format!("docs/MATH.md has no heading \"{}\"", op.name));
    let map = read("docs/ARCHITECTURE.md");
    let unmentioned = folders("src")
        .into_iter()
        .filter(|f| !map.contains(&format!("src/{f}/")))
        .map(|f| format!("docs/ARCHITECTURE.md does not mention src/{f}/"));
    none(&without.chain(unmentioned).collect::<Vec<_>>());
}

/// Numbers with an exponent in a line of code.
fn exponents(line: &str) -> Vec<String> {
    let line = code(line);
    let bytes = line.as_bytes();
    let mut out = Vec::new();
    for (at, _) in line.match_indices(['e', 'E']) {
        let mut start = at;
        while start > 0 && (bytes[start - 1].is_ascii_digit() || bytes[start - 1] == b'.') {
            start -= 1;
        }
        let number = bytes[start..at].first().is_some_and(u8::is_ascii_digit)
            && (start == 0 || !(bytes[start - 1].is_ascii_alphabetic() || bytes[start - 1] == b'_'));
        let rest: String = line[at + 1..].chars().take_while(|c| c.is_ascii_digit() || "+-".contains(*c)).collect();
        if number && rest.bytes().any(|b| b.is_ascii_digit()) {
            let sign = if start > 0 && bytes[start - 1] == b'-' { "-" } else { "" };
            out.push(format!("{sign}{}e{rest}", &line[start..at]));
        }
    }
    out
}

/// Fractions far below one, such as 0.00001, in a line of code.
fn tiny_fractions(line: &str) -> Vec<String> {
    let line = code(line);
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
        .filter(|w| w.trim_end_matches(['f', 'h']).parse::<f64>().is_ok_and(|v| v > 0.0 && v < 1e-3))
        .map(str::to_owned)
        .collect()
}

#[test]
fn kernels_have_no_epsilons_of_their_own() {
    assert_eq!(exponents("let a = max(-1e30, x1e5 + 2.5e-6f); // 3e3"), ["-1e30", "2.5e-6"]);
    assert_eq!(exponents("let e = 0x7fe0; exp(1.0); 12u"), [""; 0]);
    assert_eq!(tiny_fractions("a + 0.00001f + 0.5 + 1.0"), ["0.00001f"]);

    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for (name, text) in files("shaders", "wgsl") {
        for (i, line) in text.lines().enumerate() {
            for literal in exponents(line).into_iter().chain(tiny_fractions(line)) {
                match EXPONENTS.iter().position(|(f, l, _)| *f == name && *l == literal) {
                    Some(at) => drop(used.insert(at)),
                    None => problems.push(format!("{name}:{}: {literal} should come from the parameter block", i + 1)),
                }
            }
        }
    }
    problems.extend(
        EXPONENTS
            .iter()
            .enumerate()
            .filter(|(i, _)| !used.contains(i))
            .map(|(_, (f, l, _))| format!("{f} has no {l} any more: remove it from the list")),
    );
    none(&problems);
}
