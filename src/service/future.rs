//! The future of a call through a circuit breaker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    inner_call,
    record_when::{OnResponse, RecordWhen},
};
use crate::{
    breaker::{Permit, nesting::note_passed_error},
    classify::{note_passed_answer, watch},
};

pin_project! {
    /// The future of a call through a [`CircuitBreaker`](crate::CircuitBreaker).
    ///
    /// Dropping it before it is ready [abandons](crate::Permit#abandoned-calls) the call. If the
    /// inner future panics, the call is a failure, and the panic propagates. When the inner future
    /// is ready, it is dropped.
    ///
    /// # Panics
    ///
    /// If it is polled again after it was ready with the result of the inner service.
    pub struct ResponseFuture<F, C, J, O = OnResponse> {
        #[pin]
        call: CallState<F, C, J, O>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum CallState<F, C, J, O> {
        Admitted {
            #[pin]
            future: F,
            permit: Permit,
            classify: C,
            record_when: O,
        },
        Rejected {
            #[pin]
            future: J,
        },
        /// The inner future was ready. What is dropped later is then nothing, which the compiler
        /// sees: so a future that nothing else refers to stays in registers.
        Ended,
    }
}

impl<F, C, J, O> ResponseFuture<F, C, J, O> {
    #[inline]
    pub(super) fn admitted(future: F, permit: Permit, classify: C, record_when: O) -> Self {
        Self { call: CallState::Admitted { future, permit, classify, record_when } }
    }

    #[inline]
    pub(super) fn rejected(future: J) -> Self {
        Self { call: CallState::Rejected { future } }
    }
}

impl<F, C, J, O, T, E, Rejection> Future for ResponseFuture<F, C, J, O>
where
    F: Future<Output = Result<T, E>>,
    J: Future<Output = Result<T, Rejection>>,
    O: RecordWhen<C, T, E>,
    Rejection: From<E>,
{
    type Output = Result<O::Response, Rejection>;

    #[expect(clippy::inline_always, reason = "a few instructions around the inner poll")]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = self.project().call;
        match call.as_mut().project() {
            CallProjection::Admitted { future, permit, classify, record_when } => {
                let _watch = watch::<C, T>();
                let result = ready!(inner_call::run(permit, || future.poll(cx)));
                let record = |permit: &mut _| record_when.record(classify, result, permit);
                let result = inner_call::end(permit, record);
                call.set(CallState::Ended);
                Poll::Ready(pass(result))
            }
            CallProjection::Rejected { future } => {
                let response = ready!(future.poll(cx))?;
                note_passed_answer::<T, O::Response>();
                Poll::Ready(Ok(O::pass_unrecorded(response)))
            }
            CallProjection::Ended => fail_polled_again(),
        }
    }
}

// Not pending for ever instead: the compiler would make a loop of every poll.
#[cold]
#[inline(never)]
fn fail_polled_again() -> ! {
    panic!("`ResponseFuture` polled after completion")
}

/// Passes a result on.
#[inline]
pub(super) fn pass<T, E, Rejection: From<E>>(result: Result<T, E>) -> Result<T, Rejection> {
    match result {
        Ok(response) => Ok(response),
        Err(error) => {
            note_passed_error::<E, Rejection>();
            Err(error.into())
        }
    }
}

impl<F, C, J, O> fmt::Debug for ResponseFuture<F, C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = matches!(self.call, CallState::Rejected { .. });
        f.debug_struct("ResponseFuture").field("rejected", &rejected).finish_non_exhaustive()
    }
}
