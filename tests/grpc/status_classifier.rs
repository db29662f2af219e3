//! A classifier of HTTP statuses on a gRPC channel sees no failures.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tonic::Code;
use tower_breaker::{
    CircuitBreakerLayer, State,
    classify::{ServerErrorsAsFailures, StatusClassifier},
};
use tracing_subscriber::fmt::MakeWriter;

use crate::{client::UNARY, server::Running};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_status_classifier_never_trips_on_grpc_and_warns_once_in_a_process() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_max_level(tracing::Level::WARN)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
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
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.matches("gRPC failures have the HTTP status 200").count(), 1, "{lines}");
}
