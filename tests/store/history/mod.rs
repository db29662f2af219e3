//! The history of a breaker: every transition, as durable as the state, readable without blocking,
//! and bounded.

mod faults;
mod pages;
mod requests;
mod what;

use tower_breaker::{
    Breaker, State, StateStore, Trip,
    history::{HistoryEntry, HistoryQuery},
};

/// A breaker that opens at the first failure.
fn breaker(name: &str, store: impl StateStore) -> Breaker {
    Breaker::builder(name).trip_on(Trip::consecutive_failures(1)).store(store).build().unwrap()
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
}

/// The whole history, the newest entry first.
async fn history(breaker: &Breaker) -> Vec<HistoryEntry> {
    breaker.history(HistoryQuery::newest(1000)).await.unwrap().entries
}

fn states(history: &[HistoryEntry]) -> Vec<State> {
    history.iter().map(|entry| entry.transition.to).collect()
}
