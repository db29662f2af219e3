//! Closures as classifiers whose argument the compiler infers.

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, Outcome,
    classify::{ErrorsAsFailures, classify_fn, or},
};

#[tokio::test]
async fn the_compiler_infers_the_argument_of_a_closure_in_classify_fn() {
    let classifier = classify_fn(|result| match result {
        Ok(0) => Outcome::failure(),
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignore,
    });
    let layer = CircuitBreakerLayer::builder("inferred").classify(classifier).build().unwrap();
    let mut service = layer.layer(service_fn(|number: i8| async move {
        if number < 0 { Err("negative") } else { Ok(number) }
    }));
    for (number, failures) in [(0, 1), (-1, 1), (0, 2), (1, 0)] {
        let _ = service.ready().await.unwrap().call(number).await;
        assert_eq!(layer.breaker().stats().consecutive_failures(), failures, "{number}");
    }
}

#[tokio::test]
async fn a_closure_combines_with_other_classifiers() {
    let zero = classify_fn(|result| match result {
        Ok(0) => Outcome::failure(),
        _ => Outcome::Success,
    });
    let classifier = or(zero, ErrorsAsFailures);
    let layer = CircuitBreakerLayer::builder("combined").classify(classifier).build().unwrap();
    let mut service = layer.layer(service_fn(|number: i8| async move {
        if number < 0 { Err("negative") } else { Ok(number) }
    }));
    for (number, failures) in [(0, 1), (-1, 2), (1, 0)] {
        let _ = service.ready().await.unwrap().call(number).await;
        assert_eq!(layer.breaker().stats().consecutive_failures(), failures, "{number}");
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn a_closure_classifies_the_head_of_a_response_whose_body_is_watched() {
    use http::Response;
    use tower_breaker::OnBodyEnd;

    let layer = CircuitBreakerLayer::builder("watched")
        .classify(classify_fn(|result: &Result<Response<String>, _>| match result {
            Ok(response) if response.status() == 418 => Outcome::failure(),
            _ => Outcome::Success,
        }))
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(|status: u16| async move {
        let response = Response::builder().status(status).body("body".to_owned());
        Ok::<_, std::convert::Infallible>(response.unwrap())
    }));
    let response = service.ready().await.unwrap().call(418).await.unwrap();
    assert_eq!(layer.breaker().stats().consecutive_failures(), 1, "the head decides");
    drop(response);
    let response = service.ready().await.unwrap().call(200).await.unwrap();
    assert_eq!(layer.breaker().stats().consecutive_failures(), 1, "the end of the body decides");
    drop(response);
}

#[test]
fn its_debug_output_names_the_closure() {
    let classifier = classify_fn(|_: &Result<(), ()>| Outcome::Success);
    let shown = format!("{classifier:?}");
    assert!(shown.starts_with("ClassifyFn(") && shown.contains("{{closure}}"), "{shown}");
}
