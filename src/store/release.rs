//! Releases what a store holds, without keeping the thread that drops the store for long.

use std::cell::Cell;
#[cfg(any(feature = "redb", feature = "sled"))]
use std::{sync::mpsc, thread, time::Duration};

/// How long a drop waits, so that the folder can usually be opened again after it. A database
/// writes what is left when it is closed, and a slow disk can take many seconds for that.
#[cfg(any(feature = "redb", feature = "sled"))]
const WAIT: Duration = Duration::from_millis(500);

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Drops a store on a thread of its own, however long that takes.
pub(crate) fn drop_blocking<T>(store: T) {
    MAY_BLOCK.set(true);
    drop(store);
    MAY_BLOCK.set(false);
}

/// Drops a value, on another thread if this one must not block.
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
        let _ = wait.recv_timeout(WAIT);
    }
}
