//! The labels of a group's breakers in metrics.

use std::{collections::BTreeSet, sync::Mutex};

use smol_str::SmolStr;

use crate::sync::std_lock;

/// The label of the keys that have none of their own.
const OTHER: &str = "other";

/// Which keys have a label of their own: the first ones that get a breaker, so that invented keys
/// do not make series without end.
pub(super) struct KeyLabels {
    pub(super) group: SmolStr,
    max: usize,
    known: Mutex<BTreeSet<SmolStr>>,
}

impl KeyLabels {
    /// At most `max` keys have one. With 0, the breakers are counted by the group alone.
    pub(super) fn new(group: &str, max: usize) -> Self {
        Self { group: group.into(), max, known: Mutex::default() }
    }

    pub(super) fn are_by_key(&self) -> bool {
        self.max > 0
    }

    /// The label of a key; `None` if keys have none. That of an empty key is `other`, since to
    /// Prometheus, an empty label is none, as in the series of the group.
    pub(super) fn of(&self, key: Option<&str>) -> Option<SmolStr> {
        if !self.are_by_key() {
            return None;
        }
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Some(OTHER.into()) };
        let mut known = std_lock(&self.known);
        if !known.contains(key) {
            if known.len() >= self.max {
                return Some(OTHER.into());
            }
            known.insert(key.into());
        }
        Some(key.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_have_labels_and_keep_them() {
        let labels = KeyLabels::new("upstream", 2);
        assert_eq!(labels.of(Some("")).as_deref(), Some("other"));
        for _ in 0..2 {
            let of = ["a", "b", "c", "other"].map(|key| labels.of(Some(key)).unwrap());
            assert_eq!(of, ["a", "b", "other", "other"]);
        }
        assert_eq!(labels.of(None).as_deref(), Some("other"));
        assert_eq!(KeyLabels::new("upstream", 0).of(Some("a")), None);
    }
}
