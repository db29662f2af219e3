//! What callers ask the writer for, and wait for or not.

use std::{collections::VecDeque, mem, sync::mpsc::SyncSender};

use super::{entries::EntryId, keys, record};
use crate::{
    error::FlushError,
    history::{HistoryError, HistoryPage, HistoryQuery},
    store::{HistoryRecord, StoreError},
};

/// A request for the next batch.
pub(super) struct Request {
    pub(super) entry: EntryId,
    pub(super) wanted: Wanted,
}

pub(super) enum Wanted {
    /// Read the snapshot. The caller waits for the attempt, whether or not it succeeds.
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
    pub(super) reply: Box<dyn FnOnce(Result<HistoryPage, HistoryError>) + Send>,
}

impl HistoryRequest {
    pub(super) fn answer(self, records: Result<Vec<HistoryRecord>, StoreError>) {
        let name = keys::name_of_history(&self.key).unwrap_or_default();
        let page = match records {
            Ok(records) => Ok(record::page(name, &records, self.query.limit())),
            Err(error) => Err(HistoryError::unavailable(error.to_string())),
        };
        (self.reply)(page);
    }

    pub(super) fn refuse(self, reason: &str) {
        (self.reply)(Err(HistoryError::unavailable(reason)));
    }
}

impl Request {
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

    pub(super) fn refuse(self, reason: &str) {
        match self.wanted {
            Wanted::Load(reply) => drop(reply.try_send(())),
            Wanted::Flush(reply) => reply(Err(FlushError::not_saved(reason))),
            Wanted::History(request) => request.refuse(reason),
            Wanted::Departure => {}
        }
    }
}

/// The requests that were not answered yet.
#[derive(Default)]
pub(super) struct Requests {
    /// For the next batch.
    pub(super) waiting: Vec<Request>,
    /// Those that the batch under way answers.
    pub(super) in_flight: Vec<Request>,
    /// Histories to be read.
    pub(super) histories: VecDeque<HistoryRequest>,
    /// The history that is being read.
    pub(super) reading: Option<HistoryRequest>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.histories.is_empty()
    }

    /// Makes what waits part of a batch, and returns the entries.
    pub(super) fn begin_batch(&mut self) -> Vec<EntryId> {
        self.in_flight = mem::take(&mut self.waiting);
        self.in_flight.iter().map(|request| request.entry).collect()
    }

    /// Begins to read the next history.
    pub(super) fn begin_reading(&mut self) -> Option<(String, HistoryQuery)> {
        let request = self.histories.pop_front()?;
        let (key, query) = (request.key.clone(), request.query);
        self.reading = Some(request);
        Some((key, query))
    }

    /// Takes all requests, to be refused. The second are those that no batch has begun with.
    pub(super) fn take_all(&mut self) -> (Vec<Request>, Vec<Request>, Vec<HistoryRequest>) {
        let mut histories: Vec<_> = mem::take(&mut self.histories).into();
        histories.extend(self.reading.take());
        (mem::take(&mut self.in_flight), mem::take(&mut self.waiting), histories)
    }
}
