//! The future of a call through a keyed circuit breaker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::unbroken::UnbrokenCall;
use crate::{
    breaker::nesting::key_mark::KeyMark,
    classify::watch,
    service::{
        future::{ResponseFuture, pass},
        record_when::{OnResponse, RecordWhen},
    },
};

pin_project! {
    /// The future of a call through a
    /// [`KeyedCircuitBreaker`](crate::keyed::KeyedCircuitBreaker).
    ///
    /// Dropping it before it is ready [abandons](crate::Permit#abandoned-calls) the call. If the
    /// inner future panics, the call is a failure, and the panic propagates.
    pub struct KeyedResponseFuture<F, C, J, O = OnResponse> {
        #[pin]
        call: KeyedCallState<F, C, J, O>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum KeyedCallState<F, C, J, O> {
        /// By the breaker of its key, or rejected by it.
        WithBreaker {
            #[pin]
            future: ResponseFuture<F, C, J, O>,
        },
        Unbroken {
            #[pin]
            future: F,
            call: UnbrokenCall,
            classify: C,
            record_when: O,
        },
        /// Not recorded.
        Passed {
            #[pin]
            future: F,
            mark: Option<KeyMark>,
        },
    }
}

impl<F, C, J, O> KeyedResponseFuture<F, C, J, O> {
    #[inline]
    pub(super) fn with_breaker(future: ResponseFuture<F, C, J, O>) -> Self {
        Self { call: KeyedCallState::WithBreaker { future } }
    }

    #[inline]
    pub(super) fn unbroken(future: F, call: UnbrokenCall, classify: C, record_when: O) -> Self {
        Self { call: KeyedCallState::Unbroken { future, call, classify, record_when } }
    }

    #[inline]
    pub(super) fn passed(future: F, mark: Option<KeyMark>) -> Self {
        Self { call: KeyedCallState::Passed { future, mark } }
    }
}

impl<F, C, J, O, T, E, Rejection> Future for KeyedResponseFuture<F, C, J, O>
where
    F: Future<Output = Result<T, E>>,
    J: Future<Output = Result<T, Rejection>>,
    O: RecordWhen<C, T, E>,
    Rejection: From<E>,
{
    type Output = Result<O::Response, Rejection>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::WithBreaker { future } => future.poll(cx),
            CallProjection::Unbroken { future, call, classify, record_when } => {
                let _watch = watch::<C, T>();
                let result = ready!(call.run(|| future.poll(cx)));
                let classify = || record_when.outcome_of_response(classify, &result);
                if let Some(outcome) = call.fail_on_panic(classify) {
                    call.record(outcome);
                }
                Poll::Ready(pass(result.map(O::pass_unrecorded)))
            }
            CallProjection::Passed { future, mark } => {
                let result = match mark {
                    Some(mark) => mark.run(|| future.poll(cx)),
                    None => future.poll(cx),
                };
                Poll::Ready(pass(ready!(result).map(O::pass_unrecorded)))
            }
        }
    }
}

impl<F, C, J, O> fmt::Debug for KeyedResponseFuture<F, C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedResponseFuture").finish_non_exhaustive()
    }
}
