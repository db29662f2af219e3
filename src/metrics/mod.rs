//! Metrics, recorded with the [`metrics`] facade.
//!
//! There is nothing to call here. With the feature `metrics`, the metrics below are recorded with
//! the global recorder of the program, for instance that of metrics-exporter-prometheus.
//!
//! # Stores
//!
//! | name | kind | labels | value |
//! |---|---|---|---|
//! | `circuit_breaker_store_healthy` | gauge | `store` | 1 if the store works; 0 if it is degraded: it fails, or does not answer ([`StoreHealth`]) |
//! | `circuit_breaker_store_pending` | gauge | `store` | breakers whose newest state is not saved |
//! | `circuit_breaker_store_writes_total` | counter | `store`, `result`: `ok`, `error` | calls that save |
//! | `circuit_breaker_store_write_duration_seconds` | histogram | `store` | the duration of each of those calls, in seconds |
//! | `circuit_breaker_store_quarantined_total` | counter | `store`, `kind`: `snapshot`, `folder` | what could not be read |
//!
//! * **healthy** is what [`Breaker::store_health`] returns. A store that does not answer is
//!   degraded once a call has taken a second, and at most half a second later.
//! * **pending** includes breakers that changed and are about to be saved, so a healthy store shows
//!   a few now and then. It includes breakers that are gone and whose last state is not saved yet,
//!   and breakers whose snapshot was written by a newer release and is not overwritten. The latter
//!   stay pending until an operator intervenes.
//! * **writes** counts each call to [`save`], [`save_all`], [`append`] and [`append_all`] when it
//!   ends. One call may save many breakers. If a call that saves many fails, and the store is
//!   neither [`Unavailable`] nor [`Misconfigured`], they are saved one by one, and each of these
//!   calls counts. Reads, removals and what is kept aside do not count. A panic is an `error`.
//! * **write duration** has one value for each of those calls. On a common disk a write takes from
//!   a tenth of a millisecond to tens of milliseconds; buckets from 0.0001 to 10 seconds fit.
//! * **quarantined** counts a `snapshot` that cannot be read (its breaker starts closed, and the
//!   bytes are kept under the key `circuit_breaker:{name}:quarantine`, unless the store itself
//!   could not read them), and a `folder` that [`SledStore`] cannot read and has moved aside. Both
//!   are usually found when breakers are built, before the first scrape: alert on a value above 0,
//!   not on an increase.
//!
//! A useful alert is `circuit_breaker_store_healthy == 0` for some minutes: until it is resolved, a
//! restart loses the state of `circuit_breaker_store_pending` breakers.
//!
//! # Fleets
//!
//! With the feature `redis`, the gauge `circuit_breaker_fleet_joined` is 1 while this process
//! reaches its [fleet](crate::fleet), and 0 while its breakers decide alone.
//!
//! # The label `store`
//!
//! Its value is the store's [`label`]: `sled`, `file`, `memory`, `custom` for stores of your own,
//! or one that you choose. Stores with the same label are reported as one: healthy if all of them
//! are, with the sum of what is pending.
//!
//! ```
//! use tower_breaker::{Breaker, MemoryStore};
//!
//! let store = MemoryStore::new().with_label("sessions");
//! let breaker = Breaker::builder("payments").store(store).build()?;
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```
//!
//! # When metrics are recorded
//!
//! Never on the path of a call: the thread that writes to the store records them, or the thread
//! that notices that the store hangs. The gauges are set at each change of the health, within a
//! second after each write, and every five seconds; so a recorder that is installed after the
//! breakers were built has them five seconds later. Counters and the histogram begin when the
//! recorder is installed: install it first, or an unreadable snapshot that is found at the start is
//! only in the log. Every value of `result` and `kind` is present from the first recording on, as
//! 0.
//!
//! When all breakers of a store are gone, its health remains as it was last, with nothing pending.
//! Local recorders (`metrics::with_local_recorder`) record nothing. A recorder that panics affects
//! neither calls nor the store.
//!
//! [`StoreHealth`]: crate::store::StoreHealth
//! [`Breaker::store_health`]: crate::Breaker::store_health
//! [`SledStore`]: crate::store::SledStore
//! [`Unavailable`]: crate::store::StoreError::Unavailable
//! [`Misconfigured`]: crate::store::StoreError::Misconfigured
//! [`save`]: crate::StateStore::save
//! [`save_all`]: crate::StateStore::save_all
//! [`append`]: crate::store::HistoryStore::append
//! [`append_all`]: crate::store::HistoryStore::append_all
//! [`label`]: crate::StateStore::label

mod calls;
#[cfg(feature = "redis")]
mod fleet;
mod store;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

pub(crate) use calls::{BreakerMeter, CellMeter, Counted, Labels, MeterSlot, StatsSource};
pub use calls::{BreakerMetrics, CallCounts, CallMetrics, ProbeCounts, TransitionCount};
#[cfg(feature = "redis")]
pub(crate) use fleet::fleet_joined;
pub(crate) use store::{StoreMetrics, quarantined};

/// Whether anything is recorded.
pub(crate) const ENABLED: bool = true;

/// Records something. A new recorder gets the descriptions first, and one that panics must not
/// affect the thread that records. The argument of the closure tells recorders apart.
fn record(record: impl FnOnce(usize)) {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let recorder =
            ::metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr());
        if KNOWN.swap(recorder, Relaxed) != recorder {
            store::describe();
            #[cfg(feature = "redis")]
            fleet::describe();
            calls::describe();
        }
        record(recorder);
    }));
}
