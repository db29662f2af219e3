//! Failures that are noted without the breaker's lock.
//!
//! Under the lock, a failure touches the cache lines of the state machine, of its rules and of
//! their windows. While threads fail in turns, each of these lines moves from one processor to the
//! other for each failure, which takes far longer than the work itself. But most failures cannot
//! open the circuit, whatever successes are recorded before, between and after them: with 10
//! failures among the last 100 calls, a rule that opens at 50 allows 39 more. That *allowance* is
//! known when the lock is released. Until it is used up, a failure only takes the successes out of
//! the counters and appends their number to this log. The next holder of the breaker's lock records
//! what the log holds, in the same order, before it does its own work.
//!
//! So a failure costs the line of the log, and those of the counters. The log has a lock of its
//! own. The holder of the breaker's lock may acquire it, and not the other way round.

use super::counter::MOST_PENDING;
use crate::sync::{Mutex, lock};

/// How many failures the log holds, so that it fills a cache line.
pub(super) const CAPACITY: u8 = 10;

/// The log takes no more failures once it holds this many successes.
const MOST_NOTED: u32 = MOST_PENDING;

/// Processors fetch cache lines in pairs.
#[repr(align(128))]
pub(super) struct FailureLog(Mutex<Log>);

struct Log {
    /// The epoch whose failures it holds.
    epoch: u64,
    /// After how many successes a counter is full.
    limit: u32,
    /// How many more failures it takes.
    allowance: u8,
    failures: u8,
    /// How many successes come before each of the failures, and after the one before.
    successes: [u32; CAPACITY as usize],
}

impl Log {
    const DISABLED: Self =
        Self { epoch: 0, limit: 0, allowance: 0, failures: 0, successes: [0; CAPACITY as usize] };

    fn noted(&self) -> &[u32] {
        &self.successes[..usize::from(self.failures)]
    }
}

impl FailureLog {
    pub(super) fn disabled() -> Self {
        Self(Mutex::new(Log::DISABLED))
    }

    /// Notes a failure of this epoch, unless it needs the breaker's lock. `drain` takes the
    /// successes that were counted before it, from counters with this limit.
    pub(super) fn note(&self, epoch: u64, drain: impl FnOnce(u64) -> u64) -> bool {
        let mut log = lock(&self.0);
        if log.epoch != epoch || log.allowance == 0 {
            return false;
        }
        let (limit, index) = (log.limit.into(), usize::from(log.failures));
        let Some(successes) = log.successes.get_mut(index) else { return false };
        // Counters are full long before.
        *successes = u32::try_from(drain(limit)).unwrap_or(u32::MAX);
        log.failures += 1;
        log.allowance -= 1;
        if log.noted().iter().fold(0, |sum: u32, noted| sum.saturating_add(*noted)) >= MOST_NOTED {
            log.allowance = 0;
        }
        true
    }

    // The methods below are for the holder of the breaker's lock.

    /// Takes failures of this epoch from now on, at most this many, where the log is disabled.
    pub(super) fn enable(&self, epoch: u64, limit: u64, allowance: u32) {
        let Ok(limit) = u32::try_from(limit) else { return };
        let mut log = lock(&self.0);
        if log.epoch == epoch && (log.failures > 0 || log.allowance > 0) {
            return;
        }
        let allowance =
            u8::try_from(allowance).map_or(CAPACITY, |allowance| allowance.min(CAPACITY));
        (log.epoch, log.limit, log.allowance, log.failures) = (epoch, limit, allowance, 0);
    }

    /// Calls `record` with the successes before each failure, if there is any, and then takes no
    /// more failures.
    pub(super) fn drain_and_disable(&self, epoch: u64, record: impl FnOnce(&[u32])) {
        let mut log = lock(&self.0);
        if log.epoch == epoch && log.failures > 0 {
            record(log.noted());
        }
        (log.allowance, log.failures) = (0, 0);
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;

    const EPOCH: u64 = 3;
    const LIMIT: u64 = 100;
    const NONE: [u32; 0] = [];

    fn take(log: &FailureLog, epoch: u64) -> Vec<u32> {
        let mut noted = Vec::new();
        log.drain_and_disable(epoch, |successes| noted.extend_from_slice(successes));
        noted
    }

    /// The size of a lock depends on the platform.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_fills_one_cache_line() {
        assert_eq!(size_of::<Mutex<Log>>(), 64);
    }

    #[test]
    fn failures_are_noted_in_their_order_while_they_are_allowed() {
        let log = FailureLog::disabled();
        assert!(!log.note(EPOCH, |_| panic!("nothing is drained for a failure that is not noted")));
        log.enable(EPOCH, LIMIT, 3);
        for successes in [5, 0, 7] {
            assert!(log.note(EPOCH, |limit| if limit == LIMIT { successes } else { 0 }));
        }
        assert!(!log.note(EPOCH, |_| panic!("the allowance is used up")));
        // It is published again before what it holds is recorded.
        log.enable(EPOCH, LIMIT, 3);
        assert_eq!(take(&log, EPOCH), [5, 0, 7]);
        assert!(!log.note(EPOCH, |_| panic!("it is disabled")));
        assert_eq!(take(&log, EPOCH), NONE);
    }

    #[test]
    fn a_log_takes_no_more_failures_than_it_holds() {
        let log = FailureLog::disabled();
        log.enable(EPOCH, LIMIT, u32::MAX);
        let noted = (0..100).filter(|_| log.note(EPOCH, |_| 1)).count();
        assert_eq!(noted, usize::from(CAPACITY));
        assert_eq!(take(&log, EPOCH), [1; CAPACITY as usize]);
    }

    #[test]
    fn a_log_takes_no_more_failures_once_it_holds_many_successes() {
        let log = FailureLog::disabled();
        log.enable(EPOCH, LIMIT, u32::MAX);
        let each = MOST_NOTED / 3 + 1;
        let noted = (0..100).filter(|_| log.note(EPOCH, |_| each.into())).count();
        assert_eq!(noted, 3);
        assert_eq!(take(&log, EPOCH), [each; 3]);
        log.enable(EPOCH, LIMIT, 2);
        assert!(log.note(EPOCH, |_| each.into()), "it begins anew");
    }

    #[test]
    fn failures_of_another_epoch_are_neither_noted_nor_recorded() {
        let log = FailureLog::disabled();
        log.enable(EPOCH, LIMIT, 3);
        assert!(!log.note(EPOCH + 1, |_| panic!("another epoch")));
        assert!(log.note(EPOCH, |_| 1));
        assert_eq!(take(&log, EPOCH + 1), NONE);
        log.enable(EPOCH, LIMIT, 3);
        assert!(log.note(EPOCH, |_| 1));
        log.enable(EPOCH + 1, LIMIT, 3);
        assert_eq!(take(&log, EPOCH + 1), NONE, "they ended with their epoch");
    }
}
