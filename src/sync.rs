//! The atomics and the lock of the state machine: the standard library's, or loom's while the
//! concurrent core is model-checked.
//!
//! The switch is a cfg of this crate alone. A global `--cfg loom` would take `tokio::net` away
//! from every other crate in the build.

#[cfg(not(tower_breaker_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(tower_breaker_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use std::sync::PoisonError;
#[cfg(not(tower_breaker_loom))]
use std::sync::TryLockError;

/// Locks, also after another holder panicked: what the lock guards is a state machine whose
/// every step leaves it whole, and a breaker that fails for ever would be the worse answer.
///
/// The lock is held for some 20 ns. One who looks at it all the time takes its cache line from
/// the holder again and again, which costs both more than the work. So whoever finds it taken
/// looks again less and less often: meanwhile the holder does a dozen calls on memory of its
/// own, and then the other does. Only after some microseconds the operating system is asked.
#[cfg(not(tower_breaker_loom))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    if let Some(guard) = try_lock(mutex) {
        return guard;
    }
    for pauses in [8, 16, 32, 64, 128] {
        for _ in 0..pauses {
            std::hint::spin_loop();
        }
        if let Some(guard) = try_lock(mutex) {
            return guard;
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(tower_breaker_loom))]
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The model needs no patience: it looks at every order of the accesses anyway.
#[cfg(tower_breaker_loom)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
