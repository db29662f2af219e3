//! Stores that fail, hang and panic, and recover.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::super::{
    Attachment, EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, inbox,
};
use super::fakes::{
    Breaker, Fault, Faulty, LONG, Settings, attach, attach_source, hasty, patient, until,
};
use crate::{
    error::FlushError,
    health::StoreHealth,
    history::HistoryQuery,
    store::{FileStore, SaveEntry, StateStore, StoreError},
    sync::std_lock,
};

fn reason(health: &StoreHealth) -> &str {
    match health {
        StoreHealth::NoStore => "none",
        StoreHealth::Healthy | StoreHealth::Repaired { .. } => "healthy",
        StoreHealth::Degraded { reason, .. } => reason,
    }
}

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
        assert!(matches!(error, FlushError::NotSaved { .. }), "{fault:?}: {error}");
        let StoreHealth::Degraded { pending, .. } = a.health() else {
            panic!("{fault:?}: not degraded")
        };
        assert!(pending >= 1);
        breakers[0].change_and_mark("half open", &a.marker(), true);
        until("it is tried again", || store.calls.load(SeqCst) > 6);
        assert_eq!(breakers[0].told(), [false], "{fault:?}: once, not once a try");
        store.set(Fault::None);
        until("it heals by itself", || a.health().is_healthy());
        until("the newest is saved", || store.holds("a", "half open"));
        until("the others save again, too", || store.holds("b", "closed"));
        until("it is told", || {
            breakers[0].told() == [false, true] && breakers[1].told() == [false, true]
        });
    }
}

#[test]
fn a_store_that_is_unavailable_at_the_start_is_read_before_it_is_written() {
    let store = Faulty::new(Fault::Away);
    store.put("fresh", "open");
    store.put("lived", "open");
    store.put("newer", "newer");
    let names = ["fresh", "lived", "newer"];
    let breakers = names.map(|_| Breaker::new("closed"));
    let [fresh, lived, newer] =
        [0, 1, 2].map(|i| attach(&store, names[i], &breakers[i], &patient()));
    assert_eq!(reason(&fresh.health()), "store unavailable: it is away");
    assert_eq!(breakers[1].told(), [false], "also those that came when it was away already");
    breakers[1].change_and_mark("half open", &lived.marker(), true);
    breakers[2].change_and_mark("half open", &newer.marker(), true);
    assert!(lived.flush_blocking(LONG).is_err());
    store.set(Fault::None);
    until("it heals", || fresh.health().is_healthy());
    until("the newer state is saved", || store.holds("lived", "half open"));
    assert_eq!(breakers[0].state(), "open", "late, but restored");
    assert_eq!(breakers[1].state(), "half open", "it had gone its own way");
    assert!(breakers.iter().all(|breaker| breaker.restores.load(SeqCst) == 1));
    assert!(newer.flush_blocking(LONG).is_err());
    assert!(store.holds("fresh", "open") && store.holds("newer", "newer"));
}

#[test]
fn an_unreadable_snapshot_is_not_overwritten_before_it_is_kept_aside() {
    let store = Faulty::new(Fault::None);
    store.put("a", "corrupt");
    let full = Full(store.clone());
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
    let blind = Blind(store.clone());
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

/// Cannot read one key, and can write it.
#[derive(Clone)]
struct Blind(Faulty);

impl StateStore for Blind {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.0.load(key)?;
        if key.contains("blind") { Err(StoreError::Other("a glitch".into())) } else { Ok(found) }
    }
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.load_page(after, limit)
    }
    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.0.save(entry)
    }
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key)
    }
    fn id(&self) -> usize {
        self.0.id()
    }
}

/// Reads, and has no room for more.
#[derive(Clone)]
struct Full(Faulty);

impl StateStore for Full {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(key)
    }
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.load_page(after, limit)
    }
    fn save(&self, _: &SaveEntry) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it is full".into()))
    }
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key)
    }
}

#[tokio::test]
async fn a_store_that_hangs_from_the_start_delays_the_first_breaker_only() {
    let store = Faulty::new(Fault::Hangs);
    store.put("0", "open");
    let start = Instant::now();
    let breakers: Vec<_> = (0..100).map(|_| Breaker::new("closed")).collect();
    let mut attached: Vec<_> =
        (0..100).map(|i| attach(&store, &i.to_string(), &breakers[i], &hasty())).collect();
    assert!(reason(&attached[0].health()).contains("does not answer"));
    breakers[0].change_and_mark("closed, and lived", &attached[0].marker(), true);
    let flushed = attached[1].flush().await;
    assert!(matches!(flushed, Err(FlushError::NotSaved { .. })), "{flushed:?}");
    assert!(attached[1].flush_blocking(LONG).is_err());
    attached.truncate(1);
    assert!(start.elapsed() < LONG / 2, "one wait, not a hundred: {:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&breakers[99]), 1, "those that are gone are not held");
    store.set(Fault::None);
    until("it heals", || attached[0].health().is_healthy());
    until("the newest is saved", || store.holds("0", "closed, and lived"));
    until("it is told", || breakers[0].told().starts_with(&[false, true]));
}

#[tokio::test]
async fn a_store_that_begins_to_hang_is_noticed_without_a_waiting_caller() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    breaker.change_and_mark("open", &attached.marker(), true);
    until("it is noticed", || breaker.told() == [false]);
    let StoreHealth::Degraded { reason, pending, .. } = attached.health() else {
        panic!("not degraded")
    };
    assert!(reason.contains("does not answer"), "{reason}");
    assert_eq!(pending, 1);
    assert!(attached.flush().await.is_err());
    breaker.change_and_mark("half open", &attached.marker(), true);
    store.set(Fault::None);
    until("it heals", || attached.health().is_healthy());
    until("the newest is saved", || store.holds("a", "half open"));
    store.set(Fault::Hangs);
    let start = Instant::now();
    drop(attached);
    assert!(start.elapsed() < LONG / 2);
    store.set(Fault::None);
}

/// A store reports a removed folder once, to the call that comes first.
#[tokio::test]
async fn a_loss_that_a_history_request_meets_is_announced_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = FileStore::open(&folder).unwrap();
    let breakers = [Breaker::new("a"), Breaker::new("b")];
    let a = attach(&store, "a", &breakers[0], &patient());
    let b = attach(&store, "b", &breakers[1], &patient());
    a.flush().await.unwrap();
    b.flush().await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = a.history(HistoryQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
    until("both are saved again", || {
        folder.join("a.json").exists() && folder.join("b.json").exists()
    });
    until("it is told", || breakers.iter().all(|breaker| breaker.told() == [false, true]));
}

#[test]
fn a_loss_that_a_sweep_meets_is_announced_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = FileStore::open(&folder).unwrap();
    let breaker = Breaker::new("a");
    let sweep = (Duration::from_millis(20), Duration::from_millis(20));
    let attached = attach(&store, "a", &breaker, &Settings { sweep, ..patient() });
    attached.flush_blocking(LONG).unwrap();
    fs::rename(&folder, dir.path().join("moved")).unwrap();
    until("it is saved again", || folder.join("a.json").exists());
    until("it is told", || breaker.told() == [false, true]);
}

#[test]
fn callers_that_wait_for_a_hanging_call_get_an_error() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    assert_eq!(attached.flush_blocking(Duration::from_millis(20)), Err(FlushError::TimedOut));
    let answer = attached.flush_blocking(LONG);
    assert!(matches!(answer, Err(FlushError::NotSaved { .. })), "{answer:?}");
    store.set(Fault::None);
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

#[test]
fn a_listener_may_drop_a_breaker_on_the_writers_thread() {
    struct Holder(Mutex<Option<Attachment>>);
    impl SnapshotSource for Holder {
        fn encode(&self) -> Option<EncodedSnapshot> {
            Some(EncodedSnapshot { value: b"last".to_vec(), ttl: None })
        }
        fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
            Ok(())
        }
        fn settings(&self) -> SaveSettings {
            patient().save()
        }

        fn store_health(&self, _: &StoreHealth) {
            let attachment = std_lock(&self.0).take();
            drop(attachment);
        }
    }
    let store = Faulty::new(Fault::None);
    let holder = Arc::new(Holder(Mutex::new(None)));
    let attached = attach_source(&store, "a", &(holder.clone() as _), &patient());
    let marker = attached.marker();
    *std_lock(&holder.0) = Some(attached);
    store.set(Fault::Away);
    let start = Instant::now();
    marker.transition();
    until("it was dropped", || std_lock(&holder.0).is_none() && Arc::strong_count(&holder) == 1);
    assert!(start.elapsed() < LONG / 2);
}

#[test]
fn a_listener_may_build_a_breaker_on_the_writers_thread() {
    struct Builder(Faulty, Mutex<Vec<Attachment>>);
    impl SnapshotSource for Builder {
        fn encode(&self) -> Option<EncodedSnapshot> {
            Some(EncodedSnapshot { value: b"any".to_vec(), ttl: None })
        }
        fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
            Ok(())
        }
        fn settings(&self) -> SaveSettings {
            patient().save()
        }

        fn store_health(&self, _: &StoreHealth) {
            let attached = attach(&self.0, "b", &Breaker::new("closed"), &patient());
            std_lock(&self.1).push(attached);
        }
    }
    let store = Faulty::new(Fault::None);
    let builder = Arc::new(Builder(store.clone(), Mutex::default()));
    let attached = attach_source(&store, "a", &(builder.clone() as _), &patient());
    store.set(Fault::Away);
    let start = Instant::now();
    attached.marker().transition();
    until("it was built", || !std_lock(&builder.1).is_empty());
    assert!(start.elapsed() < LONG / 2);
    store.set(Fault::None);
    until("it heals", || attached.health().is_healthy());
}

#[test]
fn a_breaker_dropped_while_the_store_hangs_leaves_nothing_to_retry() {
    let store = Faulty::new(Fault::None);
    let stays = attach(&store, "stays", &Breaker::new("closed"), &hasty());
    store.set(Fault::Hangs);
    // It was not read, so there is nothing of it to be saved.
    drop(attach(&store, "goes", &Breaker::new("closed"), &hasty()));
    store.set(Fault::None);
    until("it heals", || stays.health().is_healthy());
    let inbox = stays.inbox();
    let mut quiet = 0;
    until("there is nothing to do any more", || {
        let is_quiet = inbox.content().schedule.due(None, false).is_none();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        quiet > 20
    });
}

/// Takes nothing at once, and is away when it is asked for one.
#[derive(Clone)]
struct Fading(Faulty, Arc<[AtomicUsize; 2]>);

impl StateStore for Fading {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(key)
    }
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.load_page(after, limit)
    }
    fn save(&self, _: &SaveEntry) -> Result<(), StoreError> {
        self.1[1].fetch_add(1, SeqCst);
        Err(StoreError::Unavailable("it is away by now".into()))
    }
    fn save_all(&self, _: &[SaveEntry]) -> Result<(), StoreError> {
        self.1[0].fetch_add(1, SeqCst);
        Err(StoreError::Other("it is odd".into()))
    }
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key)
    }
    fn id(&self) -> usize {
        self.0.id()
    }
}

#[test]
fn an_outage_in_the_middle_of_a_batch_ends_the_batch() {
    let store = Fading(Faulty::new(Fault::None), Arc::default());
    let settings = Settings { transition_flush_interval: LONG, flush_interval: LONG, ..patient() };
    let breakers: [_; 20] = std::array::from_fn(|_| Breaker::new("closed"));
    let attached: Vec<_> =
        (0..20).map(|i| attach(&store, &i.to_string(), &breakers[i], &settings)).collect();
    for (breaker, attached) in breakers.iter().zip(&attached) {
        breaker.change_and_mark("open", &attached.marker(), true);
    }
    assert!(attached[0].flush_blocking(LONG).is_err());
    until("all are tried", || store.1[0].load(SeqCst) > 2);
    drop(attached);
    let [at_once, alone] = [0, 1].map(|i| store.1[i].load(SeqCst));
    assert!(alone <= at_once, "{alone} single saves after {at_once} of many");
}

#[test]
fn a_slow_listener_hears_last_what_is_true_last() {
    /// Takes as long to listen as it takes the store to heal.
    struct Slow(Faulty, Mutex<bool>);
    impl SnapshotSource for Slow {
        fn encode(&self) -> Option<EncodedSnapshot> {
            Some(EncodedSnapshot { value: b"any".to_vec(), ttl: None })
        }
        fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
            Ok(())
        }
        fn settings(&self) -> SaveSettings {
            patient().save()
        }

        fn store_health(&self, health: &StoreHealth) {
            let first = !std::mem::replace(&mut *std_lock(&self.1), true);
            if first && !health.is_healthy() {
                self.0.set(Fault::None);
                let inbox = inbox::find(self.0.id()).unwrap();
                until("the store works", || inbox.status().is_healthy());
                // The others are told meanwhile that it is.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    let store = Faulty::new(Fault::None);
    let slow = Arc::new(Slow(store.clone(), Mutex::default()));
    let first = attach_source(&store, "a", &(slow as _), &hasty());
    let breaker = Breaker::new("closed");
    let second = attach(&store, "b", &breaker, &hasty());
    store.set(Fault::Hangs);
    first.marker().transition();
    until("it is told of the trouble", || !breaker.told().is_empty());
    until("it is told that it is over", || breaker.told().last() == Some(&true));
    assert!(second.health().is_healthy());
}

#[test]
fn a_breaker_rebuilt_while_the_store_hangs_gets_its_own_last_state() {
    let store = Faulty::new(Fault::None);
    store.put("a", "closed");
    let other = attach(&store, "other", &Breaker::new("closed"), &hasty());
    let breaker = Breaker::new("new");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    other.marker().transition();
    until("the store hangs", || store.calls.load(SeqCst) > calls);
    breaker.change("open");
    drop(attached);
    let again = Breaker::new("new");
    let attached = attach(&store, "a", &again, &hasty());
    store.set(Fault::None);
    until("it is read", || again.restores.load(SeqCst) > 0);
    assert_eq!(again.state(), "open");
    assert!(store.holds("a", "open"));
    drop(attached);
}

#[tokio::test]
async fn history_requests_do_not_retry_a_store_that_saves_nothing() {
    let store = Fading(Faulty::new(Fault::None), Arc::default());
    let [a, b] = ["a", "b"].map(|name| attach(&store, name, &Breaker::new("closed"), &hasty()));
    assert!(a.flush().await.is_err());
    let tries = store.1[0].load(SeqCst);
    for _ in 0..50 {
        b.history(HistoryQuery::default()).await.unwrap();
    }
    let tries = store.1[0].load(SeqCst) - tries;
    assert!(tries < 10, "{tries} tries for 50 readers");
    assert!(!a.health().is_healthy());
}
