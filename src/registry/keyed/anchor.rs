//! The way from a call back to its group, without counting a reference.
//!
//! A call whose key has no breaker needs its group only if it fails, or if a breaker was created
//! meanwhile. It must not keep the group alive for that: all threads would count up and down in one
//! word. So it points to an anchor, which lives for ever. As breakers lease their cells, groups
//! lease anchors, one after the other.

use std::sync::{Arc, Mutex, Weak};

use super::table::Table;
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
    table: Mutex<Weak<Table>>,
}

/// An anchor, as long as a group has it.
pub(super) struct Lease {
    anchor: &'static Anchor,
    first: u64,
}

/// An anchor as a call has found it.
#[derive(Clone, Copy)]
pub(super) struct Anchored {
    anchor: &'static Anchor,
    changes: u64,
}

impl Lease {
    pub(super) fn new() -> Self {
        let vacant = std_lock(&VACANT).pop();
        let anchor = vacant.unwrap_or_else(|| {
            let anchor = Anchor { changes: AtomicU64::new(0), table: Mutex::default() };
            Box::leak(Box::new(anchor))
        });
        Self { anchor, first: anchor.changes.load(Relaxed) }
    }

    /// From now on, calls find this table.
    pub(super) fn hold(&self, table: &Arc<Table>) {
        *std_lock(&self.anchor.table) = Arc::downgrade(table);
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

impl Drop for Lease {
    fn drop(&mut self) {
        *std_lock(&self.anchor.table) = Weak::new();
        // Calls of this group do not take the next one for theirs.
        self.anchor.changes.fetch_add(1, Release);
        std_lock(&VACANT).push(self.anchor);
    }
}

impl Anchored {
    /// Whether the group is still there, and has created no breaker since.
    #[inline]
    pub(super) fn is_unchanged(self) -> bool {
        self.anchor.changes.load(Acquire) == self.changes
    }

    /// The group, if it is still there.
    pub(super) fn table(self) -> Option<Arc<Table>> {
        let table = std_lock(&self.anchor.table).upgrade()?;
        (self.changes >= table.lease.first).then_some(table)
    }
}
