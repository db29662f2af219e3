//! Snapshots that cannot be read whole: a breaker starts with what can be read of its state, is
//! never open for longer than its open time, and the bytes are kept aside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tower_breaker::{
    Breaker, MemoryStore, State, StateStore, clock::ManualClock, snapshot::Snapshot,
    store::SaveEntry,
};

use crate::support::wait::{MINUTE, eventually};

const OPEN_TIME: Duration = Duration::from_secs(60);
const KEY: &str = "circuit_breaker:damaged:state";
const QUARANTINE: &str = "circuit_breaker:damaged:quarantine";

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn builder(clock: &ManualClock) -> tower_breaker::BreakerBuilder {
    Breaker::builder("damaged").recovery_timeout(OPEN_TIME).clock(clock.clone())
}

/// The snapshot of a breaker that was brought into a state.
fn snapshot(state: State) -> Vec<u8> {
    let clock = ManualClock::starting_at(wall());
    let breaker = builder(&clock).build().unwrap();
    match state {
        State::Closed => breaker.try_acquire().unwrap().failure(),
        State::ForcedOpen => breaker.force_open(),
        State::Disabled => breaker.disable(),
        State::MetricsOnly => breaker.metrics_only(),
        State::Open | State::HalfOpen => {
            (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
            if state == State::HalfOpen {
                clock.advance(OPEN_TIME);
            }
        }
        state => panic!("unknown state {state}"),
    }
    assert_eq!(breaker.state(), state);
    breaker.snapshot().to_json().unwrap().into_bytes()
}

/// A breaker that starts with these bytes in its store, `after` the snapshot was taken.
fn start(bytes: &[u8], after: Duration) -> (Breaker, ManualClock, MemoryStore) {
    let store = MemoryStore::new();
    store.save(&SaveEntry::new(KEY, bytes)).unwrap();
    let clock = ManualClock::starting_at(wall() + after);
    let breaker = builder(&clock).store(store.clone()).build().unwrap();
    (breaker, clock, store)
}

#[test]
fn an_open_circuit_stays_open_for_the_remaining_time() {
    let mut bytes = snapshot(State::Open);
    let windows = bytes.windows(9).position(|bytes| bytes == b"\"windows\"").unwrap();
    bytes.truncate(windows + 3);
    let (breaker, clock, store) = start(&bytes, Duration::from_secs(20));
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(40)));
    clock.advance(Duration::from_secs(40));
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
    eventually("it is stored", || breaker.flush_blocking(MINUTE).is_ok());
    let kept = String::from_utf8(store.load(QUARANTINE).unwrap().unwrap()).unwrap();
    assert!(kept.contains("open_until"), "{kept}");
    let stored = store.load(KEY).unwrap().unwrap();
    assert_eq!(Snapshot::from_json(&stored).unwrap().state, State::Closed);
}

#[test]
fn a_half_open_circuit_admits_a_probe() {
    let bytes = snapshot(State::HalfOpen);
    let (breaker, ..) = start(&bytes[..bytes.len() - 1], Duration::ZERO);
    assert_eq!(breaker.state(), State::HalfOpen);
    let probe = breaker.try_acquire().unwrap();
    breaker.try_acquire().unwrap_err();
    probe.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_damaged_state_set_by_hand_starts_closed() {
    for state in [State::ForcedOpen, State::Disabled, State::MetricsOnly] {
        let bytes = snapshot(state);
        let (breaker, _, store) = start(&bytes[..bytes.len() - 1], Duration::ZERO);
        assert_eq!(breaker.state(), State::Closed, "{state}");
        assert!(store.load(QUARANTINE).unwrap().is_some());
    }
}

#[test]
fn a_snapshot_of_a_newer_version_is_restored_as_far_as_it_is_known() {
    let newer = String::from_utf8(snapshot(State::Open)).unwrap();
    let newer =
        newer.replacen(r#""version":1"#, r#""version":2,"zones":["a"],"quorum":{"of":3}"#, 1);
    let (breaker, _, store) = start(newer.as_bytes(), Duration::from_secs(20));
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(40)));
    breaker.reset();
    breaker.flush_blocking(MINUTE).unwrap();
    let stored = store.load(KEY).unwrap().unwrap();
    assert_eq!(Snapshot::from_json(&stored).unwrap().version, 1);
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Closed),
        Just(State::Open),
        Just(State::HalfOpen),
        Just(State::ForcedOpen),
        Just(State::Disabled),
        Just(State::MetricsOnly),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_damage_panics_or_opens_for_longer_than_the_open_time(
        state in states(),
        flips in proptest::collection::vec((0..1000_usize, 0..8_u32), 0..5),
        kept in 0..1200_usize,
        after in 0..200_u64,
    ) {
        let whole = snapshot(state);
        let mut bytes = whole.clone();
        for (place, bit) in flips {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        bytes.truncate(kept);
        let is_damaged = Snapshot::from_json(&bytes).is_err();
        let (breaker, clock, _) = start(&bytes, Duration::from_secs(after));
        if is_damaged {
            let possible = [State::Closed, State::Open, State::HalfOpen];
            prop_assert!(possible.contains(&breaker.state()));
            prop_assert!(breaker.state() != State::Open || state == State::Open);
        }
        let manual = [State::ForcedOpen, State::Disabled, State::MetricsOnly];
        if !manual.contains(&breaker.state()) {
            if let Err(rejected) = breaker.try_acquire() {
                prop_assert!(rejected.retry_after().unwrap_or_default() <= OPEN_TIME);
            }
            clock.advance(OPEN_TIME);
            prop_assert!(breaker.try_acquire().is_ok());
        }
    }
}
