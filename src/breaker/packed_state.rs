//! The fast-path view's flags in one word, so that a healthy call needs one atomic load.

use super::{
    admission::Ticket,
    fast_path_view::{Admission, FastPathView},
};
use crate::{error::Refusal, state::State};

/// From the low end: the state (3 bits), the admission (2), six flags, the generation (53).
///
/// The generation grows by one with each transition, so 53 bits never overflow in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedState(u64);

impl PackedState {
    const STATE: u64 = 0b111;
    const ADMISSION: u64 = 0b11 << 3;
    const ALL: u64 = 0;
    const NONE: u64 = 1 << 3;
    const ASK_MACHINE: u64 = 2 << 3;
    /// A success that is not slow needs no lock.
    const LOCK_FREE_SUCCESS: u64 = 1 << 5;
    /// A slow-call rule or `abandoned_after` needs the time of each call's admission.
    const TIMED: u64 = 1 << 6;
    /// There is a time window: successes have to be counted.
    const COUNTED: u64 = 1 << 7;
    /// The user supplied the clock, which is behind the lock.
    const CUSTOM_CLOCK: u64 = 1 << 8;
    /// A call that is dropped without an outcome takes work: it is a probe, or it is timed.
    const TRACKS_DROP: u64 = 1 << 9;
    /// Recording a success changes nothing: the flags above say so together.
    const QUIET: u64 = 1 << 10;
    const GENERATION_SHIFT: u32 = 11;

    /// The state of a permit that has been recorded: it matches no state of a breaker, and its
    /// drop takes no work.
    pub(super) const SPENT: Self = Self(0);

    /// The state of a cell without a breaker: it admits no call and matches no permit.
    pub(super) const fn vacant(generation: u64) -> Self {
        Self(generation << Self::GENERATION_SHIFT | Self::ASK_MACHINE)
    }

    pub(super) fn new(view: &FastPathView, custom_clock: bool) -> Self {
        let admission = match view.admission {
            Admission::All => Self::ALL,
            Admission::NoneUntil(_) => Self::NONE,
            Admission::AskMachine => Self::ASK_MACHINE,
        };
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let quiet = view.lock_free_success && !view.timed && view.bucket_end.is_none();
        Self(
            state_bits(view.state)
                | admission
                | flag(view.lock_free_success, Self::LOCK_FREE_SUCCESS)
                | flag(view.timed, Self::TIMED)
                | flag(view.bucket_end.is_some(), Self::COUNTED)
                | flag(custom_clock, Self::CUSTOM_CLOCK)
                | flag(view.timed || view.state == State::HalfOpen, Self::TRACKS_DROP)
                | flag(quiet, Self::QUIET)
                | view.generation << Self::GENERATION_SHIFT,
        )
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

    /// Whether every call is admitted, and without reading the time.
    #[inline]
    pub(super) const fn admits_all_untimed(self) -> bool {
        self.0 & (Self::ADMISSION | Self::TIMED) == Self::ALL
    }

    /// Whether the time of each call's admission is needed.
    #[inline]
    pub(super) const fn is_timed(self) -> bool {
        self.0 & Self::TIMED != 0
    }

    /// Whether successes have to be counted.
    #[inline]
    pub(super) const fn is_counted(self) -> bool {
        self.0 & Self::COUNTED != 0
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

    /// Whether a success that is not slow needs no lock.
    #[inline]
    pub(super) const fn has_lock_free_success(self) -> bool {
        self.0 & Self::LOCK_FREE_SUCCESS != 0
    }

    /// Whether recording a success is a no-op: no lock, no time and no count. This is the path
    /// of a healthy breaker.
    #[inline]
    pub(super) const fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    /// The state that a permit remembers. It equals a state of the breaker only if the two are of
    /// one generation and the latter is quiet, so that a success needs a single comparison.
    #[inline]
    pub(super) const fn for_permit(self) -> Self {
        Self(self.0 | Self::QUIET)
    }

    #[inline]
    pub(super) const fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    #[inline]
    pub(super) const fn is_same_generation(self, other: Self) -> bool {
        (self.0 ^ other.0) >> Self::GENERATION_SHIFT == 0
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
        Ticket { generation: self.generation(), probe }
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
        generation: 7,
        state: State::Closed,
        admission: Admission::All,
        lock_free_success: true,
        timed: false,
        slow_after: None,
        bucket_end: None,
    };

    #[test]
    fn every_state_and_the_generation_survive_packing() {
        for state in [
            State::Closed,
            State::Open,
            State::HalfOpen,
            State::ForcedOpen,
            State::Disabled,
            State::MetricsOnly,
        ] {
            let packed = PackedState::new(&FastPathView { state, ..VIEW }, true);
            assert_eq!((packed.state(), packed.generation()), (state, 7));
        }
    }

    #[test]
    fn only_a_success_without_a_lock_a_time_and_a_count_is_skipped() {
        let is_quiet = |view: &FastPathView| PackedState::new(view, false).is_quiet();
        assert!(is_quiet(&VIEW));
        assert!(!is_quiet(&FastPathView { lock_free_success: false, ..VIEW }));
        assert!(!is_quiet(&FastPathView { timed: true, ..VIEW }));
        assert!(!is_quiet(&FastPathView { bucket_end: Some(Tick::NEVER), ..VIEW }));
    }

    #[test]
    fn only_a_timed_call_and_a_probe_take_work_when_dropped() {
        let tracks = |view: &FastPathView| PackedState::new(view, false).tracks_drop();
        assert!(!tracks(&VIEW));
        assert!(tracks(&FastPathView { timed: true, ..VIEW }));
        assert!(tracks(&FastPathView { state: State::HalfOpen, ..VIEW }));
        assert!(!PackedState::SPENT.tracks_drop());
    }

    #[test]
    fn neither_a_vacant_cell_nor_a_spent_permit_looks_like_a_probe_or_an_open_circuit() {
        let vacant = PackedState::vacant(7);
        assert!(!vacant.admits_all() && !vacant.admits_none() && !vacant.is_quiet());
        assert_eq!(vacant.generation(), 7);
        assert_ne!(PackedState::SPENT.state(), State::HalfOpen);
        assert!(!PackedState::SPENT.is_quiet());
    }
}
