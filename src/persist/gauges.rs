//! What is told of a store's health to whoever records metrics, and when.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::writer::{self, Writer};
use crate::metrics;

/// Each telling looks at every breaker on the store.
const REST: Duration = Duration::from_secs(1);
/// Told so often though nothing happened: the recorder may be a new one, that was told of nothing yet.
const AGAIN: Duration = Duration::from_secs(5);

/// When the writer's thread tells the gauges, besides each change of the store's health.
#[derive(Default)]
pub(super) struct Gauges {
    told: Option<Instant>,
    /// Something was done since.
    stale: bool,
}

impl Gauges {
    /// When they are to be told though there is nothing else to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let told = self.told.filter(|_| metrics::ENABLED)?;
        Some(told + if self.stale { REST } else { AGAIN })
    }

    /// To be called when the thread has done something.
    pub(super) fn tell(&mut self, writer: &Writer) {
        if !metrics::ENABLED {
            return;
        }
        let now = Instant::now();
        self.stale = self.told.is_some_and(|told| now.duration_since(told) < REST);
        if !self.stale {
            self.told = Some(now);
            writer.tell_gauges();
        }
    }
}

impl Writer {
    /// Tells how the store is now, together with the others that have its label: one that is well must not hide
    /// one that is not.
    pub(super) fn tell_gauges(&self) {
        self.metrics.tell_gauges(|| {
            let mut writers = writer::all();
            writers.retain(|other| {
                other.metrics == self.metrics && !std::ptr::eq(Arc::as_ptr(other), self)
            });
            writers.iter().map(Arc::as_ref).chain([self]).fold(
                (true, 0),
                |(healthy, pending), writer| {
                    (healthy && writer.is_healthy(), pending + writer.pending())
                },
            )
        });
    }
}
