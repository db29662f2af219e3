//! The way from a call back to its group, without counting a reference.
//!
//! A call whose key has no breaker needs its group only if it fails, or if a breaker was created
//! meanwhile. It must not keep the group alive for that: all threads would count up and down in one
//! word. So it points to an anchor, which lives forever. As breakers lease their cells, groups
//! lease anchors, one after the other.

use std::{
    any::Any,
    sync::{Arc, Mutex, Weak},
};

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    std_lock,
};

static VACANT: Mutex<Vec<&'static Anchor>> = Mutex::new(Vec::new());

pub(super) struct Anchor {
    /// How many breakers were created and groups have ended here. No number comes twice, so it
    /// tells groups apart too.
    changes: AtomicU64,
    held: Mutex<Option<Held>>,
}

/// The group that has the anchor.
struct Held {
    group: Weak<dyn Any + Send + Sync>,
    /// The number of changes when it got the anchor.
    first: u64,
}

/// An anchor, as long as a group has it.
pub(super) struct AnchorLease {
    anchor: &'static Anchor,
}

/// An anchor as a call has found it.
#[derive(Clone, Copy)]
pub(super) struct Anchored {
    anchor: &'static Anchor,
    changes: u64,
}

impl AnchorLease {
    pub(super) fn new() -> Self {
        let vacant = std_lock(&VACANT).pop();
        let anchor = vacant.unwrap_or_else(|| {
            let anchor = Anchor { changes: AtomicU64::new(0), held: Mutex::default() };
            Box::leak(Box::new(anchor))
        });
        Self { anchor }
    }

    /// From now on, calls find this group, which has created no breaker yet.
    pub(super) fn hold(&self, group: &Arc<impl Any + Send + Sync>) {
        let group: Arc<dyn Any + Send + Sync> = Arc::clone(group) as _;
        let group = Arc::downgrade(&group);
        let first = self.anchor.changes.load(Relaxed);
        *std_lock(&self.anchor.held) = Some(Held { group, first });
    }

    /// What counts the breakers that are created.
    pub(super) fn changes(&self) -> &'static AtomicU64 {
        &self.anchor.changes
    }

    #[inline]
    pub(super) fn find(&self) -> Anchored {
        // Acquire: the breakers that were created until then are found.
        Anchored { anchor: self.anchor, changes: self.anchor.changes.load(Acquire) }
    }
}

impl Drop for AnchorLease {
    fn drop(&mut self) {
        self.anchor.vacate();
        std_lock(&VACANT).push(self.anchor);
    }
}

impl Anchor {
    fn vacate(&self) {
        *std_lock(&self.held) = None;
        // Calls of this group do not take the next one for theirs.
        self.changes.fetch_add(1, Release);
    }
}

impl Anchored {
    /// Whether the group is still there, and has created no breaker since.
    #[inline]
    pub(super) fn is_unchanged(self) -> bool {
        self.anchor.changes.load(Acquire) == self.changes
    }

    /// The group, if it is still there.
    pub(super) fn group<G: Any + Send + Sync>(self) -> Option<Arc<G>> {
        let held = std_lock(&self.anchor.held);
        let held = held.as_ref().filter(|held| held.first <= self.changes)?;
        held.group.upgrade()?.downcast().ok()
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_finds_its_group_and_no_other_one_of_the_same_anchor() {
        let anchor =
            Box::leak(Box::new(Anchor { changes: AtomicU64::new(7), held: Mutex::default() }));
        let (first, second) = (Arc::new("first"), Arc::new("second"));
        // Never dropped: the anchor must not get into the pool twice.
        let lease = std::mem::ManuallyDrop::new(AnchorLease { anchor });
        lease.hold(&first);
        let of_first = lease.find();
        assert!(of_first.is_unchanged());
        anchor.changes.fetch_add(1, Release);
        assert!(!of_first.is_unchanged());
        assert_eq!(of_first.group::<&str>(), Some(first));
        anchor.vacate();
        assert!(of_first.group::<&str>().is_none());
        lease.hold(&second);
        assert!(of_first.group::<&str>().is_none() && !of_first.is_unchanged());
        let of_second = lease.find();
        assert!(of_second.is_unchanged());
        assert_eq!(of_second.group::<&str>(), Some(second));
    }
}
