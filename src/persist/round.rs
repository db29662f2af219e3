//! One round of the writer: read what was not read yet, write what changed.

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    Encoded,
    entry::{DIRTY, Entry, FAILED, Phase, SAVING, address},
    names, record, restore,
    trail::{self, Trail, Waiting},
    with_history,
    writer::Writer,
};
use crate::store::{HistoryRecord, SaveEntry, StateStore, StoreError};

/// What a round says about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did everything that it was asked.
    Well,
    /// Nothing: it was asked for nothing.
    Unknown,
    /// It works, but not for every breaker.
    Partly,
    /// It did nothing that it was asked, in a way that may be due to what it was asked.
    Failed,
    /// It can do nothing for anybody now.
    Away,
}

/// What became of a round.
#[derive(Default)]
pub(super) struct Round {
    /// Those that have to be tried again, by address.
    failed: HashSet<usize>,
    /// What went wrong, and for which breaker.
    error: Option<(StoreError, String)>,
    /// Whether the store read something.
    read: bool,
    /// If it was asked to save something: whether it did so for anybody.
    saved: Option<bool>,
    /// Whether the store was asked for anything, or there was no need to: then that nothing went wrong says that it
    /// is well.
    pub(super) asked: bool,
    /// Those whose histories are to be cut.
    pub(super) to_trim: Vec<Arc<Entry>>,
}

/// An entry that is being saved.
struct Saving {
    entry: Arc<Entry>,
    /// The transitions that are being added to its history.
    taken: VecDeque<Waiting>,
}

impl Round {
    pub(super) fn run(writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) -> Self {
        let mut round = Self::default();
        // Those that are gone first: whoever comes back under the same name shall meet their last words.
        let (gone, here): (Vec<_>, Vec<_>) =
            batch.iter().cloned().partition(|entry| entry.is_detached());
        for part in [gone, here] {
            round.load(writer, store, &part);
            round.save(writer, store, &part);
        }
        round
    }

    pub(super) fn failed(&self, entry: &Arc<Entry>) -> bool {
        self.failed.contains(&address(entry))
    }

    /// Whether it is no use to ask the store for something else of this entry now.
    pub(super) fn is_no_use_to(&self, entry: &Arc<Entry>) -> bool {
        self.is_outage() || self.failed(entry)
    }

    fn fail(&mut self, entry: &Arc<Entry>) {
        self.failed.insert(address(entry));
    }

    /// Notes what went wrong with the breaker of this name.
    pub(super) fn note(&mut self, error: StoreError, name: &str) {
        // An outage explains the rest.
        if self.error.is_none() || (is_outage(&error) && !self.is_outage()) {
            self.error = Some((error, name.to_owned()));
        }
    }

    fn is_outage(&self) -> bool {
        self.error.as_ref().is_some_and(|(error, _)| is_outage(error))
    }

    /// To be called before those that failed are set aside.
    pub(super) fn verdict(&self, batch: &[Arc<Entry>]) -> Verdict {
        // A store that can be read and not written to is no good.
        let works = self.saved.unwrap_or(self.read);
        // It says nothing new that what failed before fails again.
        let known = batch.iter().all(|entry| !self.failed(entry) || entry.has(FAILED));
        match &self.error {
            None if self.asked => Verdict::Well,
            None => Verdict::Unknown,
            Some(_) if self.is_outage() => Verdict::Away,
            Some(_) if works || known => Verdict::Partly,
            Some(_) => Verdict::Failed,
        }
    }

    /// What went wrong, and for whom, unless it would be the same for everybody.
    pub(super) fn reason(&self) -> Option<String> {
        let (error, name) = self.error.as_ref()?;
        Some(if is_outage(error) {
            error.to_string()
        } else {
            format!("{error} (circuit breaker {name:?})")
        })
    }

    fn load(&mut self, writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) {
        for entry in batch {
            if !matches!(entry.phase(), Phase::Unread { .. }) {
                continue;
            }
            // When one finds the store away, the others need not find out one by one.
            if self.is_outage() {
                self.fail(entry);
                continue;
            }
            self.asked = true;
            writer.shelf.note_load();
            match writer.call(|| restore::load(store, entry)) {
                Ok(()) => self.read = true,
                Err(error) => {
                    self.fail(entry);
                    self.note(error, entry.name());
                }
            }
        }
    }

    fn save(&mut self, writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) {
        if self.is_outage() {
            batch.iter().filter(|entry| entry.has(DIRTY)).for_each(|entry| self.fail(entry));
            return;
        }
        let mut saving = Vec::new();
        let mut values = Vec::new();
        for entry in batch {
            match encode(entry) {
                Ok(None) => {}
                Ok(Some(Encoded { value, ttl })) => {
                    saving.push(Arc::clone(entry));
                    let mut value = SaveEntry::new(entry.key.as_str(), value);
                    value.ttl = ttl;
                    values.push(value);
                }
                Err(error) => {
                    self.note(error, entry.name());
                    self.not_saved(entry);
                }
            }
        }
        if saving.is_empty() {
            return;
        }
        self.asked = true;
        self.saved.get_or_insert(false);
        writer.shelf.forget(values.iter().map(|value| value.key.as_str()));
        match writer.write(|| store.save_all(&values)) {
            Ok(()) => {}
            Err(error) if saving.len() == 1 || is_outage(&error) => {
                self.note(error, saving[0].name());
                for entry in &saving {
                    self.not_saved(entry);
                }
            }
            // Perhaps only one of them is at fault; the others shall not suffer for it.
            Err(_) => {
                for (entry, value) in saving.iter().zip(&values) {
                    if self.is_outage() {
                        self.not_saved(entry);
                    } else if let Err(error) = writer.write(|| store.save(value)) {
                        self.note(error, entry.name());
                        self.not_saved(entry);
                    }
                }
            }
        }
        saving.retain(|entry| !self.failed(entry));
        self.add_to_histories(writer, store, saving);
    }

    /// After the states: where only one of the two gets through, it shall be the one that matters to calls.
    fn add_to_histories(
        &mut self,
        writer: &Writer,
        store: &dyn StateStore,
        saving: Vec<Arc<Entry>>,
    ) {
        let mut adding = Vec::new();
        let mut histories = Vec::new();
        for entry in saving {
            let taken = entry.with_trail(Trail::take).filter(|taken| !taken.is_empty());
            let Some(taken) = taken else {
                self.saved(&entry);
                continue;
            };
            let mut saving = Saving { entry, taken };
            if self.is_outage() {
                self.not_added(saving);
                continue;
            }
            match writer.call(|| records(store, &mut saving)) {
                Ok(records) => {
                    histories.push((names::history(saving.entry.name()), records));
                    adding.push(saving);
                }
                Err(error) => {
                    self.note(error, saving.entry.name());
                    self.not_added(saving);
                }
            }
        }
        if adding.is_empty() {
            return;
        }
        match writer.write(|| with_history(store, |store| store.append_all(&histories))) {
            Ok(()) => adding.into_iter().for_each(|saving| self.added(saving)),
            Err(error) if adding.len() == 1 || is_outage(&error) => {
                self.note(error, adding[0].entry.name());
                for saving in adding {
                    self.not_added(saving);
                }
            }
            Err(_) => {
                for (saving, (key, records)) in adding.into_iter().zip(&histories) {
                    if self.is_outage() {
                        self.not_added(saving);
                        continue;
                    }
                    match writer.write(|| with_history(store, |store| store.append(key, records))) {
                        Ok(()) => self.added(saving),
                        Err(error) => {
                            self.note(error, saving.entry.name());
                            self.not_added(saving);
                        }
                    }
                }
            }
        }
    }

    fn added(&mut self, Saving { entry, taken }: Saving) {
        if entry.with_trail(|trail| trail.written(taken.len())) == Some(true) {
            self.to_trim.push(Arc::clone(&entry));
        }
        self.saved(&entry);
    }

    fn not_added(&mut self, Saving { entry, taken }: Saving) {
        entry.with_trail(|trail| trail.put_back(taken));
        self.not_saved(&entry);
    }

    fn saved(&mut self, entry: &Entry) {
        entry.clear(SAVING);
        self.saved = Some(true);
    }

    fn not_saved(&mut self, entry: &Arc<Entry>) {
        entry.set(DIRTY);
        entry.clear(SAVING);
        self.fail(entry);
    }
}

/// Errors that every other entry would meet too.
pub(super) fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Misconfigured(_))
}

/// What is to be added to an entry's history, each with its id.
fn records(store: &dyn StateStore, saving: &mut Saving) -> Result<Vec<HistoryRecord>, StoreError> {
    let Saving { entry, taken } = saving;
    let known = entry.with_trail(|trail| trail.newest()).flatten();
    let newest = if let Some(newest) = known {
        newest
    } else {
        let key = names::history(entry.name());
        let newest = with_history(store, |store| store.load_newest(&key, None, 1))?;
        newest.first().map_or(0, |record| record.id)
    };
    let days = entry.retention_days().unwrap_or(record::DEFAULT_DAYS);
    let records = trail::records(taken, newest, days)?;
    let newest = records.last().map_or(newest, |record| record.id);
    entry.with_trail(|trail| trail.set_newest(newest));
    Ok(records)
}

/// The newest snapshot, if there is one to save.
fn encode(entry: &Entry) -> Result<Option<Encoded>, StoreError> {
    match entry.phase() {
        Phase::Ready => {}
        Phase::Unread { .. } => return Ok(None),
        Phase::LeftAlone { .. } => {
            entry.clear(DIRTY);
            return Ok(None);
        }
    }
    let Some(source) = entry.source() else {
        // Whoever is gone for good has nothing left to save, and is not to be tried again for it.
        entry.clear(DIRTY);
        return Ok(None);
    };
    if !entry.begin_save() {
        return Ok(None);
    }
    let encoded = catch_unwind(AssertUnwindSafe(|| source.encode())).map_err(|_| {
        StoreError::Other(format!("the snapshot of {:?} panicked", entry.name()).into())
    })?;
    if encoded.is_none() {
        entry.clear(SAVING);
    }
    Ok(encoded)
}
