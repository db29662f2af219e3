//! The clocks of Linux. All of them exist since version 2.6.39, and are read without a system call.

use rustix::time::{ClockId, Timespec, clock_gettime};

pub(super) fn system() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// The time of the last tick of the kernel's timer, which ticks each 1 to 10 ms.
#[inline]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such clock")]
pub(super) fn coarse() -> Option<u64> {
    Some(nanos(clock_gettime(ClockId::MonotonicCoarse)))
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "these clocks begin at zero")]
fn nanos(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
