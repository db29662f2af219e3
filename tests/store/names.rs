//! Names are data: whatever a breaker is called, it has a place of its own in every store, and
//! never one anywhere else.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tower_breaker::{
    Breaker, FileStore, MemoryStore, SledStore, State, StateStore,
    store::{HistoryRecord, SaveEntry},
};

fn key(name: &str) -> String {
    format!("circuit_breaker:{name}:state")
}

/// Every store, with its folder, if it has one, below `dir`.
fn stores(dir: &Path) -> [Box<dyn StateStore>; 3] {
    [
        Box::new(MemoryStore::new()),
        Box::new(SledStore::open(dir.join("sled")).unwrap()),
        Box::new(FileStore::open(dir.join("files")).unwrap()),
    ]
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn nasty_names() -> Vec<String> {
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
fn nasty_names_do_not_meet_in_any_store() {
    let dir = tempfile::tempdir().unwrap();
    let names = nasty_names();
    for store in stores(dir.path()) {
        for name in &names {
            store.save(&SaveEntry::new(key(name), format!("of {name}"))).unwrap();
        }
        for name in &names {
            let stored = store.load(&key(name)).unwrap().unwrap();
            assert_eq!(stored, format!("of {name}").as_bytes(), "{name:?}");
        }
        let history = |name: &str| format!("circuit_breaker:{name}:history");
        for (id, name) in (0..).zip(&names) {
            store
                .history()
                .unwrap()
                .append(&history(name), &[HistoryRecord::new(id, name.as_str())])
                .unwrap();
        }
        for (id, name) in (0..).zip(&names) {
            let records = store.history().unwrap().load_newest(&history(name), None, 10).unwrap();
            assert_eq!(records, [HistoryRecord::new(id, name.as_str())], "{name:?}");
            store.history().unwrap().trim(&history(name), u64::MAX, 0).unwrap();
        }
        assert_eq!(store.history().unwrap().keys(None, 10).unwrap(), [""; 0]);
        let mut all = store.load_page(None, usize::MAX).unwrap();
        let mut expected: Vec<_> =
            names.iter().map(|name| (key(name), format!("of {name}").into_bytes())).collect();
        all.sort();
        expected.sort();
        assert_eq!(all, expected);
        for (done, name) in names.iter().enumerate() {
            store.delete(&key(name)).unwrap();
            assert_eq!(
                store.load_page(None, usize::MAX).unwrap().len(),
                names.len() - done - 1,
                "{name:?}"
            );
        }
    }
    assert_eq!(names_in(dir.path()), ["files", "sled"]);
    assert_eq!(names_in(&dir.path().join("files")), ["+lock"]);
}

#[test]
fn a_breaker_of_any_name_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let names = nasty_names();
    for round in 0..2 {
        // The stores are new in the second round, but for the one in memory.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_two_names_meet_in_any_store(one: String, other: String, like in 0..4) {
        let other = match like {
            0 => one.to_uppercase(),
            1 => one.to_lowercase(),
            2 => format!("{one}."),
            _ => other,
        };
        let dir = tempfile::tempdir().unwrap();
        for store in stores(dir.path()) {
            store.save_all(&[SaveEntry::new(key(&one), "one"), SaveEntry::new(key(&other), "other")]).unwrap();
            let expected = if one == other { b"other".to_vec() } else { b"one".to_vec() };
            prop_assert_eq!(store.load(&key(&one)).unwrap(), Some(expected));
            prop_assert_eq!(store.load(&key(&other)).unwrap(), Some(b"other".to_vec()));
            store.delete(&key(&other)).unwrap();
            prop_assert_eq!(store.load(&key(&one)).unwrap().is_some(), one != other);
        }
        prop_assert_eq!(names_in(dir.path()), ["files", "sled"]);
    }
}
