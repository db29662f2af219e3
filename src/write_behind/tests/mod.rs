//! The write-behind with stores that work, fail, hang and recover.

mod altered;
mod batch;
mod continued;
mod departure;
#[cfg(feature = "keyed")]
mod discard;
mod drops;
mod entries;
mod fakes;
mod faults;
mod folders;
mod hangs;
mod health;
mod idle;
mod listeners;
mod owners;
mod ownership;
mod panics;
mod preload;
mod random_schedule;
mod schedule;
mod single_entry;
mod sweep;
mod threads;
mod unawaited;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use self::fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, patient, until};
use crate::{
    error::FlushError,
    health::StoreHealth,
    store::{MemoryStore, SaveEntry, StateStore},
};

#[test]
fn attach_returns_with_the_snapshot_restored() {
    let store = Faulty::new(Fault::Slow(Duration::from_millis(50)));
    store.put("a", "open");
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    assert_eq!(breaker.state(), "open");
    assert!(attached.health().is_healthy());
    assert_eq!(store.writes.load(SeqCst), 0, "what was just read is not written");
}

#[test]
fn a_transition_is_saved_without_a_flush() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let settings = Settings { flush_interval: LONG * 100, ..patient() };
    let attached = attach(&store, "a", &breaker, &settings);
    let marker = attached.marker();
    breaker.change_and_mark("1 failure", &marker, false);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.text("a"), None, "counts wait for their interval");
    breaker.change_and_mark("open", &marker, true);
    until("the transition is saved", || store.holds("a", "open"));
    breaker.change("half open");
    attached.marker().transition();
    until("the next one is saved too", || store.holds("a", "half open"));
}

#[test]
fn transitions_are_batched_within_their_flush_interval() {
    let store = Faulty::new(Fault::None);
    let interval = Duration::from_millis(500);
    let waits = |transition_flush_interval| Settings {
        flush_interval: LONG * 100,
        transition_flush_interval,
        ..patient()
    };
    let breakers = [Breaker::new("closed"), Breaker::new("closed")];
    let a = attach(&store, "a", &breakers[0], &waits(interval));
    let b = attach(&store, "b", &breakers[1], &waits(interval * 100));
    let began = Instant::now();
    breakers[1].change_and_mark("open", &b.marker(), true);
    breakers[0].change_and_mark("open", &a.marker(), true);
    until("the first is saved", || store.holds("a", "open"));
    assert!(began.elapsed() >= interval, "saved before its interval");
    assert!(store.holds("b", "open"), "the other is saved in the same batch");
    assert_eq!(store.writes.load(SeqCst), 1);
    breakers[1].change_and_mark("closed", &b.marker(), true);
    b.flush_blocking(LONG).unwrap();
    assert!(store.holds("b", "closed"), "a flush does not wait");
}

#[test]
fn counts_are_saved_within_their_interval_while_transitions_wait_longer() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let settings = Settings { transition_flush_interval: LONG * 100, ..patient() };
    let attached = attach(&store, "a", &breaker, &settings);
    breaker.change_and_mark("open", &attached.marker(), true);
    breaker.change_and_mark("1 rejected", &attached.marker(), false);
    until("the count is saved", || store.holds("a", "1 rejected"));
}

#[test]
fn counts_are_saved_within_the_flush_interval() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    for count in 1..=5 {
        breaker.change(format!("{count} failures"));
        for _ in 0..100 {
            attached.marker().counts();
        }
        until("the count is saved", || store.holds("a", &format!("{count} failures")));
    }
    let writes = store.writes.load(SeqCst);
    assert!(writes <= 20, "{writes} writes for 500 marks");
}

#[tokio::test]
async fn flush_makes_the_newest_state_durable() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    for round in 0..50 {
        breaker.change(format!("state {round}"));
        attached.flush().await.unwrap();
        assert_eq!(store.text("a").unwrap(), format!("state {round}"));
        breaker.change(format!("blocking {round}"));
        attached.flush_blocking(LONG).unwrap();
        assert_eq!(store.text("a").unwrap(), format!("blocking {round}"));
    }
    drop(attached.flush());
}

#[test]
fn a_slow_store_gets_the_newest_state_and_skips_older_ones() {
    let store = Faulty::new(Fault::Slow(Duration::from_millis(20)));
    let breakers: Vec<_> = (0..10).map(|_| Breaker::new("closed")).collect();
    let attached: Vec<_> =
        (0..10).map(|i| attach(&store, &i.to_string(), &breakers[i], &patient())).collect();
    for round in 0..10_000 {
        let i = round % 10;
        breakers[i].change_and_mark(format!("round {round}"), &attached[i].marker(), true);
    }
    for (i, last) in (9_990..10_000).enumerate() {
        until("the last state is saved", || store.holds(&i.to_string(), &format!("round {last}")));
    }
    let writes = store.writes.load(SeqCst);
    assert!(writes < 500, "{writes} writes for 10,000 transitions");
}

#[test]
fn dropping_the_last_breaker_saves_it_and_releases_the_store() {
    let store = Arc::new(Faulty::new(Fault::None));
    for round in 0..30 {
        let (one, other) = (Breaker::new("closed"), Breaker::new("closed"));
        let first = attach(&store, "a", &one, &patient());
        let second = attach(&store, "b", &other, &patient());
        if round > 0 {
            assert_eq!(one.state(), format!("round {}", round - 1));
        }
        let marker = first.marker();
        one.change(format!("round {round}"));
        drop(first);
        assert_eq!(store.text("a").unwrap(), format!("round {round}"), "the last change is saved");
        assert_eq!(Arc::strong_count(&one), 1, "a dropped breaker is released");
        assert!(Arc::strong_count(&store) > 1, "another breaker still uses the store");
        drop(second);
        assert_eq!(Arc::strong_count(&store), 1, "round {round}");
        // A marker may outlive its breaker.
        marker.transition();
        marker.counts();
    }
}

#[test]
fn breakers_share_a_writer_if_they_share_a_store() {
    let store = MemoryStore::new();
    let breaker = Breaker::new("closed");
    let one = attach(&store, "a", &breaker, &patient());
    let two = attach(&store.clone(), "b", &breaker, &patient());
    let other = attach(&MemoryStore::new(), "c", &breaker, &patient());
    assert!(Arc::ptr_eq(one.inbox(), two.inbox()));
    assert!(!Arc::ptr_eq(one.inbox(), other.inbox()));
}

#[test]
fn an_unreadable_snapshot_is_kept_aside() {
    let store = Faulty::new(Fault::None);
    for round in 0..5 {
        store.put("a", &format!("corrupt {round}"));
        let breaker = Breaker::new("closed");
        let attached = attach(&store, "a", &breaker, &patient());
        assert_eq!(breaker.state(), "closed");
        assert!(attached.health().is_healthy());
        until("it is replaced", || store.holds("a", "closed"));
    }
    let kept = store.memory.load("circuit_breaker:a:quarantine").unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    let texts: Vec<_> =
        kept.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["corrupt 2", "corrupt 3", "corrupt 4"], "the newest three");
    assert_eq!(kept[0]["reason"], "marked as corrupt");

    store.memory.save(&SaveEntry::new("circuit_breaker:b:state", [0xff, 0x00])).unwrap();
    drop(attach(&store, "b", &Breaker::new("closed"), &patient()));
    let kept = store.memory.load("circuit_breaker:b:quarantine").unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept[0]["hex"], "ff00");
}

#[tokio::test]
async fn a_snapshot_of_a_newer_version_is_never_overwritten() {
    let store = Faulty::new(Fault::None);
    store.put("a", "newer and better");
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    breaker.change_and_mark("open", &attached.marker(), true);
    breaker.change_and_mark("open", &attached.marker(), false);
    assert_eq!(attached.flush().await, Err(FlushError::NewerSnapshot { version: 7 }));
    let StoreHealth::Degraded { reason, .. } = attached.health() else { panic!("not degraded") };
    assert!(reason.contains("version 7"), "{reason}");
    let other = attach(&store, "b", &Breaker::new("closed"), &patient());
    assert!(other.health().is_healthy(), "the others are not affected");
    other.flush().await.unwrap();
    drop(attached);
    assert!(store.holds("a", "newer and better"));
}

#[test]
fn marks_from_many_threads_lose_nothing_and_never_deadlock() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    for round in 0..20 {
        thread::scope(|scope| {
            for worker in 0..4 {
                let (breaker, attached) = (&breaker, &attached);
                scope.spawn(move || {
                    let marker = attached.marker();
                    for i in 0..200 {
                        breaker.change_and_mark(
                            format!("{round} {worker} {i}"),
                            &marker,
                            i % 3 == 0,
                        );
                        if i % 50 == 0 {
                            attached.flush_blocking(LONG).unwrap();
                        }
                    }
                });
            }
        });
        // No mark and no flush follow: the last change must be saved anyway.
        let last = breaker.state();
        until("the last change is saved", || store.holds("a", &last));
    }
}

#[test]
fn any_wait_and_interval_is_accepted() {
    let forever = Duration::MAX;
    let settings = Settings {
        flush_interval: forever,
        transition_flush_interval: forever,
        load_wait: forever,
        drop_wait: forever,
        sweep: (forever, forever),
        verify: forever,
    };
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &settings);
    attached.marker().counts();
    attached.flush_blocking(forever).unwrap();
    drop(attached);
    let zero = Duration::ZERO;
    let settings = Settings {
        flush_interval: zero,
        transition_flush_interval: zero,
        load_wait: zero,
        drop_wait: zero,
        sweep: (zero, zero),
        verify: zero,
    };
    let attached = attach(&store, "a", &breaker, &settings);
    breaker.change_and_mark("open", &attached.marker(), false);
    until("saved", || store.holds("a", "open"));
    let _ = attached.flush_blocking(zero);
}

#[test]
fn new_settings_take_effect() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let slow = Settings { flush_interval: LONG * 100, ..patient() };
    let attached = attach(&store, "a", &breaker, &slow);
    breaker.change_and_mark("1 failure", &attached.marker(), false);
    breaker.set(patient().save());
    attached.update_settings();
    until("the pending change is saved within the new interval", || store.holds("a", "1 failure"));
    breaker.change_and_mark("2 failures", &attached.marker(), false);
    until("and so is the next change", || store.holds("a", "2 failures"));
}
