//! Arguments: positional words, `--name value`, and `--flag`. Unknown ones are errors with the nearest known name.

use super::fault::Fault;
use super::output::say;
use crate::engine::assets;

/// Parsed arguments of a subcommand.
#[derive(Debug, Default)]
pub struct Args {
    words: Vec<String>,
    options: Vec<(String, String)>,
    flags: Vec<String>,
}

/// Options with a value that every command takes.
const COMMON: [&str; 2] = ["adapter", "seed"];
/// Options that may be there several times.
const REPEATED: [&str; 3] = ["set", "stage", "stop"];
/// The largest value of options that size memory or time.
const MOST: [(&str, f64); 13] = [
    ("questions", 1e6),
    ("jobs", 64.0),
    ("runs", 1e6),
    ("steps", 1e9),
    ("save-every", 1e9),
    ("tokens", 1e6),
    ("room", 1e9),
    ("limit", 1e9),
    ("text", 4096.0),
    ("batch", 65536.0),
    // MiB, MB, seconds.
    ("memory", 1e9),
    ("shard-size", 1e9),
    ("secs", 1e6),
];
/// Flags that every command takes.
const COMMON_FLAGS: [&str; 2] = ["json", "help"];

impl Args {
    /// Splits `list`, knowing the names of options (with values) and flags (without).
    ///
    /// # Errors
    /// An unknown name, or a missing value.
    pub fn parse(list: &[String], options: &[&str], flags: &[&str]) -> Result<Self, Fault> {
        let mut args = Self::default();
        let mut rest = list.iter();
        while let Some(word) = rest.next() {
            let Some(name) = word.strip_prefix("--").or((word == "-h").then_some("help")) else {
                args.words.push(word.clone());
                continue;
            };
            let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v.to_owned())));
            if options.contains(&name) || COMMON.contains(&name) {
                let value = value.or_else(|| rest.next().filter(|v| !v.starts_with("--")).cloned());
                let value = value.ok_or_else(|| Fault::usage(format!("--{name} needs a value")))?;
                if args.option(name).is_some() && !REPEATED.contains(&name) {
                    return Err(Fault::usage(format!("--{name} is there twice: give it once")));
                }
                args.options.push((name.to_owned(), value));
            } else if flags.contains(&name) || COMMON_FLAGS.contains(&name) {
                args.flags.push(name.to_owned());
            } else {
                let known: Vec<String> =
                    options.iter().chain(flags).chain(&COMMON).chain(&COMMON_FLAGS).map(|n| format!("--{n}")).collect();
                return Err(Fault::usage(format!("unknown option --{name}. Known here: {}", known.join(", "))));
            }
        }
        Ok(args)
    }

    /// The same with at most so many words beside the options; none where `--help` asks for `help`, which is then given.
    pub fn or_help(
        list: &[String],
        (words, options): (usize, &[&str]),
        flags: &[&str],
        help: &str,
    ) -> Result<Option<Self>, Fault> {
        let args = Self::parse(list, options, flags)?;
        if args.flag("help") {
            say(help);
            return Ok(None);
        }
        args.at_most(words, options)?;
        Ok(Some(args))
    }

    /// There are at most so many words beside the options; else an error that says what may have been meant.
    fn at_most(&self, words: usize, options: &[&str]) -> Result<(), Fault> {
        if let Some(word) = self.words.get(words) {
            let meant = if options.contains(&"data") && std::path::Path::new(word).exists() {
                format!("did you mean --data {word}?")
            } else if options.contains(&"preset") && assets::preset(word).is_ok() {
                format!("did you mean --preset {word}?")
            } else if let Some(name) = options.iter().find(|n| **n == word.trim_start_matches('-')) {
                format!("did you mean --{name}?")
            } else if words == 0 {
                "only options are understood here".to_owned()
            } else {
                "a text of several words needs quotation marks".to_owned()
            };
            return Err(Fault::usage(format!("\"{word}\" is one word too many: {meant}")));
        }
        Ok(())
    }

    /// Positional word number `i`.
    #[must_use]
    pub fn word(&self, i: usize) -> Option<&str> {
        self.words.get(i).map(String::as_str)
    }

    /// Positional words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Value of an option, the last one given.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of an option.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Value of an option as a number, within what makes sense for it.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        let most = MOST.iter().find(|(n, _)| *n == name).map_or(f64::MAX, |(_, most)| *most);
        let parse = |v: &str| {
            if v.parse::<f64>().is_ok_and(|value| !value.is_finite()) && most == f64::MAX {
                return Err(Fault::usage(format!("--{name} needs a number, not \"{v}\"")));
            }
            // NaN is above everything here.
            if v.parse::<f64>().is_ok_and(|value| value.is_nan() || value.abs() > most) {
                return Err(Fault::usage(format!("--{name} is at most {most}, not \"{v}\"")));
            }
            v.parse().map_err(|_unparsed| Fault::usage(format!("--{name} needs a number, not \"{v}\"")))
        };
        self.option(name).map(parse).transpose()
    }

    /// Was the flag given?
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|f| f == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_options_flags_and_errors() {
        let list = |s: &str| s.split(' ').map(String::from).collect::<Vec<_>>();
        let args = Args::parse(&list("a --steps 5 b --json --out=x"), &["steps", "out"], &[]).unwrap();
        assert_eq!((args.word(0), args.word(1), args.option("out")), (Some("a"), Some("b"), Some("x")));
        assert_eq!(args.number::<u64>("steps").unwrap(), Some(5));
        assert!(args.flag("json"));
        assert!(Args::parse(&list("--step 5"), &["steps"], &[]).is_err());
        assert!(Args::parse(&list("--steps"), &["steps"], &[]).is_err());
        assert!(Args::parse(&list("--steps x"), &["steps"], &[]).unwrap().number::<u64>("steps").is_err());
        for (name, value) in [("questions", "1000001"), ("jobs", "65"), ("secs", "NaN"), ("memory", "17592186044416")] {
            let args = Args::parse(&list(&format!("--{name} {value}")), &[name], &[]).unwrap();
            assert!(args.number::<f64>(name).unwrap_err().to_string().contains("is at most"), "{name}");
        }
    }
}
