//! Files of a folder that give an error when they are read.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{super::*, damaged_files, fill, moved_aside, summary};

type Fault = (&'static str, fn(&Path));

/// What a file may be replaced with.
const FAULTS: [Fault; 3] = [
    ("a folder", |path| fs::create_dir(path).unwrap()),
    ("a link to itself", |path| symlink(path, path).unwrap()),
    ("a link to nowhere", |path| symlink("/does/not/exist", path).unwrap()),
];

fn check(folder: &Path, what: &str) {
    let store = SledStore::open(folder).unwrap();
    let values = store.load_page(None, usize::MAX);
    assert_eq!(values.expect(what).len(), 50, "{what}");
    store.save(&SaveEntry::new("key", b"new")).unwrap();
    assert!(moved_aside(folder).is_empty(), "{what}");
}

#[test]
fn a_summary_that_cannot_be_read_is_moved_aside() {
    for (what, fault) in FAULTS {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        fill(&folder);
        assert!(SledStore::open(&folder).unwrap().load("key 1").unwrap().is_some());
        let file = summary(&folder);
        fs::remove_file(&file).unwrap();
        fault(&file);
        check(&folder, what);
        assert_eq!(damaged_files(&folder), [file.file_name().unwrap().to_str().unwrap()], "{what}");
    }
}

#[test]
fn settings_that_cannot_be_read_are_moved_aside() {
    for (what, fault) in FAULTS {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        fill(&folder);
        let file = folder.join("conf");
        fs::remove_file(&file).unwrap();
        fault(&file);
        check(&folder, what);
        assert!(damaged_files(&folder).contains(&"conf".to_owned()), "{what}");
    }
}

#[test]
fn both_are_left_out_of_a_copy() {
    for (what, fault) in FAULTS {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        fill(&folder);
        assert!(SledStore::open(&folder).unwrap().load("key 1").unwrap().is_some());
        for file in [summary(&folder), folder.join("conf")] {
            fs::remove_file(&file).unwrap();
            fault(&file);
        }
        let copy = read_copy::ReadCopy::of(&folder).unwrap().expect(what);
        assert_eq!(copy.db.len(), 50, "{what}");
    }
}
