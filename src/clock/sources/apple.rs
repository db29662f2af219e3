//! The clock of Apple's systems. Their `CLOCK_MONOTONIC` goes on while the machine sleeps; the
//! standard library's `Instant` does not.

use rustix::time::{ClockId, clock_gettime};

#[expect(clippy::cast_sign_loss, reason = "this clock begins at zero")]
pub(super) fn system() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

pub(super) fn coarse() -> Option<u64> {
    None
}
