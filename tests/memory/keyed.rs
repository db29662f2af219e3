//! The memory of breakers by key.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, Config, Error, KeyedBreakers, KeyedCircuitBreakerLayer, State, Trip, Window,
    registry::KeyedBreakersBuilder,
};

use super::alone;

type Outcome = Result<(), Infallible>;

fn by_number(groups: &KeyedBreakers) -> impl Fn(u64) -> Result<(), Error<Infallible>> {
    let layer =
        KeyedCircuitBreakerLayer::by_key(groups.clone(), |key: &String| Some(key.as_str().into()));
    let service = layer.layer(service_fn(async |_: String| Outcome::Ok(())));
    move |number| {
        let mut service = service.clone();
        tokio_test::block_on(async move {
            service.ready().await?.call(format!("{number}.example")).await
        })
    }
}

#[test]
fn healthy_keys_take_no_memory() {
    let _alone = alone();
    let keys = KeyedBreakers::builder("keys").build().unwrap();
    let call = by_number(&keys);
    call(0).unwrap();
    let info = allocation_counter::measure(|| {
        // Each call allocates its key, and frees it.
        (0..50_000).for_each(|key| call(key).unwrap());
    });
    assert!(keys.is_empty());
    assert!(info.bytes_current < 100, "{info:?}");
}

#[test]
fn a_hundred_thousand_open_breakers_take_at_most_a_thousand_bytes_each() {
    const KEYS: usize = 100_000;
    let _alone = alone();
    for ratio in [None, Some(1.0)] {
        let builder = KeyedBreakers::builder("keys").max_breakers(KEYS);
        let builder = ratio.into_iter().fold(builder, KeyedBreakersBuilder::max_open_ratio);
        let keys = builder.build().unwrap();
        let info = measure(|| open(&keys, KEYS));
        // The number of keys that `max_open_ratio` goes by is estimated.
        let is_open = |breaker: &Breaker| breaker.state() == State::Open;
        let open = keys.breakers().into_iter().filter(is_open).count();
        assert!(open >= if ratio.is_none() { KEYS } else { KEYS / 10 * 9 }, "{open}");
        let each = info.bytes_current / i64::try_from(KEYS).unwrap();
        println!("{ratio:?}: {each} bytes");
        assert!(each <= 1000, "{ratio:?}: {each} bytes");
    }
}

/// Opens the circuits of this many keys.
pub(crate) fn open(keys: &KeyedBreakers, count: usize) {
    for key in 0..count {
        let breaker = keys.get_or_create(&format!("{key}.example.com")).unwrap();
        (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    }
}

/// Ten thousand invented keys for each breaker of the group.
#[test]
fn invented_keys_that_fail_take_no_more_memory_than_the_group_may_have() {
    let _alone = alone();
    let keys = KeyedBreakers::builder("keys").max_breakers(10).build().unwrap();
    let fail = |key: usize| {
        if let Some(breaker) = keys.get_or_create(&format!("{key}.example.com")) {
            breaker.try_acquire().unwrap().failure();
        }
    };
    (0..10_000).for_each(fail);
    let info = allocation_counter::measure(|| (10_000..100_000).for_each(fail));
    assert!(keys.len() <= 10);
    assert!(info.bytes_current < 100_000, "{info:?}");
}

/// A service that is down for some keys.
#[derive(Clone)]
struct Upstream;

impl Service<(&'static str, bool)> for Upstream {
    type Response = ();
    type Error = bool;
    type Future = Ready<Result<(), bool>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), bool>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (_, fails): (&'static str, bool)) -> Self::Future {
        ready(if fails { Err(true) } else { Ok(()) })
    }
}

pub(crate) fn call<R, S: Service<R>>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the service answers at once"),
    }
}

/// Keys that need no breaker to be kept without an allocation, and longer ones.
fn keys() -> (Vec<&'static str>, Vec<&'static str>) {
    let of_length = |length| &*Box::leak("x".repeat(length).into_boxed_str());
    let short = ["a.example", "10.0.0.17:8080", "a-rather-long-name.eu-west.example.com"];
    let short: Vec<_> = short.into_iter().chain([64, 100, 126].map(of_length)).collect();
    let escaped = &*Box::leak("ab:%".repeat(50).into_boxed_str());
    (short, [200, 500].map(of_length).into_iter().chain([escaped]).collect())
}

/// With a breaker for each key or none, and with the keys counted or not.
#[test]
fn a_call_with_a_known_key_allocates_nothing() {
    let _alone = alone();
    let (short, long) = keys();
    let window = Trip::failure_rate(0.5, Window::calls(100));
    let time = Trip::failure_rate(0.5, Window::time(Duration::from_secs(10)));
    for (rule, ratio) in [
        (Trip::consecutive_failures(5), None),
        (Trip::consecutive_failures(5), Some(0.5)),
        (window, None),
        (window, Some(0.5)),
        (time, Some(0.5)),
    ] {
        let mut config = Config::default();
        config.trip_on = vec![rule];
        let mut builder = KeyedBreakers::builder("keys").config(config);
        if let Some(ratio) = ratio {
            builder = builder.max_open_ratio(ratio);
        }
        let keys = builder.build().unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &(&str, bool)| {
            Some(request.0.into())
        });
        let mut service = layer.layer(Upstream);
        let mut call_each = |keys: &[&'static str], times| {
            for key in keys.iter().cycle().take(times) {
                call(&mut service, (*key, false)).unwrap();
            }
        };
        call_each(&short, 600);
        let counted = measure(|| call_each(&short, 3000));
        // A key is noted again every five seconds, in memory that is there.
        assert_eq!(counted.count_total, 0, "{rule:?} {ratio:?}");

        for key in short.iter().chain(&long) {
            drop(keys.get_or_create(key));
        }
        let all = [&short[..], &long].concat();
        call_each(&all, 900);
        let counted = measure(|| call_each(&all, 3000));
        assert_eq!(counted.count_total, 0, "{rule:?} {ratio:?}");
    }
}
