//! Nothing is lost between threads, nor when a thread or a breaker ends.

use std::{
    cell::RefCell,
    sync::{Arc, Barrier, mpsc},
    thread,
};

use tower_breaker::{Breaker, Permit, State};

use super::{counted, metrics};

#[test]
fn a_thousand_calls_on_each_of_eight_threads_are_all_counted() {
    let breaker = Breaker::builder("eight-threads").build().unwrap();
    let barrier = Barrier::new(8);
    let work = |thread: u64| {
        barrier.wait();
        for number in 0..1000 {
            let permit = breaker.try_acquire().unwrap();
            match (number + thread) % 10 {
                0 => permit.ignore(),
                1 => drop(permit),
                _ => permit.success(),
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || work(thread));
        }
        // They never go back while others count.
        let mut last = 0;
        for _ in 0..100 {
            let total = metrics(&breaker).calls.total();
            assert!(total >= last);
            last = total;
        }
    });
    assert_eq!(counted(&breaker), [6400, 0, 0, 800, 800, 0]);
}

#[test]
fn what_a_living_thread_has_counted_is_seen() {
    let breaker = Breaker::builder("living-thread").build().unwrap();
    let (done, is_done) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let worker = breaker.clone();
    let thread = thread::spawn(move || {
        worker.try_acquire().unwrap().success();
        done.send(()).unwrap();
        may_go.recv().unwrap();
        worker.try_acquire().unwrap().success();
    });
    is_done.recv().unwrap();
    assert_eq!(counted(&breaker)[0], 1);
    go.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(counted(&breaker)[0], 2);
}

thread_local! {
    /// Dropped when the thread ends, perhaps after its counters.
    static LAST: RefCell<Option<Permit>> = const { RefCell::new(None) };
    static FIRST: RefCell<Option<Permit>> = const { RefCell::new(None) };
}

#[test]
fn a_permit_that_is_dropped_while_its_thread_ends_is_counted() {
    let breaker = Breaker::builder("ending-thread").build().unwrap();
    for _ in 0..2 {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                FIRST.with(|slot| *slot.borrow_mut() = breaker.try_acquire().ok());
                breaker.try_acquire().unwrap().success();
                LAST.with(|slot| *slot.borrow_mut() = breaker.try_acquire().ok());
            });
            // The end of the scope does not wait for what is thread-local.
            thread.join().unwrap();
        });
    }
    assert_eq!(counted(&breaker), [2, 0, 0, 0, 4, 0]);
}

#[test]
fn a_permit_that_outlives_its_breaker_is_counted_for_no_other_one() {
    let old = Breaker::builder("outlived").build().unwrap();
    let permits: Vec<_> = (0..4).map(|_| old.try_acquire().unwrap()).collect();
    drop(old);
    // One of them takes over the memory of the old one.
    let new: Vec<_> =
        (0..64).map(|n| Breaker::builder(format!("heir-{n}")).build().unwrap()).collect();
    let mut permits = permits.into_iter();
    permits.next().unwrap().success();
    permits.next().unwrap().failure();
    drop(permits);
    assert!(new.iter().all(|breaker| counted(breaker) == [0; 6]));
}

#[test]
fn breakers_of_one_name_are_counted_together() {
    let [one, other] = [(); 2].map(|()| Breaker::builder("together").build().unwrap());
    one.try_acquire().unwrap().success();
    other.try_acquire().unwrap().failure();
    assert_eq!(counted(&one), [1, 1, 0, 0, 0, 0]);
    other.force_open();
    assert_eq!(metrics(&one).breakers_in(State::Closed), 1);
    assert_eq!(metrics(&one).breakers_in(State::ForcedOpen), 1);
    drop(other);
    assert_eq!(metrics(&one).breakers_in(State::ForcedOpen), 0);
    assert_eq!(counted(&one), [1, 1, 0, 0, 0, 0], "the dropped one's calls stay");
}

#[test]
fn breakers_beyond_those_of_the_threads_tables_are_all_counted() {
    let breakers: Arc<Vec<_>> = Arc::new(
        (0..3000).map(|n| Breaker::builder(format!("many-{n}")).build().unwrap()).collect(),
    );
    thread::scope(|scope| {
        for _ in 0..2 {
            let breakers = Arc::clone(&breakers);
            scope.spawn(move || {
                for breaker in breakers.iter() {
                    breaker.try_acquire().unwrap().success();
                }
            });
        }
    });
    assert!(breakers.iter().all(|breaker| counted(breaker)[0] == 2));
}
