//! The fast-path view's flags in one word, so that a healthy call needs one atomic load.

use super::{
    admission::Ticket,
    fast_path_view::{Admission, FastPathView},
    success_counter::OnSuccess,
};
use crate::{error::Refusal, state::State};

/// From the low end: the state (3 bits), the admission (2), nine flags, the epoch (50).
///
/// The epoch grows by one with each transition and with each update of the configuration, so 50
/// bits never overflow in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedState(u64);

impl PackedState {
    const STATE: u64 = 0b111;
    const ADMISSION: u64 = 0b11 << 3;
    const ALL: u64 = 0;
    const NONE: u64 = 1 << 3;
    const ASK_MACHINE: u64 = 2 << 3;
    /// A success that is not slow changes nothing.
    const SKIPS: u64 = 1 << 5;
    /// A slow-call rule or `abandoned_after` needs the time of each call's admission.
    const TIMED: u64 = 1 << 6;
    /// There is a time window: which bucket a success belongs to depends on the time.
    const BUCKETED: u64 = 1 << 7;
    /// The user supplied the clock, which is behind the lock.
    const CUSTOM_CLOCK: u64 = 1 << 8;
    /// A call that is dropped without an outcome takes work: it is a probe, timed or metered.
    const TRACKS_DROP: u64 = 1 << 9;
    /// Recording a success changes nothing, however long it took, nor is it counted.
    const QUIET: u64 = 1 << 10;
    /// A success that is not slow may be counted without the lock.
    const DEFERS: u64 = 1 << 11;
    /// Threads have met while they counted, so each has a counter of its own.
    const SPREAD: u64 = 1 << 12;
    /// Each call is counted for the metrics, also one whose outcome changes nothing.
    const METERED: u64 = 1 << 13;
    const EPOCH_SHIFT: u32 = 14;

    /// The state of a permit that has been recorded: it matches no state of a breaker, and its
    /// drop takes no work.
    pub(super) const SPENT: Self = Self(0);

    /// The state of a cell without a breaker: it admits no call and matches no permit.
    pub(super) const fn vacant(epoch: u64) -> Self {
        Self(epoch << Self::EPOCH_SHIFT | Self::ASK_MACHINE)
    }

    pub(super) fn new(view: &FastPathView, custom_clock: bool, spread: bool) -> Self {
        let admission = match view.admission {
            Admission::All => Self::ALL,
            Admission::NoneUntil(_) => Self::NONE,
            Admission::AskMachine => Self::ASK_MACHINE,
        };
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let skips = view.success == OnSuccess::Skip;
        Self(
            state_bits(view.state)
                | admission
                | flag(skips, Self::SKIPS)
                | flag(view.timed, Self::TIMED)
                | flag(view.bucket_end.is_some(), Self::BUCKETED)
                | flag(custom_clock, Self::CUSTOM_CLOCK)
                | flag(
                    view.timed || view.metered || view.state == State::HalfOpen,
                    Self::TRACKS_DROP,
                )
                | flag(skips && !view.timed && !view.metered, Self::QUIET)
                | flag(view.metered, Self::METERED)
                | flag(view.success == OnSuccess::Defer, Self::DEFERS)
                | flag(spread, Self::SPREAD)
                | view.epoch << Self::EPOCH_SHIFT,
        )
    }

    /// The same state, with another way to record a success.
    pub(super) const fn with_success(self, success: OnSuccess) -> Self {
        let flags = match success {
            OnSuccess::Skip if self.is_timed() || self.is_metered() => Self::SKIPS,
            OnSuccess::Skip => Self::SKIPS | Self::QUIET,
            OnSuccess::Defer => Self::DEFERS,
            OnSuccess::Record => 0,
        };
        Self(self.0 & !(Self::SKIPS | Self::QUIET | Self::DEFERS) | flags)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn admits_all(self) -> bool {
        self.0 & Self::ADMISSION == Self::ALL
    }

    #[inline]
    pub(super) const fn admits_none(self) -> bool {
        self.0 & Self::ADMISSION == Self::NONE
    }

    /// Whether every call is admitted, and takes work only when it ends with an outcome.
    #[inline]
    pub(super) const fn admits_all_untracked(self) -> bool {
        self.0 & (Self::ADMISSION | Self::TIMED | Self::METERED) == Self::ALL
    }

    /// Whether the time of each call's admission is needed.
    #[inline]
    pub(super) const fn is_timed(self) -> bool {
        self.0 & Self::TIMED != 0
    }

    /// Whether each call is counted for the metrics.
    #[inline]
    pub(super) const fn is_metered(self) -> bool {
        self.0 & Self::METERED != 0
    }

    /// The same for a call that is not counted.
    #[cfg(any(feature = "health-check", feature = "keyed"))]
    pub(super) const fn unmetered(self) -> Self {
        Self(self.0 & !Self::METERED)
    }

    /// Whether there is a time window.
    #[inline]
    pub(super) const fn is_bucketed(self) -> bool {
        self.0 & Self::BUCKETED != 0
    }

    #[inline]
    pub(super) const fn has_custom_clock(self) -> bool {
        self.0 & Self::CUSTOM_CLOCK != 0
    }

    /// Whether it takes work to drop a call of this state that has no outcome.
    #[inline]
    pub(super) const fn tracks_drop(self) -> bool {
        self.0 & Self::TRACKS_DROP != 0
    }

    /// Whether a success that is not slow changes nothing.
    #[inline]
    pub(super) const fn skips_success(self) -> bool {
        self.0 & Self::SKIPS != 0
    }

    /// Whether a success changes nothing, however long it took.
    #[inline]
    pub(super) const fn skips_success_untimed(self) -> bool {
        self.0 & (Self::SKIPS | Self::TIMED) == Self::SKIPS
    }

    /// Whether a success that is not slow may be counted without the lock.
    #[inline]
    pub(super) const fn defers_success(self) -> bool {
        self.0 & Self::DEFERS != 0
    }

    /// Whether any success may be counted without the lock, and without reading the time.
    #[inline]
    pub(super) const fn defers_success_untimed(self) -> bool {
        self.0 & (Self::DEFERS | Self::TIMED | Self::BUCKETED) == Self::DEFERS
    }

    /// Whether any success of a call that this state admitted may be counted without the lock and
    /// without reading the time, on the one counter of all threads, and nowhere else.
    #[inline]
    pub(super) const fn counts_success_of(self, admitted: Self) -> bool {
        const FLAGS: u64 = PackedState::DEFERS
            | PackedState::TIMED
            | PackedState::BUCKETED
            | PackedState::METERED
            | PackedState::SPREAD;
        let other_epoch = (self.0 ^ admitted.0) >> Self::EPOCH_SHIFT;
        // One branch for all.
        other_epoch | ((self.0 & FLAGS) ^ Self::DEFERS) == 0
    }

    /// Whether each thread counts on a counter of its own.
    #[inline]
    pub(super) const fn is_spread(self) -> bool {
        self.0 & Self::SPREAD != 0
    }

    /// Whether recording a success is a no-op, however long the call took: no lock, no time and no
    /// count. This is the path of a healthy breaker.
    #[cfg(test)]
    pub(super) const fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    /// The state that a permit remembers. It equals a state of the breaker only if the two are of
    /// one epoch and the latter is quiet, so that a success needs a single comparison.
    #[inline]
    pub(super) const fn for_permit(self) -> Self {
        Self(self.0 | Self::QUIET)
    }

    #[inline]
    pub(super) const fn epoch(self) -> u64 {
        self.0 >> Self::EPOCH_SHIFT
    }

    #[inline]
    pub(super) const fn is_same_epoch(self, other: Self) -> bool {
        (self.0 ^ other.0) >> Self::EPOCH_SHIFT == 0
    }

    #[inline]
    pub(super) const fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            4 => State::Disabled,
            _ => State::MetricsOnly,
        }
    }

    pub(super) const fn ticket(self, probe: Option<u64>) -> Ticket {
        Ticket { epoch: self.epoch(), probe }
    }

    pub(super) const fn refusal(self) -> Refusal {
        Refusal::new(self.state())
    }
}

const fn state_bits(state: State) -> u64 {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
        State::ForcedOpen => 3,
        State::Disabled => 4,
        State::MetricsOnly => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Tick;

    const VIEW: FastPathView = FastPathView {
        epoch: 7,
        state: State::Closed,
        admission: Admission::All,
        success: OnSuccess::Skip,
        timed: false,
        slow_after: None,
        bucket_end: None,
        metered: false,
    };

    #[test]
    fn every_state_and_the_epoch_survive_packing() {
        for state in [
            State::Closed,
            State::Open,
            State::HalfOpen,
            State::ForcedOpen,
            State::Disabled,
            State::MetricsOnly,
        ] {
            let packed = PackedState::new(&FastPathView { state, ..VIEW }, true, true);
            assert_eq!((packed.state(), packed.epoch()), (state, 7));
        }
    }

    #[test]
    fn a_success_is_quiet_only_if_it_is_skipped_and_not_timed() {
        let is_quiet = |view: &FastPathView| PackedState::new(view, false, false).is_quiet();
        assert!(is_quiet(&VIEW));
        assert!(!is_quiet(&FastPathView { success: OnSuccess::Record, ..VIEW }));
        assert!(!is_quiet(&FastPathView { success: OnSuccess::Defer, ..VIEW }));
        assert!(!is_quiet(&FastPathView { timed: true, ..VIEW }));
        assert!(!is_quiet(&FastPathView { metered: true, ..VIEW }));
    }

    #[test]
    fn another_way_to_record_a_success_changes_nothing_else() {
        for (timed, metered) in [(false, false), (true, false), (false, true), (true, true)] {
            for success in [OnSuccess::Skip, OnSuccess::Defer, OnSuccess::Record] {
                let view = FastPathView { success, timed, metered, ..VIEW };
                let expected = PackedState::new(&view, false, true);
                for before in [OnSuccess::Skip, OnSuccess::Defer, OnSuccess::Record] {
                    let before = FastPathView { success: before, ..view };
                    let state = PackedState::new(&before, false, true).with_success(success);
                    assert_eq!(state, expected);
                }
            }
        }
    }

    #[test]
    fn only_a_success_that_needs_no_time_is_counted_untimed() {
        let counts =
            |view: &FastPathView| PackedState::new(view, false, false).defers_success_untimed();
        let view = FastPathView { success: OnSuccess::Defer, ..VIEW };
        assert!(counts(&view));
        assert!(!counts(&VIEW));
        assert!(!counts(&FastPathView { timed: true, ..view }));
        assert!(!counts(&FastPathView { bucket_end: Some(Tick::NEVER), ..view }));
    }

    #[test]
    fn only_a_success_of_the_same_epoch_that_needs_neither_time_nor_thread_is_counted_at_once() {
        let packed = |view: &FastPathView, spread| PackedState::new(view, false, spread);
        let view = FastPathView { success: OnSuccess::Defer, ..VIEW };
        let admitted = packed(&VIEW, false).for_permit();
        assert!(packed(&view, false).counts_success_of(admitted));
        assert!(!packed(&view, true).counts_success_of(admitted));
        for other in [
            VIEW,
            FastPathView { success: OnSuccess::Record, ..VIEW },
            FastPathView { epoch: 8, ..view },
            FastPathView { epoch: 6, ..view },
            FastPathView { timed: true, ..view },
            FastPathView { metered: true, ..view },
            FastPathView { bucket_end: Some(Tick::NEVER), ..view },
        ] {
            assert!(!packed(&other, false).counts_success_of(admitted), "{other:?}");
        }
        assert!(!packed(&view, false).counts_success_of(PackedState::SPENT));
    }

    #[test]
    fn the_state_that_a_permit_remembers_equals_a_quiet_one_and_no_other() {
        let quiet = PackedState::new(&VIEW, false, false);
        assert_eq!(quiet.for_permit(), quiet);
        for success in [OnSuccess::Record, OnSuccess::Defer] {
            let state = PackedState::new(&FastPathView { success, ..VIEW }, false, false);
            assert_ne!(state.for_permit(), state);
            assert_ne!(state.for_permit(), quiet);
        }
    }

    #[test]
    fn only_a_timed_call_a_counted_one_and_a_probe_take_work_when_dropped() {
        let tracks = |view: &FastPathView| PackedState::new(view, false, false).tracks_drop();
        assert!(!tracks(&VIEW));
        assert!(tracks(&FastPathView { timed: true, ..VIEW }));
        assert!(tracks(&FastPathView { metered: true, ..VIEW }));
        assert!(tracks(&FastPathView { state: State::HalfOpen, ..VIEW }));
        assert!(!PackedState::SPENT.tracks_drop());
    }

    #[test]
    fn neither_a_vacant_cell_nor_a_spent_permit_looks_like_a_probe_or_an_open_circuit() {
        let vacant = PackedState::vacant(7);
        assert!(!vacant.admits_all() && !vacant.admits_none() && !vacant.is_quiet());
        assert_eq!(vacant.epoch(), 7);
        assert_ne!(PackedState::SPENT.state(), State::HalfOpen);
        assert!(!PackedState::SPENT.is_quiet());
    }
}
