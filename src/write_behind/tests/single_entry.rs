//! An entry that the store does not save, among others that it saves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use super::super::{
    Attachment, EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver,
};
use super::altered::Altered;
use super::fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, attach_source, patient, until};
use crate::{
    health::StoreHealth,
    store::{StateStore, StoreError},
};

/// Does not save the snapshot of the breaker "odd".
#[derive(Clone)]
struct Picky {
    inner: Faulty,
    refuses: Arc<AtomicBool>,
    /// How often it was asked to save it.
    attempts: Arc<AtomicUsize>,
    /// How many batches failed because of it.
    failed_batches: Arc<AtomicUsize>,
}

impl Picky {
    fn new() -> Self {
        Self {
            inner: Faulty::new(Fault::None),
            refuses: Arc::new(AtomicBool::new(true)),
            attempts: Arc::default(),
            failed_batches: Arc::default(),
        }
    }

    fn check(&self, key: &str) -> Result<(), StoreError> {
        if !key.contains("odd") {
            return Ok(());
        }
        self.attempts.fetch_add(1, SeqCst);
        if self.refuses.load(SeqCst) { Err(StoreError::Other("too odd".into())) } else { Ok(()) }
    }

    fn store(&self) -> Altered {
        let (single, batch) = (self.clone(), self.clone());
        Altered::of(&self.inner)
            .save(move |inner, entry| {
                single.check(&entry.key)?;
                inner.save(entry)
            })
            .save_all(move |inner, entries| {
                let checked = entries.iter().try_for_each(|entry| batch.check(&entry.key));
                if checked.is_err() && entries.len() > 1 {
                    batch.failed_batches.fetch_add(1, SeqCst);
                }
                checked?;
                inner.save_all(entries)
            })
    }
}

/// A breaker that the store does not save, and one that it saves.
fn pair(store: &Picky) -> ([Arc<Breaker>; 2], [Attachment; 2]) {
    let breakers = [Breaker::new("closed"), Breaker::new("closed")];
    let attached = [("odd", 0), ("even", 1)]
        .map(|(name, i)| attach(&store.store(), name, &breakers[i], &patient()));
    (breakers, attached)
}

#[test]
fn an_entry_that_cannot_be_saved_is_announced_once() {
    let store = Picky::new();
    let ([odd, even], [unsaved, saved]) = pair(&store);
    odd.change_and_mark("open", &unsaved.marker(), true);
    until("it is noticed", || !unsaved.health().is_healthy());
    // Until now the store might have been at fault, so every breaker is saved again.
    saved.flush_blocking(LONG).unwrap();
    for number in 0..50 {
        even.change_and_mark(format!("{number}"), &saved.marker(), true);
        saved.flush_blocking(LONG).unwrap();
        let health = saved.health();
        let StoreHealth::Degraded { reason, pending, .. } = health else {
            panic!("healthy, though one is not saved")
        };
        assert_eq!(pending, 1);
        assert!(reason.contains("\"odd\"") && reason.contains("too odd"), "{reason}");
    }
    assert_eq!([odd.announced(), even.announced()], [[false], [false]]);
    store.refuses.store(false, SeqCst);
    until("it is healthy again", || saved.health().is_healthy());
    assert!(store.inner.holds("odd", "open"));
    until("it is announced", || {
        [odd.announced(), even.announced()] == [[false, true], [false, true]]
    });
}

#[test]
fn an_entry_that_cannot_be_saved_delays_and_affects_no_other() {
    let store = Picky::new();
    let ([odd, even], [unsaved, saved]) = pair(&store);
    odd.change_and_mark("open", &unsaved.marker(), true);
    assert!(unsaved.flush_blocking(LONG).is_err());
    saved.flush_blocking(LONG).unwrap();
    // The tries after that are 100 ms apart at first, then 200, and so on.
    let attempts = store.attempts.load(SeqCst);
    let failed_batches = store.failed_batches.load(SeqCst);
    for number in 0..20 {
        odd.change_and_mark(format!("open {number}"), &unsaved.marker(), true);
        even.change_and_mark(format!("{number}"), &saved.marker(), true);
        until("it is saved", || store.inner.holds("even", &format!("{number}")));
    }
    let attempts = store.attempts.load(SeqCst) - attempts;
    assert!(attempts < 10, "{attempts} attempts for 20 saves of the other breaker");
    assert_eq!(store.failed_batches.load(SeqCst), failed_batches);
}

#[test]
fn the_store_is_healthy_once_the_failing_breaker_is_gone() {
    let store = Picky::new();
    let ([odd, _even], [unsaved, saved]) = pair(&store);
    odd.change_and_mark("open", &unsaved.marker(), true);
    until("it is noticed", || !saved.health().is_healthy());
    saved.flush_blocking(LONG).unwrap();
    drop(unsaved);
    until("nothing is left unsaved", || saved.health().is_healthy());
}

#[test]
fn a_breaker_whose_snapshot_panics_does_not_stop_the_store() {
    struct Panics;
    impl SnapshotSource for Panics {
        fn encode(&self) -> Option<EncodedSnapshot> {
            panic!("this test provokes a panic")
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

    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let panics = attach_source(&store, "panics", &(Arc::new(Panics) as _), &patient());
    let other = attach(&store, "other", &breaker, &patient());
    assert!(panics.flush_blocking(LONG).is_err());
    let writes = store.writes.load(SeqCst);
    for number in 0..20 {
        breaker.change_and_mark(format!("{number}"), &other.marker(), true);
        until("it is saved", || store.holds("other", &format!("{number}")));
    }
    assert!(store.writes.load(SeqCst) >= writes + 20);
    assert_eq!(breaker.announced(), [false]);
}

#[test]
fn the_drop_of_a_breaker_that_cannot_be_saved_does_not_stall_the_store() {
    let store = Picky::new();
    let settings = Settings { drop_wait: Duration::from_millis(200), ..patient() };
    let unsaved = attach(&store.store(), "odd", &Breaker::new("closed"), &settings);
    let saved = attach(&store.store(), "even", &Breaker::new("closed"), &settings);
    // Tries are 100 ms apart at first, then 200: none comes at the moment that the drop has waited
    // for long enough.
    drop(unsaved);
    assert_eq!(saved.flush_blocking(LONG), Ok(()));
    assert!(!saved.health().to_string().contains("does not answer"), "{}", saved.health());
}
