//! Tasks that wait for the circuit to admit calls: none is forgotten, and no more may go than
//! there are slots.

use loom::thread;

use super::{Leased, Woken, config, model};
use crate::breaker::{command::Command, wait_queue::Readiness};

#[test]
fn a_task_that_polls_while_a_probe_ends_is_ready_or_woken() {
    for good in [false, true] {
        model(move || {
            let (leased, _clock) = Leased::recovering(config(1));
            let probe = leased.permit();
            let other = thread::spawn(move || if good { probe.success() } else { drop(probe) });
            let (woken, waker) = Woken::waker();
            let readiness = leased.cell.poll_capacity(&mut None, &waker);
            other.join().unwrap();
            assert!(readiness == Readiness::Ready || woken.is_woken());
        });
    }
}

#[test]
fn of_two_tasks_and_one_slot_one_is_ready_and_the_other_is_woken_when_it_leaves() {
    model(|| {
        let (leased, _clock) = Leased::recovering(config(1));
        let cell = leased.cell;
        let poll = move || {
            let (woken, waker) = Woken::waker();
            let mut key = None;
            let readiness = cell.poll_capacity(&mut key, &waker);
            (readiness, key, woken)
        };
        let other = thread::spawn(poll);
        let mine = poll();
        let theirs = other.join().unwrap();
        let (ready, waiting) =
            if mine.0 == Readiness::Ready { (mine, theirs) } else { (theirs, mine) };
        assert_eq!(ready.0, Readiness::Ready);
        assert_ne!(waiting.0, Readiness::Ready);
        assert!(!waiting.2.is_woken());
        cell.leave_wait_queue(ready.1.expect("a reservation has a key"));
        assert!(waiting.2.is_woken());
    });
}

#[test]
fn a_reservation_that_is_given_up_while_a_task_polls_passes_to_that_task() {
    model(|| {
        let (leased, _clock) = Leased::recovering(config(1));
        let cell = leased.cell;
        let mut leaving = None;
        let (_, waker) = Woken::waker();
        assert_eq!(cell.poll_capacity(&mut leaving, &waker), Readiness::Ready);
        let (woken, waker) = Woken::waker();
        let newcomer = thread::spawn(move || cell.poll_capacity(&mut None, &waker));
        cell.leave_wait_queue(leaving.expect("a reservation has a key"));
        let readiness = newcomer.join().unwrap();
        assert!(readiness == Readiness::Ready || woken.is_woken());
    });
}

#[test]
fn a_task_that_polls_during_a_reset_is_ready_or_woken() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        cell.command(Command::ForceOpen(None));
        let other = thread::spawn(move || cell.command(Command::Reset));
        let (woken, waker) = Woken::waker();
        let readiness = cell.poll_capacity(&mut None, &waker);
        other.join().unwrap();
        assert!(readiness == Readiness::Ready || woken.is_woken());
    });
}
