//! What the writer knows of its store's health, and whom it tells.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use super::{
    StoreHealth,
    entry::Entry,
    round::{Verdict, is_outage},
    writer::{Writer, refuse},
};
use crate::{store::StoreError, sync::std_lock as lock};

impl Writer {
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    pub(super) fn busy_for(&self) -> Option<Duration> {
        lock(&self.busy).map(|since| since.elapsed())
    }

    /// The store does not answer: nobody is left waiting for it.
    pub(super) fn stall(&self, waited: Duration) {
        if self.stalled.swap(true, SeqCst) {
            return;
        }
        let reason =
            format!("the store does not answer (waited {:.1} s so far)", waited.as_secs_f64());
        self.degrade(reason.clone());
        let mut queue = lock(&self.queue);
        let mut asks = std::mem::take(&mut queue.in_flight);
        asks.append(&mut queue.asks);
        for ask in &asks {
            queue.put_back(&ask.entry);
        }
        // Should the store have answered just now, the next try finds out.
        queue.conclude(Verdict::Away);
        drop(queue);
        self.wake.notify_one();
        refuse(asks, &reason);
        for reading in self.take_readings() {
            reading.refuse(&reason);
        }
    }

    pub(super) fn degrade(&self, reason: String) {
        let mut degraded = lock(&self.degraded);
        if let Some((_, known)) = &mut *degraded {
            *known = reason;
            return;
        }
        *degraded = Some((SystemTime::now(), reason.clone()));
        drop(degraded);
        tracing::warn!(
            target: "tower_breaker",
            reason,
            "the store of the circuit breakers is degraded: they go on in memory, and the store is tried again \
             and again; what is not saved by then, a restart forgets",
        );
        self.announce();
    }

    /// What was met by the way, outside of a round. A store says once that what was saved earlier is gone, to
    /// whoever asks first, so this counts as a failed round does: the next try heals, and everybody saves again.
    pub(super) fn note_failure(&self, error: &StoreError) {
        if is_outage(error) {
            self.degrade(error.to_string());
            lock(&self.queue).conclude(Verdict::Away);
        }
    }

    pub(super) fn heal(&self) {
        let Some((since, _)) = lock(&self.degraded).take() else { return };
        let seconds = since.elapsed().unwrap_or_default().as_secs_f64();
        tracing::info!(
            target: "tower_breaker",
            degraded_seconds = seconds,
            "the store of the circuit breakers works again: saving what it missed",
        );
        self.announce();
    }

    fn announce(&self) {
        self.tell_gauges();
        let entries = lock(&self.queue).entries.iter().map(Arc::clone).collect::<Vec<_>>();
        self.tell(&entries);
    }

    /// Tells these how the store is. That may take as long as listeners like, and change meanwhile: then whoever
    /// finds out first may be the last to tell, so everybody looks again afterwards.
    pub(super) fn tell(&self, entries: &[Arc<Entry>]) {
        loop {
            let health = self.health();
            for entry in entries {
                entry.tell(&health);
            }
            if self.is_healthy() == health.is_healthy() {
                return;
            }
        }
    }

    /// Without counting who is not saved, as [`health`](Self::health) does.
    pub(super) fn is_healthy(&self) -> bool {
        lock(&self.degraded).is_none()
    }

    pub(super) fn health(&self) -> StoreHealth {
        let Some((since, reason)) = lock(&self.degraded).clone() else {
            return StoreHealth::Healthy;
        };
        StoreHealth::Degraded { since, reason, pending: self.pending() }
    }

    /// How many breakers there are on the store whose newest state is not saved.
    pub(super) fn pending(&self) -> usize {
        // A breaker that changes meanwhile waits for the queue, but not until all of them are counted.
        const PART: usize = 1024;
        let mut pending = 0;
        for from in (0..).step_by(PART) {
            let queue = lock(&self.queue);
            let Some(part) = queue.entries.part(from, PART) else { break };
            pending += part.filter(|entry| entry.is_pending()).count();
        }
        pending
    }
}
