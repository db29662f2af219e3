//! The keyed layer: whose breaker a call goes by, and what it leaves there.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    panic::AssertUnwindSafe,
    task::Poll,
    time::Duration,
};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Config, Error, KeyedBreakers, KeyedCircuitBreakerLayer, State, Trip, Window, keyed::ExtractKey,
};

type Request = (&'static str, Call);

#[derive(Clone, Copy)]
enum Call {
    Succeeds,
    Fails,
    Panics,
    PanicsAtOnce,
    Hangs,
}
use Call::{Fails, Hangs, Panics, PanicsAtOnce, Succeeds};

fn by_name() -> impl ExtractKey<Request> + Clone {
    fn key(request: &Request) -> Option<std::borrow::Cow<'_, str>> {
        (!request.0.is_empty()).then(|| request.0.into())
    }
    key
}

fn inner() -> impl Service<
    Request,
    Response = (),
    Error = &'static str,
    Future = impl Future<Output = Result<(), &'static str>>,
> + Clone {
    service_fn(|(_, call): Request| {
        assert!(!matches!(call, PanicsAtOnce), "at once");
        async move {
            match call {
                Succeeds => Ok(()),
                Fails => Err("failed"),
                Panics => panic!("in the future"),
                Hangs => pending().await,
                PanicsAtOnce => unreachable!(),
            }
        }
    })
}

fn group() -> KeyedBreakers {
    KeyedBreakers::builder("keys").build().unwrap()
}

async fn call(
    keys: &KeyedBreakers,
    key: &'static str,
    call: Call,
) -> Result<(), Error<&'static str>> {
    KeyedCircuitBreakerLayer::new(keys.clone(), by_name()).layer(inner()).oneshot((key, call)).await
}

fn failures(keys: &KeyedBreakers, key: &str) -> u32 {
    keys.get(key).map_or(0, |breaker| breaker.stats().consecutive_failures())
}

#[tokio::test]
async fn a_key_that_fails_is_rejected_and_the_others_are_not() {
    let keys = group();
    for _ in 0..5 {
        call(&keys, "bad", Fails).await.unwrap_err();
    }
    let error = call(&keys, "bad", Succeeds).await.unwrap_err();
    assert!(error.to_string().starts_with(r#"circuit breaker "keys:bad" is open"#), "{error}");
    call(&keys, "good", Succeeds).await.unwrap();
}

#[tokio::test]
async fn a_key_has_no_breaker_before_its_first_failure() {
    let keys = group();
    call(&keys, "a", Succeeds).await.unwrap();
    assert!(keys.is_empty());
    call(&keys, "a", Fails).await.unwrap_err();
    assert_eq!(failures(&keys, "a"), 1);
    call(&keys, "a", Succeeds).await.unwrap();
    assert_eq!(failures(&keys, "a"), 0);
}

#[tokio::test]
async fn under_a_rate_rule_a_key_has_a_breaker_from_its_first_call() {
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(4)];
    let keys = KeyedBreakers::builder("keys").config(config).build().unwrap();
    for outcome in [Succeeds, Succeeds, Fails, Fails] {
        let _ = call(&keys, "a", outcome).await;
    }
    assert_eq!(keys.get("a").unwrap().state(), State::Open, "two of four");
    call(&keys, "b", Succeeds).await.unwrap();
    assert_eq!(keys.get("b").unwrap().stats().window_calls(), 1);
}

/// The first failure creates the breaker while other calls of the key are in flight.
#[tokio::test]
async fn calls_that_began_without_a_breaker_count_once_there_is_one() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let mut service = layer.layer(inner());
    let mut pending = Vec::new();
    for outcome in [Fails, Fails, Succeeds, Fails] {
        pending.push(service.ready().await.unwrap().call(("a", outcome)));
    }
    let mut counts = Vec::new();
    for call in pending {
        let _ = call.await;
        counts.push(failures(&keys, "a"));
    }
    assert_eq!(counts, [1, 2, 0, 1]);
}

#[tokio::test]
async fn a_late_result_of_such_a_call_changes_nothing_in_a_circuit_that_has_opened() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let mut service = layer.layer(inner());
    let late = service.ready().await.unwrap().call(("a", Succeeds));
    let failing = service.ready().await.unwrap().call(("a", Fails));
    for _ in 0..5 {
        call(&keys, "a", Fails).await.unwrap_err();
    }
    late.await.unwrap();
    failing.await.unwrap_err();
    assert_eq!(keys.get("a").unwrap().state(), State::Open);
}

#[tokio::test]
async fn a_late_result_changes_nothing_in_a_circuit_that_has_closed_again() {
    let clock = tower_breaker::clock::ManualClock::new();
    let keys = KeyedBreakers::builder("keys").clock(clock.clone()).build().unwrap();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let mut service = layer.layer(inner());
    let mut late = Vec::new();
    for _ in 0..10 {
        late.push(service.ready().await.unwrap().call(("a", Fails)));
    }
    for _ in 0..5 {
        call(&keys, "a", Fails).await.unwrap_err();
    }
    clock.advance(Duration::from_secs(60));
    call(&keys, "a", Succeeds).await.unwrap();
    assert_eq!(keys.get("a").unwrap().state(), State::Closed);
    for call in late {
        call.await.unwrap_err();
    }
    assert_eq!(keys.get("a").unwrap().state(), State::Closed);
    assert_eq!(failures(&keys, "a"), 0);
}

#[tokio::test]
async fn a_panic_of_the_call_or_of_its_future_is_one_failure_and_goes_on() {
    for (first, expected) in [(Panics, "in the future"), (PanicsAtOnce, "at once")] {
        let keys = group();
        for count in 1..=5 {
            let run = AssertUnwindSafe(call(&keys, "a", first));
            let panic = futures_catch(run).await.unwrap_err();
            assert!(panic.contains(expected), "{panic}");
            assert_eq!(failures(&keys, "a"), count);
        }
        assert_eq!(keys.get("a").unwrap().state(), State::Open);
    }
}

#[tokio::test]
async fn a_panic_of_the_classifier_is_one_failure_with_and_without_a_breaker() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name())
        .classify(|_: &Result<(), &str>| -> tower_breaker::Outcome { panic!("in the classifier") });
    for count in 1..=3 {
        let run = AssertUnwindSafe(layer.layer(inner()).oneshot(("a", Succeeds)));
        let panic = futures_catch(run).await.unwrap_err();
        assert!(panic.contains("in the classifier"), "{panic}");
        assert_eq!(failures(&keys, "a"), count);
    }
}

/// Awaits a future, and returns the message of its panic.
async fn futures_catch<F: Future>(future: AssertUnwindSafe<F>) -> Result<F::Output, String> {
    let mut future = Box::pin(future.0);
    poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err((*panic.downcast::<&str>().unwrap()).to_owned())),
        }
    })
    .await
}

#[tokio::test]
async fn a_call_that_is_dropped_counts_as_nothing() {
    let keys = group();
    for _ in 0..2 {
        let hanging = tokio::time::timeout(Duration::from_millis(1), call(&keys, "a", Hangs));
        hanging.await.unwrap_err();
    }
    assert!(keys.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_counts_by_choice() {
    let mut config = Config::default();
    config.abandoned_after = Some(Duration::from_secs(1));
    let keys = KeyedBreakers::builder("keys")
        .config(config)
        .clock(tower_breaker::clock::TokioClock::new())
        .build()
        .unwrap();
    let hanging = tokio::time::timeout(Duration::from_secs(2), call(&keys, "a", Hangs));
    hanging.await.unwrap_err();
    assert_eq!(failures(&keys, "a"), 1);
}

#[tokio::test]
async fn a_request_without_a_key_passes_or_goes_by_a_default_key() {
    let keys = group();
    for _ in 0..10 {
        assert!(call(&keys, "", Fails).await.unwrap_err().rejected().is_none());
    }
    assert!(keys.is_empty());

    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name()).default_key("others");
    for _ in 0..5 {
        layer.layer(inner()).oneshot(("", Fails)).await.unwrap_err();
    }
    assert!(layer.layer(inner()).oneshot(("", Fails)).await.unwrap_err().rejected().is_some());
    assert_eq!(keys.get("others").unwrap().state(), State::Open);
}

#[tokio::test]
async fn the_same_layer_twice_on_a_path_counts_a_call_once() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let twice = || {
        let inner = layer.layer(inner());
        layer.layer(inner.map_err(|error| match error {
            Error::Inner(error) => error,
            _ => "rejected",
        }))
    };
    for count in 1..=4 {
        twice().oneshot(("a", Fails)).await.unwrap_err();
        assert_eq!(failures(&keys, "a"), count);
    }
}

/// As an authorization server behind the same client.
#[tokio::test]
async fn a_call_of_another_key_within_a_call_counts() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let within = layer.clone();
    let outer = layer.layer(service_fn(move |_: Request| {
        // As the call begins, and as its future is polled.
        let at_once = within.layer(inner()).oneshot(("at once", Fails));
        assert!(tokio_test::task::spawn(at_once).poll().is_ready());
        let polled = within.layer(inner()).oneshot(("later", Fails));
        let same = within.layer(inner()).oneshot(("outer", Fails));
        async move {
            let _ = polled.await;
            let _ = same.await;
            Ok::<_, &'static str>(())
        }
    }));
    for count in 1..=4 {
        outer.clone().oneshot(("outer", Succeeds)).await.unwrap();
        assert_eq!(
            ["at once", "later", "outer"].map(|key| failures(&keys, key)),
            [count, count, 0]
        );
    }
    // The same once the outer key has a breaker.
    keys.get_or_create("outer").unwrap();
    outer.clone().oneshot(("outer", Succeeds)).await.unwrap();
    assert_eq!(["at once", "later"].map(|key| keys.get(key).unwrap().state()), [State::Open; 2]);
    assert_eq!(failures(&keys, "outer"), 0);
}

/// The call further in belongs to the call of its key, also if that has begun without the breaker.
#[tokio::test]
async fn a_call_within_a_call_of_its_key_is_not_recorded_if_the_breaker_has_come_meanwhile() {
    let keys = group();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name());
    let (within, group) = (layer.clone(), keys.clone());
    let outer = layer.layer(service_fn(move |_: Request| {
        group.get_or_create("a").unwrap();
        let same = within.layer(inner()).oneshot(("a", Fails));
        async move {
            let _ = same.await;
            Err::<(), _>("failed")
        }
    }));
    outer.oneshot(("a", Succeeds)).await.unwrap_err();
    assert_eq!(failures(&keys, "a"), 1);
}

#[tokio::test]
async fn a_call_without_readiness_is_rejected() {
    let keys = group();
    let mut service = KeyedCircuitBreakerLayer::new(keys.clone(), by_name()).layer(inner());
    let error = service.call(("a", Succeeds)).await.unwrap_err();
    assert!(error.rejected().is_some());
    service.ready().await.unwrap();
    let mut clone = service.clone();
    assert!(clone.call(("a", Succeeds)).await.unwrap_err().rejected().is_some());
    service.call(("a", Succeeds)).await.unwrap();
}

#[tokio::test]
async fn a_key_without_room_is_not_recorded_and_counted() {
    let keys = KeyedBreakers::builder("keys").max_breakers(1).build().unwrap();
    for _ in 0..5 {
        call(&keys, "first", Fails).await.unwrap_err();
    }
    for _ in 0..10 {
        assert!(call(&keys, "second", Fails).await.unwrap_err().rejected().is_none());
    }
    assert_eq!(keys.unrecorded_calls(), 10);
    assert!(call(&keys, "first", Succeeds).await.unwrap_err().rejected().is_some());
}

#[tokio::test]
async fn the_error_type_stays_with_a_fallback() {
    let keys = group();
    keys.get_or_create("a").unwrap().force_open();
    let layer = KeyedCircuitBreakerLayer::new(keys, by_name())
        .fallback(|_: Request, _| async { Ok::<_, Infallible>(()) });
    let ok = service_fn(|_: Request| async { Ok::<_, Infallible>(()) });
    layer.layer(ok).oneshot(("a", Succeeds)).await.unwrap();
}

/// The classifier is made before the call, so nothing was called.
#[tokio::test]
async fn a_panic_while_the_classifier_is_made_counts_as_nothing() {
    let clock = tower_breaker::clock::ManualClock::new();
    let keys = KeyedBreakers::builder("keys").clock(clock.clone()).build().unwrap();
    let layer = KeyedCircuitBreakerLayer::new(keys.clone(), by_name()).classify_with(
        |(_, call): &Request| -> tower_breaker::classify::ErrorsAsFailures {
            assert!(!matches!(call, Panics), "a bug");
            tower_breaker::classify::ErrorsAsFailures
        },
    );
    let mut service = layer.layer(inner());
    let mut panics = async || {
        let service = service.ready().await.unwrap();
        let call = AssertUnwindSafe(|| drop(service.call(("key", Panics))));
        assert!(std::panic::catch_unwind(call).is_err());
    };
    // Without a breaker, and with one.
    panics().await;
    assert!(keys.is_empty());
    keys.get_or_create("key").unwrap().trip();
    clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        panics().await;
        assert_eq!(keys.get("key").unwrap().state(), State::HalfOpen);
    }
    service.ready().await.unwrap().call(("key", Succeeds)).await.unwrap();
    assert_eq!(keys.get("key").unwrap().state(), State::Closed, "the slot is free");
}
