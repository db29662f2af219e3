//! What is restored beside what has happened since.

use std::{sync::Arc, time::SystemTime};

use super::*;
use crate::{
    breaker::effects::Change,
    config::{Trip, Window},
    snapshot::WindowContent,
};

const WINDOW: Window = Window::Calls(8);
const NOW: Reading = Reading { tick: Tick::from_nanos(0), wall: SystemTime::UNIX_EPOCH };

fn config(trip_on: [Trip; 2]) -> Arc<Config> {
    Arc::new(Config { trip_on: trip_on.into(), ..Config::default() })
}

fn failing() -> Trip {
    Trip::failure_rate(1.0, WINDOW)
}

fn slow() -> Trip {
    Trip::slow_call_rate(1.0, Duration::from_secs(1), WINDOW)
}

fn saved() -> Snapshot {
    let window = |rule: &str, results: &str, failures, slow_calls| WindowSnapshot {
        rule: rule.to_owned(),
        calls: 3,
        failures,
        slow_calls,
        content: WindowContent::Results(results.to_owned()),
        packed: None,
    };
    let windows = [window("failure_rate", "f..", 1, 0), window("slow_call_rate", ".ss", 0, 2)];
    Snapshot { windows: windows.into(), ..Snapshot::empty(NOW.wall) }
}

/// The store holds that state already. What has happened since is new.
#[test]
fn a_restored_state_waits_to_be_saved_as_counts_do() {
    let second = Duration::from_secs(1);
    for (left, change) in [(second, Change::Counts), (Duration::ZERO, Change::Transition)] {
        let saved = Snapshot {
            state: State::Open,
            opened_at: Some(NOW.wall),
            open_until: Some(NOW.wall + left),
            ..Snapshot::empty(NOW.wall)
        };
        let state = || SavedState { snapshot: &saved, decoded: None };
        let machine = || Machine::new(config([failing(), slow()]), 1, NOW.tick);
        let mut effects = Effects::default();
        machine().restore(state(), NOW, &mut effects);
        assert_eq!(effects.change(), Some(change), "{left:?}");
        let mut effects = Effects::default();
        machine().take_over(state(), Duration::ZERO, true, &mut effects);
        assert_eq!(effects.change(), Some(Change::Transition), "of another breaker");
    }
}

fn open_until(now: Reading, left: Duration) -> Snapshot {
    let (opened_at, open_until) = (Some(now.wall), now.wall.checked_add(left));
    Snapshot { state: State::Open, opened_at, open_until, ..saved() }
}

fn restore(machine: &mut Machine, snapshot: &Snapshot, now: Reading) {
    let state = SavedState { snapshot, decoded: None };
    machine.restore(state, now, &mut Effects::default());
}

#[test]
fn a_state_that_was_restored_early_is_older_than_a_snapshot_until_a_call_changes_it() {
    const LEFT: Duration = Duration::from_secs(5);
    let effects = &mut Effects::default();
    let end = Reading { tick: NOW.tick.after(LEFT), wall: NOW.wall + LEFT };
    let early = || {
        let mut machine = Machine::new(config([failing(), slow()]), 1, NOW.tick);
        machine.restore_early(&open_until(NOW, LEFT), NOW, &mut Effects::default());
        assert_eq!((machine.state(), machine.has_transitioned()), (State::Open, false));
        machine
    };
    let mut other = early();
    let mut machine = early();
    machine.advance(end.tick, effects);
    let probe = machine.admit().unwrap();
    assert_eq!((machine.state(), machine.has_transitioned()), (State::HalfOpen, false));
    let half_open = Snapshot { state: State::HalfOpen, ..saved() };
    restore(&mut machine, &half_open, end);
    assert!(!machine.is_current(probe), "it was admitted by another state");
    assert_eq!((machine.state(), machine.has_transitioned()), (State::HalfOpen, true));

    // A breaker that takes the state over has not read the snapshot either.
    let state = open_until(NOW, LEFT);
    let mut younger = Machine::new(Arc::clone(other.config()), 1, NOW.tick);
    younger.take_over(
        SavedState { snapshot: &state, decoded: None },
        Duration::ZERO,
        false,
        effects,
    );
    assert_eq!((younger.state(), younger.has_transitioned()), (State::Open, false));
    for machine in [&mut other, &mut younger] {
        restore(machine, &saved(), end);
        assert_eq!((machine.state(), machine.has_transitioned()), (State::Closed, true));
        assert_eq!(machine.rules.failures().unwrap().calls, 3);
    }
    let mut own = early();
    own.open(Reason::Manual.into(), None, NOW.tick, effects);
    assert!(own.has_transitioned());
}

#[test]
fn a_closed_circuit_waits_for_the_whole_store() {
    let mut machine = Machine::new(config([failing(), slow()]), 1, NOW.tick);
    machine.restore_early(&saved(), NOW, &mut Effects::default());
    assert!(machine.is_new());
    restore(&mut machine, &saved(), NOW);
    assert_eq!(machine.rules.failures().unwrap().calls, 3);
}

/// The configuration may change while a snapshot is decoded.
#[test]
fn windows_that_were_decoded_for_another_configuration_are_not_used() {
    let saved = saved();
    let (one, other) = (config([failing(), slow()]), config([slow(), failing()]));
    for decoded_for in [&one, &other] {
        for is_alive in [false, true] {
            let mut decoded = Decoded::new(Arc::clone(decoded_for), &saved.windows);
            let state = SavedState { snapshot: &saved, decoded: Some(&mut decoded) };
            let mut machine = Machine::new(Arc::clone(&other), 1, NOW.tick);
            let mut effects = Effects::default();
            if is_alive {
                machine.take_over(state, Duration::ZERO, true, &mut effects);
            } else {
                machine.restore(state, NOW, &mut effects);
            }
            let failures = machine.rules.failures().unwrap();
            let slow_calls = machine.rules.slow_calls().unwrap();
            assert_eq!((failures.part, failures.calls), (1, 3));
            assert_eq!((slow_calls.part, slow_calls.calls), (2, 3));
        }
    }
}
