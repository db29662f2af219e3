//! The standard library's clock. On Windows, it includes the time for which the machine was
//! suspended.

use std::{sync::LazyLock, time::Instant};

use crate::clock::tick::nanos;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn system() -> u64 {
    nanos(ORIGIN.elapsed())
}

pub(super) fn coarse() -> Option<u64> {
    None
}
