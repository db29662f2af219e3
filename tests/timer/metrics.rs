//! Metrics of circuits that stay closed are published once the timer thread can be started, and in
//! forked processes, which have inherited none.

use std::{fs, io::stdin, path::PathBuf, thread};

use tower_breaker::Breaker;

use super::{
    recorder::Recorded,
    support::{
        child::{Role, RoleResult, Unprivileged, argument, say},
        fork,
        limits::{can_start_threads, limit_threads},
        skip,
        wait::{eventually, holds_in_time},
    },
    threads,
};

pub(crate) const LIMITED: &str = "metrics without threads";
pub(crate) const FORKING: &str = "metrics of a process that forks";

const TIMER: &str = "breaker-timer";

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
    let Some(unprivileged) = Unprivileged::prepare(around.path()) else {
        return eprintln!("skipped: limits apply to no process here");
    };
    let mut process = Role::by(unprivileged.command(), LIMITED).start();
    assert_eq!(process.line().as_deref(), Some("false 0 None"));
    assert_eq!(process.ask(), "true");
}

/// The role: forks after healthy calls, and says what the child publishes.
pub(crate) fn fork() -> RoleResult {
    let folder = PathBuf::from(argument("FOLDER"));
    let recorded = Recorded::install();
    let breaker = Breaker::builder("healthy").build()?;
    breaker.try_acquire()?.success();
    eventually("it is published", || recorded.of(SUCCESSES) == Some(1.0));
    eventually("the thread sleeps, and holds no lock", || threads(TIMER) > 0);
    thread::sleep(std::time::Duration::from_millis(300));
    let report = folder.join("child");
    if fork::fork() {
        let inherited = threads(TIMER);
        let needs_thread = argument("NEED") == "thread";
        breaker.try_acquire()?.success();
        if needs_thread {
            // A worker of the child.
            let worker = breaker.clone();
            thread::spawn(move || worker.try_acquire().unwrap().success()).join().unwrap();
        } else {
            let _ = breaker.metrics();
        }
        let calls = if needs_thread { 3.0 } else { 2.0 };
        let is_published = holds_in_time(|| recorded.of(SUCCESSES) == Some(calls));
        fs::write(folder.join("child.part"), format!("{inherited} {is_published}"))?;
        fs::rename(folder.join("child.part"), report)?;
        std::process::exit(0);
    }
    let is_there = holds_in_time(|| report.exists());
    say(&fs::read_to_string(report).unwrap_or_default());
    assert!(is_there, "the child has not reported");
    Ok(())
}

#[test]
fn a_forked_process_publishes_although_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = fork::library(folder.path()) else {
        return skip::missing("there is no C compiler (Debian: apt-get install gcc)");
    };
    for need in ["thread", "metrics"] {
        let work = folder.path().join(need);
        fs::create_dir(&work).unwrap();
        let role = Role::new(FORKING).argument("FOLDER", &work).argument("NEED", need);
        let mut process = role.variable("LD_PRELOAD", &library).start();
        assert_eq!(process.line().as_deref(), Some("0 true"), "{need}");
    }
}
