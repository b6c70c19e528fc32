//! ImageNet-1k: a folder per class to train on; to validate, the same, or one flat folder and a list of labels.

use std::collections::{BTreeMap, BTreeSet};

use super::folders::{self, above_train, add, class_folders};
use super::{ClassSet, Files, Kind, LoadError, Part, below, is_picture, last, lines, wrong};

/// What names of pictures to validate begin with.
const FLAT: &str = "ILSVRC2012_val_";
/// What those of pictures without labels begin with.
const TEST: &str = "ILSVRC2012_test_";
/// Kaggle's list of labels, and of classes.
const SOLUTION: &str = "LOC_val_solution.csv";
const MAPPING: &str = "LOC_synset_mapping.txt";
/// The development kit's labels, and the classes that their numbers are of.
const TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";
const SYNSETS: &str = "synsets.tsv";

/// The name of a class: n and eight digits.
fn is_wnid(name: &str) -> bool {
    name.strip_prefix('n').is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Name without its end, of a picture to validate.
fn flat_stem(name: &str) -> Option<&str> {
    let (stem, _) = last(name).rsplit_once('.').filter(|_| is_picture(name))?;
    stem.starts_with(FLAT).then_some(stem)
}

/// Is the folder that a file stands in one of a class?
fn is_in_class(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(folder, _)| is_wnid(last(folder)))
}

pub(super) fn is_there(files: &Files<'_>) -> bool {
    let wnids = || {
        let classes = class_folders(files, &below(above_train(files)?, "train")).0;
        Some(classes.keys().all(|name| is_wnid(name)))
    };
    files.names().any(|name| flat_stem(name).is_some() || [SOLUTION, TRUTH, MAPPING].contains(&last(name)))
        || wnids().unwrap_or(false)
}

/// The classes of Kaggle's list, with where each stands.
fn mapping(files: &Files<'_>) -> Result<Option<BTreeSet<String>>, LoadError> {
    let Some(name) = files.named(MAPPING) else { return Ok(None) };
    let text = files.text(name)?;
    let mut all = BTreeSet::new();
    for (place, line) in lines(name, &text) {
        let wnid = line.split_whitespace().next().unwrap_or_default();
        if !is_wnid(wnid) {
            return wrong(place, format!("\"{wnid}\" is no name of a class: n and eight digits"));
        }
        if !all.insert(wnid.to_owned()) {
            return wrong(place, format!("the class {wnid} is there twice"));
        }
    }
    Ok(Some(all))
}

/// Classes by the names of pictures, with where each was said.
type Labels = BTreeMap<String, (String, String)>;

/// Labels as Kaggle lists them, in any order: a picture's name, then its class and a box, once or more.
fn solution(files: &Files<'_>, name: &str) -> Result<Labels, LoadError> {
    let text = files.text(name)?;
    let mut labels = Labels::new();
    for (place, line) in lines(name, &text).filter(|(_, line)| !line.starts_with("ImageId")) {
        let Some((picture, said)) = line.split_once(',') else {
            return wrong(place, "there is no comma between picture and class");
        };
        let mut words = said.trim_matches(['"', ' ']).split_whitespace();
        let wnid = words.next().unwrap_or_default();
        if !is_wnid(wnid) {
            return wrong(place, format!("\"{wnid}\" is no name of a class: n and eight digits"));
        }
        if let Some(other) = words.find(|word| word.starts_with('n') && *word != wnid) {
            return wrong(place, format!("it has two classes, {wnid} and {other}"));
        }
        if labels.insert(picture.trim().to_owned(), (wnid.to_owned(), place.clone())).is_some() {
            return wrong(place, format!("{picture} is there twice"));
        }
    }
    Ok(labels)
}

/// The classes of the development kit by its own numbers, which are not those of sorted names.
fn synsets(files: &Files<'_>, name: &str) -> Result<BTreeMap<usize, String>, LoadError> {
    let text = files.text(name)?;
    let mut rows = lines(name, &text);
    let header = rows.next().map_or(Vec::new(), |(_, line)| line.split('\t').collect());
    let column = |key: &str| header.iter().position(|column| column.trim() == key);
    let (Some(id), Some(wnid)) = (column("ILSVRC2012_ID"), column("WNID")) else {
        return wrong(
            format!("{name}, line 1"),
            "its columns are to be ILSVRC2012_ID and WNID, with tabs between them",
        );
    };
    let mut all = BTreeMap::new();
    for (place, line) in rows {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let number = cells.get(id).and_then(|cell| cell.parse().ok());
        let (Some(number), Some(wnid)) = (number, cells.get(wnid).filter(|wnid| is_wnid(wnid))) else {
            return wrong(place, "it is no number and name of a class, n and eight digits");
        };
        if all.insert(number, (*wnid).to_owned()).is_some() {
            return wrong(place, format!("the number {number} is there twice"));
        }
    }
    Ok(all)
}

/// Labels of the development kit: a line per picture, in the order of their numbers.
fn truth(files: &Files<'_>, name: &str, classes: &BTreeMap<usize, String>) -> Result<Labels, LoadError> {
    let text = files.text(name)?;
    let mut labels = Labels::new();
    // A blank line counts, as a line's number is a picture's.
    for (i, line) in text.trim_end().lines().enumerate() {
        let (place, line) = (format!("{name}, line {}", i + 1), line.trim());
        let Some(wnid) = line.parse().ok().and_then(|number: usize| classes.get(&number)) else {
            let count = classes.len();
            return wrong(place, format!("its label is \"{line}\", which is none of the {count} numbers of {SYNSETS}"));
        };
        labels.insert(format!("{FLAT}{:08}", i + 1), (wnid.clone(), place));
    }
    Ok(labels)
}

/// All labels that are there. Where both lists are, they must agree.
fn labels(files: &Files<'_>, folder: &str) -> Result<(Labels, String), LoadError> {
    let kit = match (files.named(TRUTH), files.named(SYNSETS)) {
        (Some(name), Some(classes)) => Some((truth(files, name, &synsets(files, classes)?)?, name.to_owned())),
        _ => None,
    };
    let Some(name) = files.named(SOLUTION) else {
        return kit.map_or_else(|| unlabelled(files, folder), Ok);
    };
    let labels = solution(files, name)?;
    for (picture, (wnid, place)) in kit.iter().flat_map(|(kit, _)| kit) {
        if let Some((other, _)) = labels.get(picture).filter(|(other, _)| other != wnid) {
            return wrong(
                place,
                format!("{picture} is of {wnid}, and of {other} by {name}: one of both lists is wrong"),
            );
        }
    }
    Ok((labels, name.to_owned()))
}

fn unlabelled<T>(files: &Files<'_>, folder: &str) -> Result<T, LoadError> {
    let place = if folder.is_empty() { "the folder" } else { folder };
    let kit = match files.named(TRUTH) {
        Some(name) => format!(
            "{name} is there, whose numbers are in the order of the kit's meta.mat, which is not read: {SYNSETS} with columns ILSVRC2012_ID and WNID would say which classes they are"
        ),
        None => format!("{TRUTH} with {SYNSETS} would, too"),
    };
    wrong(
        place,
        format!("there are no class folders, and no list says the classes of its pictures: {SOLUTION} would; {kit}"),
    )
}

pub(super) fn load(files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let mut flat = BTreeMap::new();
    for name in files.names().filter(|name| !is_in_class(name)) {
        let Some(stem) = flat_stem(name) else { continue };
        if let Some(other) = flat.insert(stem, name) {
            return wrong(name, format!("the same picture is there twice: {other}"));
        }
    }
    let known = mapping(files)?;
    let Some(first) = flat.values().next() else {
        let set = folders::load(Kind::ImageNet, files)?;
        return match set.classes.iter().find(|name| !is_wnid(name)) {
            Some(name) => wrong(format!("train/{name}"), "no class of ImageNet has this name: n and eight digits"),
            None => Ok(set),
        };
    };
    let (labels, list) = labels(files, first.rsplit_once('/').map_or("", |(folder, _)| folder))?;
    let mut set = ClassSet::new(Kind::ImageNet, Vec::new());
    match above_train(files).map(|above| below(above, "train")) {
        Some(folder) => {
            let (train, loose) = class_folders(files, &folder);
            let strange =
                train.keys().find(|name| !is_wnid(name) || known.as_ref().is_some_and(|all| !all.contains(**name)));
            if let Some(name) = strange {
                let list = files.named(MAPPING).map_or(String::new(), |list| format!(" and a line in {list}"));
                return wrong(below(&folder, name), format!("it is no class of ImageNet: n and eight digits{list}"));
            }
            set.classes = train.keys().map(|name| (*name).to_owned()).collect();
            set.left_out = loose.len();
            add(&mut set, Part::Train, &folder, &train)?;
        }
        // Nothing to train on: the classes are those of a list.
        None => {
            let all = known.unwrap_or_else(|| labels.values().map(|(wnid, _)| wnid.clone()).collect());
            set.classes = all.into_iter().collect();
        }
    }
    for (stem, file) in &flat {
        let Some((wnid, place)) = labels.get(*stem) else {
            return wrong(*file, format!("{list} has no label for it"));
        };
        let Ok(class) = set.classes.binary_search(wnid) else {
            return wrong(place, format!("{stem} is of {wnid}, a class that train lacks"));
        };
        set.add(file, class, Part::Test);
    }
    let idle = labels.keys().filter(|stem| !flat.contains_key(stem.as_str())).count();
    let tests = files.names().filter(|name| last(name).starts_with(TEST) && is_picture(name)).count();
    if tests > 0 {
        set.notes.push(format!("{tests} pictures {TEST}... are left out: nobody publishes their labels"));
    }
    if idle > 0 {
        set.notes.push(format!("{idle} labels of {list} are of pictures that are not there"));
    }
    Ok(set)
}
