//! What counts as a failure.
//!
//! Classifiers turn the result of a call into an [`Outcome`](crate::Outcome).
//!
//! | preset | classifier | for |
//! |---|---|---|
//! | none | [`ErrorsAsFailures`] | any service: `Ok` or `Err` |
//! | [`.http()`] | [`ServerErrorsAsFailures`], or a [`StatusClassifier`] | `http::Response`, and reqwest's |
//! | [`.grpc()`] | [`GrpcClassifier`] | tonic's servers and channels |
//!
//! # A timeout belongs inside the breaker
//!
//! A dependency that hangs is the worst failure, and no classifier sees it: there is no result to
//! classify. A timeout *below* the breaker makes a result of it, which counts as failed. A timeout
//! *above* the breaker, and a client that hangs up, drop the call instead. So does tonic's
//! `Server::timeout`, which lies outside of the server's layers.
//!
//! A breaker counts a dropped call only if it was slow: in the rule of
//! [`Trip::slow_call_rate`](crate::Trip::slow_call_rate), or as failed with
//! [`abandoned_after`](crate::BreakerBuilder::abandoned_after). Set one of the two where you cannot
//! put a timeout below. Calls by hand have theirs [in the
//! future](crate::Breaker::call).
//!
//! **axum**: `TimeoutLayer` of tower-http answers a hung call with a status, here 504. A layer that
//! is added later is further out.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use http::StatusCode;
//! use tower_breaker::CircuitBreakerLayer;
//! use tower_http::timeout::TimeoutLayer;
//!
//! let limit = Duration::from_secs(2);
//! let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit);
//! let breaker = CircuitBreakerLayer::builder("reports").http().build()?;
//! let routes: Router = Router::new()
//!     .route("/report", get(async || "report"))
//!     .route_layer(timeout)
//!     .route_layer(breaker);
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```
//!
//! **tonic**: the timeout of the channel.
//!
//! ```
//! use std::time::Duration;
//! use tonic::transport::Endpoint;
//! use tower::ServiceBuilder;
//! use tower_breaker::CircuitBreakerLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = Endpoint::from_static("http://stock:50051")
//!     .timeout(Duration::from_secs(2))
//!     .connect_lazy();
//! let breaker = CircuitBreakerLayer::builder("stock").grpc().build()?;
//! let channel = ServiceBuilder::new().layer(breaker).service(channel);
//! // StockClient::new(channel)
//! # Ok(())
//! # }
//! ```
//!
//! **reqwest**: the timeout of the client, or of a request.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_breaker::{CircuitBreakerLayer, classify::ServerErrorsAsFailures};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
//! let breaker = CircuitBreakerLayer::builder("quotes").classify(ServerErrorsAsFailures).build()?;
//! let client = ServiceBuilder::new().layer(breaker).service(client);
//! # Ok(())
//! # }
//! ```
//!
//! **hyper**, and any other service without a timeout of its own: tower's `TimeoutLayer` below the
//! breaker. It boxes the errors, so rejections are boxed too:
//! [`RejectAsBoxError`](crate::reject::RejectAsBoxError).
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http_body_util::Empty;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, timeout::TimeoutLayer};
//! use tower_breaker::{
//!     CircuitBreakerLayer, classify::ServerErrorsAsFailures, reject::RejectAsBoxError,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
//! let breaker = CircuitBreakerLayer::builder("prices")
//!     .classify(ServerErrorsAsFailures)
//!     .reject_with(RejectAsBoxError)
//!     .build()?;
//! let timeout = TimeoutLayer::new(Duration::from_secs(2));
//! let mut client = ServiceBuilder::new().layer(breaker).layer(timeout).service(client);
//! # fn service(_: &mut impl tower::Service<http::Request<Empty<Bytes>>>) {}
//! # service(&mut client);
//! # Ok(())
//! # }
//! ```
//!
//! # Situations
//!
//! | situation | default | to change it |
//! |---|---|---|
//! | the dependency hangs, with a timeout below the breaker | failure | |
//! | the same with a timeout above, or the client hangs up | slow, where a rule asks; else nothing | `abandoned_after` |
//! | an `Err` | failure | a closure |
//! | an `Err` within an `Ok`, as `breaker.call(timeout(..))` has it | success | [a `?` inside](crate::Breaker::call) |
//! | the service panics, or the classifier | failure, and the panic propagates | |
//! | the closure of `.classify_with(..)` panics | nothing, and the panic propagates | |
//! | the request's own error: [`is_request_error`] | ignored | a closure |
//! | a rejection by another breaker, as an error | ignored | a closure |
//! | the same as a response | ignored; [the default classifier sees it only as it is](ErrorsAsFailures) | [`StatusClassifier`], a closure |
//! | a call of the same breaker further in, also by hand | counts once, further out | |
//! | a status of HTTP | [the table below](#statuses) | [`StatusClassifier`] |
//! | a code of gRPC | [the table below](#grpc) | [`GrpcClassifier`] |
//! | reqwest's `error_for_status` | a status, to the classifiers of statuses; else an `Err` | |
//! | a `tonic::Status` | a code, to `GrpcClassifier`; else an `Err` | |
//! | a truncated body, `.http()` | success: the head has decided | [`.on_body_end(..)`] |
//! | the same, watched by `.grpc()` or `.on_body_end(..)` | failure | [`ClassifyEos`] |
//! | the same, because the client's upload broke off | ignored | [`ClassifyEos`] |
//! | an upload that stalls until a timeout inside the breaker | failure: it is that of the dependency | read the request before the breaker, or bound the upload further out |
//! | a layer below refuses a call by itself: `load_shed`, a filter | failure | put that layer outside of the breaker, or a closure |
//! | an endless stream, watched like that | counts at its end, a probe after 5 s | [`stream_alive_after`] |
//! | a client that drops a stream after its head | nothing | |
//! | a request that is not gRPC, `.grpc()` | nothing, and calls of the same breaker further in count | |
//! | a truncated request, at a tonic server behind `.grpc()` | [ignored, where tonic says so] | [`GrpcClassifier`] |
//! | the status of a rejection by another breaker, which a gRPC handler passes on | ignored | a closure |
//! | a caller's own short deadline, `.grpc()` | failure; dropped, as any dropped call | [`ignore_deadlines_below`] |
//!
//! A closure that takes the whole result is a classifier too ([`classify_fn`] infers its types):
//!
//! ```
//! use tower_breaker::{CircuitBreakerLayer, Outcome, classify::is_request_error};
//!
//! let layer = CircuitBreakerLayer::builder("quotes")
//!     .classify(|result: &Result<u32, std::io::Error>| match result {
//!         Ok(0) => Outcome::failure(),
//!         Ok(_) => Outcome::Success,
//!         Err(error) if is_request_error(error) => Outcome::Ignore,
//!         Err(_) => Outcome::failure(),
//!     })
//!     .build()?;
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```
//!
//! [`map`] and [`or`] combine classifiers, and
//! [`classify_with`](crate::CircuitBreakerLayer::classify_with) makes one from the request: on
//! layers and on the middlewares for reqwest.
//!
//! **Error types of your own.** A classifier recognizes rejections within an
//! [`Error`](crate::Error) of any type. It looks for the errors of a request in boxed errors,
//! `io::Error`s, and the errors of axum, hyper, hyper-util, reqwest, reqwest-middleware and tonic
//! (with their features), with all of their sources. [`Breaker::call`](crate::Breaker::call), the
//! calls of a permit and the middleware of reqwest-middleware do the same. None can look into
//! another type, because that type may not implement `std::error::Error`. For one that does, put
//! [`search_errors`] around the classifier: `.classify(search_errors(ServerErrorsAsFailures))`. Its
//! documentation says what to do with transparent variants. `anyhow::Error` and `eyre::Report` are
//! not errors themselves: in a closure, pass `error.as_ref()` to [`is_request_error`] and to
//! [`Rejected::find`](crate::Rejected::find), and ignore what either finds.
//!
//! **Permits by hand.** A rejection within an `Error` of a type that no classifier has met is
//! recognized on the same thread, and only within a call of the outer breaker: of its layer, of
//! `Breaker::call` or of `Permit::call`. Where you call a classifier yourself and record what it
//! returns, such a rejection is a failure.
//!
//! **Errors that borrow.** To look into an error, its type must be `'static`. For one that borrows,
//! and in code that is generic over services, there is [`AnyErrorAsFailure`]. A closure needs no
//! bound either.
//!
//! # Statuses
//!
//! | | `.http()`, [`StatusClassifier::new`], [`RetryPolicy::http`] of it | `.grpc()`, without a `grpc-status` | [`RetryPolicy::network`] | [`RetryPolicy::rate_limited`] | [`RetryPolicy::database`] |
//! |---|---|---|---|---|---|
//! | 408 | failure | failure | retried | retried | returned |
//! | 429 | throttled, with its `Retry-After` | throttled, with its `Retry-After` | retried, after its `Retry-After` | retried, after its `Retry-After`, with every method | returned |
//! | 500, 501, 505 to 599 | failure | failure | returned | returned | returned |
//! | 502, 504 | failure | failure | retried | retried | returned |
//! | 503 | failure, with its `Retry-After` | failure, with its `Retry-After` | retried, after its `Retry-After` | retried, after its `Retry-After` | returned |
//! | 400, 401, 403, 404, 413, 431 | success | success | returned | returned | returned |
//! | 200 | success | [the code decides](#grpc) | returned | returned | returned |
//! | all others, 425 among them | success | failure | returned | returned | returned |
//! | an `Err` that is a timeout | failure | failure | retried | retried | retried if idempotent |
//! | an `Err` that the connection was refused | failure | failure | retried, with every method | retried, with every method | retried |
//! | an `io::Error`: the connection was reset or aborted, broke or ended | failure | failure | retried | retried | retried if idempotent |
//! | another `Err` of the connection: closed before the head of the response, HTTP/2's `GOAWAY` | failure | failure | returned | returned | returned |
//! | an `Err` of a rolled-back transaction | failure | failure | returned | returned | retried |
//! | another `Err` | failure | failure | returned | returned | returned |
//! | a rejection, an error of the request | ignored | ignored | returned | returned | returned |
//! | delays | 50 to 100 ms, doubled | | 50 to 100 ms, doubled | 1 to 2 s, doubled up to 20 s | 50 to 100 ms, doubled |
//! | attempts; longest `Retry-After` | 3; 30 s | | 3; 30 s | 5; 60 s | 5 |
//!
//! `RetryPolicy::http` retries what its classifier takes for a failure or throttled, and has the
//! delays and attempts of the first column; a layer has neither. `RetryPolicy::network` and
//! `rate_limited` retry requests with an idempotent method only, but for
//! what the table says. A delay is a random time between the two figures, plus the `Retry-After`.
//!
//! A 408 says that a call took too long, as a 504 does; `TimeoutLayer` of tower-http often answers
//! with it. The other 4xx are the problem of the request; the dependency has answered. (Where gRPC
//! is expected, a status that gRPC does not map to a code, such as a 405 or a redirect, shows that
//! no gRPC server is there.)
//!
//! **Throttled** calls count as failed in rates and fail a probe, but neither add to the
//! consecutive failures nor reset them: the dependency works, and refuses. On a server, a limit of
//! calls for each caller belongs outside of the breaker. If its 429s come from within, call
//! `.success(StatusCode::TOO_MANY_REQUESTS)`, so that one caller cannot raise the failure rate of
//! all.
//!
//! # gRPC
//!
//! | code | `.grpc()`, [`GrpcClassifier::new`] | compares to |
//! |---|---|---|
//! | `CANCELLED` (sent by the server: its own timeout) | failure | 408 |
//! | `DEADLINE_EXCEEDED` | failure | 504 |
//! | `UNAVAILABLE` | failure | 503 |
//! | `UNKNOWN`, `INTERNAL`, `DATA_LOSS`, no code | failure | 500 |
//! | `RESOURCE_EXHAUSTED` | throttled | 429 |
//! | all others | success | 2xx, 4xx |
//! | an HTTP status other than 200 | [the table above](#statuses) | |
//!
//! A gRPC failure has the HTTP status 200. A classifier of HTTP statuses around a gRPC channel
//! counts all calls as successes, and so does the default one. With the feature `http`, it logs a
//! warning, once in a process, when it sees such a response: by HTTP/2, with a body of tonic, or
//! else among the first 1,000 of the process (the default one: with a body of tonic).
//!
//! [`.http()`]: crate::CircuitBreakerLayer::http
//! [`.grpc()`]: crate::CircuitBreakerLayer::grpc
//! [`.on_body_end(..)`]: crate::CircuitBreakerLayer::on_body_end
//! [`stream_alive_after`]: crate::OnBodyEnd::stream_alive_after
//! [`ignore_deadlines_below`]: GrpcClassifier::ignore_deadlines_below
//! [`RetryPolicy::http`]: crate::RetryPolicy::http
//! [`RetryPolicy::database`]: crate::RetryPolicy::database
//! [`RetryPolicy::network`]: crate::RetryPolicy::network
//! [`RetryPolicy::rate_limited`]: crate::RetryPolicy::rate_limited
//! [ignored, where tonic says so]: GrpcClassifier#truncated-uploads

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod by_status;
mod classifier;
mod classify_fn;
mod compose;
#[cfg(feature = "http")]
pub(crate) mod defaults;
mod error;
mod errors_as_failures;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
pub(crate) mod grpc_media_type;
#[cfg(feature = "http")]
mod grpc_notice;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
pub(crate) mod kind;
#[cfg(feature = "grpc")]
pub(crate) mod rejection_token;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "http")]
mod retry_after;
#[cfg(feature = "http")]
mod status;
#[cfg(feature = "tower-http")]
mod tower_http;
mod with_request;

#[cfg(feature = "http")]
pub(crate) use self::error::as_cause;
#[cfg(feature = "http")]
pub(crate) use self::error::returned_response::note_answer;
pub(crate) use self::error::{
    returned::{note_passed_error, note_rejection},
    returned_response::note_passed_answer,
};
pub(crate) use self::errors_as_failures::watch;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use self::grpc::{GrpcByDeadline, GrpcClassifier, GrpcCode, GrpcCodes, GrpcEos};
#[cfg(feature = "tower-http")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower-http")))]
pub use self::tower_http::{TowerHttp, TowerHttpEos};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::{
    body::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos, SuccessAtEos},
    compose::{MapEos, OrEos},
    http::ServerErrorsAsFailures,
    retry_after::retry_after,
    status::{StatusClassifier, Statuses},
};
pub use self::{
    classifier::Classify,
    classify_fn::{ClassifyFn, classify_fn},
    compose::{Map, Or, SearchErrors, map, or, search_errors},
    error::is_request_error,
    errors_as_failures::{AnyErrorAsFailure, ErrorsAsFailures},
    with_request::{ClassifyWith, CloneClassifier, MakeClassifier},
};
