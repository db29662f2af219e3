//! What the writer does when nobody waits for it, a little at a time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    entry::Entry,
    names, record,
    sweep::Sweep,
    trail::{self, KEPT, Trail},
    with_history,
    writer::Writer,
};
use crate::store::StateStore;

pub(super) struct Chores {
    /// Those whose histories are to be cut.
    to_trim: VecDeque<Arc<Entry>>,
    sweep: Option<Sweep>,
    next_sweep: Option<Instant>,
    interval: Duration,
    /// When the writer began, by both clocks.
    began: (Instant, SystemTime),
}

impl Chores {
    pub(super) fn new((first, interval): (Duration, Duration)) -> Self {
        let now = Instant::now();
        Self {
            to_trim: VecDeque::new(),
            sweep: None,
            next_sweep: now.checked_add(first),
            interval,
            began: (now, SystemTime::now()),
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self, writer: &Writer) -> Option<Instant> {
        if !self.to_trim.is_empty() || self.sweep.is_some() {
            return Some(Instant::now());
        }
        writer.shelf.due().into_iter().chain(self.next_sweep).min()
    }

    pub(super) fn trim_later(&mut self, entries: &mut Vec<Arc<Entry>>) {
        self.to_trim.extend(entries.drain(..));
    }

    /// Cuts a history, if one has grown. Also between rounds that follow each other at once: or else histories
    /// would grow without end.
    pub(super) fn trim_one(&mut self, writer: &Writer, store: &dyn StateStore) -> bool {
        let entry = self.to_trim.pop_front();
        entry.inspect(|entry| trim(writer, store, entry)).is_some()
    }

    /// Does a little.
    pub(super) fn work(&mut self, writer: &Writer, store: &dyn StateStore) {
        let now = Instant::now();
        if writer.shelf.tend(writer, store) || self.trim_one(writer, store) {
            return;
        }
        if let Some(sweep) = &mut self.sweep {
            if !sweep.step(writer, store) {
                self.sweep = None;
            }
        } else if self.next_sweep.is_some_and(|due| due <= now) {
            // What lies on the shelf is taken by breakers that the writer does not know yet.
            if writer.shelf.is_in_use() {
                self.next_sweep = now.checked_add(Duration::from_secs(1));
                return;
            }
            self.next_sweep = now.checked_add(self.interval);
            self.sweep = Some(Sweep::begin(writer, self.wall_clock()));
        }
    }

    /// The time, but no later than it can be by what has passed: a wall clock that jumps forward makes nothing
    /// expire.
    fn wall_clock(&self) -> SystemTime {
        let (began, wall) = self.began;
        let now = SystemTime::now();
        wall.checked_add(began.elapsed()).map_or(now, |passed| passed.min(now))
    }
}

/// Cuts a history that has grown.
fn trim(writer: &Writer, store: &dyn StateStore, entry: &Entry) {
    let days = entry.retention_days().unwrap_or(record::DEFAULT_DAYS);
    let newest = entry.with_trail(|trail| trail.newest()).flatten().unwrap_or(0);
    // The breaker's own clock may be another than the machine's.
    let older_than = trail::too_old(newest.min(trail::nanos(SystemTime::now())), days);
    let key = names::history(entry.name());
    // If it fails, the next one will not.
    entry.with_trail(Trail::trimmed);
    if let Err(error) =
        writer.call(|| with_history(store, |store| store.trim(&key, older_than, KEPT)))
    {
        tracing::debug!(target: "tower_breaker", key, %error, "a history could not be cut");
        writer.note_failure(&error);
    }
}
