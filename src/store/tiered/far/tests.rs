//! A far store whose thread is missing.

use std::{sync::Arc, thread, time::Duration};

use super::{Far, seam};
use crate::{
    process,
    store::{MemoryStore, SaveEntry, state_store::StateStore},
};

fn far(store: &MemoryStore) -> (Arc<dyn StateStore>, Far) {
    let near: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    let far = Far::new(&near, Arc::new(store.clone()));
    (near, far)
}

fn save(far: &Far, key: &str) {
    far.write(|pending| pending.save(&SaveEntry::new(key, "value")));
}

#[track_caller]
fn until(mut happened: impl FnMut() -> bool) {
    assert!((0..30_000).any(|_| {
        thread::sleep(Duration::from_millis(2));
        happened()
    }));
}

#[test]
fn a_thread_that_could_not_be_started_is_started_without_another_write() {
    for ask in [|far: &Far| far.check_thread(), |far: &Far| drop(far.health())] {
        let store = MemoryStore::new();
        let (_near, far) = far(&store);
        seam::REFUSES.set(true);
        save(&far, "key");
        assert!(far.health().to_string().contains("cannot be started"));
        seam::REFUSES.set(false);
        ask(&far);
        until(|| store.load("key").unwrap().is_some());
        until(|| far.health().is_healthy());
    }
}

#[test]
fn a_forked_process_says_so_and_waits_for_nothing() {
    let store = MemoryStore::new();
    let (_near, far) = far(&store);
    save(&far, "key");
    until(|| far.health().is_healthy() && store.load("key").unwrap().is_some());
    // The lock may be held forever.
    let content = far.0.content.lock().unwrap();
    thread::scope(|scope| {
        let child = scope.spawn(|| {
            process::seam::PROCESS.set(Some(1));
            save(&far, "other");
            assert_eq!(far.read(|store| store.load("key")), None);
            assert!(!far.awaits("other"));
            far.check_thread();
            let health = far.health();
            assert!(health.is_degraded() && health.to_string().contains("forked"));
            assert_eq!(far.health(), health);
        });
        until(|| child.is_finished());
        child.join().unwrap();
    });
    drop(content);
    assert_eq!(store.load("other").unwrap(), None);
}
