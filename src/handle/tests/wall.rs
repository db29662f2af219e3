//! A wall clock that is before 1970, or jumps there, or is where numbers of seconds end.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::with_other_clocks;
use crate::{
    clock::{
        ManualClock,
        tests::{Trap, isolated::block_on},
    },
    config::Trip,
    handle::{Breaker, BreakerBuilder},
    history::HistoryQuery,
    snapshot::Snapshot,
    state::State,
    store::{FileStore, MemoryStore, StateStore},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const OPEN_TIME: Duration = Duration::from_secs(60);

fn before_1970() -> SystemTime {
    SystemTime::UNIX_EPOCH - 365 * DAY
}

fn builder(store: &(impl StateStore + Clone)) -> BreakerBuilder {
    Breaker::builder("old")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .store(store.clone())
}

/// Lives a whole life on a store: opens, half-opens, closes, is set by hand, and is restored.
fn lives(store: &(impl StateStore + Clone), advance: &dyn Fn(Duration)) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let build = || {
        let events = Arc::clone(&events);
        builder(store)
            .on_event(move |event| events.lock().unwrap().push(format!("{event:?}")))
            .build()
            .unwrap()
    };
    let breaker = build();
    breaker.try_acquire().unwrap().failure();
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!((rejected.state(), rejected.retry_after()), (State::Open, Some(OPEN_TIME)));
    let snapshot = breaker.snapshot();
    let json = snapshot.to_json().unwrap();
    assert_eq!(Snapshot::from_json(json.as_bytes()).unwrap(), snapshot);
    advance(OPEN_TIME);
    breaker.try_acquire().expect("a probe").success();
    assert_eq!(breaker.state(), State::Closed);
    breaker.force_open_for(OPEN_TIME);
    block_on(breaker.flush()).unwrap();
    drop(breaker);

    let breaker = build();
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!((rejected.state(), rejected.retry_after()), (State::ForcedOpen, Some(OPEN_TIME)));
    breaker.reset();
    breaker.try_acquire().unwrap().failure();
    block_on(breaker.flush()).unwrap();
    drop(breaker);

    let breaker = build();
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!((rejected.state(), rejected.retry_after()), (State::Open, Some(OPEN_TIME)));
    advance(OPEN_TIME);
    breaker.try_acquire().expect("a probe").success();
    let history = block_on(breaker.history(HistoryQuery::default())).unwrap();
    assert!(history.entries.len() >= 6, "{history:?}");
    assert_eq!(history.unreadable, 0);
    assert!(events.lock().unwrap().len() >= 6);
}

/// Lives on each store, from this time on.
fn lives_on_every_store(trap: &Trap, start: SystemTime) {
    let advance = |time| trap.advance(time);
    trap.set_wall(start);
    lives(&MemoryStore::new(), &advance);
    trap.set_wall(start);
    let folder = tempfile::tempdir().unwrap();
    lives(&FileStore::open(folder.path()).unwrap(), &advance);
    #[cfg(feature = "sled")]
    {
        trap.set_wall(start);
        let folder = tempfile::tempdir().unwrap();
        lives(&crate::store::SledStore::open(folder.path()).unwrap(), &advance);
    }
    #[cfg(feature = "redb")]
    {
        trap.set_wall(start);
        let folder = tempfile::tempdir().unwrap();
        lives(&crate::store::RedbStore::open(folder.path()).unwrap(), &advance);
    }
}

#[test]
fn before_1970_a_breaker_lives_on_every_store() {
    with_other_clocks("wall::before_1970_a_breaker_lives_on_every_store", |trap| {
        for start in [before_1970(), SystemTime::UNIX_EPOCH - Duration::from_nanos(1)] {
            lives_on_every_store(trap, start);
        }
    });
}

/// 32 bits of seconds end in 2038 and 2106, and the microseconds that a float holds exactly in
/// 2255. (A history orders by 64 bits of nanoseconds, which end in 2554.)
#[test]
fn a_breaker_lives_over_the_ends_of_times_on_every_store() {
    with_other_clocks("wall::a_breaker_lives_over_the_ends_of_times_on_every_store", |trap| {
        for end in [1 << 31, 1 << 32, 9_007_199_254].map(Duration::from_secs) {
            lives_on_every_store(trap, SystemTime::UNIX_EPOCH + end - OPEN_TIME / 2);
        }
    });
}

#[test]
fn an_open_circuit_is_restored_open_over_the_ends_of_times() {
    with_other_clocks("wall::an_open_circuit_is_restored_open_over_the_ends_of_times", |trap| {
        for end in [1 << 31, 1 << 32, 9_007_199_254, 253_402_300_800, 900_000_000_000] {
            trap.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(end - 30));
            let store = MemoryStore::new();
            let build = || builder(&store).build().unwrap();
            let breaker = build();
            breaker.try_acquire().unwrap().failure();
            block_on(breaker.flush()).unwrap();
            drop(breaker);
            trap.advance(OPEN_TIME * 2 / 3);
            let left = build().try_acquire().unwrap_err().retry_after().unwrap();
            let error = left.abs_diff(Duration::from_secs(20));
            assert!(error < Duration::from_millis(1), "{left:?} before {end}");
            trap.advance(Duration::from_secs(20));
            build().try_acquire().expect("a probe").success();
        }
    });
}

/// The files of a store, damaged: what cannot be read is moved aside under a name with the time.
#[test]
fn before_1970_damaged_data_is_kept_aside() {
    with_other_clocks("wall::before_1970_damaged_data_is_kept_aside", |trap| {
        trap.set_wall(before_1970());
        let store = MemoryStore::new();
        let key = "circuit_breaker:old:state";
        store.save(&crate::store::SaveEntry::new(key, "{")).unwrap();
        let breaker = builder(&store).build().unwrap();
        assert_eq!(breaker.state(), State::Closed);
        block_on(breaker.flush()).unwrap();
        let aside = store.load("circuit_breaker:old:quarantine").unwrap();
        assert!(aside.is_some(), "{store:?}");
    });
}

/// No clock is trapped, and nothing is restarted: a younger breaker takes the state over.
#[test]
fn before_1970_what_is_left_of_a_state_is_taken_over() {
    const HOUR: Duration = Duration::from_secs(3600);
    let store = MemoryStore::new();
    let clock = ManualClock::starting_at(SystemTime::UNIX_EPOCH - HOUR / 2);
    let build = |name: &str| {
        Breaker::builder(name)
            .trip_on(Trip::consecutive_failures(1))
            .recovery_timeout(OPEN_TIME)
            .clock(clock.clone())
            .store(store.clone())
            .build()
            .unwrap()
    };
    let (forced, open) = (build("forced"), build("open"));
    forced.force_open_for(HOUR);
    open.try_acquire().unwrap().failure();
    clock.advance(OPEN_TIME / 2);
    let left = |breaker: &Breaker| breaker.try_acquire().unwrap_err().retry_after();
    let (younger_forced, younger_open) = (build("forced"), build("open"));
    assert_eq!(left(&younger_forced), Some(Duration::from_secs(3600 - 30)));
    assert_eq!(left(&younger_open), Some(OPEN_TIME / 2));
    clock.advance(OPEN_TIME / 2);
    assert_eq!(younger_open.state(), State::HalfOpen);
    // Over the beginning of 1970.
    clock.advance(Duration::from_secs(3600 - 60));
    assert_eq!(younger_forced.state(), State::Closed);
}

#[test]
fn a_wall_clock_that_jumps_before_1970_lengthens_no_open_time() {
    with_other_clocks("wall::a_wall_clock_that_jumps_before_1970_lengthens_no_open_time", |trap| {
        let store = MemoryStore::new();
        let build = || builder(&store).build().unwrap();
        let breaker = build();
        breaker.try_acquire().unwrap().failure();
        trap.advance(OPEN_TIME / 2);
        trap.set_wall(before_1970());
        assert_eq!(breaker.try_acquire().unwrap_err().state(), State::Open);
        block_on(breaker.flush()).unwrap();
        drop(breaker);

        let breaker = build();
        let left = breaker.try_acquire().unwrap_err().retry_after();
        assert_eq!(left, Some(OPEN_TIME / 2));
        trap.advance(OPEN_TIME / 2);
        breaker.try_acquire().expect("a probe").success();
    });
}

#[test]
#[cfg(feature = "http")]
fn before_1970_a_date_in_retry_after_is_read_and_capped() {
    use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};

    with_other_clocks("wall::before_1970_a_date_in_retry_after_is_read_and_capped", |trap| {
        trap.set_wall(before_1970());
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(DAY)),
            ("Wed, 01 Jan 2025 00:00:00 GMT", Some(DAY)),
            ("Thu, 01 Jan 1931 00:00:00 GMT", None),
        ] {
            let header = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(date))]);
            let asked = crate::classify::retry_after(StatusCode::SERVICE_UNAVAILABLE, &header);
            assert_eq!(asked, expected, "{date}");
        }
    });
}
