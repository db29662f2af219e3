//! How a breaker that is dropped parts from its store.
//!
//! | its snapshot | the store | what happens |
//! |---|---|---|
//! | of a newer release | any | Nothing may be saved: the entry is forgotten. |
//! | not read | cannot be read, or does not answer | The same. |
//! | not read | otherwise | One attempt to read it and to save the state. The drop waits for it. |
//! | read | healthy | Attempts until the state is saved. The drop waits for them. |
//! | read | degraded | One attempt. The drop waits for it. |
//! | read | has just failed to save | One attempt. The drop does not wait for it. |
//! | read | does not answer | The last state is kept until it does. The drop does not wait. |
//!
//! Of several breakers of one name, only the [owner](super::owners) is saved; the others are
//! forgotten.
//!
//! No wait is longer than the `drop_wait` of the [configuration]. The drop of the last breaker on a
//! store also waits until the store is released, so that its folder can be opened again.
//!
//! [configuration]: super::WriteBehindConfig

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    entry::{Entry, Urgency},
    inbox::{Inbox, Lifecycle},
    request::{Request, Wanted},
    schedule::after,
    states::ReadState,
};

/// The most breakers that are gone and whose last states wait for one store: breakers that come
/// and go while a store does not answer must not fill the memory.
const MAX_DEPARTING: usize = 1000;

/// What is known when a breaker is dropped.
struct Prospects {
    /// Whether the state may be saved at all.
    can_save: bool,
    /// Whether the snapshot was read, so that the breaker's state is newer.
    is_read: bool,
    /// Whether the last state may stay until the store takes it.
    has_room: bool,
    store: Outlook,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Healthy,
    Degraded,
    /// The next attempt is expected to fail.
    Fails,
    DoesNotAnswer,
}

/// How the wait for the writer ended.
#[derive(PartialEq, Eq)]
enum Parting {
    /// The writer is done with the entry.
    Gone,
    /// The store does not answer.
    Stalled,
    /// Time is up, after attempts that failed.
    Failed,
    /// Time is up, and there was no answer.
    TimedOut,
}

impl Inbox {
    /// Saves the last state of a breaker, as far as that is possible.
    pub(super) fn depart(&self, entry: &Arc<Entry>, drop_wait: Duration) {
        let now = Instant::now();
        let deadline = after(now, drop_wait);
        self.take_over(entry);
        self.keep_for_others(entry);
        if entry.is_suspended() {
            self.forget(entry);
            return self.wait_for_end(deadline);
        }
        let prospects = self.prospects(entry, now);
        // For later attempts, the breaker itself is gone.
        let has_words = prospects.can_save && prospects.is_read && entry.keep_last_words();
        let may_stay = has_words && prospects.has_room;
        if !prospects.can_save || (prospects.store == Outlook::DoesNotAnswer && !may_stay) {
            self.forget(entry);
        } else {
            let is_healthy = prospects.store == Outlook::Healthy;
            self.request_departure(entry, if is_healthy { deadline } else { now });
        }
        if drop_wait.is_zero() {
            // What is not read yet needs the breaker to be saved.
            if !may_stay {
                self.forget(entry);
            }
            return;
        }
        if self.is_this_thread() || prospects.store == Outlook::DoesNotAnswer {
            return;
        }
        let is_in_vain = may_stay && prospects.store == Outlook::Fails;
        if prospects.can_save && !is_in_vain {
            let parting = self.wait_until_gone(entry, deadline);
            if parting == Parting::TimedOut {
                self.stall(drop_wait);
            }
            if parting == Parting::Gone || !may_stay {
                self.forget(entry);
            }
            if parting != Parting::Gone {
                return;
            }
        }
        self.wait_for_end(deadline);
    }

    fn prospects(&self, entry: &Entry, now: Instant) -> Prospects {
        let content = self.content();
        let read = content.schedule.read_state(entry.id);
        let has_room = content.schedule.departing() < MAX_DEPARTING;
        let is_running = content.lifecycle == Lifecycle::Running;
        let health = self.monitor.health();
        let can_save = match read {
            Some(ReadState::Read) => true,
            Some(ReadState::Unread | ReadState::Failed) => !health.predicts_failed_read(now),
            Some(ReadState::NewerVersion(_)) | None => false,
        };
        let store = if health.is_stalled() {
            Outlook::DoesNotAnswer
        } else if health.predicts_failed_save(now) {
            Outlook::Fails
        } else if health.is_healthy() {
            Outlook::Healthy
        } else {
            Outlook::Degraded
        };
        let is_read = read == Some(ReadState::Read);
        Prospects { can_save: can_save && is_running, is_read, has_room, store }
    }

    /// Keeps the state of the breaker for other breakers of its name, if there are any: they may be
    /// about to take it over.
    fn keep_for_others(&self, entry: &Entry) {
        if self.content().owners.has_others(entry) {
            entry.keep_state();
        }
    }

    fn request_departure(&self, entry: &Arc<Entry>, try_until: Instant) {
        entry.mark(Urgency::Transition);
        let mut content = self.content();
        let heir = content.depart(entry, try_until);
        content.schedule.mark(entry.id, Urgency::Transition, Instant::now());
        content.requests.waiting.push(Request { entry: entry.id, wanted: Wanted::Departure });
        drop(content);
        self.wake.notify_one();
        self.pass_on(heir);
    }

    fn wait_until_gone(&self, entry: &Entry, deadline: Instant) -> Parting {
        let mut content = self.content();
        loop {
            if !content.schedule.contains(entry.id) {
                return Parting::Gone;
            }
            if self.monitor.health().is_stalled() {
                return Parting::Stalled;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let has_failed = content.schedule.has_save_failed(entry.id);
                return if has_failed { Parting::Failed } else { Parting::TimedOut };
            };
            let waited = self.departed.wait_timeout(content, left);
            content = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the store is released, unless a breaker is left on it, or comes.
    fn wait_for_end(&self, deadline: Instant) {
        let mut content = self.content();
        while content.lifecycle != Lifecycle::Ended
            && content.schedule.is_deserted()
            && !self.monitor.health().is_stalled()
        {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            content.awaits_end += 1;
            let waited = self.departed.wait_timeout(content, left);
            content = waited.unwrap_or_else(PoisonError::into_inner).0;
            content.awaits_end -= 1;
        }
    }

    /// Removes an entry, whatever there is still to save.
    fn forget(&self, entry: &Entry) {
        let mut content = self.content();
        let heir = content.remove(entry);
        let is_last = content.schedule.is_empty();
        drop(content);
        self.keep_for_others(entry);
        self.pass_on(heir);
        entry.release();
        if is_last {
            self.wake.notify_one();
        }
    }
}
