//! How long an index is there at least, as far as this process knows.
//!
//! A server under a memory policy such as `volatile-lru` may evict an index before what it names.
//! Nothing else would notice that: what is stored is read by its own key, but a listing is short.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::index::Life;
use crate::sync::std_lock as lock;

/// How often it is looked at whether the index is there.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long the index counts as being there after something was found that it names, of which it is
/// not known how long it lives.
const AFTER_READ: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct IndexLife(Mutex<Known>);

#[derive(Default)]
struct Known {
    until: Until,
    looked_at: Option<Instant>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    /// It may be gone.
    #[default]
    Unknown,
    At(Instant),
    Ever,
}

impl IndexLife {
    /// Something was saved that lives for so long. What was saved before may have been replaced.
    pub(super) fn note_saved(&self, life: Life, now: Instant) {
        let until = life.map(|millis| now.checked_add(Duration::from_millis(millis)));
        let mut known = lock(&self.0);
        known.looked_at.get_or_insert(now);
        known.until = until.flatten().map_or(Until::Ever, Until::At);
    }

    /// Something was found under its key.
    pub(super) fn note_read(&self, now: Instant) {
        let mut known = lock(&self.0);
        known.looked_at.get_or_insert(now);
        known.until = known.until.max(Until::At(now + AFTER_READ));
    }

    /// The last of what the index names may be gone.
    pub(super) fn forget(&self) {
        lock(&self.0).until = Until::Unknown;
    }

    /// Whether the index must be there.
    pub(super) fn is_expected(&self, now: Instant) -> bool {
        lock(&self.0).until > Until::At(now)
    }

    /// Whether it must be there, and it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut known = lock(&self.0);
        let is_time = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        let is_due = known.until > Until::At(now) && known.looked_at.is_none_or(is_time);
        if is_due {
            known.looked_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_expected_for_as_long_as_what_was_saved_last_and_looked_at_now_and_then() {
        let (index, now) = (IndexLife::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!index.is_expected(now) && !index.is_due(after(20)));
        index.note_saved(Some(100_000), now);
        assert!(index.is_expected(after(99)) && !index.is_expected(after(101)));
        assert!(!index.is_due(after(9)) && index.is_due(after(11)) && !index.is_due(after(12)));
        index.note_read(now);
        assert!(index.is_expected(after(99)), "what was saved lives for longer");
        index.note_saved(Some(1000), now);
        assert!(!index.is_expected(after(2)), "it may have replaced the other");
        index.note_read(now);
        assert!(index.is_expected(after(59)) && !index.is_expected(after(61)));
        index.note_saved(None, now);
        assert!(index.is_expected(after(1 << 30)));
        index.forget();
        assert!(!index.is_expected(now));
    }
}
