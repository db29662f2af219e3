//! A breaker and its store, while both live.

use std::time::Duration;

use super::Breaker;
use crate::{
    error::FlushError,
    health::StoreHealth,
    history::{HistoryError, HistoryPage, HistoryQuery},
};

impl Breaker {
    /// If the store has another breaker of this name, that one takes over the state.
    #[cfg(feature = "keyed")]
    pub(crate) fn leave_store(&self) {
        if let Some(attachment) = &self.shared.attachment {
            attachment.abandon();
        }
    }

    /// Takes over the state of an older breaker of the name, if that was not done since the build.
    #[cfg(feature = "keyed")]
    pub(crate) fn take_over(&self) {
        if let Some(attachment) = &self.shared.attachment {
            attachment.take_over();
        }
    }

    /// Waits until the snapshot in the store has been read, but no longer than this.
    pub(crate) fn wait_for_restore(&self, wait: Duration) {
        if let Some(attachment) = &self.shared.attachment {
            attachment.wait_for_restore(wait);
        }
    }

    /// Waits until the current state is durable. Without a store it returns at once.
    ///
    /// It needs no runtime. A hung store does not answer, so combine this method with a timeout.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store fails to save. The breaker keeps retrying. Also if a younger
    /// breaker of the same name is the one that is [saved](crate::BreakerBuilder::store).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the save.
    pub async fn flush(&self) -> Result<(), FlushError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.flush().await,
            None => Ok(()),
        }
    }

    /// Like [`flush`](Self::flush), for synchronous code.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store fails to save, or does not finish within the timeout.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.flush_blocking(timeout),
            None => Ok(()),
        }
    }

    /// Reads past transitions from the store, the newest first. The page includes every
    /// transition that happened before the call. Without a store it is empty. Of several breakers
    /// of one name, it is the history of the one that is [saved](crate::BreakerBuilder::store).
    ///
    /// The store keeps [`Config::history_retention_days`] of transitions and at most the newest
    /// 500, and removes older ones with a delay. Transitions that happen faster than the store
    /// can write are dropped and counted in [`HistoryEntry::missed`].
    ///
    /// It needs no runtime, and does not read on the caller's thread.
    ///
    /// [`Config::history_retention_days`]: crate::Config::history_retention_days
    /// [`HistoryEntry::missed`]: crate::history::HistoryEntry::missed
    ///
    /// ```
    /// use tower_breaker::{Breaker, MemoryStore, State, history::HistoryQuery};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = Breaker::builder("mailer").store(MemoryStore::new()).build()?;
    /// breaker.force_open();
    /// breaker.reset();
    ///
    /// let newest = breaker.history(HistoryQuery::newest(1)).await?;
    /// assert_eq!(newest.entries[0].transition.to, State::Closed);
    /// assert!(newest.entries[0].transition.manual);
    ///
    /// let cursor = newest.next.ok_or("there should be an older one")?;
    /// let older = breaker.history(HistoryQuery::newest(1).before(cursor)).await?;
    /// assert_eq!(older.entries[0].transition.to, State::ForcedOpen);
    /// assert_eq!(older.next, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the store fails, or does not answer for about a second. A store that
    /// is known to hang fails at once, and so does one for which 1,000 requests for histories wait.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: it only reads. A request that was dropped is not read any more.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.history(query).await,
            None => Ok(HistoryPage::default()),
        }
    }

    /// The health of the store, as far as it concerns this breaker.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        let attachment = self.shared.attachment.as_ref();
        attachment.map_or(StoreHealth::NoStore, |attachment| attachment.health())
    }
}
