//! How many words of rings this thread has touched, for tests of how much is done with the lock.

#[cfg(all(test, not(tower_breaker_loom)))]
std::thread_local! {
    static WORDS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[inline]
pub(super) fn add(words: usize) {
    #[cfg(all(test, not(tower_breaker_loom)))]
    WORDS.set(WORDS.get() + words);
    #[cfg(not(all(test, not(tower_breaker_loom))))]
    let _ = words;
}

/// How many words a job touches.
#[cfg(all(test, not(tower_breaker_loom)))]
pub(crate) fn of<T>(job: impl FnOnce() -> T) -> (T, usize) {
    let before = WORDS.get();
    let result = job();
    (result, WORDS.get() - before)
}
