//! One batch: reads the snapshots of its entries that were not read yet, then saves those that
//! changed, and then appends their transitions to their histories. What belongs to breakers that
//! are to be forgotten is deleted before that.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    client::StoreClient,
    early,
    entry::Entry,
    health::Report,
    keys, load,
    pending_history::{self, PendingHistory, PendingTransition},
    preload::Preload,
    record,
    removal::keys_of_snapshot,
    source::{EncodedSnapshot, Part},
    states::{Item, ReadState},
    write_each::write_each,
};
use crate::store::{HistoryRecord, SaveEntry, StoreError};

/// What became of a batch. What became of each entry is in its [`Item`].
#[derive(Default)]
pub(super) struct BatchReport {
    /// What went wrong first, and for the breaker of which name. An outage comes before all else.
    error: Option<(StoreError, String)>,
    has_read: bool,
    /// Whether anything was to be saved, and whether any of it was.
    saved: Option<bool>,
    /// Whether the batch says anything: the store was called, or something else went wrong.
    is_conclusive: bool,
    /// Whether everything that failed had failed before.
    only_known_failures: bool,
    /// The entries whose histories have to be trimmed.
    pub(super) to_trim: Vec<Arc<Entry>>,
}

/// Runs a batch.
pub(super) fn run(client: &StoreClient, preload: &Preload, items: &mut [Item]) -> BatchReport {
    let mut outcome = BatchReport { only_known_failures: true, ..BatchReport::default() };
    // The schedule puts the entries of breakers that are gone first. They are saved before any
    // other entry is read: it may be that of the same breaker, built again.
    let departing = items.partition_point(|item| item.is_departing);
    let (departing, living) = items.split_at_mut(departing);
    outcome.discard(client, preload, departing);
    for part in [departing, living] {
        outcome.read(client, preload, part);
        early::save(client, part);
        outcome.save(client, preload, part);
    }
    outcome
}

impl BatchReport {
    /// The batch ended by a panic. What it had not saved by then has failed.
    pub(super) fn panicked(message: &str, items: &mut [Item]) -> Self {
        let mut outcome = Self { is_conclusive: true, ..Self::default() };
        for item in items.iter_mut().filter(|item| !item.is_saved) {
            if item.read == ReadState::Unread {
                item.read = ReadState::Failed;
            }
            // Its mark may be gone.
            item.is_encoded = true;
            outcome.fail(item);
        }
        let error = format!("saving to it panicked: {message}");
        outcome.error = Some((StoreError::Unavailable(error.into()), String::new()));
        outcome
    }

    /// Reads a snapshot that no entry waits for, to see whether the store works.
    pub(super) fn probe(&mut self, client: &StoreClient, entry: &Entry) {
        self.is_conclusive = true;
        if let Err(error) = client.load(&entry.key) {
            self.note(error, entry);
        }
    }

    pub(super) const fn is_conclusive(&self) -> bool {
        self.is_conclusive
    }

    pub(super) fn is_outage(&self) -> bool {
        self.error.as_ref().is_some_and(|(error, _)| error.is_outage())
    }

    /// What went wrong, and for which breaker, unless it would be the same for every one.
    pub(super) fn reason(&self) -> Option<String> {
        let (error, name) = self.error.as_ref()?;
        Some(if error.is_outage() {
            error.to_string()
        } else {
            format!("{error} (circuit breaker {name:?})")
        })
    }

    /// What the batch says about the store.
    pub(super) fn report(&self, failed_left: bool) -> Report {
        let Some(reason) = self.reason() else { return Report::Done { failed_left } };
        // A store that can only be read does not work.
        let works = self.saved.unwrap_or(self.has_read);
        if self.is_outage() {
            Report::Outage { reason }
        } else if works {
            Report::Partly { reason }
        } else if self.only_known_failures {
            Report::FailedAgain { reason }
        } else {
            Report::Failed { reason }
        }
    }

    fn note(&mut self, error: StoreError, entry: &Entry) {
        self.is_conclusive = true;
        if self.error.is_none() || (error.is_outage() && !self.is_outage()) {
            self.error = Some((error, entry.name().to_owned()));
        }
    }

    fn fail(&mut self, item: &mut Item) {
        item.has_failed = true;
        self.only_known_failures &= item.is_retried;
    }

    fn read(&mut self, client: &StoreClient, preload: &Preload, items: &mut [Item]) {
        // A part that cannot be reached either is found out once, too.
        let mut can_reach = true;
        let mut reach = None;
        for item in items {
            let before = item.read;
            let is_unread = matches!(before, ReadState::Unread | ReadState::Failed);
            if !is_unread || item.is_discarded {
                continue;
            }
            // An outage is found out once, not once for each entry.
            if !self.is_outage() {
                self.is_conclusive = true;
                preload.note_load();
                match load::load(client, &item.entry, before) {
                    Ok(read) => {
                        client.health().note_readable();
                        self.has_read = true;
                        item.read = read;
                        continue;
                    }
                    Err(error) => {
                        let is_new = before == ReadState::Unread;
                        let (is_outage, now) = (error.is_outage(), Instant::now());
                        client.health().note_unreadable(is_new, is_outage, now);
                        self.note(error, &item.entry);
                    }
                }
            }
            can_reach = can_reach && early::load(client, &item.entry);
            reach = Some(can_reach);
            item.read = ReadState::Failed;
            self.fail(item);
        }
        if let Some(can_reach) = reach {
            client.health().note_reach(can_reach);
        }
    }

    /// Deletes what the store holds of breakers that are to be forgotten.
    fn discard(&mut self, client: &StoreClient, preload: &Preload, items: &mut [Item]) {
        let mut deleting = Vec::new();
        let mut keys = Vec::new();
        for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| item.is_discarded) {
            self.is_conclusive = true;
            if self.is_outage() {
                self.fail(item);
                continue;
            }
            match keys_of_snapshot(&item.entry.key, |key| client.load(key)) {
                Ok(of_one) => {
                    deleting.push(index);
                    keys.push(of_one);
                }
                // It can be deleted all the same.
                Err(error) if !error.is_outage() => {
                    deleting.push(index);
                    keys.push(vec![item.entry.key.clone()]);
                }
                Err(error) => {
                    self.note(error, &item.entry);
                    self.fail(item);
                }
            }
        }
        if deleting.is_empty() {
            return;
        }
        self.saved.get_or_insert(false);
        preload.forget(keys.iter().flatten().map(String::as_str));
        let is_deleted = write_each(
            &keys,
            |keys| client.discard_all(&keys.concat()),
            |keys| client.discard_all(keys),
            |index, error| self.note(error, &items[deleting[index]].entry),
        );
        for (index, is_deleted) in deleting.into_iter().zip(is_deleted) {
            let item = &mut items[index];
            let deleted =
                is_deleted.then(|| client.discard_history(&keys::history(item.entry.name())));
            match deleted {
                Some(Ok(())) => self.saved = Some(true),
                Some(Err(error)) => {
                    self.note(error, &item.entry);
                    self.fail(item);
                }
                None => self.fail(item),
            }
        }
    }

    fn save(&mut self, client: &StoreClient, preload: &Preload, items: &mut [Item]) {
        let (saving, snapshots) = self.encode(items);
        if snapshots.is_empty() {
            return;
        }
        self.is_conclusive = true;
        self.saved.get_or_insert(false);
        preload.forget(snapshots.iter().map(|snapshot| snapshot.key.as_str()));
        let is_saved = write_each(
            &snapshots,
            |snapshots| client.save_all(snapshots),
            |snapshot| client.save(snapshot),
            |index, error| self.note(error, &items[saving[index].0].entry),
        );
        let mut saved = Vec::with_capacity(saving.len());
        let written = saving.into_iter().zip(&snapshots).zip(is_saved);
        for (((index, part), snapshot), is_saved) in written {
            let item = &mut items[index];
            item.entry.set_saved(is_saved.then_some(&part));
            if is_saved {
                note_life(client, &item.entry, &part, snapshot.ttl);
                item.is_saved = true;
                saved.push(index);
            } else {
                if snapshot.state_changed {
                    item.entry.keep_state_changed();
                }
                self.fail(item);
            }
        }
        self.append(client, items, saved);
    }

    /// The newest snapshots of the entries that can be saved and are marked; for each, the index of
    /// its item, and what it is a part of.
    fn encode(&mut self, items: &mut [Item]) -> (Vec<(usize, Part)>, Vec<SaveEntry>) {
        let (mut saving, mut snapshots) = (Vec::new(), Vec::new());
        for (index, item) in items.iter_mut().enumerate() {
            let Item { entry, read, is_discarded, .. } = &*item;
            let can_save = *read == ReadState::Read && !*is_discarded && !entry.is_suspended();
            if !can_save || !entry.is_marked() {
                continue;
            }
            if self.is_outage() {
                self.fail(item);
                continue;
            }
            let state_changed = item.entry.take_state_changed();
            match item.entry.encode_if_marked() {
                Ok(None) => {}
                Ok(Some(EncodedSnapshot { value, ttl, part })) => {
                    item.is_encoded = true;
                    let key = match part {
                        Part::Whole | Part::Base(_) => item.entry.key.clone(),
                        Part::Continuation => keys::recent(item.entry.name()),
                    };
                    snapshots.push(SaveEntry { key, value, ttl, state_changed });
                    saving.push((index, part));
                }
                Err(_) => {
                    if state_changed {
                        item.entry.keep_state_changed();
                    }
                    let error = "its snapshot could not be taken: that panicked".into();
                    self.note(StoreError::Other(error), &item.entry);
                    self.fail(item);
                }
            }
        }
        (saving, snapshots)
    }

    /// Appends to the histories of entries that are saved. The state goes first: if only one of the
    /// two can be written, it is the one that calls depend on.
    fn append(&mut self, client: &StoreClient, items: &mut [Item], saved: Vec<usize>) {
        let mut appending = Vec::new();
        let mut histories = Vec::new();
        for index in saved {
            let item = &mut items[index];
            let pending = item.entry.with_history(PendingHistory::take);
            let Some(mut transitions) = pending.filter(|pending| !pending.is_empty()) else {
                self.saved = Some(true);
                continue;
            };
            // `None`: an outage was met.
            let records =
                (!self.is_outage()).then(|| to_records(client, &item.entry, &mut transitions));
            match records {
                Some(Ok(records)) => {
                    appending.push((index, transitions));
                    histories.push((keys::history(item.entry.name()), records));
                    continue;
                }
                Some(Err(error)) => self.note(error, &item.entry),
                None => {}
            }
            item.entry.with_history(|history| history.put_back(transitions));
            self.fail(item);
        }
        if histories.is_empty() {
            return;
        }
        let is_appended = write_each(
            &histories,
            |histories| client.append_all(histories),
            |(key, records)| client.append(key, records),
            |index, error| self.note(error, &items[appending[index].0].entry),
        );
        for ((index, transitions), is_appended) in appending.into_iter().zip(is_appended) {
            let item = &mut items[index];
            if is_appended {
                self.saved = Some(true);
                let appended = transitions.len();
                if item.entry.with_history(|history| history.appended(appended)) == Some(true) {
                    self.to_trim.push(Arc::clone(&item.entry));
                }
            } else {
                item.entry.with_history(|history| history.put_back(transitions));
                self.fail(item);
            }
        }
    }
}

/// What continues a snapshot does not prolong its life.
fn note_life(client: &StoreClient, entry: &Entry, part: &Part, ttl: Option<Duration>) {
    if !matches!(part, Part::Continuation) {
        entry.refresh_at().set(ttl);
        client.soonest_refresh().note(entry.refresh_at());
    }
}

/// What is to be appended to a history.
fn to_records(
    client: &StoreClient,
    entry: &Entry,
    transitions: &mut VecDeque<PendingTransition>,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let known = entry.with_history(|history| history.newest()).flatten();
    let newest = if let Some(newest) = known {
        newest
    } else {
        let newest = client.newest_records(&keys::history(entry.name()), None, 1)?;
        newest.first().map_or(0, |record| record.id)
    };
    let retention_days = entry
        .settings()
        .map_or(record::DEFAULT_RETENTION_DAYS, |settings| settings.history_retention_days);
    let records = pending_history::to_records(transitions, newest, retention_days)?;
    if let Some(newest) = records.last() {
        entry.with_history(|history| history.set_newest(newest.id));
    }
    Ok(records)
}
