//! Complete calls, and loops of them.

use std::{
    hint::{black_box, spin_loop},
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::{CandidateService, FAIL, Requests};

/// Results of the calls of a loop. The measured loops count them as well, which proves that every
/// call was made and keeps the compiler from removing any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls that the inner service answered.
    pub answered: u64,
    /// Calls that the inner service failed.
    pub failed: u64,
    /// Calls that the breaker rejected.
    pub rejected: u64,
}

/// Makes calls with these requests, `times` times.
///
/// It is never inlined, so that profilers can find it by name.
#[inline(never)]
pub fn drive<S: CandidateService>(service: &mut S, requests: &Requests, times: u64) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..times {
        // Hides the requests and their number from the optimizer.
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

/// One complete call. There is no runtime to wait for a wakeup, so a pending future (a peer's
/// asynchronous lock that another thread holds) is polled again.
// Inlined into the loop, as an `await` is part of the future around it.
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

/// Spins for a while, then yields the core.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    #[cold]
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(128) { std::thread::yield_now() } else { spin_loop() }
    }
}

/// Makes failing calls until one is rejected, and returns the number of calls before it. Returns
/// `None` if the circuit has not opened after `limit` calls.
pub fn failures_until_rejected<S: CandidateService>(service: &mut S, limit: u64) -> Option<u64> {
    let mut rejects = |_: &u64| call(service, FAIL).is_err_and(|error| S::is_rejection(&error));
    (0..=limit).find(&mut rejects)
}
