//! A circuit breaker for [tower](https://docs.rs/tower) that remembers.
//!
//! A [`CircuitBreakerLayer`] wraps any `tower::Service`. It counts how its calls end; when too many
//! fail it opens, and rejects calls for a while instead of making them; then it lets a few through
//! as probes, and closes again when they succeed. Its state is kept in a [store](SledStore), so
//! that a server that was restarted, or killed, comes back with the breaker still tripped.
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
//! - [`CircuitBreakerLayer`] for services, and [`CircuitBreaker`] for how it treats readiness.
//! - [`Breaker`] for code without a service, for operators and for metrics.
//! - [`Config`] for every setting with its default, in code and in files.
//! - [`classify`] for what counts as a failure.
//! - [`reject::Reject`] for what a rejection becomes: an error, a response, a [`reject::Fallback`], or
//!   [`reject::Backpressure`].
//! - [`retry`] for retries around a breaker, and the order of layers.
//! - [`store`] for where the state lives ([`SledStore`], [`FileStore`], [`MemoryStore`]), and
//!   [`store::StoreHealth`] for how it is doing.
//! - [`metrics`] for what is told to a recorder of metrics.
//! - [`clock`] for tests that move the time.
//!
//! # What a call costs
//!
//! While the windows hold no failure, a call loads two words and compares them: no lock, no
//! allocation, no shared reference count, no clock. (With a window over time or a slow-call rule
//! it reads the clock, and with the former counts up on a cache line of its thread's.) While a
//! window holds failures, recording takes a short lock. A rejection loads a word and reads the
//! clock.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sled` | yes | [`SledStore`] |
//! | `redb` | no | [`store::RedbStore`] |
//! | `http` | no | `.http()`, [`reject::RejectAsResponse`], [`classify::StatusClassifier`], [`OnBodyEnd`] |
//! | `grpc` | no | `.grpc()`, [`reject::RejectAsGrpcStatus`], [`classify::GrpcClassifier`]; with it `http` |
//! | `tonic` | no | [`reject::RejectAsTonicStatus`]; with it `grpc` |
//! | `retry` | no | [`RetryPolicy`], for `tower::retry`; with it `http` |
//! | `reqwest` | no | the classifiers of HTTP statuses for the responses of reqwest 0.13; with it `http` |
//! | `reqwest-middleware` | no | [`reqwest_middleware::BreakerMiddleware`] for reqwest-middleware 0.5; with it `reqwest` |
//! | `tower-http` | no | [`classify::TowerHttp`], for the classifiers of tower-http 0.7; with it `http` |
//! | `metrics` | no | [`metrics`] of the stores' health, for the recorder of the metrics facade 0.24 |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod breaker;
pub mod classify;
pub mod clock;
pub mod config;
mod error;
pub mod event;
mod handle;
mod health;
pub mod history;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/off.rs"]
mod metrics;
mod outcome;
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
pub use handle::{Breaker, BreakerBuilder};
pub use outcome::Outcome;
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

// For modules that still import through the crate root.
#[allow(unused_imports)]
pub(crate) use self::{
    config::{ConfigFile, Fault, SnapshotTtl},
    event::{Reason, StoreEvent, Transition},
    history::{HistoryCursor, HistoryEntry, HistoryError, HistoryPage, HistoryQuery},
    snapshot::{BucketSnapshot, Snapshot, SnapshotError, WindowContent, WindowSnapshot},
    store::{FlushError, HistoryRecord, StoreError, StoreHealth},
};

#[doc = include_str!("../README.md")]
#[cfg(all(doctest, feature = "grpc", feature = "reqwest", feature = "sled"))]
struct Readme;
