//! How a breaker that is dropped parts from its store.
//!
//! | its state | the store | what happens |
//! |---|---|---|
//! | saved, or never changed | any | The entry is forgotten: there is nothing to do. |
//! | cannot be saved: the snapshot is of a newer release | any | The same. |
//! | its snapshot was not read | cannot be read, or does not answer | The same. |
//! | its snapshot was not read | otherwise | One attempt to read it and to save the state. The drop waits for it. |
//! | not saved | healthy | Attempts until the state is saved. The drop waits for them. |
//! | not saved | degraded | One attempt. The drop waits for it. |
//! | not saved | has just failed to save | The last state is kept for one attempt. The drop does not wait for it. |
//! | not saved | does not answer | The last state is kept until it does. The drop does not wait. |
//!
//! *Just failed* is as long as the store's [health](super::health#predictions) predicts that the
//! next save fails as well. An entry whose attempts have ended is forgotten, saved or not.
//!
//! No more than [a thousand](MAX_DEPARTING) last states are kept. Beyond that, a state is lost if
//! the store does not answer, and otherwise if it is not saved while the drop waits. Where nothing
//! is kept, a store that has just failed is not called at all if there is [no time](SHORTEST_WAIT)
//! to wait for it.
//!
//! Of several breakers of one name, only the [owner](super::owners) is saved; the others are
//! forgotten.
//!
//! No drop waits longer than a second, and those that follow each other within a second wait no
//! longer [together](crate::store::DropWait), whatever their stores. The second of them on a store
//! has everything saved that had changed before, for the others to find it done. The drop of the
//! last breaker on a store also waits until the store is released, so that its folder can be opened
//! again. The writer's thread releases it, however long that takes.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    content::{InboxContent, Lifecycle},
    entry::{Entry, Urgency},
    inbox::Inbox,
    lanes::after,
    request::{Wanted, WriterRequest},
    states::ReadState,
};
use crate::{reply::reply, store::DropWait};

/// The most breakers that are gone and whose last states wait for one store: breakers that come
/// and go while a store does not answer must not fill the memory.
pub(super) const MAX_DEPARTING: usize = 1000;

/// The divisor for the part of a drop's wait that is for listeners.
const LISTENER_SHARE: u32 = 9;

/// A shorter wait for a store that has just failed is not worth the work of an attempt.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What is known when a breaker is dropped whose state is not saved.
struct Prospects {
    /// Whether the state may be saved at all.
    can_save: bool,
    /// Whether the last state may stay until the store takes it. What is not read yet needs the
    /// breaker to be saved.
    can_stay: bool,
    store: Outlook,
}

impl Prospects {
    fn answers(&self) -> bool {
        self.store != Outlook::DoesNotAnswer
    }

    fn is_lost(&self) -> bool {
        !self.can_save || !(self.answers() || self.can_stay)
    }
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
enum DropEnd {
    /// The writer is done with the entry: it is saved, or its attempts have ended.
    Gone,
    /// The store does not answer.
    Stalled,
    /// Time is up, after attempts that failed.
    Failed,
    /// Time is up, and there was no answer.
    TimedOut,
}

/// What became of a breaker that has left.
pub(super) enum Left {
    /// There is nothing more to do, or to hope for. `is_last`: no breaker is left on its store.
    Forgotten { is_last: bool },
    /// The writer saves its last state, which may stay until the store takes it.
    Saving {
        /// Whether no other breaker is left on its store.
        is_last: bool,
        /// Whether the next attempt is worth waiting for.
        is_promising: bool,
    },
    /// Its last state can only be saved while the breaker is still there: nothing is kept of it.
    Unkept {
        try_until: Instant,
        /// Whether the next attempt is expected to fail.
        fails: bool,
    },
    /// The store does not answer: its last state waits until it does, or is lost.
    Waiting,
}

impl Inbox {
    /// Saves the last state of a breaker that is dropped, as far as that is possible.
    pub(super) fn depart(&self, entry: &Arc<Entry>, drop_wait: Duration) {
        let left = self.leave(entry, drop_wait);
        self.end_without_writer();
        if drop_wait.is_zero() {
            return self.forget_unless_kept(entry, &left);
        }
        let is_writer = self.is_this_thread();
        match left {
            Left::Unkept { try_until, .. } if is_writer => {
                self.request_departure(entry, try_until);
            }
            _ if is_writer => {}
            Left::Saving { is_promising: true, .. } => {
                self.wait_to_part(entry, &DropWait::begin(drop_wait), drop_wait);
            }
            Left::Forgotten { is_last: true } | Left::Saving { is_last: true, .. } => {
                self.wait_for_end(DropWait::begin(drop_wait).deadline());
            }
            Left::Forgotten { .. } | Left::Saving { .. } | Left::Waiting => {}
            Left::Unkept { try_until, fails } => {
                let wait = DropWait::begin(drop_wait);
                if !fails || wait.longest() >= SHORTEST_WAIT {
                    self.request_departure(entry, try_until);
                    self.wait_to_part(entry, &wait, drop_wait);
                }
                // Unless the writer has done it.
                self.forget(entry);
            }
        }
    }

    fn wait_to_part(&self, entry: &Entry, wait: &DropWait, drop_wait: Duration) {
        // What is left of the wait is for listeners: else the breaker may be gone before they hear
        // that the store does not answer.
        let save_wait = wait.longest() / LISTENER_SHARE * (LISTENER_SHARE - 1);
        match self.wait_until_gone(entry, wait.began + save_wait) {
            DropEnd::Failed => {}
            DropEnd::Gone => {
                self.forget(entry);
                self.wait_for_end(wait.deadline());
            }
            ended @ (DropEnd::Stalled | DropEnd::TimedOut) => {
                if ended == DropEnd::TimedOut {
                    // The call may have begun later than the wait. A wait that was cut short says
                    // nothing.
                    self.check_call(drop_wait / 2);
                }
                let left = wait.deadline().saturating_duration_since(Instant::now());
                self.listener_thread.wait(left);
            }
        }
    }

    /// Removes the entry of a breaker that nothing waits for, unless its last state may stay.
    pub(super) fn forget_unless_kept(&self, entry: &Entry, left: &Left) {
        if matches!(left, Left::Unkept { .. }) {
            self.forget(entry);
        }
    }

    /// Has the last state of a breaker saved, as far as that is possible, and waits for nothing. A
    /// store that works is tried for `try_for`.
    pub(super) fn leave(&self, entry: &Arc<Entry>, try_for: Duration) -> Left {
        if self.is_forked() {
            // The state is the parent's to save, and so are the locks.
            return Left::Waiting;
        }
        self.starter.retry();
        // An entry that still has to take over a state is suspended until then.
        if entry.is_suspended() {
            self.take_over(entry);
        }
        let now = Instant::now();
        let content = self.content();
        let Some(prospects) = self.prospects(&content, entry, now) else {
            return Left::Forgotten { is_last: self.remove(content, entry) };
        };
        let answers = prospects.answers();
        if prospects.is_lost() {
            let is_last = self.remove(content, entry);
            return if answers { Left::Forgotten { is_last } } else { Left::Waiting };
        }
        let has_others = content.owners.has_others(entry);
        drop(content);
        if has_others {
            entry.keep_state();
        }
        let fails = prospects.store == Outlook::Fails;
        let is_healthy = prospects.store == Outlook::Healthy;
        let try_until = if is_healthy { after(now, try_for) } else { now };
        // Encoded now: the breaker itself is gone by the time of an attempt.
        if prospects.can_stay && entry.keep_last_state() {
            let is_last = self.request_departure(entry, try_until);
            return if answers {
                Left::Saving { is_last, is_promising: !fails }
            } else {
                Left::Waiting
            };
        }
        if answers {
            return Left::Unkept { try_until, fails };
        }
        self.forget(entry);
        Left::Waiting
    }

    /// Releases the store when no breaker is left that could have the writer started. What is not
    /// saved is lost.
    pub(super) fn end_without_writer(&self) {
        if !self.starter.waits() || self.is_forked() {
            return;
        }
        let mut content = self.content();
        if !content.schedule.is_deserted() {
            return;
        }
        content.lifecycle = Lifecycle::Ended;
        let departed = content.schedule.departed();
        for entry in &departed {
            content.remove(entry);
        }
        drop(content);
        self.unlist();
        for entry in departed {
            entry.release();
        }
        drop(self.starter.give_up());
    }

    /// Whether a save would write what is stored already, as far as the store's health says.
    pub(super) fn is_up_to_date(&self, entry: &Entry) -> bool {
        if self.is_forked() || entry.is_suspended() {
            return false;
        }
        let content = self.content();
        let is_read = content.schedule.read_state(entry.id) == Some(ReadState::Read);
        let is_healthy = self.monitor.health().is_healthy();
        is_read && is_healthy && content.is_saved(entry)
    }

    /// `None` if there is nothing to save.
    fn prospects(&self, content: &InboxContent, entry: &Entry, now: Instant) -> Option<Prospects> {
        if entry.is_suspended() || content.is_saved(entry) {
            return None;
        }
        let read = content.schedule.read_state(entry.id);
        let is_running = content.lifecycle == Lifecycle::Running;
        let health = self.monitor.health();
        let can_save = match read {
            Some(ReadState::Read) => true,
            Some(ReadState::Unread | ReadState::Failed) => !health.predicts_failed_read(now),
            Some(ReadState::NewerVersion(_)) | None => false,
        };
        let store = if health.is_stalled() || self.starter.waits() {
            Outlook::DoesNotAnswer
        } else if health.predicts_failed_save(now) {
            Outlook::Fails
        } else if health.is_healthy() {
            Outlook::Healthy
        } else {
            Outlook::Degraded
        };
        // The writer's thread cannot wait for itself.
        let has_room = content.schedule.departing() < MAX_DEPARTING
            || (store != Outlook::DoesNotAnswer && self.is_this_thread());
        let can_save = can_save && is_running;
        let can_stay = can_save && has_room && read == Some(ReadState::Read);
        Some(Prospects { can_save, can_stay, store })
    }

    /// Returns whether no breaker is left on the store.
    fn request_departure(&self, entry: &Arc<Entry>, try_until: Instant) -> bool {
        let now = Instant::now();
        let mut content = self.content();
        if !content.schedule.is_being_saved(entry.id) {
            entry.mark(Urgency::Transition);
        }
        let successor = content.depart(entry, try_until);
        content.schedule.mark(entry.id, Urgency::Transition, now);
        content.schedule.note_drop(now);
        let request = WriterRequest { entry: entry.id, wanted: Wanted::Departure };
        let is_first = content.requests.add(request);
        let is_last = content.schedule.is_deserted();
        drop(content);
        self.wake_if(is_first);
        self.pass_on(successor);
        is_last
    }

    fn wait_until_gone(&self, entry: &Entry, deadline: Instant) -> DropEnd {
        let mut content = self.content();
        loop {
            if !content.schedule.contains(entry.id) {
                return DropEnd::Gone;
            }
            if self.monitor.health().is_stalled() {
                return DropEnd::Stalled;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let has_failed = content.schedule.has_save_failed(entry.id);
                return if has_failed { DropEnd::Failed } else { DropEnd::TimedOut };
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
            && !self.starter.waits()
            && !self.monitor.health().is_stalled()
        {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            content.awaits_end += 1;
            let waited = self.departed.wait_timeout(content, left);
            content = waited.unwrap_or_else(PoisonError::into_inner).0;
            content.awaits_end -= 1;
        }
    }

    /// Returns once the store is released, unless a breaker is left on it, or comes, or the store
    /// does not answer.
    pub(super) async fn end(&self) {
        if self.is_forked() {
            return;
        }
        let ended = {
            let mut content = self.content();
            let is_ending = content.lifecycle != Lifecycle::Ended
                && !self.starter.waits()
                && content.schedule.is_deserted()
                && !self.monitor.health().is_stalled();
            if !is_ending {
                return;
            }
            let (end, ended) = reply();
            content.await_end.push(end);
            ended
        };
        // `None`: a breaker has come.
        ended.await;
    }

    /// Removes an entry, whatever there is still to save. Returns whether no breaker is left on the
    /// store.
    pub(super) fn forget(&self, entry: &Entry) -> bool {
        self.remove(self.content(), entry)
    }

    fn remove(&self, mut content: MutexGuard<'_, InboxContent>, entry: &Entry) -> bool {
        // One may have come since the breaker began to leave.
        let has_others = content.owners.has_others(entry);
        let successor = content.remove(entry);
        let (is_last, is_deserted) = (content.schedule.is_empty(), content.schedule.is_deserted());
        drop(content);
        if has_others {
            entry.keep_state();
        }
        self.pass_on(successor);
        entry.release();
        if is_last {
            self.wake.notify_one();
        }
        is_deserted
    }
}

impl InboxContent {
    /// Whether there is nothing to save: what the breaker's snapshot would say is stored.
    fn is_saved(&self, entry: &Entry) -> bool {
        self.schedule.has_nothing_to_save(entry.id)
            && !entry.is_marked()
            && !entry.has_pending_history()
    }
}
