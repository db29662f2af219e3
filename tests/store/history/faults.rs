//! Histories on stores that fail, hang, or are too slow.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, State, StateStore,
    history::{HistoryError, HistoryQuery},
    store::StoreHealth,
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

use super::{breaker, history, states, trip};

/// The most transitions that wait for a store.
const WAITING: usize = 16;

async fn refusal(breaker: &Breaker) -> String {
    match breaker.history(HistoryQuery::default()).await {
        Err(error @ HistoryError::Unavailable { .. }) => error.to_string(),
        other => panic!("not an error: {other:?}"),
    }
}

fn is_degraded(breaker: &Breaker) -> bool {
    matches!(breaker.store_health(), StoreHealth::Degraded { .. })
}

#[tokio::test]
async fn transitions_that_a_store_did_not_take_are_stored_when_it_heals() {
    let store = SickStore::default();
    let breaker = breaker("healing", store.clone());
    store.show(Symptom::Fails);
    trip(&breaker);
    breaker.flush().await.unwrap_err();
    assert!(refusal(&breaker).await.contains("the store is sick"));
    breaker.reset();
    breaker.flush().await.unwrap_err();
    store.heal();
    assert_eq!(states(&history(&breaker).await), [State::Closed, State::Open]);
}

#[tokio::test]
async fn a_transition_that_is_written_repeatedly_is_stored_once() {
    let store = SickStore::default();
    let breaker = breaker("often", store.clone());
    breaker.reset();
    breaker.flush().await.unwrap();
    store.show(Symptom::FailsForHistories);
    for _ in 0..3 {
        breaker.reset();
        breaker.flush().await.unwrap_err();
    }
    store.heal();
    assert_eq!(history(&breaker).await.len(), 4);
}

#[tokio::test]
async fn a_store_that_fails_only_for_histories_keeps_the_state_and_is_degraded() {
    let store = SickStore::default();
    let breaker = breaker("past", store.clone());
    store.show(Symptom::FailsForHistories);
    breaker.force_open();
    let error = breaker.flush().await.unwrap_err().to_string();
    assert!(error.contains("the histories are sick"), "{error}");
    assert!(is_degraded(&breaker));
    let state = store.inner.load("circuit_breaker:past:state").unwrap().unwrap();
    assert!(String::from_utf8(state).unwrap().contains("forced_open"));
    store.heal();
    eventually("it heals", || !is_degraded(&breaker));
}

#[tokio::test]
async fn transitions_faster_than_the_store_are_counted_as_missed() {
    let store = SickStore::default();
    let breaker = breaker("missed", store.clone());
    breaker.reset();
    breaker.flush().await.unwrap();
    store.show(Symptom::Fails);
    for _ in 0..50 {
        breaker.force_open();
        breaker.reset();
        // Some are tried in between, and remain pending.
        breaker.flush().await.unwrap_err();
    }
    store.heal();
    let entries = history(&breaker).await;
    assert_eq!(entries.len(), WAITING + 1);
    let missed: Vec<u64> = entries.iter().map(|entry| entry.missed).collect();
    let mut expected = [0; WAITING + 1];
    expected[WAITING - 1] = 100 - WAITING as u64;
    assert_eq!(missed, expected, "the oldest after the gap says how many are missing before it");
}

#[tokio::test]
async fn a_query_to_a_hanging_store_fails_soon_and_missed_transitions_are_counted() {
    let store = SickStore::default();
    let breaker = breaker("hanging", store.clone());
    breaker.reset();
    assert_eq!(history(&breaker).await.len(), 1);
    store.show(Symptom::Hangs);
    let began = Instant::now();
    assert!(refusal(&breaker).await.contains("does not answer"));
    assert!(refusal(&breaker).await.contains("does not answer"));
    assert!(began.elapsed() < Duration::from_secs(30));
    for _ in 0..500 {
        breaker.force_open();
        breaker.reset();
    }
    assert!(refusal(&breaker).await.contains("does not answer"));
    store.heal();
    eventually("it heals", || !is_degraded(&breaker));
    let entries = history(&breaker).await;
    let missed: u64 = entries.iter().map(|entry| entry.missed).sum();
    assert_eq!(
        entries.len() as u64 + missed,
        1001,
        "each transition is stored or counted as missed"
    );
    // Those being written when the store began to hang, and those pending.
    assert!(entries.len() <= 2 * WAITING + 1, "{}", entries.len());
}

#[test]
fn an_abandoned_query_has_no_effect() {
    let store = SickStore::default();
    let breaker = breaker("impatient", store.clone());
    store.show(Symptom::Hangs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let reading = breaker.history(HistoryQuery::default());
        tokio::time::timeout(Duration::from_millis(20), reading).await.unwrap_err();
    });
    store.heal();
    breaker.force_open();
    assert_eq!(runtime.block_on(history(&breaker)).len(), 1);
}

#[tokio::test]
async fn a_closed_breaker_does_not_ask_to_try_again() {
    let breaker = breaker("closed", SickStore::default());
    breaker.close().await.unwrap();
    assert_eq!(refusal(&breaker).await, "history not available: the circuit breaker was closed");
}

#[tokio::test]
async fn concurrent_queries_each_get_their_own_history() {
    let store = SickStore::default();
    let breakers: Vec<_> = (0..10).map(|n| breaker(&n.to_string(), store.clone())).collect();
    for (count, breaker) in breakers.iter().enumerate() {
        (0..=count).for_each(|_| breaker.reset());
    }
    let readers: Vec<_> = (0..50)
        .map(|n| {
            let breaker = breakers[n % 10].clone();
            tokio::spawn(async move { history(&breaker).await.len() })
        })
        .collect();
    for (n, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.await.unwrap(), n % 10 + 1);
    }
}
