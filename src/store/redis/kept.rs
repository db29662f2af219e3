//! The values that this process has saved forever: those of states set by hand.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{index::Life, seen::end};
use crate::sync::std_lock as lock;

/// How often it is looked at whether they are still there.
const INTERVAL: Duration = Duration::from_secs(10);

/// More than this are not looked at.
const MOST: usize = 10_000;

/// Says whether a value ends like this, which no other of its breaker does.
pub(super) const LOOK: &str = "\
local stored = redis.call('GET', KEYS[1])
if not stored then return 'gone' end
if string.sub(stored, -#ARGV[1]) == ARGV[1] then return 'same' end
return 'replaced'";

/// What Redis holds under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Same,
    /// It is another process's by now.
    Replaced,
    Gone,
}

impl Stored {
    pub(super) fn from_reply(reply: &[u8]) -> Self {
        match reply {
            b"gone" => Self::Gone,
            b"replaced" => Self::Replaced,
            _ => Self::Same,
        }
    }
}

#[derive(Default)]
pub(super) struct Kept(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The ends of the values, by keys.
    ends: BTreeMap<String, Box<[u8]>>,
    looked_at: Option<Instant>,
}

impl Kept {
    /// A value was saved that lives for so long.
    pub(super) fn note(&self, key: &str, value: &[u8], life: Life) {
        let mut known = lock(&self.0);
        if life.is_some() {
            known.ends.remove(key);
        } else if known.ends.len() < MOST || known.ends.contains_key(key) {
            known.looked_at.get_or_insert_with(Instant::now);
            known.ends.insert(key.to_owned(), end(value).into());
        }
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).ends.remove(key);
    }

    /// The server may have lost anything: what is still valid is saved again.
    pub(super) fn forget_all(&self) {
        lock(&self.0).ends.clear();
    }

    /// The keys to look at, and how their values end, if it is time.
    pub(super) fn due(&self, now: Instant) -> Option<Vec<(String, Box<[u8]>)>> {
        let mut known = lock(&self.0);
        let is_due = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        if known.ends.is_empty() || !known.looked_at.is_none_or(is_due) {
            return None;
        }
        known.looked_at = Some(now);
        Some(known.ends.iter().map(|(key, end)| (key.clone(), end.clone())).collect())
    }

    /// Forgets what another process has replaced, or Redis has lost. Returns the first that it has
    /// lost.
    pub(super) fn conclude(
        &self,
        looked_at: &[(String, Box<[u8]>)],
        found: &[Stored],
    ) -> Option<String> {
        let mut known = lock(&self.0);
        let mut lost = None;
        for ((key, end), found) in looked_at.iter().zip(found) {
            // It may have been saved again meanwhile.
            if *found == Stored::Same || known.ends.get(key) != Some(end) {
                continue;
            }
            known.ends.remove(key);
            if *found == Stored::Gone {
                lost.get_or_insert_with(|| key.clone());
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(due: Option<Vec<(String, Box<[u8]>)>>) -> Vec<String> {
        due.into_iter().flatten().map(|(key, _)| key).collect()
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_saved_for_ever_is_looked_at_now_and_then() {
        let kept = Kept::default();
        kept.note("expires", b"1", Some(1000));
        assert_eq!(kept.due(later(20)), None);
        kept.note("a", b"1", None);
        kept.note("b", b"1", None);
        assert_eq!(kept.due(later(0)), None, "it was there a moment ago");
        assert_eq!(keys(kept.due(later(20))), ["a", "b"]);
        assert_eq!(kept.due(later(25)), None);
        kept.note("a", b"2", Some(1000));
        kept.forget("b");
        assert_eq!(kept.due(later(60)), None);
        kept.note("c", b"1", None);
        kept.forget_all();
        assert_eq!(kept.due(later(90)), None);
    }

    #[test]
    fn what_is_gone_is_said_once_and_what_another_has_replaced_never() {
        let kept = Kept::default();
        for key in ["a", "b", "c", "d", "e"] {
            kept.note(key, b"1", None);
        }
        let looked_at = kept.due(later(20)).unwrap();
        kept.note("e", b"2", None);
        let found = [Stored::Same, Stored::Replaced, Stored::Gone, Stored::Gone, Stored::Gone];
        assert_eq!(kept.conclude(&looked_at, &found).as_deref(), Some("c"));
        let looked_at = kept.due(later(40)).unwrap();
        assert_eq!(keys(Some(looked_at.clone())), ["a", "e"]);
        assert_eq!(kept.conclude(&looked_at, &[Stored::Same, Stored::Same]), None);
    }
}
