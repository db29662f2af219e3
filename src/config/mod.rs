//! The settings of a breaker: when it trips, how long it stays open, how it recovers, and how its
//! state is stored.

mod backoff;
mod call_metrics;
mod fault;
mod fields;
mod file;
mod parse;
mod ramp_up;
mod read;
mod redis_url;
mod settings;
mod snapshot_ttl;
mod store;
mod trip;
mod validate;

#[cfg(feature = "keyed")]
pub(crate) use self::validate::LONGEST_NAME;
pub use self::{
    backoff::Backoff,
    call_metrics::CallMetrics,
    fault::{ConfigError, Fault},
    file::ConfigFile,
    ramp_up::RampUp,
    redis_url::RedisUrl,
    settings::Config,
    snapshot_ttl::SnapshotTtl,
    store::{ParseStoreError, StoreConfig},
    trip::{Trip, Window},
};
pub(crate) use self::{fault::Faults, fields::join, validate::check_name};
