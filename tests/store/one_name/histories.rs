//! One name has one history, which its owner writes.

use tower_breaker::{MemoryStore, State, history::HistoryQuery};

use super::build_on;
use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::{MINUTE, eventually},
};

#[test]
fn only_the_owner_writes_history() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new();
    let older = build_on(&store);
    older.force_open();
    let younger = build_on(&store);
    older.disable();
    younger.metrics_only();
    drop(younger);
    older.reset();
    let page = runtime.block_on(older.history(HistoryQuery::newest(10))).unwrap();
    let states: Vec<_> = page.entries.iter().rev().map(|entry| entry.transition.to).collect();
    assert_eq!(states, [State::ForcedOpen, State::MetricsOnly, State::Closed]);
}

#[test]
fn transitions_that_could_not_be_written_are_written_by_the_younger_breaker() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = SickStore::default();
    let older = build_on(&store);
    store.show(Symptom::FailsForHistories);
    older.force_open();
    assert!(older.flush_blocking(MINUTE).is_err());
    let younger = build_on(&store);
    store.heal();
    eventually("they are written", || younger.flush_blocking(MINUTE).is_ok());
    let page = runtime.block_on(younger.history(HistoryQuery::newest(10))).unwrap();
    let states: Vec<_> = page.entries.iter().map(|entry| entry.transition.to).collect();
    assert_eq!(states, [State::ForcedOpen]);
}

#[test]
fn an_older_breaker_reads_the_history_of_the_name() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new();
    let older = build_on(&store);
    let younger = build_on(&store);
    younger.force_open();
    let page = runtime.block_on(older.history(HistoryQuery::newest(10))).unwrap();
    assert_eq!(page.entries.len(), 1);
}
