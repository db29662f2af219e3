//! What the inbox of a store holds under its lock, and the next batch made of it.

use std::{sync::Arc, time::Instant};

use super::{
    entry::Entry,
    owners::Owners,
    request::{Requests, Wanted, WriterRequest},
    schedule::Schedule,
    states::Item,
};
use crate::reply::Replier;

/// What an inbox holds under its lock.
#[derive(Default)]
pub(super) struct InboxContent {
    pub(super) lifecycle: Lifecycle,
    pub(super) schedule: Schedule,
    pub(super) owners: Owners,
    pub(super) requests: Requests,
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
    /// Whether the last state of some breaker that is gone is not saved yet: then what was read
    /// from the store may be too old.
    pub(super) are_any_departing: bool,
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
        if self.requests.waiting.is_empty() {
            self.schedule.due(retry_at, holds_back)
        } else {
            Some(now)
        }
    }

    pub(super) fn take_batch(
        &mut self,
        retry_at: Option<Instant>,
        holds_back: bool,
        now: Instant,
    ) -> Batch {
        let others_wait =
            !self.requests.waiting.is_empty() || (!holds_back && self.schedule.is_due(now));
        if let Some((items, retry_at)) = self.schedule.take_retry(retry_at, others_wait, now) {
            return Batch { items, retry_at: Some(retry_at) };
        }
        let requested = self.requests.begin_batch();
        let items = if holds_back {
            self.schedule.take_requested(requested)
        } else {
            self.schedule.take_due(requested, now)
        };
        Batch { items, retry_at: None }
    }
}
