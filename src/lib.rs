//! A circuit breaker for [tower](https://docs.rs/tower) that remembers.
//!
//! A [`CircuitBreakerLayer`] wraps any `tower::Service` and counts the outcomes of its calls. When
//! too many fail, the circuit opens: for a while, calls are rejected instead of made. Then it
//! admits a few calls as probes, and closes again when they succeed. A [store](SledStore) keeps the
//! state, so a server that was restarted, or killed, comes back with the breaker still tripped.
//!
//! [A timeout belongs inside the breaker](classify#a-timeout-belongs-inside-the-breaker). Without
//! one, a call that hangs until its caller gives up counts as slow where a rule asks, and as failed
//! with [`abandoned_after`](BreakerBuilder::abandoned_after); otherwise it counts as nothing.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_breaker::{CircuitBreakerLayer, MemoryStore, State, Trip};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = CircuitBreakerLayer::builder("payments")
//!     .trip_on(Trip::consecutive_failures(5))
//!     .recovery_timeout(Duration::from_secs(60))
//!     .store(MemoryStore::new())
//!     .build()?;
//! let breaker = layer.breaker().clone();
//! let failing = service_fn(|(): ()| async { Err::<(), _>(std::io::Error::other("down")) });
//!
//! for _ in 0..5 {
//!     layer.layer(failing).oneshot(()).await.unwrap_err();
//! }
//! assert_eq!(breaker.state(), State::Open);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`CircuitBreakerLayer`] wraps services; [`CircuitBreaker`] documents readiness and how it
//!   works with other middleware.
//! - [`Breaker`] is the handle: for code without a tower service, for operators and for metrics.
//! - [`Config`] lists every setting with its default, for code and for files; [`config`] has the
//!   files.
//! - [`Registry`]: many breakers by name, and settings that are reloaded.
//! - [`keyed`]: a breaker for each host, route or tenant.
//! - [`classify`]: what counts as a failure.
//! - [`reject`]: what becomes of a rejected call: an error, a response, a fallback, or a wait.
//! - [`OnBodyEnd`]: outcomes that are known when the response body has ended; its types are in
//!   [`body`], the alternative is in [`record_when`].
//! - [`store`]: where the state is kept ([`SledStore`], [`FileStore`], [`MemoryStore`],
//!   [`RedbStore`](store::RedbStore), [`RedisStore`](store::RedisStore), two of them as
//!   [`Tiered`](store::Tiered), or your own), and the health of a store.
//! - [`fleet`]: breakers that the replicas of a service share.
//! - [`snapshot`], [`history`] and [`event`]: the state, the past and the present as data.
//! - [`retry`]: retries around a breaker, and the order of layers.
//! - [`health_check`]: checks that find a recovery, or an outage, before callers do.
//! - [`metrics`]: what breakers and stores report to a metrics recorder.
//! - [`admin`]: an HTTP service and a page for operators.
//! - [`clock`]: tests that control the time.
//!
//! # Cost of a call
//!
//! A call takes a lock only if it could change what the next call meets. All threads read one cache
//! line of a breaker, the *view*; the table says what they write to lines that others use too. The
//! breaker is *quiet* while there are no consecutive failures and every count window is full of
//! successes.
//!
//! | the call | writes |
//! |---|---|
//! | succeeds while the breaker is quiet | nothing |
//! | succeeds otherwise, with a rate rule | a counter: one compare-and-swap |
//! | is the last of as many successes without the lock as the largest count window holds, 65,536 at most; with a time window, of 1,024, or it is the first in a fortieth of that time | the lock, the window, and the view if the breaker is quiet now |
//! | succeeds after a failure, with rules on consecutive failures alone | the lock, the view |
//! | succeeds, and is the first after a save that found no new success | the lock, the window |
//! | succeeds where one more success could trip a rule | the lock, the window |
//! | fails, and two threads have met, with a rate rule | a log, and each counter that has counted since |
//! | fails otherwise, or is slow | the lock, the window, each counter that has counted since, and the view if the breaker was quiet |
//! | is a probe | the lock, as it starts and as it ends |
//! | ends after the circuit has changed its state | the lock |
//! | is rejected by an open circuit | nothing |
//! | does not count: its request is exempt, or it is part of another call of the breaker | nothing |
//!
//! With [metrics], each call also writes to a line of its own thread.
//!
//! With a rate rule, a breaker has one counter until two threads meet on it. Then it gets one for
//! each of up to 16 threads, and the log, on cache lines of their own. This is the only allocation
//! that a call makes: once in a breaker's life, or a few times with many processors, 0.5 to 5 KB in
//! all, which count neither as a call's (none) nor as a breaker's before that (512 bytes), and
//! which a later breaker uses again. The log takes up to ten failures that cannot open the circuit,
//! in their order among the successes; a failure for which it has no room takes the lock.
//!
//! With a time window, each success is counted, and reads the clock; with a slow-call rule or
//! `abandoned_after`, the clock is read as each call starts too. With a [custom clock](clock),
//! which is behind the lock, successes are counted where no rule needs the time.
//!
//! What is counted is recorded before whatever takes the lock next. The state is therefore one
//! that the same calls could have led to one after the other. It is saved like any other: a save
//! stays due each flush interval while there are new calls.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sled` | yes | [`SledStore`] |
//! | `redb` | no | [`store::RedbStore`] |
//! | `redis` | no | [`store::RedisStore`]; [`fleet`]: breakers that replicas share |
//! | `redis-tls` | no | TLS for both |
//! | `http` | no | `.http()`, [`RejectAsResponse`], [`StatusClassifier`], [`OnBodyEnd`] |
//! | `grpc` | no | `.grpc()`, [`RejectAsGrpcStatus`], [`GrpcClassifier`]; enables `http` |
//! | `hyper-util` | no | [`is_request_error`] sees those of its legacy client; enables `http` |
//! | `tonic` | no | [`RejectAsTonicStatus`]; enables `grpc` |
//! | `tonic-channel` | no | [`is_request_error`] sees the errors of a channel; enables `tonic`, `hyper-util` |
//! | `retry` | no | [`RetryPolicy`] for `tower::retry`; enables `http` |
//! | `reqwest` | no | classification of the responses of reqwest 0.13; enables `hyper-util` |
//! | `reqwest-middleware` | no | [`BreakerMiddleware`] for version 0.5; enables `reqwest` |
//! | `tower-http` | no | [`TowerHttp`] for the classifiers of version 0.7; enables `http` |
//! | `keyed` | no | [`KeyedCircuitBreakerLayer`], [`KeyedBreakers`] |
//! | `axum` | no | [`keyed::ByMatchedPath`] for axum 0.8, and its truncated uploads are recognized, those of tonic's servers too; enables `keyed`, `http` |
//! | `load` | no | [`load::BreakerLoad`] for tower's balancers |
//! | `admin` | no | [`admin`]: an HTTP service and a page for operators; enables `http` |
//! | `health-check` | no | [`health_check`]: checks of a dependency on a schedule |
//! | `toml` | no | [`ConfigFile::from_toml`] |
//! | `cli` | no | the command `tower-breaker`; enables `redb`, `redis-tls`, `sled` |
//! | `metrics` | no | [`metrics`] of breakers and stores, for the metrics facade 0.24 |
//!
//! [`BreakerMiddleware`]: reqwest_middleware::BreakerMiddleware
//! [`ConfigFile::from_toml`]: config::ConfigFile::from_toml
//! [`GrpcClassifier`]: classify::GrpcClassifier
//! [`RejectAsGrpcStatus`]: reject::RejectAsGrpcStatus
//! [`RejectAsResponse`]: reject::RejectAsResponse
//! [`RejectAsTonicStatus`]: reject::RejectAsTonicStatus
//! [`is_request_error`]: classify::is_request_error
//! [`StatusClassifier`]: classify::StatusClassifier
//! [`TowerHttp`]: classify::TowerHttp
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// For readers of the source, from the bottom up; `tests/architecture` holds the floors:
//
// - config, clock, timer, snapshot, history, event, error, outcome, state, ..: the vocabulary
// - classify, metrics: results into outcomes, and what is counted of them
// - breaker: the state machine (probes, windows, restored snapshots) and what makes it concurrent
// - store: bytes under keys; `tiered/far` notices a far store that hangs
// - write_behind: from breakers to a store and back, and what notices a store that hangs
// - fleet: what replicas agree on
// - handle: `Breaker`, its builder, permits and events
// - registry: breakers by name and by key
// - service: tower's side (layers, futures, bodies), and the responses to rejected calls
// - retry, health_check
// - admin, and bin/tower-breaker: for operators
//
// A call goes `Service::call`, admission, `Permit`, the inner future, a classifier, the permit's
// record; perhaps a transition, events, a mark for the writer, and the store.
#[cfg(feature = "admin")]
#[cfg_attr(docsrs, doc(cfg(feature = "admin")))]
pub mod admin;
mod breaker;
pub mod classify;
pub mod clock;
pub mod config;
mod error;
pub mod event;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod fleet;
mod handle;
mod health;
#[cfg(feature = "health-check")]
#[cfg_attr(docsrs, doc(cfg(feature = "health-check")))]
pub mod health_check;
pub mod history;
mod manual;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/off.rs"]
mod metrics;
mod outcome;
mod process;
pub mod registry;
mod reply;
#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub mod retry;
mod seconds;
mod service;
pub mod snapshot;
mod state;
mod stats;
pub mod store;
mod sync;
mod timer;
mod write_behind;

pub use breaker::Permit;
pub use config::{Backoff, Config, ConfigError, RampUp, Trip, Window};
pub use error::{BoxError, Error, Rejected};
pub use event::Event;
pub use handle::{Breaker, BreakerBuilder, flush_all};
pub use manual::ManualChange;
pub use outcome::Outcome;
#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
pub use registry::KeyedBreakers;
pub use registry::Registry;
#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub use retry::RetryPolicy;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use service::GrpcCircuitBreaker;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use service::HttpCircuitBreaker;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use service::body::{self, OnBodyEnd};
#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
pub use service::keyed::{self, KeyedCircuitBreakerLayer};
#[cfg(feature = "load")]
#[cfg_attr(docsrs, doc(cfg(feature = "load")))]
pub use service::load;
#[cfg(feature = "reqwest-middleware")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest-middleware")))]
pub use service::reqwest_middleware;
pub use service::{
    CircuitBreaker, CircuitBreakerLayer, CircuitBreakerLayerBuilder, future, record_when, reject,
};
pub use state::State;
pub use stats::Stats;
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use store::SledStore;
pub use store::{FileStore, MemoryStore, StateStore};

#[doc = include_str!("../README.md")]
#[cfg(all(
    doctest,
    feature = "grpc",
    feature = "health-check",
    feature = "reqwest",
    feature = "sled"
))]
struct Readme;
