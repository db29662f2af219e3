//! What callers ask the writer for, and wait for or not.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, mpsc::SyncSender},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{entries::EntryId, keys, record};
use crate::{
    error::FlushError,
    history::{HistoryError, HistoryPage, HistoryQuery},
    reply::Replier,
    store::{HistoryRecord, StoreError},
    sync::contain,
};

/// A request for the next batch.
pub(super) struct WriterRequest {
    pub(super) entry: EntryId,
    pub(super) wanted: Wanted,
}

pub(super) enum Wanted {
    /// Read the snapshot. The caller waits for the attempt, whether or not it succeeds. (What no
    /// caller waits for [comes later](Requests::read_unawaited).)
    Load(SyncSender<()>),
    /// Save the newest state.
    Flush(Box<dyn FnOnce(Result<(), FlushError>) + Send>),
    /// Read a page of the history, once the pending transitions are part of it.
    History(HistoryRequest),
    /// Save the last state of a breaker that is gone.
    Departure,
}

pub(super) struct HistoryRequest {
    /// The key of the history.
    pub(super) key: String,
    pub(super) query: HistoryQuery,
    pub(super) reply: Replier<Result<HistoryPage, HistoryError>>,
    pub(super) _slot: HistorySlot,
}

/// A place among the requests for histories that wait.
pub(super) type HistorySlot = OwnedSemaphorePermit;

/// The most requests for histories of one store that wait. Anyone may ask an admin service, and a
/// store may be slow.
pub(super) const MOST_HISTORIES: usize = 1000;

/// The most snapshots that no caller waits for in a batch. Callers that wait are served after each.
const MOST_UNAWAITED: usize = 512;

/// The slots of a store.
pub(super) struct HistorySlots(Arc<Semaphore>);

impl Default for HistorySlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_HISTORIES)))
    }
}

impl HistorySlots {
    pub(super) fn take(&self) -> Option<HistorySlot> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

impl HistoryRequest {
    /// Whether the caller no longer waits.
    fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }

    pub(super) fn answer(self, records: Result<Vec<HistoryRecord>, StoreError>) {
        let name = keys::name_of_history(&self.key).unwrap_or_default();
        let page = match records {
            Ok(records) => Ok(record::page(name, &records, self.query.limit())),
            Err(error) => Err(HistoryError::unavailable(error.to_string())),
        };
        self.reply.send(page);
    }

    pub(super) fn refuse(self, reason: &str) {
        self.reply.send(Err(HistoryError::unavailable(reason)));
    }
}

impl WriterRequest {
    /// Whether this is for a history, and the caller no longer waits.
    fn is_abandoned(&self) -> bool {
        matches!(&self.wanted, Wanted::History(request) if request.is_abandoned())
    }

    /// Whether only the owner of the breaker's name may ask for this.
    pub(super) const fn is_for_owner(&self) -> bool {
        matches!(self.wanted, Wanted::Flush(_))
    }

    /// Another breaker owns the name.
    pub(super) fn refuse_superseded(self) {
        if let Wanted::Flush(reply) = self.wanted {
            reply(Err(FlushError::Superseded));
        }
    }

    /// Refuses it where there is no writer.
    pub(super) fn refuse(self, reason: &str) {
        self.refuse_with(reason, || FlushError::not_saved(reason));
    }

    /// Refuses it while the store fails: what is to be saved is retried.
    pub(super) fn refuse_for_now(self, reason: &str) {
        self.refuse_with(reason, || FlushError::retried(reason));
    }

    fn refuse_with(self, reason: &str, unsaved: impl FnOnce() -> FlushError) {
        match self.wanted {
            Wanted::Load(reply) => drop(reply.try_send(())),
            // Many may be refused at once, by a thread that has more to do.
            Wanted::Flush(reply) => {
                contain(|| "the answer to a flush".to_owned(), || reply(Err(unsaved())));
            }
            Wanted::History(request) => request.refuse(reason),
            Wanted::Departure => {}
        }
    }
}

/// The requests that were not answered yet.
#[derive(Default)]
pub(super) struct Requests {
    /// For the next batch.
    pub(super) waiting: Vec<WriterRequest>,
    /// Entries whose snapshots are to be read, without a caller that waits.
    unawaited: VecDeque<EntryId>,
    /// Whether the batch under way reads some of these.
    reads_unawaited: bool,
    /// Those that the batch under way answers.
    pub(super) in_flight: Vec<WriterRequest>,
    /// Histories to be read.
    pub(super) histories: VecDeque<HistoryRequest>,
    /// The history that is being read.
    pub(super) reading: Option<HistoryRequest>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.histories.is_empty()
    }

    /// Adds a request to the next batch. Returns whether it is the first, so that the writer may be
    /// asleep. Otherwise the thread that has added the first one wakes it.
    #[must_use]
    pub(super) fn add(&mut self, request: WriterRequest) -> bool {
        self.waiting.push(request);
        self.waiting.len() == 1
    }

    /// Makes what waits part of a batch, and returns the entries.
    pub(super) fn begin_batch(&mut self) -> Vec<EntryId> {
        self.reads_unawaited = false;
        self.in_flight = mem::take(&mut self.waiting);
        self.in_flight.retain(|request| !request.is_abandoned());
        self.in_flight.iter().map(|request| request.entry).collect()
    }

    /// Has a snapshot read, without a caller that waits. Returns whether it is the first one.
    pub(super) fn read_unawaited(&mut self, entry: EntryId) -> bool {
        self.unawaited.push_back(entry);
        self.unawaited.len() == 1
    }

    pub(super) fn has_unawaited(&self) -> bool {
        !self.unawaited.is_empty()
    }

    /// Makes up to [`MOST_UNAWAITED`] of the entries that no caller waits for part of the batch
    /// that has begun. Those that are not `unread` any more are forgotten.
    pub(super) fn begin_unawaited(&mut self, unread: impl Fn(EntryId) -> bool) -> Vec<EntryId> {
        let mut entries = Vec::new();
        while entries.len() < MOST_UNAWAITED
            && let Some(entry) = self.unawaited.pop_front()
        {
            if unread(entry) {
                entries.push(entry);
            }
        }
        self.reads_unawaited = !entries.is_empty();
        entries
    }

    /// Whether the batch that ends has read snapshots that no caller waits for.
    pub(super) fn end_unawaited(&mut self) -> bool {
        mem::take(&mut self.reads_unawaited)
    }

    /// Takes the entries that no caller waits for.
    pub(super) fn take_unawaited(&mut self) -> VecDeque<EntryId> {
        mem::take(&mut self.unawaited)
    }

    /// Begins to read the next history.
    pub(super) fn begin_reading(&mut self) -> Option<(String, HistoryQuery)> {
        let request = loop {
            let request = self.histories.pop_front()?;
            if !request.is_abandoned() {
                break request;
            }
        };
        let (key, query) = (request.key.clone(), request.query);
        self.reading = Some(request);
        Some((key, query))
    }

    /// Forgets histories for which no caller waits any more.
    pub(super) fn forget_abandoned(&mut self) {
        self.histories.retain(|request| !request.is_abandoned());
        self.waiting.retain(|request| !request.is_abandoned());
        self.in_flight.retain(|request| !request.is_abandoned());
    }

    /// Takes all requests, to be refused. The second are those that no batch has begun with.
    pub(super) fn take_all(
        &mut self,
    ) -> (Vec<WriterRequest>, Vec<WriterRequest>, Vec<HistoryRequest>) {
        let mut histories: Vec<_> = mem::take(&mut self.histories).into();
        histories.extend(self.reading.take());
        (mem::take(&mut self.in_flight), mem::take(&mut self.waiting), histories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reply::{Reply, reply},
        write_behind::entries::Slab,
    };

    type Answer = Reply<Result<HistoryPage, HistoryError>>;

    fn ask(slots: &HistorySlots) -> Option<(HistoryRequest, Answer)> {
        let slot = slots.take()?;
        let (reply, answer) = reply();
        let (key, query) = (keys::history("asked"), HistoryQuery::default());
        Some((HistoryRequest { key, query, reply, _slot: slot }, answer))
    }

    #[test]
    fn callers_that_gave_up_make_room_wherever_their_requests_wait() {
        let slots = HistorySlots::default();
        let mut requests = Requests::default();
        let mut given_up = Vec::new();
        let entry = *Slab::default().insert_with(|id| id);
        let wrap = |request| WriterRequest { entry, wanted: Wanted::History(request) };
        for place in (0..3).cycle() {
            let Some((request, answer)) = ask(&slots) else { break };
            given_up.push(answer);
            match place {
                0 => assert_eq!(requests.add(wrap(request)), given_up.len() == 1),
                1 => requests.in_flight.push(wrap(request)),
                _ => requests.histories.push_back(request),
            }
        }
        assert_eq!(given_up.len(), MOST_HISTORIES);
        requests.forget_abandoned();
        assert!(ask(&slots).is_none(), "all callers still wait");
        drop(given_up);
        requests.forget_abandoned();
        let asked: Vec<_> = std::iter::from_fn(|| ask(&slots)).collect();
        assert_eq!(asked.len(), MOST_HISTORIES);
    }
}
