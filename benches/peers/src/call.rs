//! Whole calls, and loops of them.

use std::{
    hint::{black_box, spin_loop},
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::{CandidateService, FAIL};

/// What came of the calls of a loop. It is counted in the measured loops, too: so each of them
/// proves that it did what it says, and none of it can be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Answered by the inner service.
    pub answered: u64,
    /// Failed by the inner service.
    pub failed: u64,
    /// Not let through.
    pub rejected: u64,
}

/// Makes ten calls with these requests, `times` times.
///
/// It stands alone (`inline(never)`), so that profilers find it by its name.
#[inline(never)]
pub fn drive<S: CandidateService>(service: &mut S, requests: &[u64; 10], times: u64) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..times {
        // The compiler knows neither the requests nor how many they are.
        let requests: &[u64] = black_box(requests);
        for &request in requests {
            match call(service, request) {
                Ok(response) => {
                    black_box(response);
                    seen.answered += 1;
                }
                Err(error) => {
                    let error = black_box(error);
                    if S::is_rejection(&error) {
                        seen.rejected += 1;
                    } else {
                        seen.failed += 1;
                    }
                }
            }
        }
    }
    seen
}

/// One whole call. Nobody is waited for without a runtime: what is pending (the asynchronous
/// lock of a peer, held by another thread) is polled again.
// Into the loop, as an `await` is into the future that it stands in.
#[expect(clippy::inline_always, reason = "the loop is what is measured, not a call of this")]
#[inline(always)]
fn call<S: CandidateService>(service: &mut S, request: u64) -> Result<u64, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut patience = Patience::default();
    loop {
        match service.poll_ready(&mut cx) {
            Poll::Ready(Ok(())) => break,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => patience.wait(),
        }
    }
    let mut future = pin!(service.call(request));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(result) => return result,
            Poll::Pending => patience.wait(),
        }
    }
}

/// Spins for a while, then leaves the core to others.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    #[cold]
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(128) { std::thread::yield_now() } else { spin_loop() }
    }
}

/// Lets every call fail until the circuit opens. `None` if it has not after `limit` calls.
pub fn failures_until_rejected<S: CandidateService>(service: &mut S, limit: u64) -> Option<u64> {
    let mut rejects = |_: &u64| call(service, FAIL).is_err_and(|error| S::is_rejection(&error));
    (0..=limit).find(&mut rejects)
}
