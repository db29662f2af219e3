use super::{MOST_KEYS, Pending};
use crate::store::{HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StateStore, StoreError};

/// A store that can do nothing with keys that begin with "bad", and is away for the key "away".
#[derive(Default)]
struct Picky(MemoryStore);

fn check(key: &str) -> Result<(), StoreError> {
    match key {
        "away" => Err(StoreError::Unavailable(key.into())),
        _ if key.starts_with("bad") => Err(StoreError::Other(key.into())),
        _ => Ok(()),
    }
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
    assert!(pending.deletes.contains_key("c"));
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
fn an_outage_ends_the_attempts() {
    let (mut pending, store) = (Pending::default(), Picky::default());
    store.save(&SaveEntry::new("deleted", "old")).unwrap();
    pending.save(&SaveEntry::new("away", "new"));
    pending.delete("deleted");
    pending.append("good", &[record(1)]);
    pending.write_each(&store).unwrap_err();
    assert!(store.load("deleted").unwrap().is_some());
    assert_eq!(store.load_newest("good", None, 9).unwrap(), []);
    assert_eq!(pending.len(), 3);
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

#[test]
fn a_removal_of_a_history_leaves_records_that_come_later() {
    let removals: [fn(&mut Pending); 3] = [
        |pending| pending.trim("a", u64::MAX, 0),
        |pending| pending.trim("a", 0, 0),
        |pending| pending.discard_history("a"),
    ];
    for remove in removals {
        for write in [Pending::write, Pending::write_each] {
            let (mut pending, store) = (Pending::default(), MemoryStore::new());
            store.append("a", &[record(1)]).unwrap();
            pending.append("a", &[record(2)]);
            pending.trim("a", 1, 9);
            remove(&mut pending);
            pending.append("a", &[record(3)]);
            write(&mut pending, &store).unwrap();
            assert_eq!(store.load_newest("a", None, 9).unwrap(), [record(3)]);
            assert!(pending.is_empty());
        }
    }
}

#[test]
fn a_removal_that_failed_comes_before_records_that_come_later() {
    let (mut pending, store) = (Pending::default(), MemoryStore::new());
    store.append("a", &[record(1)]).unwrap();
    pending.append("a", &[record(2)]);
    let older = pending.take();
    pending.trim("a", u64::MAX, 0);
    pending.put_back(older);
    let older = pending.take();
    pending.append("a", &[record(3)]);
    pending.put_back(older);
    pending.write(&store).unwrap();
    assert_eq!(store.load_newest("a", None, 9).unwrap(), [record(3)]);
}

#[test]
fn records_wait_for_a_removal_that_fails() {
    let (mut pending, store) = (Pending::default(), Picky::default());
    pending.trim("bad", u64::MAX, 0);
    pending.append("bad", &[record(1)]);
    pending.trim("bad", 1, 9);
    pending.write_each(&store).unwrap_err();
    assert_eq!((pending.removals.len(), pending.histories.len()), (1, 1));
    assert_eq!(pending.trims.len(), 1);
}
