//! Releases what a store holds, without keeping the thread that drops the store for long.

#[cfg(any(feature = "redb", feature = "sled"))]
pub(super) mod kept;

use std::cell::Cell;

#[cfg(any(feature = "redb", feature = "sled"))]
use self::kept::RELEASES;
#[cfg(any(feature = "redb", feature = "sled"))]
use super::drop_budget::{DropWait, LONGEST_DROP};
#[cfg(any(feature = "redb", feature = "sled"))]
use crate::sync::log;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Drops a store on a thread of its own, however long that takes.
pub(crate) fn drop_blocking<T>(store: T) {
    MAY_BLOCK.set(true);
    drop(store);
    MAY_BLOCK.set(false);
}

/// Whether this thread only drops a store, so that nothing waits for it.
pub(super) fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// Drops a value, on another thread if this one must not block. Waits for that, as long as a drop
/// may wait, so that the folder can usually be opened again after it: a database writes what is
/// left when it is closed, and a slow disk can take many seconds for that.
///
/// If no thread can be started, the value is kept until the next release, or the next time that a
/// store is opened.
#[cfg(any(feature = "redb", feature = "sled"))]
pub(super) fn release<T: Send + 'static>(value: T) {
    release_kept();
    if may_block() {
        return drop(value);
    }
    match RELEASES.begin(Box::new(value)) {
        // There is no message: the end of the thread is one.
        Ok(wait) => drop(wait.recv_timeout(DropWait::begin(LONGEST_DROP).longest())),
        Err(error) => log(|| {
            tracing::warn!(
                target: "tower_breaker",
                %error,
                "a database that is no longer used cannot be closed, because no thread can be \
                 started: {error}; its folder stays locked until another store is opened or \
                 dropped, or this process ends; raise the limit on threads of this user or \
                 container",
            );
        }),
    }
}

/// Begins to drop the values that could not be released before. Does not wait for that.
#[cfg(any(feature = "redb", feature = "sled"))]
pub(super) fn release_kept() {
    RELEASES.retry();
}

#[cfg(all(test, any(feature = "redb", feature = "sled")))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Something that takes long to be dropped.
    struct Heavy(Arc<AtomicUsize>);

    impl Drop for Heavy {
        fn drop(&mut self) {
            thread::sleep(Duration::from_secs(3));
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn stores_that_take_long_to_be_released_cost_a_second_together() {
        let released = Arc::<AtomicUsize>::default();
        let began = Instant::now();
        (0..5).for_each(|_| release(Heavy(Arc::clone(&released))));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        while released.load(SeqCst) < 5 {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(10));
        }
    }
}
