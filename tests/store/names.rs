//! Names are data: a breaker of any name has its own keys in every store, and its files never leave
//! the folder of the store.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, FileStore, MemoryStore, SledStore, State, StateStore,
    store::{HistoryRecord, HistoryStore, RedbStore, SaveEntry},
};

/// Every store; those with a folder have it below `dir`.
fn stores(dir: &Path) -> [Box<dyn StateStore>; 4] {
    [
        Box::new(MemoryStore::new()),
        Box::new(SledStore::open(dir.join("sled")).unwrap()),
        Box::new(FileStore::open(dir.join("files")).unwrap()),
        Box::new(RedbStore::open(dir.join("redb")).unwrap()),
    ]
}

/// Names that could leave a folder, collide with another name, or be special to a file system.
pub(crate) fn nasty_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "payments",
        "Payments",
        "PAYMENTS",
        "payments.",
        "payments ",
        "payments.json",
        "../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a",
        "A",
        "a:state",
        "a:quarantine",
        ":",
        "/",
        "//etc/passwd",
        "C:\\x",
        "con",
        "CON",
        "nul.json",
        "com1",
        "lpt9.x",
        "\0",
        "a\0b",
        "\u{1}\u{7f}",
        "\n",
        "é",
        "e\u{301}",
        "İ",
        "ß",
        "ẞ",
        "ﬁ",
        "fi",
        "+lock",
        "+saving.tmp",
        "%2e",
        "%",
        "~",
        "-rf",
        "*",
        "?",
        "<>|\"",
        "🦀",
        "circuit_breaker:a:state",
        "db",
        "conf",
    ]
    .map(str::to_owned)
    .into();
    names.extend(["a", "A", ".", "/", "é"].map(|part| part.repeat(512 / part.len())));
    names.extend(["a".repeat(511), format!("{}b", "a".repeat(511)), "a".repeat(120)]);
    names
}

#[test]
fn a_breaker_of_any_name_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let names = nasty_names();
    for round in 0..2 {
        // In the second round, all stores but the one in memory are opened again.
        for (kind, store) in stores(dir.path()).into_iter().enumerate().skip(round) {
            let store = std::sync::Arc::<dyn StateStore>::from(store);
            let build = |name: &String| {
                let builder = Breaker::builder(name).store(std::sync::Arc::clone(&store));
                builder.build().unwrap()
            };
            let breakers: Vec<Breaker> = names.iter().map(build).collect();
            for (number, breaker) in breakers.iter().enumerate() {
                let state = if number % 2 == 0 { State::ForcedOpen } else { State::Disabled };
                if round == 0 {
                    breaker.force_open();
                    if state == State::Disabled {
                        breaker.disable();
                    }
                } else {
                    // Late, if the disk took longer for the first round than its breakers waited.
                    let began = Instant::now();
                    while breaker.state() != state && began.elapsed() < Duration::from_secs(60) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    assert_eq!(breaker.state(), state, "{:?} in store {kind}", names[number]);
                }
            }
        }
    }
}

#[test]
fn files_and_folders_are_removed_with_their_last_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let key = |name: &str| format!("circuit_breaker:{name}:state");
    let names = nasty_names();
    for name in &names {
        store.save(&SaveEntry::new(key(name), name.as_str())).unwrap();
        store.append(&key(name), &[HistoryRecord::new(1, name.as_str())]).unwrap();
    }
    for name in &names {
        store.delete(&key(name)).unwrap();
        store.trim(&key(name), u64::MAX, 0).unwrap();
    }
    let left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["+lock"]);
}
