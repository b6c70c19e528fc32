//! A file that grows line by line, and that a killed program leaves readable.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The file, held by one program at a time.
#[derive(Debug)]
pub struct Lines {
    file: File,
    /// Bytes of its whole lines.
    whole: u64,
}

/// What a file has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its whole lines.
    pub lines: Vec<String>,
    /// What comes after them, without an end: a torn line.
    pub torn: Vec<u8>,
}

impl Lines {
    /// Opens or makes it, and gives what it has. Nothing of it is changed before [`Self::add`]: whoever opened it may find that
    /// it is somebody else's.
    ///
    /// # Errors
    /// Another program writes it; its lines are no UTF-8 text; or as the operating system says.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn open(path: &Path) -> io::Result<(Found, Self)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another program is writing it")),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line may be torn within a character.
        let torn = bytes.split_off(whole);
        let text = String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let lines = text.lines().map(str::to_owned).collect();
        Ok((Found { lines, torn }, Self { file, whole: whole as u64 }))
    }

    /// Adds a line, in the place of a torn one: it is with the system when this returns.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\n");
        self.file.set_len(self.whole)?;
        self.file.seek(SeekFrom::Start(self.whole))?;
        self.file.write_all(line.as_bytes())?;
        self.whole += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{read_file, write_file};

    fn found(lines: &[&str], torn: &[u8]) -> Found {
        Found { lines: lines.iter().map(ToString::to_string).collect(), torn: torn.to_vec() }
    }

    #[test]
    fn a_torn_line_is_replaced_and_nothing_changes_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("lines.jsonl");
        let (none, mut lines) = Lines::open(&path).unwrap();
        assert_eq!(none, Found::default());
        lines.add("one").unwrap();
        let second = Lines::open(&path).unwrap_err().to_string();
        assert!(second.contains("another program"), "{second}");
        drop(lines);
        // Torn within a character.
        let bytes = b"one\ntwo\ntor\xc3";
        write_file(&path, bytes).unwrap();
        let (two, mut lines) = Lines::open(&path).unwrap();
        assert_eq!(two, found(&["one", "two"], b"tor\xc3"));
        assert_eq!(read_file(&path).unwrap(), bytes);
        lines.add("three").unwrap();
        lines.add("four").unwrap();
        drop(lines);
        assert_eq!(Lines::open(&path).unwrap().0, found(&["one", "two", "three", "four"], b""));
    }
}
