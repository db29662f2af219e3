//! The fast-path view's flags in one word, so that a healthy call needs one atomic load.

use super::{
    admission::Ticket,
    fast_path_view::{Admission, FastPathView},
};
use crate::{error::Refusal, state::State};

/// From the low end: the state (3 bits), the admission (2), five flags, five bits that are zero
/// here and hold the flags of a [`SuccessState`](super::success_state::SuccessState), the epoch
/// (49).
///
/// The epoch grows by one with each transition and with each update of the configuration, so 49
/// bits never overflow in practice. A permit remembers the state that admitted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedState(u64);

impl PackedState {
    const STATE: u64 = 0b111;
    const ADMISSION: u64 = 0b11 << 3;
    const ALL: u64 = 0;
    const NONE: u64 = 1 << 3;
    const ASK_MACHINE: u64 = 2 << 3;
    /// A slow-call rule or `abandoned_after` needs the time of each call's admission.
    pub(super) const TIMED: u64 = 1 << 5;
    /// There is a time window: which bucket a success belongs to depends on the time.
    pub(super) const BUCKETED: u64 = 1 << 6;
    /// The user supplied the clock, which is behind the lock.
    pub(super) const CUSTOM_CLOCK: u64 = 1 << 7;
    /// A call that is dropped without an outcome takes work: it is a probe, timed or metered.
    const TRACKS_DROP: u64 = 1 << 8;
    /// Each call is counted for the metrics, also one whose outcome changes nothing.
    pub(super) const METERED: u64 = 1 << 9;
    /// The first of the bits that are zero here.
    pub(super) const SUCCESS_SHIFT: u32 = 10;
    pub(super) const EPOCH_SHIFT: u32 = 15;

    /// The state of a permit that has been recorded: it matches no state of a breaker, and its
    /// drop takes no work.
    pub(super) const SPENT: Self = Self(0);

    /// The state of a cell without a breaker: it admits no call and matches no permit.
    pub(super) const fn vacant(epoch: u64) -> Self {
        Self(epoch << Self::EPOCH_SHIFT | Self::ASK_MACHINE)
    }

    pub(super) fn new(view: &FastPathView, custom_clock: bool) -> Self {
        let admission = match view.admission {
            Admission::All => Self::ALL,
            Admission::NoneUntil(_) => Self::NONE,
            Admission::AskMachine => Self::ASK_MACHINE,
        };
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        Self(
            state_bits(view.state)
                | admission
                | flag(view.timed, Self::TIMED)
                | flag(view.bucket_end.is_some(), Self::BUCKETED)
                | flag(custom_clock, Self::CUSTOM_CLOCK)
                | flag(
                    view.timed || view.metered || view.state == State::HalfOpen,
                    Self::TRACKS_DROP,
                )
                | flag(view.metered, Self::METERED)
                | view.epoch << Self::EPOCH_SHIFT,
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

    /// The state as a call sees it that metrics do not count.
    #[allow(dead_code, reason = "used for checks, and where breakers have keys")]
    pub(super) const fn unmetered(self) -> Self {
        Self(self.0 & !Self::METERED)
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

    #[inline]
    pub(super) const fn epoch(self) -> u64 {
        self.0 >> Self::EPOCH_SHIFT
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
    use crate::breaker::success_counter::OnSuccess;

    const VIEW: FastPathView = FastPathView::QUIET;

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
            let packed = PackedState::new(&FastPathView { state, ..VIEW }, true);
            assert_eq!((packed.state(), packed.epoch()), (state, 7));
        }
    }

    #[test]
    fn how_a_success_is_recorded_is_no_part_of_it() {
        for success in [OnSuccess::Skip, OnSuccess::Defer, OnSuccess::Record] {
            let view = FastPathView { success, ..VIEW };
            assert_eq!(PackedState::new(&view, false), PackedState::new(&VIEW, false));
        }
    }

    #[test]
    fn only_a_timed_call_a_counted_one_and_a_probe_take_work_when_dropped() {
        let tracks = |view: &FastPathView| PackedState::new(view, false).tracks_drop();
        assert!(!tracks(&VIEW));
        assert!(tracks(&FastPathView { timed: true, ..VIEW }));
        assert!(tracks(&FastPathView { metered: true, ..VIEW }));
        assert!(tracks(&FastPathView { state: State::HalfOpen, ..VIEW }));
        assert!(!PackedState::SPENT.tracks_drop());
    }

    #[test]
    fn neither_a_vacant_cell_nor_a_spent_permit_looks_like_a_probe_or_an_open_circuit() {
        let vacant = PackedState::vacant(7);
        assert!(!vacant.admits_all() && !vacant.admits_none());
        assert_eq!(vacant.epoch(), 7);
        assert_ne!(PackedState::SPENT.state(), State::HalfOpen);
    }
}
