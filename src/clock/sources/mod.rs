//! What the machine has to tell the time with. Tests replace all of it by a [`trap`].

mod counter;
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "linux.rs")]
#[cfg_attr(target_vendor = "apple", path = "apple.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android", target_vendor = "apple")),
    path = "other.rs"
)]
mod os;
#[cfg(test)]
pub(crate) mod trap;

use std::time::SystemTime;

/// The time by the operating system's monotonic clock, in nanoseconds since an origin of its own.
/// It never goes back on one machine.
/// It includes the time for which the machine was suspended where there is a clock that does.
pub(super) fn system() -> u64 {
    #[cfg(test)]
    if let Some(trap) = trap::get() {
        return trap.system();
    }
    os::system()
}

/// A clock that is a few milliseconds behind and much cheaper to read: nanoseconds since an origin
/// of its own, without the time for which the machine was suspended. `None` if there is none.
#[inline]
pub(super) fn coarse() -> Option<u64> {
    #[cfg(test)]
    if let Some(trap) = trap::get() {
        return Some(trap.coarse());
    }
    os::coarse()
}

/// The processor's counter in nanoseconds, or what stands in for it. It may begin
/// anew, jump, or differ from processor to processor.
///
/// The first call calibrates it, which takes some milliseconds, and 200 at most.
#[inline]
pub(super) fn counter() -> u64 {
    #[cfg(test)]
    if let Some(trap) = trap::get() {
        return trap.counter();
    }
    counter::read()
}

/// The processor's counter; `None` if it is not calibrated.
pub(super) fn calibrated_counter() -> Option<u64> {
    #[cfg(test)]
    if let Some(trap) = trap::get() {
        return Some(trap.counter());
    }
    counter::read_if_calibrated()
}

/// The wall clock.
pub(crate) fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(trap) = trap::get() {
        return trap.wall();
    }
    SystemTime::now()
}
