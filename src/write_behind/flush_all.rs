//! Saves what is not saved, of all breakers of the process.

use std::{
    sync::{PoisonError, mpsc},
    time::{Duration, Instant},
};

use super::{
    inbox::{FORKED, Inbox},
    inboxes,
    lanes::after,
    request::{Wanted, WriterRequest},
};
use crate::error::FlushError;

type Replies = mpsc::Sender<Result<(), FlushError>>;

/// Saves the newest state of every breaker, and the last ones of those that were dropped and are
/// not saved yet. Waits for `timeout` at most. An error means that the first attempt failed.
pub(crate) fn flush_all(timeout: Duration) -> Result<(), FlushError> {
    let deadline = after(Instant::now(), timeout);
    let left = || deadline.saturating_duration_since(Instant::now());
    let inboxes = inboxes::all();
    let (reply, results) = mpsc::channel();
    for inbox in &inboxes {
        inbox.flush_unsaved(&reply);
    }
    drop(reply);
    let mut failures = Failures::default();
    loop {
        match results.recv_timeout(left()) {
            Ok(result) => failures.add(result),
            // There are no more replies to come.
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(FlushError::TimedOut),
        }
    }
    failures.into_result()?;
    if inboxes.iter().all(|inbox| inbox.wait_for_departures(deadline)) {
        Ok(())
    } else {
        Err(FlushError::TimedOut)
    }
}

#[derive(Default)]
struct Failures {
    first: Option<FlushError>,
    count: usize,
}

impl Failures {
    fn add(&mut self, result: Result<(), FlushError>) {
        let Err(error) = result else { return };
        self.count += 1;
        self.first.get_or_insert(error);
    }

    fn into_result(self) -> Result<(), FlushError> {
        let Self { first, count } = self;
        match first {
            None => Ok(()),
            Some(FlushError::NotSaved { reason }) if count > 1 => {
                Err(FlushError::not_saved(format!("{count} circuit breakers; the first: {reason}")))
            }
            Some(first) => Err(first),
        }
    }
}

impl Inbox {
    /// Requests a flush of every entry that is not saved, and has the results sent.
    fn flush_unsaved(&self, reply: &Replies) {
        if self.is_forked() {
            // The locks may be held forever, and nothing is saved.
            let _ = reply.send(Err(FlushError::not_saved(FORKED)));
            return;
        }
        self.for_each_entry(|entry| {
            let content = self.content();
            let schedule = &content.schedule;
            let is_saved = schedule.is_saved(entry.id) && !entry.is_marked();
            if is_saved || schedule.is_departing(entry.id) || schedule.is_suspended(entry.id) {
                return;
            }
            drop(content);
            let reply = reply.clone();
            // An error: the caller has given up.
            let reply = Box::new(move |result| drop(reply.send(result)));
            self.request(WriterRequest { entry: entry.id, wanted: Wanted::Flush(reply) });
        });
    }

    /// Returns whether the last states of all breakers that were dropped are saved by then.
    fn wait_for_departures(&self, deadline: Instant) -> bool {
        if self.is_forked() {
            return true;
        }
        let mut content = self.content();
        while content.schedule.departing() > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.departed.wait_timeout(content, left);
            content = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
