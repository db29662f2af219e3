//! How a success is recorded, in one word, so that the end of a healthy call needs one atomic load.

use super::{packed_state::PackedState, success_counter::OnSuccess};

/// The breaker's [state](PackedState), with what a success of this state takes added.
///
/// Where recording one changes nothing, however long the call took, nothing is added. So a permit,
/// which remembers the state that admitted it, needs a single comparison to know that the breaker
/// is still in that state, and that a success is a no-op: this is the path of a healthy breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SuccessState(u64);

impl SuccessState {
    /// A success that is not slow changes nothing; but a slow one does, or each is counted for the
    /// metrics.
    const SKIPS: u64 = 1 << PackedState::SUCCESS_SHIFT;
    /// A success takes the lock.
    const RECORDS: u64 = 2 << PackedState::SUCCESS_SHIFT;
    /// A success that is not slow may be counted without the lock.
    const DEFERS: u64 = 4 << PackedState::SUCCESS_SHIFT;
    /// Threads have met while they counted, so each has a counter of its own.
    const SPREAD: u64 = 8 << PackedState::SUCCESS_SHIFT;
    /// Any success is counted on the one counter of all threads, and nowhere else, whatever the
    /// time is.
    const AT_ONCE: u64 = 16 << PackedState::SUCCESS_SHIFT;

    pub(super) const fn new(state: PackedState, success: OnSuccess, spread: bool) -> Self {
        const TAKES_TIME: u64 = PackedState::TIMED | PackedState::METERED;
        let state = state.to_bits();
        let flags = match success {
            OnSuccess::Skip if state & TAKES_TIME == 0 => 0,
            OnSuccess::Skip => Self::SKIPS,
            OnSuccess::Defer if spread => Self::DEFERS | Self::SPREAD,
            OnSuccess::Defer if state & (TAKES_TIME | PackedState::BUCKETED) == 0 => {
                Self::DEFERS | Self::AT_ONCE
            }
            OnSuccess::Defer => Self::DEFERS,
            OnSuccess::Record => Self::RECORDS,
        };
        Self(state | flags)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether a success of a call that this state admitted is a no-op: no lock, no time and no
    /// count.
    #[inline]
    pub(super) const fn is_quiet(self, admitted: PackedState) -> bool {
        self.0 == admitted.to_bits()
    }

    /// Whether any success of a call that this state admitted may be counted without the lock and
    /// without reading the time, on the one counter of all threads, and nowhere else.
    #[inline]
    pub(super) const fn is_counted_at_once(self, admitted: PackedState) -> bool {
        self.0 ^ admitted.to_bits() == Self::DEFERS | Self::AT_ONCE
    }

    #[inline]
    pub(super) const fn is_same_epoch(self, admitted: PackedState) -> bool {
        (self.0 ^ admitted.to_bits()) >> PackedState::EPOCH_SHIFT == 0
    }

    /// The state, which looks at none of the bits that are added here.
    #[inline]
    const fn state(self) -> PackedState {
        PackedState::from_bits(self.0)
    }

    #[inline]
    pub(super) const fn epoch(self) -> u64 {
        self.state().epoch()
    }

    /// Whether a success that is not slow changes nothing.
    #[inline]
    pub(super) const fn skips(self) -> bool {
        self.0 & (Self::DEFERS | Self::RECORDS) == 0
    }

    /// Whether a success changes nothing, however long it took.
    #[inline]
    pub(super) const fn skips_untimed(self) -> bool {
        self.0 & (Self::DEFERS | Self::RECORDS | PackedState::TIMED) == 0
    }

    /// Whether a success that is not slow may be counted without the lock.
    #[inline]
    pub(super) const fn defers(self) -> bool {
        self.0 & Self::DEFERS != 0
    }

    /// Whether any success may be counted without the lock, and without reading the time.
    #[inline]
    pub(super) const fn defers_untimed(self) -> bool {
        const TAKES_TIME: u64 = PackedState::TIMED | PackedState::BUCKETED;
        self.0 & (Self::DEFERS | TAKES_TIME) == Self::DEFERS
    }

    /// Whether each thread counts on a counter of its own.
    #[inline]
    pub(super) const fn is_spread(self) -> bool {
        self.0 & Self::SPREAD != 0
    }

    /// Whether the time of each call's admission is needed.
    #[inline]
    pub(super) const fn is_timed(self) -> bool {
        self.state().is_timed()
    }

    /// Whether there is a time window.
    #[inline]
    pub(super) const fn is_bucketed(self) -> bool {
        self.0 & PackedState::BUCKETED != 0
    }

    #[inline]
    pub(super) const fn has_custom_clock(self) -> bool {
        self.state().has_custom_clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{breaker::fast_path_view::FastPathView, clock::Tick, state::State};

    const VIEW: FastPathView = FastPathView::QUIET;

    const ALL: [OnSuccess; 3] = [OnSuccess::Skip, OnSuccess::Defer, OnSuccess::Record];

    fn admitted(view: &FastPathView) -> PackedState {
        PackedState::new(view, false)
    }

    fn success(view: &FastPathView, spread: bool) -> SuccessState {
        SuccessState::new(admitted(view), view.success, spread)
    }

    #[test]
    fn a_success_is_quiet_only_if_it_is_skipped_and_takes_no_time_and_no_count() {
        let is_quiet = |view: &FastPathView| {
            [false, true].iter().all(|spread| success(view, *spread).is_quiet(admitted(view)))
        };
        assert!(is_quiet(&VIEW));
        assert!(is_quiet(&FastPathView { bucket_end: Some(Tick::NEVER), ..VIEW }));
        for not in [
            FastPathView { success: OnSuccess::Record, ..VIEW },
            FastPathView { success: OnSuccess::Defer, ..VIEW },
            FastPathView { timed: true, ..VIEW },
            FastPathView { metered: true, ..VIEW },
        ] {
            assert!(!is_quiet(&not), "{not:?}");
        }
    }

    #[test]
    fn a_success_is_quiet_only_in_the_state_that_admitted_it() {
        for other in [
            admitted(&FastPathView { epoch: 6, ..VIEW }),
            admitted(&FastPathView { epoch: 8, ..VIEW }),
            admitted(&FastPathView { state: State::MetricsOnly, ..VIEW }),
            PackedState::SPENT,
        ] {
            assert!(!success(&VIEW, false).is_quiet(other), "{other:?}");
        }
        let vacant = PackedState::vacant(7);
        let success = SuccessState::new(vacant, OnSuccess::Record, false);
        assert!(!success.is_quiet(vacant) && !success.skips() && !success.defers());
    }

    #[test]
    fn a_success_is_skipped_deferred_or_recorded_whatever_else_there_is() {
        for (timed, metered, spread) in
            [(false, false, false), (true, false, false), (false, true, true), (true, true, true)]
        {
            let of = |on| success(&FastPathView { success: on, timed, metered, ..VIEW }, spread);
            assert_eq!(ALL.map(|on| of(on).skips()), [true, false, false]);
            assert_eq!(ALL.map(|on| of(on).defers()), [false, true, false]);
            assert_eq!(ALL.map(|on| of(on).skips_untimed()), [!timed, false, false]);
            assert_eq!(ALL.map(|on| of(on).epoch()), [7; 3]);
            assert_eq!(of(OnSuccess::Defer).is_spread(), spread);
        }
    }

    #[test]
    fn only_a_success_that_needs_no_time_is_counted_untimed() {
        let counts = |view: &FastPathView| success(view, false).defers_untimed();
        let view = FastPathView { success: OnSuccess::Defer, ..VIEW };
        assert!(counts(&view));
        assert!(!counts(&VIEW));
        assert!(!counts(&FastPathView { timed: true, ..view }));
        assert!(!counts(&FastPathView { bucket_end: Some(Tick::NEVER), ..view }));
    }

    #[test]
    fn only_a_success_of_the_same_epoch_that_needs_neither_time_nor_thread_is_counted_at_once() {
        let view = FastPathView { success: OnSuccess::Defer, ..VIEW };
        let by = admitted(&VIEW);
        assert!(success(&view, false).is_counted_at_once(by));
        assert!(!success(&view, true).is_counted_at_once(by));
        for other in [
            VIEW,
            FastPathView { success: OnSuccess::Record, ..VIEW },
            FastPathView { epoch: 8, ..view },
            FastPathView { epoch: 6, ..view },
            FastPathView { timed: true, ..view },
            FastPathView { metered: true, ..view },
            FastPathView { bucket_end: Some(Tick::NEVER), ..view },
        ] {
            assert!(!success(&other, false).is_counted_at_once(by), "{other:?}");
            let own = admitted(&other);
            let is_plain = !other.timed && !other.metered && other.bucket_end.is_none();
            let counts = other.success == OnSuccess::Defer && is_plain;
            assert_eq!(success(&other, false).is_counted_at_once(own), counts, "{other:?}");
        }
        assert!(!success(&view, false).is_counted_at_once(PackedState::SPENT));
    }
}
