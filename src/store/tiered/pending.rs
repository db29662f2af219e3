//! What is not written to the far store yet: for each key only the newest.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use crate::store::{
    entry::SaveEntry, error::StoreError, history_store::HistoryRecord, state_store::StateStore,
};

/// The most records of one history that wait.
const MOST_RECORDS: usize = 500;

#[derive(Default)]
pub(super) struct Pending {
    /// `None`: to be deleted.
    values: HashMap<String, Option<SaveEntry>>,
    histories: HashMap<String, BTreeMap<u64, HistoryRecord>>,
    /// The oldest id to keep, and how many records.
    trims: HashMap<String, (u64, usize)>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histories.is_empty() && self.trims.is_empty()
    }

    /// The number of keys that wait.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.histories.len()
    }

    pub(super) fn save(&mut self, entry: &SaveEntry) {
        let mut entry = entry.clone();
        if let Some(Some(before)) = self.values.get(&entry.key) {
            entry.state_changed |= before.state_changed;
        }
        self.values.insert(entry.key.clone(), Some(entry));
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.values.insert(key.to_owned(), None);
    }

    pub(super) fn append(&mut self, key: &str, records: &[HistoryRecord]) {
        if records.is_empty() {
            return;
        }
        let history = self.histories.entry(key.to_owned()).or_default();
        history.extend(records.iter().map(|record| (record.id, record.clone())));
        while history.len() > MOST_RECORDS {
            history.pop_first();
        }
    }

    pub(super) fn trim(&mut self, key: &str, older_than: u64, keep: usize) {
        self.trims.insert(key.to_owned(), (older_than, keep));
    }

    /// Whether a value waits under a key.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Puts back what could not be written. What came meanwhile is newer.
    pub(super) fn put_back(&mut self, older: Self) {
        let newer = mem::replace(self, older);
        for (key, value) in newer.values {
            match value {
                Some(entry) => self.save(&entry),
                None => self.delete(&key),
            }
        }
        for (key, records) in newer.histories {
            self.append(&key, &records.into_values().collect::<Vec<_>>());
        }
        self.trims.extend(newer.trims);
    }

    /// Writes everything. What is written is gone from here, also after an error.
    pub(super) fn write(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        let saves: Vec<_> = self.values.values().flatten().cloned().collect();
        if !saves.is_empty() {
            store.save_all(&saves)?;
            self.values.retain(|_, value| value.is_none());
        }
        while let Some(key) = self.values.keys().next().cloned() {
            store.delete(&key)?;
            self.values.remove(&key);
        }
        let Some(histories) = store.history() else {
            self.histories.clear();
            self.trims.clear();
            return Ok(());
        };
        if !self.histories.is_empty() {
            let all = self.histories.iter();
            let all: Vec<_> = all
                .map(|(key, records)| (key.clone(), records.values().cloned().collect()))
                .collect();
            histories.append_all(&all)?;
            self.histories.clear();
        }
        while let Some((key, (older_than, keep))) =
            self.trims.iter().next().map(|(key, trim)| (key.clone(), *trim))
        {
            histories.trim(&key, older_than, keep)?;
            self.trims.remove(&key);
        }
        Ok(())
    }

    /// Writes values one by one, where all at once fails for a reason that may lie in one of them.
    /// Returns the first error.
    pub(super) fn write_each(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        let mut first = Ok(());
        let saves: Vec<_> = self.values.values().flatten().cloned().collect();
        for entry in saves {
            match store.save(&entry) {
                Ok(()) => drop(self.values.remove(&entry.key)),
                Err(error) => {
                    let is_outage = is_outage(&error);
                    first = first.and(Err(error));
                    if is_outage {
                        break;
                    }
                }
            }
        }
        first
    }
}

/// Whether every other call would meet this error too.
pub(super) const fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Misconfigured(_))
}

#[cfg(test)]
mod tests {
    use super::Pending;
    use crate::store::{HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StateStore};

    #[test]
    fn only_the_newest_of_each_key_is_written() {
        let (mut pending, store) = (Pending::default(), MemoryStore::new());
        store.save(&SaveEntry::new("b", "old")).unwrap();
        pending.save(&SaveEntry::new("a", "1"));
        pending.save(&SaveEntry::new("a", "2").with_unchanged_state());
        pending.save(&SaveEntry::new("b", "1"));
        pending.delete("b");
        assert_eq!(pending.len(), 2);
        assert!(pending.values["a"].as_ref().unwrap().state_changed, "it changed before");
        pending.append("h", &[HistoryRecord::new(1, "1"), HistoryRecord::new(2, "2")]);
        pending.append("h", &[HistoryRecord::new(2, "2, again"), HistoryRecord::new(3, "3")]);
        pending.trim("h", 2, 10);
        pending.write(&store).unwrap();
        assert!(pending.is_empty());
        assert_eq!(store.load("a").unwrap().unwrap(), b"2");
        assert_eq!(store.load("b").unwrap(), None);
        let expected = [HistoryRecord::new(3, "3"), HistoryRecord::new(2, "2, again")];
        assert_eq!(store.load_newest("h", None, 10).unwrap(), expected);
    }

    #[test]
    fn what_is_put_back_does_not_replace_what_came_meanwhile() {
        let mut pending = Pending::default();
        pending.save(&SaveEntry::new("a", "old"));
        pending.save(&SaveEntry::new("b", "old"));
        let taken = pending.take();
        pending.save(&SaveEntry::new("a", "new").with_unchanged_state());
        pending.delete("c");
        pending.put_back(taken);
        let saved = |key: &str| pending.values[key].as_ref().unwrap();
        assert_eq!(saved("a").value, b"new");
        assert!(saved("a").state_changed);
        assert_eq!(saved("b").value, b"old");
        assert_eq!(pending.values["c"], None);
        assert!(pending.holds("c") && !pending.holds("d"));
    }
}
