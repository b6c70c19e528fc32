//! A file that grows line by line, and that a killed program leaves readable.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The file, held by one program at a time.
#[derive(Debug)]
pub struct Lines(File);

impl Lines {
    /// Opens or makes it, and gives the lines that it has. A last one without an end is torn: it is removed.
    ///
    /// # Errors
    /// Another program writes it; it is no UTF-8 text; or as the operating system says.
    #[expect(clippy::disallowed_methods, reason = "the platform layer is the one home of files")]
    pub fn open(path: &Path) -> io::Result<(Vec<String>, Self)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another program is writing it")),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((text[..whole].lines().map(str::to_owned).collect(), Self(file)))
    }

    /// Adds a line: it is with the system when this returns.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::write_file;

    #[test]
    fn a_torn_line_goes_and_one_program_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("lines.jsonl");
        let (none, mut lines) = Lines::open(&path).unwrap();
        assert_eq!(none, [""; 0]);
        lines.add("one").unwrap();
        let second = Lines::open(&path).unwrap_err().to_string();
        assert!(second.contains("another program"), "{second}");
        drop(lines);
        write_file(&path, b"one\ntwo\ntor").unwrap();
        let (two, mut lines) = Lines::open(&path).unwrap();
        assert_eq!(two, ["one", "two"]);
        lines.add("three").unwrap();
        drop(lines);
        assert_eq!(Lines::open(&path).unwrap().0, ["one", "two", "three"]);
    }
}
