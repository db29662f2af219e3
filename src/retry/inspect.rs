use std::{error::Error as StdError, time::Duration};

use http::Response;

use crate::{
    classify::retry_after,
    error::{Error, Rejected},
};

type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that can be looked into, for a rejection or for a connection that was reset.
///
/// `Kind` is there for the compiler, which finds it on its own. What is here already: everything
/// that implements [`std::error::Error`] ([`IsError`](kind::IsError)), tower's boxed error
/// ([`IsBoxed`](kind::IsBoxed)), and the [`Error`] of a breaker around a boxed error
/// ([`HoldsBoxed`](kind::HoldsBoxed)). For any other error, implement it with a kind of your own:
///
/// ```
/// use tower_breaker::{Error, retry::AsCause};
///
/// /// Which does not implement `std::error::Error`.
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
    /// The error, or what it has to show. `None` where there is nothing to look into.
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)>;
}

/// The kinds of errors and of answers, by which the compiler tells one implementation from
/// another. Only names: nobody makes a value of them.
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

    /// Any answer. It is not looked into.
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

/// What can be read from an answer. Sealed: everything implements it as
/// [`Opaque`](kind::Opaque), and `http::Response` as [`HttpResponse`](kind::HttpResponse) too.
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be searched for a rejection",
    note = "`RetryPolicy::http(..)` needs an `http::Response`; `RetryPolicy::new(..)` takes any"
)]
pub trait RetryResponse<Kind>: sealed::Sealed<Kind> {
    /// Whether a breaker made it.
    #[doc(hidden)]
    fn is_rejection(&self) -> bool;

    /// How long it asks its caller to wait before the next attempt.
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

/// Whether the breaker made this result, or one below it did.
pub(super) fn is_rejection<T, E, A, K>(result: &Result<T, E>) -> bool
where
    T: RetryResponse<A>,
    E: AsCause<K>,
{
    match result {
        Ok(answer) => RetryResponse::is_rejection(answer),
        Err(error) => error.as_cause().is_some_and(|cause| Rejected::find(cause).is_some()),
    }
}
