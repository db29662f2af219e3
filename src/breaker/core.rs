//! What a cell's lock guards: the machine, its clock, and those to notify.

mod results;

use std::{sync::Arc, task::Waker};

use super::{
    effects::{Change, Effects, EndCounts, Prevented, Step},
    fast_path_view::FastPathView,
    machine::Machine,
    notify::{Notifier, Observer},
    success_counter::{OnSuccess, Successes},
};
use crate::{
    clock::{Reading, Tick, TimeSource},
    event::{Event, PreventedBy, Transition, WouldTrip},
};

pub(super) struct Core {
    /// `None` while the cell has no breaker.
    pub(super) machine: Option<Machine>,
    pub(super) clock: TimeSource,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// Most of up to a hundred thousand breakers never need one.
    notifier: Option<Box<Notifier>>,
    /// When the timer thread looks at this cell next; `Tick::NEVER` if it does not. It
    /// outlives the breaker, so that a cell has at most one deadline there.
    scheduled: Tick,
}

/// A change of the time at which the timer thread looks at a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reschedule {
    pub(super) at: Tick,
    pub(super) instead_of: Tick,
}

/// What has to be published after a call was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    /// The cell has no breaker.
    Nothing,
    /// Only how a success is recorded: the common case.
    Success(OnSuccess),
    All,
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

    /// The slot of an open circuit, which is given back when it is dropped.
    #[allow(dead_code, reason = "used where breakers have keys")]
    pub(super) fn remove_open_slot(&mut self) -> Option<super::open_slot::OpenSlot> {
        self.notifier.as_mut()?.open_slot.take()
    }

    pub(super) fn notifier(&mut self) -> &mut Notifier {
        self.notifier.get_or_insert_default()
    }

    /// Whether tasks wait for a call to be admitted.
    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(super) fn has_waiters(&self) -> bool {
        self.notifier.as_ref().is_some_and(|notifier| !notifier.wait_queue.is_empty())
    }

    /// Frees the notifier if only an event needed it, such as that of a circuit that was restored
    /// open. One that had waiting tasks stays: their keys must not be given out again.
    pub(super) fn drop_unused_notifier(&mut self) {
        self.notifier.take_if(|notifier| notifier.is_unused());
    }

    /// Reads the machine, brought up to now.
    pub(super) fn inspect<T>(
        &mut self,
        successes: Successes<'_>,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        let now = self.clock.reading();
        self.transact_at(now.tick, successes, |machine, _| inspect(machine, now))
    }

    /// Changes the machine, brought up to now.
    pub(super) fn transact<T>(
        &mut self,
        successes: Successes<'_>,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        let now = self.clock.now();
        self.transact_at(now, successes, transact)
    }

    /// Brings the machine up to `now`, runs a transaction, and reports its effects. Meanwhile, no
    /// success is counted without the lock.
    pub(super) fn transact_at<T>(
        &mut self,
        now: Tick,
        successes: Successes<'_>,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        self.drain(successes, false);
        self.run(now, transact)
    }

    fn run<T>(
        &mut self,
        now: Tick,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        let machine = self.machine.as_mut()?;
        let open_slot = self.notifier.as_mut().and_then(|notifier| notifier.open_slot.take());
        let mut effects = Effects { open_slot, ..Effects::default() };
        machine.advance(now, &mut effects);
        let result = transact(machine, &mut effects);
        if let Some(mut slot) = effects.open_slot.take() {
            slot.follow(machine.state(), now);
            if matches!(effects.would_trip, Some(Prevented { by: PreventedBy::MaxOpenRatio, .. })) {
                slot.note_prevented();
            }
            self.notifier().open_slot = Some(slot);
        }
        self.report(effects, now);
        if let Some(machine) = &mut self.machine {
            machine.sharing.notify();
        }
        Some(result)
    }

    /// How a success that is not slow is recorded.
    fn on_success(&self, machine: &Machine) -> OnSuccess {
        self.restrict(machine, machine.on_success())
    }

    /// Successes wait only for a save that is due. And the user's clock is behind the lock.
    fn restrict(&self, machine: &Machine, success: OnSuccess) -> OnSuccess {
        if success == OnSuccess::Skip && machine.storage.awaits_restore() && machine.is_new() {
            return OnSuccess::Record;
        }
        let is_save_due = machine.storage.is_save_due();
        let defers = is_save_due && (!self.has_custom_clock() || machine.rules.are_untimed());
        if success == OnSuccess::Defer && !defers { OnSuccess::Record } else { success }
    }

    /// What to publish.
    pub(super) fn fast_path_view(&self) -> Option<FastPathView> {
        let machine = self.machine.as_ref()?;
        let view = machine.fast_path_view();
        Some(FastPathView { success: self.restrict(machine, view.success), ..view })
    }

    /// Reads the machine, brought up to now, for a snapshot to be saved.
    ///
    /// Successes that were waiting are part of it, and more may follow without the lock: so another
    /// save is due. If there were none, the next success takes the lock, and says that one is due.
    pub(super) fn inspect_to_save<T>(
        &mut self,
        successes: Successes<'_>,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.set_save_due(false);
        if self.drain(successes, false) > 0 {
            self.report_counts();
        }
        self.inspect(successes, inspect)
    }

    /// Reports a change of the counts alone.
    fn report_counts(&mut self) {
        self.set_save_due(true);
        if let Some(observer) = &self.observer {
            observer.on_change(Change::Counts);
        }
    }

    fn set_save_due(&mut self, is_due: bool) {
        if let Some(machine) = &mut self.machine {
            if is_due && !machine.storage.is_save_due() {
                machine.sharing.on_counts();
            }
            machine.storage.set_save_due(is_due);
        }
    }

    fn report(&mut self, effects: Effects, now: Tick) {
        if effects.counts() != EndCounts::default()
            && let Some(observer) = &self.observer
        {
            observer.count(effects.counts());
        }
        let Some(change) = effects.change() else { return };
        self.set_save_due(true);
        let Some(observer) = &self.observer else { return };
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
        let would_trip = effects.would_trip.map(|prevented| to_would_trip(prevented, &name, now));
        let pending = &mut self.notifier().pending;
        pending.extend(transitions.into_iter().map(Event::Transition));
        pending.extend(would_trip.map(Event::WouldTrip));
    }

    /// What to tell the timer thread: when time alone changes the state next, unless it
    /// looks earlier anyway. It knows no clock but the system's.
    ///
    /// If it should have looked already, it may not have started: to be told again starts it.
    pub(super) fn take_schedule(&mut self) -> Option<Reschedule> {
        let machine = self.machine.as_ref()?;
        let at = machine.deadline()?;
        let is_overdue = self.scheduled < machine.now;
        if (at >= self.scheduled && !is_overdue) || self.has_custom_clock() {
            return None;
        }
        Some(Reschedule { at, instead_of: std::mem::replace(&mut self.scheduled, at) })
    }

    /// Brings the machine up to now, because the scheduled time has come.
    pub(super) fn on_deadline(&mut self, at: Tick, successes: Successes<'_>) {
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
    let (note, by) = step.remark.map(|remark| (remark.note.clone(), remark.by.clone())).unzip();
    Transition {
        name: Arc::clone(name),
        at: now.wall_at(step.at),
        from: step.from,
        to: step.to,
        reason: step.reason,
        manual: step.manual,
        failure_count: step.failure_count,
        open_time: step.open_time,
        manual_until: step.manual_until.map(|until| now.wall_at(until)),
        note: note.flatten(),
        by: by.flatten(),
    }
}

fn to_would_trip(prevented: Prevented, name: &Arc<str>, now: Reading) -> WouldTrip {
    let Prevented { trigger, by } = prevented;
    WouldTrip {
        name: Arc::clone(name),
        at: now.wall,
        reason: trigger.reason,
        failure_count: trigger.failure_count,
        prevented_by: by,
    }
}
