//! The metrics of stores.

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
    time::Instant,
};

use metrics::{
    Unit::{Count, Seconds},
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::record;
use crate::sync::std_lock;

const HEALTHY: &str = "circuit_breaker_store_healthy";
const PENDING: &str = "circuit_breaker_store_pending";
const WRITES: &str = "circuit_breaker_store_writes_total";
const WRITE_DURATION: &str = "circuit_breaker_store_write_duration_seconds";
const QUARANTINED: &str = "circuit_breaker_store_quarantined_total";

/// The values of the label `result`.
const RESULTS: [&str; 2] = ["ok", "error"];
/// The values of the label `kind`.
const KINDS: [&str; 2] = ["snapshot", "folder"];

/// The metrics of the stores with one label.
#[derive(PartialEq, Eq)]
pub(crate) struct StoreMetrics {
    label: Arc<str>,
}

impl StoreMetrics {
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.into() }
    }

    /// The value of the label `store`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Runs a call that saves, and records its result and duration.
    pub(crate) fn record_write<T, E>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = Instant::now();
        let written = write();
        let seconds = began.elapsed().as_secs_f64();
        record(|_| {
            self.count_writes(RESULTS[usize::from(written.is_err())], 1);
            histogram!(WRITE_DURATION, "store" => self.label.clone()).record(seconds);
        });
        written
    }

    /// Records whether the stores are healthy, and how many breakers are not saved.
    pub(crate) fn record_gauges(&self, read: impl FnOnce() -> (bool, usize)) {
        // Values must be recorded in the order in which they were read.
        static RECORDING: Mutex<()> = Mutex::new(());
        thread_local! {
            /// A recorder is user code. It may use a breaker, and so get here again.
            static IS_RECORDING: Cell<bool> = const { Cell::new(false) };
        }
        if IS_RECORDING.get() {
            // The gauges are recorded again within seconds.
            return;
        }
        IS_RECORDING.set(true);
        record(|_| {
            let _recording = std_lock(&RECORDING);
            let (healthy, pending) = read();
            // To the function `increase` of Prometheus, a counter that begins with its first event
            // has not increased.
            for result in RESULTS {
                self.count_writes(result, 0);
            }
            for kind in KINDS {
                count_quarantined(&self.label, kind, 0);
            }
            gauge!(HEALTHY, "store" => self.label.clone()).set(f64::from(u8::from(healthy)));
            gauge!(PENDING, "store" => self.label.clone()).set(pending as f64);
        });
        IS_RECORDING.set(false);
    }

    fn count_writes(&self, result: &'static str, count: u64) {
        counter!(WRITES, "store" => self.label.clone(), "result" => result).increment(count);
    }
}

/// Counts an unreadable `snapshot` or `folder`.
pub(crate) fn quarantined(label: &str, kind: &'static str) {
    record(|_| count_quarantined(label, kind, 1));
}

fn count_quarantined(label: &str, kind: &'static str, count: u64) {
    counter!(QUARANTINED, "store" => label.to_owned(), "kind" => kind).increment(count);
}

pub(super) fn describe() {
    describe_gauge!(
        HEALTHY,
        "1 if the store of the circuit breakers works, \
         0 if it is degraded: it fails or does not answer"
    );
    describe_gauge!(PENDING, Count, "Circuit breakers whose newest state is not saved");
    describe_counter!(
        WRITES,
        Count,
        "Calls to the store that save states or histories of circuit breakers, by result"
    );
    describe_histogram!(
        WRITE_DURATION,
        Seconds,
        "Duration of calls to the store that save states or histories of circuit breakers"
    );
    describe_counter!(
        QUARANTINED,
        Count,
        "Unreadable snapshots and folders of circuit breakers that were kept aside"
    );
}
