//! The source of time.
//!
//! A breaker uses two clocks: a monotonic one, by which it decides, and the wall clock, with which
//! a snapshot tells a later process when the circuit opened. By default it reads both from the
//! machine ([`SystemClock`]). Tests advance time by hand with [`ManualClock`], or follow tokio's
//! paused time with [`TokioClock`].
//!
//! ```
//! use std::time::Duration;
//! use tower_breaker::{Breaker, State, clock::ManualClock};
//!
//! let clock = ManualClock::new();
//! let breaker = Breaker::builder("payments").clock(clock.clone()).build()?;
//! for _ in 0..5 {
//!     breaker.try_acquire()?.failure();
//! }
//! assert_eq!(breaker.state(), State::Open);
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(breaker.state(), State::HalfOpen);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// # How the system's clock is read
//
// There is one timeline, that of the operating system's monotonic clock, with the time for which
// the machine was suspended where there is such a clock (`sources`). Readings of it differ in
// price and trust (`system`):
//
// | reading | reads | used for |
// |---|---|---|
// | `tick` | the operating system's clock | whatever takes the lock, timers |
// | `nanos_until` | the coarse clock: memory, and no counter | rejections without the lock |
// | `is_before` | the coarse clock, near the time the counter | successes in a time window |
// | `counter_tick` | the processor's counter | timed calls without the lock |
//
// Only the first is stored in a state machine, and so decides when a circuit half-opens, a probe
// times out, a ramp ends, a waiting caller is admitted, or a bucket of a time window is over.
//
// The counter can begin anew lower after a suspend, on another host, or from a snapshot of the
// machine; it can differ from processor to processor. So it only measures the time since the last
// reading of the operating system's clock, the anchor, and for no longer than 10 ms: if the result
// is earlier than the anchor, equal to it, or 10 ms later, the system's clock is read instead, and
// is the new anchor. Whatever the counter does, the result is less than 10 ms ahead. It could still
// stand within these 10 ms, so three more things read the system's clock: whatever takes the lock,
// a call that seems to have taken no time at all, and each 1024th success in a time window.
//
// A process that is moved to another machine with its memory may find the system's clock behind the
// anchor. From then on, the difference is added to it.
//
// The coarse clock is behind by a tick of the kernel's timer. It only says whether the anchor is
// older than 10 ms. If not, and the anchor is more than a second before the end of the time for
// which calls are rejected, the call is rejected, and the time left is counted from the anchor. For
// the end of a bucket, 20 ms are enough: where the coarse clock stands for longer, because the
// hypervisor withholds the processor that advances it, a success counts for an earlier bucket. The
// coarse clock stands during a suspend, so after one, all this may go on for 10 ms.
//
// Neither `Condvar` nor tokio's timers count the time of a suspend. So whatever waits for a time
// looks at the clock at least once a second.
//
// The wall clock is trusted nowhere. Where it may have jumped, this is allowed for by
// `breaker/restore` (open times, states set by hand, the age of a snapshot),
// `write_behind/maintenance` (expiry) and `store/tiered/merge` (which snapshot is the newer one).

mod manual;
mod sources;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod tick;
mod time_source;
mod tokio;

use std::time::{Duration, SystemTime};

pub use self::{manual::ManualClock, system::SystemClock, tokio::TokioClock};
pub(crate) use self::{
    sources::wall,
    system::Glance,
    tick::{Reading, Tick, nanos},
    time_source::TimeSource,
};

/// What waits for a time looks at the clock at least this often: sleeping threads, and tokio's
/// timers, do not count the time for which the machine is suspended.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A source of time.
///
/// A breaker reads a custom clock while its lock is held, so reading it must be fast, and must not
/// call the breaker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a clock",
    note = "use `SystemClock` (the default), `TokioClock::new()` or `ManualClock::new()`, or \
            implement `Clock`"
)]
pub trait Clock: Send + Sync + 'static {
    /// The time since a fixed origin of the clock's choice. It should never go back: if it does,
    /// breakers continue from the latest time that they have seen, so that no call is rejected for
    /// longer than the open time, and 100 ms. Readings of different threads may differ by these
    /// 100 ms.
    fn now(&self) -> Duration;

    /// The wall clock. It may jump: a breaker reads it only to write and restore snapshots and to
    /// date its events.
    fn wall(&self) -> SystemTime {
        wall()
    }
}
