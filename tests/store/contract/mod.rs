//! What every store promises, as tests that run against any store.
//!
//! A store takes part by implementing [`Subject`] and one line of `contract!`; a store in a folder
//! also by implementing [`FolderStore`] and one line of `folder_contract!`.

mod folders;
mod histories;
#[cfg(unix)]
mod in_redis;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    marker::PhantomData,
    ops::Bound::{Excluded, Unbounded},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;
use tower_breaker::{
    FileStore, MemoryStore, SledStore, StateStore,
    store::{HistoryRecord, HistoryStore, RedbStore, SaveEntry, StoreError, Tiered},
};

use crate::support::wait::eventually;

/// Storage of its own for one test.
trait Subject: Sized {
    type Store: StateStore + Clone;

    /// How many values are many: more than fit into one batch, and not too many for the test.
    const MANY: usize = 2500;

    /// Empty storage. `None` skips the test, where the store needs a server that is not there.
    fn create() -> Option<Self>;

    /// A handle on the storage. No other handle is open.
    fn open(&self) -> Self::Store;
}

/// Runs all tests of this file against a subject, in a module of their own. Each gets the
/// attribute.
macro_rules! contract {
    ($(#[$mark:meta])? $module:ident, $subject:ty) => {
        mod $module {
            #[allow(unused_imports, reason = "for the subject's type")]
            use super::*;

            contract!(@tests [$(#[$mark])?] $subject, values::
                a_value_is_saved_replaced_and_deleted
                several_values_are_saved_at_once
                many_values_are_saved_at_once
                any_bytes_come_back_as_they_were
                every_key_has_a_value_of_its_own
                several_keys_are_removed_at_once
                what_a_handle_has_saved_is_discarded
                similar_keys_have_values_of_their_own
                values_are_read_in_pages
                pages_continue_after_a_key_that_was_deleted
                a_value_is_there_before_its_ttl_ends
                values_are_there_after_reopening
                threads_do_not_disturb_each_other
                handles_of_one_storage_have_the_same_id
            );
            contract!(@tests [$(#[$mark])?] $subject, histories::
                a_history_is_read_from_the_newest_in_pages
                any_id_has_its_place
                any_bytes_of_a_record_come_back_as_they_were
                a_record_replaces_the_one_with_its_id
                several_histories_are_appended_at_once
                every_key_has_a_history_of_its_own
                values_and_histories_are_independent
                keys_of_histories_are_read_in_pages
                trim_removes_records_that_are_too_old_or_too_many
                what_a_handle_has_appended_is_discarded
                histories_are_there_after_reopening
            );
        }
    };
    (@tests $marks:tt $subject:ty, $file:ident:: $($test:ident)*) => {
        $(
            contract!(@test $marks $subject, $file::$test);
        )*
    };
    (@test [$(#[$mark:meta])?] $subject:ty, $file:ident::$test:ident) => {
        $(#[$mark])?
        #[test]
        fn $test() {
            check::<$subject>(stringify!($test), $file::$test);
        }
    };
}

/// Runs the tests of stores in folders against a store, in a module of their own.
macro_rules! folder_contract {
    ($module:ident, $store:ty) => {
        mod $module {
            use super::*;

            folder_contract!(@tests $store,
                a_path_that_can_never_work_is_refused
                opening_creates_nothing
                a_folder_that_is_held_is_taken_over_once_it_is_free
                a_folder_that_is_held_for_a_moment_is_waited_for
                a_folder_that_was_removed_is_noticed_and_created_again
                histories_in_a_folder_that_was_removed_start_empty
            );
        }
    };
    (@tests $store:ty, $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                let parent = tempfile::tempdir().unwrap();
                folders::$test::<$store>(parent.path());
            }
        )*
    };
}

contract!(memory, Memory);
contract!(sled, InFolder<SledStore>);
contract!(file, InFolder<FileStore>);
contract!(redb, InFolder<RedbStore>);
#[cfg(unix)]
contract!(
    #[needs::programs("redis-server")]
    redis,
    InRedis
);
#[cfg(unix)]
contract!(
    #[needs::programs("redis-server")]
    redis_as_an_instance,
    InRedisAsAnInstance
);
#[cfg(unix)]
contract!(
    #[needs::programs("redis-server")]
    redis_cluster,
    InRedisCluster
);
contract!(tiered, InTiers);
contract!(behind_an_arc, BehindAnArc);
contract!(with_only_the_required_methods, Minimal);
folder_contract!(sled_in_a_folder, SledStore);
folder_contract!(file_in_a_folder, FileStore);
folder_contract!(redb_in_a_folder, RedbStore);

fn check<S: Subject>(test: &str, run: fn(&S)) {
    match S::create() {
        Some(subject) => run(&subject),
        None => eprintln!("skipped: {test}"),
    }
}

#[cfg(unix)]
use in_redis::{InRedis, InRedisAsAnInstance, InRedisCluster};

struct Memory(MemoryStore);

impl Subject for Memory {
    type Store = MemoryStore;

    fn create() -> Option<Self> {
        Some(Self(MemoryStore::new()))
    }

    fn open(&self) -> MemoryStore {
        self.0.clone()
    }
}

/// Two stores in memory, as one.
struct InTiers(MemoryStore, MemoryStore);

impl Subject for InTiers {
    type Store = Tiered;

    fn create() -> Option<Self> {
        Some(Self(MemoryStore::new(), MemoryStore::new()))
    }

    fn open(&self) -> Tiered {
        Tiered::new(self.0.clone(), self.1.clone())
    }
}

struct BehindAnArc(Arc<dyn StateStore>);

impl Subject for BehindAnArc {
    type Store = Arc<dyn StateStore>;

    fn create() -> Option<Self> {
        Some(Self(Arc::new(MemoryStore::new())))
    }

    fn open(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.0)
    }
}

/// A store that is given a folder of its own.
trait FolderStore: StateStore + Clone {
    const MANY: usize;

    fn open_at(folder: &Path) -> Result<Self, StoreError>;
}

impl FolderStore for SledStore {
    const MANY: usize = 2500;

    fn open_at(folder: &Path) -> Result<Self, StoreError> {
        Self::open(folder)
    }
}

impl FolderStore for FileStore {
    /// It waits for the disk for each of them.
    const MANY: usize = 50;

    fn open_at(folder: &Path) -> Result<Self, StoreError> {
        Self::open(folder)
    }
}

impl FolderStore for RedbStore {
    const MANY: usize = 2500;

    fn open_at(folder: &Path) -> Result<Self, StoreError> {
        Self::open(folder)
    }
}

struct InFolder<S> {
    parent: TempDir,
    store: PhantomData<S>,
}

impl<S: FolderStore> Subject for InFolder<S> {
    type Store = S;

    const MANY: usize = S::MANY;

    fn create() -> Option<Self> {
        Some(Self { parent: tempfile::tempdir().unwrap(), store: PhantomData })
    }

    fn open(&self) -> S {
        let store = S::open_at(&self.parent.path().join("deep/er/state")).unwrap();
        until_released(&store);
        store
    }
}

/// Waits until the store that had the folder before has released it. All drops of this process wait
/// a second together: after that, a store is closed in the background. And a process that another
/// test is starting holds the lock until it runs its program.
fn until_released(store: &impl StateStore) {
    eventually("the folder is free", || {
        !matches!(store.load("any"), Err(StoreError::Unavailable(_)))
    });
}

impl<S> Drop for InFolder<S> {
    /// Whatever the keys were, nothing was written outside the store's folder.
    fn drop(&mut self) {
        if thread::panicking() || names_in(self.parent.path()).is_empty() {
            return;
        }
        for (folder, only) in [("", "deep"), ("deep", "er"), ("deep/er", "state")] {
            assert_eq!(names_in(&self.parent.path().join(folder)), [only]);
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A user's store that leaves out every method with a default.
#[derive(Clone, Default)]
struct Minimal(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl StateStore for Minimal {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let values = self.0.lock().unwrap();
        let page = values.range::<str, _>((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(page.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(entry.key.clone(), entry.value.clone());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

impl Subject for Minimal {
    type Store = Arc<Self>;

    fn create() -> Option<Self> {
        Some(Self::default())
    }

    /// Its id is its address, so the handles share it.
    fn open(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }
}

#[test]
fn a_store_has_no_histories_and_the_label_custom_by_default() {
    let store = Minimal::default();
    assert!(store.history().is_none());
    assert_eq!(store.label(), "custom");
}

/// Keys of which some are prefixes of others, or resemble what a store could make of another.
const KEYS: [&str; 9] =
    ["a", "a\0", "a\0\0\0\0\0\0\0\u{1}", "a:b", "a:", ":", "A", "../a", "ü/\u{7f}"];

const ANY_BYTES: [&[u8]; 8] =
    [b"", b"\n", b"\n\n", b"a\r\n", b"\0\xff", b"{\"a\":1}", b"{\"a\":\n1}", b"\"\\\n\""];

fn all(store: &impl StateStore) -> BTreeMap<String, Vec<u8>> {
    let all = store.load_page(None, usize::MAX).unwrap();
    let count = all.len();
    let map: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(map.len(), count, "no key is listed twice");
    map
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, Vec<u8>> {
    entries.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into()
}

fn records(ids: impl IntoIterator<Item = u64>) -> Vec<HistoryRecord> {
    ids.into_iter().map(|id| HistoryRecord::new(id, format!("record {id}"))).collect()
}

fn ids(histories: &dyn HistoryStore, key: &str) -> Vec<u64> {
    let all = histories.load_newest(key, None, usize::MAX).unwrap();
    all.into_iter().map(|record| record.id).collect()
}

/// Reads all pages of a listing, and checks their sizes.
fn pages<T>(
    limit: usize,
    key: impl for<'a> Fn(&'a T) -> &'a str,
    page: impl Fn(Option<&str>, usize) -> Vec<T>,
) -> Vec<T> {
    let mut read: Vec<T> = Vec::new();
    loop {
        let page = page(read.last().map(&key), limit);
        assert!(page.len() <= limit);
        let is_last = page.len() < limit;
        read.extend(page);
        assert!(read.len() <= 100, "the pages do not end");
        if is_last {
            let distinct: BTreeSet<&str> = read.iter().map(&key).collect();
            assert_eq!(distinct.len(), read.len(), "no key is listed twice");
            return read;
        }
    }
}
