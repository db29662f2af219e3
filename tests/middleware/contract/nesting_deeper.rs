//! The same breaker twice on one path, with other breakers in between.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use tokio_test::task;
use tower::{
    BoxError, Layer, Service, ServiceExt, service_fn,
    util::{BoxCloneService, BoxService},
};
use tower_breaker::{
    CircuitBreakerLayer, State, Trip, clock::ManualClock, reject::RejectAsBoxError,
};

use super::{OPEN_TIME, call_metrics};

type Calls = BoxCloneService<bool, (), BoxError>;
type Nested = CircuitBreakerLayer<tower_breaker::classify::ErrorsAsFailures, RejectAsBoxError>;

/// Succeeds or fails, as the request says.
fn dependency() -> Calls {
    BoxCloneService::new(service_fn(
        async |succeeds: bool| {
            if succeeds { Ok(()) } else { Err("down".into()) }
        },
    ))
}

/// Layers of different breakers on one clock; each opens at the third failure.
fn layers<const N: usize>() -> ([Nested; N], ManualClock) {
    let clock = ManualClock::new();
    let layers = std::array::from_fn(|index| {
        CircuitBreakerLayer::builder(format!("nested {index}"))
            .call_metrics(call_metrics())
            .trip_on(Trip::consecutive_failures(3))
            .recovery_timeout(OPEN_TIME)
            .clock(clock.clone())
            .reject_with(RejectAsBoxError)
            .build()
            .unwrap()
    });
    (layers, clock)
}

/// Applies these layers; the first is the outermost.
fn stack(layers: &[&Nested]) -> Calls {
    let apply = |inner, layer: &&Nested| BoxCloneService::new(layer.layer(inner));
    layers.iter().rev().fold(dependency(), apply)
}

async fn call(service: &Calls, succeeds: bool) -> Result<(), BoxError> {
    service.clone().oneshot(succeeds).await
}

/// All of the breakers open at the third failure, and close after one probe.
async fn opens_and_closes(service: &Calls, layers: &[Nested], clock: &ManualClock) {
    for failures in 0..3 {
        for layer in layers {
            assert_eq!(layer.breaker().stats().consecutive_failures(), failures);
            assert_eq!(layer.breaker().state(), State::Closed);
        }
        call(service, false).await.unwrap_err();
    }
    let states = || layers.iter().map(|layer| layer.breaker().state());
    assert!(states().all(|state| state == State::Open));
    clock.advance(OPEN_TIME);
    call(service, true).await.expect("a probe");
    assert!(states().all(|state| state == State::Closed));
}

#[tokio::test]
async fn a_call_counts_once_at_any_depth() {
    let ([a, b, c, d], clock) = layers();
    let all = [a.clone(), b.clone(), c.clone(), d.clone()];
    let stacks: [&[&Nested]; 6] = [
        &[&a, &b, &a],
        &[&a, &b, &a, &b],
        &[&a, &b, &c, &a],
        &[&a, &b, &c, &d, &c, &b, &a],
        &[&a, &a, &b, &a, &a],
        &[&d, &c, &b, &a, &b, &c, &d],
    ];
    for layers in stacks {
        let used: Vec<_> = all
            .iter()
            .filter(|one| layers.iter().any(|layer| layer.breaker().name() == one.breaker().name()))
            .cloned()
            .collect();
        opens_and_closes(&stack(layers), &used, &clock).await;
    }
}

/// What has ended is not around the next call: a breaker that is called twice in a row counts
/// twice, whatever was around it or in it before.
#[tokio::test]
async fn a_breaker_that_is_no_longer_around_counts() {
    let ([a, b, c], _) = layers();
    let inner = [stack(&[&b, &c, &b]), stack(&[&c]), stack(&[&b, &c])];
    let several = service_fn(move |succeeds: bool| {
        let inner = inner.clone();
        async move {
            for service in inner {
                let _ = service.oneshot(succeeds).await;
            }
            Ok::<_, BoxError>(())
        }
    });
    let outer = BoxCloneService::new(a.layer(several));
    call(&outer, false).await.unwrap();
    let failures = [&a, &b, &c].map(|layer| layer.breaker().stats().consecutive_failures());
    assert_eq!(failures, [0, 2, 3]);
    // Alone again, each one counts.
    call(&stack(&[&b]), false).await.unwrap_err();
    assert_eq!(b.breaker().stats().consecutive_failures(), 3);
}

/// More breakers around each other than are remembered: the innermost ones count, and none hangs.
#[tokio::test]
async fn a_hundred_breakers_around_each_other_work() {
    let (layers, clock) = layers::<100>();
    let service = stack(&layers.each_ref());
    opens_and_closes(&service, &layers, &clock).await;
    let twice: Vec<_> = layers.iter().take(40).chain(layers.iter().take(40)).collect();
    opens_and_closes(&stack(&twice), &layers[..40], &clock).await;
}

/// The whole service as its own inner service, this many times.
fn recursive(layer: &Nested, left: u32) -> BoxService<bool, (), BoxError> {
    let inner = layer.clone();
    BoxService::new(layer.layer(service_fn(move |succeeds: bool| {
        let inner = (left > 0).then(|| recursive(&inner, left - 1));
        async move {
            match inner {
                Some(inner) => inner.oneshot(succeeds).await,
                None if succeeds => Ok(()),
                None => Err("down".into()),
            }
        }
    })))
}

#[tokio::test]
async fn a_recursive_call_counts_once() {
    let ([layer], _) = layers();
    recursive(&layer, 100).oneshot(false).await.unwrap_err();
    assert_eq!(layer.breaker().stats().consecutive_failures(), 1);
}

/// A panic leaves nothing behind on the thread.
#[tokio::test]
async fn after_a_panic_in_the_middle_each_breaker_counts_again() {
    let ([a, b], _) = layers();
    let panicking = service_fn(|(): ()| async {
        resume_unwind(Box::new("a bug"));
        #[expect(unreachable_code, reason = "the type of the future")]
        Ok::<_, BoxError>(())
    });
    let service = a.layer(b.layer(a.layer(panicking)));
    let poll = AssertUnwindSafe(|| task::spawn(service.oneshot(())).poll());
    catch_unwind(poll).unwrap_err();
    for layer in [&a, &b] {
        assert_eq!(layer.breaker().stats().consecutive_failures(), 1);
        call_alone(layer).await;
        assert_eq!(layer.breaker().stats().consecutive_failures(), 2);
    }
}

async fn call_alone(layer: &Nested) {
    call(&stack(&[layer]), false).await.unwrap_err();
}

#[tokio::test]
async fn a_waiting_caller_is_not_held_up_by_itself_with_another_breaker_in_between() {
    let ([a, b], clock) = layers();
    let calls = Cell::new(0);
    let mut service = a.clone().backpressure().layer(b.layer(a.clone().backpressure().layer(
        service_fn(|(): ()| {
            calls.set(calls.get() + 1);
            std::future::ready(Ok::<_, BoxError>(()))
        }),
    )));
    for _ in 0..3 {
        super::trip(a.breaker());
    }
    clock.advance(OPEN_TIME);
    let ready = tokio::time::timeout(Duration::from_secs(5), service.ready()).await;
    ready.expect("not held up").unwrap().call(()).await.unwrap();
    assert_eq!((calls.get(), a.breaker().state()), (1, State::Closed));
}
