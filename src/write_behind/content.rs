//! What the inbox of a store holds under its lock, and the next batch made of it.

use std::{sync::Arc, time::Instant};

use super::{
    entry::Entry,
    load_budget::LoadBudget,
    owners::Owners,
    request::{Requests, Wanted, WriterRequest},
    schedule::Schedule,
    states::{Item, ReadState},
};
use crate::reply::Replier;

/// What an inbox holds under its lock.
#[derive(Default)]
pub(super) struct InboxContent {
    pub(super) lifecycle: Lifecycle,
    pub(super) schedule: Schedule,
    pub(super) owners: Owners,
    pub(super) requests: Requests,
    load_budget: LoadBudget,
    /// How many threads that dropped the last breaker wait for the end of the writer.
    pub(super) awaits_end: usize,
    /// Tasks that wait for it. Dropped when it is not coming.
    pub(super) await_end: Vec<Replier<()>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lifecycle {
    #[default]
    Running,
    /// No more entries are taken.
    Ending,
    /// The store is released.
    Ended,
}

/// An entry that was added, and what it comes after.
pub(super) struct NewEntry {
    pub(super) entry: Arc<Entry>,
    /// The one that owned the name until now.
    pub(super) superseded: Option<Arc<Entry>>,
    /// Whether there is a state to take over.
    pub(super) takes_over: bool,
    /// Whether one that is gone is still to be saved, or to be deleted: then what was read from the
    /// store may be too old.
    pub(super) is_one_departing: bool,
}

pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// When the retry was due that this batch is, or is a part of.
    pub(super) retry_at: Option<Instant>,
}

impl InboxContent {
    /// Remembers what a refused request wanted.
    pub(super) fn postpone(&mut self, request: &WriterRequest) {
        // What a flush wants to save is marked and queued already.
        if let Wanted::Load(_) = request.wanted {
            self.schedule.read_later(request.entry, Instant::now());
        }
    }

    pub(super) fn batch_due(
        &self,
        retry_at: Option<Instant>,
        holds_back: bool,
        now: Instant,
    ) -> Option<Instant> {
        if !self.requests.waiting.is_empty() {
            return Some(now);
        }
        let has_unawaited = self.requests.has_unawaited();
        let unawaited = has_unawaited.then(|| self.load_budget.rests_until().unwrap_or(now));
        self.schedule.due(retry_at, holds_back).into_iter().chain(unawaited).min()
    }

    /// A batch has ended that began then.
    pub(super) fn end_batch(&mut self, began: Instant, ended: Instant) {
        if self.requests.end_unawaited() {
            self.load_budget.spend(began, ended);
        }
        self.schedule.pause(ended);
    }

    /// What no caller waits for is read with the next retry.
    pub(super) fn postpone_unawaited(&mut self) {
        let now = Instant::now();
        for entry in self.requests.take_unawaited() {
            self.schedule.read_later(entry, now);
        }
    }

    pub(super) fn take_batch(
        &mut self,
        retry_at: Option<Instant>,
        holds_back: bool,
        now: Instant,
    ) -> Batch {
        let reads_unawaited = self.requests.has_unawaited() && self.load_budget.allows(now);
        let others_wait = !self.requests.waiting.is_empty()
            || reads_unawaited
            || (!holds_back && self.schedule.is_due(now));
        if let Some((items, retry_at)) = self.schedule.take_retry(retry_at, others_wait, now) {
            return Batch { items, retry_at: Some(retry_at) };
        }
        let mut requested = self.requests.begin_batch();
        if reads_unawaited {
            let is_unread = |id| self.schedule.read_state(id) == Some(ReadState::Unread);
            requested.extend(self.requests.begin_unawaited(is_unread));
        }
        let items = if holds_back {
            self.schedule.take_requested(requested)
        } else {
            self.schedule.take_due(requested, now)
        };
        Batch { items, retry_at: None }
    }
}
