//! The fast-path view in atomics, for callers without the lock.
//!
//! # Why the order of the accesses is right
//!
//! Only the holder of the lock writes, and it writes `success` and then `state` last, with
//! `Release`. A caller that reads one of them with `Acquire` therefore sees times at least as new
//! as that. A time that is newer belongs to a transition that is being published at that moment;
//! using it is as if the caller had arrived a little later.
//!
//! A success that finds in `success` nothing but the state that its permit remembers is
//! [complete](SuccessState): at that moment, recording it would have changed nothing. `success` has
//! the epoch of its own, so it does not matter which of the two words was read first.

use super::{
    fast_path_view::{Admission, FastPathView},
    packed_state::PackedState,
    success_counter::OnSuccess,
    success_state::SuccessState,
};
use crate::{
    clock::{Tick, nanos},
    state::State,
    sync::{AtomicU64, Ordering, fence},
};

pub(super) struct PublishedView {
    state: AtomicU64,
    /// The state once more, with what a success takes.
    success: AtomicU64,
    /// While the circuit is open by the system's clock: until when; 0 otherwise. It says by itself
    /// that a call is rejected, and for how long.
    open_until: AtomicU64,
    /// While the state admits no call: until when.
    rejects_until: AtomicU64,
    /// While the state is timed: how long a call may take without being slow; the maximum if no
    /// rule says what slow is.
    slow_after: AtomicU64,
    /// While the state is counted: when the newest bucket of a time window ends.
    bucket_end: AtomicU64,
}

impl PublishedView {
    /// The view of a cell without a breaker.
    pub(super) fn vacant() -> Self {
        let vacant = PackedState::vacant(0);
        Self {
            state: AtomicU64::new(vacant.to_bits()),
            success: AtomicU64::new(vacant_success(vacant).to_bits()),
            open_until: AtomicU64::new(0),
            rejects_until: AtomicU64::new(0),
            slow_after: AtomicU64::new(u64::MAX),
            bucket_end: AtomicU64::new(u64::MAX),
        }
    }

    #[inline]
    pub(super) fn state(&self) -> PackedState {
        PackedState::from_bits(self.state.load(Ordering::Acquire))
    }

    /// The state, for a caller that reads nothing else of the view. Between two such loads the
    /// compiler may keep in registers what an `Acquire` would have it read again.
    #[inline]
    pub(super) fn state_alone(&self) -> PackedState {
        PackedState::from_bits(self.state.load(Ordering::Relaxed))
    }

    /// How a success is recorded, for a caller that reads nothing else of the view, or that calls
    /// [`acquire`](Self::acquire) before.
    #[inline]
    pub(super) fn success_alone(&self) -> SuccessState {
        SuccessState::from_bits(self.success.load(Ordering::Relaxed))
    }

    /// What is read from now on is at least as new as what was read alone.
    #[inline]
    pub(super) fn acquire() {
        fence(Ordering::Acquire);
    }

    #[inline]
    pub(super) fn open_until(&self) -> Tick {
        Tick::from_nanos(self.open_until.load(Ordering::Acquire))
    }

    pub(super) fn rejects_until(&self) -> Tick {
        Tick::from_nanos(self.rejects_until.load(Ordering::Acquire))
    }

    /// Whether a call is slow that took this many nanoseconds.
    pub(super) fn is_slow(&self, nanos: u64) -> bool {
        nanos > self.slow_after.load(Ordering::Acquire)
    }

    /// Whether a rule says what slow is.
    pub(super) fn has_slow_calls(&self) -> bool {
        self.slow_after.load(Ordering::Acquire) != u64::MAX
    }

    /// When the newest bucket ends.
    #[inline]
    pub(super) fn bucket_end(&self) -> Tick {
        Tick::from_nanos(self.bucket_end.load(Ordering::Acquire))
    }

    /// Whether successes at this time still belong to the newest bucket.
    pub(super) fn is_in_newest_bucket(&self, now: Tick) -> bool {
        now.as_nanos() < self.bucket_end.load(Ordering::Acquire)
    }

    /// Publishes a view. Call it with the lock held.
    pub(super) fn publish(&self, view: &FastPathView, custom_clock: bool, spread: bool) {
        let until = match view.admission {
            Admission::NoneUntil(until) => until.as_nanos(),
            Admission::All | Admission::AskMachine => 0,
        };
        let is_open = view.state == State::Open && !custom_clock;
        store_if_changed(&self.open_until, if is_open { until } else { 0 });
        store_if_changed(&self.rejects_until, until);
        store_if_changed(&self.slow_after, view.slow_after.map_or(u64::MAX, nanos));
        store_if_changed(&self.bucket_end, view.bucket_end.map_or(u64::MAX, Tick::as_nanos));
        let state = PackedState::new(view, custom_clock);
        let success = SuccessState::new(state, view.success, spread);
        store_if_changed(&self.success, success.to_bits());
        store_if_changed(&self.state, state.to_bits());
    }

    /// Publishes another way to record a success. Call it with the lock held.
    pub(super) fn publish_success(&self, success: OnSuccess, spread: bool) {
        let success = SuccessState::new(self.state(), success, spread);
        store_if_changed(&self.success, success.to_bits());
    }

    /// Publishes that the cell has no breaker. Call it with the lock held.
    pub(super) fn vacate(&self) {
        let vacant = PackedState::vacant(self.state().epoch() + 1);
        store_if_changed(&self.open_until, 0);
        self.success.store(vacant_success(vacant).to_bits(), Ordering::Release);
        self.state.store(vacant.to_bits(), Ordering::Release);
    }
}

/// A cell without a breaker records nothing: the machine says so, behind the lock.
fn vacant_success(vacant: PackedState) -> SuccessState {
    SuccessState::new(vacant, OnSuccess::Record, false)
}

/// Skips a store that would change nothing, but would take the cache line from every other thread.
fn store_if_changed(atomic: &AtomicU64, value: u64) {
    if atomic.load(Ordering::Relaxed) != value {
        atomic.store(value, Ordering::Release);
    }
}
