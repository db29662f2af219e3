//! The slots of a half-open circuit: the limit holds, and no slot is lost.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use loom::thread;

use super::{Leased, OPEN_TIME, admit, config, model};
use crate::{breaker::permit::Permit, config::Config, outcome::Outcome, state::State};

fn half_open(limit: u32) -> Config {
    Config { half_open_max_calls: Some(limit), success_threshold: 4, ..config(1) }
}

/// This many threads call at the moment of recovery.
fn at_the_moment_of_recovery(callers: usize, limit: u32) {
    let (leased, _) = Leased::recovering(half_open(limit));
    let cell = leased.cell;
    let others: Vec<_> = (1..callers).map(|_| thread::spawn(|| admit(cell))).collect();
    let mut permits = vec![admit(cell)];
    permits.extend(others.into_iter().map(|other| other.join().unwrap()));
    let probes: Vec<Permit> = permits.into_iter().flatten().collect();
    assert_eq!(probes.len(), limit as usize);
    assert!(admit(cell).is_none());
    drop(probes);
    let again: Vec<Permit> = (0..=limit).filter_map(|_| admit(cell)).collect();
    assert_eq!(again.len(), limit as usize);
}

#[test]
fn two_callers_at_the_moment_of_recovery_share_one_slot() {
    model(|| at_the_moment_of_recovery(2, 1));
}

#[test]
fn three_callers_at_the_moment_of_recovery_share_two_slots() {
    model(|| at_the_moment_of_recovery(3, 2));
}

/// A probe ends in some way while another caller asks for its slot.
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
        if let Some(second) = admit(cell) {
            assert_eq!(out.fetch_add(1, Ordering::SeqCst), 0, "two probes on one slot");
            out.fetch_sub(1, Ordering::SeqCst);
            drop(second);
        }
        other.join().unwrap();
        assert_eq!(leased.state(), State::HalfOpen);
        let slot = leased.permit();
        assert!(admit(cell).is_none());
        drop(slot);
    });
}

#[test]
fn a_dropped_probe_frees_its_slot() {
    a_slot_changes_hands(drop);
}

#[test]
fn an_ignored_probe_frees_its_slot() {
    a_slot_changes_hands(Permit::ignore);
}

#[test]
fn a_probe_that_does_not_decide_frees_its_slot() {
    a_slot_changes_hands(Permit::success);
}

#[test]
fn two_probes_that_end_at_the_same_time_both_count() {
    model(|| {
        let (leased, _) = Leased::recovering(Config { success_threshold: 2, ..config(1) });
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.success());
        two.finish(Outcome::Success);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Closed);
        assert_eq!(leased.dispatched.transitions().len(), 3);
    });
}

#[test]
fn dropping_a_probe_that_timed_out_does_not_free_a_slot_of_the_next_probes() {
    model(|| {
        let (leased, clock) = Leased::recovering(half_open(1));
        let cell = leased.cell;
        let forgotten = leased.permit();
        // The probe times out, the circuit opens, and after the open time it admits probes again.
        clock.advance(OPEN_TIME * 2);
        let other = thread::spawn(move || drop(forgotten));
        let admitted = admit(cell);
        other.join().unwrap();
        assert!(admitted.is_some());
        assert!(admit(cell).is_none(), "two probes on one slot");
        drop(admitted);
        drop(leased.permit());
    });
}
