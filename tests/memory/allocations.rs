//! What breakers and calls allocate.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use tower::{Layer, Service, service_fn};
use tower_breaker::{
    Breaker, CircuitBreaker, CircuitBreakerLayer, Config, State, Trip, Window, config::CallMetrics,
};

use super::alone;

/// A service whose response is as requested.
struct Echo;

impl Service<bool> for Echo {
    type Response = bool;
    type Error = bool;
    type Future = Ready<Result<bool, bool>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), bool>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fail: bool) -> Self::Future {
        ready(if fail { Err(true) } else { Ok(false) })
    }
}

fn call<S: Service<bool>>(service: &mut S, fail: bool) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(fail)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the service answers at once"),
    }
}

fn service(rules: &[Trip]) -> CircuitBreaker<Echo> {
    let builder = CircuitBreakerLayer::builder("allocations");
    let builder = rules.iter().fold(builder, |builder, rule| builder.trip_on(*rule));
    builder.build().unwrap().layer(Echo)
}

fn rules() -> [Vec<Trip>; 5] {
    let time = Window::time(Duration::from_secs(10));
    [
        vec![Trip::consecutive_failures(5)],
        vec![Trip::failure_rate(0.5, Window::calls(100))],
        vec![Trip::failure_rate(0.5, time)],
        vec![Trip::slow_call_rate(0.5, Duration::from_secs(1), Window::calls(100))],
        vec![Trip::consecutive_failures(5), Trip::failure_rate(0.5, time)],
    ]
}

#[test]
fn the_allocation_counter_works() {
    let _alone = alone();
    let counted = measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn a_closed_circuit_allocates_nothing() {
    let _alone = alone();
    for rules in rules() {
        let mut service = service(&rules);
        for _ in 0..200 {
            call(&mut service, false).unwrap();
        }
        let counted = measure(|| {
            for _ in 0..1000 {
                call(&mut service, false).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{rules:?}");
    }
}

#[test]
fn failures_that_do_not_trip_allocate_nothing() {
    let _alone = alone();
    for rules in rules() {
        let mut service = service(&rules);
        for number in 0..200 {
            let _ = call(&mut service, number % 10 == 0);
        }
        let counted = measure(|| {
            for number in 0..1000 {
                let _ = call(&mut service, number % 10 == 0);
            }
        });
        assert_eq!(counted.count_total, 0, "{rules:?}");
    }
}

#[test]
fn a_rejection_as_an_error_allocates_nothing() {
    let _alone = alone();
    let mut service = service(&[Trip::consecutive_failures(5)]);
    for _ in 0..5 {
        call(&mut service, true).unwrap_err();
    }
    let counted = measure(|| {
        for _ in 0..1000 {
            assert!(call(&mut service, false).unwrap_err().rejected().is_some());
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn layering_allocates_nothing() {
    let _alone = alone();
    let layer = CircuitBreakerLayer::builder("layering").build().unwrap();
    let counted = measure(|| {
        for _ in 0..1000 {
            let _: CircuitBreaker<()> = std::hint::black_box(layer.layer(()));
        }
    });
    assert_eq!(counted.count_total, 0);
}

/// A multiple of the number of cells that are allocated at once: this many breakers always take the
/// same number of allocations, wherever they begin.
const BREAKERS: usize = 10 * 1024;

/// The memory that each of many breakers takes.
fn bytes_each(build: impl Fn() -> Breaker) -> (u64, Vec<Breaker>) {
    // Cells that other tests have returned cost nothing, so they are taken first and kept.
    let hoard: Vec<Breaker> = (0..2 * BREAKERS).map(|_| build()).collect();
    let mut breakers: Vec<Breaker> = Vec::with_capacity(BREAKERS);
    let made = measure(|| breakers.extend((0..BREAKERS).map(|_| build())));
    std::mem::forget(hoard);
    (made.bytes_current.unsigned_abs() / BREAKERS as u64, breakers)
}

/// Everything that a breaker holds except shared settings: cell, window, name and handle.
#[test]
fn a_breaker_with_a_window_of_100_calls_takes_at_most_512_bytes_and_returns_them() {
    let _alone = alone();
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::calls(100))];
    // As a breaker is without the feature `metrics`.
    config.call_metrics = CallMetrics::Off;
    let config = Arc::new(config);
    let build = || Breaker::builder("memory").config(Arc::clone(&config)).build().unwrap();
    let (each, breakers) = bytes_each(build);
    assert!((400..=512).contains(&each), "{each} bytes");

    // Cells are kept for later breakers, which allocate no new ones.
    drop(breakers);
    let again = measure(|| drop((0..BREAKERS / 2).map(|_| build()).collect::<Vec<_>>()));
    assert_eq!(again.bytes_current, 0);
}

/// Many breakers may be restored open at a start, and each has sent an event about it.
#[test]
fn a_breaker_that_is_restored_open_takes_at_most_640_bytes() {
    let _alone = alone();
    let mut config = Config::default();
    config.call_metrics = CallMetrics::Off;
    let config = Arc::new(config);
    let build = || Breaker::builder("restored").config(Arc::clone(&config));
    let open = build().build().unwrap();
    for _ in 0..5 {
        open.try_acquire().unwrap().failure();
    }
    let snapshot = open.snapshot();
    let (each, breakers) = bytes_each(|| build().restore(snapshot.clone()).build().unwrap());
    assert!(breakers.iter().all(|breaker| breaker.state() == State::Open));
    assert!((400..=640).contains(&each), "{each} bytes");
}

/// The counts, and the line of all threads together. It is given back, but for that line. No
/// test of this process reads metrics.
#[cfg(target_os = "linux")]
#[test]
fn the_metrics_of_a_breaker_take_at_most_1_kib_from_its_first_call_on_and_are_given_back() {
    let _alone = alone();
    let configs = [CallMetrics::Off, CallMetrics::Counts].map(|call_metrics| {
        let mut config = Config::default();
        config.call_metrics = call_metrics;
        Arc::new(config)
    });
    let mut number = 0;
    let mut build = |metrics| {
        number += 1;
        let config = &configs[usize::from(metrics == CallMetrics::Counts)];
        let builder = Breaker::builder(format!("metered-{number}"));
        builder.config(Arc::clone(config)).build().unwrap()
    };
    let mut some = |metrics| (0..BREAKERS).map(|_| build(metrics)).collect::<Vec<_>>();
    let call_all = |breakers: &[Breaker]| {
        for breaker in breakers {
            breaker.try_acquire().unwrap().success();
        }
    };
    let hoard = [some(CallMetrics::Off), some(CallMetrics::Counts)];
    let per_breaker = |bytes: i64| bytes / i64::try_from(BREAKERS).unwrap();
    let mut bytes = |metrics| {
        let mut breakers = Vec::new();
        let made = measure(|| breakers = some(metrics));
        (per_breaker(made.bytes_current), breakers)
    };
    let (plain, unmetered) = bytes(CallMetrics::Off);
    let (quiet, breakers) = bytes(CallMetrics::Counts);
    assert_eq!(quiet, plain, "bytes of a breaker without a call");
    let called = per_breaker(measure(|| call_all(&breakers)).bytes_current);
    assert!((100..=1024).contains(&called), "{called} bytes");
    drop((hoard, unmetered, breakers));
    // What all tables take is given back in part, so all memory of the process is measured.
    let mut round = || call_all(&some(CallMetrics::Counts));
    (0..3).for_each(|_| round());
    let before = resident_bytes();
    (0..10).for_each(|_| round());
    let grown = resident_bytes().saturating_sub(before);
    let kept = 10 * BREAKERS as u64 * 300;
    assert!(grown < kept / 2, "{grown} bytes");
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn the_only_error_of_an_infallible_service_is_a_rejection() {
    let _alone = alone();
    let layer = CircuitBreakerLayer::builder("infallible").build().unwrap();
    let mut service = layer.layer(service_fn(|_: bool| ready(Ok::<_, Infallible>(1))));
    assert_eq!(call(&mut service, false).ok(), Some(1));
}

/// A duration has four kilobytes of counters for each way in which a call ends.
#[test]
fn the_memory_of_durations_is_given_back() {
    const BREAKERS: i64 = 1000;
    let _alone = alone();
    let measured = |name: i64| {
        let builder = Breaker::builder(format!("measured {name}"));
        let breaker = builder.call_metrics(CallMetrics::Durations).build().unwrap();
        breaker.try_acquire().unwrap().success();
        breaker
    };
    // What threads and names share.
    drop((0..BREAKERS).map(measured).collect::<Vec<_>>());
    let mut in_use = 0;
    let left = measure(|| {
        let mut breakers = Vec::new();
        in_use = measure(|| breakers.extend((0..BREAKERS).map(measured))).bytes_current;
    });
    assert!(in_use > BREAKERS * 4096, "{in_use} bytes");
    assert!(left.bytes_current < BREAKERS * 500, "{left:?} of {in_use}");
}
