//! Those who wait for the circuit to admit calls: none is forgotten, and no more go than there
//! are slots.

use loom::thread;

use super::{Leased, Woken, config, model};
use crate::breaker::wait_queue::Readiness;

#[test]
fn one_who_asks_beside_the_end_of_a_probe_goes_or_is_woken() {
    for good in [false, true] {
        model(move || {
            let (leased, _clock) = Leased::recovering(config(1));
            let probe = leased.permit();
            let other = thread::spawn(move || if good { probe.success() } else { drop(probe) });
            let (woken, waker) = Woken::waker();
            let turn = leased.cell.poll_capacity(&mut None, &waker);
            other.join().unwrap();
            assert!(turn == Readiness::Ready || woken.is());
        });
    }
}

#[test]
fn of_two_who_ask_for_one_slot_one_goes_and_the_other_is_woken_when_it_leaves() {
    model(|| {
        let (leased, _clock) = Leased::recovering(config(1));
        let cell = leased.cell;
        let ask = move || {
            let (woken, waker) = Woken::waker();
            let mut key = None;
            let turn = cell.poll_capacity(&mut key, &waker);
            (turn, key, woken)
        };
        let other = thread::spawn(ask);
        let mine = ask();
        let theirs = other.join().unwrap();
        let (goes, waits) =
            if mine.0 == Readiness::Ready { (mine, theirs) } else { (theirs, mine) };
        assert_eq!(goes.0, Readiness::Ready);
        assert_ne!(waits.0, Readiness::Ready);
        assert!(!waits.2.is());
        cell.leave_wait_queue(goes.1.expect("a promise has a number"));
        assert!(waits.2.is());
    });
}

#[test]
fn one_who_was_called_and_leaves_beside_a_newcomer_loses_the_slot_to_somebody() {
    model(|| {
        let (leased, _clock) = Leased::recovering(config(1));
        let cell = leased.cell;
        let mut called = None;
        let (_, waker) = Woken::waker();
        assert_eq!(cell.poll_capacity(&mut called, &waker), Readiness::Ready);
        let (woken, waker) = Woken::waker();
        let newcomer = thread::spawn(move || cell.poll_capacity(&mut None, &waker));
        cell.leave_wait_queue(called.expect("a promise has a number"));
        let turn = newcomer.join().unwrap();
        assert!(turn == Readiness::Ready || woken.is());
    });
}

#[test]
fn one_who_waits_beside_a_reset_goes_or_is_woken() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        cell.command(crate::breaker::machine::Command::ForceOpen);
        let other = thread::spawn(move || cell.command(crate::breaker::machine::Command::Reset));
        let (woken, waker) = Woken::waker();
        let turn = cell.poll_capacity(&mut None, &waker);
        other.join().unwrap();
        assert!(turn == Readiness::Ready || woken.is());
    });
}
