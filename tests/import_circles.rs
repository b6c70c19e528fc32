//! Who imports whom inside `src/`: circles of files are few and small.
//!
//! An import is a path in code that begins with `crate::`, `super::` or, in a `mod.rs`, with one of its own modules. A name that a
//! `mod.rs` only hands on is followed to the file that defines it. Unit tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::taste::{code, files, none};

/// Circles inside layers at most.
const CIRCLES: usize = 4;
/// Files of a circle at most: two neighbours that know each other do no harm.
const CIRCLE_FILES: usize = 2;

/// Modules of the crate: path of names, and file.
struct Modules {
    by_path: BTreeMap<Vec<String>, String>,
    code: BTreeMap<String, String>,
}

fn words(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// The paths of a use tree: `a::{b, c::{self, D as E}}` is `a::b`, `a::c::self` and `a::c::D`.
fn expand(tree: &str, prefix: &[String], out: &mut Vec<Vec<String>>) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (i, c) in tree.char_indices().chain([(tree.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(tree[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    for part in parts.into_iter().filter(|p| !p.is_empty()) {
        match part.split_once('{') {
            Some((head, inner)) => {
                let prefix = [prefix, &words(head)].concat();
                expand(inner.trim_end().strip_suffix('}').unwrap_or(inner), &prefix, out);
            }
            None => out.push([prefix, &words(part.split(" as ").next().unwrap_or(part))].concat()),
        }
    }
}

impl Modules {
    fn read() -> Self {
        let (mut by_path, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for (name, text) in files("src", "rs").into_iter().filter(|(n, _)| !n.ends_with("_tests.rs")) {
            let mut path = words(&name["src/".len()..name.len() - ".rs".len()].replace('/', "::"));
            if path.last().is_some_and(|w| w == "mod" || w == "lib") {
                path.pop();
            }
            let text: Vec<String> =
                text.lines().take_while(|l| l.trim() != "#[cfg(test)]").map(|l| code(l).trim().to_owned()).collect();
            by_path.insert(path, name.clone());
            texts.insert(name, text.join("\n"));
        }
        Self { by_path, code: texts }
    }

    /// The file that defines what an absolute path names; through `mod.rs` files that only hand it on.
    fn home(&self, path: &[String], hops: usize) -> Option<&str> {
        let depth = (1..=path.len()).rev().find(|n| self.by_path.contains_key(&path[..*n]))?;
        let (module, rest) = path.split_at(depth);
        let file = &self.by_path[module];
        if let (Some(name), true) = (rest.first(), hops < 4) {
            for handed in self.handed_on(file, module) {
                if handed.last() == Some(name) {
                    return self.home(&handed, hops + 1);
                }
            }
        }
        Some(file)
    }

    /// Paths that a file hands on with `pub use`.
    fn handed_on(&self, file: &str, module: &[String]) -> Vec<Vec<String>> {
        let statements = self.code[file].split(';').map(|s| s.replace('\n', " "));
        let public = statements.filter_map(|s| {
            let at = s.find("pub use ").or_else(|| s.find("pub(crate) use "))?;
            Some(s[at..].split_once("use ")?.1.to_owned())
        });
        let mut out = Vec::new();
        public.for_each(|tree| expand(&tree, &[], &mut out));
        out.into_iter().filter_map(|p| self.absolute(&p, module)).collect()
    }

    /// From the module `at`: where a path as it is written begins.
    fn absolute(&self, path: &[String], at: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([at, rest].concat()),
            "super" => {
                let (mut up, mut rest) = (at.len().checked_sub(1)?, rest);
                while rest.first().is_some_and(|w| w == "super") {
                    (up, rest) = (up.checked_sub(1)?, &rest[1..]);
                }
                Some([&at[..up], rest].concat())
            }
            _ => {
                let own = [at, std::slice::from_ref(first)].concat();
                self.by_path.contains_key(&own).then(|| [at, path].concat())
            }
        }
    }

    /// Files that a file imports.
    fn imports(&self, file: &str, module: &[String]) -> BTreeSet<&str> {
        let text = &self.code[file];
        let mut paths = Vec::new();
        for statement in text.split(';').map(|s| s.replace('\n', " ")) {
            if let Some((before, tree)) = statement.split_once("use ")
                && (before.trim().is_empty() || before.trim_end().ends_with([']', '}', '{']))
            {
                expand(tree, &[], &mut paths);
                continue;
            }
            for start in ["crate::", "super::"] {
                for (at, _) in statement.match_indices(start) {
                    let rest = &statement[at..];
                    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                    paths.push(words(&rest[..end]));
                }
            }
        }
        let mut absolute: Vec<Vec<String>> = paths.iter().filter_map(|p| self.absolute(p, module)).collect();
        // A module that was imported by its name: what the code takes out of it.
        let named: Vec<Vec<String>> = absolute.iter().filter(|p| self.by_path.contains_key(*p)).cloned().collect();
        for module in named {
            let start = format!("{}::", module[module.len() - 1]);
            for (at, _) in text.match_indices(&start) {
                let inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                let rest = &text[at + start.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                absolute.extend((!inside).then(|| [module.clone(), words(&rest[..end])].concat()));
            }
        }
        absolute.iter().filter_map(|p| self.home(p, 0)).filter(|f| *f != file).collect()
    }
}

/// Groups of files that reach each other.
fn circles<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reach = |from: &'a str| {
        let (mut seen, mut rest) = (BTreeSet::new(), vec![from]);
        while let Some(file) = rest.pop() {
            rest.extend(graph.get(file).into_iter().flatten().filter(|f| seen.insert(**f)));
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|f| (*f, reach(f))).collect();
    let mut out: Vec<BTreeSet<&str>> = Vec::new();
    for (file, seen) in all.iter().filter(|(file, seen)| seen.contains(*file)) {
        let circle: BTreeSet<&str> = seen.iter().copied().filter(|f| all[f].contains(file)).collect();
        if !out.contains(&circle) {
            out.push(circle);
        }
    }
    out
}

#[test]
fn import_circles_are_few_and_small() {
    let mut paths = Vec::new();
    expand("crate::a::{b, c::{self, D as E}}", &[], &mut paths);
    assert_eq!(
        paths.iter().map(|p| p.join("::")).collect::<Vec<_>>(),
        ["crate::a::b", "crate::a::c::self", "crate::a::c::D"]
    );

    let modules = Modules::read();
    let graph: BTreeMap<&str, BTreeSet<&str>> =
        modules.by_path.iter().map(|(path, file)| (file.as_str(), modules.imports(file, path))).collect();
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 500, "only {edges} imports were found: the reader of this test is broken");
    let found = circles(&graph);
    let line = |c: &BTreeSet<&str>| c.iter().copied().collect::<Vec<_>>().join(", ");
    let mut problems: Vec<String> = found
        .iter()
        .filter(|c| c.len() > CIRCLE_FILES)
        .map(|c| format!("a circle of {}: {}", c.len(), line(c)))
        .collect();
    if found.len() > CIRCLES {
        problems.push(format!("{} circles, at most {CIRCLES}:", found.len()));
        problems.extend(found.iter().map(line));
    }
    none(&problems);
}
