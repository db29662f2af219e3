use std::{any::type_name, fmt, marker::PhantomData};

use super::inspect::{AsCause, RetryResponse, is_rejection};
use crate::{classify::Classify, outcome::Outcome};

/// Decides which results are retried. Sealed: [`Network`](super::Network),
/// [`Database`](super::Database) and [`Classified`] implement it.
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

/// Retries results that a [`Classify`] takes for failures or throttled calls. Created by
/// [`RetryPolicy::new`](super::RetryPolicy::new) and
/// [`RetryPolicy::http`](super::RetryPolicy::http).
///
/// `K` is the kind of the error, and `A` that of the response; the compiler infers both.
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
        let outcome = self.classify.classify(result);
        if outcome.retry_after().is_some() {
            return Some(outcome);
        }
        // The response may ask for a delay that the classifier does not know.
        let response = result.as_ref().ok();
        Some(outcome.with_retry_after(response.and_then(RetryResponse::retry_after)))
    }
}

impl<C: Clone, K, A> Clone for Classified<C, K, A> {
    fn clone(&self) -> Self {
        Self::new(self.classify.clone())
    }
}

impl<C, K, A> fmt::Debug for Classified<C, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Classified").field(&format_args!("{}", type_name::<C>())).finish()
    }
}
