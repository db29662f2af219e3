use std::{error::Error as StdError, time::Duration};

use http::Response;

use crate::{
    classify::retry_after,
    error::{BoxError, Error, Rejected},
};

/// An error that can be searched for a rejection or for a network error.
///
/// `Kind` tells implementations apart; the compiler infers it. The trait is implemented for
/// everything that implements [`std::error::Error`] ([`IsError`](kind::IsError)), for tower's boxed
/// error ([`IsBoxed`](kind::IsBoxed)), and for the [`Error`] of a breaker around a boxed error
/// ([`HoldsBoxed`](kind::HoldsBoxed)). For any other error, implement it with a kind of your own:
///
/// ```
/// use tower_breaker::{Error, retry::AsCause};
///
/// /// It does not implement `std::error::Error`.
/// struct Complaint(std::io::Error);
///
/// struct Complaints;
///
/// impl AsCause<Complaints> for Error<Complaint> {
///     fn as_cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         match self {
///             Error::Rejected(rejected) => Some(rejected),
///             Error::Inner(Complaint(error)) => Some(error),
///             _ => None,
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` cannot be searched for a rejection or a network error",
    note = "implement `std::error::Error` for the error of the inner service, or \
            `tower_breaker::retry::AsCause` for `{Self}`; tower's `BoxError` works too"
)]
pub trait AsCause<Kind> {
    /// The error to search; `None` if there is nothing to search.
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)>;
}

/// The kinds of errors and responses, by which the compiler tells implementations apart. These
/// types have no values.
pub mod kind {
    /// An error that implements [`std::error::Error`].
    #[derive(Debug)]
    pub enum IsError {}

    /// `Box<dyn Error + Send + Sync>`, the error of tower's `Timeout`, `Buffer` and `LoadShed`.
    #[derive(Debug)]
    pub enum IsBoxed {}

    /// The error of a breaker around one of those.
    #[derive(Debug)]
    pub enum HoldsBoxed {}

    /// Any response. It is not searched.
    #[derive(Debug)]
    pub enum Opaque {}

    /// A response of the crate `http`. A breaker's [`Rejected`](crate::Rejected) may be in its
    /// extensions, and `Retry-After` in its headers.
    #[derive(Debug)]
    pub enum HttpResponse {}
}

#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> AsCause<kind::IsError> for E {
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self)
    }
}

impl AsCause<kind::IsBoxed> for BoxError {
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self)
    }
}

impl AsCause<kind::HoldsBoxed> for Error<BoxError> {
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(&**error),
        }
    }
}

/// A response that a retry policy can handle. Sealed: every type implements it as
/// [`Opaque`](kind::Opaque), and `http::Response` also as [`HttpResponse`](kind::HttpResponse).
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be searched for a rejection",
    note = "`RetryPolicy::http(..)` needs an `http::Response`; `RetryPolicy::new(..)` takes any"
)]
pub trait RetryResponse<Kind>: sealed::Sealed<Kind> {
    /// Whether a breaker made this response.
    #[doc(hidden)]
    fn is_rejection(&self) -> bool;

    /// How long the response asks the client to wait before the next attempt.
    #[doc(hidden)]
    fn retry_after(&self) -> Option<Duration>;
}

mod sealed {
    pub trait Sealed<Kind> {}
}

impl<T> sealed::Sealed<kind::Opaque> for T {}

impl<T> RetryResponse<kind::Opaque> for T {
    fn is_rejection(&self) -> bool {
        false
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

impl<B> sealed::Sealed<kind::HttpResponse> for Response<B> {}

impl<B> RetryResponse<kind::HttpResponse> for Response<B> {
    fn is_rejection(&self) -> bool {
        self.extensions().get::<Rejected>().is_some()
    }

    fn retry_after(&self) -> Option<Duration> {
        retry_after(self.status(), self.headers())
    }
}

/// Whether a breaker made this result: the next one or one further in.
pub(super) fn is_rejection<T, E, A, K>(result: &Result<T, E>) -> bool
where
    T: RetryResponse<A>,
    E: AsCause<K>,
{
    match result {
        Ok(response) => RetryResponse::is_rejection(response),
        Err(error) => error.as_cause().is_some_and(|cause| Rejected::find(cause).is_some()),
    }
}
