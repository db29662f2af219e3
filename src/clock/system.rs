//! The system's clock at three prices. [The module](super) explains when which one is read.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use super::{
    Clock, sources,
    tick::{Tick, nanos},
};

/// Counters and coarse clocks are trusted for this long, by their own measure.
const TRUST: u64 = nanos(Duration::from_millis(10));

/// A time that ends sooner than this is measured with the operating system's clock.
///
/// Far more than [`TRUST`] and the coarse clock's delay: that clock also stands while the
/// hypervisor withholds the processor that advances it.
const NEAR: u64 = nanos(Duration::from_secs(1));

/// A time that is this far from the anchor has not come while the coarse clock, which may be behind
/// by a tick of 10 ms, says that the anchor is younger than [`TRUST`].
const FAR: u64 = 2 * TRUST;

/// The machine's clocks: the default.
///
/// The monotonic time is the operating system's, with the time for which the machine was suspended
/// where the system has such a clock (Linux, Android, macOS and iOS, Windows).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A reading of the coarse clock, if there is one. It is taken before all else, because nothing has
/// to be kept in registers then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance(Option<u64>);

/// The last reading of the operating system's clock, and what else was read with it.
///
/// The fields are written one by one. Whatever mixture a reader sees, `system` is a time that has
/// passed, and everything else is compared with it.
#[repr(align(64))]
struct Anchor {
    system: AtomicU64,
    /// Read before `system`, and written after it: its age is at least that of the reading.
    coarse: AtomicU64,
    /// What to add to the counter for the time.
    offset: AtomicU64,
}

static ANCHOR: Anchor =
    Anchor { system: AtomicU64::new(0), coarse: AtomicU64::new(0), offset: AtomicU64::new(0) };

/// What to add to the operating system's clock: how far it has gone back since the start of the
/// process. It does on another host, if the process was moved there with its memory.
static GONE_BACK: AtomicU64 = AtomicU64::new(0);

fn read_system() -> Tick {
    Tick::at(sources::system().saturating_add(GONE_BACK.load(Ordering::Relaxed)))
}

impl Anchor {
    #[inline]
    fn system(&self) -> Tick {
        Tick::from_nanos(self.system.load(Ordering::Relaxed))
    }

    /// Reads all clocks. Returns the time by the operating system's.
    #[cold]
    #[inline(never)]
    fn renew(&self) -> Tick {
        let coarse = sources::coarse();
        let now = read_system();
        let counter = sources::calibrated_counter();
        // Readings of other threads may be newer.
        self.system.fetch_max(now.as_nanos(), Ordering::Release);
        if let Some(counter) = counter {
            self.offset.store(now.as_nanos().wrapping_sub(counter), Ordering::Relaxed);
        }
        if let Some(coarse) = coarse {
            self.coarse.fetch_max(coarse, Ordering::Release);
        }
        now
    }

    /// Has the time continue from the anchor if the operating system's clock is before it. A clock
    /// that is read after the anchor is not earlier, unless it has gone back.
    #[cold]
    #[inline(never)]
    fn check(&self) -> Tick {
        let before = GONE_BACK.load(Ordering::Relaxed);
        let anchor = self.system.load(Ordering::Acquire);
        let now = Tick::at(sources::system().saturating_add(before)).as_nanos();
        let gap = anchor.saturating_sub(now);
        if gap == 0 {
            return Tick::from_nanos(now);
        }
        // Of several threads that notice it, one corrects it.
        let after = before.saturating_add(gap);
        let corrects = Ordering::Relaxed;
        if GONE_BACK.compare_exchange(before, after, corrects, corrects).is_ok()
            && let Some(coarse) = sources::coarse()
        {
            self.coarse.store(coarse, Ordering::Release);
        }
        self.renew()
    }
}

impl SystemClock {
    /// The time by the operating system's clock.
    pub(crate) fn tick() -> Tick {
        let now = read_system();
        let age = now.as_nanos().wrapping_sub(ANCHOR.system().as_nanos());
        // The other clocks are checked whenever this one is read and they may have gone astray.
        match age {
            ..TRUST => now,
            _ if age.cast_signed() > 0 => ANCHOR.renew(),
            _ => ANCHOR.check(),
        }
    }

    /// The time by the processor's counter, which is not relied upon: it may be 10 ms early or
    /// late, or late for as long as the counter stands and [`tick`](Self::tick) is not called.
    #[inline]
    pub(crate) fn counter_tick() -> Tick {
        let now = sources::counter().wrapping_add(ANCHOR.offset.load(Ordering::Relaxed));
        let age = now.wrapping_sub(ANCHOR.system().as_nanos());
        // An age of 0 is suspicious too: so reads a counter that stands.
        if age.wrapping_sub(1) < TRUST - 1 { Tick::from_nanos(now) } else { ANCHOR.renew() }
    }

    /// Like [`counter_tick`](Self::counter_tick), at the end of a call that was admitted at that
    /// time. Where the counter has not moved meanwhile, it is checked.
    #[inline]
    pub(crate) fn counter_tick_after(admitted: Tick) -> Tick {
        let now = Self::counter_tick();
        if now == admitted { Self::checked_tick() } else { now }
    }

    #[cold]
    #[inline(never)]
    fn checked_tick() -> Tick {
        Self::tick()
    }

    /// Whether that time is still to come: by the coarse clock, unless it is near or that clock
    /// says too little. Then by the [counter](Self::counter_tick).
    ///
    /// The time is asked for again after each reading, because nothing has to be kept in registers
    /// then.
    #[inline]
    pub(crate) fn is_before(then: impl Fn() -> Tick) -> bool {
        // Where it is near, the coarse clock is not read in vain.
        (Self::is_far_from_anchor(then()) && Self::is_well_before(&then))
            || Self::is_before_by_counter(then())
    }

    #[inline]
    fn is_far_from_anchor(then: Tick) -> bool {
        let left = then.as_nanos().wrapping_sub(ANCHOR.system().as_nanos());
        // What has passed wraps to a negative number.
        left.wrapping_sub(FAR).cast_signed() > 0
    }

    #[inline]
    fn is_well_before(then: impl Fn() -> Tick) -> bool {
        let Some(now) = sources::coarse() else { return false };
        // Read first: the system's time is at least as new then.
        let coarse = ANCHOR.coarse.load(Ordering::Acquire);
        now.wrapping_sub(coarse) < TRUST && Self::is_far_from_anchor(then())
    }

    #[inline(never)]
    fn is_before_by_counter(then: Tick) -> bool {
        Self::counter_tick() < then
    }

    /// Reads the coarse clock, for [`nanos_until`](Self::nanos_until).
    #[inline]
    pub(crate) fn glance() -> Glance {
        Glance(sources::coarse())
    }

    /// What is left until then, in nanoseconds, if that is more than a second. It may be some
    /// milliseconds too long, but is not longer than it was at a time that was
    /// [noted](Self::note).
    #[inline]
    pub(crate) fn nanos_until_far(then: Tick, glance: Glance) -> Option<u64> {
        let coarse = ANCHOR.coarse.load(Ordering::Acquire);
        if glance.0?.wrapping_sub(coarse) >= TRUST {
            return None;
        }
        Self::nanos_until_far_lately(then)
    }

    /// What was left until then, in nanoseconds, when the system's clock was last read, if that was
    /// more than a second. It reads no clock.
    #[inline]
    pub(crate) fn nanos_until_far_lately(then: Tick) -> Option<u64> {
        let left = then.as_nanos().wrapping_sub(ANCHOR.system().as_nanos());
        // One comparison for both bounds: what has passed wraps to a negative number.
        (left.wrapping_sub(NEAR).cast_signed() > 0).then_some(left)
    }

    /// What is left until then, in nanoseconds; as above if that is more than a second.
    #[inline]
    pub(crate) fn nanos_until(then: Tick, glance: Glance) -> u64 {
        Self::nanos_until_far(then, glance).unwrap_or_else(|| Self::exact_nanos_until(then))
    }

    #[cold]
    #[inline(never)]
    fn exact_nanos_until(then: Tick) -> u64 {
        then.nanos_since(Self::tick())
    }

    /// Notes a reading of [`tick`](Self::tick): from now on, no estimate is earlier.
    pub(crate) fn note(now: Tick) {
        ANCHOR.system.fetch_max(now.as_nanos(), Ordering::Release);
    }

    /// Calibrates the counter, which takes up to 200 ms once, before a call has to.
    pub(crate) fn calibrate() {
        sources::counter();
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        Self::tick().since(Tick::at(0))
    }

    fn wall(&self) -> SystemTime {
        sources::wall()
    }
}
