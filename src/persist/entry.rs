use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use super::{StoreHealth, quarantine_key, state_key};
use crate::store::{StateStore, StoreError};

/// What the writer asks of a breaker.
pub(crate) trait Source: Send + Sync {
    /// The newest snapshot; `None` where the breaker is gone.
    fn encode(&self) -> Option<Vec<u8>>;
    /// Takes over what the store held, unless the breaker knows better by now.
    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError>;
    /// The store has become healthy, or ceased to be.
    fn store_health(&self, health: &StoreHealth);
}

/// Why a snapshot was not restored.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// It cannot be read.
    Corrupt(String),
    /// It was written by a newer version of this crate: not to be touched.
    Newer(String),
}

/// One breaker, as the writer knows it.
pub(super) struct Entry {
    name: String,
    key: String,
    mark: AtomicU8,
    content: Mutex<Content>,
}

/// How soon a change is to be saved. Only grows until it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    None = 0,
    /// Within the flush interval.
    Counts = 1,
    /// At once.
    Transition = 2,
}

enum Content {
    /// What the store holds was not read yet. Nothing is written before it is.
    Unread(Arc<dyn Source>),
    Live(Arc<dyn Source>),
    /// The store holds a snapshot of a newer version: left alone.
    LeftAlone,
    /// The breaker is gone; its last snapshot is still to be saved.
    Last(Vec<u8>),
    Gone,
}

impl Entry {
    pub(super) fn new(name: &str, source: Arc<dyn Source>) -> Self {
        Self {
            name: name.to_owned(),
            key: state_key(name),
            mark: AtomicU8::new(Mark::None as u8),
            content: Mutex::new(Content::Unread(source)),
        }
    }

    /// Whether it carries this mark, or a more urgent one, already.
    pub(super) fn has_mark(&self, mark: Mark) -> bool {
        self.mark.load(Ordering::SeqCst) >= mark as u8
    }

    /// Raises the mark. `false` where it was as urgent already.
    pub(super) fn raise_mark(&self, mark: Mark) -> bool {
        self.mark.fetch_max(mark as u8, Ordering::SeqCst) < mark as u8
    }

    /// Takes the mark off. What happens after this marks it again.
    fn take_mark(&self) {
        self.mark.store(Mark::None as u8, Ordering::SeqCst);
    }

    /// Reads what the store holds, if that was not done yet.
    pub(super) fn read(&self, store: &dyn StateStore) -> Result<(), StoreError> {
        let source = match &*self.content() {
            Content::Unread(source) => Arc::clone(source),
            _ => return Ok(()),
        };
        let restored = match store.load(&self.key)? {
            Some(bytes) => self.restore(&*source, &bytes, store)?,
            None => true,
        };
        let mut content = self.content();
        // The breaker may have gone meanwhile.
        if matches!(&*content, Content::Unread(_)) {
            *content = if restored { Content::Live(source) } else { Content::LeftAlone };
        }
        Ok(())
    }

    /// `false` where the snapshot is to be left alone.
    fn restore(
        &self,
        source: &dyn Source,
        bytes: &[u8],
        store: &dyn StateStore,
    ) -> Result<bool, StoreError> {
        match source.restore(bytes) {
            Ok(()) => Ok(true),
            Err(RestoreError::Corrupt(reason)) => {
                let key = quarantine_key(&self.name);
                store.save(&key, &quarantined(&reason, bytes))?;
                tracing::warn!(
                    target: "tower_breaker",
                    name = self.name,
                    kept_as = key,
                    reason,
                    "circuit breaker {}: its stored state cannot be read; it starts closed, \
                     and the bytes are kept aside",
                    self.name,
                );
                Ok(true)
            }
            Err(RestoreError::Newer(reason)) => {
                tracing::warn!(
                    target: "tower_breaker",
                    name = self.name,
                    reason,
                    "circuit breaker {}: its stored state is left as it is, and this process \
                     keeps its own in memory",
                    self.name,
                );
                Ok(false)
            }
        }
    }

    /// What is to be written, if anything, and whether it is the last of this breaker.
    pub(super) fn pending(&self) -> Option<((String, Vec<u8>), bool)> {
        let source = match &*self.content() {
            Content::Live(source) => Arc::clone(source),
            Content::Last(bytes) => return Some(((self.key.clone(), bytes.clone()), true)),
            Content::Unread(_) | Content::LeftAlone | Content::Gone => return None,
        };
        self.take_mark();
        Some(((self.key.clone(), source.encode()?), false))
    }

    /// The last snapshot is durable. (Not the one before it: the breaker may have gone while
    /// that was being written.)
    pub(super) fn saved_last(&self) {
        *self.content() = Content::Gone;
        self.take_mark();
    }

    /// Whether the breaker's state can be saved at all.
    pub(super) fn is_left_alone(&self) -> bool {
        matches!(&*self.content(), Content::LeftAlone)
    }

    /// Whether the breaker is gone and nothing of it is left to be saved.
    pub(super) fn is_gone(&self) -> bool {
        matches!(&*self.content(), Content::Gone)
    }

    pub(super) fn is_read(&self) -> bool {
        !matches!(&*self.content(), Content::Unread(_))
    }

    /// The breaker is about to go: keeps its last snapshot, if one is to be saved. (What was not
    /// read is not overwritten either.) Returns whether there is.
    pub(super) fn close(&self) -> bool {
        let source = match std::mem::replace(&mut *self.content(), Content::Gone) {
            Content::Live(source) => source,
            Content::Unread(_) | Content::LeftAlone | Content::Last(_) | Content::Gone => {
                self.take_mark();
                return false;
            }
        };
        if !self.has_mark(Mark::Counts) {
            return false;
        }
        let Some(bytes) = source.encode() else {
            return false;
        };
        *self.content() = Content::Last(bytes);
        true
    }

    pub(super) fn source(&self) -> Option<Arc<dyn Source>> {
        match &*self.content() {
            Content::Unread(source) | Content::Live(source) => Some(Arc::clone(source)),
            _ => None,
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes with the reason, as JSON: as text where they are text, else in hexadecimal.
fn quarantined(reason: &str, bytes: &[u8]) -> Vec<u8> {
    let (form, content) = match std::str::from_utf8(bytes) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("hex", hex(bytes)),
    };
    serde_json::json!({ "reason": reason, form: content }).to_string().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
