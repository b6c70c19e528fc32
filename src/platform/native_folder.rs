//! Files of this machine as `Blob`s: one by its path, or all of a folder.

use std::io;
use std::path::Path;

use super::Blob;
use super::native_blob::FileBytes;

fn regular(path: &Path) -> io::Result<(Blob, FileBytes)> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = FileBytes::new(path);
    Ok((Blob::of_file(&name, about.len(), file.clone()), file))
}

impl Blob {
    /// A regular file, open for as long as the blob or a clone of it lives. Links are followed.
    ///
    /// # Errors
    /// As the operating system says; a folder or a device is refused.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let (blob, file) = regular(path.as_ref())?;
        file.open()?;
        Ok(blob)
    }
}

/// The regular files of a folder, sorted by name; links to files are followed, as the caches of model hubs are made of
/// them. Links to nothing are left out. Files are opened when they are first read.
pub fn folder_blobs(path: impl AsRef<Path>) -> io::Result<Vec<Blob>> {
    let path = path.as_ref();
    let mut out = Vec::new();
    for name in super::list_folder(path)? {
        match regular(&path.join(name)) {
            Ok((blob, _)) => out.push(blob),
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{block_on, write_file};

    #[test]
    fn files_are_read_piece_by_piece_and_refused_with_their_names() {
        let folder = std::env::temp_dir().join(format!("hive-blob-{}", std::process::id()));
        write_file(&folder.join("b.bin"), b"0123456789").unwrap();
        write_file(&folder.join("a.txt"), b"").unwrap();
        write_file(&folder.join("inner/c.txt"), b"c").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.join("b.bin"), folder.join("link.bin")).unwrap();
            std::os::unix::fs::symlink(folder.join("gone"), folder.join("nothing")).unwrap();
        }
        let all = folder_blobs(&folder).unwrap();
        let names: Vec<&str> = all.iter().map(Blob::name).collect();
        assert_eq!(names[..2], ["a.txt", "b.bin"]);
        assert_eq!(names[2..], *if cfg!(unix) { &["link.bin"][..] } else { &[] });
        assert!(all[0].is_empty() && block_on(all[0].read(0, 0)).unwrap().is_empty());

        let file = Blob::open(folder.join("b.bin")).unwrap();
        for blob in [&file, &all[1], all.last().unwrap(), &Blob::memory("b.bin", *b"0123456789")] {
            assert_eq!(blob.len(), 10);
            assert_eq!(block_on(blob.read(7, 3)).unwrap(), b"789");
            assert_eq!(block_on(blob.clone().read(0, 2)).unwrap(), b"01");
            for (start, len) in [(7, 4), (11, 0), (u64::MAX, 1), (0, usize::MAX)] {
                let error = block_on(blob.read(start, len)).unwrap_err();
                assert!(error.contains(blob.name()) && error.contains("10 bytes"), "{error}");
            }
        }
        // It was cut off after it was opened.
        write_file(&folder.join("cut"), b"012345").unwrap();
        let cut = Blob::open(folder.join("cut")).unwrap();
        std::fs::OpenOptions::new().write(true).open(folder.join("cut")).unwrap().set_len(4).unwrap();
        let error = block_on(cut.read(2, 4)).unwrap_err();
        assert!(error.contains("cut gave 2 bytes of 4"), "{error}");

        assert!(Blob::open(&folder).unwrap_err().to_string().contains("not a regular file"));
        assert!(Blob::open(folder.join("nobody")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
