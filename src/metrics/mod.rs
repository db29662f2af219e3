//! Metrics, for the recorder of the [`metrics`] facade that the program has installed.
//!
//! There is nothing to call here. With the feature `metrics`, what is listed below is told to the global recorder,
//! such as that of metrics-exporter-prometheus.
//!
//! # Stores
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | `circuit_breaker_store_healthy` | gauge | `store` | 1 if the store did what it was last asked; 0 if it failed, or does not answer ([`StoreHealth`]) |
//! | `circuit_breaker_store_pending` | gauge | `store` | breakers whose newest state is not saved |
//! | `circuit_breaker_store_writes_total` | counter | `store`, `result`: `ok`, `error` | calls that save |
//! | `circuit_breaker_store_write_duration_seconds` | histogram | `store` | how long each of those took, in seconds |
//! | `circuit_breaker_store_quarantined_total` | counter | `store`, `kind`: `snapshot`, `folder` | what could not be read |
//!
//! * **healthy** tells what [`Breaker::store_health`] tells of the store. A store that does not answer is unhealthy
//!   once a call to it has taken a second, and half a second later at most.
//! * **pending** counts breakers that changed and are about to be saved, too, so a healthy store shows a few of them
//!   now and then. It also counts breakers that are gone and whose last state is still to be saved, and those whose
//!   snapshot in the store is of a newer release and left alone: these stay, until somebody sees to it.
//! * **writes** counts each call to [`save`], [`save_all`], [`append`] and [`append_all`] when it ends. One call
//!   may save many breakers. After a batch that failed for another reason than that the store is
//!   [`Unavailable`] or [`Misconfigured`], its breakers are saved one by one, and each of these calls counts. What is
//!   read, removed or kept aside does not count. A panic is an `error`.
//! * **write duration** has one value for each of those calls. A write takes from a tenth of a millisecond to tens of
//!   them on a usual disk; an exporter that wants to know its buckets may be given 0.0001 to 10 seconds.
//! * **quarantined** counts a `snapshot` that cannot be read (its breaker starts closed, and the bytes are kept under
//!   the key `circuit_breaker:{name}:quarantine`, unless it was the store that could not read them), and a `folder`
//!   that [`SledStore`] cannot read and has moved aside. Both happen when breakers are built, as a rule, and so before
//!   anybody has looked at the counter: ask whether it is above 0, not whether it grows.
//!
//! A useful alarm is `circuit_breaker_store_healthy == 0` for some minutes: until then, a restart forgets what
//! `circuit_breaker_store_pending` breakers know.
//!
//! # The label `store`
//!
//! It is the store's [`label`]: `sled`, `file`, `memory`, `custom` for stores of your own, or what you choose. If
//! several stores of the process have the same one, they are told as one: healthy if all of them are, and the sum of
//! what is pending.
//!
//! ```
//! use tower_breaker::{Breaker, MemoryStore};
//!
//! let store = MemoryStore::new().with_label("sessions");
//! let breaker = Breaker::builder("payments").store(store).build()?;
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```
//!
//! # When
//!
//! Nothing is told on a request's way: all of it happens on the thread that writes to the store, or at the moment that
//! somebody finds that it hangs. The gauges are set at each change of the health, within a second after anything was
//! saved, and every five seconds besides; so a recorder that is installed after the breakers were built has them five
//! seconds later. Counters and the histogram begin with what happens after the recorder was installed: install it
//! first, or an unreadable snapshot that was found at the start is in the log alone. Both results and both kinds are
//! there from the first telling on, as 0.
//!
//! A process whose breakers are all gone keeps the health that the store had last, with nothing pending. A local
//! recorder (`metrics::with_local_recorder`) is told nothing. A recorder that panics harms nobody.
//!
//! [`StoreHealth`]: crate::StoreHealth
//! [`Breaker::store_health`]: crate::Breaker::store_health
//! [`SledStore`]: crate::store::SledStore
//! [`Unavailable`]: crate::StoreError::Unavailable
//! [`Misconfigured`]: crate::StoreError::Misconfigured
//! [`save`]: crate::StateStore::save
//! [`save_all`]: crate::StateStore::save_all
//! [`append`]: crate::store::HistoryStore::append
//! [`append_all`]: crate::store::HistoryStore::append_all
//! [`label`]: crate::StateStore::label

mod store;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

pub(crate) use store::{StoreMetrics, quarantined};

/// Whether there is anybody to tell.
pub(crate) const ENABLED: bool = true;

/// A recorder is anybody's code, and whoever calls it has something better to do than to panic. Describes all there
/// is to a recorder that was told of nothing yet.
fn tell(what: impl FnOnce()) {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let recorder =
            ::metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr());
        if KNOWN.swap(recorder, Relaxed) != recorder {
            store::describe();
        }
        what();
    }));
}
