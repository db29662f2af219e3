//! What a cell's lock guards: the machine, its clock, and those to notify.

use std::{sync::Arc, task::Waker};

use super::{
    effects::{Change, Effects, Step},
    machine::Machine,
    notify::{Notifier, Observer},
    rules::Trigger,
    success_counter::SuccessCounter,
};
use crate::{
    clock::{Reading, Tick, TimeSource},
    event::{Event, Transition, WouldTrip},
};

pub(super) struct Core {
    /// `None` while the cell has no breaker.
    pub(super) machine: Option<Machine>,
    pub(super) clock: TimeSource,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// Most of up to a hundred thousand breakers never need one.
    notifier: Option<Box<Notifier>>,
    /// When the housekeeping thread looks at this cell next; `Tick::NEVER` if it does not. It
    /// outlives the breaker, so that a cell has at most one deadline there.
    scheduled: Tick,
}

/// A change of the time at which the housekeeping thread looks at a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) at: Tick,
    pub(super) instead_of: Tick,
}

/// What the thread that had the lock does after it has released it.
pub(super) struct Notifications {
    pub(super) wakers: Vec<Waker>,
    /// The observer to dispatch pending events to.
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Core {
    pub(super) const fn vacant() -> Self {
        Self {
            machine: None,
            clock: TimeSource::System,
            observer: None,
            notifier: None,
            scheduled: Tick::NEVER,
        }
    }

    /// Removes the breaker.
    pub(super) fn vacate(&mut self) -> Self {
        let vacant = Self { scheduled: self.scheduled, ..Self::vacant() };
        std::mem::replace(self, vacant)
    }

    /// Whether the cell is (still) that of the breaker with this observer.
    pub(super) fn is_owned_by(&self, observer: &dyn Observer) -> bool {
        self.observer.as_ref().is_some_and(|own| std::ptr::addr_eq(Arc::as_ptr(own), observer))
    }

    pub(super) fn has_custom_clock(&self) -> bool {
        matches!(self.clock, TimeSource::Custom(_))
    }

    pub(super) fn notifier(&mut self) -> &mut Notifier {
        self.notifier.get_or_insert_default()
    }

    /// Frees the notifier if only an event needed it, such as that of a circuit that was restored
    /// open. One that had waiting tasks stays: their keys must not be given out again.
    pub(super) fn drop_unused_notifier(&mut self) {
        self.notifier.take_if(|notifier| notifier.is_unused());
    }

    /// Reads the machine, brought up to now.
    pub(super) fn inspect<T>(
        &mut self,
        successes: &SuccessCounter,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        let now = self.clock.reading();
        self.transact_at(now.tick, successes, |machine, _| inspect(machine, now))
    }

    /// Changes the machine, brought up to now.
    pub(super) fn transact<T>(
        &mut self,
        successes: &SuccessCounter,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        let now = self.clock.now();
        self.transact_at(now, successes, transact)
    }

    /// Brings the machine up to `now`, runs a transaction, and reports its effects.
    pub(super) fn transact_at<T>(
        &mut self,
        now: Tick,
        successes: &SuccessCounter,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        let machine = self.machine.as_mut()?;
        let generation = machine.generation();
        let deferred = successes.drain(generation);
        if deferred > 0 {
            machine.add_deferred_successes(deferred);
        }
        let mut effects = Effects::default();
        machine.advance(now, &mut effects);
        let result = transact(machine, &mut effects);
        if successes.is_allocated() && !machine.fast_path_view().lock_free_success {
            let last = successes.drain_and_disable(generation);
            machine.add_last_deferred_successes(last, generation, &mut effects);
        }
        self.report(effects, now);
        Some(result)
    }

    /// Tells the observer of a change that took neither the time nor a transition.
    pub(super) fn report_counts(&self) {
        if let Some(observer) = &self.observer {
            observer.on_change(Change::Counts);
        }
    }

    fn report(&mut self, effects: Effects, now: Tick) {
        let (Some(observer), Some(change)) = (&self.observer, effects.change()) else { return };
        if effects.steps.is_empty() && effects.would_trip.is_none() {
            return observer.on_change(change);
        }
        let now = Reading { tick: now, wall: self.clock.wall() };
        let name = observer.name();
        let transitions = effects.steps.into_iter().map(|step| to_transition(step, &name, now));
        let transitions: Vec<Transition> = transitions.collect();
        if !transitions.is_empty() {
            observer.record_transitions(&transitions);
        }
        observer.on_change(change);
        let would_trip = effects.would_trip.map(|trigger| to_would_trip(trigger, &name, now));
        let pending = &mut self.notifier().pending;
        pending.extend(transitions.into_iter().map(Event::Transition));
        pending.extend(would_trip.map(Event::WouldTrip));
    }

    /// What to tell the housekeeping thread: when time alone changes the state next, unless it
    /// looks earlier anyway. It knows no clock but the system's.
    pub(super) fn take_schedule(&mut self) -> Option<Schedule> {
        let at = self.machine.as_ref()?.deadline()?;
        if at >= self.scheduled || self.has_custom_clock() {
            return None;
        }
        Some(Schedule { at, instead_of: std::mem::replace(&mut self.scheduled, at) })
    }

    /// Brings the machine up to now, because the scheduled time has come.
    pub(super) fn on_deadline(&mut self, at: Tick, successes: &SuccessCounter) {
        if self.scheduled == at {
            self.scheduled = Tick::NEVER;
        }
        // The cell may have passed to a breaker with another clock.
        if !self.has_custom_clock() {
            self.transact(successes, |_, _| ());
        }
    }

    /// Takes out whatever is to be notified after a transaction. `None` is the common case.
    pub(super) fn take_notifications(&mut self, rejects_all: bool) -> Option<Notifications> {
        let Self { machine, observer, notifier: Some(notifier), .. } = self else { return None };
        let mut wakers = Vec::new();
        if rejects_all {
            wakers.extend(notifier.rejection_wakers.take_all());
        }
        if let Some(machine) = machine
            && !notifier.wait_queue.is_empty()
        {
            wakers.extend(notifier.wait_queue.take_ready(machine.capacity(), machine.now));
        }
        let dispatch = !notifier.dispatching && !notifier.pending.is_empty();
        notifier.dispatching |= dispatch;
        let observer = if dispatch { observer.clone() } else { None };
        Some(Notifications { wakers, observer })
    }
}

/// The one place where a machine's step becomes a transition with a name and a wall time.
fn to_transition(step: Step, name: &Arc<str>, now: Reading) -> Transition {
    Transition {
        name: Arc::clone(name),
        at: now.wall_at(step.at),
        from: step.from,
        to: step.to,
        reason: step.reason,
        manual: step.reason.is_manual(),
        failure_count: step.failure_count,
        open_time: step.open_time,
        manual_until: step.manual_until.map(|until| now.wall_at(until)),
    }
}

fn to_would_trip(trigger: Trigger, name: &Arc<str>, now: Reading) -> WouldTrip {
    WouldTrip {
        name: Arc::clone(name),
        at: now.wall,
        reason: trigger.reason,
        failure_count: trigger.failure_count,
    }
}
