//! The service behind every candidate.

use std::{
    future::{Ready, ready},
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tower::Service;

/// A request that succeeds.
pub const HEALTHY: u64 = 7;
/// A request that fails.
pub const FAIL: u64 = u64::MAX;

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
        ready(if request == FAIL { Err(Down) } else { Ok(black_box(request)) })
    }
}
