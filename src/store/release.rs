//! Releases what a store holds, without keeping the thread that drops the store for long.

use std::cell::Cell;
#[cfg(any(feature = "redb", feature = "sled"))]
use std::{sync::mpsc, thread};

#[cfg(any(feature = "redb", feature = "sled"))]
use super::drop_budget::{DropWait, LONGEST_DROP};

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Drops a store on a thread of its own, however long that takes.
pub(crate) fn drop_blocking<T>(store: T) {
    MAY_BLOCK.set(true);
    drop(store);
    MAY_BLOCK.set(false);
}

/// Drops a value, on another thread if this one must not block. Waits for that, as long as a drop
/// may wait, so that the folder can usually be opened again after it: a database writes what is
/// left when it is closed, and a slow disk can take many seconds for that.
#[cfg(any(feature = "redb", feature = "sled"))]
pub(super) fn release<T: Send + 'static>(value: T) {
    if MAY_BLOCK.get() {
        return drop(value);
    }
    let (done, wait) = mpsc::sync_channel::<()>(1);
    let release = move || {
        drop(value);
        drop(done);
    };
    // If there can be no thread, the value is dropped here.
    if thread::Builder::new().name("breaker-release".to_owned()).spawn(release).is_ok() {
        // There is no message: the end of the thread is one.
        let _ = wait.recv_timeout(DropWait::begin(LONGEST_DROP).longest());
    }
}

#[cfg(all(test, any(feature = "redb", feature = "sled")))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
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
