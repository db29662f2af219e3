//! Metrics of stores. A binary of its own: the recorder is global to the process.

#[path = "support/recorder.rs"]
mod recorder;
#[path = "support/mod.rs"]
mod support;

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use metrics::Unit;
use recorder::{PANICS, Recorded};
use support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};
use tokio::time::timeout;
use tower_breaker::{
    Breaker, FileStore, MemoryStore, SledStore, StateStore,
    store::{SaveEntry, StoreHealth, Tiered},
};

/// The recorder of all tests, each of which uses its own labels.
static RECORDED: LazyLock<Recorded> = LazyLock::new(Recorded::install);

fn breaker(name: &str, store: impl StateStore) -> Breaker {
    LazyLock::force(&RECORDED);
    let builder = Breaker::builder(name).flush_interval(Duration::from_millis(20));
    builder.store(store).build().unwrap()
}

fn healthy(label: &str) -> Option<f64> {
    RECORDED.value("healthy", &format!("store={label:?}"))
}

fn pending(label: &str) -> Option<f64> {
    RECORDED.value("pending", &format!("store={label:?}"))
}

fn writes(label: &str, result: &str) -> Option<f64> {
    RECORDED.value("writes_total", &format!("store={label:?},result={result:?}"))
}

fn durations(label: &str) -> Vec<f64> {
    RECORDED.values("write_duration_seconds", &format!("store={label:?}"))
}

fn quarantined(label: &str, kind: &str) -> Option<f64> {
    RECORDED.value("quarantined_total", &format!("store={label:?},kind={kind:?}"))
}

/// Waits until the gauges have these values.
fn eventually_says(label: &str, gauges: (f64, f64)) {
    let expected = (Some(gauges.0), Some(gauges.1));
    eventually(&format!("{label} is {expected:?}"), || {
        (healthy(label), pending(label)) == expected
    });
}

#[tokio::test]
async fn gauges_and_counters_follow_a_store_that_fails_and_heals() {
    let store = SickStore::labelled("fails");
    let [breaker, _quiet] = ["one", "quiet"].map(|name| breaker(name, store.clone()));
    eventually_says("fails", (1.0, 0.0));
    assert_eq!((writes("fails", "ok"), writes("fails", "error")), (Some(0.0), Some(0.0)));

    breaker.force_open();
    breaker.flush().await.unwrap();
    // One write for the state and one for the history.
    assert_eq!((writes("fails", "ok"), writes("fails", "error")), (Some(2.0), Some(0.0)));
    assert_eq!(durations("fails").len(), 2);

    store.show(Symptom::Fails);
    breaker.disable();
    breaker.flush().await.unwrap_err();
    assert_eq!(healthy("fails"), Some(0.0), "the gauge is set before the flush returns");
    assert_eq!(pending("fails"), Some(1.0), "the quiet breaker has nothing to save");
    assert_eq!(writes("fails", "ok"), Some(2.0));
    assert!(writes("fails", "error").unwrap() >= 1.0);

    store.heal();
    eventually_says("fails", (1.0, 0.0));
    breaker.flush().await.unwrap();
    assert!(writes("fails", "ok").unwrap() >= 4.0);
    let all = writes("fails", "ok").unwrap() + writes("fails", "error").unwrap();
    assert_eq!(Some(durations("fails").len() as f64), Some(all), "each write has a duration");
}

#[test]
fn a_store_that_hangs_is_unhealthy_and_pending_breakers_are_counted() {
    let store = SickStore::labelled("hangs");
    let [one, other] = ["one", "other"].map(|name| breaker(name, store.clone()));
    store.show(Symptom::Hangs);
    one.force_open();
    eventually_says("hangs", (0.0, 1.0));
    assert_eq!(writes("hangs", "error"), Some(0.0), "the call has not ended");
    other.force_open();
    eventually_says("hangs", (0.0, 2.0));
    store.heal();
    eventually_says("hangs", (1.0, 0.0));
    let slowest = durations("hangs").into_iter().fold(0.0, f64::max);
    assert!((0.5..600.0).contains(&slowest), "{slowest} s");
}

#[test]
fn a_store_that_hangs_from_the_start_is_unhealthy() {
    let store = SickStore::labelled("hangs at once");
    store.show(Symptom::Hangs);
    let _breaker = breaker("one", store.clone());
    assert_eq!(healthy("hangs at once"), Some(0.0));
    store.heal();
    eventually_says("hangs at once", (1.0, 0.0));
}

#[test]
fn a_store_that_panics_is_unhealthy() {
    let store = SickStore::labelled("panics");
    let breaker = breaker("one", store.clone());
    store.show(Symptom::Panics);
    breaker.force_open();
    eventually_says("panics", (0.0, 1.0));
    store.heal();
    eventually_says("panics", (1.0, 0.0));
    assert!(writes("panics", "error").unwrap() >= 1.0);
}

#[tokio::test]
async fn every_breaker_that_is_not_saved_is_pending() {
    let store = SickStore::labelled("pending");
    let breakers: Vec<_> = (0..5).map(|n| breaker(&n.to_string(), store.clone())).collect();
    store.show(Symptom::Fails);
    for breaker in &breakers[..3] {
        breaker.force_open();
    }
    breakers[0].flush().await.unwrap_err();
    eventually_says("pending", (0.0, 3.0));
    let StoreHealth::Degraded { pending, .. } = breakers[4].store_health() else {
        panic!("the store is not degraded")
    };
    assert_eq!(pending, 3, "the gauge and the health agree");
    store.heal();
    eventually_says("pending", (1.0, 0.0));
}

#[test]
fn a_breaker_with_a_snapshot_of_a_newer_release_stays_pending() {
    let store = MemoryStore::new().with_label("newer");
    store.save(&SaveEntry::new("circuit_breaker:newer:state", br#"{"version": 1000}"#)).unwrap();
    let newer = breaker("newer", store.clone());
    let _other = breaker("other", store);
    assert!(!newer.store_health().is_healthy());
    eventually_says("newer", (1.0, 1.0));
    newer.force_open();
    eventually_says("newer", (1.0, 1.0));
    drop(newer);
    eventually_says("newer", (1.0, 0.0));
}

#[test]
fn an_unreadable_snapshot_is_counted() {
    let store = MemoryStore::new().with_label("damaged");
    for name in ["one", "other"] {
        store
            .save(&SaveEntry::new(format!("circuit_breaker:{name}:state"), b"no snapshot"))
            .unwrap();
    }
    let _well = breaker("well", store.clone());
    eventually_says("damaged", (1.0, 0.0));
    assert_eq!(quarantined("damaged", "snapshot"), Some(0.0));
    let _one = breaker("one", store.clone());
    assert_eq!(quarantined("damaged", "snapshot"), Some(1.0));
    let _other = breaker("other", store);
    assert_eq!(quarantined("damaged", "snapshot"), Some(2.0));
    assert_eq!(quarantined("damaged", "folder"), Some(0.0));
}

#[test]
fn an_unreadable_sled_folder_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    drop(breaker("one", SledStore::open(&path).unwrap().with_label("before")));
    eventually("the folder is free", || SledStore::open(&path).unwrap().load("one").is_ok());
    // sled expects UTF-8.
    fs::write(path.join("blobs").join(OsString::from_vec(vec![0xff])), "").unwrap();
    let _breaker = breaker("one", SledStore::open(&path).unwrap().with_label("folder"));
    eventually_says("folder", (1.0, 0.0));
    assert_eq!(quarantined("folder", "folder"), Some(1.0));
    assert_eq!(quarantined("folder", "snapshot"), Some(0.0));
    assert_eq!(quarantined("before", "folder"), Some(0.0));
}

#[test]
fn a_store_has_the_label_of_its_kind_unless_the_user_sets_one() {
    let folder = tempfile::tempdir().unwrap();
    let sled = SledStore::open(folder.path().join("sled")).unwrap();
    let file = FileStore::open(folder.path().join("file")).unwrap();
    let memory = MemoryStore::new();
    assert_eq!([sled.label(), file.label(), memory.label()], ["sled", "file", "memory"]);
    let chosen: [Arc<dyn StateStore>; 3] = [
        Arc::new(sled.with_label("a")),
        Arc::new(file.with_label("b".to_owned()).clone()),
        Arc::new(memory.with_label("c").clone()),
    ];
    assert_eq!(chosen.each_ref().map(StateStore::label), ["a", "b", "c"]);
    let _breakers = chosen.map(|store| breaker("one", store));
    for label in ["a", "b", "c"] {
        eventually_says(label, (1.0, 0.0));
    }
    let path = folder.path().to_str().unwrap();
    assert_eq!(RECORDED.keys(path), [""; 0], "no path is ever a label");
}

#[tokio::test]
async fn a_healthy_store_does_not_hide_an_unhealthy_one_with_the_same_label() {
    let [ill, well] = [SickStore::labelled("twins"), SickStore::labelled("twins")];
    let ill_one = breaker("ill", ill.clone());
    let well_one = breaker("well", well.clone());
    ill.show(Symptom::Fails);
    ill_one.force_open();
    eventually_says("twins", (0.0, 1.0));
    let recorded_values = RECORDED.values("healthy", "store=\"twins\"").len();
    // Gauges are set at most once a second.
    for _ in 0..2 {
        well_one.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert!(writes("twins", "ok").unwrap() >= 2.0, "the other store works");
    let recorded_values = &RECORDED.values("healthy", "store=\"twins\"")[recorded_values..];
    assert!(
        !recorded_values.is_empty() && recorded_values.iter().all(|healthy| *healthy == 0.0),
        "{recorded_values:?}"
    );
    assert_eq!((healthy("twins"), pending("twins")), (Some(0.0), Some(1.0)));
    ill.heal();
    eventually_says("twins", (1.0, 0.0));
}

#[test]
fn the_stores_of_a_tiered_one_are_reported_apart() {
    let (near, far) = (SickStore::labelled("pair"), SickStore::labelled("pair"));
    let one = breaker("one", Tiered::new(near.clone(), far.clone()));
    eventually_says("pair_far", (1.0, 0.0));
    far.show(Symptom::Fails);
    one.force_open();
    eventually("the far store is sick", || healthy("pair_far") == Some(0.0));
    eventually_says("pair", (1.0, 0.0));
    far.heal();
    near.show(Symptom::Fails);
    one.reset();
    eventually_says("pair", (0.0, 1.0));
    eventually_says("pair_far", (1.0, 0.0));
}

/// Without a save, a read or a question for its health while it hangs.
#[test]
fn a_far_store_that_hangs_is_reported_while_it_does() {
    let (near, far) = (SickStore::labelled("answers"), SickStore::labelled("hangs"));
    let one = breaker("one", Tiered::new(near, far.clone()));
    eventually_says("hangs", (1.0, 0.0));
    far.show(Symptom::Hangs);
    one.force_open();
    eventually("the far store hangs", || healthy("hangs") == Some(0.0));
    eventually_says("answers", (1.0, 0.0));
    far.heal();
    eventually_says("hangs", (1.0, 0.0));
}

#[test]
fn a_healthy_far_store_does_not_hide_an_unhealthy_one_with_the_same_label() {
    let [ill, well] = [SickStore::labelled("distant"), SickStore::labelled("distant")];
    let tiered = |far: &SickStore| Tiered::new(MemoryStore::new().with_label("close"), far.clone());
    let (ill_one, well_one) = (breaker("ill", tiered(&ill)), breaker("well", tiered(&well)));
    ill.show(Symptom::Fails);
    ill_one.force_open();
    eventually("one is sick", || healthy("distant") == Some(0.0));
    let before = RECORDED.values("healthy", "store=\"distant\"").len();
    well_one.force_open();
    eventually("the other is written", || well.stored("well").contains("forced_open"));
    eventually("the gauges are recorded", || {
        RECORDED.values("healthy", "store=\"distant\"").len() >= before + 4
    });
    let since = &RECORDED.values("healthy", "store=\"distant\"")[before..];
    assert!(since.iter().all(|healthy| *healthy == 0.0), "{since:?}");
    ill.heal();
    eventually_says("distant", (1.0, 0.0));
}

#[test]
fn a_store_is_in_no_trouble_after_the_last_breaker_is_dropped() {
    let store = SickStore::labelled("gone");
    let breaker = breaker("one", store.clone());
    store.show(Symptom::Fails);
    breaker.force_open();
    eventually_says("gone", (0.0, 1.0));
    drop(breaker);
    eventually_says("gone", (1.0, 0.0));
}

#[test]
fn a_far_store_is_in_no_trouble_after_the_last_breaker_is_dropped() {
    let far = SickStore::labelled("far_gone");
    let near = MemoryStore::new().with_label("near_gone");
    let breaker = breaker("one", Tiered::new(near, far.clone()));
    far.show(Symptom::Fails);
    breaker.force_open();
    eventually("the far store is sick", || healthy("far_gone") == Some(0.0));
    drop(breaker);
    eventually_says("far_gone", (1.0, 0.0));
}

#[tokio::test]
async fn a_recorder_that_panics_does_not_stop_the_writer() {
    let store = SickStore::labelled(PANICS);
    let breaker = breaker("one", store.clone());
    // If the writer had ended, there would be no result.
    let flush =
        async || timeout(Duration::from_secs(30), breaker.flush()).await.expect("an answer");
    breaker.force_open();
    flush().await.unwrap();
    assert!(store.stored("one").contains("forced_open"));
    store.show(Symptom::Fails);
    flush().await.unwrap_err();
    assert!(!breaker.store_health().is_healthy());
    store.heal();
    flush().await.unwrap();
    assert!(breaker.store_health().is_healthy());
    assert_eq!(store.threads(), 1, "the writer is still running");
}

#[test]
fn every_metric_has_a_description() {
    let _breaker = breaker("one", MemoryStore::new().with_label("described"));
    eventually_says("described", (1.0, 0.0));
    let described = RECORDED.descriptions();
    let units: Vec<_> = described.iter().map(|(name, (unit, _))| (name.as_str(), *unit)).collect();
    assert_eq!(
        units,
        [
            ("circuit_breaker_call_duration_seconds", Some(Unit::Seconds)),
            ("circuit_breaker_calls_total", Some(Unit::Count)),
            ("circuit_breaker_failure_ratio", None),
            ("circuit_breaker_fleet_joined", None),
            ("circuit_breaker_fleet_replicas", None),
            ("circuit_breaker_probes_total", Some(Unit::Count)),
            ("circuit_breaker_slow_call_ratio", None),
            ("circuit_breaker_slow_calls_total", Some(Unit::Count)),
            ("circuit_breaker_state", None),
            ("circuit_breaker_state_seconds_total", Some(Unit::Seconds)),
            ("circuit_breaker_store_healthy", None),
            ("circuit_breaker_store_pending", Some(Unit::Count)),
            ("circuit_breaker_store_quarantined_total", Some(Unit::Count)),
            ("circuit_breaker_store_write_duration_seconds", Some(Unit::Seconds)),
            ("circuit_breaker_store_writes_total", Some(Unit::Count)),
            ("circuit_breaker_transitions_total", Some(Unit::Count)),
            ("circuit_breaker_unrecorded_calls_total", Some(Unit::Count)),
            ("circuit_breaker_would_trip_total", Some(Unit::Count)),
        ]
    );
    assert!(described.values().all(|(_, text)| text.len() > 20));
    for name in RECORDED.keys("") {
        let name = name.split('{').next().unwrap();
        assert!(described.contains_key(name), "{name}");
    }
}
