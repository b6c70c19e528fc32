//! Sets whose lists say what each picture is: Food-101 and Oxford-IIIT Pets.

use std::collections::BTreeMap;

use super::{ClassSet, Files, Kind, LoadError, Part, below, is_picture, lines, wrong};

/// Classes of Oxford-IIIT Pets.
const BREEDS: usize = 37;

pub(super) fn is_food(files: &Files<'_>) -> bool {
    ["meta/train.txt", "meta/test.txt", "meta/classes.txt"].iter().any(|name| files.named(name).is_some())
}

pub(super) fn is_pets(files: &Files<'_>) -> bool {
    ["annotations/trainval.txt", "annotations/test.txt", "annotations/list.txt"]
        .iter()
        .any(|name| files.named(name).is_some())
}

/// The list that ends so, and the folder that all of the set is in.
fn list<'a>(files: &'a Files<'_>, end: &str) -> Result<(&'a str, &'a str), LoadError> {
    let Some(name) = files.named(end) else { return wrong("the folder", format!("{end} is not there")) };
    Ok((name, name[..name.len() - end.len()].trim_end_matches('/')))
}

/// Adds pictures of a list one after the other, each once.
struct Adding<'a> {
    files: &'a Files<'a>,
    images: String,
    set: ClassSet,
    /// Where each was listed.
    seen: BTreeMap<String, String>,
}

impl Adding<'_> {
    fn add(&mut self, stem: &str, class: usize, part: Part, place: String) -> Result<(), LoadError> {
        let path = below(&self.images, stem);
        let ends = ["jpg", "jpeg", "JPG", "JPEG", "png"].iter().map(|end| format!("{path}.{end}"));
        let Some(file) = ends.into_iter().find(|file| self.files.has(file)) else {
            return wrong(place, format!("its picture is not there: {path}.jpg"));
        };
        if let Some(before) = self.seen.insert(stem.to_owned(), place.clone()) {
            return wrong(place, format!("{stem} is listed twice: {before} has it, too"));
        }
        self.set.add(&file, class, part);
        Ok(())
    }

    /// Files that no list has.
    fn finish(mut self) -> ClassSet {
        let start = below(&self.images, "");
        let all = self.files.names().filter(|name| name.starts_with(&start));
        let (pictures, others): (Vec<&str>, Vec<&str>) = all.partition(|name| is_picture(name));
        self.set.left_out = others.len();
        let unlisted = pictures.len().saturating_sub(self.set.pictures.len());
        if unlisted > 0 {
            self.set.notes.push(format!("{unlisted} pictures in {} stand in no list and are left out", self.images));
        }
        self.set
    }
}

pub(super) fn food(files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let (classes, root) = list(files, "meta/classes.txt")?;
    let text = files.text(classes)?;
    let mut numbers = BTreeMap::new();
    for (place, line) in lines(classes, &text) {
        let number = numbers.len();
        if numbers.insert(line.to_owned(), number).is_some() {
            return wrong(place, format!("the class \"{line}\" is there twice"));
        }
    }
    let mut names: Vec<(usize, String)> = numbers.iter().map(|(name, number)| (*number, name.clone())).collect();
    names.sort_unstable();
    let set = ClassSet::new(Kind::Food101, names.into_iter().map(|(_, name)| name).collect());
    let mut adding = Adding { files, images: below(root, "images"), set, seen: BTreeMap::new() };
    for (part, end) in [(Part::Train, "meta/train.txt"), (Part::Test, "meta/test.txt")] {
        let (name, _) = list(files, end)?;
        let text = files.text(name)?;
        for (place, line) in lines(name, &text) {
            let Some((class, _)) = line.split_once('/') else {
                return wrong(place, format!("\"{line}\" is no class and picture with / between them"));
            };
            let Some(number) = numbers.get(class) else {
                return wrong(place, format!("the class \"{class}\" does not stand in {classes}"));
            };
            adding.add(line, *number, part, place)?;
        }
    }
    Ok(adding.finish())
}

/// A line of the pets' lists: name of the picture, and class from 0 on.
fn pet<'a>(line: &'a str, place: &str) -> Result<(&'a str, usize), LoadError> {
    let [name, class, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return wrong(place, format!("\"{line}\" is no name and class with a blank between them"));
    };
    match class.parse::<usize>() {
        Ok(number @ 1..=BREEDS) => Ok((name, number - 1)),
        _ => wrong(place, format!("its class is {class}, and the set has classes from 1 to {BREEDS}")),
    }
}

pub(super) fn pets(files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let root = list(files, "annotations/trainval.txt")?.1;
    let mut breeds: BTreeMap<usize, (&str, String)> = BTreeMap::new();
    let mut texts = Vec::new();
    for (part, end) in [(Part::Train, "annotations/trainval.txt"), (Part::Test, "annotations/test.txt")] {
        let name = list(files, end)?.0;
        texts.push((part, name, files.text(name)?));
    }
    let mut all = Vec::new();
    for (part, name, text) in &texts {
        for (place, line) in lines(name, text).filter(|(_, line)| !line.starts_with('#')) {
            let (picture, class) = pet(line, &place)?;
            let breed = picture.rsplit_once('_').map_or(picture, |(breed, _)| breed);
            let (known, where_known) = breeds.entry(class).or_insert((breed, place.clone()));
            if *known != breed {
                let what = format!("{picture} is of class {}, which is {known} on {where_known}", class + 1);
                return wrong(place, what);
            }
            all.push((picture, class, *part, place));
        }
    }
    let count = breeds.keys().next_back().map_or(0, |most| most + 1);
    let named = |class: usize| {
        breeds.get(&class).map_or_else(|| format!("class {}", class + 1), |(breed, _)| (*breed).to_owned())
    };
    let set = ClassSet::new(Kind::Pets, (0..count).map(named).collect());
    let mut adding = Adding { files, images: below(root, "images"), set, seen: BTreeMap::new() };
    for (picture, class, part, place) in all {
        adding.add(picture, class, part, place)?;
    }
    Ok(adding.finish())
}
