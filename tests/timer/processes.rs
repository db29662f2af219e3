//! Processes in which no timer thread can be started, and forked ones, which have inherited none.

use std::{
    io::stdin,
    time::{Duration, Instant},
};

use tokio::runtime;
use tower_breaker::{State, event::Reason};

use super::{
    OPEN_TIME, TIMER, quick,
    scenes::{say_of_forked, start_forking, start_limited},
    support::{
        child::{RoleResult, say},
        limits::{can_start_threads, limit_threads},
    },
    threads,
    transitions::{heard, next, unmetered},
    trip,
    waiting::block_on,
};

pub(crate) const LIMITED: &str = "process without threads";
pub(crate) const FORKING: &str = "process that forks";

/// The role: breakers are built, trip and are waited for, first without any thread.
pub(crate) fn live_without_threads() -> RoleResult {
    let mut lines = stdin().lines();
    limit_threads(1)?;
    let can_start = can_start_threads();
    let (idle, idle_transitions) = heard(unmetered("idle"));
    let (used, used_transitions) = heard(quick("used"));
    trip(&idle);
    next(&idle_transitions);
    let runtime = runtime::Builder::new_current_thread().build()?;
    for has_runtime in [false, true] {
        trip(&used);
        let began = Instant::now();
        let acquire = used.acquire();
        let permit = if has_runtime { runtime.block_on(acquire) } else { block_on(acquire) };
        assert!(began.elapsed() >= OPEN_TIME);
        permit.success();
        let seen: Vec<_> = (0..3).map(|_| next(&used_transitions).to).collect();
        assert_eq!(seen, [State::Open, State::HalfOpen, State::Closed]);
    }
    used.force_open_for(OPEN_TIME);
    block_on(used.acquire()).success();
    assert_eq!(next(&used_transitions).to, State::ForcedOpen);
    assert_eq!(next(&used_transitions).reason, Reason::ManualExpired);
    let reported = idle_transitions.try_recv().is_ok();
    say(&format!("{can_start} {reported} {}", threads(TIMER)));
    lines.next();
    limit_threads(1000)?;
    // The next need starts the thread, which does what was due in the meantime.
    trip(&used);
    let late = next(&idle_transitions);
    assert_eq!((late.to, late.reason), (State::HalfOpen, Reason::RecoveryTimeout));
    for expected in [State::Open, State::HalfOpen] {
        assert_eq!(next(&used_transitions).to, expected, "without a call");
    }
    say(&format!("{}", threads(TIMER) > 0));
    Ok(())
}

#[test]
fn without_a_timer_thread_callers_still_get_through_and_events_come_once_it_can_be_started() {
    let around = tempfile::tempdir().unwrap();
    let Some(mut process) = start_limited(LIMITED, around.path()) else { return };
    assert_eq!(process.line().as_deref(), Some("false false 0"));
    assert_eq!(process.ask(), "true");
}

/// The role: forks while one circuit is open, and says what the child sees.
pub(crate) fn fork() -> RoleResult {
    /// It ends in the child, even if that is slow to come.
    const LONG: Duration = Duration::from_secs(4);
    let (breaker, transitions) = heard(quick("used"));
    let counted_before = breaker.metrics();
    trip(&breaker);
    block_on(breaker.acquire()).success();
    (0..3).for_each(|_| drop(next(&transitions)));
    let (idle, idle_transitions) = heard(unmetered("idle").recovery_timeout(LONG));
    trip(&idle);
    next(&idle_transitions);
    say_of_forked(|inherited| {
        // What the parent has recorded is in this process too, and goes on from there.
        trip(&breaker);
        block_on(breaker.acquire()).success();
        (0..3).for_each(|_| drop(next(&transitions)));
        breaker.force_open_for(OPEN_TIME);
        next(&transitions);
        let manual = next(&transitions).reason;
        // Without a use of that breaker.
        let late = next(&idle_transitions).to;
        let (later, later_transitions) = heard(quick("later"));
        trip(&later);
        next(&later_transitions);
        let half_open = next(&later_transitions).to;
        let calls = breaker.metrics().map(|metrics| metrics.calls.success + metrics.calls.failure);
        format!("{inherited} {manual:?} {late} {half_open} {} {calls:?}", threads(TIMER) > 0)
    })?;
    assert_eq!(next(&idle_transitions).to, State::HalfOpen, "in the parent too");
    assert!(counted_before.is_some() && transitions.try_recv().is_err());
    let calls = breaker.metrics().map(|metrics| metrics.calls.success + metrics.calls.failure);
    say(&format!("{calls:?}"));
    Ok(())
}

#[needs::programs("cc")]
#[test]
fn a_forked_process_has_a_timer_thread_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut process) = start_forking(FORKING, folder.path(), "") else { return };
    let said = process.line();
    assert_eq!(said.as_deref(), Some("0 ManualExpired half_open half_open true Some(4)"));
    assert_eq!(process.line().as_deref(), Some("Some(2)"));
}
