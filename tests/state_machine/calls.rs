//! Calls without a tower service: permits, futures, closures, panics and dropped permits.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    thread,
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_breaker::{
    Breaker, BreakerBuilder, Config, Error, MemoryStore, Outcome, Permit, State, Trip, Window,
    clock::ManualClock,
};

const LATE: Duration = Duration::from_secs(10);

/// A breaker that counts every failure and every slow call, and opens at none.
fn counting(clock: &ManualClock) -> BreakerBuilder {
    Breaker::builder("calls")
        .clock(clock.clone())
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
        .trip_on(
            Trip::slow_call_rate(1.0, Duration::from_secs(5), Window::calls(1000))
                .minimum_calls(1000),
        )
}

/// A half-open breaker with room for this many probes.
fn half_open(clock: &ManualClock, probes: u32) -> Breaker {
    let builder = counting(clock).trip_on(Trip::consecutive_failures(1));
    let breaker = builder.success_threshold(probes).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker
}

fn failures(breaker: &Breaker) -> (u64, u64) {
    (breaker.stats().window_calls(), breaker.stats().window_failures())
}

/// Panics without a message on standard error.
fn panics() -> ! {
    resume_unwind(Box::new("a call"))
}

#[test]
fn a_thread_that_panics_with_a_hundred_calls_in_flight_changes_nothing() {
    let clock = ManualClock::new();
    let closed = counting(&clock).abandoned_after(LATE / 2).build().unwrap();
    let closed_untimed = Breaker::builder("calls").clock(clock.clone()).build().unwrap();
    let half_open = half_open(&clock, 100);
    for breaker in [closed, closed_untimed, half_open] {
        breaker.try_acquire().unwrap().success();
        let mut before = breaker.snapshot();
        let program = {
            let (breaker, clock) = (breaker.clone(), clock.clone());
            thread::spawn(move || {
                let permits: Vec<Permit> =
                    (0..100).map(|_| breaker.try_acquire().unwrap()).collect();
                clock.advance(LATE);
                if permits.len() == 100 {
                    panic_any("the program, not a call");
                }
            })
        };
        program.join().unwrap_err();
        let after = breaker.snapshot();
        before.saved_at = after.saved_at;
        before.expires_at = after.expires_at;
        // The probes were attempts, as their admission has counted them.
        before.half_open_attempts = after.half_open_attempts;
        assert_eq!(before, after);
        // Nor do their times add up with that of the next cancelled call: only the slots are free.
        let permits: Vec<Permit> = (0..100).map(|_| breaker.try_acquire().unwrap()).collect();
        clock.advance(Duration::from_millis(1));
        permits.into_iter().for_each(Permit::cancel);
        assert_eq!(breaker.state(), before.state);
    }
}

#[test]
fn a_future_that_panics_is_one_failure_and_the_panic_propagates() {
    let breaker = counting(&ManualClock::new()).build().unwrap();
    let mut call =
        task::spawn(breaker.call(poll_fn(|_| -> std::task::Poll<Result<(), ()>> { panics() })));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    assert_eq!(failures(&breaker), (1, 1));
    drop(call);
    assert_eq!(failures(&breaker), (1, 1));
}

#[test]
fn a_closure_that_panics_is_one_failure_and_the_panic_propagates() {
    for breaker in
        [counting(&ManualClock::new()).build().unwrap(), half_open(&ManualClock::new(), 1)]
    {
        let attempts = breaker.stats().consecutive_opens();
        let call = || breaker.call_blocking(|| -> Result<(), ()> { panics() });
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        match attempts {
            0 => assert_eq!(failures(&breaker), (1, 1)),
            _ => assert_eq!(breaker.stats().consecutive_opens(), 2),
        }
    }
}

#[test]
fn a_call_whose_classifier_panics_is_one_failure() {
    let breaker = counting(&ManualClock::new()).abandoned_after(LATE).build().unwrap();
    let classify = |_: &Result<(), Infallible>| -> Outcome { panics() };
    let mut call = task::spawn(breaker.call_with(classify, async { Ok(()) }));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!(failures(&breaker), (1, 1));
}

#[test]
fn a_call_counts_if_it_is_dropped_late_and_not_if_it_is_dropped_early_or_finished() {
    let clock = ManualClock::new();
    let breaker = counting(&clock).abandoned_after(LATE).build().unwrap();
    let mut early = task::spawn(breaker.call(pending::<Result<(), ()>>()));
    let mut slow = task::spawn(breaker.call(pending::<Result<(), ()>>()));
    let mut late = task::spawn(breaker.call(pending::<Result<(), ()>>()));
    let mut done = task::spawn(breaker.call(async { Ok::<_, ()>(()) }));
    assert_pending!(early.poll());
    assert_pending!(slow.poll());
    assert_pending!(late.poll());
    assert_ready!(done.poll()).unwrap();
    assert_eq!(failures(&breaker), (1, 0));
    drop(early);
    clock.advance(LATE);
    drop((slow, done));
    clock.advance(LATE);
    // Only the slow-call rule counts it.
    assert_eq!(failures(&breaker), (1, 0));
    assert_eq!(breaker.snapshot().windows[1].slow_calls, 1);
    drop(late);
    assert_eq!(failures(&breaker), (2, 1));
    assert_eq!(breaker.snapshot().windows[1].slow_calls, 2);
}

#[test]
fn an_early_return_is_a_failure_and_returns_the_error_of_the_closure() {
    let breaker = counting(&ManualClock::new()).build().unwrap();
    let parsed = breaker.call_blocking(|| {
        let number: u32 = "no number".parse()?;
        Ok::<u32, std::num::ParseIntError>(number + 1)
    });
    assert!(matches!(parsed, Err(Error::Inner(_))));
    assert_eq!(failures(&breaker), (1, 1));
    assert_eq!(breaker.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
    assert_eq!(failures(&breaker), (2, 1));
    breaker.force_open();
    let rejected = breaker.call_blocking(|| -> Result<(), ()> { unreachable!("not admitted") });
    assert!(rejected.unwrap_err().rejected().is_some());
}

#[tokio::test]
async fn a_call_after_a_wait_records_its_result() {
    let breaker = counting(&ManualClock::new()).build().unwrap();
    let answer = breaker.acquire().await.call(async { Err::<(), _>("down") }).await;
    assert_eq!(answer, Err("down"));
    assert_eq!(failures(&breaker), (1, 1));
    breaker.acquire().await.call_blocking(|| Ok::<_, ()>(())).unwrap();
    assert_eq!(failures(&breaker), (2, 1));
}

#[tokio::test]
async fn a_classifier_determines_the_outcome_of_a_call() {
    let breaker = counting(&ManualClock::new()).build().unwrap();
    let classify = |result: &Result<u8, u8>| match result {
        Ok(0) => Outcome::failure(),
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignore,
    };
    assert_eq!(breaker.call_with(classify, async { Ok(0) }).await, Ok(0));
    assert_eq!(failures(&breaker), (1, 1));
    assert_eq!(breaker.call_with(classify, async { Ok(1) }).await, Ok(1));
    assert_eq!(breaker.call_with(&classify, async { Err(2) }).await, Err(Error::Inner(2)));
    assert_eq!(failures(&breaker), (2, 1));
}

/// A runtime that ends drops its tasks, which does not unwind.
#[test]
fn calls_that_a_runtime_drops_are_not_saved_by_a_breaker_that_was_closed_before() {
    let (clock, store) = (ManualClock::new(), MemoryStore::new());
    let build = || {
        let builder = Breaker::builder("calls").clock(clock.clone()).store(store.clone());
        builder.abandoned_after(LATE / 2).build().unwrap()
    };
    let breaker = build();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..10 {
            let breaker = breaker.clone();
            tokio::spawn(async move { breaker.call(pending::<Result<(), ()>>()).await });
        }
        tokio::task::yield_now().await;
        clock.advance(LATE);
        breaker.close().await.unwrap();
    });
    drop(runtime);
    assert_eq!(breaker.state(), State::Open);
    drop(breaker);
    assert_eq!(build().state(), State::Closed);
}

/// A larger permit would make each response future larger.
#[test]
fn a_permit_takes_three_words() {
    assert_eq!(size_of::<Permit>(), 3 * size_of::<usize>());
}

#[test]
fn abandoned_after_is_read_from_files_and_validated() {
    let config = Config::from_json(r#"{"abandoned_after": "5s"}"#).unwrap();
    assert_eq!(config.abandoned_after, Some(Duration::from_secs(5)));
    let config = Config::from_json(r#"{"abandoned_after": null}"#).unwrap();
    assert_eq!(config, Config::default());
    let error = Config::from_json(r#"{"abandoned_after": "0s"}"#).unwrap_err().to_string();
    assert!(error.contains("abandoned_after"), "{error}");
}
