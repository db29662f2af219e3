//! The service behind every candidate.

use std::{
    future::{Ready, ready},
    hint::{black_box, spin_loop},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tower::Service;

/// A request that succeeds.
pub const HEALTHY: u64 = 7;
/// A request that fails.
pub const FAIL: u64 = u64::MAX;
/// A request that succeeds after more than [`SLOWER_THAN`].
pub const SLOW: u64 = u64::MAX - 1;

/// What takes longer is a slow call: so little that the calls which are slow on purpose do not
/// take most of a measurement.
pub const SLOWER_THAN: Duration = Duration::from_micros(10);

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Number of calls that have reached an `Inner<true>` of this process.
#[must_use]
pub fn counted_calls() -> u64 {
    CALLS.load(Ordering::SeqCst)
}

/// Responds immediately with the request, or fails if the request is [`FAIL`]. `Inner<true>`
/// counts its calls; measurements use `Inner<false>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inner<const COUNTED: bool>;

/// The error of [`Inner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down;

impl<const COUNTED: bool> Service<u64> for Inner<COUNTED> {
    type Response = u64;
    type Error = Down;
    type Future = Ready<Result<u64, Down>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        if COUNTED {
            CALLS.fetch_add(1, Ordering::SeqCst);
        }
        if request < SLOW {
            return ready(Ok(black_box(request)));
        }
        ready(fail_or_be_slow(request))
    }
}

#[cold]
#[inline(never)]
fn fail_or_be_slow(request: u64) -> Result<u64, Down> {
    if request == FAIL {
        return Err(Down);
    }
    let began = Instant::now();
    while began.elapsed() <= SLOWER_THAN {
        spin_loop();
    }
    Ok(request)
}
