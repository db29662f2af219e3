//! When a snapshot holds only what is new.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        EncodedSnapshot, Part, RestoreError, SaveSettings, SnapshotBase, SnapshotSource, TakeOver,
        entries::Slab,
        entry::{Entry, Urgency},
        keys,
    },
    fakes::patient,
};
use crate::health::StoreHealth;

/// A breaker with a large window.
struct Large;

impl SnapshotSource for Large {
    fn encode(&self) -> Option<EncodedSnapshot> {
        let until = Instant::now() + Duration::from_secs(60);
        let base = SnapshotBase { id: 1, positions: Vec::new(), until };
        let part = Part::Base(Arc::new(base));
        Some(EncodedSnapshot { part, ..EncodedSnapshot::whole(Vec::new(), None) })
    }
    fn encode_since(&self, _: &SnapshotBase) -> Option<EncodedSnapshot> {
        let part = Part::Continuation;
        Some(EncodedSnapshot { part, ..EncodedSnapshot::whole(Vec::new(), None) })
    }
    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
    fn take_over(&self, _: &TakeOver<'_>) {}
    fn settings(&self) -> SaveSettings {
        patient().save()
    }
    fn store_health(&self, _: &StoreHealth) {}
}

#[test]
fn counts_continue_a_snapshot_that_is_saved_and_everything_else_is_whole() {
    let mut id = None;
    Slab::default().insert_with(|new| id = Some(new));
    let entry = Entry::new(id.unwrap(), keys::snapshot("large"), Arc::new(Large));
    let save = |urgency: Urgency, succeeds: bool| {
        entry.mark(urgency);
        let part = entry.encode_if_marked().unwrap().unwrap().part;
        entry.set_saved(succeeds.then_some(&part));
        matches!(part, Part::Continuation)
    };
    assert!(!save(Urgency::Counts, true), "there is nothing to continue");
    assert!(save(Urgency::Counts, true));
    assert!(save(Urgency::Counts, true));
    assert!(!save(Urgency::Transition, true), "a transition");
    assert!(save(Urgency::Counts, true));
    assert!(!save(Urgency::Transition, false), "it may be stored, or not");
    assert!(!save(Urgency::Counts, true));
    assert!(save(Urgency::Counts, false));
    assert!(!save(Urgency::Counts, true));
}
