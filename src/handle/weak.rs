//! A handle that does not keep its breaker alive.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Breaker, events::BreakerInner};
use crate::{
    breaker::{Permit, cell::Cell},
    error::Refusal,
};

/// A handle that does not keep its breaker alive, for tasks that end with it.
pub(crate) struct WeakBreaker {
    cell: &'static Cell,
    shared: Weak<BreakerInner>,
}

impl WeakBreaker {
    /// `None` once the last handle is gone.
    pub(crate) fn upgrade(&self) -> Option<Breaker> {
        Some(Breaker { cell: self.cell, shared: self.shared.upgrade()? })
    }
}

impl Breaker {
    pub(crate) fn downgrade(&self) -> WeakBreaker {
        WeakBreaker { cell: self.cell, shared: Arc::downgrade(&self.shared) }
    }

    /// What is left of the open time; `None` unless the circuit is open.
    pub(crate) fn open_time_left(&self) -> Option<Duration> {
        self.cell.open_time_left()
    }

    /// Acquires the permission to make a call, and ends the open time for it if need be.
    pub(crate) fn acquire_for_check(&self) -> Result<Permit, Refusal> {
        Permit::acquire_for_check(self.cell)
    }

    pub(crate) fn acquire_early(&self) -> Result<Permit, Refusal> {
        Permit::acquire_early(self.cell)
    }

    /// Opens the circuit if it is closed, after this many failed checks, and returns whether it
    /// did. If the circuit's group does not allow it, the first time of a streak is reported.
    pub(crate) fn open_by_checks(&self, failed: u32, is_first: bool) -> bool {
        self.cell.open_by_checks(failed, is_first)
    }
}
