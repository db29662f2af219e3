//! The keyed layer against a plain layer for each key.

use std::{
    collections::HashMap,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tower::{Layer, Service};
use tower_breaker::{
    Breaker, CircuitBreaker, Config, KeyedBreakers, KeyedCircuitBreakerLayer, State, Trip, Window,
    clock::ManualClock,
};

/// A service whose calls end as the request says.
#[derive(Clone)]
struct Inner;

type Call = Pin<Box<dyn Future<Output = Result<(), u8>>>>;

#[derive(Clone)]
struct Request {
    key: u8,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Failure,
    /// Not yet: the future is kept, and ends later, or is dropped.
    Pending,
}

impl Service<Request> for Inner {
    type Response = ();
    type Error = u8;
    type Future = Call;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u8>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Call {
        match request.end {
            End::Success => Box::pin(ready(Ok(()))) as Pin<Box<Ready<_>>>,
            End::Failure => Box::pin(ready(Err(request.key))),
            End::Pending => Box::pin(std::future::pending()),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Call(u8, End),
    /// Drops the oldest call that is pending.
    Drop,
    Advance(u64),
    ForceOpen(u8),
    Reset(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..4_u8;
    let end = prop_oneof![Just(End::Success), Just(End::Failure), Just(End::Failure)];
    prop_oneof![
        20 => (key.clone(), end).prop_map(|(key, end)| Step::Call(key, end)),
        2 => key.clone().prop_map(|key| Step::Call(key, End::Pending)),
        1 => Just(Step::Drop),
        2 => (1..50_u64).prop_map(Step::Advance),
        1 => key.clone().prop_map(Step::ForceOpen),
        1 => key.prop_map(Step::Reset),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Trip>> {
    let window = Trip::failure_rate(0.5, Window::calls(6)).minimum_calls(4);
    let time = Trip::failure_rate(0.5, Window::time(Duration::from_secs(30))).minimum_calls(4);
    prop_oneof![
        Just(vec![Trip::consecutive_failures(3)]),
        Just(vec![Trip::consecutive_failures(1), Trip::consecutive_failures(4)]),
        Just(vec![window]),
        Just(vec![Trip::consecutive_failures(3), time]),
    ]
}

/// What a call met.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Success,
    Failure,
    Rejected(State, Option<Duration>),
    Pending,
}

fn call<S>(service: &mut S, request: Request) -> (Seen, Option<Pin<Box<S::Future>>>)
where
    S: Service<Request, Response = (), Error = tower_breaker::Error<u8>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = Box::pin(service.call(request));
    let seen = match pin!(&mut future).poll(&mut cx) {
        Poll::Ready(Ok(())) => Seen::Success,
        Poll::Ready(Err(error)) => match error.rejected() {
            Some(rejected) => Seen::Rejected(rejected.state(), rejected.retry_after()),
            None => Seen::Failure,
        },
        Poll::Pending => Seen::Pending,
    };
    let is_pending = seen == Seen::Pending;
    (seen, is_pending.then_some(future))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Although a key has no breaker before its first failure, its callers meet what they would
    /// with a layer of their own.
    #[test]
    fn each_key_has_what_a_layer_of_its_own_would_have(
        steps in proptest::collection::vec(step(), 1..150), rules in rules(),
        abandoned in proptest::option::of(5..40_u64),
    ) {
        let clock = ManualClock::new();
        let mut config = Config::default();
        config.trip_on = rules;
        config.recovery_timeout = Duration::from_secs(20);
        config.abandoned_after = abandoned.map(Duration::from_secs);
        let keys = KeyedBreakers::builder("keys").config(config.clone()).clock(clock.clone());
        let keys = keys.build().unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &Request| {
            Some(request.key.to_string().into())
        });
        let mut keyed = layer.layer(Inner);
        let mut plain = HashMap::new();
        let mut pending = Vec::new();
        let new = || {
            let breaker = Breaker::builder("plain").config(config.clone()).clock(clock.clone());
            CircuitBreaker::new(Inner, breaker.build().unwrap())
        };
        for step in steps {
            match step {
                Step::Call(key, end) => {
                    let own = plain.entry(key).or_insert_with(new);
                    let (expected, own) = call(own, Request { key, end });
                    let (seen, future) = call(&mut keyed, Request { key, end });
                    prop_assert_eq!(seen, expected, "key {}", key);
                    pending.extend(own.zip(future));
                }
                Step::Drop if !pending.is_empty() => drop(pending.remove(0)),
                Step::Drop => {}
                Step::Advance(seconds) => clock.advance(Duration::from_secs(seconds)),
                Step::ForceOpen(key) => {
                    plain.entry(key).or_insert_with(new).breaker().force_open();
                    keys.get_or_create(&key.to_string()).unwrap().force_open();
                }
                Step::Reset(key) => {
                    plain.entry(key).or_insert_with(new).breaker().reset();
                    if let Some(breaker) = keys.get(&key.to_string()) {
                        breaker.reset();
                    }
                }
            }
            for (key, own) in &plain {
                let expected = own.breaker().stats();
                let Some(breaker) = keys.get(&key.to_string()) else {
                    prop_assert_eq!(expected.consecutive_failures(), 0);
                    prop_assert_eq!(own.breaker().state(), State::Closed);
                    continue;
                };
                prop_assert_eq!(breaker.state(), own.breaker().state());
                prop_assert_eq!(breaker.stats().consecutive_failures(),
                    expected.consecutive_failures());
                prop_assert_eq!(breaker.stats().window_failures(), expected.window_failures());
            }
        }
    }
}
