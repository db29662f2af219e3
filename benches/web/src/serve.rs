//! The router, with and without a breaker.

use std::{cell::Cell, convert::Infallible, num::NonZeroU32};

use axum::{
    Router, ServiceExt,
    error_handling::HandleErrorLayer,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
    serve::IncomingStream,
};
use tokio::net::TcpListener;
use tower::{Layer as _, Service, ServiceBuilder};
use tower_breaker::{
    CircuitBreakerLayer, Trip, Window, classify::ServerErrorsAsFailures, reject::RejectAsResponse,
};

use crate::Failure;

/// Serves one of the routers. One response in `fails` is a 500, if that is given.
pub(crate) fn serve(which: &str, fails: Option<NonZeroU32>) -> Result<(), Failure> {
    let router = Router::new().route("/", get(move || async move { answer(fails) }));
    let router = match which {
        "bare" => router,
        "tower-breaker" => router.layer(breaker()?),
        "tower-breaker-around" => {
            // The state makes the router's services now; otherwise each request makes its own.
            let service = breaker()?.layer(router.with_state(()));
            return run(ServiceExt::<Request>::into_make_service(service));
        }
        "tower-resilience" => router.layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|_| async { StatusCode::SERVICE_UNAVAILABLE }))
                .layer(
                    tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
                        .failure_rate_threshold(0.5)
                        .sliding_window_size(100)
                        .build()?,
                ),
        ),
        other => return Err(format!("unknown server {other:?}").into()),
    };
    run(router)
}

fn answer(fails: Option<NonZeroU32>) -> Response {
    thread_local! {
        static REQUESTS: Cell<u32> = const { Cell::new(0) };
    }
    let request = REQUESTS.replace(REQUESTS.get().wrapping_add(1));
    match fails {
        Some(fails) if request.is_multiple_of(fails.get()) => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        _ => "Hello, world!".into_response(),
    }
}

fn breaker() -> Result<CircuitBreakerLayer<ServerErrorsAsFailures, RejectAsResponse>, Failure> {
    let builder = CircuitBreakerLayer::builder("bench");
    Ok(builder.trip_on(Trip::failure_rate(0.5, Window::calls(100))).http().build()?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn run<M, S>(make_service: M) -> Result<(), Failure>
where
    M: for<'a> Service<IncomingStream<'a, TcpListener>, Response = S, Error = Infallible>,
    M: Send + 'static,
    for<'a> <M as Service<IncomingStream<'a, TcpListener>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    Ok(axum::serve(listener, make_service).await?)
}
