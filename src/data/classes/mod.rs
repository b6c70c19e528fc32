//! Published sets of pictures, each of one class, as they are found on disk: what probes of a tower train on.
//!
//! A class is a number, from 0 on: the rank of its folder's name in the order of bytes, where a set has folders, else the number that
//! the set gives, less one where it counts from 1. Pictures are found here, and decoded by [`Place::picture`].

mod cifar;
mod folders;
mod imagenet;
mod lists;
mod pickle;

use super::rng::Rng;
use super::tasks::load::wrong;
pub use super::tasks::load::{Files, LoadError, Place};

/// Which set, and so which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CIFAR-10: batches of records, or the same as Python's pickles.
    Cifar10,
    /// ImageNet-1k: a folder per class to train on, a flat one with a list of labels to validate.
    ImageNet,
    /// Food-101: a folder per class, and lists.
    Food101,
    /// Oxford-IIIT Pets: one folder, and lists.
    Pets,
    /// Caltech-256: a numbered folder per class, undivided.
    Caltech256,
    /// Any other set with a folder per class.
    Folders,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cifar10, Self::ImageNet, Self::Food101, Self::Pets, Self::Caltech256, Self::Folders];

    /// As `--set` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::ImageNet => "imagenet",
            Self::Food101 => "food101",
            Self::Pets => "pets",
            Self::Caltech256 => "caltech256",
            Self::Folders => "folders",
        }
    }

    /// The set that these files are of.
    ///
    /// # Errors
    /// Files of several sets.
    pub fn found(files: &Files<'_>) -> Result<Self, LoadError> {
        let is = |kind: &Self| match kind {
            Self::Cifar10 => cifar::is_there(files),
            Self::ImageNet => imagenet::is_there(files),
            Self::Food101 => lists::is_food(files),
            Self::Pets => lists::is_pets(files),
            Self::Caltech256 => folders::is_caltech(files),
            Self::Folders => false,
        };
        let all: Vec<Self> = Self::ALL.into_iter().filter(is).collect();
        match all[..] {
            [] => Ok(Self::Folders),
            [one] => Ok(one),
            _ => {
                let names: Vec<&str> = all.iter().map(|kind| kind.name()).collect();
                wrong(
                    "the folder",
                    format!(
                        "it has files of {}: give the folder of one set, or say which with --set",
                        names.join(" and ")
                    ),
                )
            }
        }
    }
}

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Part {
    Train,
    Test,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// A picture of a set.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Picture {
    pub place: Place,
    /// Its class, an index of [`ClassSet::classes`].
    pub class: usize,
    pub part: Part,
}

/// A set.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSet {
    /// Which.
    pub kind: Kind,
    /// Names of the classes, by their numbers.
    pub classes: Vec<String>,
    /// In the order of its files.
    pub pictures: Vec<Picture>,
    /// Does the set itself say what is for testing? Else all of it is [`Part::Train`], until [`Self::hold_out`].
    pub divided: bool,
    /// Files that are no pictures by their names, or stand where none is expected.
    pub left_out: usize,
    /// Sentences about what is unusual, and how it is taken.
    pub notes: Vec<String>,
}

impl ClassSet {
    fn new(kind: Kind, classes: Vec<String>) -> Self {
        Self { kind, classes, pictures: Vec::new(), divided: true, left_out: 0, notes: Vec::new() }
    }

    fn add(&mut self, file: &str, class: usize, part: Part) {
        self.pictures.push(Picture { place: Place::File(file.to_owned()), class, part });
    }

    /// Pictures of each class in a part.
    #[must_use]
    pub fn counts(&self, part: Part) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.pictures.iter().filter(|picture| picture.part == part).for_each(|picture| counts[picture.class] += 1);
        counts
    }

    /// Puts one in five of each class aside to test, chosen by `seed`, and of a class with two or more pictures at least one. A class's
    /// choice depends on its number and on how many pictures it has.
    pub fn hold_out(&mut self, seed: u64) {
        for class in 0..self.classes.len() {
            let mut own: Vec<&mut Picture> =
                self.pictures.iter_mut().filter(|picture| picture.class == class).collect();
            let count = if own.len() < 2 { 0 } else { (own.len() / 5).max(1) };
            Rng::new(seed, class as u64).shuffle(&mut own);
            own.into_iter().take(count).for_each(|picture| picture.part = Part::Test);
        }
        self.divided = true;
    }

    /// Keeps so many pictures of each part at most, chosen by `seed`; their order stays.
    pub fn keep(&mut self, limit: usize, seed: u64) {
        for part in Part::ALL {
            let mut own: Vec<usize> = (0..self.pictures.len()).filter(|i| self.pictures[*i].part == part).collect();
            Rng::new(seed, 1 << 32 | part as u64).shuffle(&mut own);
            let mut gone = vec![false; self.pictures.len()];
            own.into_iter().skip(limit).for_each(|i| gone[i] = true);
            let mut at = 0;
            self.pictures.retain(|_| {
                at += 1;
                !gone[at - 1]
            });
        }
    }
}

/// Loads a set of this kind; pictures are found, and not decoded yet.
///
/// # Errors
/// Something wrong, with its place.
pub fn load(kind: Kind, files: &Files<'_>) -> Result<ClassSet, LoadError> {
    let mut set = match kind {
        Kind::Cifar10 => cifar::load(files)?,
        Kind::ImageNet => imagenet::load(files)?,
        Kind::Food101 => lists::food(files)?,
        Kind::Pets => lists::pets(files)?,
        Kind::Caltech256 | Kind::Folders => folders::load(kind, files)?,
    };
    if set.pictures.is_empty() {
        return wrong("the folder", format!("it has no pictures of {}", kind.name()));
    }
    for part in Part::ALL {
        let empty = set.counts(part).into_iter().filter(|count| *count == 0).count();
        let some = set.pictures.iter().any(|picture| picture.part == part);
        if some && empty > 0 {
            set.notes.push(format!("{empty} of {} classes have no picture to {}", set.classes.len(), part.name()));
        } else if !some && set.divided {
            set.notes.push(format!("there is no picture to {}", part.name()));
        }
    }
    if set.left_out > 0 {
        let count = set.left_out;
        set.notes.push(format!(
            "{count} of the files are no pictures of the set and are left out (hidden files are not counted)"
        ));
    }
    Ok(set)
}

/// Ends of the names of pictures, in small letters; what of them cannot be decoded is said when it is.
const ENDS: [&str; 11] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "ppm", "pgm", "tif", "tiff", "avif"];

/// Is this file a picture, by its name?
fn is_picture(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, end)| ENDS.contains(&end.to_ascii_lowercase().as_str()))
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A path below a folder, which may be the outermost one.
fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The lines of a text that are not blank, trimmed, and their places.
fn lines<'a>(name: &'a str, text: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let trimmed = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    trimmed.map(move |(i, line)| (format!("{name}, line {}", i + 1), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_five_of_each_class_is_held_out() {
        let mut set = ClassSet::new(Kind::Folders, ["a", "b", "c"].map(str::to_owned).into());
        for (class, count) in [14, 1, 2].into_iter().enumerate() {
            (0..count).for_each(|i| set.add(&format!("{class}/{i}"), class, Part::Train));
        }
        let mut other = set.clone();
        set.hold_out(1);
        assert_eq!((set.counts(Part::Train), set.counts(Part::Test)), (vec![12, 1, 1], vec![2, 0, 1]));
        other.hold_out(2);
        assert_ne!(set.pictures, other.pictures);
        let mut few = set.clone();
        few.keep(2, 5);
        assert_eq!(few.pictures.len(), 4);
        assert!(few.pictures.iter().all(|picture| set.pictures.contains(picture)));
        set.keep(20, 5);
        assert_eq!(set.pictures.len(), 17);
    }
}
