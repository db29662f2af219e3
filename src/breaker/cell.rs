//! One breaker's place in memory: the state machine behind a lock, its face in front of it.
//!
//! A permit has to reach the breaker after the service that gave it may be gone. An `Arc` clone
//! a call would do, at twenty times the price of everything else a healthy call costs. So cells
//! live for ever: a breaker leases one from a pool and gives it back, and a permit that comes
//! back later finds another generation in the cell, and changes nothing. Memory is bounded by
//! the most breakers that were ever alive at one time.
//!
//! # Why the order of the accesses is right
//!
//! Only the holder of the lock writes `word`, and writes it last, with `Release`; so whoever
//! reads it with `Acquire` sees the times beside it at least as new as the word. A time that is
//! newer than the word belongs to a transition that is being published at that moment, and to
//! use it is as if the caller had come a little later.
//!
//! A success that finds a quiet word of its own generation is done: at that moment recording it
//! would have changed nothing.

use std::{sync::Arc, task::Waker, time::Duration};

use super::{
    machine::{Admission, Command, Ending, Machine, Step, Ticket, UntimedRecord},
    notify::{Notifier, Observer},
    packed_state::PackedState,
    permit::Permit,
    success_counter::SuccessCounter,
    waker_set::WakerSet,
};
use crate::{
    Config, Outcome, Snapshot, State,
    clock::{Reading, SystemClock, Tick, TimeSource, nanos},
    error::Refusal,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// One breaker's place in memory.
#[repr(align(64))]
pub(crate) struct Cell {
    word: AtomicU64,
    /// While the word admits none: until when.
    closed_until: AtomicU64,
    /// While the word is timed: how long a call may take without being slow.
    slow_after: AtomicU64,
    /// While the word is counted: when the first bucket of a time window ends.
    bucket_end: AtomicU64,
    pub(super) successes: SuccessCounter,
    pub(super) core: Mutex<Core>,
}

/// What the lock guards.
#[derive(Default)]
pub(super) struct Core {
    /// `None` while no breaker has the cell.
    pub(super) machine: Option<Machine>,
    pub(super) clock: TimeSource,
    observer: Option<Arc<dyn Observer>>,
    /// Most breakers never have any, and there may be a hundred thousand of them.
    notifier: Option<Box<Notifier>>,
}

impl Cell {
    pub(crate) fn vacant() -> Self {
        Self {
            word: AtomicU64::new(PackedState::vacant(0).0),
            closed_until: AtomicU64::new(0),
            slow_after: AtomicU64::new(u64::MAX),
            bucket_end: AtomicU64::new(u64::MAX),
            successes: SuccessCounter::default(),
            core: Mutex::new(Core::default()),
        }
    }

    /// Gives the cell to a breaker.
    pub(crate) fn lease(&self, config: Arc<Config>, clock: TimeSource) {
        let mut core = lock(&self.core);
        let generation = self.word().generation() + 1;
        let now = clock.now();
        core.machine = Some(Machine::new(config, generation, now));
        core.clock = clock;
        self.publish(&core);
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        lock(&self.core).observer = Some(observer);
    }

    /// Takes the cell back. Every permit and every result of its breaker is void from now on.
    pub(crate) fn vacate(&self) {
        let mut core = lock(&self.core);
        let generation = self.word().generation() + 1;
        self.word.store(PackedState::vacant(generation).0, Ordering::Release);
        // Dropped without the lock: an observer may be anybody's.
        let old = std::mem::take(&mut *core);
        drop(core);
        drop(old);
    }

    #[inline]
    fn word(&self) -> PackedState {
        PackedState(self.word.load(Ordering::Acquire))
    }

    /// The time, for those who have no lock. A clock of the user's own is behind it.
    #[inline(never)]
    fn now(&self, word: PackedState) -> Tick {
        if word.has_own_clock() {
            return lock(&self.core).clock.now();
        }
        SystemClock::tick()
    }

    /// The time by the breaker's clock.
    #[cfg(feature = "http")]
    pub(crate) fn time(&self) -> Tick {
        self.now(self.word())
    }

    /// How long ago a probe was admitted that is still out.
    #[cfg(feature = "http")]
    pub(crate) fn age(&self, ticket: Ticket) -> Option<Duration> {
        self.inspect(|machine, _| machine.age(ticket))?
    }

    #[inline]
    pub(crate) fn admits_all(&self) -> bool {
        self.word().admits_all()
    }

    /// Admits a call if every call is admitted.
    #[inline]
    pub(crate) fn admit_at_once(&'static self) -> Option<Permit> {
        let word = self.word();
        if !word.admits_all() {
            return None;
        }
        let admitted = if word.is_timed() { self.now(word) } else { Tick::NEVER };
        Some(Permit::new(self, word, admitted))
    }

    /// Admits a call, or says why not.
    #[inline]
    pub(crate) fn admit(&'static self) -> Result<Permit, Refusal> {
        if let Some(permit) = self.admit_at_once() {
            return Ok(permit);
        }
        self.admit_or_refuse()
    }

    #[inline(never)]
    fn admit_or_refuse(&'static self) -> Result<Permit, Refusal> {
        if let Some(refusal) = self.refusal(self.word()) {
            return Err(refusal);
        }
        self.admit_by_machine()
    }

    /// What a call that came now would meet, without admitting it.
    #[inline]
    pub(crate) fn would_refuse(&self) -> Option<Refusal> {
        let word = self.word();
        if word.admits_all() {
            return None;
        }
        self.refusal(word).or_else(|| self.would_machine_refuse())
    }

    #[cold]
    #[inline(never)]
    fn would_machine_refuse(&self) -> Option<Refusal> {
        self.inspect(|_, _| ());
        self.refusal(self.word())
    }

    /// The rejection of a circuit that admits nobody for the time being.
    // Out of line, like all that a healthy call does not need: it keeps that one short.
    #[inline(never)]
    fn refusal(&self, word: PackedState) -> Option<Refusal> {
        if !word.admits_none() {
            return None;
        }
        let until = Tick::from_nanos(self.closed_until.load(Ordering::Acquire));
        if until == Tick::NEVER {
            return Some(word.refusal());
        }
        let left = until.nanos_since(self.now(word));
        if left == 0 {
            return None;
        }
        Some(match word.state() {
            State::Open => Refusal::with_time(State::Open, left),
            _ => word.refusal(),
        })
    }

    #[cold]
    #[inline(never)]
    fn admit_by_machine(&'static self) -> Result<Permit, Refusal> {
        let admitted = self.step(|machine, _| {
            let ticket = machine.admit();
            (
                ticket.map(|ticket| {
                    (ticket, machine.now, PackedState::new(&machine.fast_path_view(), false))
                }),
                false,
            )
        });
        match admitted {
            Some(Ok((ticket, now, word))) => Ok(match ticket.probe {
                Some(number) => Permit::probe(self, word, number),
                None => Permit::new(self, word, now),
            }),
            Some(Err(refusal)) => Err(refusal),
            None => Err(self.word().refusal()),
        }
    }

    /// Whether nothing has happened since this word admitted a call, and a success now changes
    /// nothing.
    #[inline]
    pub(crate) fn is_still(&self, admitted: PackedState) -> bool {
        admitted.is_silent() && self.word() == admitted
    }

    /// Records a success, as far as that can be done without the lock. Without `elapsed`, the
    /// time since it was admitted is what it took.
    #[inline]
    pub(crate) fn record_quietly(
        &self,
        admitted: PackedState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> bool {
        let word = self.word();
        if !word.same_generation(admitted) {
            // Too late: what it says is about a state that is gone.
            return true;
        }
        if word.is_silent() {
            return true;
        }
        word.is_quiet() && !word.has_own_clock() && self.record_on_time(word, since, elapsed)
    }

    /// The same where slow calls matter, or successes are counted.
    #[inline(never)]
    fn record_on_time(&self, word: PackedState, since: Tick, elapsed: Option<Duration>) -> bool {
        let now = SystemClock::tick();
        let took = nanos(elapsed.unwrap_or_else(|| now.since(since)));
        if word.is_timed() && took > self.slow_after.load(Ordering::Acquire) {
            return false;
        }
        if !word.is_counted() {
            return true;
        }
        now.as_nanos() < self.bucket_end.load(Ordering::Acquire)
            && self.successes.count(word.generation())
    }

    /// Records how a call ended. Without `elapsed`, the time since `admitted` is what it took.
    #[cold]
    #[inline(never)]
    pub(crate) fn record(
        &self,
        ticket: Ticket,
        admitted: Option<Tick>,
        outcome: Outcome,
        elapsed: Option<Duration>,
    ) {
        self.locked(|core| {
            let trip = match core.machine.as_mut()?.try_record_untimed(ticket, outcome) {
                UntimedRecord::Recorded { quiet } => {
                    if let Some(observer) = &core.observer {
                        observer.changed(false);
                    }
                    // Mostly there is nothing new to publish.
                    return (quiet != self.word().is_quiet()).then_some(());
                }
                UntimedRecord::Tripped(trip) => Some(trip),
                UntimedRecord::NeedsTime => None,
            };
            let now = core.clock.now();
            core.work(&self.successes, now, |machine, steps| {
                if let Some(trip) = trip {
                    machine.trip(trip, outcome, steps);
                    return ((), true);
                }
                let measured = admitted.map(|admitted| machine.now.since(admitted));
                let ending = Ending { outcome, elapsed: elapsed.or(measured) };
                ((), machine.record(ticket, ending, steps))
            })
        });
    }

    pub(crate) fn cancel(&self, ticket: Ticket) {
        self.step(|machine, _| (machine.cancel(ticket), false));
    }

    pub(crate) fn command(&self, command: Command) {
        self.step(|machine, steps| (machine.command(command, steps), false));
    }

    pub(crate) fn update(&self, config: Arc<Config>) {
        self.step(|machine, _| (machine.update(config), true));
    }

    /// Looks at the machine as it is now.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&Machine, Reading) -> T) -> Option<T> {
        self.step_at(None, |machine, _, now| (look(machine, now), false))
    }

    /// The same for those who may come after the breaker has gone: `None` where the cell is not,
    /// or no longer, that of the breaker with this observer.
    pub(crate) fn inspect_owned<T>(
        &self,
        observer: &dyn Observer,
        look: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.step_at(Some(observer), |machine, _, now| (look(machine, now), false))
    }

    /// Goes on from a snapshot of the breaker with this observer, unless the circuit has had a
    /// transition of its own since it was made: then it knows more than the snapshot.
    pub(crate) fn restore(&self, observer: &dyn Observer, snapshot: &Snapshot) -> bool {
        let restored = self.step_at(Some(observer), |machine, steps, now| {
            let fresh = machine.is_untouched();
            (fresh && machine.restore(snapshot, now, steps), false)
        });
        restored.unwrap_or(false)
    }

    /// Waits for the circuit to open. `false` where it admits nobody already.
    pub(crate) fn park(&self, key: &mut Option<u64>, waker: &Waker) -> bool {
        self.inspect(|_, _| ());
        let mut core = lock(&self.core);
        // The word cannot change while the lock is held.
        if self.word().admits_none() {
            return false;
        }
        let displaced = core.notifier().waiters.park(key, waker);
        drop(core);
        drop(displaced);
        true
    }

    pub(crate) fn unpark(&self, key: u64) {
        let gone = lock(&self.core).notifier().waiters.remove(key);
        drop(gone);
    }

    fn step<T>(&self, work: impl FnOnce(&mut Machine, &mut Vec<Step>) -> (T, bool)) -> Option<T> {
        self.locked(|core| {
            let now = core.clock.now();
            core.work(&self.successes, now, work)
        })
    }

    fn step_at<T>(
        &self,
        owner: Option<&dyn Observer>,
        work: impl FnOnce(&mut Machine, &mut Vec<Step>, Reading) -> (T, bool),
    ) -> Option<T> {
        self.locked(|core| {
            if owner.is_some_and(|owner| !core.is_of(owner)) {
                return None;
            }
            let tick = core.clock.now();
            let wall = core.clock.wall();
            core.work(&self.successes, tick, |machine, steps| {
                work(machine, steps, Reading { tick, wall })
            })
        })
    }

    /// Does something under the lock, then publishes, wakes and tells what came of it.
    pub(super) fn locked<T>(&self, work: impl FnOnce(&mut Core) -> Option<T>) -> Option<T> {
        let mut core = lock(&self.core);
        let result = work(&mut core)?;
        self.publish(&core);
        let Core { machine, notifier: Some(notifier), .. } = &mut *core else {
            return Some(result);
        };
        let waiters =
            if self.word().admits_none() { notifier.waiters.take() } else { WakerSet::default() };
        let called = match machine {
            Some(machine) if !notifier.queue.is_empty() => {
                notifier.queue.call(machine.capacity(), machine.now)
            }
            _ => Vec::new(),
        };
        let tell = !notifier.dispatching && !notifier.pending.is_empty();
        notifier.dispatching |= tell;
        let observer = core.observer.clone().filter(|_| tell);
        drop(core);
        waiters.wake();
        called.into_iter().for_each(Waker::wake);
        if let Some(observer) = observer {
            self.tell(&observer);
        }
        Some(result)
    }

    fn publish(&self, core: &Core) {
        let Some(machine) = &core.machine else { return };
        let face = machine.fast_path_view();
        if face.bucket_end.is_some() {
            self.successes.allocate();
            if face.quiet {
                self.successes.enable(face.generation);
            }
        }
        let until = match face.admission {
            Admission::NoneUntil(until) => until.as_nanos(),
            Admission::All | Admission::Ask => 0,
        };
        let own_clock = matches!(core.clock, TimeSource::Custom(_));
        store_if_changed(&self.closed_until, until);
        store_if_changed(&self.slow_after, face.slow_after.map_or(u64::MAX, nanos));
        store_if_changed(&self.bucket_end, face.bucket_end.map_or(u64::MAX, Tick::as_nanos));
        store_if_changed(&self.word, PackedState::new(&face, own_clock).0);
    }
}

/// A store would take the cache line away from every other thread.
fn store_if_changed(atomic: &AtomicU64, value: u64) {
    if atomic.load(Ordering::Relaxed) != value {
        atomic.store(value, Ordering::Release);
    }
}

impl Core {
    /// Whether the cell is (still) the breaker's that has this observer.
    pub(super) fn is_of(&self, observer: &dyn Observer) -> bool {
        self.observer.as_ref().is_some_and(|own| std::ptr::addr_eq(Arc::as_ptr(own), observer))
    }

    pub(super) fn notifier(&mut self) -> &mut Notifier {
        self.notifier.get_or_insert_default()
    }

    /// Brings the machine up to now, lets it work, and notes what came of it.
    pub(super) fn work<T>(
        &mut self,
        counter: &SuccessCounter,
        now: Tick,
        work: impl FnOnce(&mut Machine, &mut Vec<Step>) -> (T, bool),
    ) -> Option<T> {
        let machine = self.machine.as_mut()?;
        let generation = machine.generation();
        let successes = counter.drain(generation);
        if successes > 0 {
            machine.add_successes(successes);
        }
        let mut steps = Vec::new();
        machine.advance(now, &mut steps);
        let (result, counts_changed) = work(machine, &mut steps);
        if counter.is_allocated() && !machine.fast_path_view().quiet {
            // What was counted while this was at work goes before it, and no rule was asked.
            let successes = counter.drain_and_disable(generation);
            machine.add_unasked(successes, generation, &mut steps);
        }
        let Some(observer) = &self.observer else { return Some(result) };
        if !steps.is_empty() {
            let now = Reading { tick: now, wall: self.clock.wall() };
            observer.note(&steps, now);
            observer.changed(true);
            self.notifier().pending.extend(steps.into_iter().map(|step| (step, now)));
        } else if counts_changed {
            observer.changed(false);
        }
        Some(result)
    }
}
