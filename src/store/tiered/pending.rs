//! What is not written to the far store yet: for each key only the newest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use crate::store::{
    entry::SaveEntry, error::StoreError, history_store::HistoryRecord, state_store::StateStore,
};

/// The most records of one history that wait.
const MOST_RECORDS: usize = 500;
/// The most keys that wait, besides those of values: one for each breaker that lives.
const MOST_KEYS: usize = 20_000;

#[derive(Default)]
pub(super) struct Pending {
    values: HashMap<String, SaveEntry>,
    /// None of these keys has a value.
    deletes: HashSet<String>,
    histories: HashMap<String, BTreeMap<u64, HistoryRecord>>,
    /// The oldest id to keep, and how many records.
    trims: HashMap<String, (u64, usize)>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
            && self.deletes.is_empty()
            && self.histories.is_empty()
            && self.trims.is_empty()
    }

    /// The number of keys that wait.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.deletes.len() + self.histories.len()
    }

    pub(super) fn save(&mut self, entry: &SaveEntry) {
        let mut entry = entry.clone();
        if let Some(before) = self.values.get(&entry.key) {
            entry.state_changed |= before.state_changed;
        }
        self.deletes.remove(&entry.key);
        self.values.insert(entry.key.clone(), entry);
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.values.remove(key);
        self.deletes.insert(key.to_owned());
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
        if let Some(history) = self.histories.get_mut(key) {
            history.retain(|id, _| *id >= older_than);
            while history.len() > keep {
                history.pop_first();
            }
            if history.is_empty() {
                self.histories.remove(key);
            }
        }
        self.trims.insert(key.to_owned(), (older_than, keep));
    }

    /// Whether a value waits under a key, or its removal does.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key) || self.deletes.contains(key)
    }

    /// Drops what can be dropped if too many keys wait, and returns whether they did. What is to
    /// be removed expires by itself; the near store has the histories. Values are never dropped.
    pub(super) fn shed(&mut self) -> bool {
        let is_full = self.deletes.len() + self.trims.len() + self.histories.len() > MOST_KEYS;
        if is_full {
            self.deletes = HashSet::new();
            self.trims = HashMap::new();
            if self.histories.len() > MOST_KEYS {
                self.drop_older_histories();
            }
        }
        is_full
    }

    /// Half of them, so that this is seldom done.
    fn drop_older_histories(&mut self) {
        let mut histories: Vec<_> = mem::take(&mut self.histories).into_iter().collect();
        histories.sort_unstable_by_key(|(_, records)| {
            Reverse(records.last_key_value().map(|(id, _)| *id))
        });
        self.histories = histories.into_iter().take(MOST_KEYS / 2).collect();
    }

    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Puts back what could not be written. What came meanwhile is newer.
    pub(super) fn put_back(&mut self, older: Self) {
        let newer = mem::replace(self, older);
        newer.values.values().for_each(|entry| self.save(entry));
        newer.deletes.iter().for_each(|key| self.delete(key));
        for (key, records) in newer.histories {
            self.append(&key, &records.into_values().collect::<Vec<_>>());
        }
        for (key, (older_than, keep)) in newer.trims {
            self.trim(&key, older_than, keep);
        }
    }

    /// Writes everything. What is written is gone from here, also after an error.
    pub(super) fn write(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        if !self.values.is_empty() {
            let saves: Vec<_> = self.values.values().cloned().collect();
            store.save_all(&saves)?;
            self.values.clear();
        }
        if !self.deletes.is_empty() {
            store.delete_all(&self.deletes.iter().cloned().collect::<Vec<_>>())?;
            self.deletes.clear();
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

    /// Writes one key at a time, where all at once fails for a reason that may lie in one of them.
    /// Returns the first error; without one, nothing is left.
    pub(super) fn write_each(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        let mut attempts = Attempts::default();
        self.values.retain(|_, entry| attempts.fails(|| store.save(entry)));
        self.deletes.retain(|key| attempts.fails(|| store.delete(key)));
        let Some(histories) = store.history() else {
            self.histories.clear();
            self.trims.clear();
            return attempts.result();
        };
        self.histories.retain(|key, records| {
            let records: Vec<_> = records.values().cloned().collect();
            attempts.fails(|| histories.append(key, &records))
        });
        self.trims.retain(|key, (older_than, keep)| {
            // A trim comes after what is appended.
            let must_wait = self.histories.contains_key(key);
            must_wait || attempts.fails(|| histories.trim(key, *older_than, *keep))
        });
        attempts.result()
    }
}

/// Calls of which each is made whether or not others fail, until one meets an outage.
#[derive(Default)]
struct Attempts {
    first_error: Option<StoreError>,
    is_outage: bool,
}

impl Attempts {
    /// Whether this call fails, or is not made.
    fn fails(&mut self, call: impl FnOnce() -> Result<(), StoreError>) -> bool {
        if self.is_outage {
            return true;
        }
        let Err(error) = call() else { return false };
        self.is_outage = is_outage(&error);
        self.first_error.get_or_insert(error);
        true
    }

    fn result(self) -> Result<(), StoreError> {
        self.first_error.map_or(Ok(()), Err)
    }
}

/// Whether every other call would meet this error too.
pub(super) const fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Misconfigured(_))
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEYS, Pending};
    use crate::store::{
        HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StateStore, StoreError,
    };

    /// A store that can do nothing with keys that begin with "bad".
    #[derive(Default)]
    struct Picky(MemoryStore);

    fn check(key: &str) -> Result<(), StoreError> {
        if key.starts_with("bad") { Err(StoreError::Other(key.into())) } else { Ok(()) }
    }

    impl StateStore for Picky {
        fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.load(key)
        }

        fn load_page(
            &self,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            self.0.load_page(after, limit)
        }

        fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
            check(&entry.key)?;
            self.0.save(entry)
        }

        fn delete(&self, key: &str) -> Result<(), StoreError> {
            check(key)?;
            self.0.delete(key)
        }

        fn history(&self) -> Option<&dyn HistoryStore> {
            Some(self)
        }
    }

    impl HistoryStore for Picky {
        fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
            check(key)?;
            self.0.append(key, records)
        }

        fn load_newest(
            &self,
            key: &str,
            before: Option<u64>,
            limit: usize,
        ) -> Result<Vec<HistoryRecord>, StoreError> {
            self.0.load_newest(key, before, limit)
        }

        fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
            self.0.keys(after, limit)
        }

        fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
            check(key)?;
            self.0.trim(key, older_than, keep)
        }
    }

    fn record(id: u64) -> HistoryRecord {
        HistoryRecord::new(id, "record")
    }

    #[test]
    fn only_the_newest_of_each_key_is_written() {
        let (mut pending, store) = (Pending::default(), MemoryStore::new());
        store.save(&SaveEntry::new("b", "old")).unwrap();
        pending.save(&SaveEntry::new("a", "1"));
        pending.save(&SaveEntry::new("a", "2").with_unchanged_state());
        pending.save(&SaveEntry::new("b", "1"));
        pending.delete("b");
        assert_eq!(pending.len(), 2);
        assert!(pending.values["a"].state_changed, "it changed before");
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
        let saved = |key: &str| &pending.values[key];
        assert_eq!(saved("a").value, b"new");
        assert!(saved("a").state_changed);
        assert_eq!(saved("b").value, b"old");
        assert!(pending.deletes.contains("c"));
        assert!(pending.holds("c") && !pending.holds("d"));
    }

    #[test]
    fn a_key_that_cannot_be_written_stops_no_other() {
        let (mut pending, store) = (Pending::default(), Picky::default());
        store.save(&SaveEntry::new("deleted", "old")).unwrap();
        store.append("trimmed", &[record(1), record(2)]).unwrap();
        for key in ["bad", "bad 2", "good", "good 2"] {
            pending.save(&SaveEntry::new(key, "new"));
            pending.append(key, &[record(1)]);
        }
        for key in ["bad deleted", "deleted"] {
            pending.delete(key);
        }
        for key in ["bad trimmed", "trimmed", "bad"] {
            pending.trim(key, 0, 1);
        }
        pending.write(&store).unwrap_err();
        pending.write_each(&store).unwrap_err();
        for key in ["good", "good 2"] {
            assert_eq!(store.load(key).unwrap().unwrap(), b"new");
            assert_eq!(store.load_newest(key, None, 9).unwrap(), [record(1)]);
        }
        assert_eq!(store.load("deleted").unwrap(), None);
        assert_eq!(store.load_newest("trimmed", None, 9).unwrap(), [record(2)]);
        assert_eq!(pending.len(), 5, "the bad ones");
        assert_eq!(pending.trims.len(), 2);
    }

    #[test]
    fn an_error_is_returned_as_long_as_anything_is_left() {
        let only: [fn(&mut Pending); 4] = [
            |pending| pending.save(&SaveEntry::new("bad", "new")),
            |pending| pending.delete("bad"),
            |pending| pending.append("bad", &[record(1)]),
            |pending| pending.trim("bad", 1, 1),
        ];
        for add in only {
            let (mut pending, store) = (Pending::default(), Picky::default());
            add(&mut pending);
            pending.write_each(&store).unwrap_err();
            assert!(!pending.is_empty());
        }
    }

    #[test]
    fn removals_are_dropped_when_too_many_keys_wait_and_values_never() {
        let mut pending = Pending::default();
        for number in 0..=MOST_KEYS {
            pending.save(&SaveEntry::new(number.to_string(), "value"));
        }
        pending.append("history", &[record(1)]);
        assert!(!pending.shed(), "the values do not count");
        for number in 0..MOST_KEYS / 2 {
            pending.delete(&format!("deleted {number}"));
            pending.trim(&format!("trimmed {number}"), 1, 1);
        }
        assert!(pending.shed());
        assert!(pending.deletes.is_empty() && pending.trims.is_empty());
        assert_eq!(pending.values.len(), MOST_KEYS + 1);
        assert_eq!(pending.histories.len(), 1);
        assert!(!pending.shed());
    }

    #[test]
    fn of_too_many_histories_the_older_are_dropped() {
        let mut pending = Pending::default();
        for id in 0..=MOST_KEYS as u64 {
            pending.append(&id.to_string(), &[record(id)]);
        }
        assert!(pending.shed());
        assert_eq!(pending.histories.len(), MOST_KEYS / 2);
        assert!(pending.histories.contains_key(&MOST_KEYS.to_string()));
        assert!(!pending.histories.contains_key("0"));
    }

    #[test]
    fn a_removed_history_does_not_wait() {
        let mut pending = Pending::default();
        pending.append("a", &[record(1), record(2), record(3)]);
        pending.trim("a", 2, 9);
        assert!(pending.histories["a"].keys().eq(&[2, 3]));
        pending.trim("a", 0, 1);
        assert!(pending.histories["a"].keys().eq(&[3]));
        pending.trim("a", u64::MAX, 0);
        assert!(pending.histories.is_empty());
    }
}
