//! Two stores as one: a near one that answers, and a far one that survives the host.

mod passed_on;

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, SledStore, State, StateStore, Trip,
    history::HistoryQuery,
    store::{HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StoreHealth, Tiered},
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

const MINUTE: Duration = Duration::from_secs(60);

fn breaker(name: &str, store: impl StateStore) -> Breaker {
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1));
    builder.store(store).flush_interval(Duration::from_millis(10)).build().unwrap()
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
}

fn flush(breaker: &Breaker) {
    breaker.flush_blocking(MINUTE).unwrap();
}

fn stored(store: &impl StateStore, name: &str) -> String {
    let value = store.load(&format!("circuit_breaker:{name}:state")).unwrap();
    String::from_utf8(value.unwrap_or_default()).unwrap()
}

fn is_open(store: &impl StateStore, name: &str) -> bool {
    stored(store, name).contains(r#""state":"open""#)
}

#[test]
fn both_stores_are_written() {
    let (near, far) = (MemoryStore::new(), MemoryStore::new());
    let breaker = breaker("both", Tiered::new(near.clone(), far.clone()));
    trip(&breaker);
    flush(&breaker);
    assert!(is_open(&near, "both"));
    eventually("the far store is written", || is_open(&far, "both"));
    breaker.reset();
    drop(breaker);
    assert!(!is_open(&near, "both"));
    assert!(!is_open(&far, "both"), "the last handle waits for the far store");
    assert_eq!(stored(&near, "both"), stored(&far, "both"));
}

#[tokio::test]
async fn a_new_host_starts_with_the_state_of_the_far_store() {
    let far = MemoryStore::new();
    let first = breaker("moved", Tiered::new(MemoryStore::new(), far.clone()));
    trip(&first);
    first.reset();
    trip(&first);
    flush(&first);
    eventually("the far store is written", || is_open(&far, "moved"));
    drop(first);
    let new_host = MemoryStore::new();
    let second = breaker("moved", Tiered::new(new_host.clone(), far.clone()));
    // On a busy machine, the far store may answer late.
    eventually("its state is restored", || second.state() == State::Open);
    let history = second.history(HistoryQuery::default()).await.unwrap();
    assert_eq!(history.entries.len(), 3);
    second.reset();
    flush(&second);
    let history = second.history(HistoryQuery::default()).await.unwrap();
    assert_eq!(history.entries.len(), 4, "of both stores");
    assert!(!stored(&new_host, "moved").is_empty());
}

#[test]
fn an_open_circuit_of_either_store_counts_and_else_the_newer() {
    for near_is_open in [true, false] {
        let (near, far) = (MemoryStore::new(), MemoryStore::new());
        let (opened, closed) = if near_is_open { (&near, &far) } else { (&far, &near) };
        let open = breaker("name", opened.clone());
        trip(&open);
        drop(open);
        let newer = breaker("name", closed.clone());
        newer.force_open();
        newer.reset();
        drop(newer);
        let tiered = breaker("name", Tiered::new(near.clone(), far.clone()));
        assert_eq!(tiered.state(), State::Open);
        drop(tiered);
        let (older, newer) = if near_is_open { (&far, &near) } else { (&near, &far) };
        breaker("other", older.clone()).force_open();
        breaker("other", newer.clone()).disable();
        let tiered = breaker("other", Tiered::new(near.clone(), far.clone()));
        assert_eq!(tiered.state(), State::Disabled);
    }
}

#[test]
fn a_far_store_that_hangs_holds_up_nothing() {
    let (near, far) = (MemoryStore::new(), SickStore::default());
    far.show(Symptom::Hangs);
    let store = Tiered::new(near.clone(), far.clone());
    let began = Instant::now();
    let first = breaker("first", store.clone());
    trip(&first);
    flush(&first);
    assert!(is_open(&near, "first"));
    assert!(first.store_health().is_healthy(), "{}", first.store_health());
    // One read has waited for it; no other does.
    eventually("it is noticed", || store.far_health().is_degraded());
    let many: Vec<_> = (0..100).map(|number| breaker(&number.to_string(), store.clone())).collect();
    many.iter().for_each(trip);
    many.iter().for_each(flush);
    assert!(began.elapsed() < MINUTE / 4, "{:?}", began.elapsed());
    let health = store.far_health();
    let StoreHealth::Degraded { reason, pending, .. } = &health else { panic!("{health}") };
    assert!(reason.contains("does not answer"), "{reason}");
    assert!(*pending > 100, "{pending}");
    far.heal();
    eventually("it heals", || store.far_health().is_healthy());
    for name in ["first", "0", "99"] {
        eventually("it is written", || far.stored(name).contains(r#""state":"open""#));
    }
}

#[test]
fn a_far_store_that_fails_gets_everything_when_it_works_again() {
    let (near, far) = (MemoryStore::new(), SickStore::default());
    // An earlier process has saved it in the near store alone.
    breaker("earlier", near.clone()).force_open();
    let store = Tiered::new(near, far.clone());
    let breaker = breaker("now", store.clone());
    trip(&breaker);
    flush(&breaker);
    eventually("it is written", || far.stored("now").contains(r#""state":"open""#));
    far.show(Symptom::Fails);
    breaker.reset();
    flush(&breaker);
    eventually("it is noticed", || store.far_health().is_degraded());
    far.heal();
    eventually("it heals", || store.far_health().is_healthy());
    eventually("it is written", || far.stored("now").contains(r#""state":"closed""#));
    let forced = r#""state":"forced_open""#;
    eventually("so is what it may have lost", || far.stored("earlier").contains(forced));
}

#[test]
fn a_near_store_that_fails_is_the_health_of_the_breaker() {
    let (near, far) = (SickStore::default(), MemoryStore::new());
    let breaker = breaker("name", Tiered::new(near.clone(), far.clone()));
    near.show(Symptom::Fails);
    trip(&breaker);
    breaker.flush_blocking(MINUTE).unwrap_err();
    assert!(breaker.store_health().is_degraded());
    eventually("the far store is written all the same", || is_open(&far, "name"));
    near.heal();
    eventually("it heals", || breaker.store_health().is_healthy());
    flush(&breaker);
    assert!(near.stored("name").contains(r#""state":"open""#));
}

#[test]
fn a_far_store_that_fails_for_histories_alone_is_degraded() {
    let far = SickStore::default();
    far.show(Symptom::FailsForHistories);
    let store = Tiered::new(MemoryStore::new(), far.clone());
    store.save(&SaveEntry::new("key", "value")).unwrap();
    store.append("key", &[HistoryRecord::new(1, "record")]).unwrap();
    eventually("it is noticed", || store.far_health().is_degraded());
    let health = store.far_health().to_string();
    assert!(health.contains("the histories are sick"), "{health}");
    far.heal();
    eventually("it heals", || store.far_health().is_healthy());
}

#[test]
fn a_near_store_that_fails_does_not_hide_the_far_one() {
    let (near, far) = (SickStore::default(), MemoryStore::new());
    let names: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let earlier: Vec<_> = names.iter().map(|name| breaker(name, far.clone())).collect();
    earlier.iter().for_each(trip);
    drop(earlier);
    near.show(Symptom::Fails);
    let store = Tiered::new(near.clone(), far.clone());
    // What the near one holds may be newer.
    let key = "circuit_breaker:0:state";
    store.load(key).unwrap_err();
    assert_eq!(store.load_reachable(key).unwrap(), far.load(key).unwrap());
    assert!(is_open(&far, "0"));
    // Neither store says that there is none.
    store.load("circuit_breaker:unknown:state").unwrap_err();
    // Not all of them: the near store may hold more.
    store.load_page(None, 1000).unwrap_err();
    let breakers: Vec<_> = names.iter().map(|name| breaker(name, store.clone())).collect();
    for breaker in &breakers {
        eventually("it is restored", || breaker.state() == State::Open);
    }
}

#[test]
fn two_readers_of_pages_miss_nothing() {
    const PAGE: usize = 1024;
    let (near, far) = (MemoryStore::new(), MemoryStore::new());
    let keys: Vec<_> = (0..3000).map(|number| format!("{number:04}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let store = if number % 2 == 0 { &near } else { &far };
        store.save(&SaveEntry::new(key, "value")).unwrap();
    }
    let store = Tiered::new(near, far);
    let mut readers = [Vec::new(), Vec::new()];
    for reader in [0, 1, 0, 1, 0, 1] {
        let read: &mut Vec<String> = &mut readers[reader];
        let page = store.load_page(read.last().map(String::as_str), PAGE).unwrap();
        read.extend(page.into_iter().map(|(key, _)| key));
    }
    assert!(readers.iter().all(|read| *read == keys));
}

/// What the near store holds is older. The far one shows its state, and then does not answer.
#[test]
fn what_the_far_store_said_while_the_near_one_was_away_counts_once_that_is_back() {
    const KEY: &str = "circuit_breaker:payments:state";
    let entry = |state: &str, saved_at: u64| {
        let json = format!(r#"{{"version":1,"state":"{state}","saved_at":{saved_at}}}"#);
        SaveEntry::new(KEY, json.into_bytes())
    };
    let (near, far) = (SickStore::default(), SickStore::default());
    near.save(&entry("closed", 1_000)).unwrap();
    far.save(&entry("forced_open", 2_000)).unwrap();
    let tiered = Tiered::new(near.clone(), far.clone());
    near.show(Symptom::Fails);
    assert!(tiered.load(KEY).is_err());
    let reached = tiered.load_reachable(KEY).unwrap().unwrap();
    near.heal();
    far.show(Symptom::Fails);
    assert_eq!(tiered.load(KEY).unwrap(), Some(reached));
}

#[test]
fn a_copy_is_made_later_if_the_near_store_cannot_be_read() {
    let (near, far) = (SickStore::default(), SickStore::default());
    breaker("earlier", near.inner.clone()).force_open();
    let store = Tiered::new(near.clone(), far.clone());
    let breaker = breaker("now", store.clone());
    far.show(Symptom::Fails);
    trip(&breaker);
    flush(&breaker);
    eventually("it is noticed", || store.far_health().is_degraded());
    near.show(Symptom::Fails);
    let threads = near.threads();
    far.heal();
    eventually("the far store's thread reads the near store", || near.threads() > threads);
    near.heal();
    let forced = r#""state":"forced_open""#;
    eventually("it is copied", || far.stored("earlier").contains(forced));
}

#[test]
fn a_far_store_that_hangs_does_not_keep_the_folder_of_the_near_one() {
    let dir = tempfile::tempdir().unwrap();
    let far = SickStore::default();
    far.show(Symptom::Hangs);
    let store = Tiered::new(SledStore::open(dir.path()).unwrap(), far.clone());
    store.save(&SaveEntry::new("key", "value")).unwrap();
    eventually("it hangs", || far.threads() > 0);
    drop(store);
    let again = SledStore::open(dir.path()).unwrap();
    eventually("the folder is released", || again.load("key").is_ok_and(|stored| stored.is_some()));
    far.heal();
}

#[cfg(unix)]
mod with_redis {
    use tower_breaker::{
        SledStore, State,
        store::{RedisStore, Tiered},
    };

    use super::{breaker, flush, trip};
    use crate::support::{redis::RedisServer, wait::eventually};

    #[needs::programs("redis-server")]
    #[test]
    fn sled_answers_while_redis_is_away_and_fills_it_when_it_comes_back_empty() {
        let Some(server) = RedisServer::start() else { return };
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let near = SledStore::open(folder.path()).unwrap();
            Tiered::new(near, RedisStore::open(&server.url()).unwrap())
        };
        let stored = || server.command(&["GET", "circuit_breaker:name:state"]);
        let store = open();
        let first = breaker("name", store.clone());
        trip(&first);
        flush(&first);
        eventually("Redis has it", || stored().contains(r#""state":"open""#));
        server.stop();
        eventually("it is noticed", || store.far_health().is_degraded());
        flush(&first);
        drop((first, store));
        // All start again while Redis is away.
        let store = open();
        let second = breaker("name", store.clone());
        // All drops of this process wait a second together: perhaps the folder is released later.
        eventually("it is restored", || second.state() == State::Open);
        server.restart();
        eventually("Redis has it again", || stored().contains(r#""state":"open""#));
        eventually("it heals", || store.far_health().is_healthy());
        drop((second, store));
        // A new host.
        let elsewhere = tempfile::tempdir().unwrap();
        let near = SledStore::open(elsewhere.path()).unwrap();
        let moved = breaker("name", Tiered::new(near, RedisStore::open(&server.url()).unwrap()));
        assert_eq!(moved.state(), State::Open);
    }
}
