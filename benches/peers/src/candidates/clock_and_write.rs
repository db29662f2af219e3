//! What a call of a time window cannot do without: it reads the clock, to know its bucket, and
//! writes its result to memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use quanta::Clock;
use tower::Service;

use crate::{CandidateService, Down, Inner, Rule, Scenario};

/// Processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// The inner service, with one read of the processor's counter and one write to a cache line of the
/// clone's own for each call.
#[derive(Debug)]
pub(super) struct ClockAndWrite<S> {
    inner: S,
    clock: Clock,
    line: Arc<Line>,
}

/// No two threads write to one line.
impl<S: Clone> Clone for ClockAndWrite<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), clock: self.clock.clone(), line: Arc::default() }
    }
}

/// `None` unless the rule is on a time window.
pub(super) fn service<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<ClockAndWrite<Inner<COUNTED>>> {
    let service = || ClockAndWrite { inner, clock: Clock::new(), line: Arc::default() };
    (scenario.rule == Rule::TimeWindow).then(service)
}

impl<S: Service<u64>> Service<u64> for ClockAndWrite<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: u64) -> S::Future {
        self.line.0.store(self.clock.raw(), Ordering::Relaxed);
        self.inner.call(request)
    }
}

impl<const COUNTED: bool> CandidateService for ClockAndWrite<Inner<COUNTED>> {
    fn is_rejection(Down: &Down) -> bool {
        false
    }
}
