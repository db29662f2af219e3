//! Histories, read for those who ask: on the writer's thread, between its rounds.

use std::collections::VecDeque;

use super::{names, record, with_history, writer::Writer};
use crate::{HistoryError, HistoryPage, HistoryQuery, store::StateStore, sync::std_lock as lock};

/// A page of a history that somebody waits for.
pub(super) struct Reading {
    pub(super) key: String,
    pub(super) query: HistoryQuery,
    pub(super) reply: Box<dyn FnOnce(Result<HistoryPage, HistoryError>) + Send>,
}

impl Reading {
    pub(super) fn refuse(self, reason: &str) {
        (self.reply)(Err(HistoryError::unavailable(reason)));
    }
}

impl Writer {
    /// Reads one, if somebody waits for it.
    pub(super) fn read_one(&self, store: &dyn StateStore) {
        let mut queue = lock(&self.queue);
        let Some(reading) = queue.readings.pop_front() else { return };
        let (key, query) = (reading.key.clone(), reading.query);
        queue.being_read = Some(reading);
        drop(queue);
        let before = query.before.map(crate::HistoryCursor::id);
        let limit = query.limit();
        // One more than is shown tells whether there are more.
        let records =
            self.call(|| with_history(store, |store| store.load_newest(&key, before, limit + 1)));
        if let Err(error) = &records {
            self.note_failure(error);
        }
        // Nobody is left where the store took too long.
        let Some(reading) = lock(&self.queue).being_read.take() else { return };
        match records {
            Ok(records) => (reading.reply)(Ok(record::page(
                names::of_history(&key).unwrap_or_default(),
                &records,
                limit,
            ))),
            Err(error) => reading.refuse(&error.to_string()),
        }
    }

    /// Those who wait for histories, so that they can be told that it takes too long.
    pub(super) fn take_readings(&self) -> VecDeque<Reading> {
        let mut queue = lock(&self.queue);
        let mut readings = std::mem::take(&mut queue.readings);
        readings.extend(queue.being_read.take());
        readings
    }
}
