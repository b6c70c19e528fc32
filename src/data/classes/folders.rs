//! Sets with a folder per class: any, and Caltech-256.

use std::collections::BTreeMap;

use super::{ClassSet, Files, Kind, LoadError, Part, below, is_picture, last, wrong};

/// Names of a folder to test with: the first that is there counts.
const TESTS: [&str; 4] = ["val", "valid", "validation", "test"];

/// A class's folder.
#[derive(Default)]
pub(super) struct ClassFolder<'a> {
    /// In the order of bytes.
    pub(super) pictures: Vec<&'a str>,
    /// Files that are none, and those of folders in it.
    pub(super) others: usize,
}

/// The folders in a folder by their names, and how many files stand beside them.
pub(super) fn class_folders<'a>(
    files: &'a Files<'_>,
    folder: &str,
) -> (BTreeMap<&'a str, ClassFolder<'a>>, Vec<&'a str>) {
    let (mut all, mut loose) = (BTreeMap::<&str, ClassFolder<'_>>::new(), Vec::new());
    let start = below(folder, "");
    for name in files.names() {
        let Some(rest) = name.strip_prefix(&start) else { continue };
        let Some((class, file)) = rest.split_once('/') else {
            loose.push(name);
            continue;
        };
        let own = all.entry(class).or_default();
        if !file.contains('/') && is_picture(file) { own.pictures.push(name) } else { own.others += 1 }
    }
    (all, loose)
}

/// The folder that has `train` with folders of classes in it: of several the one that is least deep.
pub(super) fn above_train<'a>(files: &'a Files<'_>) -> Option<&'a str> {
    let above = |name: &'a str| {
        let at = name.strip_prefix("train/").map(|_| 0).or_else(|| name.find("/train/").map(|at| at + 1))?;
        // A class and a file behind it.
        name[at..].strip_prefix("train/")?.contains('/').then(|| name[..at].trim_end_matches('/'))
    };
    let least = |pictures: bool| {
        files.names().filter(|name| !pictures || is_picture(name)).filter_map(above).min_by_key(|folder| folder.len())
    };
    least(true).or_else(|| least(false))
}

/// Does a folder's name begin with a number of three digits and a full stop?
fn is_numbered(folder: &str) -> bool {
    let (number, rest) = folder.split_at_checked(4).unwrap_or_default();
    number.ends_with('.') && number.bytes().take(3).all(|byte| byte.is_ascii_digit()) && !rest.is_empty()
}

/// The folder that has the folders of classes, where it is not called `train`: above the least deep picture.
fn above_classes<'a>(files: &'a Files<'_>) -> Option<&'a str> {
    let all = files.names().filter(|name| is_picture(name));
    let folder = all.min_by_key(|name| name.matches('/').count())?.rsplit_once('/')?.0;
    Some(folder.rsplit_once('/').map_or("", |(above, _)| above))
}

pub(super) fn is_caltech(files: &Files<'_>) -> bool {
    let Some(folder) = above_classes(files).filter(|_| above_train(files).is_none()) else { return false };
    let classes = class_folders(files, folder).0;
    let mut with_pictures = classes.iter().filter(|(_, own)| !own.pictures.is_empty());
    last(folder) == "256_ObjectCategories" || with_pictures.all(|(name, _)| is_numbered(name))
}

/// Every folder has a number of its own, as those of Caltech-256 have.
fn numbered(folder: &str, classes: &BTreeMap<&str, ClassFolder<'_>>) -> Result<(), LoadError> {
    let mut before: Option<&str> = None;
    for name in classes.keys() {
        if !is_numbered(name) {
            return wrong(below(folder, name), "it is no class of Caltech-256: three digits, a full stop and a name");
        }
        if let Some(other) = before.filter(|other| other[..3] == name[..3]) {
            return wrong(below(folder, name), format!("{other} has the same number: one of both is misnamed"));
        }
        before = Some(name);
    }
    Ok(())
}

/// Every class has a picture.
pub(super) fn check(folder: &str, classes: &BTreeMap<&str, ClassFolder<'_>>) -> Result<(), LoadError> {
    let Some((name, own)) = classes.iter().find(|(_, own)| own.pictures.is_empty()) else { return Ok(()) };
    let beside = match own.others {
        0 => String::new(),
        count => format!(" ({count} files of other kinds, or in folders of it)"),
    };
    wrong(below(folder, name), format!("there are no pictures in this class's folder{beside}: add some, or remove it"))
}

/// No folders of classes are there.
fn flat<T>(folder: &str) -> Result<T, LoadError> {
    let place = if folder.is_empty() { "the folder" } else { folder };
    wrong(place, "there are no class folders: pictures stand in a folder that has the name of their class")
}

/// Adds the pictures of a part. Classes that training lacks are named.
pub(super) fn add(
    set: &mut ClassSet,
    part: Part,
    folder: &str,
    classes: &BTreeMap<&str, ClassFolder<'_>>,
) -> Result<(), LoadError> {
    check(folder, classes)?;
    for (name, own) in classes {
        let Ok(class) = set.classes.binary_search_by(|known| known.as_str().cmp(name)) else {
            return wrong(below(folder, name), format!("there are pictures of \"{name}\", a class that train lacks"));
        };
        own.pictures.iter().for_each(|file| set.add(file, class, part));
        set.left_out += own.others;
    }
    Ok(())
}

pub(super) fn load(kind: Kind, files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let named = |classes: &BTreeMap<&str, ClassFolder<'_>>| classes.keys().map(|name| (*name).to_owned()).collect();
    if let Some(above) = above_train(files).filter(|_| kind != Kind::Caltech256) {
        let folder = below(above, "train");
        let (train, loose) = class_folders(files, &folder);
        let mut set = ClassSet::new(kind, named(&train));
        set.left_out = loose.len();
        add(&mut set, Part::Train, &folder, &train)?;
        let there = |name: &&&str| files.names().any(|file| file.starts_with(&below(above, &format!("{name}/"))));
        let mut tests = TESTS.iter().filter(there);
        let Some(test) = tests.next() else {
            set.divided = false;
            return Ok(set);
        };
        for other in tests {
            set.notes.push(format!("{} is there, too, and not used: {test} is tested with", below(above, other)));
        }
        let folder = below(above, test);
        let (test, loose) = class_folders(files, &folder);
        if test.is_empty() {
            return flat(&folder);
        }
        set.left_out += loose.len();
        add(&mut set, Part::Test, &folder, &test)?;
        return Ok(set);
    }
    let Some(folder) = above_classes(files) else {
        return match files.names().any(is_picture) {
            true => flat(""),
            false => wrong("the folder", "there are no pictures in it"),
        };
    };
    if TESTS.contains(&last(folder)) {
        return wrong(
            folder,
            "there is no train folder beside it: give both, or this folder itself to have it divided",
        );
    }
    let (classes, loose) = class_folders(files, folder);
    if kind == Kind::Caltech256 {
        numbered(folder, &classes)?;
    }
    let mut set = ClassSet::new(kind, named(&classes));
    (set.left_out, set.divided) = (loose.len(), false);
    add(&mut set, Part::Train, folder, &classes)?;
    Ok(set)
}
