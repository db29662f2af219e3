//! Many threads on one breaker, without a runtime.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_breaker::{Breaker, Config, Outcome, State, Trip, Window, clock::ManualClock};

use super::call_metrics;

const THREADS: u32 = 8;

fn on_threads(work: impl Fn(u32) + Sync) {
    let barrier = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn at_the_recovery_moment_no_more_probes_are_admitted_than_allowed() {
    for (allowed, round) in
        [1, 3].into_iter().flat_map(|allowed| (0..200).map(move |r| (allowed, r)))
    {
        let clock = ManualClock::new();
        let breaker = Breaker::builder("probes")
            .call_metrics(call_metrics())
            .trip_on(Trip::consecutive_failures(1))
            .success_threshold(THREADS)
            .half_open_max_calls(allowed)
            .clock(clock.clone())
            .build()
            .unwrap();
        breaker.try_acquire().unwrap().failure();
        clock.advance(Duration::from_secs(60));
        let permits = std::sync::Mutex::new(Vec::new());
        on_threads(|_| {
            if let Ok(permit) = breaker.try_acquire() {
                permits.lock().unwrap().push(permit);
            }
        });
        let admitted = permits.into_inner().unwrap();
        assert_eq!(admitted.len(), allowed as usize, "round {round}");
        drop(admitted);
        // Every slot is released.
        let again: Vec<_> = (0..THREADS).filter_map(|_| breaker.try_acquire().ok()).collect();
        assert_eq!(again.len(), allowed as usize);
    }
}

#[test]
fn no_record_is_lost_under_contention() {
    const CALLS: u32 = 20_000;
    let breaker = Breaker::builder("contended")
        .call_metrics(call_metrics())
        .trip_on(Trip::failure_rate(1.0, Window::calls(1_000_000)))
        .trip_on(Trip::failure_rate(1.0, Window::time(Duration::from_secs(3600))))
        .build()
        .unwrap();
    breaker.metrics_only();
    on_threads(|thread| {
        for call in 0..CALLS {
            let permit = breaker.try_acquire().unwrap();
            if (call + thread).is_multiple_of(4) {
                permit.failure();
            } else {
                permit.success();
            }
        }
    });
    let stats = breaker.stats();
    assert_eq!(stats.window_calls(), u64::from(THREADS * CALLS));
    assert_eq!(stats.window_failures(), u64::from(THREADS * CALLS / 4));
    for window in breaker.snapshot().windows {
        assert_eq!(window.calls, u64::from(THREADS * CALLS));
    }
}

#[test]
fn every_success_in_a_time_window_is_counted() {
    const CALLS: u32 = 50_000;
    let rule = Trip::failure_rate(0.5, Window::time(Duration::from_secs(3600)));
    let breaker =
        Breaker::builder("tally").call_metrics(call_metrics()).trip_on(rule).build().unwrap();
    on_threads(|_| {
        for _ in 0..CALLS {
            breaker.try_acquire().unwrap().success();
        }
    });
    assert_eq!(breaker.stats().window_calls(), u64::from(THREADS * CALLS));
}

#[test]
fn failures_from_many_threads_trip_the_circuit_once() {
    for _ in 0..100 {
        let steps = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = steps.clone();
        let breaker = Breaker::builder("once")
            .call_metrics(call_metrics())
            .trip_on(Trip::consecutive_failures(THREADS))
            .on_event(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        let permits: Vec<_> = (0..THREADS * 2).map(|_| breaker.try_acquire().unwrap()).collect();
        let permits = std::sync::Mutex::new(permits);
        on_threads(|_| {
            for _ in 0..2 {
                let permit = permits.lock().unwrap().pop().unwrap();
                permit.failure();
            }
        });
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(steps.load(Ordering::SeqCst), 1);
    }
}

/// Whatever the threads do to the circuit, every call ends once, and no slot is missing at the end.
#[test]
fn every_call_ends_once_while_the_circuit_flaps() {
    let mut config = Config::default();
    config.trip_on = vec![Trip::consecutive_failures(3)];
    config.recovery_timeout = Duration::from_micros(50);
    config.half_open_max_calls = Some(2);
    config.success_threshold = 2;
    let breaker =
        Breaker::builder("flaps").config(config).call_metrics(call_metrics()).build().unwrap();
    let (admitted, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_threads(|thread| {
        for call in 0..5_000 {
            let Ok(permit) = breaker.try_acquire() else { continue };
            admitted.fetch_add(1, Ordering::SeqCst);
            match (call * 7 + thread) % 5 {
                0 => drop(permit),
                1 => permit.finish(Outcome::Ignore),
                2 | 3 => permit.failure(),
                _ => permit.success(),
            }
            ended.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert_eq!(admitted.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
    if breaker.state() == State::Open {
        std::thread::sleep(Duration::from_millis(1));
    }
    if breaker.state() == State::HalfOpen {
        let slots: Vec<_> = (0..10).filter_map(|_| breaker.try_acquire().ok()).collect();
        assert_eq!(slots.len(), 2);
    }
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
}
