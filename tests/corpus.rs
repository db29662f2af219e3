//! What the fuzz targets in `fuzz/` have found, replayed without a fuzzer.

#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/snapshot.rs"]
mod snapshot;
#[path = "../fuzz/checks/traffic.rs"]
mod traffic;

use std::{fs, path::Path};

/// Checks each input of a target, and says how many there are.
fn replay(target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is there");
    let inputs = files.map(|file| file.expect("the corpus can be listed").path());
    inputs
        .map(|path| {
            // Which input it was stands before what went wrong with it.
            println!("{}", path.display());
            check(&fs::read(&path).expect("an input can be read"));
        })
        .count()
}

#[test]
fn every_snapshot_of_the_corpus_restores_or_is_refused() {
    assert!(replay("snapshot", snapshot::check) >= 10);
}

#[test]
fn every_configuration_of_the_corpus_works_or_is_refused() {
    assert!(replay("config", config::check) >= 10);
}
