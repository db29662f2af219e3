//! A classifier of HTTP statuses on a gRPC channel sees no failures.

use tonic::Code;
use tower_breaker::{
    CircuitBreakerLayer, State,
    classify::{Classify, ErrorsAsFailures, ServerErrorsAsFailures, StatusClassifier, TowerHttp},
};
use tower_http::classify::{
    GrpcCode, GrpcErrorsAsFailures, ServerErrorsAsFailures as TheirServerErrorsAsFailures,
};

use crate::{
    client::UNARY,
    server::Running,
    support::{
        child::{Role, RoleResult, say},
        log::Log,
    },
};

const NOTICE: &str = "gRPC failures have the HTTP status 200";

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
    assert_eq!(log.lines_with(NOTICE), 1, "{}", log.text());
}

/// In a process of its own, because a process warns once.
#[test]
fn a_status_classifier_of_tower_http_warns_and_its_grpc_classifier_does_not() {
    let mut child = Role::new(TOWER_HTTP).start();
    assert_eq!(child.line().as_deref(), Some("0 1"));
}

pub(crate) const TOWER_HTTP: &str = "classify with tower-http";

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn by_tower_http() -> RoleResult {
    let log = Log::default();
    let _guard = log.follow();
    let server = Running::bare().await;
    let breaker = CircuitBreakerLayer::builder("wrong").build()?.breaker().clone();
    for message in ["fine", "err 14"] {
        let by_code = CircuitBreakerLayer::new(breaker.clone())
            .classify(TowerHttp(GrpcErrorsAsFailures::new().with_success(GrpcCode::Unavailable)));
        let _ = server.client_behind(by_code).unary(UNARY, message).await;
    }
    let before = log.lines_with(NOTICE);
    for _ in 0..2 {
        let by_status = CircuitBreakerLayer::new(breaker.clone())
            .classify(TowerHttp(TheirServerErrorsAsFailures::new()));
        let status = server.client_behind(by_status).unary(UNARY, "err 14").await;
        assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    }
    say(&format!("{before} {}", log.lines_with(NOTICE)));
    Ok(())
}

/// The commonest omission: `.grpc()`.
#[test]
fn a_layer_without_grpc_never_trips_on_a_channel_and_warns() {
    let mut child = Role::new(BY_DEFAULT).start();
    assert_eq!(child.line().as_deref(), Some("closed 1"));
}

pub(crate) const BY_DEFAULT: &str = "classify gRPC by default";

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn by_default() -> RoleResult {
    let log = Log::default();
    let _guard = log.follow();
    let server = Running::bare().await;
    let layer = CircuitBreakerLayer::builder("wrong").build()?;
    // Another response is none of gRPC.
    let response: Result<_, std::io::Error> = Ok(http::Response::new(()));
    ErrorsAsFailures.classify(&response);
    assert_eq!(log.lines_with(NOTICE), 0);
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    for _ in 0..10 {
        let status = client.unary(UNARY, "err 14").await;
        assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    }
    say(&format!("{} {}", breaker.state(), log.lines_with(NOTICE)));
    Ok(())
}
