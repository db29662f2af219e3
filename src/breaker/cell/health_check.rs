//! What health checks do to a circuit, besides making calls.

use std::time::Duration;

use super::Cell;
use crate::breaker::{effects::Effects, machine::Machine};

impl Cell {
    /// What is left of the open time; `None` unless the circuit is open.
    pub(crate) fn open_time_left(&'static self) -> Option<Duration> {
        self.inspect(|machine, _| machine.open_time_left()).flatten()
    }

    /// Opens the circuit if it is closed, after this many failed checks, and returns whether it
    /// did. If the circuit's group does not allow it, the first time of a streak is reported.
    pub(crate) fn open_by_checks(&'static self, failed: u32, is_first: bool) -> bool {
        let opens = |machine: &mut Machine, effects: &mut Effects| {
            machine.open_by_checks(failed, is_first, effects)
        };
        self.transact(opens).unwrap_or(false)
    }
}
