//! Those who wait for the circuit to open: no wake-up is lost.

use loom::thread;

use super::{Leased, Woken, config, model};

#[test]
fn one_who_parks_beside_an_opening_is_woken_or_turned_away() {
    model(|| {
        let leased = Leased::new(config(1));
        let trips = leased.permit();
        let other = thread::spawn(move || trips.failure());
        let (woken, waker) = Woken::waker();
        let parked = leased.cell.park(&mut None, &waker);
        other.join().unwrap();
        assert_eq!(woken.is(), parked);
    });
}

#[test]
fn one_who_parks_again_is_woken_by_the_newer_waker() {
    model(|| {
        let leased = Leased::new(config(1));
        let trips = leased.permit();
        let mut key = None;
        let (old, waker) = Woken::waker();
        assert!(leased.cell.park(&mut key, &waker));
        let other = thread::spawn(move || trips.failure());
        let (new, waker) = Woken::waker();
        let parked = leased.cell.park(&mut key, &waker);
        other.join().unwrap();
        // Turned away, it was woken before.
        assert!(if parked { new.is() } else { old.is() });
    });
}

#[test]
fn one_who_leaves_beside_an_opening_takes_nobodys_place() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let trips = leased.permit();
        let (mut going, mut staying) = (None, None);
        let (_, waker) = Woken::waker();
        assert!(cell.park(&mut going, &waker));
        let (woken, waker) = Woken::waker();
        assert!(cell.park(&mut staying, &waker));
        let other = thread::spawn(move || trips.failure());
        cell.unpark(going.unwrap());
        other.join().unwrap();
        assert!(woken.is());
    });
}
