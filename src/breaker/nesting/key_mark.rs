//! Calls of a key that has no breaker yet.

use super::{INNERMOST, REMEMBERED, Scope, address, inside, is_among};
use crate::breaker::cell::Cell;

/// Stands for the breaker of a key that has none yet, where its calls are recognized further in.
///
/// The default is the mark of no key, which never runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyMark(usize);

impl KeyMark {
    /// The bits of the hash are all random, and it is another one in each group. If two keys have
    /// the same, a call of the one within a call of the other is not recorded.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
    pub(crate) fn of(hash: u64) -> Self {
        // Addresses have not this bit where they have 64.
        let no_address = 1 << (usize::BITS - 1);
        Self((hash as usize | no_address) & !REMEMBERED)
    }

    /// Whether the inner service of this key runs on this thread.
    #[inline]
    pub(crate) fn is_running(self) -> bool {
        let innermost = INNERMOST.get();
        innermost != 0 && is_among(innermost, self.0)
    }

    /// Runs the inner service of this key.
    #[inline]
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _scope = Scope::enter(self.0);
        work()
    }
}

/// Calls of this breaker are part of the innermost one, until this poll of that one ends.
pub(crate) fn join_innermost(cell: &'static Cell) {
    let innermost = INNERMOST.get();
    if innermost != 0 && !is_among(innermost, address(cell)) {
        INNERMOST.set(inside(innermost, address(cell)));
    }
}
