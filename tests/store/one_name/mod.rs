//! One name on one store is one state: that of the youngest breaker.

mod histories;
mod model;
pub(crate) mod processes;
mod reports;
mod threads;

use std::time::Duration;

use tower_breaker::{
    Backoff, Breaker, BreakerBuilder, MemoryStore, Permit, RampUp, State, StateStore, Trip, Window,
    clock::ManualClock,
    snapshot::Snapshot,
    store::{FlushError, StoreHealth},
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::{MINUTE, eventually},
};

const NAME: &str = "shared name";

fn build_on(store: &(impl StateStore + Clone)) -> Breaker {
    builder().store(store.clone()).build().unwrap()
}

fn builder() -> BreakerBuilder {
    Breaker::builder(NAME)
}

fn stored(store: &impl StateStore) -> Snapshot {
    let bytes = store.load(&format!("circuit_breaker:{NAME}:state")).unwrap().unwrap();
    Snapshot::from_json(&bytes).unwrap()
}

fn fail(breaker: &Breaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().failure();
    }
}

fn is_superseded(breaker: &Breaker) -> bool {
    matches!(breaker.store_health(), StoreHealth::Superseded { .. })
}

#[test]
fn what_a_younger_breaker_has_saved_is_not_overwritten() {
    let store = MemoryStore::new();
    let older = build_on(&store);
    let younger = build_on(&store);
    fail(&younger, 5);
    younger.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&store).state, State::Open);

    fail(&older, 1);
    assert_eq!(older.flush_blocking(MINUTE), Err(FlushError::Superseded));
    assert_eq!(stored(&store).state, State::Open);
    older.disable();
    drop(older);
    younger.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&store).state, State::Open);
}

#[test]
fn the_drop_of_an_older_breaker_leaves_a_state_set_by_hand() {
    let store = MemoryStore::new();
    let older = build_on(&store);
    let younger = build_on(&store);
    younger.force_open();
    younger.flush_blocking(MINUTE).unwrap();
    drop(older);
    assert_eq!(stored(&store).state, State::ForcedOpen);
    drop(younger);
    assert_eq!(build_on(&store).state(), State::ForcedOpen);
}

#[test]
fn a_younger_breaker_begins_with_everything_that_the_older_one_has() {
    use State::{Closed, Disabled, ForcedOpen, HalfOpen, Open};

    let clock = ManualClock::new();
    let store = MemoryStore::new();
    let build = || {
        builder()
            .trip_on(Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(4))
            .trip_on(Trip::slow_call_rate(0.9, Duration::from_secs(1), Window::time(MINUTE)))
            .backoff(Backoff::new(2.0, MINUTE * 60).jitter(0.5))
            .success_threshold(3)
            .ramp_up(RampUp::new(0.5, MINUTE))
            // Long enough that nothing is saved here without a flush.
            .flush_interval(MINUTE * 60)
            .transition_flush_interval(MINUTE * 60)
            .clock(clock.clone())
            .store(store.clone())
            .build()
            .unwrap()
    };
    let mut breaker = build();
    let mut seen = Vec::new();
    let mut check = |breaker: &mut Breaker| {
        let before = breaker.snapshot();
        let younger = build();
        assert_eq!(younger.snapshot(), before, "after {seen:?}");
        assert_eq!(younger.stats(), breaker.stats());
        assert!(is_superseded(breaker));
        seen.push(before.state);
        *breaker = younger;
    };
    fail(&breaker, 1);
    (0..2).for_each(|_| breaker.try_acquire().unwrap().success());
    clock.advance(Duration::from_secs(7));
    check(&mut breaker);
    fail(&breaker, 1);
    clock.advance(Duration::from_secs(9));
    check(&mut breaker);
    clock.advance(MINUTE);
    breaker.try_acquire().unwrap().success();
    check(&mut breaker);
    breaker.try_acquire().unwrap().failure();
    check(&mut breaker);
    clock.advance(MINUTE * 2);
    (0..3).for_each(|_| breaker.try_acquire().unwrap().success());
    clock.advance(Duration::from_secs(5));
    while breaker.try_acquire().map(Permit::success).is_ok() {}
    check(&mut breaker);
    breaker.force_open_for(MINUTE * 3);
    clock.advance(MINUTE);
    check(&mut breaker);
    breaker.disable();
    check(&mut breaker);
    assert_eq!(seen, [Closed, Open, HalfOpen, Open, Closed, ForcedOpen, Disabled]);
}

#[test]
fn what_was_not_saved_yet_is_saved_by_the_younger_breaker() {
    let store = MemoryStore::new();
    let lazy = || {
        let long = MINUTE * 60;
        builder().flush_interval(long).transition_flush_interval(long).store(store.clone())
    };
    let older = lazy().build().unwrap();
    fail(&older, 5);
    let younger = build_on(&store);
    assert_eq!(younger.state(), State::Open);
    eventually("the state is saved", || {
        store.load("circuit_breaker:shared name:state").unwrap().is_some()
    });
    assert_eq!(stored(&store).state, State::Open);
}

#[test]
fn ownership_returns_with_the_state_of_the_breaker_that_is_gone() {
    let store = MemoryStore::new();
    let oldest = build_on(&store);
    let older = build_on(&store);
    let younger = build_on(&store);
    fail(&younger, 2);
    younger.force_open();
    // A drop waits for that, unless other drops have used up the time of this process.
    drop(younger);
    eventually("the state goes on", || older.state() == State::ForcedOpen);
    assert_eq!(oldest.state(), State::Closed);
    assert_eq!(older.store_health(), StoreHealth::Healthy);
    assert!(is_superseded(&oldest));
    assert_eq!(older.snapshot().failure_count, 2);

    older.reset();
    older.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&store).state, State::Closed);
    older.disable();
    drop(older);
    eventually("the state goes on", || oldest.state() == State::Disabled);
    drop(oldest);
    eventually("it is saved", || stored(&store).state == State::Disabled);
}

#[test]
fn the_newest_transition_decides_whose_state_goes_on() {
    let store = MemoryStore::new();
    let older = build_on(&store);
    let younger = build_on(&store);
    younger.force_open();
    older.disable();
    drop(younger);
    assert_eq!(older.state(), State::Disabled, "it was disabled after the other was forced open");
    older.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&store).state, State::Disabled);

    let younger = build_on(&store);
    older.metrics_only();
    younger.force_open();
    drop(younger);
    eventually("it was forced open after that", || older.state() == State::ForcedOpen);
    older.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&store).state, State::ForcedOpen);
}

#[test]
fn a_transition_that_only_time_has_made_is_no_reason_to_keep_a_state() {
    let clock = ManualClock::new();
    let store = MemoryStore::new();
    let build = || builder().clock(clock.clone()).store(store.clone()).build().unwrap();
    let older = build();
    fail(&older, 5);
    let younger = build();
    clock.advance(MINUTE);
    younger.try_acquire().unwrap().success();
    assert_eq!((older.state(), younger.state()), (State::HalfOpen, State::Closed));
    drop(younger);
    eventually("the state goes on", || older.state() == State::Closed);
}

#[test]
fn results_of_probes_from_before_ownership_returned_change_nothing() {
    let clock = ManualClock::new();
    let store = MemoryStore::new();
    let build = || {
        let builder = builder().success_threshold(2).half_open_max_calls(1).clock(clock.clone());
        builder.store(store.clone()).build().unwrap()
    };
    let older = build();
    fail(&older, 5);
    clock.advance(MINUTE);
    let probe = older.try_acquire().unwrap();
    let younger = build();
    drop(younger);
    let mut other = None;
    eventually("the slot of a probe from before is free", || {
        other = older.try_acquire().ok();
        other.is_some()
    });
    let other = other.unwrap();
    assert_eq!(older.state(), State::HalfOpen);
    probe.failure();
    assert_eq!(older.state(), State::HalfOpen);
    other.success();
    older.try_acquire().unwrap().success();
    assert_eq!(older.state(), State::Closed);
}

#[test]
fn a_live_state_is_better_than_a_store_that_does_not_answer() {
    let store = SickStore::default();
    store.show(Symptom::Hangs);
    let older = build_on(&store);
    fail(&older, 5);
    let younger = build_on(&store);
    assert_eq!(younger.state(), State::Open);
    store.heal();
    eventually("it is saved", || younger.flush_blocking(MINUTE).is_ok());
    assert_eq!(stored(&store).state, State::Open);
    assert_eq!(younger.state(), State::Open);
}

/// The older breaker opened and closed on its own, and the store still holds "forced open".
#[test]
fn a_snapshot_that_is_read_late_does_not_replace_a_newer_state() {
    let store = SickStore::default();
    {
        let before = build_on(&store);
        before.force_open();
    }
    store.show(Symptom::Hangs);
    let older = build_on(&store);
    assert_eq!(older.state(), State::Closed);
    older.reset();
    let younger = build_on(&store);
    assert_eq!(younger.state(), State::Closed);
    store.heal();
    eventually("it is saved", || younger.flush_blocking(MINUTE).is_ok());
    assert_eq!((younger.state(), stored(&store).state), (State::Closed, State::Closed));
}

#[test]
fn a_breaker_begins_with_the_last_words_that_still_wait_for_the_store() {
    let store = SickStore::default();
    // Keeps the writer.
    let other = Breaker::builder("another").store(store.clone()).build().unwrap();
    let breaker = build_on(&store);
    breaker.flush_blocking(MINUTE).unwrap();
    store.show(Symptom::Hangs);
    breaker.force_open();
    drop(breaker);
    let again = build_on(&store);
    assert_eq!(again.state(), State::ForcedOpen);
    again.disable();
    store.heal();
    eventually("it is saved", || again.flush_blocking(MINUTE).is_ok());
    assert_eq!(stored(&store).state, State::Disabled);
    drop(other);
}

/// Otherwise, breakers that are built and dropped during an outage of the store would never let a
/// call pass again.
#[test]
fn an_open_time_goes_on_while_the_last_state_waits_for_the_store() {
    let clock = ManualClock::new();
    let short = Duration::from_millis(700);
    for clock in [None, Some(clock)] {
        let store = SickStore::default();
        let build = |name: &str| {
            let builder = Breaker::builder(name).store(store.clone()).recovery_timeout(short);
            match &clock {
                Some(clock) => builder.clock(clock.clone()).build().unwrap(),
                None => builder.build().unwrap(),
            }
        };
        let other = build("another");
        let breaker = build(NAME);
        breaker.flush_blocking(MINUTE).unwrap();
        store.show(Symptom::Hangs);
        fail(&breaker, 5);
        drop(breaker);
        // A state that is taken over, and left again, is as old as it is.
        drop(build(NAME));
        match &clock {
            Some(clock) => clock.advance(short),
            None => std::thread::sleep(short),
        }
        let again = build(NAME);
        assert!(again.try_acquire().is_ok(), "{:?}", again.state());
        store.heal();
        drop(other);
    }
}

#[test]
fn clones_are_one_breaker_and_other_stores_are_independent() {
    let (store, other_store) = (MemoryStore::new(), MemoryStore::new());
    let breaker = build_on(&store);
    let clone = breaker.clone();
    let elsewhere = build_on(&other_store);
    let in_memory = builder().build().unwrap();
    breaker.force_open();
    drop(breaker);
    assert_eq!(clone.state(), State::ForcedOpen);
    for other in [&elsewhere, &in_memory] {
        assert_eq!(other.state(), State::Closed);
        other.flush_blocking(MINUTE).unwrap();
    }
    clone.flush_blocking(MINUTE).unwrap();
    assert_eq!(stored(&other_store).state, State::Closed);
}
