//! Tables in several files: `test-00000-of-00003.parquet`, with 16 digits more in older ones, or `test/0000.parquet` in copies that
//! Hugging Face made.

use std::collections::BTreeMap;

use super::{Files, LoadError, PARQUET, end_of, wrong};

/// A file of a table.
#[derive(Debug, PartialEq, Eq)]
struct Shard<'a> {
    folder: &'a str,
    split: &'a str,
    number: usize,
    /// How many files the table has, where the name says it.
    count: Option<usize>,
}

impl<'a> Shard<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let stem = end_of(name, 1).strip_suffix(PARQUET)?;
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let digits = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        if let Some(number) = digits(stem) {
            return Some(Self { folder, split: end_of(folder, 1), number, count: None });
        }
        let numbered = || {
            let (start, end) = stem.rsplit_once("-of-")?;
            let (split, number) = start.rsplit_once('-')?;
            let (count, hash) = end.split_once('-').unwrap_or((end, ""));
            let hash = hash.bytes().all(|b| b.is_ascii_hexdigit());
            hash.then_some(Self { folder, split, number: digits(number)?, count: Some(digits(count)?) })
        };
        Some(numbered().unwrap_or(Self { folder, split: stem, number: 0, count: Some(1) }))
    }
}

/// The files of a part of a set in their order, below a folder of this name; none where there are none.
pub(super) fn shards(files: &Files<'_>, config: Option<&str>, split: &str) -> Result<Option<Vec<String>>, LoadError> {
    let mut folders: BTreeMap<&str, Vec<(Shard<'_>, &str)>> = BTreeMap::new();
    for name in files.names() {
        let Some(shard) = Shard::of(name).filter(|shard| shard.split == split) else { continue };
        if config.is_none_or(|config| shard.folder.split('/').any(|part| part == config)) {
            folders.entry(shard.folder).or_default().push((shard, name));
        }
    }
    let Some((folder, mut all)) = folders.pop_first() else { return Ok(None) };
    if let Some((other, _)) = folders.pop_first() {
        let [folder, other] = [folder, other].map(|folder| if folder.is_empty() { "." } else { folder });
        return wrong(
            "the folder",
            format!("there are tables of {split} in {folder} and in {other}: give as --data the one that is meant"),
        );
    }
    all.sort_by_key(|(shard, _)| shard.number);
    for pair in all.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if a.count != b.count || a.number == b.number {
            return wrong(*second, format!("it and {first} are parts of two tables of {split}: remove one of them"));
        }
    }
    let count = all.first().and_then(|(shard, _)| shard.count).unwrap_or(all.len());
    let missing = (0..count).find(|i| all.get(*i).is_none_or(|(shard, _)| shard.number != *i));
    if let Some(missing) = missing {
        let name = match all.first().and_then(|(shard, _)| shard.count) {
            Some(count) => format!("{split}-{missing:05}-of-{count:05}{PARQUET}"),
            None => format!("{missing:04}{PARQUET}"),
        };
        let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        return wrong(name, format!("it is not there: the table of {split} has {count} files"));
    }
    if let Some((_, name)) = all.get(count) {
        return wrong(*name, format!("the table of {split} has {count} files, and this is none of them"));
    }
    Ok(Some(all.into_iter().map(|(_, name)| name.to_owned()).collect()))
}

/// Says that there are none.
pub(super) fn none<T>(files: &Files<'_>, config: Option<&str>, split: &str) -> Result<T, LoadError> {
    let of = config.map_or_else(String::new, |config| format!(" in a folder {config}"));
    let first = files.names().find(|name| name.ends_with(PARQUET)).unwrap_or_default();
    wrong(
        "the folder",
        format!("there is no table{of} of the part {split}, such as {split}-00000-of-00001.parquet, but {first}"),
    )
}

/// The files of a part that has to be there.
pub(super) fn tables(files: &Files<'_>, config: Option<&str>, split: &str) -> Result<Vec<String>, LoadError> {
    shards(files, config, split)?.map_or_else(|| none(files, config, split), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], config: Option<&str>) -> Result<Option<Vec<String>>, String> {
        let read = |_: &str| Ok(Vec::new());
        let files = Files::new(names.iter().map(ToString::to_string), &read);
        shards(&files, config, "test").map_err(|e| e.to_string())
    }

    #[test]
    fn files_of_a_table_are_found_in_their_order() {
        let all = |names: &[&str]| Ok(Some(names.iter().map(ToString::to_string).collect()));
        let hashed = ["data/test-00000-of-00002-1f0c3a5b7d9e2468.parquet", "data/test-00001-of-00002-8a6c.parquet"];
        let own = [hashed[1], "data/train-00000-of-00001.parquet", hashed[0], "data/test.json"];
        assert_eq!(found(&own, None), all(&hashed));
        let many: Vec<String> = (0..12).map(|i| format!("test-{i}-of-12.parquet")).collect();
        assert_eq!(found(&many.iter().map(String::as_str).collect::<Vec<_>>(), None), Ok(Some(many)));
        let copy = ["a/test/0000.parquet", "a/test/0001.parquet"];
        assert_eq!(found(&[copy[1], copy[0], "a/partial-test/0000.parquet"], None), all(&copy));
        assert_eq!(found(&["test.parquet", "b.parquet"], None), all(&["test.parquet"]));
        assert_eq!(found(&["FULL/test.parquet", "IMG/test.parquet"], Some("IMG")), all(&["IMG/test.parquet"]));
        assert_eq!(found(&["b.parquet"], None), Ok(None));
    }

    #[test]
    fn files_that_are_no_whole_table_are_named() {
        for (names, says) in [
            (&["d/test-00000-of-00002.parquet"][..], "d/test-00001-of-00002.parquet: it is not there"),
            (&["test-00001-of-00002.parquet"], "test-00000-of-00002.parquet: it is not there"),
            (&["test/0000.parquet", "test/0002.parquet"], "test/0001.parquet: it is not there"),
            (&["test-00000-of-00001-1f.parquet", "test-00000-of-00001-2f.parquet"], "remove one of them"),
            (&["test-00000-of-00002.parquet", "test-00001-of-00003.parquet"], "remove one of them"),
            (&["test-00000-of-00000.parquet"], "this is none of them"),
            (&["a/test.parquet", "b/test.parquet"], "in a and in b"),
        ] {
            let said = found(names, None).unwrap_err();
            assert!(said.contains(says), "{names:?}: {said}");
        }
        let read = |_: &str| Ok(Vec::new());
        let files = Files::new(["a/train.parquet".to_owned()], &read);
        let said = tables(&files, Some("b"), "test").unwrap_err().to_string();
        assert!(said.contains("no table in a folder b of the part test") && said.contains("a/train.parquet"), "{said}");
    }
}
