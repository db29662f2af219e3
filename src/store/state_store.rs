//! What a store has to do.

use std::sync::Arc;

use super::{entry::SaveEntry, error::StoreError, history_store::HistoryStore};

/// Keeps values under keys, durably.
///
/// Every method may block for as long as a disk or a network takes: the crate calls them from a
/// thread that serves nothing else, and copes with a call that never returns. A method that panics
/// counts as failed. Keys are arbitrary UTF-8; values are opaque bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store",
    label = "expected a `StateStore`",
    note = "open one with `SledStore::open(path)?` or `FileStore::open(path)?`, use \
            `MemoryStore::new()`, or implement `StateStore`"
)]
pub trait StateStore: Send + Sync + 'static {
    /// Returns the value under `key`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the value could not be read. A store must not return `None` in that case:
    /// the breaker would overwrite a value that it has not seen.
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns what can be reached of a value now, after [`load`](Self::load) has failed. A store
    /// that consists of several may answer without one of them.
    ///
    /// A breaker begins with it, unless its circuit was closed. What `load` returns later replaces
    /// it, unless the breaker has changed its state by itself meanwhile.
    ///
    /// The default fails: the store has no parts.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if nothing can be reached.
    fn load_reachable(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = key;
        Err(StoreError::Unavailable("the store has no part that can be read".into()))
    }

    /// Stores values where [`load_reachable`](Self::load_reachable) reads, while
    /// [`load`](Self::load) fails. What was not read must not be overwritten, so the other parts of
    /// the store do not get them before it was.
    ///
    /// The default fails: the store has no parts.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if nothing can be reached.
    fn save_reachable(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let _ = entries;
        Err(StoreError::Unavailable("the store has no part that can be written".into()))
    }

    /// Returns up to `limit` keys with their values: those after `after`, in an order of the
    /// store's choice that stays the same between calls. Fewer than `limit` entries mean that there
    /// are no more.
    ///
    /// A store that cannot read a single value should return an empty value for it instead of
    /// failing. The other entries then stay readable, and the crate asks for that key alone.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the page could not be read completely.
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Passes the entries that [`load_page`](Self::load_page) returns to `visit`, one after the
    /// other. `visit` must not call the store.
    ///
    /// The crate calls this to read all values when many breakers are built. The default calls
    /// `load_page`. Override it in a store that holds many values and can pass them without copying
    /// each.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the page could not be read completely. Some entries may have been passed.
    fn visit_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        let page = self.load_page(after, limit)?;
        for (key, value) in &page {
            visit(key, value);
        }
        Ok(())
    }

    /// Visits a page of what can be reached now, after [`visit_page`](Self::visit_page) has failed.
    /// A store that consists of several may leave out what one of them holds.
    ///
    /// A [group](crate::KeyedBreakers) finds the names of its breakers with it, but for those whose
    /// circuits were closed. What is not visited does not count as missing.
    ///
    /// The default calls [`visit_page`](Self::visit_page).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if nothing can be reached.
    fn visit_reachable_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        self.visit_page(after, limit, visit)
    }

    /// Stores a value, replaces the previous one, and returns once the value is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the value may not be durable. The caller tries again later, with a newer
    /// value.
    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError>;

    /// Stores several values, and returns once all of them are durable.
    ///
    /// The default calls [`save`](Self::save) for each entry. Override it in a store that can write
    /// several at the cost of one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of the values may not be durable. The caller saves all of them again.
    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        entries.iter().try_for_each(|entry| self.save(entry))
    }

    /// Removes `key`. Removing a key that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the key may remain.
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes several keys, in this order.
    ///
    /// The default calls [`delete`](Self::delete) for each key. Override it in a store that can
    /// remove several at the cost of one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of the keys may remain.
    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// Removes keys of a breaker that this process does not need any more, in this order.
    ///
    /// The default calls [`delete_all`](Self::delete_all). Override it in a store that several
    /// processes share, and remove only what this process was the last to save: the breaker may
    /// still be in use elsewhere. What is kept has to expire by itself.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any key may remain that should be removed.
    fn discard_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.delete_all(keys)
    }

    /// Returns the store's histories. The default is `None`: the store keeps no histories.
    fn history(&self) -> Option<&dyn HistoryStore> {
        None
    }

    /// Checks that what was saved is still where it was saved, for example that the folder was not
    /// removed. The crate calls this once a second while it calls nothing else, so it should be
    /// cheap: one call to the system, and no write. The default checks nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if it is gone. The caller saves everything again.
    fn verify(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the store removes values by itself once their [`ttl`](SaveEntry::ttl) has passed.
    /// Then the crate saves the state of a breaker again when half of that time has passed without
    /// a save. The default is `false`.
    ///
    /// It is read when a breaker is built on the store, so it must not block.
    fn expires_by_itself(&self) -> bool {
        false
    }

    /// Whether the crate has to look for expired values and remove them, by reading all of them
    /// from time to time. The default: unless the store expires them by itself.
    ///
    /// It is read when a breaker is built on the store, so it must not block.
    fn needs_sweep(&self) -> bool {
        !self.expires_by_itself()
    }

    /// Returns the part of the store in which the crate looks for expired values, if another part
    /// of it expires them by itself. The default is `None`: it looks in the whole store.
    fn swept_part(&self) -> Option<&dyn StateStore> {
        None
    }

    /// Returns what the store last did to be usable again, for example which damaged files it
    /// moved aside. The default is `None`: nothing.
    fn last_repair(&self) -> Option<String> {
        None
    }

    /// Identifies the underlying storage: two handles on the same storage return the same number,
    /// handles on different storages return different ones.
    ///
    /// Breakers whose stores return the same number share one writer thread. The default is the
    /// address of `self`; a store whose clones share their storage must override it, for example
    /// with the address of the shared part.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }

    /// Returns the value of the label `store` in metrics. The default is `custom`.
    ///
    /// It is read when the store is given to a builder, so it must not block; the first breaker's
    /// reading applies to all breakers on the store. Return a short constant name: never a path,
    /// and nothing that changes between starts. A store that wraps another returns the label of
    /// the inner one.
    #[expect(clippy::unnecessary_literal_bound, reason = "implementations return their own label")]
    fn label(&self) -> &str {
        "custom"
    }
}

impl<T: StateStore + ?Sized> StateStore for Arc<T> {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).load(key)
    }

    fn load_reachable(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).load_reachable(key)
    }

    fn save_reachable(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        (**self).save_reachable(entries)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).load_page(after, limit)
    }

    fn visit_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        (**self).visit_page(after, limit, visit)
    }

    fn visit_reachable_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        (**self).visit_reachable_page(after, limit, visit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        (**self).save(entry)
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        (**self).save_all(entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        (**self).delete(key)
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        (**self).delete_all(keys)
    }

    fn discard_all(&self, keys: &[String]) -> Result<(), StoreError> {
        (**self).discard_all(keys)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        (**self).history()
    }

    fn verify(&self) -> Result<(), StoreError> {
        (**self).verify()
    }

    fn expires_by_itself(&self) -> bool {
        (**self).expires_by_itself()
    }

    fn needs_sweep(&self) -> bool {
        (**self).needs_sweep()
    }

    fn swept_part(&self) -> Option<&dyn StateStore> {
        (**self).swept_part()
    }

    fn last_repair(&self) -> Option<String> {
        (**self).last_repair()
    }

    fn id(&self) -> usize {
        (**self).id()
    }

    fn label(&self) -> &str {
        (**self).label()
    }
}
