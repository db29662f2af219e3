//! The values that this process has saved for ever: those of states set by hand.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::index::Life;
use crate::sync::std_lock as lock;

/// How often it is looked at whether they are still there.
const INTERVAL: Duration = Duration::from_secs(10);

/// More than this are not looked at.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Kept(Mutex<Known>);

#[derive(Default)]
struct Known {
    keys: BTreeSet<String>,
    looked_at: Option<Instant>,
}

impl Kept {
    /// A value was saved that lives for so long.
    pub(super) fn note(&self, key: &str, life: Life) {
        let mut known = lock(&self.0);
        if life.is_some() {
            known.keys.remove(key);
        } else if known.keys.len() < MOST {
            known.looked_at.get_or_insert_with(Instant::now);
            known.keys.insert(key.to_owned());
        }
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).keys.remove(key);
    }

    /// The keys to look at, if it is time.
    pub(super) fn due(&self, now: Instant) -> Option<Vec<String>> {
        let mut known = lock(&self.0);
        let is_due = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        if known.keys.is_empty() || !known.looked_at.is_none_or(is_due) {
            return None;
        }
        known.looked_at = Some(now);
        Some(known.keys.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_for_ever_is_looked_at_now_and_then() {
        let kept = Kept::default();
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        kept.note("expires", Some(1000));
        assert_eq!(kept.due(later(20)), None);
        kept.note("a", None);
        kept.note("b", None);
        assert_eq!(kept.due(later(0)), None, "it was there a moment ago");
        assert_eq!(kept.due(later(20)).unwrap(), ["a", "b"]);
        assert_eq!(kept.due(later(25)), None);
        kept.note("a", Some(1000));
        kept.forget("b");
        assert_eq!(kept.due(later(60)), None);
    }
}
