//! Tasks that wait for the circuit to reject calls: no wake-up is lost.

use loom::thread;

use super::{Leased, Woken, config, model};

#[test]
fn a_waker_that_registers_during_an_opening_is_woken_or_turned_away() {
    model(|| {
        let leased = Leased::new(config(1));
        let trips = leased.permit();
        let other = thread::spawn(move || trips.failure());
        let (woken, waker) = Woken::waker();
        let registered = leased.cell.register_rejection_waker(&mut None, &waker);
        other.join().unwrap();
        assert_eq!(woken.is_woken(), registered);
    });
}

#[test]
fn a_task_that_registers_again_is_woken_by_its_newer_waker() {
    model(|| {
        let leased = Leased::new(config(1));
        let trips = leased.permit();
        let mut key = None;
        let (old, waker) = Woken::waker();
        assert!(leased.cell.register_rejection_waker(&mut key, &waker));
        let other = thread::spawn(move || trips.failure());
        let (new, waker) = Woken::waker();
        let registered = leased.cell.register_rejection_waker(&mut key, &waker);
        other.join().unwrap();
        // If it was turned away, its older waker had been called.
        assert!(if registered { new.is_woken() } else { old.is_woken() });
    });
}

#[test]
fn removing_a_waker_during_an_opening_does_not_affect_another() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let trips = leased.permit();
        let (mut leaving, mut staying) = (None, None);
        let (_, waker) = Woken::waker();
        assert!(cell.register_rejection_waker(&mut leaving, &waker));
        let (woken, waker) = Woken::waker();
        assert!(cell.register_rejection_waker(&mut staying, &waker));
        let other = thread::spawn(move || trips.failure());
        cell.remove_rejection_waker(leaving.unwrap());
        other.join().unwrap();
        assert!(woken.is_woken());
    });
}
