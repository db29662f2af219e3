//! x
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod breaker;
pub mod classify;
pub mod clock;
mod config;
mod error;
mod event;
mod handle;
mod outcome;
mod persist;
mod service;
mod snapshot;
mod state;
mod stats;
pub mod store;
mod sync;

pub use breaker::Permit;
pub use config::{
    Backoff, Config, ConfigError, ConfigFile, Fault, RampUp, SnapshotTtl, Trip, Window,
};
pub use error::{Error, Rejected};
pub use event::{Event, Reason, StoreEvent, Transition};
pub use handle::{Breaker, Builder};
pub use outcome::Outcome;
pub use persist::{FlushError, StoreHealth};
#[cfg(feature = "http")]
pub use service::RejectAsResponse;
pub use service::{
    CircuitBreaker, CircuitBreakerLayer, Face, Reject, RejectAsError, ResponseFuture,
};
pub use snapshot::{BucketSnapshot, Snapshot, SnapshotError, WindowContent, WindowSnapshot};
pub use state::State;
pub use stats::Stats;
#[cfg(feature = "sled")]
pub use store::SledStore;
pub use store::{MemoryStore, StateStore, StoreError};
