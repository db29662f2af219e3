//! The sweep removes what has expired: snapshots that no breaker uses, and the old ends
//! of histories.
//!
//! A snapshot says itself until when it is to be kept, so the settings of a breaker that no longer
//! exists still hold. The snapshot of a breaker of this process is never removed, and neither is
//! one that cannot be read or that a newer release wrote.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use super::{
    client::StoreClient, entry::Entry, keys, pending_history::HISTORY_LIMIT, preload::Preload,
    record, removal::keys_of_snapshot,
};
use crate::{snapshot::Snapshot, store::StoreError, sync::log};

/// The keys in a page. The writer looks for other work after each.
const PAGE: usize = 256;
/// The keys that are dealt with before it does.
const STEP: usize = 16;

/// The breakers of this process on the store.
pub(super) trait VisitEntries {
    /// Calls `visit` with each entry. A lock may be held meanwhile.
    fn visit_entries(&self, visit: &mut dyn FnMut(&Arc<Entry>));
}

/// How entries are saved again.
pub(super) trait MarkEntries {
    /// Marks an entry as if its counts had changed.
    fn mark_counts(&self, entry: &Entry);
}

pub(super) struct Sweep {
    now: SystemTime,
    /// The breakers that there were when the sweep began, by the keys of their snapshots.
    present: HashMap<String, Arc<Entry>>,
    target: Target,
    /// The last key that was looked at; `None` before the first of the target.
    after: Option<String>,
    is_last_page: bool,
    /// Keys of the page that have to be dealt with.
    found: VecDeque<String>,
}

#[derive(Clone, Copy)]
enum Target {
    Snapshots,
    Histories,
}

impl Sweep {
    /// `is_whole`: otherwise the store removes by itself what no breaker uses. Then only histories
    /// of breakers are trimmed: a store that many processes share is not read by each of them.
    /// Where a part of the store does so, the other part is read and removed from.
    pub(super) fn new(now: SystemTime, entries: &impl VisitEntries, is_whole: bool) -> Self {
        let mut present = HashMap::new();
        entries.visit_entries(&mut |entry| {
            // Of several breakers of one name, the settings of the one that is saved apply.
            if !entry.is_suspended() || !present.contains_key(&entry.key) {
                present.insert(entry.key.clone(), Arc::clone(entry));
            }
        });
        let own =
            present.keys().filter(|_| !is_whole).filter_map(|key| keys::name_of_snapshot(key));
        Self {
            now,
            target: if is_whole { Target::Snapshots } else { Target::Histories },
            after: None,
            is_last_page: !is_whole,
            found: own.map(keys::history).collect(),
            present,
        }
    }

    /// Does a little. Returns `false` once nothing is left to do.
    pub(super) fn step(
        &mut self,
        client: &StoreClient,
        preload: &Preload,
        entries: &impl VisitEntries,
    ) -> Result<bool, StoreError> {
        if !self.found.is_empty() {
            let keys = self.found.drain(..STEP.min(self.found.len())).collect();
            match self.target {
                Target::Snapshots => remove(client, preload, entries, keys)?,
                Target::Histories => self.trim(client, &keys)?,
            }
            return Ok(true);
        }
        match self.target {
            Target::Snapshots if self.is_last_page => {
                self.target = Target::Histories;
                self.after = None;
                self.is_last_page = false;
            }
            Target::Histories if self.is_last_page => return Ok(false),
            Target::Snapshots => self.find_snapshots(client)?,
            Target::Histories => self.find_histories(client)?,
        }
        Ok(true)
    }

    fn find_snapshots(&mut self, client: &StoreClient) -> Result<(), StoreError> {
        let page = client.sweep(|store| store.load_page(self.after.as_deref(), PAGE))?;
        self.is_last_page = page.len() < PAGE;
        self.after = page.last().map(|(key, _)| key.clone());
        let expired = page.into_iter().filter(|(key, value)| {
            keys::name_of_snapshot(key).is_some()
                && !self.present.contains_key(key)
                && may_be_removed(value, self.now)
        });
        self.found = expired.map(|(key, _)| key).collect();
        Ok(())
    }

    fn find_histories(&mut self, client: &StoreClient) -> Result<(), StoreError> {
        let page = client.history_keys(self.after.as_deref(), PAGE)?;
        self.is_last_page = page.len() < PAGE;
        self.after = page.last().cloned();
        self.found = page.into();
        Ok(())
    }

    /// Removes what is too old from histories, which may be all of it.
    fn trim(&self, client: &StoreClient, keys: &[String]) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| go_on(key, self.trim_one(client, key)))
    }

    fn trim_one(&self, client: &StoreClient, key: &str) -> Result<(), StoreError> {
        let Some(name) = keys::name_of_history(key) else { return Ok(()) };
        let newest = client.newest_records(key, None, 1)?;
        let Some(recorded) = newest.first().and_then(record::retention_days) else { return Ok(()) };
        let entry = self.present.get(&keys::snapshot(name));
        let configured = entry.and_then(|entry| entry.settings());
        let days = configured.map_or(recorded, |settings| settings.history_retention_days);
        let oldest = record::oldest_kept(record::id_at(self.now), days);
        client.trim(key, oldest, HISTORY_LIMIT)
    }
}

/// Removes expired snapshots, but those of breakers that were built since the sweep began.
fn remove(
    client: &StoreClient,
    preload: &Preload,
    entries: &impl VisitEntries,
    keys: Vec<String>,
) -> Result<(), StoreError> {
    // From here on no breaker can adopt one without asking the store. One that did so before is
    // among the entries, and one that comes later finds nothing.
    preload.forget(keys.iter().map(String::as_str));
    let mut unused: HashSet<String> = keys.into_iter().collect();
    entries.visit_entries(&mut |entry| {
        unused.remove(&entry.key);
    });
    unused.iter().try_for_each(|key| go_on(key, remove_one(client, key)))
}

fn remove_one(client: &StoreClient, key: &str) -> Result<(), StoreError> {
    let keys = keys_of_snapshot(key, |key| client.sweep(|store| store.load(key)))?;
    client.sweep(|store| store.delete_all(&keys))
}

/// A failure for one key does not end the sweep, unless the store is down.
fn go_on(key: &str, done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Err(error) if !error.is_outage() => {
            log(|| {
                tracing::debug!(
                    target: "tower_breaker", key, %error,
                    "expired data not removed: trying again with the next sweep",
                );
            });
            Ok(())
        }
        done => done,
    }
}

fn may_be_removed(snapshot: &[u8], now: SystemTime) -> bool {
    let snapshot = Snapshot::from_json(snapshot).ok();
    snapshot.and_then(|snapshot| snapshot.expiry()).is_some_and(|expiry| expiry < now)
}
