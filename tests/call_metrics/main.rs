//! The metrics of breakers: every call is counted once, whatever becomes of it.
//!
//! A binary of its own: a process has one recorder, and counters of threads that all tests share.

#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../support/mod.rs"]
mod support;

mod counted_once;
mod facade;
mod keyed;
mod threads;

use tower_breaker::{
    Breaker,
    metrics::{BreakerMetrics, CallCounts},
};

fn metrics(breaker: &Breaker) -> BreakerMetrics {
    breaker.metrics().expect("calls are counted by default")
}

/// The numbers of successes, failures, throttled, ignored, cancelled and rejected calls.
fn ends(calls: CallCounts) -> [u64; 6] {
    let CallCounts { success, failure, throttled, ignored, cancelled, rejected, .. } = calls;
    [success, failure, throttled, ignored, cancelled, rejected]
}

fn counted(breaker: &Breaker) -> [u64; 6] {
    ends(metrics(breaker).calls)
}
