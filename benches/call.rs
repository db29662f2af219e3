//! The cost that a breaker adds to a call: a bare service and the same service behind a breaker.
//!
//! `cargo bench --bench call`, with `--features metrics` for what metrics add. Each measurement is
//! one complete call: `poll_ready`, `call`, and polling the future to completion, without a
//! runtime. `benches/peers` compares other crates.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use tower::{Layer, Service};
use tower_breaker::{CircuitBreakerLayer, KeyedBreakers, KeyedCircuitBreakerLayer, Trip, Window};

#[derive(Clone)]
struct Bare;

impl Service<u64> for Bare {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(black_box(request)))
    }
}

/// One complete call. It returns the result, so that the compiler cannot remove the call.
#[inline]
fn call<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { unreachable!("always ready") };
    let Poll::Ready(result) = pin!(service.call(black_box(request))).poll(&mut cx) else {
        unreachable!("always complete")
    };
    result
}

fn closed(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed");
    group.bench_function("bare service", |b| {
        let mut service = Bare;
        b.iter(|| call(&mut service, 7));
    });
    let time = Window::time(Duration::from_secs(10));
    let rules = [
        ("consecutive failures", Trip::consecutive_failures(5)),
        ("count window", Trip::failure_rate(0.5, Window::calls(100))),
        ("time window", Trip::failure_rate(0.5, time)),
        ("slow calls", Trip::slow_call_rate(0.5, Duration::from_secs(1), Window::calls(100))),
    ];
    for (name, rule) in rules {
        group.bench_function(name, |b| {
            let layer = CircuitBreakerLayer::builder("bench").trip_on(rule).build().unwrap();
            let mut service = layer.layer(Bare);
            for _ in 0..1000 {
                call(&mut service, 7).unwrap();
            }
            b.iter(|| call(&mut service, 7));
        });
    }
    group.finish();
}

/// What metrics add to a healthy call, with the feature `metrics`.
#[cfg(feature = "metrics")]
fn metrics(c: &mut Criterion) {
    use tower_breaker::{Breaker, config::CallMetrics};

    let mut group = c.benchmark_group("metrics");
    for (name, call_metrics) in [
        ("off", CallMetrics::Off),
        ("calls counted", CallMetrics::Counts),
        ("calls counted and measured", CallMetrics::Durations),
    ] {
        group.bench_function(name, |b| {
            let builder = CircuitBreakerLayer::builder("bench").call_metrics(call_metrics);
            let mut service = builder.build().unwrap().layer(Bare);
            for _ in 0..1000 {
                call(&mut service, 7).unwrap();
            }
            b.iter(|| call(&mut service, 7));
        });
    }
    // More names than a thread has in its table.
    group.bench_function("calls counted, beside those of 1,100 other names", |b| {
        let other = |number| Breaker::builder(format!("other {number}")).build().unwrap();
        let others: Vec<Breaker> = (0..1100).map(other).collect();
        for other in &others {
            other.try_acquire().unwrap().success();
        }
        let mut service = CircuitBreakerLayer::builder("one more").build().unwrap().layer(Bare);
        for _ in 0..1000 {
            call(&mut service, 7).unwrap();
        }
        b.iter(|| call(&mut service, 7));
    });
    group.finish();
}

#[cfg(not(feature = "metrics"))]
fn metrics(_: &mut Criterion) {}

const HOSTS: [&str; 8] = [
    "api.example.com",
    "payments.internal:8443",
    "search.internal",
    "10.0.0.17:8080",
    "10.0.0.18:8080",
    "images.example.com",
    "mail.example.com",
    "a-rather-long-name-of-a-host.eu-west-1.example.com",
];

/// What finding the breaker of a key adds to the layer of a single breaker.
fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed");
    group.bench_function("a single breaker, for comparison", |b| {
        let mut service = CircuitBreakerLayer::builder("bench").build().unwrap().layer(Bare);
        let mut request = 0;
        b.iter(|| {
            request += 1;
            call(&mut service, request)
        });
    });
    for (name, has_breakers, ratio) in [
        ("healthy keys, which have no breaker", false, None),
        ("keys with a breaker", true, None),
        ("keys with a breaker, and max_open_ratio", true, Some(0.5)),
    ] {
        group.bench_function(name, |b| {
            let mut builder = KeyedBreakers::builder("bench");
            if let Some(ratio) = ratio {
                builder = builder.max_open_ratio(ratio);
            }
            let keys = builder.build().unwrap();
            if has_breakers {
                for key in HOSTS {
                    drop(keys.get_or_create(key));
                }
            }
            let layer = KeyedCircuitBreakerLayer::by_key(keys, |request: &u64| {
                let index = usize::try_from(*request % 8).unwrap_or_default();
                Some(HOSTS[index].into())
            });
            let mut service = layer.layer(Bare);
            let mut request = 0;
            b.iter(|| {
                request += 1;
                call(&mut service, request)
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.bench_function("rejected as an error", |b| {
        let layer = CircuitBreakerLayer::builder("bench")
            .recovery_timeout(Duration::from_secs(24 * 3600))
            .build()
            .unwrap();
        for _ in 0..5 {
            layer.breaker().try_acquire().unwrap().failure();
        }
        let mut service = layer.layer(Bare);
        assert!(call(&mut service, 7).is_err());
        b.iter(|| call(&mut service, 7));
    });
    group.finish();
}

criterion_group!(benches, closed, metrics, keyed, open);
criterion_main!(benches);
