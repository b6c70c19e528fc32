//! The pictures of a folder as they were prepared, and whether their files are still the ones that were looked at.
//!
//! Part of `folder`. A picture is decoded once: large photographs would else be decoded in every step.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{Preprocess, content, decode};
use crate::platform::{Scratch, in_parallel};

/// Most pictures that a sentence names.
const NAMED: usize = 5;

/// What tells without reading it that a file is another one: how large it is, and when it was written.
pub type Stamp = (u64, Option<std::time::SystemTime>);

/// Where the bytes of pictures come from.
pub trait Files: Sync {
    /// Those of a picture by its name in the list.
    ///
    /// # Errors
    /// The reason in words.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;

    /// What changes when they do; none where they never do, or are not there.
    fn stamp(&self, name: &str) -> Option<Stamp> {
        let _ = name;
        None
    }
}

impl<F: Fn(&str) -> Result<Vec<u8>, String> + Sync> Files for F {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self(name)
    }
}

/// Fetches pictures by their names in the list.
pub type Read<'a> = &'a dyn Files;

/// Where a prepared picture is.
#[derive(Debug)]
enum Square {
    Memory(Vec<u8>),
    /// In the scratch file, from this byte.
    Disk(u64),
    /// There is no room for it: it is decoded whenever it is wanted.
    Nowhere,
}

/// What is kept of a picture when it was looked at.
#[derive(Debug)]
struct Seen {
    content: u64,
    stamp: Option<Stamp>,
    /// (S, S, 3).
    square: Square,
}

/// Room for prepared pictures, all of the same size.
#[derive(Debug)]
pub(super) struct Room {
    memory: u64,
    disk: u64,
    scratch: Option<Scratch>,
}

impl Room {
    /// Of so many bytes.
    pub(super) fn new(memory: u64, disk: u64) -> Self {
        Self { memory, disk, scratch: None }
    }

    fn keep(&mut self, square: Vec<u8>) -> Square {
        let bytes = square.len() as u64;
        if bytes <= self.memory {
            self.memory -= bytes;
            return Square::Memory(square);
        }
        if bytes > self.disk {
            return Square::Nowhere;
        }
        if self.scratch.is_none() {
            self.scratch = Scratch::new().ok();
        }
        let Some(at) = self.scratch.as_mut().and_then(|scratch| scratch.keep(&square).ok()) else {
            // A disk that is full or refuses is not asked again.
            self.disk = 0;
            return Square::Nowhere;
        };
        self.disk -= bytes;
        Square::Disk(at)
    }

    fn get(&mut self, square: &Square, bytes: usize) -> Option<Vec<u8>> {
        match square {
            Square::Memory(square) => Some(square.clone()),
            Square::Disk(at) => self.scratch.as_mut()?.get(*at, bytes).ok(),
            Square::Nowhere => None,
        }
    }

    /// Another one in the place of one of its size.
    fn replace(&mut self, square: &mut Square, new: &[u8]) {
        let kept = match square {
            Square::Memory(old) => {
                old.copy_from_slice(new);
                true
            }
            Square::Disk(at) => self.scratch.as_mut().is_some_and(|scratch| scratch.replace(*at, new).is_ok()),
            Square::Nowhere => true,
        };
        if !kept {
            *square = Square::Nowhere;
        }
    }
}

/// The pictures that were looked at.
#[derive(Debug)]
pub(super) struct Cache {
    seen: BTreeMap<String, Seen>,
    room: Room,
    /// What the squares were prepared by.
    prepare: Option<Preprocess>,
    /// Pictures whose files changed afterwards, and whether the new ones are used.
    changed: BTreeMap<String, bool>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), room: Room::new(0, 0), prepare: None, changed: BTreeMap::new() }
    }
}

impl Cache {
    /// Looks at pictures, each once, several at a time. Gives those that cannot be used, and why.
    pub(super) fn look(
        names: &[String],
        room: Room,
        prepare: &Preprocess,
        read: Read<'_>,
        heard: &mut dyn FnMut(usize, usize) -> bool,
    ) -> (Self, BTreeMap<String, String>) {
        let mut cache = Self { room, prepare: Some(prepare.clone()), ..Self::default() };
        let mut refused = BTreeMap::new();
        let work = |i: usize| {
            // Before its bytes: of a file that changes meanwhile it is found out later.
            let stamp = read.stamp(&names[i]);
            prepared(&names[i], prepare, read).map(|(content, square)| (content, stamp, square))
        };
        let mut done = 0;
        in_parallel(names.len(), &work, &mut |i, looked| {
            match looked {
                Ok((content, stamp, square)) => {
                    let square = cache.room.keep(square);
                    cache.seen.insert(names[i].clone(), Seen { content, stamp, square });
                }
                Err(reason) => drop(refused.insert(names[i].clone(), reason)),
            }
            done += 1;
            heard(done, names.len())
        });
        (cache, refused)
    }

    /// The numbers of what all of them show.
    pub(super) fn contents(&self) -> BTreeSet<u64> {
        self.seen.values().map(|s| s.content).collect()
    }

    /// The number of what it showed when it was looked at first.
    pub(super) fn content(&self, name: &str) -> Option<u64> {
        self.seen.get(name).map(|s| s.content)
    }

    /// A picture's square, if it is at hand prepared so, or its file changed. Of one that cannot be read any more it is the last
    /// that could: a file that is just being written must not cost the run.
    pub(super) fn square(&mut self, name: &str, prepare: &Preprocess, read: Read<'_>) -> Option<Vec<u8>> {
        let seen = self.seen.get_mut(name).filter(|_| self.prepare.as_ref() == Some(prepare))?;
        let stamp = read.stamp(name);
        let bytes = prepare.image_size * prepare.image_size * 3;
        let kept = self.room.get(&seen.square, bytes);
        if stamp == seen.stamp {
            return kept;
        }
        seen.stamp = stamp;
        let Ok((content, square)) = prepared(name, prepare, read) else {
            self.changed.insert(name.to_owned(), false);
            return kept;
        };
        if kept.map_or(content != seen.content, |kept| kept != square) {
            self.changed.insert(name.to_owned(), true);
            self.room.replace(&mut seen.square, &square);
        }
        Some(square)
    }

    /// Which pictures changed while they were in use, and how many have no room, in sentences about the list `file`.
    pub(super) fn notes(&self, file: &str) -> Vec<String> {
        let told = |used: bool, what: &str| {
            let mut names = self.changed.iter().filter(|(_, u)| **u == used).map(|(name, _)| name.as_str());
            let some = names.by_ref().take(NAMED).collect::<Vec<_>>();
            let count = some.len() + names.count();
            let more = if count > NAMED { ", ..." } else { "" };
            (count > 0).then(|| format!("{count} pictures of {file} {what}: {}{more}", some.join(", ")))
        };
        let new = told(true, "changed while they were in use, and the new ones are used since then");
        let gone = told(false, "cannot be read any more, and what they showed before is used");
        let nowhere = self.seen.values().filter(|s| matches!(s.square, Square::Nowhere)).count();
        let slow = (nowhere > 0).then(|| {
            format!("{nowhere} pictures of {file} have no room as prepared ones, in memory or on the disk: they are decoded in each step, which is slow")
        });
        new.into_iter().chain(gone).chain(slow).collect()
    }
}

/// The number of what a picture shows, and what becomes of it; or why it cannot be used.
fn prepared(name: &str, prepare: &Preprocess, read: Read<'_>) -> Result<(u64, Vec<u8>), String> {
    let bytes = read.read(name)?;
    let picture = decode(&bytes, name, prepare.background).map_err(|e| e.to_string())?;
    Ok((content(&bytes, &picture), prepare.square(&picture).data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of two pixels of its own brightness.
    fn read(name: &str) -> Result<Vec<u8>, String> {
        let pixel = ::image::Rgb([name.parse().map_err(|_e| "no number".to_owned())?; 3]);
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = ::image::RgbImage::from_pixel(2, 2, pixel);
        picture.write_to(&mut png, ::image::ImageFormat::Png).map_err(|e| e.to_string())?;
        Ok(png.into_inner())
    }

    #[test]
    fn memory_then_the_disk_then_nothing_holds_what_is_prepared() {
        let prepare = Preprocess::new(2);
        let names: Vec<String> = (0..9).map(|i| i.to_string()).chain(["x".to_owned()]).collect();
        let (mut cache, refused) =
            Cache::look(&names, Room::new(3 * 12, 4 * 12 + 11), &prepare, &read, &mut |_, of| of == 10);
        assert_eq!(refused.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "no number".to_owned())]);
        let count = |cache: &Cache, kind: fn(&Square) -> bool| cache.seen.values().filter(|s| kind(&s.square)).count();
        assert_eq!(count(&cache, |s| matches!(s, Square::Memory(_))), 3);
        assert_eq!(count(&cache, |s| matches!(s, Square::Disk(_))), 4);
        let nowhere: Vec<String> =
            cache.seen.iter().filter(|(_, s)| matches!(s.square, Square::Nowhere)).map(|(n, _)| n.clone()).collect();
        assert_eq!(nowhere.len(), 2);
        for name in &names[..9] {
            let want = (!nowhere.contains(name)).then(|| vec![name.parse().unwrap(); 12]);
            assert_eq!(cache.square(name, &prepare, &read), want, "{name}");
        }
        let notes = cache.notes("list.json");
        assert!(notes.len() == 1 && notes[0].starts_with("2 pictures of list.json have no room"), "{notes:?}");
        // A disk that is full is not asked again, and what is gone from it is decoded again.
        cache.room.scratch = None;
        let disk = names[..9].iter().filter(|n| cache.square(n, &prepare, &read).is_some()).count();
        assert_eq!(disk, 3);
    }

    #[test]
    fn looking_ends_when_it_is_to() {
        let names: Vec<String> = (0..200).map(|i| i.to_string()).collect();
        let mut heard = 0;
        let (cache, _) = Cache::look(&names, Room::new(1 << 20, 0), &Preprocess::new(2), &read, &mut |done, _| {
            heard = done;
            done < 5
        });
        assert_eq!((heard, cache.seen.len()), (5, 5));
    }
}
