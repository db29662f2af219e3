//! What a shared machine does.

use std::time::SystemTime;

use super::*;
use crate::{
    breaker::{
        admission::Capacity,
        fast_path_view::Admission,
        probes::{Stream, StreamProof},
        recording::CallResult,
        sharing::{ProbeEnd, THREAD_GONE_AFTER},
    },
    config::Config,
    outcome::Outcome,
};

const OPEN_TIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Thread;

impl FleetObserver for Thread {
    fn on_change(&self) {}

    fn on_counts(&self) {}
}

/// A circuit that is half-open in its fleet, at this time.
fn half_open() -> (Machine, Tick) {
    half_open_with(Config::default())
}

fn half_open_with(config: Config) -> (Machine, Tick) {
    let mut machine = Machine::new(Arc::new(config), 0, Tick::new(Duration::ZERO));
    machine.share(Box::new(Thread), false);
    machine.set_joined(true);
    let now = Tick::new(Duration::ZERO).after(OPEN_TIME);
    let fleet =
        FleetState { state: State::Open, until: Some(now), opens: 1, by_hand: false, remark: None };
    assert!(machine.adopt(0, &fleet, &mut Effects::default()));
    machine.advance(now, &mut Effects::default());
    assert_eq!(machine.state(), State::HalfOpen);
    (machine, now)
}

fn looks(machine: &mut Machine, now: Tick) -> SharedView {
    machine.shared_view(Reading { tick: now, wall: SystemTime::UNIX_EPOCH }, false).unwrap()
}

#[test]
fn without_a_lease_nothing_is_admitted_while_the_fleets_thread_looks() {
    let (mut machine, mut now) = half_open();
    for _ in 0..100 {
        machine.advance(now, &mut Effects::default());
        assert!(machine.admit().is_err());
        assert!(looks(&mut machine, now).wants_lease);
        now = now.after(Duration::from_secs(1));
    }
}

/// It sends no call where one would be refused, so its question is the demand for a lease.
#[test]
fn a_balancer_is_refused_without_a_lease_and_has_one_fetched() {
    let (mut machine, mut now) = half_open();
    for _ in 0..10 {
        machine.advance(now, &mut Effects::default());
        assert!(machine.refuses_balancer());
        assert!(looks(&mut machine, now).wants_lease);
        now = now.after(Duration::from_millis(300));
    }
    machine.grant(1, now.after(OPEN_TIME));
    assert!(!machine.refuses_balancer());
    assert!(machine.admit().is_ok());
    assert!(machine.refuses_balancer(), "the probe is out");
}

#[test]
fn probes_that_were_admitted_alone_count_after_a_rejoin() {
    let (mut machine, now) = half_open();
    machine.set_joined(false);
    assert!(machine.admit().is_ok());
    machine.set_joined(true);
    machine.grant(1, now.after(OPEN_TIME));
    assert!(machine.admit().is_err(), "one probe at a time");
    assert!(matches!(machine.capacity(), Capacity::Probes(0)));
}

/// As after the server was away for a moment: the leases are gone, and another replica may probe.
#[test]
fn a_probe_that_has_lost_its_lease_decides_nothing_however_it_ends() {
    let timeout = Duration::from_secs(10);
    let config = Config { half_open_timeout: Some(timeout), ..Config::default() };
    for is_cancelled in [false, true] {
        let (mut machine, now) = half_open_with(config.clone());
        machine.grant(1, now.after(OPEN_TIME));
        let ticket = machine.admit().unwrap();
        machine.set_joined(false);
        machine.set_joined(true);
        // The fleet's thread is there.
        looks(&mut machine, now);
        let mut effects = Effects::default();
        if is_cancelled {
            machine.now = now.after(timeout);
            machine.cancel(ticket, &mut effects);
        } else {
            machine.advance(now.after(timeout), &mut effects);
        }
        let view = looks(&mut machine, now.after(timeout));
        assert_eq!((view.state, view.decided), (State::HalfOpen, None), "{is_cancelled}");
        assert!(effects.steps.is_empty());
        // Its slot is free for one that has a lease, and its result comes too late.
        machine.grant(2, now.after(2 * OPEN_TIME));
        let next = machine.admit().unwrap();
        let failure = CallResult { outcome: Outcome::failure(), elapsed: None };
        machine.record(ticket, failure, &mut effects);
        assert_eq!(machine.state(), State::HalfOpen);
        // Under a lease, it decides.
        looks(&mut machine, now.after(timeout));
        if is_cancelled {
            machine.now = now.after(2 * timeout);
            machine.cancel(next, &mut effects);
        } else {
            machine.advance(now.after(2 * timeout), &mut effects);
        }
        let decided = looks(&mut machine, now.after(2 * timeout)).decided.unwrap();
        assert_eq!((decided.state, decided.reason), (State::Open, Reason::ProbeTimeout));
        let end = ProbeEnd { lease: 2, serial: 1, is_good: false, timed_out: true };
        assert_eq!(decided.probe.map(|end| ProbeEnd { serial: 1, ..end }), Some(end));
    }
}

#[test]
fn a_stream_proves_nothing_once_its_lease_has_expired() {
    let alive_after = Duration::from_secs(5);
    for (seconds, expected) in [(6, State::Closed), (5, State::HalfOpen)] {
        let (mut machine, now) = half_open();
        machine.grant(1, now.after(Duration::from_secs(seconds)));
        let ticket = machine.admit().unwrap();
        let stream = Stream { elapsed: None, proof: StreamProof::default() };
        machine.begin_stream(ticket, alive_after, stream, &mut Effects::default());
        looks(&mut machine, now);
        // It is noticed later than the lease ends.
        let now = now.after(Duration::from_secs(30));
        machine.advance(now, &mut Effects::default());
        assert_eq!(machine.state(), expected);
        let end = ProbeEnd { lease: 1, serial: 1, is_good: true, timed_out: false };
        let decided = looks(&mut machine, now).decided;
        let expected = (expected == State::Closed).then_some(end);
        assert_eq!(decided.and_then(|decided| decided.probe), expected);
    }
}

#[test]
fn no_state_of_the_fleet_keeps_the_circuit_open_for_longer_than_the_configuration() {
    let (mut machine, now) = half_open();
    let open_time = machine.config.recovery_timeout;
    for until in [Some(now.after(100 * open_time)), None] {
        let fleet =
            FleetState { state: State::Open, until, opens: 1, by_hand: false, remark: None };
        assert!(machine.adopt(0, &fleet, &mut Effects::default()));
        let Phase::Open { until, .. } = machine.phase else { panic!() };
        assert_eq!(until, now.after(open_time));
    }
}

/// A circuit that is open in its fleet, and until when.
fn open() -> (Machine, Tick) {
    let (mut machine, now) = half_open();
    let until = now.after(OPEN_TIME);
    let fleet = FleetState {
        state: State::Open,
        until: Some(until),
        opens: 1,
        by_hand: false,
        remark: None,
    };
    assert!(machine.adopt(0, &fleet, &mut Effects::default()));
    (machine, until)
}

#[test]
fn a_call_that_meets_the_open_circuit_is_noted_while_calls_are_watched() {
    let (mut machine, until) = open();
    let now = until.before(Duration::from_millis(900));
    machine.advance(now, &mut Effects::default());
    assert!(machine.admit().is_err());
    assert!(!looks(&mut machine, now).has_demand, "it is not watched");
    machine.watch_calls();
    // So that a call takes the lock.
    assert_eq!(machine.fast_path_view().admission, Admission::NoneUntil(now));
    let refusal = machine.admit().unwrap_err();
    assert_eq!(refusal.retry_after(), Some(Duration::from_millis(900)));
    assert_eq!(machine.fast_path_view().admission, Admission::NoneUntil(until));
    assert!(looks(&mut machine, now).has_demand);
    // It still says so once the circuit is half-open, if that is within a second.
    machine.advance(until, &mut Effects::default());
    let view = looks(&mut machine, until);
    assert!(view.is_probing && view.wants_lease);
    let later = until.after(Duration::from_millis(100));
    assert!(!looks(&mut machine, later).wants_lease, "more than a second");
}

#[test]
fn a_circuit_that_is_no_longer_the_fleets_does_not_watch() {
    let (mut machine, until) = open();
    machine.watch_calls();
    machine.set_joined(false);
    assert_eq!(machine.fast_path_view().admission, Admission::NoneUntil(until));
}

/// As in a process that was forked, or after a panic.
#[test]
fn without_the_fleets_thread_the_machine_decides_alone() {
    let (mut machine, now) = half_open();
    assert!(machine.admit().is_err());
    machine.advance(now.after(THREAD_GONE_AFTER), &mut Effects::default());
    assert!(machine.admit().is_ok());
    assert!(machine.admit().is_err(), "one probe at a time");
}

#[test]
fn results_have_numbers_of_their_own_and_each_is_forgotten_by_its_own() {
    let config = Config { success_threshold: 9, half_open_max_calls: Some(1), ..Config::default() };
    let (mut machine, now) = half_open_with(config);
    machine.grant(7, now.after(OPEN_TIME));
    for _ in 0..3 {
        let ticket = machine.admit().unwrap();
        let result = CallResult { outcome: Outcome::Success, elapsed: None };
        machine.record(ticket, result, &mut Effects::default());
    }
    let serials = |machine: &mut Machine| -> Vec<u64> {
        looks(machine, now).results.iter().map(|end| end.serial).collect()
    };
    assert_eq!(serials(&mut machine), [1, 2, 3]);
    machine.forget_result(4);
    machine.forget_result(2);
    assert_eq!(serials(&mut machine), [1, 3]);
}

#[test]
fn a_state_of_the_fleet_that_was_set_by_hand_is_a_manual_one() {
    let fleet = |state, by_hand| FleetState { state, until: None, opens: 0, by_hand, remark: None };
    for by_hand in [false, true] {
        let (mut machine, _) = half_open();
        for state in [State::Closed, State::ForcedOpen, State::Closed] {
            let mut effects = Effects::default();
            assert!(machine.adopt(0, &fleet(state, by_hand), &mut effects));
            let [step] = &*effects.steps else { panic!("{effects:?}") };
            assert_eq!((step.to, step.reason, step.manual), (state, Reason::Fleet, by_hand));
        }
    }
}

/// Between the moment at which the fleet is reached and that at which it knows the restored state.
#[test]
fn a_restored_half_open_circuit_needs_leases_until_its_state_is_the_fleets_or_its_own() {
    let restored = || {
        let mut machine = Machine::new(Arc::new(Config::default()), 0, Tick::new(Duration::ZERO));
        let now = Tick::new(Duration::ZERO);
        let phase = Phase::HalfOpen(Box::<Probes>::default());
        machine.enter(phase, Reason::Restored.into(), now, &mut Effects::default());
        machine.share(Box::new(Thread), false);
        (machine, now)
    };
    let (mut machine, _) = restored();
    assert!(machine.admit().is_ok(), "it is not joined");

    let (mut machine, now) = restored();
    machine.set_joined(true);
    assert!(machine.admit().is_err());
    assert!(looks(&mut machine, now).wants_lease);
    machine.keep_own(1);
    assert!(machine.admit().is_ok(), "its own");

    let (mut machine, now) = restored();
    machine.set_joined(true);
    let fleet =
        FleetState { state: State::Open, until: Some(now), opens: 1, by_hand: false, remark: None };
    assert!(machine.adopt(1, &fleet, &mut Effects::default()));
    assert_eq!(machine.state(), State::HalfOpen);
    assert!(machine.admit().is_err(), "the fleet's");
    machine.grant(1, now.after(OPEN_TIME));
    assert!(machine.admit().is_ok());
}
