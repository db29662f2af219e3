//! Two stores as one: a near one that answers, and a far one that survives the host.

mod copy;
mod far;
mod far_thread;
mod health;
mod listing;
mod merge;
mod pending;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, slice,
    sync::{Arc, Mutex},
    time::Instant,
};

use self::{far::Far, listing::Listing, merge::Merged};
use super::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    state_store::StateStore,
};
use crate::{
    clock::wall,
    health::StoreHealth,
    sync::{log, std_lock as lock},
};

/// A near store, such as a [`SledStore`](super::SledStore) on the host's own disk, and a far one,
/// such as a [`RedisStore`](super::RedisStore) that survives the host.
///
/// ```
/// use tower_breaker::{
///     Breaker,
///     store::{MemoryStore, Tiered},
/// };
///
/// # let (near, far) = (MemoryStore::new(), MemoryStore::new());
/// let breaker = Breaker::builder("payments").store(Tiered::new(near, far)).build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// * **Saves** go to both. A save, and so a flush, waits for the near store alone; the far one is
///   written by a thread of its own, with the newest state of each breaker.
/// * **At the start**, a circuit that is still open in either store is open; otherwise the newer
///   snapshot counts. A state set by hand that is newer than the open one counts before it. A far
///   store that fails, or does not answer within half a second, is left out.
/// * **While the far store is in trouble**, the near one goes on as if alone. The log says so, and
///   [`far_health`](Self::far_health); the health of breakers is that of the near store. When the
///   far store works again, it gets what the near one holds. If more than 20,000 removals and
///   histories wait for it meanwhile, removals are dropped, and then the older histories: what is
///   not removed expires there.
/// * **While the near store cannot be read**, as when the process before still holds its folder, a
///   breaker starts with what the far one holds of it, and a [group](crate::KeyedBreakers) with the
///   breakers that the far one knows; those that were closed there wait. What the near store turns
///   out to hold replaces it, unless the breaker has changed its state by itself: that is saved in
///   the far store within half a second, and in both once the near one was read.
/// * **Histories** are read from the near store, and from the far one where the near one has too
///   few records, as on a new host.
///
/// * **In metrics**, each store has its own label; that of the far one gets `_far` appended if both
///   are the same.
/// * **Expired snapshots** are removed from the near store. A far store that expires them by itself
///   is not read for that, and one that does not has them removed too.
///
/// Clones share both stores. When the last one is dropped, it waits for half a second at most for
/// what the far store has not taken yet; all drops of a process wait within the same second.
#[derive(Clone)]
pub struct Tiered {
    shared: Arc<TieredInner>,
}

struct TieredInner {
    near: Arc<dyn StateStore>,
    far: Far,
    /// Whether either store keeps histories.
    has_histories: bool,
    /// The newest of those whose pages are being read.
    listing: Mutex<Option<Listing>>,
    /// What the far store said while the near one could not be read, by keys. It counts should the
    /// far one not answer once the near one can.
    early: Mutex<HashMap<String, Vec<u8>>>,
}

impl Tiered {
    /// Combines two stores.
    #[must_use]
    pub fn new(near: impl StateStore, far: impl StateStore) -> Self {
        Self::of(Arc::new(near), Arc::new(far))
    }

    pub(super) fn of(near: Arc<dyn StateStore>, far: Arc<dyn StateStore>) -> Self {
        let has_histories = near.history().is_some() || far.history().is_some();
        let far = Far::new(&near, far);
        let (listing, early) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(TieredInner { near, far, has_histories, listing, early }) }
    }

    /// The health of the far store. `pending` counts the snapshots and histories that it has not
    /// taken yet.
    #[must_use]
    pub fn far_health(&self) -> StoreHealth {
        self.shared.far.health()
    }

    /// Keeps a damaged value of the near store under another key, before it is overwritten.
    fn keep_aside(&self, key: &str, damaged: Vec<u8>) -> Result<(), StoreError> {
        let kept_as = format!("{key}:damaged");
        self.shared.near.save(&SaveEntry::new(kept_as.as_str(), damaged))?;
        log(|| {
            tracing::warn!(
                target: "tower_breaker",
                key,
                kept_as,
                "damaged snapshot in the near store: the circuit breaker starts with that of the \
                 far one, and the bytes are kept in the near one under the key that kept_as says; \
                 delete them when they are no longer needed",
            );
        });
        Ok(())
    }

    fn near_history(&self) -> Option<&dyn HistoryStore> {
        self.shared.near.history()
    }
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered")
            .field("near", &self.shared.near.label())
            .field("far_health", &self.far_health())
            .finish_non_exhaustive()
    }
}

fn unreachable_stores() -> StoreError {
    StoreError::Unavailable("the near store cannot be read, nor can the far one".into())
}

impl StateStore for Tiered {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let near = self.shared.near.load(key);
        let is_final = matches!(near, Ok(_) | Err(StoreError::Corrupt(_)));
        // What the far store holds may be older: than what cannot be read now, or than what is to
        // be written there.
        if !is_final || self.shared.far.awaits(key) {
            return near;
        }
        let early = lock(&self.shared.early).remove(key);
        let owned = key.to_owned();
        let far = self.shared.far.read(move |store| store.load(&owned)).unwrap_or(early);
        if near.is_err() && far.is_some() {
            return Ok(far);
        }
        let Merged { value, damaged } = merge::merge(near?, far, wall());
        if let Some(damaged) = damaged {
            self.keep_aside(key, damaged)?;
        }
        Ok(value)
    }

    /// The far store alone: the near one could not be read.
    fn load_reachable(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let owned = key.to_owned();
        let far =
            self.shared.far.read(move |far| far.load(&owned)).ok_or_else(unreachable_stores)?;
        if let Some(value) = &far {
            lock(&self.shared.early).insert(key.to_owned(), value.clone());
        }
        Ok(far)
    }

    fn save_reachable(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| entries.iter().for_each(|entry| pending.save(entry)));
        Ok(())
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let mut listing = lock(&self.shared.listing);
        if after.is_none() || listing.is_none() {
            *listing = None;
            *listing = Some(Listing::read(&*self.shared.near, &self.shared.far)?);
        }
        let page = listing.as_mut().map(|listing| listing.page(after, limit)).unwrap_or_default();
        if page.len() < limit {
            // Another reader that is not at its end reads a newer one.
            *listing = None;
        }
        Ok(page)
    }

    /// The far store alone: the near one could not be read.
    fn visit_reachable_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        let after = after.map(str::to_owned);
        let page = self.shared.far.read(move |far| far.load_page(after.as_deref(), limit));
        for (key, value) in &page.ok_or_else(unreachable_stores)? {
            visit(key, value);
        }
        Ok(())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.save_all(slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| entries.iter().for_each(|entry| pending.save(entry)));
        self.shared.near.save_all(entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.shared.far.write(|pending| pending.delete(key));
        self.shared.near.delete(key)
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| keys.iter().for_each(|key| pending.delete(key)));
        self.shared.near.delete_all(keys)
    }

    fn discard_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| keys.iter().for_each(|key| pending.discard(key)));
        self.shared.near.discard_all(keys)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        self.shared.has_histories.then_some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        let now = Instant::now();
        lock(&self.shared.listing).take_if(|listing| listing.is_abandoned(now));
        self.shared.far.check_thread();
        self.shared.near.verify()
    }

    fn last_repair(&self) -> Option<String> {
        self.shared.near.last_repair()
    }

    fn expires_by_itself(&self) -> bool {
        true
    }

    fn needs_sweep(&self) -> bool {
        self.shared.near.needs_sweep()
    }

    /// A far store that expires values by itself is shared: it is not read by each process.
    fn swept_part(&self) -> Option<&dyn StateStore> {
        let near = &*self.shared.near;
        let far_expires = self.shared.far.expires_by_itself();
        far_expires.then(|| near.swept_part().unwrap_or(near))
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn label(&self) -> &str {
        self.shared.near.label()
    }
}

impl HistoryStore for Tiered {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| pending.append(key, records));
        self.near_history().map_or(Ok(()), |near| near.append(key, records))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.shared.far.write(|pending| {
            for (key, records) in histories {
                pending.append(key, records);
            }
        });
        self.near_history().map_or(Ok(()), |near| near.append_all(histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        let near = self.near_history();
        let near = near.map_or(Ok(Vec::new()), |near| near.load_newest(key, before, limit));
        if near.as_ref().is_ok_and(|records| records.len() >= limit) {
            return near;
        }
        // The far store writes what it was given before it reads, so it shows nothing that was
        // trimmed.
        let owned = key.to_owned();
        let far = self.shared.far.read(move |store| {
            let history = store.history();
            history.map_or_else(|| Ok(Vec::new()), |far| far.load_newest(&owned, before, limit))
        });
        let (near, far) = match (near, far) {
            (Err(_), Some(far)) => (Vec::new(), far),
            (near, far) => (near?, far.unwrap_or_default()),
        };
        let all: BTreeMap<_, _> =
            far.into_iter().chain(near).map(|record| (record.id, record)).collect();
        Ok(all.into_values().rev().take(limit).collect())
    }

    /// Those of the near store. They are asked for in order to remove what is too old, and the far
    /// store is given that as well.
    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.near_history().map_or_else(|| Ok(Vec::new()), |near| near.keys(after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.shared.far.write(|pending| pending.trim(key, older_than, keep));
        self.near_history().map_or(Ok(()), |near| near.trim(key, older_than, keep))
    }

    fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.shared.far.write(|pending| pending.discard_history(key));
        self.near_history().map_or(Ok(()), |near| near.discard(key))
    }
}
