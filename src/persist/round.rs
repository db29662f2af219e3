//! One round of the writer: read what was not read yet, write what changed.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    entry::{DIRTY, Entry, Phase, SAVING, address},
    restore,
    writer::Writer,
};
use crate::store::{StateStore, StoreError};

/// What became of a round.
#[derive(Default)]
pub(super) struct Round {
    /// Those that have to be tried again, by address.
    failed: HashSet<usize>,
    pub(super) error: Option<StoreError>,
    /// Whether the store was asked for anything, and so whether success says something about it.
    pub(super) asked: bool,
}

impl Round {
    pub(super) fn run(writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) -> Self {
        let mut round = Self::default();
        round.load(writer, store, batch);
        round.save(writer, store, batch);
        round
    }

    pub(super) fn failed(&self, entry: &Arc<Entry>) -> bool {
        self.failed.contains(&address(entry))
    }

    fn fail(&mut self, entry: &Arc<Entry>) {
        self.failed.insert(address(entry));
    }

    fn load(&mut self, writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) {
        for entry in batch {
            if !matches!(entry.phase(), Phase::Unread { .. }) {
                continue;
            }
            // When one finds the store away, the others need not find out one by one.
            if self.error.as_ref().is_some_and(is_outage) {
                self.fail(entry);
                continue;
            }
            self.asked = true;
            if let Err(error) = writer.call(|| restore::load(store, entry)) {
                self.fail(entry);
                self.error.get_or_insert(error);
            }
        }
    }

    fn save(&mut self, writer: &Writer, store: &dyn StateStore, batch: &[Arc<Entry>]) {
        if self.error.as_ref().is_some_and(is_outage) {
            batch.iter().filter(|entry| entry.has(DIRTY)).for_each(|entry| self.fail(entry));
            return;
        }
        let mut saving = Vec::new();
        let mut values = Vec::new();
        for entry in batch {
            match encode(entry) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    saving.push(Arc::clone(entry));
                    values.push((entry.key.clone(), value));
                }
                Err(error) => {
                    self.not_saved(entry);
                    self.error = Some(error);
                }
            }
        }
        if saving.is_empty() {
            return;
        }
        self.asked = true;
        match writer.call(|| store.save_all(&values)) {
            Ok(()) => saving.iter().for_each(saved),
            Err(error) if saving.len() == 1 || is_outage(&error) => {
                for entry in &saving {
                    self.not_saved(entry);
                }
                self.error = Some(error);
            }
            // Perhaps only one of them is at fault; the others shall not suffer for it.
            Err(_) => {
                for (entry, (key, value)) in saving.iter().zip(&values) {
                    match writer.call(|| store.save(key, value)) {
                        Ok(()) => saved(entry),
                        Err(error) => {
                            self.not_saved(entry);
                            self.error = Some(error);
                        }
                    }
                }
            }
        }
    }

    fn not_saved(&mut self, entry: &Arc<Entry>) {
        entry.set(DIRTY);
        entry.clear(SAVING);
        self.fail(entry);
    }
}

/// Errors that every other entry would meet too.
fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Misconfigured(_))
}

fn saved(entry: &Arc<Entry>) {
    entry.clear(SAVING);
}

/// The newest snapshot, if there is one to save.
fn encode(entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
    match entry.phase() {
        Phase::Ready => {}
        Phase::Unread { .. } => return Ok(None),
        Phase::LeftAlone { .. } => {
            entry.clear(DIRTY);
            return Ok(None);
        }
    }
    let Some(source) = entry.source() else { return Ok(None) };
    if !entry.begin_save() {
        return Ok(None);
    }
    let encoded = catch_unwind(AssertUnwindSafe(|| source.encode())).map_err(|_| {
        StoreError::Other(format!("the snapshot of {:?} panicked", entry.name).into())
    })?;
    if encoded.is_none() {
        entry.clear(SAVING);
    }
    Ok(encoded)
}
