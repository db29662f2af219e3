//! The command `tower-breaker inspect`, run as a process.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tower_breaker::{
    Breaker, FileStore, ManualChange, SledStore, StateStore,
    store::{HistoryRecord, RedbStore, SaveEntry},
};

use crate::support::{
    folder::{all_below, until_released},
    wait::eventually,
};

fn inspect(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-breaker"));
    command.arg("inspect").args(arguments).arg(folder).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn shown(folder: &Path) -> String {
    let output = inspect(&[], folder);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn shown_as_json(folder: &Path) -> Value {
    let output = inspect(&["--json"], folder);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and the error message, without any output.
fn refusal(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = inspect(arguments, folder);
    assert_eq!(text(&output.stdout), "");
    (output.status.code(), text(&output.stderr))
}

/// Every file below the folder, with its content and modification time.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let read = |path: PathBuf| {
        let changed = path.metadata().unwrap().modified().unwrap();
        let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        (path, (content, changed))
    };
    all_below(folder).into_iter().map(read).collect()
}

type Open = fn(&Path) -> Box<dyn StateStore>;

const STORES: [(&str, Open); 3] = [
    ("sled", |folder| Box::new(SledStore::open(folder).unwrap())),
    ("redb", |folder| Box::new(RedbStore::open(folder).unwrap())),
    ("files", |folder| Box::new(FileStore::open(folder).unwrap())),
];

/// Breakers in several states, one of them with control characters in its name.
fn fill(store: Box<dyn StateStore>) {
    let store: Arc<dyn StateStore> = store.into();
    let breaker = |name: &str, recovery| {
        let builder = Breaker::builder(name).store(Arc::clone(&store));
        builder.recovery_timeout(recovery).build().unwrap()
    };
    let trip = |breaker: &Breaker| {
        for _ in 0..5 {
            breaker.try_acquire().unwrap().failure();
        }
    };
    let hour = Duration::from_secs(3600);
    trip(&breaker("payments", hour));
    trip(&breaker("over", Duration::from_millis(1)));
    breaker("by hand", hour).force_open();
    breaker("search", hour).try_acquire().unwrap().failure();
    breaker("\u{1b}[2J\n", hour).disable();
    until_unused(&store);
}

/// Waits until the last states of breakers that were dropped are stored. Each drop waits a second
/// for it; a busy disk may take longer, and has the store meanwhile.
fn until_unused(store: &Arc<dyn StateStore>) {
    eventually("the store is no longer used", || Arc::strong_count(store) == 1);
}

/// Fills a store, and closes it.
fn fill_and_close(store: Box<dyn StateStore>, folder: &Path) {
    fill(store);
    until_released(folder);
}

/// Closes a store.
fn close<S>(store: S, folder: &Path) {
    drop(store);
    until_released(folder);
}

#[test]
fn breakers_are_listed_and_the_folder_is_unchanged() {
    for (kind, open) in STORES {
        let dir = tempfile::tempdir().unwrap();
        fill_and_close(open(dir.path()), dir.path());
        let before = everything(dir.path());
        let table = shown(dir.path());
        let row = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("{name} is not in\n{table}")).to_owned()
        };
        let head = ["NAME", "STATE", "SINCE", "UNTIL", "LEFT", "FAILURES", "SAVED", "AT"];
        assert_eq!(
            row("NAME").split_whitespace().collect::<Vec<_>>(),
            [&head[..], &["BY", "NOTE"]].concat()
        );
        let payments: Vec<_> = row("payments").split_whitespace().map(str::to_owned).collect();
        assert_eq!(payments[1], "open");
        assert!(payments[2].ends_with('Z') && payments[3] > payments[2], "{payments:?}");
        assert!(payments[4].starts_with('3') && payments[6] == "5", "{payments:?}");
        assert!(row("over ").contains("half_open"), "{table}");
        assert!(row("by hand").contains("forced_open"), "{table}");
        assert!(row("search").contains("closed") && row("search").contains(" 1 "), "{table}");
        assert!(row(r"\u{1b}[2J\n").contains("disabled"), "{table}");

        let all = shown_as_json(dir.path());
        assert_eq!((all["kind"].as_str(), all["held"].as_bool()), (Some(kind), Some(false)));
        let breakers = all["breakers"].as_array().unwrap();
        assert_eq!(breakers.len(), 5);
        let payments = breakers.iter().find(|breaker| breaker["name"] == "payments").unwrap();
        assert_eq!(payments["state"], "open");
        assert_eq!(payments["failures"], 5);
        assert_eq!(payments["snapshot"]["consecutive_opens"], 1);
        let left = payments["left_seconds"].as_f64().unwrap();
        assert!((1.0..=3600.0).contains(&left), "{left}");
        assert!(breakers.iter().any(|breaker| breaker["name"] == "\u{1b}[2J\n"));
        assert_eq!(everything(dir.path()), before, "{kind}");
    }
}

/// Who set it, why, and until when; and after that time, what a server that starts restores.
#[test]
fn a_state_by_hand_is_shown_with_its_end_and_what_was_said() {
    for (kind, open) in STORES {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn StateStore> = open(dir.path()).into();
        let change = |name: &str, time: Duration| {
            let store = Arc::clone(&store);
            let breaker = Breaker::builder(name).store(store).build().unwrap();
            let change = ManualChange::new().by("on-call").note("INC-4711\n").lasting(time);
            breaker.force_open_with(change);
            // Saves the state, and waits for it.
            drop(breaker);
        };
        change("by-hand", Duration::from_secs(1800));
        let brief = Duration::from_millis(500);
        change("brief", brief);
        let began = Instant::now();
        until_unused(&store);
        close(store, dir.path());
        std::thread::sleep(brief.saturating_sub(began.elapsed()));

        let table = shown(dir.path());
        let row = |name: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.starts_with(name)).expect(&table);
            line.split_whitespace().map(str::to_owned).collect()
        };
        let by_hand = row("by-hand");
        assert_eq!(by_hand[1], "forced_open", "{kind}: {table}");
        assert!(by_hand[2].ends_with('Z') && by_hand[3] > by_hand[2], "{table}");
        assert!(by_hand[4].starts_with("17") || by_hand[4].starts_with("1800"), "{table}");
        assert_eq!(by_hand[8..], ["on-call", "INC-4711\\n"], "{table}");
        let brief = row("brief");
        assert_eq!(
            (brief[1].as_str(), &brief[7..]),
            ("closed", &["-".to_owned(), "-".to_owned()][..])
        );

        let output = inspect(&["--history", "by-hand"], dir.path());
        let history = text(&output.stdout);
        let lines: Vec<_> = history.lines().collect();
        assert!(lines[0].ends_with("UNTIL                 BY       NOTE"), "{history}");
        let last = lines.last().unwrap();
        assert!(last.contains(&by_hand[3]), "{history}");
        assert!(last.ends_with("on-call  INC-4711\\n"), "{history}");
    }
}

#[test]
fn a_sled_folder_in_use_is_reported_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.save(&SaveEntry::new("circuit_breaker:payments:state", b"{}")).unwrap();
    let before = everything(dir.path());
    for arguments in [&[][..], &["--json"]] {
        let (code, reason) = refusal(arguments, dir.path());
        assert_eq!(code, Some(5), "{reason}");
        assert!(reason.contains("a running server holds"), "{reason}");
        assert!(reason.contains("stop the server"), "{reason}");
    }
    assert_eq!(everything(dir.path()), before);
    close(store, dir.path());
    assert!(shown(dir.path()).contains("payments"));
}

#[test]
fn the_folder_of_a_killed_server_is_shown_and_not_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, left) = (dir.path().join("state"), dir.path().join("left"));
    let store = SledStore::open(&folder).unwrap();
    fill(Box::new(store.clone()));
    fs::create_dir_all(left.join("blobs")).unwrap();
    // As on disk while the store is open, without what a clean close writes.
    for name in ["db", "conf"] {
        fs::copy(folder.join(name), left.join(name)).unwrap();
    }
    let before = everything(&left);
    let table = shown(&left);
    assert!(table.contains("payments") && table.contains("forced_open"), "{table}");
    assert_eq!(everything(&left), before);
}

#[test]
fn a_folder_of_files_is_shown_while_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    fill(Box::new(store.clone()));
    let before = everything(dir.path());
    let output = inspect(&["--json"], dir.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("a running server holds"), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["held"], true);
    assert_eq!(all["breakers"].as_array().unwrap().len(), 5);
    assert_eq!(everything(dir.path()), before);
    store.save(&SaveEntry::new("circuit_breaker:payments:state", b"{}")).unwrap();
}

#[test]
fn a_path_without_a_store_is_an_error_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, file, other) =
        (dir.path().join("missing"), dir.path().join("file"), dir.path().join("other"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("db"), "not a database").unwrap();
    let before = everything(dir.path());
    let cases = [(&missing, "does not exist"), (&file, "is a file"), (&other, "contains no store")];
    for (path, expected) in cases {
        let (code, reason) = refusal(&[], path);
        assert_eq!(code, Some(1), "{reason}");
        assert!(reason.contains(expected), "{reason}");
    }
    assert_eq!(everything(dir.path()), before);
    for arguments in [&["--yaml"][..], &["one"], &["a", "--history", "b"]] {
        let (code, reason) = refusal(arguments, &other);
        assert_eq!(code, Some(2));
        assert!(reason.contains("Usage:"), "{reason}");
    }
}

#[test]
fn the_readable_part_of_a_damaged_folder_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill_and_close(Box::new(SledStore::open(&folder).unwrap()), &folder);
    fs::write(folder.join("conf"), [7; 64]).unwrap();
    let before = everything(dir.path());
    let output = inspect(&[], &folder);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("is damaged"), "{output:?}");
    assert!(text(&output.stdout).contains("payments"), "{output:?}");
    assert_eq!(everything(dir.path()), before);
}

#[cfg(unix)]
#[test]
fn an_unreadable_folder_is_left_to_the_next_server() {
    use std::os::unix::ffi::OsStrExt as _;

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill_and_close(Box::new(SledStore::open(&folder).unwrap()), &folder);
    // sled expects UTF-8.
    fs::write(folder.join("blobs").join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    let before = everything(dir.path());
    let (code, reason) = refusal(&[], &folder);
    assert_eq!(code, Some(1));
    assert!(reason.contains("is damaged"), "{reason}");
    assert_eq!(everything(dir.path()), before);
}

#[test]
fn a_snapshot_that_cannot_be_restored_is_listed_with_the_reason() {
    for (_, open) in STORES {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let save = |key: &str, value: &str| {
            store.save(&SaveEntry::new(format!("circuit_breaker:{key}"), value.as_bytes()))
        };
        save("torn:state", r#"{"version":1,"sta"#).unwrap();
        save("newer:state", r#"{"version":9}"#).unwrap();
        save("late:state", r#"{"version":1,"state":"open","open_until":1e300,"saved_at":1}"#)
            .unwrap();
        save("torn:quarantine", r#"[{"reason":"x","since":1},{"reason":"y","since":2}]"#).unwrap();
        store.save(&SaveEntry::new("something else", b"1")).unwrap();
        close(store, dir.path());
        let table = shown(dir.path());
        for expected in [
            "the snapshot cannot be read",
            "the snapshot has version 9",
            "torn: 2 unreadable, kept under circuit_breaker:torn:quarantine",
        ] {
            assert!(table.contains(expected), "{table}");
        }
        assert_eq!(shown_as_json(dir.path())["breakers"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn an_empty_store_has_no_breakers() {
    for (_, open) in STORES {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        assert!(store.load_page(None, usize::MAX).unwrap().is_empty());
        close(store, dir.path());
        assert!(shown(dir.path()).contains("no breaker"));
    }
}

#[test]
fn a_history_is_shown_from_the_newest() {
    for (kind, open) in STORES {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let transition = |id: u64, to: &str| {
            let at = id as f64 / 1e9;
            let rest = r#""reason":"consecutive_failures","failure_count":5,"open_time":60.0"#;
            let record = format!(r#"{{"version":1,"at":{at},"from":"closed","to":"{to}",{rest}}}"#);
            HistoryRecord::new(id, record)
        };
        let second = 1_000_000_000;
        let newest = 1_700_000_000 * second;
        let records: Vec<_> =
            (0..2000).map(|age| transition(newest - age * second, "open")).collect();
        store.history().unwrap().append("circuit_breaker:pay\n:history", &records).unwrap();
        let odd = [HistoryRecord::new(newest + 1, [0xff]), transition(newest + 2, "half_open")];
        store.history().unwrap().append("circuit_breaker:pay\n:history", &odd).unwrap();
        store
            .save(&SaveEntry::new(
                "circuit_breaker:pay\n:state",
                br#"{"version":1,"state":"half_open","saved_at":1}"#,
            ))
            .unwrap();
        store.save(&SaveEntry::new("circuit_breaker:new:state", b"{}")).unwrap();
        close(store, dir.path());
        let before = everything(dir.path());

        let of = |name: &str, json: bool| {
            let history =
                if json { ["--json", "--history", name] } else { ["--history", name, "--"] };
            inspect(&history, dir.path())
        };
        let table = text(&of("pay\n", false).stdout);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2003, "{kind}: {table:.200}");
        assert!(lines[1].starts_with("2023-11-14T22:13:20Z  closed  half_open"), "{}", lines[1]);
        assert!(lines[2].contains(" -  "), "{}", lines[2]);
        let row: Vec<_> = lines[4].split_whitespace().collect();
        let expected =
            ["2023-11-14T22:13:19Z", "closed", "open", "consecutive_failures", "5", "60.0", "s"];
        assert_eq!(row, [&expected[..], &["-"; 3]].concat());
        let all: Value = serde_json::from_slice(&of("pay\n", true).stdout).unwrap();
        assert_eq!(all["history"].as_array().unwrap().len(), 2002);
        assert_eq!(all["history"][0]["id"], (newest + 2).to_string());
        assert_eq!(all["history"][1]["record"], Value::Null);
        assert_eq!(all["history"][2]["record"]["failure_count"], 5);

        assert!(text(&of("new", false).stdout).contains("no history"));
        let unknown = of("unknown", false);
        assert_eq!(unknown.status.code(), Some(4));
        assert!(text(&unknown.stderr).contains("no breaker of the name"));
        let breakers = shown(dir.path());
        assert!(breakers.contains(r"pay\n  half_open"), "{breakers}");
        assert!(
            breakers.contains("2023-11-14T22:13:20Z"),
            "since when is in the history: {breakers}"
        );
        assert_eq!(everything(dir.path()), before);
    }
}
