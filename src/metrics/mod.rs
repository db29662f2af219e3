//! Metrics, recorded with the [`metrics`] facade, and as values.
//!
//! With the feature `metrics`, every breaker counts its calls. The metrics below are recorded with
//! the global recorder of the program, for instance that of metrics-exporter-prometheus; with
//! OpenTelemetry, that of metrics-exporter-otel, as `examples/opentelemetry` shows. The same
//! numbers are in [`Breaker::metrics`], with a recorder or without. [`CallMetrics`], a setting of
//! the breaker, turns all of that off, or adds the durations of calls. The example `observability`
//! has a Grafana dashboard and alerts.
//!
//! # Breakers
//!
//! | name | kind | labels | value |
//! |---|---|---|---|
//! | `circuit_breaker_calls_total` | counter | `outcome`: `success`, `failure`, `throttled`, `ignored`, `cancelled`, `rejected` | calls that have ended: each is counted once |
//! | `circuit_breaker_slow_calls_total` | counter | | calls that took longer than a slow-call rule allows |
//! | `circuit_breaker_state` | gauge | `state`: `closed`, `open`, `half_open`, `forced_open`, `disabled`, `metrics_only` | 1 for the state that the breaker is in, 0 for the others |
//! | `circuit_breaker_state_seconds_total` | counter | `state` | how long the breaker has been in each state, in whole seconds |
//! | `circuit_breaker_transitions_total` | counter | `from`, `to`, `reason` ([`Reason`]) | changes of the state |
//! | `circuit_breaker_failure_ratio` | gauge | | share of failed calls in the window of the first failure-rate rule; absent without one |
//! | `circuit_breaker_slow_call_ratio` | gauge | | share of slow calls in the window of the first slow-call rule; absent without one |
//! | `circuit_breaker_probes_total` | counter | `outcome`: as of calls, `slow`, `unfinished` | probes that have ended, among them health checks |
//! | `circuit_breaker_unrecorded_calls_total` | counter | | calls that passed a full group of keyed breakers; of groups alone |
//! | `circuit_breaker_would_trip_total` | counter | `prevented_by`: `max_open_ratio` (of groups alone), `metrics_only` | how often a rule would have opened the circuit, and what has prevented it ([`WouldTrip`]) |
//! | `circuit_breaker_call_duration_seconds` | histogram | `outcome`: as of calls, without `rejected` | the duration of each admitted call, in seconds; with [`CallMetrics::Durations`] alone |
//!
//! Each has the label `name`: the breaker's name.
//!
//! * **calls**: what each outcome includes is in [`CallCounts`]. A call that passes the same
//!   breaker twice is counted once. Exempt requests and health checks are no calls.
//! * **state** is reported within a second, also without traffic, so that an alert on it ends. The
//!   facade cannot remove a series: a breaker that is gone is in no state, all six are 0. Several
//!   breakers of one name are reported together, and the gauge is the number of those in each
//!   state.
//! * **transitions**: those that a breaker usually makes are present from the start, as 0.
//! * **duration**: from the admission until the outcome is recorded or the call is given up, by the
//!   breaker's clock. A value is reported up to 1.6% too high or too low; what is below 1 us or
//!   above 73 minutes, as about that. Buckets from 0.001 to 60 seconds fit most calls.
//!   A response whose body is still to be classified, as with `on_body_end` and `grpc`, counts
//!   until its head has arrived.
//!
//! ## Keyed breakers
//!
//! The breakers of [`KeyedBreakers`] are reported together, with the name of the group. Each
//! `circuit_breaker_state` is the number of breakers in that state, and a ratio is that of all
//! windows together. With [`metrics_by_key`], the first keys have series of their own, with a label
//! `key`, and all others share `other`: invented keys make no series without end.
//!
//! ## Cost
//!
//! The end of a call adds one to a counter that its thread alone writes: no lock, and nothing that
//! another thread waits for. A healthy call takes some 60 instructions more with it, and 3 ns
//! on the machine of the benches; with `Off`, none. Once a second, the timer thread collects
//! the counters, if a recorder is installed.
//!
//! That holds for the first 1,024 names that are in use; a keyed group is one name, and with
//! [`metrics_by_key`] each key is. The counter of a further name takes a little longer to find.
//! From 65,536 names on, calls are counted where all threads count them, by a read-modify-write.
//!
//! A duration takes more: the time is read twice, and a counter that all threads share is increased
//! by a read-modify-write. The recorder is not called, however many calls there are: the
//! timer thread hands it the counters. A keyed group has a breaker for each key then, as
//! with a rate rule.
//!
//! ## Memory
//!
//! | what | how much | how long |
//! |---|---|---|
//! | numbers of a breaker | up to 1 KiB, from its first call on | until a second after it is dropped |
//! | counters that all threads share | 64 bytes for each name in use | for later names |
//! | counters of a thread | 64 bytes for each name in use, up to 1,024 names: 64 KiB | for a later thread when it ends |
//! | counters of a thread for further names | 1 KiB for each 16 names with calls on it: up to 4 MiB | for a later thread when it ends |
//! | durations | 4 KiB for each `outcome` that the calls of a name have had: up to 20 KiB | as long as the name is in use; those of some dozens of names for a while longer |
//!
//! A breaker that has had no call takes nothing until a recorder is installed, or
//! [`Breaker::metrics`] is called in the process, so its first call allocates.
//!
//! A name is in use from the first call of one of its breakers until a second after the last of
//! them is dropped. What is kept for later names and threads is used again and not returned to the
//! system: it is as much as the most names, and the most threads, that there were at one time have
//! taken: 640 KB after 10,000 names.
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
//!   degraded 1 to 1.5 s after a call began, and earlier if a caller waits for it.
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
//!   are usually found when breakers are built, before the first scrape: alert on a value above
//!   that of a day ago, or above 0 if there was none, as the example `observability` does.
//!
//! A useful alert is `circuit_breaker_store_healthy == 0` for some minutes: until it is resolved, a
//! restart loses the state of `circuit_breaker_store_pending` breakers.
//!
//! # Fleets
//!
//! With the feature `redis`, the gauge `circuit_breaker_fleet_joined` is 1 while this process
//! reaches its [fleet](crate::fleet), and 0 while its breakers decide alone. The gauge
//! `circuit_breaker_fleet_replicas` is the number of replicas that the fleet's server has heard of
//! within ten seconds, this one among them, and 0 while this process does not reach it.
//!
//! # The label `store`
//!
//! Its value is the store's [`label`]: `sled`, `redb`, `file`, `redis`, `memory`, `custom` for
//! stores of your own, or one that you choose. Stores with the same label are reported as one:
//! healthy if all of them are, with the sum of what is pending. The two stores of a
//! [`Tiered`](crate::store::Tiered) are reported apart; if their labels are the same, that of the
//! far one gets `_far` appended.
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
//! Never on the path of a call. Those of breakers are recorded each second, if they have changed;
//! gauges that have not changed are set again each five seconds. A recorder that is installed
//! later gets what the living breakers have counted
//! since they were built, within a second. Without one, nothing is recorded.
//!
//! The timer thread publishes those of breakers. If it cannot be started (a limit of the
//! user or the container), or if the process was forked from the one in which it runs, it is
//! started by what happens next of these: a breaker is built, a circuit opens, [`Breaker::metrics`]
//! is called, or a call ends on a thread on which none has ended before. Under such a limit, a
//! thread that makes its first call counts without a line of its own until the timer thread
//! runs, and each of its calls tries again.
//!
//! For stores, the thread that writes records them, or the thread that notices that the store
//! hangs. The gauges are set at each change of the health, within a
//! second after each write, and every five seconds; so a recorder that is installed after the
//! breakers were built has them five seconds later. Their counters and the histogram begin when the
//! recorder is installed: install it first, or an unreadable snapshot that is found at the start is
//! only in the log. Every value of `result` and `kind` is present from the first recording on, as
//! 0.
//!
//! A store whose breakers are all gone counts as healthy, with nothing pending, so that an alert on
//! it ends.
//! Local recorders (`metrics::with_local_recorder`) record nothing. A recorder that panics affects
//! neither calls nor the store.
//!
//! [`Breaker::metrics`]: crate::Breaker::metrics
//! [`CallMetrics`]: crate::config::CallMetrics
//! [`CallMetrics::Durations`]: crate::config::CallMetrics::Durations
//! [`KeyedBreakers`]: crate::KeyedBreakers
//! [`Reason`]: crate::event::Reason
//! [`WouldTrip`]: crate::event::WouldTrip
//! [`metrics_by_key`]: crate::registry::KeyedBreakersBuilder::metrics_by_key
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

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[cfg(feature = "keyed")]
pub(crate) use calls::Labels;
pub(crate) use calls::{
    BreakerMeter, CellMeter, Counted, CountedBreaker, MeterSlot, StatsSource, begin_all, is_read,
};
pub use calls::{BreakerMetrics, CallCounts, PreventedCounts, ProbeCounts, TransitionCount};
#[cfg(feature = "redis")]
pub(crate) use fleet::{fleet_joined, fleet_replicas};
pub(crate) use store::{StoreMetrics, quarantined};

use crate::sync::caught;

/// Whether anything is recorded.
pub(crate) const ENABLED: bool = true;

/// The address of the recorder that is installed. `None` if there is none.
///
/// The facade does not tell: it has a recorder that does nothing then. It is a `static` without a
/// size. One that is installed is in a `Box`, whose address says so if it has no size either.
fn recorder() -> Option<usize> {
    ::metrics::with_recorder(|recorder| {
        let address = std::ptr::from_ref(recorder).cast::<()>().addr();
        let is_boxed = size_of_val(recorder) > 0 || address == align_of_val(recorder);
        is_boxed.then_some(address)
    })
}

/// Records something. A new recorder gets the descriptions first, and one that panics must not
/// affect the thread that records. The argument of the closure tells recorders apart.
fn record(record: impl FnOnce(usize)) {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let Some(recorder) = recorder() else { return };
    let _ = caught(|| {
        if KNOWN.swap(recorder, Relaxed) != recorder {
            store::describe();
            #[cfg(feature = "redis")]
            fleet::describe();
            calls::describe();
        }
        record(recorder);
    });
}
