//! The documents say what is there: files and folders that they name exist, every file of `src/` stands on the map, numbers of
//! things are counted, and the walk through the code finds its names.

use std::collections::BTreeSet;

use hive::ops;

use super::taste::{files, none, root};

const DOCUMENTS: [&str; 5] =
    ["README.md", "docs/ARCHITECTURE.md", "docs/CODE_STYLE.md", "docs/CONTRIBUTING.md", "assets/README.md"];
/// What a path in a document begins with.
const TOPS: [&str; 9] = ["src/", "shaders/", "tests/", "docs/", "assets/", "web/", "examples/", "tools/", ".ci/"];

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What stands in backticks or behind a link of a line, word by word.
fn quoted(line: &str) -> Vec<&str> {
    let code = line.split('`').skip(1).step_by(2);
    let links = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next());
    code.chain(links).flat_map(|s| s.split([' ', ',', '(', ')'])).collect()
}

#[test]
fn paths_in_documents_exist() {
    assert_eq!(quoted("see `src/a.rs` and [b](docs/b.md)"), ["src/a.rs", "docs/b.md"]);
    let (mut problems, mut seen) = (Vec::new(), 0);
    for document in DOCUMENTS {
        for (i, line) in read(document).lines().enumerate() {
            for path in quoted(line) {
                let path = path.split('#').next().unwrap_or(path).trim_end_matches([':', '.', ';']);
                // `<op>` and `X` stand for names.
                let open = path.contains(['<', '*', 'X', '{', '>']) || path.contains("...");
                if open || !TOPS.iter().any(|top| path.starts_with(top)) {
                    continue;
                }
                seen += 1;
                if !root().join(path).exists() {
                    problems.push(format!("{document}:{}: there is no {path}", i + 1));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} paths were found: the reader of this test is broken");
    none(&problems);
}

/// Rows of the map: folder of the table's heading row, and the names of a row's first column.
fn map() -> Vec<(String, Vec<String>)> {
    let mut folder = String::new();
    let mut rows = Vec::new();
    for line in read("docs/ARCHITECTURE.md").lines().filter(|l| l.starts_with('|')) {
        let first = line.split('|').nth(1).unwrap_or_default().trim();
        if let Some(name) = first.strip_prefix("**").and_then(|f| f.strip_suffix("**")) {
            folder = name.to_owned();
        } else if folder.starts_with("src/") && first.starts_with('`') {
            let names = first.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            rows.push((folder.clone(), names));
        }
    }
    rows
}

#[test]
fn the_map_names_every_file_and_no_other() {
    let mut named = BTreeSet::new();
    let mut problems = Vec::new();
    for (folder, names) in map() {
        for name in names {
            let path = format!("{folder}{name}");
            if !root().join(&path).exists() {
                problems.push(format!("docs/ARCHITECTURE.md: there is no {path}"));
            }
            named.insert(path);
        }
    }
    assert!(named.len() > 60, "only {} files were found: the reader of this test is broken", named.len());
    for path in files("src", "rs").into_keys().filter(|p| !p.ends_with("/mod.rs") && p.matches('/').count() > 1) {
        let above = path.rmatch_indices('/').map(|(at, _)| &path[..=at]);
        if !named.contains(&path) && !above.into_iter().any(|folder| named.contains(folder)) {
            problems.push(format!("docs/ARCHITECTURE.md does not name {path}"));
        }
    }
    none(&problems);
}

/// Numbers in words, as documents write them.
fn word(count: usize) -> String {
    const WORDS: [&str; 21] = [
        "no",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    WORDS.get(count).map_or_else(|| count.to_string(), |w| (*w).to_owned())
}

#[test]
fn counts_in_documents_are_right() {
    let kernels =
        |op: &str| files(&format!("shaders/{op}"), "wgsl").into_keys().filter(|f| !f.ends_with("params.wgsl")).count();
    // A page for teachers stands beside them.
    let lessons = files("assets/lessons", "md").keys().filter(|path| !path.ends_with("/teacher.md")).count();
    let counts = [
        ("README.md", format!("{} operations with readable WGSL kernels", word(ops::ALL.len()))),
        ("README.md", format!("{} lessons with experiments", word(lessons))),
        (
            "docs/ARCHITECTURE.md",
            format!("linear layers and their gradients by {} kernels", word(kernels("matmul") - 2)),
        ),
    ];
    let wrong = |(document, text): &(&str, String)| {
        let have = read(document).split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        (!have.contains(&text.to_lowercase())).then(|| format!("{document} does not say \"{text}\""))
    };
    none(&counts.iter().filter_map(wrong).collect::<Vec<_>>());
}

/// The steps of the walk in CONTRIBUTING: a file or folder, then names that stand in it.
#[test]
fn the_walk_through_the_code_finds_its_names() {
    let text = read("docs/CONTRIBUTING.md");
    let start = text.find("## A walk").expect("a section \"A walk\"");
    let section = &text[start..];
    let section = section[3..].find("\n## ").map_or(section, |end| &section[..end + 3]);
    let steps: Vec<&str> =
        section.lines().filter(|l| l.split_once(". ").is_some_and(|(n, _)| n.parse::<usize>().is_ok())).collect();
    assert!((6..=12).contains(&steps.len()), "{} steps", steps.len());
    let mut problems = Vec::new();
    for step in steps {
        let mut words = step.split('`').skip(1).step_by(2);
        let Some(place) = words.next() else { continue };
        let path = root().join(place);
        if !path.exists() {
            problems.push(format!("there is no {place}: {step}"));
            continue;
        }
        for name in words {
            let there = match std::fs::read_to_string(&path) {
                Ok(text) => text.contains(name),
                Err(_) => path.join(name).exists(),
            };
            if !there {
                problems.push(format!("{place} has no \"{name}\": {step}"));
            }
        }
    }
    none(&problems);
}
