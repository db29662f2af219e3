//! Metrics of circuits that stay closed are published once the timer thread can be started, and in
//! forked processes, which have inherited none.

use std::{io::stdin, thread};

use tower_breaker::Breaker;

use super::{
    TIMER,
    recorder::Recorded,
    scenes::{NEED, say_of_forked, start_forking, start_limited},
    support::{
        child::{RoleResult, argument, say},
        limits::{can_start_threads, limit_threads},
        wait::{eventually, holds_in_time},
    },
    threads,
};

pub(crate) const LIMITED: &str = "metrics without threads";
pub(crate) const FORKING: &str = "metrics of a process that forks";

const SUCCESSES: &str = "circuit_breaker_calls_total{name=\"healthy\",outcome=\"success\"}";

/// The role: makes calls that succeed, first without any thread.
pub(crate) fn live_without_threads() -> RoleResult {
    let mut lines = stdin().lines();
    let recorded = Recorded::install();
    limit_threads(1)?;
    let can_start = can_start_threads();
    let breaker = Breaker::builder("healthy").build()?;
    (0..100).for_each(|_| breaker.try_acquire().unwrap().success());
    say(&format!("{can_start} {} {:?}", threads(TIMER), recorded.of(SUCCESSES)));
    lines.next();
    limit_threads(1000)?;
    let mut calls = 100.0;
    let is_published = holds_in_time(|| {
        breaker.try_acquire().unwrap().success();
        calls += 1.0;
        threads(TIMER) > 0
    }) && holds_in_time(|| recorded.of(SUCCESSES) == Some(calls));
    say(&format!("{is_published}"));
    Ok(())
}

#[test]
fn metrics_are_published_once_the_thread_can_be_started_although_no_call_fails() {
    let around = tempfile::tempdir().unwrap();
    let Some(mut process) = start_limited(LIMITED, around.path()) else { return };
    assert_eq!(process.line().as_deref(), Some("false 0 None"));
    assert_eq!(process.ask(), "true");
}

/// The role: forks after healthy calls, and says what the child publishes.
pub(crate) fn fork() -> RoleResult {
    let recorded = Recorded::install();
    let breaker = Breaker::builder("healthy").build()?;
    breaker.try_acquire()?.success();
    eventually("it is published", || recorded.of(SUCCESSES) == Some(1.0));
    say_of_forked(|inherited| {
        let needs_thread = argument(NEED) == "thread";
        breaker.try_acquire().unwrap().success();
        if needs_thread {
            // A worker of the child.
            let worker = breaker.clone();
            thread::spawn(move || worker.try_acquire().unwrap().success()).join().unwrap();
        } else {
            let _ = breaker.metrics();
        }
        let calls = if needs_thread { 3.0 } else { 2.0 };
        let is_published = holds_in_time(|| recorded.of(SUCCESSES) == Some(calls));
        format!("{inherited} {is_published}")
    })
}

#[needs::programs("cc")]
#[test]
fn a_forked_process_publishes_although_no_call_fails() {
    for need in ["thread", "metrics"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut process) = start_forking(FORKING, folder.path(), need) else { return };
        assert_eq!(process.line().as_deref(), Some("0 true"), "{need}");
    }
}
