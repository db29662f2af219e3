use std::{fmt, marker::PhantomData, time::Duration};

use super::inspect::{AsCause, RetryResponse, is_rejection};
use crate::{classify::Classify, outcome::Outcome};

/// Says which results are worth another try. Sealed: [`Network`](super::Network) and
/// [`Classified`] are all there are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decide on retries of the request `{Request}` with the result \
               `Result<{T}, {E}>`",
    label = "no retry condition for this request and this result",
    note = "`RetryPolicy::network()` needs an `http::Request` and an `http::Response`; for another \
            client, such as reqwest's, use `RetryPolicy::new(..)` with a classifier or a closure \
            `|result: &Result<{T}, {E}>| -> Outcome`"
)]
pub trait RetryWhen<Request, T, E>: sealed::Sealed {
    /// `None` for a result that is returned as it is and counts as nothing: a rejection, or the
    /// result of a request that must not be sent twice.
    #[doc(hidden)]
    fn outcome(&self, request: &Request, result: &Result<T, E>) -> Option<Outcome>;
}

pub(super) mod sealed {
    pub trait Sealed {}
}

/// Tries again what a [`Classify`] calls a failure or throttled. Made by
/// [`RetryPolicy::new`](super::RetryPolicy::new) and
/// [`RetryPolicy::http`](super::RetryPolicy::http).
///
/// `K` is the kind of the error, and `A` that of the answer; the compiler finds both.
pub struct Classified<C, K, A> {
    classify: C,
    kinds: PhantomData<fn() -> (K, A)>,
}

impl<C, K, A> Classified<C, K, A> {
    pub(super) const fn new(classify: C) -> Self {
        Self { classify, kinds: PhantomData }
    }
}

impl<C, K, A> sealed::Sealed for Classified<C, K, A> {}

impl<C, K, A, Request, T, E> RetryWhen<Request, T, E> for Classified<C, K, A>
where
    C: Classify<T, E>,
    T: RetryResponse<A>,
    E: AsCause<K>,
{
    fn outcome(&self, _: &Request, result: &Result<T, E>) -> Option<Outcome> {
        if is_rejection(result) {
            return None;
        }
        let asks = result.as_ref().ok().and_then(RetryResponse::retry_after);
        Some(asking(self.classify.classify(result), asks))
    }
}

/// The outcome with this time to wait, if it failed and has none of its own.
fn asking(outcome: Outcome, retry_after: Option<Duration>) -> Outcome {
    match outcome {
        Outcome::Failure { retry_after: None } => Outcome::Failure { retry_after },
        Outcome::Throttled { retry_after: None } => Outcome::Throttled { retry_after },
        says => says,
    }
}

impl<C: Clone, K, A> Clone for Classified<C, K, A> {
    fn clone(&self) -> Self {
        Self::new(self.classify.clone())
    }
}

impl<C, K, A> fmt::Debug for Classified<C, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classified").finish_non_exhaustive()
    }
}
