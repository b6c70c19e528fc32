//! CIFAR-10: batches of small pictures, as plain records or as Python's pickles.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pickle::{self, Pickle, Value};
use super::{ClassSet, Files, Kind, LoadError, Part, Picture, Place, is_picture, last, wrong};

/// Bytes of a picture: 32 x 32 of red, of green, of blue.
const PLANES: usize = 3 * 32 * 32;
/// Bytes of a record: its class before its picture. Those of CIFAR-100 have two.
const RECORD: usize = 1 + PLANES;
const RECORD_100: usize = 2 + PLANES;
/// The classes, for where the file of their names is not there.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// Batches of the whole set to train on.
const BATCHES: usize = 5;

/// What a file is by its name: which part, and its number.
fn batch(name: &str, end: &str) -> Option<(Part, usize)> {
    let stem = last(name).strip_suffix(end)?;
    if stem == "test_batch" {
        return Some((Part::Test, 0));
    }
    let number = stem.strip_prefix("data_batch_")?;
    let digits = (1..4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((Part::Train, number.parse().ok().filter(|_| digits)?))
}

/// A file of CIFAR-100, by its name.
fn is_hundred(name: &str, files: &Files<'_>) -> bool {
    let beside = |other: &str| {
        let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        files.has(&format!("{folder}{other}"))
    };
    // Names that other sets may have, too, beside pictures.
    (matches!(last(name), "train.bin" | "test.bin") || last(name) == "train" && beside("test") && beside("meta"))
        && !files.names().any(is_picture)
}

pub(super) fn is_there(files: &Files<'_>) -> bool {
    files.names().any(|name| [".bin", ""].iter().any(|end| batch(name, end).is_some()) || is_hundred(name, files))
}

/// The batches of a form, in the order of their parts and numbers.
fn batches<'a>(files: &'a Files<'_>, end: &str) -> Vec<(Part, usize, &'a str)> {
    let mut all: Vec<_> =
        files.names().filter_map(|name| batch(name, end).map(|(part, number)| (part, number, name))).collect();
    all.sort_unstable();
    all
}

pub(super) fn load(files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let (records, pickles) = (batches(files, ".bin"), batches(files, ""));
    let all: Vec<_> = records.iter().chain(&pickles).copied().collect();
    let folders: BTreeSet<&str> = all.iter().map(|(.., name)| name.rsplit_once('/').map_or("", |(f, _)| f)).collect();
    let Some(folder) = folders.first().filter(|_| folders.len() == 1) else {
        if folders.is_empty() {
            return missing(files);
        }
        let names: Vec<&str> = folders.into_iter().collect();
        return wrong(
            "the folder",
            format!("there are batches of CIFAR-10 in {}: give one of these folders", names.join(" and in ")),
        );
    };
    if !records.is_empty() && !pickles.is_empty() {
        let (one, other) = (last(records[0].2), last(pickles[0].2));
        return wrong(*folder, format!("it has batches in both forms ({one}, {other}): keep those of one"));
    }
    let names = super::below(folder, if pickles.is_empty() { "batches.meta.txt" } else { "batches.meta" });
    let mut set = ClassSet::new(Kind::Cifar10, CLASSES.map(str::to_owned).into());
    if files.has(&names) {
        set.classes = if pickles.is_empty() { listed(files, &names)? } else { pickled_names(files, &names)? };
    } else {
        set.notes.push(format!("{names} is not there: the classes have their usual names"));
    }
    for (part, _, name) in all {
        let bytes = Arc::new(files.bytes(name)?);
        match pickles.is_empty() {
            true => records_of(&mut set, part, name, &bytes)?,
            false => pickled(&mut set, part, name, &bytes)?,
        }
    }
    let have: BTreeSet<usize> = records.iter().chain(&pickles).filter(|b| b.0 == Part::Train).map(|b| b.1).collect();
    let gone: Vec<String> = (1..=BATCHES).filter(|n| !have.contains(n)).map(|n| n.to_string()).collect();
    if !gone.is_empty() && !have.is_empty() {
        set.notes.push(format!("of the batches 1 to {BATCHES} to train on, {} is not there", gone.join(", ")));
    }
    Ok(set)
}

fn missing<T>(files: &Files<'_>) -> Result<T, LoadError> {
    let Some(name) = files.names().find(|name| is_hundred(name, files)) else {
        return wrong("the folder", "there is neither data_batch_1.bin nor data_batch_1, the first batch of CIFAR-10");
    };
    let record = if name.ends_with(".bin") { format!(" with records of {RECORD_100} bytes") } else { String::new() };
    wrong(
        name,
        format!("it is a file of CIFAR-100{record}, and CIFAR-10 is read: its files are data_batch_1.bin and so on"),
    )
}

/// Are these the names of ten classes?
fn ten(names: Vec<String>, place: &str) -> Result<Vec<String>, LoadError> {
    match names.len() {
        10 => Ok(names),
        count => wrong(place, format!("it has {count} names, and CIFAR-10 has 10 classes")),
    }
}

fn listed(files: &Files<'_>, name: &str) -> Result<Vec<String>, LoadError> {
    let text = files.text(name)?;
    ten(super::lines(name, &text).map(|(_, line)| line.to_owned()).collect(), name)
}

/// The class in a record or a list.
fn class(number: i64, place: &str) -> Result<usize, LoadError> {
    match usize::try_from(number) {
        Ok(class) if class < CLASSES.len() => Ok(class),
        _ => wrong(place, format!("its label is {number}, and CIFAR-10 has labels from 0 to 9")),
    }
}

fn records_of(set: &mut ClassSet, part: Part, name: &str, bytes: &Arc<Vec<u8>>) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return wrong(name, "it is empty");
    }
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if !rest.is_empty() {
        let hundred = bytes.len().is_multiple_of(RECORD_100);
        let hint = if hundred {
            format!("; of {RECORD_100} bytes, as CIFAR-100 has them, it would be whole")
        } else {
            String::new()
        };
        let (at, len) = (records.len(), rest.len());
        return wrong(
            format!("{name}, record {at}"),
            format!("it has {len} bytes, and a record has {RECORD}: the file is cut off, or of another set{hint}"),
        );
    }
    for (i, record) in records.iter().enumerate() {
        let place = format!("{name}, record {i}");
        let class = class(i64::from(record[0]), &place)?;
        let range = i * RECORD + 1..(i + 1) * RECORD;
        set.pictures.push(Picture { place: Place::Planes(Arc::clone(bytes), range, place), class, part });
    }
    Ok(())
}

/// What stands under a key of a pickle's dictionary, the last where it is there twice.
fn under<'a>(pickle: &'a Pickle, bytes: &[u8], key: &str, name: &str) -> Result<&'a Value, LoadError> {
    let Value::Dict(pairs) = pickle.top() else {
        return wrong(name, "its pickle is no dictionary, as a batch of CIFAR-10 is");
    };
    let is = |id: usize, key: &str| matches!(pickle.value(id), Value::Text(range) if bytes[range.clone()] == *key.as_bytes());
    if let Some((_, value)) = pairs.iter().rev().find(|(id, _)| is(*id, key)) {
        return Ok(pickle.value(*value));
    }
    let hundred = pairs.iter().any(|(id, _)| is(*id, "fine_labels"));
    let hint = if hundred { ": it has \"fine_labels\", and so is a file of CIFAR-100" } else { "" };
    wrong(name, format!("there is no \"{key}\" in its pickle{hint}"))
}

fn pickled_names(files: &Files<'_>, name: &str) -> Result<Vec<String>, LoadError> {
    let bytes = files.bytes(name)?;
    let pickle = pickle::read(name, &bytes)?;
    let Value::List(list) = under(&pickle, &bytes, "label_names", name)? else {
        return wrong(name, "\"label_names\" is to be a list of texts");
    };
    let text = |id: &usize| match pickle.value(*id) {
        Value::Text(range) => Ok(String::from_utf8_lossy(&bytes[range.clone()]).into_owned()),
        _ => wrong(name, "\"label_names\" is to be a list of texts"),
    };
    ten(list.iter().map(text).collect::<Result<_, _>>()?, name)
}

fn pickled(set: &mut ClassSet, part: Part, name: &str, bytes: &Arc<Vec<u8>>) -> Result<(), LoadError> {
    let pickle = pickle::read(name, bytes)?;
    let (Value::List(labels), Value::Array { shape, data }) =
        (under(&pickle, bytes, "labels", name)?, under(&pickle, bytes, "data", name)?)
    else {
        return wrong(name, "\"labels\" is to be a list of numbers, and \"data\" a NumPy array of bytes");
    };
    if shape[..] != [labels.len(), PLANES] {
        let count = labels.len();
        return wrong(
            name,
            format!("\"data\" is of shape {shape:?} beside {count} labels, and is to be [{count}, {PLANES}]"),
        );
    }
    if labels.is_empty() {
        return wrong(name, "it has no pictures");
    }
    for (i, label) in labels.iter().enumerate() {
        let place = format!("{name}, record {i}");
        let Value::Int(number) = pickle.value(*label) else {
            return wrong(place, "its label is no whole number");
        };
        let class = class(*number, &place)?;
        let start = data.start + i * PLANES;
        set.pictures.push(Picture {
            place: Place::Planes(Arc::clone(bytes), start..start + PLANES, place),
            class,
            part,
        });
    }
    Ok(())
}
