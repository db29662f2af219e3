//! A handler that uses its key's breaker by hand, in a request that a layer of the group counts.

use std::future::ready;

use tokio::task::yield_now;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, KeyedBreakers, KeyedCircuitBreakerLayer, keyed::ExtractKey,
};

fn layer(keys: &KeyedBreakers) -> KeyedCircuitBreakerLayer<impl ExtractKey<&'static str> + Clone> {
    KeyedCircuitBreakerLayer::by_key(keys.clone(), |key: &&'static str| Some((*key).into()))
}

fn group() -> KeyedBreakers {
    KeyedBreakers::builder("keys").build().unwrap()
}

fn failures(keys: &KeyedBreakers, key: &str) -> u32 {
    keys.get(key).unwrap().stats().consecutive_failures()
}

async fn fail(breaker: &Breaker) {
    breaker.call(ready(Err::<(), _>("failed"))).await.unwrap_err();
}

/// The first failure of a key creates its breaker, also by hand within the call that fails.
#[tokio::test]
async fn the_first_call_of_a_key_counts_once_if_its_handler_uses_the_keys_breaker() {
    for creates in [true, false] {
        let keys = group();
        let by_hand = keys.clone();
        let handler = service_fn(move |key: &'static str| {
            let keys = by_hand.clone();
            async move {
                let breaker = keys.get_or_create(key).unwrap();
                let breaker = if creates { breaker } else { keys.get(key).unwrap() };
                let failed = breaker.call(async { Err::<(), _>("failed") }).await;
                // Another key is not part of it.
                let other = keys.get_or_create("other").unwrap();
                other.call(async { Err::<(), _>("failed") }).await.unwrap_err();
                failed.map_err(|_| "failed")
            }
        });
        let mut service = layer(&keys).layer(handler);
        for calls in 1..=3 {
            service.ready().await.unwrap().call("bad").await.unwrap_err();
            assert_eq!(failures(&keys, "bad"), calls);
            assert_eq!(failures(&keys, "other"), calls);
        }
        // Not part of a call any more.
        let breaker = keys.get_or_create("bad").unwrap();
        breaker.call(async { Err::<(), _>("failed") }).await.unwrap_err();
        assert_eq!(failures(&keys, "bad"), 4);
    }
}

/// How a handler uses the breaker.
#[derive(Debug, Clone, Copy)]
enum Way {
    Call,
    TryAcquire,
    Acquire,
    Layer,
}

/// What a handler does between getting the breaker and using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Another poll.
    Await,
    /// The end of another breaker's call, in which it has got the breaker.
    OtherCall,
    OtherCallAndAwait,
    /// The breaker of another key comes first.
    OtherKeyAndAwait,
}

async fn get(keys: &KeyedBreakers, between: Between) -> Breaker {
    let get = async || keys.get_or_create("bad").unwrap();
    match between {
        Between::OtherCall | Between::OtherCallAndAwait => {
            let other = Breaker::builder("other").build().unwrap();
            let got = other.call(async { Ok::<_, &'static str>(get().await) }).await.unwrap();
            if between == Between::OtherCallAndAwait {
                yield_now().await;
            }
            got
        }
        Between::OtherKeyAndAwait => {
            drop(keys.get_or_create("other"));
            yield_now().await;
            let got = get().await;
            yield_now().await;
            got
        }
        Between::Await => {
            let got = get().await;
            yield_now().await;
            got
        }
    }
}

async fn use_it(breaker: Breaker, way: Way) {
    match way {
        Way::Call => fail(&breaker).await,
        Way::TryAcquire => breaker.try_acquire().unwrap().failure(),
        Way::Acquire => {
            let failed = breaker.acquire().await.call(ready(Err::<(), _>("failed"))).await;
            failed.unwrap_err();
        }
        Way::Layer => {
            let failing = service_fn(|()| ready(Err::<(), _>("failed")));
            let service = CircuitBreakerLayer::new(breaker).layer(failing);
            service.oneshot(()).await.unwrap_err();
        }
    }
}

/// In another poll than that in which it was created, or outside of the call in which it was. (A
/// layer of its own, which knows no key, is recognized from the next poll on.)
#[tokio::test]
async fn a_call_by_hand_counts_once_also_some_time_after_the_breaker_was_created() {
    use Between::{Await, OtherCall, OtherCallAndAwait, OtherKeyAndAwait};
    for between in [Await, OtherCall, OtherCallAndAwait, OtherKeyAndAwait] {
        let by_layer = (between != OtherCall).then_some(Way::Layer);
        for way in [Way::Call, Way::TryAcquire, Way::Acquire].into_iter().chain(by_layer) {
            // What is counted for metrics is counted by name.
            let keys = KeyedBreakers::builder(format!("{between:?} {way:?}")).build().unwrap();
            let by_hand = keys.clone();
            let handler = service_fn(move |_: &'static str| {
                let keys = by_hand.clone();
                async move {
                    use_it(get(&keys, between).await, way).await;
                    Err::<(), _>("failed")
                }
            });
            let mut service = layer(&keys).layer(handler);
            for calls in 1..=3 {
                service.ready().await.unwrap().call("bad").await.unwrap_err();
                assert_eq!(failures(&keys, "bad"), calls, "{between:?} {way:?}");
                let counted = keys.metrics().calls;
                assert_eq!((counted.failure, counted.success), (calls.into(), 0));
            }
        }
    }
}

/// Another call has created the breaker while this one was under way.
#[tokio::test]
async fn a_call_by_hand_counts_once_with_the_breaker_of_another_call() {
    let keys = group();
    let by_hand = keys.clone();
    let handler = service_fn(move |_: &'static str| {
        let keys = by_hand.clone();
        async move {
            yield_now().await;
            let breaker = keys.get("bad").unwrap();
            yield_now().await;
            fail(&breaker).await;
            Err::<(), _>("failed")
        }
    });
    let layer = layer(&keys);
    let mut first = task::spawn(layer.layer(handler).oneshot("bad"));
    assert_pending!(first.poll());
    let failing = service_fn(|_: &'static str| ready(Err::<(), _>("failed")));
    layer.layer(failing).oneshot("bad").await.unwrap_err();
    assert_eq!(failures(&keys, "bad"), 1);
    assert_pending!(first.poll());
    assert_ready!(first.poll()).unwrap_err();
    assert_eq!(failures(&keys, "bad"), 2);
}
