//! Results of calls: those that were counted without the lock, and those that take it.

use std::time::Duration;

use super::{Core, Publish};
use crate::{
    breaker::{
        admission::Ticket,
        counter,
        recording::CallResult,
        success_counter::{OnSuccess, Successes},
    },
    clock::Tick,
    outcome::Outcome,
    sync::{AtomicU64, Ordering},
};

impl Core {
    /// Records the calls that were counted without the lock, and returns how many there were.
    /// They all come before what the holder of the lock does next.
    ///
    /// If it may change what a success needs, they must not be counted meanwhile.
    pub(in crate::breaker) fn drain(&mut self, successes: Successes<'_>, goes_on: bool) -> u64 {
        let noted = if successes.is_spread() { self.record_noted_failures(successes) } else { 0 };
        noted + self.drain_successes(successes, goes_on)
    }

    /// Records the failures that were noted without the lock, with the successes before them, and
    /// returns how many calls there were. From now on, none is noted. (Where threads have not met,
    /// none ever is.)
    #[inline(never)]
    fn record_noted_failures(&mut self, successes: Successes<'_>) -> u64 {
        let Some(machine) = &mut self.machine else { return 0 };
        let mut calls = 0;
        successes.drain_and_disable_failures(machine.epoch(), |noted| {
            machine.record_noted_failures(noted);
            calls = noted.iter().map(|successes| u64::from(*successes) + 1).sum();
        });
        calls
    }

    fn drain_successes(&mut self, successes: Successes<'_>, goes_on: bool) -> u64 {
        let Some(machine) = &mut self.machine else { return 0 };
        let (epoch, limit) = (machine.epoch(), machine.rules.defer_limit());
        let deferred = if goes_on {
            successes.drain(epoch, limit)
        } else {
            successes.drain_and_disable(epoch, limit)
        };
        machine.record_deferred(deferred);
        deferred
    }

    /// Records the result of a call. Without `elapsed`, it took the time since `admitted`. Returns
    /// what has to be published.
    pub(in crate::breaker) fn record(
        &mut self,
        successes: Successes<'_>,
        ticket: Ticket,
        admitted: Option<Tick>,
        outcome: Outcome,
        elapsed: Option<Duration>,
    ) -> Publish {
        if successes.is_spread() {
            // First of all: they decide what this call can do.
            self.record_noted_failures(successes);
        }
        let Some(machine) = &self.machine else { return Publish::Nothing };
        if machine.records_untimed(ticket) {
            return self.record_untimed(successes, outcome);
        }
        let now = self.clock.now().max(machine.now);
        let result = CallResult {
            outcome,
            elapsed: elapsed.or(admitted.map(|admitted| now.since(admitted))),
        };
        if self.goes_on(successes, result, now) {
            self.drain_successes(successes, true);
            self.run(now, |machine, effects| machine.record(ticket, result, effects));
        } else {
            self.transact_at(now, successes, |machine, effects| {
                machine.record(ticket, result, effects);
            });
        }
        Publish::All
    }

    /// Records a failure of this epoch while successes are deferred, if nothing needs to be
    /// published after it: most failures. Returns whether it has. Threads must not have met.
    ///
    /// Nothing is reported either: successes are deferred only while a save is due.
    #[inline]
    pub(in crate::breaker) fn try_record_held_failure(
        &mut self,
        counter: &AtomicU64,
        epoch: u64,
    ) -> bool {
        debug_assert!(self.machine.as_ref().is_none_or(|machine| machine.storage.is_save_due));
        self.machine.as_mut().is_some_and(|machine| {
            counter::is_enabled(counter.load(Ordering::Relaxed), epoch)
                && machine.try_record_held_failure(epoch, |limit| {
                    counter::take(counter, epoch, limit, counter::enabled(epoch, limit))
                })
        })
    }

    fn record_untimed(&mut self, successes: Successes<'_>, outcome: Outcome) -> Publish {
        let Some(machine) = &self.machine else { return Publish::Nothing };
        let result = CallResult { outcome, elapsed: None };
        let goes_on = self.goes_on(successes, result, machine.now);
        let was_no_op = outcome == Outcome::Success && machine.on_success() == OnSuccess::Skip;
        self.drain_successes(successes, goes_on);
        let Some(machine) = &mut self.machine else { return Publish::Nothing };
        if let Some(trigger) = machine.record_untimed(outcome) {
            debug_assert!(!goes_on, "successes that are counted now would come before the trip");
            self.transact(successes, |machine, effects| {
                machine.trip(trigger, outcome.retry_after(), effects);
            });
            return Publish::All;
        }
        if !was_no_op {
            self.report_counts();
        }
        let Some(machine) = &self.machine else { return Publish::Nothing };
        // A failure through which successes are deferred changes nothing about that. It is
        // published all the same: the counter may still be enabled while they are skipped.
        if goes_on && outcome != Outcome::Success {
            debug_assert_eq!(self.on_success(machine), OnSuccess::Defer);
            return Publish::Success(OnSuccess::Defer);
        }
        Publish::Success(self.on_success(machine))
    }

    /// Whether successes can go on being counted while a result is recorded. Otherwise threads
    /// whose calls succeed then would take the lock one after the other, each because of the one
    /// before.
    fn goes_on(&self, successes: Successes<'_>, result: CallResult, now: Tick) -> bool {
        self.machine.as_ref().is_some_and(|machine| {
            successes.is_enabled(machine.epoch()) && machine.defers_through(result, now)
        })
    }
}
