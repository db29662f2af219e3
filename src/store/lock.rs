//! The lock of a folder, which is that of a file in it.

use std::{
    fs::{File, TryLockError},
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the lock of a folder.
///
/// It usually is free. But it may outlast its holder for a moment: threads of sled keep the file
/// open, and so does a program that another thread is just starting, until it has replaced its
/// copy of this process. A breaker that is built just then would not find its state. The limit is a
/// time and not a number of pauses, which take far longer on a busy machine: another process may
/// hold the folder, and a store that does not answer for 0.9 s counts as hung.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(300);

const PAUSE: Duration = Duration::from_millis(2);

/// Takes the lock of a file, and waits for it, but no longer than this.
pub(super) fn lock_within(file: &File, longest: Duration) -> Result<(), TryLockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < longest => thread::sleep(PAUSE),
            result => return result,
        }
    }
}
