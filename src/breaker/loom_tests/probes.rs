//! A half-open circuit's slots: never more than there are, and none is lost.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use loom::thread;

use super::{Leased, config, model};
use crate::{Config, Outcome, Permit, State};

fn half_open(limit: u32) -> Config {
    Config { half_open_max_calls: Some(limit), success_threshold: 4, ..config(1) }
}

/// Threads that all call at the recovery moment.
fn at_the_recovery_moment(callers: usize, limit: u32) {
    let (leased, _) = Leased::recovering(half_open(limit));
    let cell = leased.cell;
    let others: Vec<_> = (1..callers).map(|_| thread::spawn(|| cell.admit().ok())).collect();
    let mut permits = vec![cell.admit().ok()];
    permits.extend(others.into_iter().map(|other| other.join().unwrap()));
    let probes: Vec<Permit> = permits.into_iter().flatten().collect();
    assert_eq!(probes.len(), limit as usize);
    assert!(cell.admit().is_err());
    drop(probes);
    let again: Vec<Permit> = (0..=limit).filter_map(|_| cell.admit().ok()).collect();
    assert_eq!(again.len(), limit as usize);
}

#[test]
fn two_callers_at_the_recovery_moment_and_one_slot() {
    model(|| at_the_recovery_moment(2, 1));
}

#[test]
fn three_callers_at_the_recovery_moment_and_two_slots() {
    model(|| at_the_recovery_moment(3, 2));
}

/// One probe ends in some way while another caller asks for its slot.
fn a_slot_changes_hands(end: fn(Permit)) {
    model(move || {
        let (leased, _) = Leased::recovering(half_open(1));
        let cell = leased.cell;
        let probe = leased.permit();
        let out = Arc::new(AtomicU32::new(1));
        let ended = Arc::clone(&out);
        let other = thread::spawn(move || {
            ended.fetch_sub(1, Ordering::SeqCst);
            end(probe);
        });
        if let Ok(second) = cell.admit() {
            assert_eq!(out.fetch_add(1, Ordering::SeqCst), 0, "two probes on one slot");
            out.fetch_sub(1, Ordering::SeqCst);
            drop(second);
        }
        other.join().unwrap();
        assert_eq!(leased.state(), State::HalfOpen);
        let slot = leased.permit();
        assert!(cell.admit().is_err());
        drop(slot);
    });
}

#[test]
fn a_dropped_probe_gives_its_slot_back() {
    a_slot_changes_hands(drop);
}

#[test]
fn an_ignored_probe_gives_its_slot_back() {
    a_slot_changes_hands(Permit::ignore);
}

#[test]
fn a_probe_that_does_not_decide_gives_its_slot_back() {
    a_slot_changes_hands(Permit::success);
}

#[test]
fn two_probes_that_end_at_once_are_both_counted() {
    model(|| {
        let (leased, _) = Leased::recovering(Config { success_threshold: 2, ..config(1) });
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.success());
        two.finish(Outcome::Success);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Closed);
        assert_eq!(leased.told.steps().len(), 3);
    });
}

#[test]
fn a_slot_that_timed_out_is_not_given_back_to_the_next_row_of_probes() {
    model(|| {
        let (leased, clock) = Leased::recovering(half_open(1));
        let cell = leased.cell;
        let forgotten = leased.permit();
        // Out for too long: the circuit opens, and at the end of that time lets probes through.
        clock.advance(super::OPEN_TIME * 2);
        let other = thread::spawn(move || drop(forgotten));
        let admitted = cell.admit().ok();
        other.join().unwrap();
        assert!(admitted.is_some());
        assert!(cell.admit().is_err(), "two probes on one slot");
        drop(admitted);
        drop(leased.permit());
    });
}
