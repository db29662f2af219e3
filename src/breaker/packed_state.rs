//! The machine's face in one atomic word, so that a healthy call needs no lock.

use super::machine::{Admission, FastPathView, Ticket};
use crate::{error::Refusal, state::State};

/// From the low end: the state (3 bits), the admission (2), four flags, the generation (55).
///
/// A generation takes a transition of the circuit to grow, so 55 bits outlast the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedState(pub(crate) u64);

impl PackedState {
    const STATE: u64 = 0b111;
    const ADMISSION: u64 = 0b11 << 3;
    const ALL: u64 = 0;
    const NONE: u64 = 1 << 3;
    const ASK: u64 = 2 << 3;
    /// A quick success changes nothing, or only the totals of time windows.
    const QUIET: u64 = 1 << 5;
    /// Whether a call is slow matters: the time of its admission is needed.
    const TIMED: u64 = 1 << 6;
    /// There are time windows: successes are counted.
    const COUNTED: u64 = 1 << 7;
    /// The clock is one of the user's own, and stands behind the lock.
    const OWN_CLOCK: u64 = 1 << 8;
    const GENERATION_SHIFT: u32 = 9;

    /// Of a permit whose probe has been recorded: no state that admits probes.
    pub(crate) const SPENT: Self = Self(0);

    /// Of a cell that no breaker has: admits nothing, matches no permit.
    pub(crate) const fn vacant(generation: u64) -> Self {
        Self(generation << Self::GENERATION_SHIFT | Self::ASK)
    }

    pub(crate) fn new(face: &FastPathView, own_clock: bool) -> Self {
        let admission = match face.admission {
            Admission::All => Self::ALL,
            Admission::NoneUntil(_) => Self::NONE,
            Admission::Ask => Self::ASK,
        };
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        Self(
            state_bits(face.state)
                | admission
                | flag(face.quiet, Self::QUIET)
                | flag(face.slow_after.is_some(), Self::TIMED)
                | flag(face.bucket_end.is_some(), Self::COUNTED)
                | flag(own_clock, Self::OWN_CLOCK)
                | face.generation << Self::GENERATION_SHIFT,
        )
    }

    #[inline]
    pub(crate) const fn admits_all(self) -> bool {
        self.0 & Self::ADMISSION == Self::ALL
    }

    #[inline]
    pub(crate) const fn admits_none(self) -> bool {
        self.0 & Self::ADMISSION == Self::NONE
    }

    #[inline]
    pub(crate) const fn is_timed(self) -> bool {
        self.0 & Self::TIMED != 0
    }

    #[inline]
    pub(crate) const fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    #[inline]
    pub(crate) const fn is_counted(self) -> bool {
        self.0 & Self::COUNTED != 0
    }

    #[inline]
    pub(crate) const fn has_own_clock(self) -> bool {
        self.0 & Self::OWN_CLOCK != 0
    }

    /// Whether a success needs neither a time nor a count: the path of a healthy breaker.
    #[inline]
    pub(crate) const fn is_silent(self) -> bool {
        self.0 & (Self::QUIET | Self::TIMED | Self::COUNTED) == Self::QUIET
    }

    #[inline]
    pub(crate) const fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    #[inline]
    pub(crate) const fn same_generation(self, other: Self) -> bool {
        (self.0 ^ other.0) >> Self::GENERATION_SHIFT == 0
    }

    #[inline]
    pub(crate) const fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            4 => State::Disabled,
            _ => State::MetricsOnly,
        }
    }

    pub(crate) const fn ticket(self, probe: Option<u64>) -> Ticket {
        Ticket { generation: self.generation(), probe }
    }

    pub(crate) const fn refusal(self) -> Refusal {
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
