//! How long drops take when stores hang, for all stores of a program together.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, MemoryStore, StateStore as _,
    store::{SaveEntry, Tiered},
};

use crate::support::{
    kind::Kind,
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

#[test]
fn a_program_that_ends_waits_a_second_for_all_its_stores_and_handles() {
    let folder = tempfile::tempdir().unwrap();
    let mut hung = Vec::new();
    for number in 0..4 {
        let store = SickStore::default();
        let breaker = Breaker::builder(format!("hung {number}"));
        let breaker =
            breaker.store(store.clone()).flush_interval(Duration::from_secs(3600)).build().unwrap();
        breaker.try_acquire().unwrap().failure();
        hung.push((store, breaker));
    }
    let handles: Vec<_> =
        Kind::ALL.into_iter().map(|kind| kind.open(&folder.path().join(kind.name()))).collect();
    for handle in &handles {
        handle.save(&SaveEntry::new("key", "value")).unwrap();
    }
    for (store, _) in &hung {
        store.show(Symptom::Hangs);
    }
    let mut stores = Vec::new();
    let began = Instant::now();
    for (store, breaker) in hung {
        drop(breaker);
        stores.push(store);
    }
    drop(handles);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    for (number, store) in stores.iter().enumerate() {
        store.heal();
        eventually("the last state is saved", || {
            let key = format!("circuit_breaker:hung {number}:state");
            store.load(&key).is_ok_and(|stored| stored.is_some())
        });
    }
}

#[test]
fn tiered_stores_wait_within_the_same_second() {
    let tiered: Vec<_> = (0..6)
        .map(|_| {
            let far = SickStore::default();
            let store = Tiered::new(MemoryStore::new(), far.clone());
            far.show(Symptom::Hangs);
            (far, store)
        })
        .collect();
    let mut far_stores = Vec::new();
    let began = Instant::now();
    for (far, store) in tiered {
        // Until a call of the far store is overdue, it counts as slow.
        store.save(&SaveEntry::new("key", "value")).unwrap();
        drop(store);
        far_stores.push(far);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    for far in far_stores {
        far.heal();
        eventually("it is written", || far.load("key").is_ok_and(|stored| stored.is_some()));
    }
}
