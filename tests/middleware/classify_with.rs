//! Classifiers that see the request.

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Outcome, Trip, Window, classify::ErrorsAsFailures,
};

fn builder() -> tower_breaker::CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("requests")
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
}

fn counted(breaker: &Breaker) -> (u64, u64) {
    (breaker.stats().window_calls(), breaker.stats().window_failures())
}

/// Not `Clone`, so that a classifier has to copy what it needs.
struct Order {
    amount: u32,
}

#[tokio::test]
async fn a_classifier_judges_by_the_request_and_the_result() {
    let layer = builder()
        .classify_with(|order: &Order| {
            let is_large = order.amount > 100;
            move |result: &Result<u32, &str>| match result {
                Err(_) if is_large => Outcome::Ignore,
                Err(_) => Outcome::failure(),
                Ok(_) => Outcome::Success,
            }
        })
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    // The layer and its services can be cloned.
    let mut service = layer.clone().layer(service_fn(|order: Order| async move {
        Err::<u32, _>(if order.amount > 100 { "too much" } else { "down" })
    }));
    let mut clone = service.clone();
    for (amount, expected) in [(1, (1, 1)), (1000, (1, 1)), (2, (2, 2))] {
        service.ready().await.unwrap().call(Order { amount }).await.unwrap_err();
        assert_eq!(counted(&breaker), expected);
    }
    clone.ready().await.unwrap().call(Order { amount: 1000 }).await.unwrap_err();
    assert_eq!(counted(&breaker), (2, 2));
}

#[tokio::test]
async fn the_classifier_need_not_be_clone_and_is_made_once_for_each_call() {
    struct Once(Box<u32>);
    impl<T, E> tower_breaker::classify::Classify<T, E> for Once {
        fn classify(&self, _: &Result<T, E>) -> Outcome {
            if *self.0 > 100 { Outcome::failure() } else { Outcome::Ignore }
        }
    }
    let layer = builder().classify_with(|amount: &u32| Once(Box::new(*amount))).build().unwrap();
    let mut service = layer.layer(service_fn(|amount: u32| async move { Ok::<_, ()>(amount) }));
    for (amount, expected) in [(7, (0, 0)), (107, (1, 1))] {
        service.ready().await.unwrap().call(amount).await.unwrap();
        assert_eq!(counted(layer.breaker()), expected);
    }
}

#[tokio::test]
async fn a_rejected_request_is_not_classified() {
    let layer = builder()
        .classify_with(|(): &()| -> ErrorsAsFailures { unreachable!("it is rejected") })
        .build()
        .unwrap();
    layer.breaker().force_open();
    let mut service = layer.layer(service_fn(|(): ()| async { Ok::<_, ()>(()) }));
    service.ready().await.unwrap().call(()).await.unwrap_err();
}
