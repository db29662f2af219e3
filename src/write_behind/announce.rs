//! A store that hangs is reported here ([`Inbox::stall`]), and changes of a store's health are
//! announced: to the log, the metrics, the listeners, and to callers that wait.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    entry::Entry,
    health::{self, Announcement, HealthAt, Instants},
    inbox::{FORKED, Inbox},
    inboxes,
    listener_thread::Pending,
    threads,
    watchdog::Watched,
};
use crate::{health::StoreHealth, sync::log};

impl Inbox {
    /// A caller has waited this long, and the store does not answer. Every request is refused from
    /// now on until it does.
    pub(super) fn stall(&self, waited: Duration) {
        let Some(change) = self.monitor.health().overdue(waited, Instants::read()) else { return };
        let mut content = self.content();
        // If the store answers just now, these requests are refused anyway.
        let (in_flight, waiting, histories) = content.requests.take_all();
        for request in &waiting {
            content.postpone(request);
        }
        content.postpone_unawaited();
        drop(content);
        self.wake.notify_one();
        self.departed.notify_all();
        let reason = health::stalled_for(waited);
        for request in in_flight.into_iter().chain(waiting) {
            request.refuse_for_now(&reason);
        }
        for request in histories {
            request.refuse(&reason);
        }
        // If no thread can be started, listeners are called later: this one may drop a breaker.
        let _ = self.announce(change.announcement);
    }

    /// Announces a change of the health. Returns whether there is a thread that calls the
    /// listeners: this one, if it is the writer's.
    pub(super) fn announce(&self, announcement: Option<Announcement>) -> bool {
        let label = self.monitor.metrics.label();
        match announcement {
            None => return true,
            Some(Announcement::Degraded { reason }) => log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    store = label,
                    reason,
                    "store degraded: continuing in memory and retrying; unsaved state is lost on \
                     restart, so make the store available again",
                );
            }),
            Some(Announcement::Healthy { after }) => log(|| {
                tracing::info!(
                    target: "tower_breaker",
                    store = label,
                    degraded_seconds = after.as_secs_f64(),
                    "store works again: saving what changed meanwhile",
                );
            }),
        }
        self.record_gauges();
        if self.is_this_thread() {
            self.announce_to_all();
            return true;
        }
        self.notify(None)
    }

    /// Calls the listeners of every breaker.
    pub(super) fn announce_to_all(&self) {
        let change = self.health_at();
        self.for_each_entry(|entry| entry.announce(&change, || self.health_at()));
    }

    /// Tells the listeners of a new breaker how the store is.
    pub(super) fn announce_to_new(&self, entry: &Arc<Entry>) {
        // Listeners begin with a healthy store.
        if self.monitor.health().is_healthy() {
            return;
        }
        let newest = || self.monitor.health().epoch();
        if !entry.skip_announcements(newest) && !self.notify(Some(entry)) {
            self.announce_to(entry);
        }
    }

    /// Has a thread of its own call the listeners of this breaker, or of every one. `false` if none
    /// can be started: then the next event tries again, or the writer's thread does it.
    fn notify(&self, entry: Option<&Arc<Entry>>) -> bool {
        self.listener_thread.add(entry, || {
            let Some(inbox) = self.own.upgrade() else { return false };
            let work = move || {
                while let Some(pending) = inbox.listener_thread.next() {
                    inbox.deliver(&pending);
                }
            };
            threads::spawn("breaker-events", work).is_ok()
        })
    }

    /// Delivers what no thread could be started for. For the writer's thread.
    pub(super) fn deliver_left(&self) {
        if let Some(pending) = self.listener_thread.take_left() {
            self.deliver(&pending);
        }
    }

    fn deliver(&self, pending: &Pending) {
        if pending.to_all {
            self.announce_to_all();
        } else {
            pending.to.iter().for_each(|entry| self.announce_to(entry));
        }
    }

    /// Calls the listeners of one breaker.
    pub(super) fn announce_to(&self, entry: &Entry) {
        entry.announce(&self.health_at(), || self.health_at());
    }

    /// The health of the store, as users see it.
    ///
    /// The asking thread looks for itself: the threads that do so otherwise may not exist.
    pub(super) fn status(&self) -> StoreHealth {
        self.starter.retry();
        self.check_call(self.monitor.patience);
        self.health_at().health
    }

    /// The health in a process that was forked from the writer's.
    pub(super) fn forked_status(&self) -> StoreHealth {
        // The lock may have been held when the process was forked: then it is held forever.
        let pending = self.try_content().map_or(0, |content| content.schedule.pending());
        let since = *self.forked_since.get_or_init(SystemTime::now);
        StoreHealth::Degraded { since, reason: FORKED.to_owned(), pending }
    }

    fn health_at(&self) -> HealthAt {
        let pending = self.content().schedule.pending();
        let health = self.monitor.health();
        HealthAt { epoch: health.epoch(), health: health.status(pending) }
    }

    /// Records the gauges of the store, together with other stores of the same label: a healthy
    /// one must not hide one that is not.
    pub(super) fn record_gauges(&self) {
        self.record_gauges_with(Some(self));
    }

    /// Records them at the end of this inbox: a store that no breaker uses is in no trouble, so
    /// that an alert on it ends.
    pub(super) fn record_gauges_without(&self) {
        self.record_gauges_with(None);
    }

    fn record_gauges_with(&self, own: Option<&Self>) {
        self.monitor.metrics.record_gauges(|| {
            let mut inboxes = inboxes::all();
            inboxes.retain(|other| {
                other.monitor.metrics == self.monitor.metrics
                    && !std::ptr::eq(Arc::as_ptr(other), self)
            });
            inboxes.iter().map(Arc::as_ref).chain(own).fold((true, 0), |sum, inbox| {
                let pending = inbox.content().schedule.pending();
                (sum.0 && inbox.monitor.health().is_healthy(), sum.1 + pending)
            })
        });
    }
}

impl Watched for Inbox {
    fn check(&self) -> bool {
        self.starter.retry();
        let age = self.monitor.health().call_age(Instant::now());
        if let Some(age) = age.filter(|age| *age >= self.monitor.patience) {
            self.stall(age);
            // The writer's thread cannot.
            self.record_gauges();
        }
        age.is_some()
    }
}
