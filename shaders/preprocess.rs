//! The whole template language of our shaders: `#import name`, `#ifdef`, `#ifndef`, `#else`, `#endif`.
//!
//! Pure text in, text out. Shared by the build script (`build.rs`) and by the tests through `#[path]`, so that there is
//! one compiler. Every file stays plain WGSL but for the directive lines.

use std::collections::BTreeSet;

/// Expands `source` with the given `defines`. `load` finds the text of an imported file; each file is included at most
/// once. Directives inside imported files are honoured too.
pub(crate) fn expand(
    source: &str,
    defines: &BTreeSet<String>,
    load: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut seen = BTreeSet::new();
    let mut out = String::new();
    expand_into(source, defines, load, &mut seen, &mut out)?;
    Ok(out)
}

fn expand_into(
    source: &str,
    defines: &BTreeSet<String>,
    load: &dyn Fn(&str) -> Option<String>,
    seen: &mut BTreeSet<String>,
    out: &mut String,
) -> Result<(), String> {
    // One entry per open #ifdef: is this branch kept?
    let mut branches: Vec<bool> = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut words = line.split_whitespace();
        let (directive, argument) = (words.next().unwrap_or(""), words.next());
        let fail = |what: &str| Err(format!("line {}: {what}: {line}", number + 1));
        match directive {
            "#ifdef" | "#ifndef" => {
                let Some(name) = argument else {
                    return fail("a condition needs a name");
                };
                branches.push(defines.contains(name) == (directive == "#ifdef"));
            }
            "#else" => match branches.last_mut() {
                Some(branch) => *branch = !*branch,
                None => return fail("#else without #ifdef"),
            },
            "#endif" => {
                if branches.pop().is_none() {
                    return fail("#endif without #ifdef");
                }
            }
            _ if branches.contains(&false) => {}
            "#import" => {
                let Some(name) = argument else {
                    return fail("#import needs a name");
                };
                if seen.insert(name.to_owned()) {
                    let Some(text) = load(name) else {
                        return fail("no such file to import");
                    };
                    out.push_str(&format!("// from {name}\n"));
                    expand_into(&text, defines, load, seen, out).map_err(|e| format!("in {name}: {e}"))?;
                }
            }
            word if word.starts_with('#') => return fail("unknown directive"),
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    if branches.is_empty() { Ok(()) } else { Err("#ifdef without #endif at the end of the file".to_owned()) }
}
