//! The content of a history.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tower_breaker::{
    Breaker, ManualChange, MemoryStore, SledStore, State, StateStore, Trip, clock::ManualClock,
    event::Reason, history::HistoryEntry, store::HistoryStore,
};

use super::{breaker, history, states, trip};

#[tokio::test]
async fn a_history_has_the_time_reason_and_counts_of_every_transition() {
    let clock = ManualClock::new();
    let start = clock.wall();
    let builder = Breaker::builder("changed").trip_on(Trip::consecutive_failures(2));
    let breaker = builder.clock(clock.clone()).store(MemoryStore::new()).build().unwrap();
    trip(&breaker);
    trip(&breaker);
    clock.advance(Duration::from_secs(90));
    breaker.try_acquire().unwrap().success();
    clock.advance(Duration::from_secs(5));
    breaker.force_open();
    breaker.reset();

    let mut entries = history(&breaker).await;
    entries.reverse();
    let steps: Vec<_> = entries
        .iter()
        .map(|entry| (entry.transition.from, entry.transition.to, entry.transition.reason))
        .collect();
    assert_eq!(
        steps,
        [
            (State::Closed, State::Open, Reason::ConsecutiveFailures),
            (State::Open, State::HalfOpen, Reason::RecoveryTimeout),
            (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
            (State::Closed, State::ForcedOpen, Reason::Manual),
            (State::ForcedOpen, State::Closed, Reason::Reset),
        ]
    );
    let since = |entry: &HistoryEntry| entry.transition.at.duration_since(start).unwrap().as_secs();
    assert_eq!(entries.iter().map(since).collect::<Vec<_>>(), [0, 60, 90, 95, 95]);
    assert_eq!(
        entries.iter().map(|entry| entry.transition.manual).collect::<Vec<_>>(),
        [false, false, false, true, true]
    );
    assert_eq!(
        (entries[0].transition.failure_count, entries[0].transition.open_time),
        (2, Some(Duration::from_secs(60)))
    );
    assert_eq!(
        (entries[1].transition.failure_count, entries[1].transition.open_time, entries[1].missed),
        (0, None, 0)
    );
}

#[tokio::test]
async fn a_history_has_the_note_of_a_change_by_hand_and_who_made_it() {
    let store = MemoryStore::new();
    let breaker = breaker("noted", store.clone());
    breaker.force_open_with(ManualChange::new().by("on-call").note("incident \"4711\"\n"));
    breaker.reset();
    let entries = history(&breaker).await;
    let said =
        |at: usize| (entries[at].transition.by.as_deref(), entries[at].transition.note.as_deref());
    assert_eq!(said(1), (Some("on-call"), Some("incident \"4711\"\n")));
    assert_eq!(said(0), (None, None));

    // So does the state after a restart.
    breaker.force_open_with(ManualChange::new().by("on-call").note("again"));
    breaker.flush().await.unwrap();
    drop(breaker);
    let snapshot = self::breaker("noted", store).snapshot();
    assert_eq!(snapshot.state, State::ForcedOpen);
    assert_eq!(
        (snapshot.by.as_deref(), snapshot.note.as_deref()),
        (Some("on-call"), Some("again"))
    );
}

#[tokio::test]
async fn a_history_continues_after_a_restart_without_an_entry_for_it() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let store = SledStore::open(folder.path()).unwrap();
        crate::support::wait::eventually("the folder is free", || store.load_page(None, 1).is_ok());
        let breaker = breaker("again", store);
        breaker.reset();
        trip(&breaker);
        // A busy disk can take longer than a second.
        let stores = || breaker.flush_blocking(Duration::from_secs(60)).is_ok();
        crate::support::wait::eventually("it is stored", stores);
        let expected = [State::Open, State::Closed].repeat(round);
        assert_eq!(states(&history(&breaker).await), expected, "round {round}");
    }
}

#[tokio::test]
async fn a_flush_makes_the_history_durable() {
    let store = MemoryStore::new();
    let breaker = breaker("flushed", store.clone());
    for count in 1..=10 {
        breaker.force_open();
        breaker.flush().await.unwrap();
        let stored = store.load_newest("circuit_breaker:flushed:history", None, 100).unwrap();
        assert_eq!(stored.len(), 2 * count - 1);
        breaker.reset();
        breaker.flush_blocking(Duration::from_secs(10)).unwrap();
        let stored = store.load_newest("circuit_breaker:flushed:history", None, 100).unwrap();
        assert_eq!(stored.len(), 2 * count);
    }
}

#[test]
fn a_transition_becomes_durable_without_a_flush_also_when_the_breaker_is_dropped() {
    let store = MemoryStore::new();
    let stored = || store.load_newest("circuit_breaker:alone:history", None, 100).unwrap().len();
    let breaker = breaker("alone", store.clone());
    trip(&breaker);
    crate::support::wait::eventually("it is written", || stored() == 1);
    breaker.reset();
    drop(breaker);
    assert_eq!(stored(), 2);
}

#[tokio::test]
async fn a_record_is_json_with_a_version() {
    let store = MemoryStore::new();
    let clock = ManualClock::new();
    let builder = Breaker::builder("json").trip_on(Trip::consecutive_failures(1));
    let breaker = builder.clock(clock.clone()).store(store.clone()).build().unwrap();
    trip(&breaker);
    breaker.force_open();
    breaker.flush().await.unwrap();
    let stored = store.load_newest("circuit_breaker:json:history", None, 100).unwrap();
    let read = |n: usize| serde_json::from_slice::<serde_json::Value>(&stored[n].bytes).unwrap();
    assert_eq!(
        read(1),
        json!({
            "version": 1, "at": 1_700_000_000.0, "from": "closed", "to": "open",
            "reason": "consecutive_failures", "failure_count": 1, "open_time": 60.0,
        })
    );
    assert_eq!(
        read(0),
        json!({
            "version": 1, "at": 1_700_000_000.0, "from": "open", "to": "forced_open",
            "reason": "manual", "manual": true,
        })
    );
    assert_eq!(stored[1].id, 1_700_000_000_000_000_000, "the time of the transition");
    assert_eq!(stored[0].id, 1_700_000_000_000_000_001, "the next id, because the time is taken");
}

#[tokio::test]
async fn a_wall_clock_that_goes_back_does_not_change_the_order() {
    let store = MemoryStore::new();
    let clock = ManualClock::new();
    let build = || Breaker::builder("back").clock(clock.clone()).store(store.clone()).build();
    let breaker = build().unwrap();
    breaker.force_open();
    clock.set_wall(SystemTime::UNIX_EPOCH);
    breaker.disable();
    breaker.flush().await.unwrap();
    drop(breaker);
    let breaker = build().unwrap();
    breaker.reset();
    let entries = history(&breaker).await;
    assert_eq!(states(&entries), [State::Closed, State::Disabled, State::ForcedOpen]);
    assert_eq!(entries[1].transition.at, SystemTime::UNIX_EPOCH);
}

#[tokio::test]
async fn every_name_has_its_own_history() {
    let store = MemoryStore::new();
    let names = ["a", "a:history", "a\0", ":", "A", "../a"];
    let breakers = names.map(|name| breaker(name, store.clone()));
    for (count, breaker) in breakers.iter().enumerate() {
        for _ in 0..=count {
            breaker.reset();
        }
    }
    for (count, breaker) in breakers.iter().enumerate() {
        assert_eq!(history(breaker).await.len(), count + 1, "{:?}", breaker.name());
    }
}

#[tokio::test]
async fn without_a_store_there_is_no_history() {
    let breaker = Breaker::builder("memory").build().unwrap();
    breaker.force_open();
    assert_eq!(history(&breaker).await, []);
}
