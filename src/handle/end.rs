//! The end of breakers with stores: nothing is lost that can be saved in time.

use std::time::Duration;

use super::Breaker;
use crate::{error::FlushError, write_behind};

impl Breaker {
    /// Saves the current state and detaches the breaker from its store: for the end of a program,
    /// or before the store's folder is opened by another one. Without a store it returns at once.
    ///
    /// This is the drop of the last handle for code that is async: it blocks no thread, and it
    /// reports whether the state is saved. Other handles, such as that of a layer, may remain: the
    /// breaker goes on in memory, and saves nothing more. If it was the last breaker on the store,
    /// the store is released too. It takes at most a second; after that, the store is released
    /// later, and what could not be saved is still tried.
    ///
    /// Close it before the runtime ends. A runtime that ends drops its tasks, and their calls are
    /// [abandoned](crate::Permit#abandoned-calls): those that have taken long may open the circuit,
    /// and a breaker that is still attached would save that for the next process.
    ///
    /// ```
    /// use tower_breaker::{Breaker, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = Breaker::builder("mailer").store(MemoryStore::new()).build()?;
    /// breaker.force_open();
    /// breaker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the state is not saved. The breaker is detached all the same; its last
    /// state is tried again for as long as the process lives and the store can be expected to take
    /// it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the save. Whether the breaker is detached is then
    /// undecided: call the method again, or drop the last handle, which does it.
    pub async fn close(&self) -> Result<(), FlushError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.close().await,
            None => Ok(()),
        }
    }
}

/// Saves the state of every breaker of the process that has a store, and waits until all are
/// durable, for at most `timeout`.
///
/// A breaker that is dropped saves its state by itself. This is for those that are not: breakers in
/// a `static`, in a thread that still runs when `main` returns, or in a process that ends with
/// [`std::process::exit`]. Without it, what changed within the last
/// [`flush_interval`](crate::Config::flush_interval) is lost (transitions are saved at once). Make
/// it the last line of `main`:
///
/// ```
/// use std::{sync::LazyLock, time::Duration};
/// use tower_breaker::{Breaker, MemoryStore};
///
/// static MAILER: LazyLock<Breaker> = LazyLock::new(|| {
///     Breaker::builder("mailer").store(MemoryStore::new()).build().expect("a valid configuration")
/// });
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     MAILER.try_acquire()?.failure();
///     tower_breaker::flush_all(Duration::from_secs(1))?;
///     Ok(())
/// }
/// ```
///
/// It blocks the calling thread. In async code, use [`Breaker::flush`] or [`Breaker::close`], or
/// call it through `tokio::task::spawn_blocking`.
///
/// # Errors
///
/// [`FlushError`] if a store fails to save the state of some breaker, or not all are saved in time.
/// All others are saved. The breakers keep retrying.
pub fn flush_all(timeout: Duration) -> Result<(), FlushError> {
    write_behind::flush_all(timeout)
}
