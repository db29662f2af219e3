//! What is told of stores.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use metrics::{
    Unit::{Count, Seconds},
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::tell;
use crate::{store::StateStore, sync::std_lock as lock};

const HEALTHY: &str = "circuit_breaker_store_healthy";
const PENDING: &str = "circuit_breaker_store_pending";
const WRITES: &str = "circuit_breaker_store_writes_total";
const WRITE_DURATION: &str = "circuit_breaker_store_write_duration_seconds";
const QUARANTINED: &str = "circuit_breaker_store_quarantined_total";

/// What a call that saves came to.
const RESULTS: [&str; 2] = ["ok", "error"];
/// What can turn out to be unreadable.
const KINDS: [&str; 2] = ["snapshot", "folder"];

/// One store, as the recorder knows it.
#[derive(PartialEq, Eq)]
pub(crate) struct StoreMetrics {
    label: Arc<str>,
}

impl StoreMetrics {
    pub(crate) fn of(store: &dyn StateStore) -> Self {
        Self { label: store.label().into() }
    }

    /// Writes, and tells how that went.
    pub(crate) fn write<T, E>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = Instant::now();
        let written = write();
        let seconds = began.elapsed().as_secs_f64();
        tell(|| {
            self.count_writes(RESULTS[usize::from(written.is_err())], 1);
            histogram!(WRITE_DURATION, "store" => self.label.clone()).record(seconds);
        });
        written
    }

    /// Tells whether the store is healthy, and how many breakers are not saved.
    pub(crate) fn tell_gauges(&self, gauges: impl FnOnce() -> (bool, usize)) {
        // What was found out first must not be told last.
        static TELLING: Mutex<()> = Mutex::new(());
        tell(|| {
            let _telling = lock(&TELLING);
            let (healthy, pending) = gauges();
            // A counter that begins with its first event has not grown, as far as `increase` can see.
            for result in RESULTS {
                self.count_writes(result, 0);
            }
            for kind in KINDS {
                count_quarantined(&self.label, kind, 0);
            }
            gauge!(HEALTHY, "store" => self.label.clone()).set(f64::from(u8::from(healthy)));
            gauge!(PENDING, "store" => self.label.clone()).set(pending as f64);
        });
    }

    fn count_writes(&self, result: &'static str, count: u64) {
        counter!(WRITES, "store" => self.label.clone(), "result" => result).increment(count);
    }
}

/// Tells of something that could not be read: a `snapshot` or a `folder`.
pub(crate) fn quarantined(label: &str, kind: &'static str) {
    tell(|| count_quarantined(label, kind, 1));
}

fn count_quarantined(label: &str, kind: &'static str, count: u64) {
    counter!(QUARANTINED, "store" => label.to_owned(), "kind" => kind).increment(count);
}

pub(super) fn describe() {
    describe_gauge!(
        HEALTHY,
        "1 if the store of the circuit breakers did what it was last asked, 0 if it failed or does not answer"
    );
    describe_gauge!(PENDING, Count, "Circuit breakers whose newest state is not saved");
    describe_counter!(
        WRITES,
        Count,
        "Calls to the store that save states or histories of circuit breakers, by how they ended"
    );
    describe_histogram!(
        WRITE_DURATION,
        Seconds,
        "How long calls to the store took that save states or histories of circuit breakers"
    );
    describe_counter!(
        QUARANTINED,
        Count,
        "Snapshots and folders of circuit breakers that could not be read, and were kept aside"
    );
}
