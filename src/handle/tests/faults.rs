//! What the clocks of a machine may do, one after the other.

use std::time::Duration;

use super::with_other_clocks;
use crate::{
    clock::{
        SystemClock,
        tests::{Speed, Trap},
    },
    handle::Breaker,
};

/// A rejection may count the time left from a reading of the clock that is this old.
pub(super) const COARSE: Duration = Duration::from_millis(20);

pub(super) type Fault = (&'static str, fn(&Trap));

const HOUR: Duration = Duration::from_secs(3600);

const DAYS: u64 = 24 * 3600 * 1_000_000_000;

pub(super) const FAULTS: [Fault; 11] = [
    ("none", |_| {}),
    ("stands", Trap::stop_counter),
    ("begins anew", |trap| trap.set_counter(|_| 1)),
    ("an hour back", |trap| trap.set_counter(|counter| counter - DAYS / 24)),
    ("5 ms on", |trap| trap.set_counter(|counter| counter + 5_000_000)),
    ("5 ms on, and stands", |trap| {
        trap.set_counter(|counter| counter + 5_000_000);
        trap.stop_counter();
    }),
    ("30 days on", |trap| trap.set_counter(|counter| counter + 30 * DAYS)),
    ("60 s ahead on this thread", |_| Trap::skew_thread(60)),
    ("60 s behind on this thread", |_| Trap::skew_thread(-60)),
    ("all clocks a second back", |trap| go_back(trap, Duration::from_secs(1))),
    ("all clocks an hour back", |trap| go_back(trap, HOUR)),
];

/// A counter as another machine may have. A short call may be measured as one of 10 ms then.
pub(super) const SPEEDS: [Fault; 2] = [
    ("at half the speed", |trap| trap.set_counter_speed(Speed::Half)),
    ("at double the speed", |trap| trap.set_counter_speed(Speed::Double)),
];

/// The process is moved to another machine. The clocks are read right before and after: what passes
/// between these readings is lost.
fn go_back(trap: &Trap, time: Duration) {
    SystemClock::note(SystemClock::tick());
    trap.move_to_younger_machine(time);
    SystemClock::tick();
}

/// Runs a check with each fault, one after the other.
pub(super) fn with_each_fault(test: &str, check: impl Fn(&'static Trap, &(dyn Fn() + Sync))) {
    with_each_of(&FAULTS, test, check);
}

/// Runs a check with each of these faults, one after the other.
pub(super) fn with_each_of(
    faults: &[Fault],
    test: &str,
    check: impl Fn(&'static Trap, &(dyn Fn() + Sync)),
) {
    with_other_clocks(test, |trap| {
        for (name, fault) in faults {
            println!("counter: {name}");
            begin(trap);
            check(trap, &|| fault(trap));
        }
    });
}

/// Repairs the counter. What comes before is long ago then, and the last reading of the clocks is
/// not new.
pub(super) fn begin(trap: &Trap) {
    trap.repair_counter();
    trap.advance(HOUR);
    Breaker::builder("warms-up").build().unwrap();
    trap.advance(Duration::from_millis(3));
}
