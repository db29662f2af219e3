//! Stores that fail and panic, and recover.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{
    super::inboxes,
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, hasty, patient, until},
};
use crate::{
    error::FlushError,
    health::StoreHealth,
    history::HistoryQuery,
    store::{MemoryStore, StateStore, StoreError, Tiered},
};

#[tokio::test]
async fn a_store_that_fails_and_recovers_gets_the_newest_state_of_every_breaker() {
    for fault in [Fault::Away, Fault::Odd, Fault::Panics] {
        let store = Faulty::new(Fault::None);
        let breakers = [Breaker::new("closed"), Breaker::new("closed")];
        let [a, b] = ["a", "b"]
            .map(|name| attach(&store, name, &breakers[usize::from(name == "b")], &patient()));
        b.flush().await.unwrap();
        // As after a folder was removed: what was saved before is gone.
        store.memory.delete("circuit_breaker:b:state").unwrap();
        store.set(fault);
        breakers[0].change("open");
        let error = a.flush().await.unwrap_err();
        let FlushError::NotSaved { reason } = &error else { panic!("{fault:?}: {error}") };
        assert!(reason.ends_with("; retrying in the background"), "{fault:?}: {reason}");
        let StoreHealth::Degraded { pending, .. } = a.health() else {
            panic!("{fault:?}: not degraded")
        };
        assert!(pending >= 1);
        breakers[0].change_and_mark("half open", &a.marker(), true);
        until("it is tried again", || store.calls.load(SeqCst) > 6);
        assert_eq!(breakers[0].announced(), [false], "{fault:?}: once, not for each try");
        store.set(Fault::None);
        until("it is healthy again", || a.health().is_healthy());
        until("the newest is saved", || store.holds("a", "half open"));
        until("the others are saved again too", || store.holds("b", "closed"));
        until("it is announced", || {
            breakers[0].announced() == [false, true] && breakers[1].announced() == [false, true]
        });
    }
}

/// As on a disk that can be read and not written to, where maintenance is the first to fail.
#[test]
fn a_store_that_can_only_be_read_stays_degraded_whatever_fails_first() {
    for has_changed in [false, true] {
        let [fails, saves] = [Arc::<AtomicUsize>::default(), Arc::default()];
        let (failing, saving) = (Arc::clone(&fails), Arc::clone(&saves));
        let write = move || match failing.load(SeqCst) {
            0 => Ok(()),
            _ => Err(StoreError::Unavailable("it cannot be written to".into())),
        };
        let verify = write.clone();
        let store = Faulty::new(Fault::None);
        let altered = Altered::of(&store).verify(move |_| verify()).save(move |store, entry| {
            saving.fetch_add(1, SeqCst);
            write().and_then(|()| store.save(entry))
        });
        let breaker = Breaker::new("closed");
        let settings =
            Settings { flush_interval: LONG * 100, verify: Duration::from_millis(20), ..patient() };
        let attached = attach(&altered, "a", &breaker, &settings);
        if has_changed {
            breaker.change("1 failure");
        }
        fails.store(1, SeqCst);
        until("it is noticed", || !attached.health().is_healthy());
        let before = saves.load(SeqCst);
        until("it is tried again", || saves.load(SeqCst) > before + 1);
        assert_eq!(breaker.announced(), [false], "changed: {has_changed}");
        fails.store(0, SeqCst);
        until("it is healthy again", || attached.health().is_healthy());
        until("the newest is saved", || store.holds("a", &breaker.state()));
    }
}

#[test]
fn a_store_that_is_unavailable_at_the_start_is_read_before_it_is_written() {
    let store = Faulty::new(Fault::Away);
    store.put("fresh", "open");
    store.put("changed", "open");
    store.put("newer", "newer");
    let names = ["fresh", "changed", "newer"];
    let breakers = names.map(|_| Breaker::new("closed"));
    let [fresh, changed, newer] =
        [0, 1, 2].map(|i| attach(&store, names[i], &breakers[i], &patient()));
    let StoreHealth::Degraded { reason, .. } = fresh.health() else { panic!("not degraded") };
    assert_eq!(reason, "store unavailable: it is away");
    until("also to a breaker that was built during the outage", || {
        breakers[1].announced() == [false]
    });
    breakers[1].change_and_mark("half open", &changed.marker(), true);
    breakers[2].change_and_mark("half open", &newer.marker(), true);
    assert!(changed.flush_blocking(LONG).is_err());
    store.set(Fault::None);
    until("it is healthy again", || fresh.health().is_healthy());
    until("the newer state is saved", || store.holds("changed", "half open"));
    assert_eq!(breakers[0].state(), "open", "late, but restored");
    assert_eq!(breakers[1].state(), "half open", "it had changed meanwhile");
    assert!(breakers.iter().all(|breaker| breaker.restores.load(SeqCst) == 1));
    assert!(newer.flush_blocking(LONG).is_err());
    assert!(store.holds("fresh", "open") && store.holds("newer", "newer"));
}

#[test]
fn an_unreadable_snapshot_is_not_overwritten_before_it_is_kept_aside() {
    let store = Faulty::new(Fault::None);
    store.put("a", "corrupt");
    let full =
        Altered::of(&store).save(|_, _| Err(StoreError::Unavailable("the disk is full".into())));
    let breaker = Breaker::new("closed");
    let attached = attach(&full, "a", &breaker, &patient());
    assert!(!attached.health().is_healthy());
    breaker.change_and_mark("open", &attached.marker(), true);
    until("it is tried again", || breaker.restores.load(SeqCst) > 1);
    assert!(store.holds("a", "corrupt"));
}

#[test]
fn a_snapshot_that_the_store_cannot_read_is_not_overwritten_and_does_not_affect_other_breakers() {
    let store = Faulty::new(Fault::None);
    store.put("blind", "open");
    let blind = Altered::of(&store).load(|store, key| {
        let found = store.load(key)?;
        if key.contains("blind") { Err(StoreError::Other("a glitch".into())) } else { Ok(found) }
    });
    let breakers = [Breaker::new("closed"), Breaker::new("closed")];
    let unread = attach(&blind, "blind", &breakers[0], &patient());
    let other = attach(&blind, "other", &breakers[1], &patient());
    breakers[0].change_and_mark("half open", &unread.marker(), true);
    breakers[1].change_and_mark("half open", &other.marker(), true);
    other.flush_blocking(LONG).unwrap();
    assert!(unread.flush_blocking(LONG).is_err());
    let calls = store.calls.load(SeqCst);
    until("it is tried again", || store.calls.load(SeqCst) > calls + 2);
    drop((unread, other));
    assert!(store.holds("blind", "open") && store.holds("other", "half open"));
}

#[test]
fn dropping_breakers_of_a_failing_store_neither_waits_nor_keeps_the_store_open() {
    let store = Arc::new(Faulty::new(Fault::Away));
    let breaker = Breaker::new("closed");
    let start = Instant::now();
    let attached: Vec<_> =
        (0..50).map(|i| attach(&store, &i.to_string(), &breaker, &patient())).collect();
    drop(attached);
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(Arc::strong_count(&store), 1);
    assert_eq!(Arc::strong_count(&breaker), 1);
}

#[test]
fn a_drop_retries_a_last_save_that_fails_once() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    breaker.change("open");
    store.set(Fault::Away);
    let mender = store.clone();
    let calls = store.calls.load(SeqCst);
    let mend = std::thread::spawn(move || {
        until("it failed once", || mender.calls.load(SeqCst) > calls);
        mender.set(Fault::None);
    });
    drop(attached);
    mend.join().unwrap();
    assert!(store.holds("a", "open"));
}

/// A store that saves no batch, and is unavailable when it is asked to save a single entry.
struct Fading {
    store: Altered,
    batches: Arc<AtomicUsize>,
    singles: Arc<AtomicUsize>,
}

impl Fading {
    fn new() -> Self {
        let (batches, singles) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (batch, single) = (Arc::clone(&batches), Arc::clone(&singles));
        let store = Altered::of(&Faulty::new(Fault::None))
            .save_all(move |_, _| {
                batch.fetch_add(1, SeqCst);
                Err(StoreError::Other("it is odd".into()))
            })
            .save(move |_, _| {
                single.fetch_add(1, SeqCst);
                Err(StoreError::Unavailable("it is away by now".into()))
            });
        Self { store, batches, singles }
    }
}

#[test]
fn an_outage_in_the_middle_of_a_batch_ends_the_batch() {
    let fading = Fading::new();
    let settings = Settings { transition_flush_interval: LONG, flush_interval: LONG, ..patient() };
    let breakers: [_; 20] = std::array::from_fn(|_| Breaker::new("closed"));
    let attached: Vec<_> =
        (0..20).map(|i| attach(&fading.store, &i.to_string(), &breakers[i], &settings)).collect();
    for (breaker, attached) in breakers.iter().zip(&attached) {
        breaker.change_and_mark("open", &attached.marker(), true);
    }
    assert!(attached[0].flush_blocking(LONG).is_err());
    until("all are tried", || fading.batches.load(SeqCst) > 2);
    drop(attached);
    let (batches, singles) = (fading.batches.load(SeqCst), fading.singles.load(SeqCst));
    assert!(singles <= batches, "{singles} single saves after {batches} batches");
}

#[tokio::test]
async fn history_requests_do_not_retry_a_store_that_saves_nothing() {
    let fading = Fading::new();
    let [a, b] =
        ["a", "b"].map(|name| attach(&fading.store, name, &Breaker::new("closed"), &hasty()));
    assert!(a.flush().await.is_err());
    let tries = fading.batches.load(SeqCst);
    for _ in 0..50 {
        b.history(HistoryQuery::default()).await.unwrap();
    }
    let tries = fading.batches.load(SeqCst) - tries;
    assert!(tries < 10, "{tries} tries for 50 readers");
    assert!(!a.health().is_healthy());
}

/// Its transitions are saved there with the retries.
#[test]
fn a_store_of_which_a_part_is_reached_is_retried_sooner() {
    let (near, far) = (Faulty::new(Fault::Away), MemoryStore::new());
    let tiered = Tiered::new(near.clone(), far);
    let breaker = Breaker::new("closed");
    let attached = attach(&tiered, "a", &breaker, &patient());
    let inbox = inboxes::find(tiered.id()).unwrap();
    // By then, the pauses would be longer.
    for calls in 0..8 {
        until("it is tried again", || near.calls.load(SeqCst) > calls);
        let retry_at = inbox.monitor.health().retry_at();
        let longest = Instant::now() + Duration::from_millis(500);
        assert!(retry_at.is_none_or(|at| at <= longest), "after {calls} calls");
    }
    near.set(Fault::None);
    until("it is healthy", || attached.health().is_healthy());
}
