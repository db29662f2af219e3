//! A tiered store whose near part cannot be read at first: at a deploy, the process before still
//! holds its folder.

use std::time::Duration;

use tower_breaker::{
    Breaker, SledStore, State, StateStore, Trip,
    store::{MemoryStore, SaveEntry, StoreError, Tiered},
};

use crate::support::{
    pass_on::pass_on,
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

const MINUTE: Duration = Duration::from_secs(60);

fn breaker_for(open_time: Duration, name: &str, store: impl StateStore) -> Breaker {
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(2));
    builder.recovery_timeout(open_time).store(store).build().unwrap()
}

fn breaker(name: &str, store: impl StateStore) -> Breaker {
    breaker_for(MINUTE, name, store)
}

fn trip(breaker: &Breaker) {
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

fn state_in(store: &impl StateStore, name: &str) -> String {
    let value = store.load(&format!("circuit_breaker:{name}:state")).unwrap().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&value).unwrap_or_default();
    value["state"].as_str().unwrap_or("none").to_owned()
}

/// A near store that fails, and a far one.
fn stores() -> (SickStore, MemoryStore, Tiered) {
    let (near, far) = (SickStore::default(), MemoryStore::new());
    near.show(Symptom::Fails);
    let tiered = Tiered::new(near.clone(), far.clone());
    (near, far, tiered)
}

#[test]
fn what_the_near_store_holds_replaces_what_the_far_one_held() {
    let (near, far, tiered) = stores();
    trip(&breaker("name", far.clone()));
    let new = breaker("name", tiered);
    assert_eq!(new.state(), State::Open, "the first call meets it");
    assert!(new.store_health().is_degraded());
    // The process before works on.
    breaker("name", near.inner.clone()).disable();
    near.heal();
    eventually("it is replaced", || new.state() == State::Disabled);
    new.flush_blocking(MINUTE).unwrap();
    assert!(new.store_health().is_healthy());
    assert_eq!(state_in(&near.inner, "name"), "disabled");
    eventually("it is saved in both", || state_in(&far, "name") == "disabled");
}

#[test]
fn what_time_does_meanwhile_and_the_probes_that_are_out_decide_nothing() {
    let (near, far, tiered) = stores();
    let open_time = Duration::from_millis(200);
    trip(&breaker_for(open_time, "name", far.clone()));
    let new = breaker_for(open_time, "name", tiered);
    eventually("it is half-open", || new.state() == State::HalfOpen);
    let probe = new.try_acquire().unwrap();
    let before = breaker("name", near.inner.clone());
    before.force_open();
    before.reset();
    drop(before);
    near.heal();
    eventually("it is replaced", || new.state() == State::Closed);
    probe.failure();
    assert_eq!((new.state(), new.stats().consecutive_failures()), (State::Closed, 0));
}

#[test]
fn a_circuit_that_was_closed_waits_for_the_near_store() {
    let (near, far, tiered) = stores();
    breaker("name", far.clone()).try_acquire().unwrap().failure();
    let new = breaker("name", tiered);
    assert_eq!((new.state(), new.stats().consecutive_failures()), (State::Closed, 0));
    // It is no transition.
    new.try_acquire().unwrap().failure();
    new.flush_blocking(MINUTE).unwrap_err();
    assert_eq!(near.saves(), 0, "nothing is written that was not read");
    breaker("name", near.inner.clone()).force_open();
    near.heal();
    eventually("it is restored", || new.state() == State::ForcedOpen);
}

#[test]
fn a_transition_of_its_own_is_newer_and_is_saved_in_the_far_store_at_once() {
    let (near, far, tiered) = stores();
    let new = breaker("name", tiered);
    trip(&new);
    eventually("it is saved in the far store", || state_in(&far, "name") == "open");
    new.reset();
    new.force_open();
    new.flush_blocking(MINUTE).unwrap_err();
    eventually("so is the next one", || state_in(&far, "name") == "forced_open");
    assert_eq!(near.saves(), 0);
    breaker("name", near.inner.clone()).disable();
    near.heal();
    eventually("it is saved in both", || state_in(&near.inner, "name") == "forced_open");
    assert_eq!(new.state(), State::ForcedOpen);
}

#[test]
fn a_snapshot_of_a_newer_release_in_the_far_store_is_not_overwritten() {
    let (_near, far, tiered) = stores();
    let newer = r#"{"version":7,"readable_from":7,"state":"open","saved_at":1}"#;
    far.save(&SaveEntry::new("circuit_breaker:name:state", newer)).unwrap();
    let new = breaker("name", tiered);
    trip(&new);
    new.flush_blocking(MINUTE).unwrap_err();
    drop(new);
    assert_eq!(far.load("circuit_breaker:name:state").unwrap().unwrap(), newer.as_bytes());
}

/// Each of them is found in one batch, after the first has found out that the near store is away.
#[test]
fn a_far_store_that_comes_back_first_is_restored_from_first() {
    let folder = tempfile::tempdir().unwrap();
    let held = SledStore::open(folder.path()).unwrap();
    held.save(&SaveEntry::new("key", "value")).unwrap();
    let far = SickStore::default();
    let names: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for name in &names {
        breaker(name, far.inner.clone()).force_open();
    }
    far.show(Symptom::Fails);
    let near = SledStore::open(folder.path()).unwrap();
    let tiered = Tiered::new(near, far.clone());
    let breakers: Vec<_> = names.iter().map(|name| breaker(name, tiered.clone())).collect();
    assert!(breakers.iter().all(|breaker| breaker.state() == State::Closed));
    far.heal();
    eventually("all are restored", || {
        breakers.iter().all(|breaker| breaker.state() == State::ForcedOpen)
    });
    assert!(breakers[0].store_health().is_degraded(), "the near store is away");
    drop(held);
    eventually("the near store is free", || breakers[0].store_health().is_healthy());
    for breaker in &breakers {
        breaker.flush_blocking(MINUTE).unwrap();
    }
}

#[test]
fn a_folder_that_the_process_before_holds_is_read_once_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let far = MemoryStore::new();
    let open = || Tiered::new(SledStore::open(folder.path()).unwrap(), far.clone());
    let before = breaker("name", open());
    trip(&before);
    before.flush_blocking(MINUTE).unwrap();
    eventually("the far store has it", || state_in(&far, "name") == "open");
    let new = breaker("name", open());
    assert_eq!(new.state(), State::Open);
    before.disable();
    drop(before);
    eventually("it is replaced", || new.state() == State::Disabled);
    new.flush_blocking(MINUTE).unwrap();
}

/// A store that cannot decode its values.
#[derive(Clone, Default)]
struct Damaged {
    inner: MemoryStore,
}

impl StateStore for Damaged {
    pass_on!(load_page, save, delete);

    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Corrupt("the value is damaged".into()))
    }
}

/// Waiting mends nothing.
#[test]
fn a_value_that_the_near_store_has_damaged_is_that_of_the_far_one() {
    let (near, far) = (Damaged::default(), MemoryStore::new());
    trip(&breaker("name", far.clone()));
    let new = breaker("name", Tiered::new(near.clone(), far));
    assert_eq!(new.state(), State::Open);
    new.reset();
    new.flush_blocking(MINUTE).unwrap();
    assert_eq!(state_in(&near.inner, "name"), "closed");
}
