//! Files that are written over older ones: whatever happens, the old or the new one is there, whole.

use crate::common::program::folder;
use crate::common::repository;

#[test]
fn the_windows_dialog_writes_beside_the_older_file() {
    // The dialog cannot be driven here: what it does with the file is read. The library's own writing empties the old one first.
    let code = std::fs::read_to_string(repository("src/platform/native.rs")).unwrap();
    let save = code.split("pub fn save_as").nth(1).unwrap().split("\n}\n").next().unwrap();
    assert!(save.contains("write_file(file.path(), &bytes)") && !save.contains("file.write("), "{save}");
}

#[test]
fn a_write_that_fails_leaves_the_older_file() {
    let here = folder("saving");
    let file = here.join("run.hiverun");
    std::fs::write(&file, "old").unwrap();
    // No file can take the place of a folder that is not empty, and nothing can be made below a file.
    let taken = here.join("taken");
    std::fs::create_dir_all(taken.join("inner")).unwrap();
    for path in [taken.clone(), file.join("below")] {
        hive::platform::write_file(&path, b"new").unwrap_err();
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    assert!(taken.join("inner").is_dir());
    hive::platform::write_file(&file, b"new").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
}
