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

/// Locks, also after another holder panicked: what the lock guards is a state machine whose
/// every step leaves it whole, and a breaker that fails for ever would be the worse answer.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
