//! Successes that are counted without the lock: none is lost, none is counted twice, and none gets
//! into an epoch that is not its own.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use loom::thread;

use super::{Leased, model, succeed};
use crate::{
    breaker::{
        command::Command,
        counter::{Counted, DISABLED, UNLIMITED},
        spread_counters::{SpreadCounters, THREAD_INDEX},
        success_counter::Successes,
    },
    config::{Config, Trip, Window},
    outcome::Outcome,
    state::State,
    sync::AtomicU64,
};

/// So long that no bucket ends while a model runs.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

const SLOW: Duration = Duration::from_secs(1);

/// A breaker with a time window.
fn timed(minimum_calls: u32) -> Leased {
    let rule = Trip::failure_rate(0.5, Window::time(LONG)).minimum_calls(minimum_calls);
    Leased::on_system_clock(Config { trip_on: vec![rule], ..Config::default() })
}

/// A breaker with a count window of four calls, in which half must fail, after one success: from
/// then on successes are counted without the lock.
pub(super) fn counting(minimum_calls: u32) -> Leased {
    counting_in(4, minimum_calls)
}

fn counting_in(window: u32, minimum_calls: u32) -> Leased {
    let rule = Trip::failure_rate(0.5, Window::calls(window)).minimum_calls(minimum_calls);
    let leased = Leased::new(Config { trip_on: vec![rule], ..Config::default() });
    leased.permit().success();
    leased
}

/// Two successes, one after the other, on a thread of their own.
fn succeed_twice(leased: &Leased) -> thread::JoinHandle<()> {
    let (one, two) = (leased.permit(), leased.permit());
    thread::spawn(move || {
        succeed(one);
        succeed(two);
    })
}

/// Makes this thread of a model count on the other counter.
pub(super) fn use_other_counter() {
    THREAD_INDEX.with(|index| index.set(1));
}

struct Counters {
    shared: AtomicU64,
    spread: SpreadCounters,
}

impl Counters {
    /// Counts for this epoch.
    fn enabled(epoch: u64, limit: u64) -> Arc<Self> {
        let shared = AtomicU64::new(DISABLED);
        let counters = Arc::new(Self { shared, spread: SpreadCounters::default() });
        counters.all().enable(epoch, limit);
        counters
    }

    fn spread(epoch: u64) -> Arc<Self> {
        let shared = AtomicU64::new(DISABLED);
        let counters = Arc::new(Self { shared, spread: SpreadCounters::default() });
        counters.all().allocate(1);
        counters.all().enable(epoch, UNLIMITED);
        counters
    }

    fn all(&self) -> Successes<'_> {
        Successes { shared: &self.shared, spread: &self.spread }
    }

    /// Counts this often, and returns how often that succeeded.
    fn count(&self, epoch: u64, times: usize) -> u64 {
        let counters = self.all();
        let count = || counters.count(epoch, counters.is_spread()) == Counted::Yes;
        (0..times).map(|_| u64::from(count())).sum()
    }

    fn drain(&self, epoch: u64) -> u64 {
        self.all().drain(epoch, UNLIMITED)
    }
}

#[test]
fn draining_loses_nothing() {
    for counters in [|| Counters::enabled(1, UNLIMITED), || Counters::spread(1)] {
        model(move || {
            let counters = counters();
            let shared = Arc::clone(&counters);
            let other = thread::spawn(move || shared.count(1, 2));
            let taken = counters.drain(1) + counters.drain(1);
            let counted = other.join().unwrap();
            assert_eq!(taken + counters.drain(1), counted);
        });
    }
}

#[test]
fn the_count_is_the_number_of_successes_that_two_threads_counted() {
    for (counters, own_counter) in [
        ((|| Counters::enabled(1, UNLIMITED)) as fn() -> _, false),
        (|| Counters::spread(1), false),
        (|| Counters::spread(1), true),
    ] {
        model(move || {
            let counters = counters();
            let shared = Arc::clone(&counters);
            let other = thread::spawn(move || {
                if own_counter {
                    use_other_counter();
                }
                shared.count(1, 2)
            });
            let counted = counters.count(1, 2) + other.join().unwrap();
            assert_eq!(counters.drain(1), counted);
        });
    }
}

#[test]
fn a_counter_takes_no_more_than_its_limit() {
    model(|| {
        let counters = Counters::enabled(1, 2);
        let shared = Arc::clone(&counters);
        let other = thread::spawn(move || shared.count(1, 2));
        let counted = counters.count(1, 2) + other.join().unwrap();
        assert!(counted <= 2);
        assert_eq!(counters.all().drain(1, 2), counted);
    });
}

#[test]
fn enabling_the_next_epoch_keeps_the_epochs_apart() {
    model(|| {
        let counters = Counters::enabled(1, UNLIMITED);
        let shared = Arc::clone(&counters);
        let other = thread::spawn(move || (shared.count(1, 2), shared.count(2, 1)));
        let taken = counters.all().drain_and_disable(1, UNLIMITED);
        counters.all().enable(2, UNLIMITED);
        let (old, new) = other.join().unwrap();
        assert_eq!((taken, counters.drain(2)), (old, new));
    });
}

/// Between a drain and the publication after it, another thread may fill the counter.
#[test]
fn a_counter_that_is_full_loses_nothing_when_it_is_enabled_again() {
    const LIMIT: u64 = 2;
    model(|| {
        let counters = Counters::enabled(1, LIMIT);
        let counting = Arc::clone(&counters);
        let thread = thread::spawn(move || counting.count(1, 3));
        let mut taken = counters.all().drain(1, LIMIT);
        counters.all().enable(1, LIMIT);
        let counted = thread.join().unwrap();
        taken += counters.all().drain(1, LIMIT);
        assert_eq!(taken, counted);
    });
}

#[test]
fn a_disabled_counter_counts_nothing() {
    model(|| {
        let counters = Counters::enabled(1, UNLIMITED);
        let shared = Arc::clone(&counters);
        let other = thread::spawn(move || shared.count(1, 2));
        let taken = counters.all().drain_and_disable(1, UNLIMITED);
        let counted = other.join().unwrap();
        assert_eq!((taken, counters.drain(1)), (counted, 0));
    });
}

#[test]
fn two_successes_and_a_failure_are_all_counted_in_some_order() {
    model(|| {
        let leased = counting(4);
        let bad = leased.permit();
        let other = succeed_twice(&leased);
        bad.failure();
        let streak_during = leased.stats().consecutive_failures();
        other.join().unwrap();
        let stats = leased.stats();
        assert_eq!((stats.window_calls(), stats.window_failures()), (4, 1));
        assert!(stats.consecutive_failures() <= streak_during);
        assert_eq!(leased.state(), State::Closed);
    });
}

/// The counter counts on through the first failure, and maybe through the second one.
#[test]
fn two_successes_and_two_failures_are_all_counted_in_some_order() {
    model(|| {
        let leased = counting_in(8, 8);
        let bad = [leased.permit(), leased.permit()];
        let other = succeed_twice(&leased);
        for bad in bad {
            bad.failure();
        }
        other.join().unwrap();
        let stats = leased.stats();
        assert_eq!((stats.window_calls(), stats.window_failures()), (5, 2));
        assert!(stats.consecutive_failures() <= 2);
        assert_eq!(leased.state(), State::Closed);
    });
}

/// With one success before, and half of two calls enough.
#[test]
fn successes_during_a_failure_that_trips_come_before_it_or_too_late() {
    model(|| {
        let leased = counting(2);
        let bad = leased.permit();
        let other = succeed_twice(&leased);
        bad.failure();
        other.join().unwrap();
        let stats = leased.stats();
        match leased.state() {
            // Before both, or between them: one of two calls failed, or one of three, or of four.
            State::Open => assert_eq!((stats.window_calls(), stats.window_failures()), (2, 1)),
            State::Closed => {
                assert!(stats.window_calls() >= 3);
                assert_eq!((stats.window_calls(), stats.window_failures()), (4, 1));
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_success_and_an_update_happen_one_after_the_other() {
    model(|| {
        let leased = counting(4);
        let good = leased.permit();
        let other = thread::spawn(move || good.success());
        let rule = Trip::failure_rate(0.5, Window::calls(2)).minimum_calls(2);
        leased.cell.update(Arc::new(Config { trip_on: vec![rule], ..Config::default() }));
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.state()), (2, State::Closed));
    });
}

/// An update to a rule of another kind forgets the calls before it. After it, this call is slow.
#[test]
fn a_success_that_the_old_rules_would_count_is_not_counted_under_the_new_ones() {
    model(|| {
        let old = Trip::failure_rate(0.5, Window::calls(4)).minimum_calls(4);
        let leased = Leased::on_system_clock(Config { trip_on: vec![old], ..Config::default() });
        leased.permit().success();
        let (cell, good) = (leased.cell, leased.permit());
        let other = thread::spawn(move || good.record(Outcome::Success, 2 * SLOW));
        let new = Trip::slow_call_rate(0.5, SLOW, Window::calls(4)).minimum_calls(4);
        cell.update(Arc::new(Config { trip_on: vec![new], ..Config::default() }));
        other.join().unwrap();
        assert_eq!(leased.stats().window_calls(), leased.stats().window_slow_calls());
    });
}

#[test]
fn successes_that_a_save_did_not_find_are_part_of_the_next_one() {
    model(|| {
        let leased = counting(4);
        let (cell, dispatched) = (leased.cell, Arc::clone(&leased.dispatched));
        let other = succeed_twice(&leased);
        dispatched.is_save_due.store(false, SeqCst);
        let save = || cell.inspect_to_save(&*dispatched, |machine, _| machine.stats());
        let saved = save().expect("leased").window_calls();
        other.join().unwrap();
        // One was before; what the save did not see has to be announced.
        if saved < 3 {
            assert!(dispatched.is_save_due.load(SeqCst), "{saved} of three calls saved");
        }
        assert_eq!(save().expect("leased").window_calls(), 3);
    });
}

/// Two threads share one of these counters, if there are any, and get more of them.
fn threads_meet(counters: u8) {
    model(move || {
        let leased = counting(4);
        (0..counters).for_each(|met| leased.cell.allocate_counters(met + 1));
        let (one, two, three) = (leased.permit(), leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            use_other_counter();
            succeed(one);
            succeed(two);
        });
        three.success();
        leased.cell.allocate_counters(counters + 1);
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (4, 0));
    });
}

#[test]
fn when_threads_meet_the_counter_becomes_several_and_loses_nothing() {
    threads_meet(0);
}

#[test]
fn when_threads_meet_again_the_counters_become_more_and_lose_nothing() {
    threads_meet(1);
}

#[test]
fn a_failure_drains_every_counter() {
    model(|| {
        let leased = counting(4);
        leased.cell.allocate_counters(1);
        let (one, two, bad) = (leased.permit(), leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            use_other_counter();
            one.success();
        });
        two.success();
        bad.failure();
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (4, 1));
    });
}

#[test]
fn successes_of_two_threads_are_both_counted() {
    model(|| {
        let leased = timed(100);
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.success());
        two.success();
        other.join().unwrap();
        assert_eq!(leased.stats().window_calls(), 2);
    });
}

#[test]
fn a_success_during_a_failure_is_counted() {
    model(|| {
        let leased = timed(100);
        let (bad, good) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || good.success());
        bad.failure();
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (2, 1));
    });
}

#[test]
fn a_success_during_an_inspection_is_counted_once() {
    model(|| {
        let leased = timed(100);
        let other = succeed_twice(&leased);
        assert!(leased.stats().window_calls() <= 2);
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (2, 0));
    });
}

/// Whichever of the two comes second finds one failure in two calls.
#[test]
fn a_success_that_completes_the_minimum_calls_during_a_failure_trips() {
    model(|| {
        let leased = timed(2);
        let (bad, good) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || good.success());
        bad.failure();
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
    });
}

#[test]
fn a_success_during_a_reset_is_not_counted_after_it() {
    model(|| {
        let leased = timed(100);
        let other = succeed_twice(&leased);
        leased.cell.command(Command::Reset);
        let fresh = leased.permit();
        other.join().unwrap();
        assert_eq!(leased.stats().window_calls(), 0);
        fresh.success();
        assert_eq!(leased.stats().window_calls(), 1);
    });
}
