//! The sweep removes what has expired, and nothing else.

use std::{
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, Settings, attach, hasty, patient, until},
};
use crate::{
    clock::tests::isolated::isolate,
    store::{FileStore, HistoryRecord, HistoryStore, SaveEntry, StateStore, Tiered},
};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// Soon and often.
fn sweeping() -> Settings {
    let sweep = (Duration::from_millis(20), Duration::from_millis(20));
    Settings { sweep, ..patient() }
}

/// Seconds since 1970.
fn ago(seconds: f64) -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - seconds
}

/// The snapshot of a version that wrote no time to live.
fn old_form(state: &str, saved_ago: f64, open_until: &str) -> String {
    let saved_at = ago(saved_ago);
    format!(r#"{{"version":1,"state":"{state}","open_until":{open_until},"saved_at":{saved_at}}}"#)
}

/// A snapshot with its time to live.
fn expiring(state: &str, saved_ago: f64, expires_at: f64) -> String {
    let saved_at = ago(saved_ago);
    format!(r#"{{"version":1,"state":"{state}","saved_at":{saved_at},"expires_at":{expires_at}}}"#)
}

fn is_there(store: &Faulty, name: &str) -> bool {
    store.text(name).is_some()
}

#[test]
fn expired_snapshots_without_a_breaker_are_removed() {
    let store = Faulty::new(Fault::None);
    for (name, snapshot) in [
        ("closed-old", old_form("closed", 1.1 * HOUR, "null")),
        ("open-old", old_form("open", 1.1 * DAY, &ago(DAY).to_string())),
        ("half-open-old", old_form("half_open", 1.1 * HOUR, "null")),
        ("says-so", expiring("open", 10.0, ago(1.0))),
        ("says-so-closed", expiring("closed", 10.0, ago(1.0))),
    ] {
        store.put(name, &snapshot);
    }
    let kept = [
        ("closed-new", old_form("closed", 0.9 * HOUR, "null")),
        ("open-new", old_form("open", 0.9 * DAY, "null")),
        ("open-for-long", old_form("open", 2.0 * DAY, &ago(-HOUR).to_string())),
        ("half-open-new", old_form("half_open", 0.9 * HOUR, "null")),
        ("forced", old_form("forced_open", 1000.0 * DAY, "null")),
        ("forced-and-dated", expiring("forced_open", 10.0, ago(1.0))),
        ("disabled", old_form("disabled", 1000.0 * DAY, "null")),
        ("metrics", old_form("metrics_only", 1000.0 * DAY, "null")),
        ("says-not-yet", expiring("closed", 30.0 * DAY, ago(-HOUR))),
        ("newer", r#"{"version":2,"state":"closed","saved_at":1,"expires_at":1}"#.to_owned()),
        ("unreadable", r#"{"version":1,"saved_at":1,"expires_at":1"#.to_owned()),
        ("no-time", r#"{"version":1,"state":"closed","saved_at":-1e300}"#.to_owned()),
    ];
    for (name, snapshot) in &kept {
        store.put(name, snapshot);
    }
    let expired = old_form("closed", DAY, "null");
    let others = ["mine", "circuit_breaker:a:quarantine", "circuit_breaker:state", "a:state"];
    for key in others {
        store.memory.save(&SaveEntry::new(key, expired.as_bytes())).unwrap();
    }
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "present", &breaker, &sweeping());
    until("the last is gone", || !is_there(&store, "says-so-closed"));
    let pages = store.pages.load(SeqCst);
    until("two more sweeps", || store.pages.load(SeqCst) >= pages + 2);
    for gone in ["closed-old", "open-old", "half-open-old", "says-so"] {
        assert!(!is_there(&store, gone), "{gone}");
    }
    for (name, snapshot) in &kept {
        assert!(store.holds(name, snapshot), "{name}");
    }
    for key in others {
        assert!(store.memory.load(key).unwrap().is_some(), "{key}");
    }
    assert!(attached.health().is_healthy());
}

#[test]
fn snapshots_of_living_breakers_are_kept() {
    let store = Faulty::new(Fault::None);
    let expired = old_form("closed", DAY, "null");
    store.put("early", &expired);
    let first = attach(&store, "early", &Breaker::new("closed"), &sweeping());
    let late = attach(&store, "late", &Breaker::new("closed"), &sweeping());
    // Before it came, a sweep might have been faster.
    for name in ["late", "gone"] {
        store.put(name, &expired);
    }
    until("the other is gone", || !is_there(&store, "gone"));
    let pages = store.pages.load(SeqCst);
    until("three more sweeps", || store.pages.load(SeqCst) >= pages + 3);
    assert!(store.holds("early", &expired) && store.holds("late", &expired));
    drop((first, late));
}

#[test]
fn the_snapshot_of_a_breaker_built_during_the_sweep_is_kept() {
    let store = Faulty::new(Fault::None);
    let expired = old_form("closed", DAY, "null");
    for n in 0..200 {
        store.put(&format!("{n:03}"), &expired);
    }
    let settings = Settings { sweep: (Duration::from_millis(20), Duration::MAX), ..patient() };
    store.set(Fault::Slow(Duration::from_millis(100)));
    let first = attach(&store, "first", &Breaker::new("closed"), &settings);
    until("it has begun", || !is_there(&store, "000"));
    assert!(is_there(&store, "199"), "it goes on");
    let breaker = Breaker::new("closed");
    let late = attach(&store, "199", &breaker, &patient());
    store.set(Fault::None);
    until("it is over", || !is_there(&store, "198"));
    thread::sleep(Duration::from_millis(50));
    assert!(is_there(&store, "199"));
    drop((first, late));
}

#[test]
fn saves_do_not_wait_for_the_sweep() {
    let store = Faulty::new(Fault::None);
    let expired = old_form("closed", DAY, "null");
    for n in 0..400 {
        store.put(&format!("{n:03}"), &expired);
    }
    let breaker = Breaker::new("closed");
    store.set(Fault::Slow(Duration::from_millis(50)));
    let attached = attach(&store, "saves", &breaker, &sweeping());
    until("it has begun", || !is_there(&store, "000"));
    breaker.change_and_mark("open", &attached.marker(), true);
    until("it is saved", || store.holds("saves", "open"));
    assert!(is_there(&store, "399"), "not only after all of them");
    store.set(Fault::None);
    until("it is over", || !is_there(&store, "399"));
}

#[test]
fn histories_are_kept_as_long_as_their_records_say() {
    let store = Faulty::new(Fault::None);
    let record = |days_ago: f64, rest: &str| {
        let at = ago(days_ago * DAY);
        let id = u64::try_from(Duration::from_secs_f64(at).as_nanos()).unwrap();
        let text = format!(
            r#"{{"version":1,"at":{at},"from":"closed","to":"open","reason":"manual"{rest}}}"#
        );
        HistoryRecord::new(id, text)
    };
    let history = |name: &str| {
        let key = format!("circuit_breaker:{name}:history");
        store.memory.load_newest(&key, None, usize::MAX).unwrap().len()
    };
    let put = |name: &str, records: &[HistoryRecord]| {
        store.memory.append(&format!("circuit_breaker:{name}:history"), records).unwrap();
    };
    let year = r#","retention_days":365"#;
    put("default", &[record(31.0, ""), record(29.0, "")]);
    put("long", &[record(366.0, year), record(300.0, year)]);
    put("gone", &[record(33.0, ""), record(31.0, "")]);
    put("newer", &[record(1000.0, ""), HistoryRecord::new(u64::MAX, r#"{"version":2}"#)]);
    put("unreadable", &[HistoryRecord::new(1, "{")]);
    let many: Vec<_> = (0..1500).map(|id| record(f64::from(id) / 1500.0, "")).collect();
    put("many", &many);
    // A breaker that is there says itself; the fake says 30 days.
    put("present", &[record(31.0, year), record(29.0, year)]);
    store.memory.append("mine", &[HistoryRecord::new(1, r#"{"version":1}"#)]).unwrap();

    let attached = attach(&store, "present", &Breaker::new("closed"), &sweeping());
    until("what is too old is gone", || history("gone") == 0 && history("present") == 1);
    until("and what is too much", || history("many") == 500);
    until("and the first of each", || history("default") == 1 && history("long") == 1);
    let pages = store.pages.load(SeqCst);
    until("two more sweeps", || store.pages.load(SeqCst) >= pages + 2);
    assert_eq!((history("newer"), history("unreadable"), history("long")), (2, 1, 1));
    assert_eq!(store.memory.load_newest("mine", None, 10).unwrap().len(), 1);
    drop(attached);
}

#[test]
fn a_store_that_failed_is_swept_later() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &sweeping());
    store.set(Fault::Panics);
    let calls = store.calls.load(SeqCst);
    until("it was tried", || store.calls.load(SeqCst) >= calls + 3);
    store.put("old", &old_form("closed", DAY, "null"));
    store.set(Fault::None);
    until("it is swept", || !is_there(&store, "old"));
    until("it is healthy", || attached.health().is_healthy());
}

#[test]
fn a_store_that_hangs_during_a_sweep_is_noticed_and_recovers() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let Settings { sweep, .. } = sweeping();
    let attached = attach(&store, "a", &breaker, &Settings { sweep, ..hasty() });
    store.set(Fault::Hangs);
    until("it is noticed", || !attached.health().is_healthy());
    store.set(Fault::None);
    until("it is healthy again", || attached.health().is_healthy());
}

#[test]
fn before_1970_nothing_expires_and_sweeps_go_on() {
    isolate("write_behind::tests::sweep::before_1970_nothing_expires_and_sweeps_go_on", |trap| {
        trap.set_wall(UNIX_EPOCH - Duration::from_secs(1000));
        let store = Faulty::new(Fault::None);
        let snapshot = r#"{"version":1,"state":"closed","saved_at":0.0,"expires_at":0.0}"#;
        store.put("a", snapshot);
        let key = "circuit_breaker:a:history";
        let record = HistoryRecord::new(
            1,
            r#"{"version":1,"at":0.0,"from":"closed","to":"open","reason":"manual"}"#,
        );
        store.memory.append(key, &[record]).unwrap();
        let attached = attach(&store, "present", &Breaker::new("closed"), &sweeping());
        until("three sweeps", || store.pages.load(SeqCst) >= 3);
        assert!(store.holds("a", snapshot));
        assert_eq!(store.memory.load_newest(key, None, 10).unwrap().len(), 1);
        assert!(attached.health().is_healthy());
    });
}

#[test]
fn what_continues_an_expired_snapshot_is_removed_with_it() {
    let store = Faulty::new(Fault::None);
    let continued = |snapshot: String| {
        let whole = snapshot.strip_suffix('}').unwrap();
        let results = ".f".repeat(3000);
        format!(
            r#"{whole},"windows":[{{"rule":"failure_rate","calls":6000,"failures":3000,"slow_calls":0,"results":"{results}"}}],"id":1}}"#
        )
    };
    store.put("expired", &continued(expiring("closed", 10.0, ago(1.0))));
    store.put("kept", &continued(expiring("closed", 10.0, ago(-HOUR))));
    let recent = |name: &str| format!("circuit_breaker:{name}:recent");
    for name in ["expired", "kept"] {
        store.memory.save(&SaveEntry::new(recent(name), "the newest calls")).unwrap();
    }
    let breaker = Breaker::new("closed");
    let _attached = attach(&store, "present", &breaker, &sweeping());
    until("it is removed", || !is_there(&store, "expired"));
    assert_eq!(store.memory.load(&recent("expired")).unwrap(), None);
    assert!(is_there(&store, "kept"));
    assert!(store.memory.load(&recent("kept")).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_keeps_the_sweep_from_no_other() {
    let dir = tempfile::tempdir().unwrap();
    // No permission stops root, but a link to itself does.
    for name in ["bad.json", "bad+history.jsonl"] {
        std::os::unix::fs::symlink(name, dir.path().join(name)).unwrap();
    }
    let store = FileStore::open(dir.path()).unwrap();
    let expired = old_form("closed", DAY, "null");
    store.save(&SaveEntry::new("circuit_breaker:old:state", expired)).unwrap();
    let record = r#"{"version":1,"at":1.0,"from":"closed","to":"open","reason":"manual"}"#;
    store.append("circuit_breaker:old:history", &[HistoryRecord::new(1, record)]).unwrap();
    let attached = attach(&store, "present", &Breaker::new("closed"), &sweeping());
    for gone in ["old.json", "old+history.jsonl"] {
        until(gone, || !dir.path().join(gone).exists());
    }
    assert!(dir.path().join("bad.json").is_symlink(), "it is not touched");
    assert!(attached.health().is_healthy());
}

#[test]
fn of_a_tiered_store_only_the_part_that_does_not_expire_values_is_swept() {
    let (near, far) = (Faulty::new(Fault::None), Faulty::new(Fault::None));
    let expired = old_form("closed", 2.0 * HOUR, "null");
    near.put("old", &expired);
    // Another process has saved it since, and is to expire it.
    far.put("old", &old_form("closed", 0.5 * HOUR, "null"));
    far.put("other", &expired);
    let tiered = Tiered::new(near.clone(), Altered::of(&far).expires_by_itself());
    let breaker = Breaker::new("closed");
    let attached = attach(&tiered, "present", &breaker, &sweeping());
    until("it is swept", || !is_there(&near, "old"));
    let swept = near.pages.load(SeqCst);
    until("it is swept again", || near.pages.load(SeqCst) > swept + 2);
    assert_eq!(far.pages.load(SeqCst), 0, "the far store is not read");
    drop(attached);
    drop(tiered);
    assert!(is_there(&far, "old") && is_there(&far, "other"));
}

#[test]
fn a_far_store_that_does_not_expire_values_is_swept_too() {
    let (near, far) = (Faulty::new(Fault::None), Faulty::new(Fault::None));
    far.put("old", &old_form("closed", 2.0 * HOUR, "null"));
    let breaker = Breaker::new("closed");
    let tiered = Tiered::new(near, far.clone());
    let _attached = attach(&tiered, "present", &breaker, &sweeping());
    until("it is removed", || !is_there(&far, "old"));
}
