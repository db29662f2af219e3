//! The atomics and the lock of the state machine: the standard library's, or loom's while the
//! concurrent core is model-checked. And helpers for locks and panics in general.
//!
//! The switch is a cfg of this crate alone. A global `--cfg loom` would take `tokio::net` away
//! from every other crate in the build.

#[cfg(not(tower_breaker_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(tower_breaker_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(not(tower_breaker_loom))]
pub(crate) use once_cell::race::OnceBox;

#[cfg(not(tower_breaker_loom))]
use std::sync::TryLockError;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

/// A box that is set once, with an order of accesses that loom knows of.
#[cfg(tower_breaker_loom)]
pub(crate) struct OnceBox<T> {
    value: once_cell::race::OnceBox<T>,
    is_set: AtomicU64,
}

#[cfg(tower_breaker_loom)]
impl<T> OnceBox<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) == 0 { None } else { self.value.get() }
    }

    /// For the holder of a lock.
    pub(crate) fn get_or_init(&self, value: impl FnOnce() -> Box<T>) -> &T {
        let value = self.value.get_or_init(value);
        self.is_set.store(1, Ordering::Release);
        value
    }
}

#[cfg(tower_breaker_loom)]
impl<T> Default for OnceBox<T> {
    fn default() -> Self {
        Self { value: once_cell::race::OnceBox::new(), is_set: AtomicU64::new(0) }
    }
}

/// Locks, also if another holder panicked: every step leaves the state machine behind the lock
/// whole, and a breaker that always fails would be worse.
///
/// The lock is held for some 20 ns. A thread that polls it takes its cache line from the holder
/// again and again, which costs both more than the work itself. So a thread that finds it taken
/// backs off, first for some 400 ns and then for longer: meanwhile the holder makes dozens of calls
/// with the lines in its cache, and then the other thread does. It blocks only after some
/// microseconds.
#[cfg(not(tower_breaker_loom))]
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    try_lock(mutex).unwrap_or_else(|| lock_taken(mutex))
}

#[cfg(not(tower_breaker_loom))]
#[cold]
#[inline(never)]
fn lock_taken<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for pauses in [32, 64, 128] {
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

/// The model needs no backoff: it tries every order of the accesses anyway.
#[cfg(tower_breaker_loom)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, also if another holder panicked. See [`write`].
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, also if another holder panicked: what these locks guard is whole after each
/// single statement.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a lock of the standard library, also if another holder panicked. What the locks outside
/// the state machine guard is whole after each single statement.
pub(crate) fn std_lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs user code that is not part of the call at hand: a listener, a waker, a log line, the
/// drop of one of them. If it panics, that is logged, and the thread goes on, also one that
/// unwinds. `whose` says in the log what panicked.
pub(crate) fn contain(whose: impl FnOnce() -> String, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        report(&whose(), panic);
    }
}

/// Runs user code whose panic is an error for the caller: its message.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic_message(&*panic).to_owned();
        discard(panic);
        message
    })
}

/// Drops what was thrown. That is user code, and may panic, too.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // And so may the drop of that, and so on.
        std::mem::forget(panic);
    }
}

/// Writes a line of the log. A subscriber is user code, and must not end the thread that has
/// something to log.
pub(crate) fn log(line: impl FnOnce()) {
    contain(|| "the log's subscriber".to_owned(), line);
}

#[cold]
fn report(whose: &str, panic: Box<dyn Any + Send>) {
    let message = panic_message(&*panic).to_owned();
    discard(panic);
    // A subscriber is user code again, and there is no log to say that it panicked.
    let _ = caught(|| {
        tracing::error!(
            target: "tower_breaker",
            panic = &*message,
            "{whose} panicked, and nothing else is affected; fix what panicked: {message}",
        );
    });
}

/// The message of a panic, if it has one.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
