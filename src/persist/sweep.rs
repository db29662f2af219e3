//! Removes what has expired: snapshots that no breaker uses any more, and old ends of histories.
//!
//! A snapshot says itself until when it is to be kept, so that of a breaker whose settings nobody knows any more
//! is kept as long as they said. What belongs to a breaker of this process is never removed, and neither is what
//! cannot be read, or what a newer version wrote.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use super::{
    entry::Entry,
    names, record,
    trail::{self, KEPT},
    with_history,
    writer::Writer,
};
use crate::{
    Snapshot,
    store::{StateStore, StoreError},
    sync::std_lock as lock,
};

/// Keys that are looked at before the writer sees whether it has anything better to do.
const PAGE: usize = 256;
/// Keys that are removed before it does.
const REMOVALS: usize = 16;

pub(super) struct Sweep {
    now: SystemTime,
    /// The breakers of this process on the store, by name.
    present: HashMap<String, Arc<Entry>>,
    stage: Stage,
    /// What was looked at last; `None` at the beginning of a stage.
    after: Option<String>,
    /// Keys that something is to be done about.
    found: VecDeque<String>,
    was_last_page: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Snapshots,
    Histories,
}

impl Sweep {
    pub(super) fn begin(writer: &Writer, now: SystemTime) -> Self {
        let mut queue = lock(&writer.queue);
        queue.newcomers = Some(Vec::new());
        let entries: Vec<_> = queue.entries.iter().cloned().collect();
        drop(queue);
        Self {
            now,
            present: entries.into_iter().map(|entry| (entry.name().to_owned(), entry)).collect(),
            stage: Stage::Snapshots,
            after: None,
            found: VecDeque::new(),
            was_last_page: false,
        }
    }

    /// Does a little. False once there is nothing left to do.
    pub(super) fn step(&mut self, writer: &Writer, store: &dyn StateStore) -> bool {
        self.meet_newcomers(writer);
        let goes_on = self.try_step(writer, store).unwrap_or_else(|error| {
            tracing::debug!(
                target: "tower_breaker", %error, "what has expired could not be removed; another time",
            );
            writer.note_failure(&error);
            false
        });
        if !goes_on {
            lock(&writer.queue).newcomers = None;
        }
        goes_on
    }

    fn meet_newcomers(&mut self, writer: &Writer) {
        let newcomers = lock(&writer.queue).newcomers.as_mut().map(std::mem::take);
        let newcomers = newcomers.into_iter().flatten();
        self.present.extend(newcomers.map(|entry| (entry.name().to_owned(), entry)));
    }

    fn try_step(&mut self, writer: &Writer, store: &dyn StateStore) -> Result<bool, StoreError> {
        match self.stage {
            _ if !self.found.is_empty() => self.remove(writer, store)?,
            Stage::Snapshots if self.was_last_page => {
                self.stage = Stage::Histories;
                self.after = None;
                self.was_last_page = false;
            }
            Stage::Histories if self.was_last_page => return Ok(false),
            Stage::Snapshots => self.look_for_snapshots(writer, store)?,
            Stage::Histories => self.look_for_histories(writer, store)?,
        }
        Ok(true)
    }

    fn look_for_snapshots(
        &mut self,
        writer: &Writer,
        store: &dyn StateStore,
    ) -> Result<(), StoreError> {
        let page = writer.call(|| store.load_page(self.after.as_deref(), PAGE))?;
        self.was_last_page = page.len() < PAGE;
        self.after = page.last().map(|(key, _)| key.clone());
        let expired = page.into_iter().filter(|(key, value)| {
            names::of_snapshot(key).is_some_and(|name| !self.present.contains_key(name))
                && has_expired(value, self.now)
        });
        self.found = expired.map(|(key, _)| key).collect();
        Ok(())
    }

    fn look_for_histories(
        &mut self,
        writer: &Writer,
        store: &dyn StateStore,
    ) -> Result<(), StoreError> {
        let page =
            writer.call(|| with_history(store, |store| store.keys(self.after.as_deref(), PAGE)))?;
        self.was_last_page = page.len() < PAGE;
        self.after = page.last().cloned();
        self.found = page.into();
        Ok(())
    }

    fn remove(&mut self, writer: &Writer, store: &dyn StateStore) -> Result<(), StoreError> {
        for _ in 0..REMOVALS {
            let Some(key) = self.found.pop_front() else { break };
            match self.stage {
                Stage::Snapshots => {
                    // It may have come since.
                    if names::of_snapshot(&key).is_some_and(|name| !self.present.contains_key(name))
                    {
                        writer.shelf.forget(std::iter::once(key.as_str()));
                        writer.call(|| store.delete(&key))?;
                    }
                }
                Stage::Histories => self.cut(writer, store, &key)?,
            }
        }
        Ok(())
    }

    /// Removes what is too old of a history, which may be all of it.
    fn cut(&self, writer: &Writer, store: &dyn StateStore, key: &str) -> Result<(), StoreError> {
        let Some(name) = names::of_history(key) else { return Ok(()) };
        let newest =
            writer.call(|| with_history(store, |store| store.load_newest(key, None, 1)))?;
        let Some(said) = newest.first().and_then(record::retention_days) else { return Ok(()) };
        let days = self.present.get(name).and_then(|entry| entry.retention_days()).unwrap_or(said);
        let older_than = trail::too_old(trail::nanos(self.now), days);
        writer.call(|| with_history(store, |store| store.trim(key, older_than, KEPT)))
    }
}

fn has_expired(snapshot: &[u8], now: SystemTime) -> bool {
    let snapshot = Snapshot::from_json(snapshot).ok();
    snapshot.and_then(|snapshot| snapshot.expiry()).is_some_and(|expiry| expiry < now)
}
