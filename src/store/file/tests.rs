//! Faults of a folder, each produced for real.

mod durable_names;

use std::fs;

use super::*;

const STATE: &str = "circuit_breaker:payments:state";

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_is_a_plain_json_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let quarantine = "circuit_breaker:payments:quarantine";
    store.save(&SaveEntry::new(STATE, br#"{"version":1}"#)).unwrap();
    store.save(&SaveEntry::new(quarantine, b"[]")).unwrap();
    assert_eq!(names_in(dir.path()), ["+lock", "payments+quarantine.json", "payments.json"]);
    let text = fs::read_to_string(dir.path().join("payments.json")).unwrap();
    assert_eq!(text, "{\"version\":1}\n");
    let mut all = store.load_page(None, usize::MAX).unwrap();
    all.sort();
    assert_eq!(
        all,
        [(quarantine.into(), b"[]".to_vec()), (STATE.into(), br#"{"version":1}"#.to_vec())]
    );
}

#[test]
fn a_file_written_by_hand_may_lack_the_line_feed() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    fs::write(dir.path().join("payments.json"), "{}").unwrap();
    assert_eq!(store.load(STATE).unwrap().as_deref(), Some(b"{}".as_slice()));
}

#[test]
fn a_folder_that_another_store_replaced_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let first = FileStore::open(&folder).unwrap();
    first.save(&SaveEntry::new(STATE, b"first")).unwrap();
    fs::rename(&folder, dir.path().join("moved")).unwrap();
    let second = FileStore::open(&folder).unwrap();
    second.save(&SaveEntry::new(STATE, b"second")).unwrap();
    assert!(
        first.save(&SaveEntry::new(STATE, b"third")).unwrap_err().to_string().contains("replaced")
    );
    assert!(first.save(&SaveEntry::new(STATE, b"third")).unwrap_err().to_string().contains("held"));
    assert_eq!(second.load(STATE).unwrap().as_deref(), Some(b"second".as_slice()));
}

#[test]
fn only_the_temporary_file_of_a_killed_process_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let others = ["thesis.tmp", "+mine.tmp", ".hidden", "%zz.json", "Payments.json", "x.txt"];
    for name in others {
        fs::write(dir.path().join(name), "years of work").unwrap();
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("folder/payments.json"), "").unwrap();
    fs::write(dir.path().join("+saving.tmp"), "half").unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), []);
    assert!(!dir.path().join("+saving.tmp").exists());
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    store.delete(STATE).unwrap();
    let mut expected: Vec<_> = others.into_iter().chain(["+lock", "folder"]).collect();
    expected.sort_unstable();
    assert_eq!(names_in(dir.path()), expected);
    for name in others {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "years of work", "{name}");
    }
}

#[test]
fn a_failure_of_one_file_is_not_an_outage() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("payments.json/below")).unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for error in
        [store.load(STATE).unwrap_err(), store.save(&SaveEntry::new(STATE, b"1")).unwrap_err()]
    {
        assert!(matches!(error, StoreError::Other(_)), "{error}");
        assert!(error.to_string().contains("payments.json"), "{error}");
    }
    store.save(&SaveEntry::new("circuit_breaker:search:state", b"1")).unwrap();
    assert_eq!(names_in(dir.path()), ["+lock", "payments.json", "search.json"]);
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("payments.json");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()) {
        return;
    }
    let store = FileStore::open(dir.path()).unwrap();
    assert!(matches!(store.load(STATE), Err(StoreError::Other(_))));
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    assert_eq!(store.load(STATE).unwrap().as_deref(), Some(b"1".as_slice()));
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_not_an_outage() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("payments.json");
    // No permission stops root, but a link to itself does.
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let error = store.load(STATE).unwrap_err();
    assert!(matches!(error, StoreError::Other(_)), "{error}");
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    assert_eq!(store.load(STATE).unwrap().as_deref(), Some(b"1".as_slice()));
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_mode_and_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let file = dir.path().join("payments.json");
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    store.append(HISTORY, &[record(1, "1"), record(2, "2")]).unwrap();
    // Only root may give files away.
    let is_root = chown(&file, Some(65534), Some(65534)).is_ok();
    for mode in [0o600, 0o660, 0o444] {
        let history = dir.path().join("payments+history.jsonl");
        for file in [&file, &history] {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        }
        store.save(&SaveEntry::new(STATE, b"2")).unwrap();
        store.trim(HISTORY, 0, 1).unwrap();
        for file in [&file, &history] {
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o7777, mode, "{}", file.display());
        }
        let found = fs::metadata(&file).unwrap();
        assert!(!is_root || (found.uid(), found.gid()) == (65534, 65534));
    }
}

/// The longest path that Linux takes has 4095 bytes.
#[cfg(target_os = "linux")]
#[test]
fn long_names_fit_below_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = dir.path().to_owned();
    while folder.as_os_str().len() < 3900 {
        folder.push("d".repeat(100));
    }
    let store = FileStore::open(&folder).unwrap();
    let key = |name: &str| format!("circuit_breaker:{name}:state");
    let names = ["/".repeat(512), "é".repeat(256), "payments".to_owned()];
    for name in &names {
        store.save(&SaveEntry::new(key(name), name.as_str())).unwrap();
        store.append(&key(name), &[record(1, "1")]).unwrap();
    }
    assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 3);
    assert_eq!(store.keys(None, usize::MAX).unwrap().len(), 3);
    drop(store);
    let store = FileStore::open(&folder).unwrap();
    for name in &names {
        assert_eq!(store.load(&key(name)).unwrap().as_deref(), Some(name.as_bytes()));
        assert_eq!(store.load_newest(&key(name), None, 1).unwrap().len(), 1);
        store.delete(&key(name)).unwrap();
        store.trim(&key(name), 2, 0).unwrap();
    }
    assert_eq!(names_in(&folder), ["+lock"]);
    fs::create_dir(folder.join("payments.json")).unwrap();
    let error = store.load(&key("payments")).unwrap_err().to_string();
    assert!(error.contains("/dddd") && !error.contains("/proc"), "{error}");
    fs::rename(dir.path().join("d".repeat(100)), dir.path().join("moved")).unwrap();
    assert!(store.verify().unwrap_err().to_string().contains("removed"));
}

#[test]
fn a_folder_that_was_removed_is_noticed_without_an_operation() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = FileStore::open(&folder).unwrap();
    store.verify().unwrap();
    assert!(!folder.exists(), "it opens nothing");
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    store.verify().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(store.verify().unwrap_err().to_string().contains("removed"));
    store.verify().unwrap();
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
}

#[test]
fn a_long_name_is_split_into_folders_that_are_removed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let key = format!("circuit_breaker:{}:state", "é".repeat(256));
    store.save(&SaveEntry::new(&key, b"1")).unwrap();
    assert_eq!(store.load(&key).unwrap().as_deref(), Some(b"1".as_slice()));
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), [(key.clone(), b"1".to_vec())]);
    store.delete(&key).unwrap();
    store.delete(&key).unwrap();
    assert_eq!(names_in(dir.path()), ["+lock"]);
}

const HISTORY: &str = "circuit_breaker:payments:history";

fn record(id: u64, bytes: impl Into<Vec<u8>>) -> HistoryRecord {
    HistoryRecord::new(id, bytes)
}

fn ids(store: &FileStore) -> Vec<u64> {
    let records = store.load_newest(HISTORY, None, usize::MAX).unwrap();
    records.into_iter().map(|record| record.id).collect()
}

#[test]
fn a_history_is_a_file_of_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let mut records = vec![record(1, r#"{"to":"open","odd":"}\n"}"#), record(2, "[ 1,\t2 ]")];
    store.append(HISTORY, &records).unwrap();
    let file = dir.path().join("payments+history.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let expected = r#"{"id":1,"record":{"to":"open","odd":"}\n"}}"#;
    assert_eq!(text, format!("{expected}\n{{\"id\":2,\"record\":[ 1,\t2 ]}}\n"));

    let odd = [&b""[..], b"\n", b"{\n}", b"{", b"\xff\0", b"\"\xff\"", b"{}}", b" 1", b"1\r"];
    let odd: Vec<_> = (3..).zip(odd).map(|(id, bytes)| record(id, bytes)).collect();
    store.append(HISTORY, &odd).unwrap();
    records.extend(odd);
    records.reverse();
    assert_eq!(store.load_newest(HISTORY, None, 100).unwrap(), records);
    for line in fs::read_to_string(&file).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    drop(store);
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(store.load_newest(HISTORY, None, 100).unwrap(), records);
}

#[test]
fn a_partial_line_costs_only_that_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let records: Vec<_> = (1..=3).map(|id| record(id, r#"{"a":[{"b":"}"}]}"#)).collect();
    store.append(HISTORY, &records).unwrap();
    let file = dir.path().join("payments+history.jsonl");
    let whole = fs::read(&file).unwrap();
    let line = whole.len() / 3;
    for length in 0..=whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        // A line is complete without its line feed.
        let complete = (length + 1) / line;
        let left: Vec<_> = (1..=complete as u64).rev().collect();
        assert_eq!(ids(&store), left, "{length} bytes are left");
        store.append(HISTORY, &[record(9, "9")]).unwrap();
        assert_eq!(ids(&store), [&[9], left.as_slice()].concat(), "{length} bytes were left");
        store.trim(HISTORY, 0, 1).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{\"id\":9,\"record\":9}\n");
    }
}

#[test]
fn foreign_lines_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let lines = [
        "",
        "# a comment",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":-1,"record":1}"#,
        r#"{"id":1,"hex":"0"}"#,
        r#"{"id":1,"hex":"zz"}"#,
        r#"{"id":1,"hex":"0g0g"}"#,
        r#"{"id":18446744073709551616,"record":1}"#,
        r#"{"id":7,"record":7}"#,
        r#"{"id":8,"record":1,"#,
    ];
    fs::write(dir.path().join("payments+history.jsonl"), lines.join("\n")).unwrap();
    assert_eq!(ids(&store), [7]);
    fs::write(dir.path().join("search+history.jsonl"), "nothing").unwrap();
    assert_eq!(store.keys(None, 1).unwrap(), [HISTORY]);
    assert_eq!(store.keys(Some(HISTORY), 1).unwrap(), [""; 0]);
}

#[test]
fn a_history_trimmed_to_nothing_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    store.append(HISTORY, &[record(1, "1"), record(2, "2")]).unwrap();
    let file = dir.path().join("payments+history.jsonl");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    store.trim(HISTORY, 1, 2).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().modified().unwrap(),
        before,
        "nothing was to be trimmed"
    );
    store.trim(HISTORY, 3, 2).unwrap();
    assert_eq!(names_in(dir.path()), ["+lock"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_save_and_keeps_the_old_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    store.save(&SaveEntry::new(STATE, b"old")).unwrap();
    let full = |name: &str| {
        std::os::unix::fs::symlink("/dev/full", dir.path().join(name)).unwrap();
    };
    full("+saving.tmp");
    let error = store.save(&SaveEntry::new(STATE, b"new")).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_eq!(names_in(dir.path()), ["+lock", "payments.json"], "the space is freed");
    assert_eq!(store.load(STATE).unwrap().as_deref(), Some(b"old".as_slice()));
    store.save(&SaveEntry::new(STATE, b"new")).unwrap();
    assert_eq!(store.load(STATE).unwrap().as_deref(), Some(b"new".as_slice()));
}

#[cfg(unix)]
#[test]
fn a_value_that_cannot_be_read_is_empty_where_all_are_read_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link.json");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let pipe = dir.path().join("pipe.json");
    let has_pipe =
        std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success());
    let store = FileStore::open(dir.path()).unwrap();
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    let page = store.load_page(None, usize::MAX).unwrap();
    let key = |name: &str| format!("circuit_breaker:{name}:state");
    let mut expected = vec![(key("link"), Vec::new()), (STATE.to_owned(), b"1".to_vec())];
    expected.extend(has_pipe.then(|| (key("pipe"), Vec::new())));
    assert_eq!(page, expected);
    assert!(matches!(store.load(&key("link")), Err(StoreError::Other(_))));
}
