//! Where snapshots live.
//!
//! A store keeps bytes under keys. It knows nothing of circuits, and need not be quick: one
//! thread of its own asks it, and no call through a breaker ever waits for it.

mod error;
mod memory;
#[cfg(feature = "sled")]
mod sled;

use std::sync::Arc;

#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use self::sled::SledStore;
pub use self::{error::StoreError, memory::MemoryStore};

/// A place for snapshots.
///
/// Keys are any text of up to about 550 bytes, values any bytes. The methods block, and are all
/// called on one thread that belongs to the store; they may take their time, fail and panic
/// without harm to anybody but the state's memory.
pub trait StateStore: Send + Sync + 'static {
    /// The value under a key, if there is one.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from answering. It is asked again later.
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every key with its value.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from answering.
    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Puts a value under a key. On return it is durable.
    ///
    /// # Errors
    ///
    /// Whatever keeps the value from being durable. It is tried again later, by then perhaps
    /// with a newer value.
    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Puts several values under their keys. On return all are durable. Without an
    /// implementation of your own, one after the other.
    ///
    /// # Errors
    ///
    /// Whatever keeps a value from being durable. All are tried again later.
    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        entries.iter().try_for_each(|(key, value)| self.save(key, value))
    }

    /// Removes a key and its value; nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from doing it.
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// A number for what is behind this handle, the same for all clones that share it: breakers
    /// with the same number share one writing thread. Without an implementation of your own, the
    /// address of this value.
    fn instance(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<S: StateStore + ?Sized> StateStore for Arc<S> {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).load(key)
    }

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).load_all()
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        (**self).save(key, value)
    }

    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        (**self).save_all(entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        (**self).delete(key)
    }

    fn instance(&self) -> usize {
        (**self).instance()
    }
}
