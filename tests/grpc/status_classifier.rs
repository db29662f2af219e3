//! A classifier of HTTP statuses on a gRPC channel sees no failures.

use tonic::Code;
use tower_breaker::{
    CircuitBreakerLayer, State,
    classify::{ServerErrorsAsFailures, StatusClassifier},
};

use crate::{client::UNARY, server::Running, support::log::Log};

#[tokio::test]
async fn a_status_classifier_never_trips_on_grpc_and_warns_once_in_a_process() {
    let log = Log::default();
    let _guard = log.follow();
    let server = Running::bare().await;
    for by_status in [false, true] {
        let builder = CircuitBreakerLayer::builder("wrong");
        let breaker = builder.build().unwrap().breaker().clone();
        for _ in 0..10 {
            let layer = CircuitBreakerLayer::new(breaker.clone());
            let status = if by_status {
                let layer = layer.classify(StatusClassifier::new());
                server.client_behind(layer).unary(UNARY, "err 14").await
            } else {
                let layer = layer.classify(ServerErrorsAsFailures);
                server.client_behind(layer).unary(UNARY, "err 14").await
            };
            assert_eq!(status.unwrap_err().code(), Code::Unavailable);
        }
        assert_eq!(breaker.state(), State::Closed);
    }
    assert_eq!(log.lines_with("gRPC failures have the HTTP status 200"), 1, "{}", log.text());
}
