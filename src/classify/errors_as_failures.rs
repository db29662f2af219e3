use std::any::type_name;

use super::{
    classifier::Classify,
    error::{
        outcome_of_error, returned,
        returned_response::{self, Watch},
    },
};
use crate::outcome::Outcome;

/// Every `Err` is a failure, and every `Ok` is a success: the default.
///
/// Errors that say nothing about the dependency are ignored: [rejections](crate::Rejected) by
/// another breaker, and [errors of the request itself](super::is_request_error).
///
/// A response is an `Ok` like any other, whatever its status: this classifier takes any type, and
/// so it cannot look into one. It ignores the response with which another breaker has answered a
/// rejected call if that comes as it is, in the same poll, and straight to a breaker with this
/// classifier, not to one within [`map`](super::map) or in a closure. (What answers then in place
/// of that breaker, with a response of the same type, is taken for it.) Around a service that
/// returns HTTP responses, choose a classifier of responses, as `.http()` and `.grpc()` do. With
/// this one, rejections are ignored wherever they come from, and all other responses are successes:
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, classify::StatusClassifier};
///
/// let layer = CircuitBreakerLayer::builder("gateway")
///     .classify(StatusClassifier::new().success(100..=999))
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// To look into an error, its type must be `'static`. For one that borrows, there is
/// [`AnyErrorAsFailure`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorsAsFailures;

impl<T, E: 'static> Classify<T, E> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => {
                #[cfg(feature = "http")]
                super::grpc_notice::warn_once_if_tonic_type::<T>();
                outcome_of_response::<T>()
            }
            Err(error) => outcome_of_error(error),
        }
    }
}

/// Like [`ErrorsAsFailures`], for errors of any type, also one that borrows. It cannot look into
/// them, so an error of the request itself is a failure too.
///
/// A rejection by another breaker is ignored if it is the [`Error`](crate::Error) that the breaker
/// has just returned on the same thread, within a call of the outer breaker: of its layer, of
/// [`Breaker::call_with`](crate::Breaker::call_with) or of
/// [`Permit::call_with`](crate::Permit::call_with). It is a failure if it comes from another task
/// or thread, and if its outcome is recorded with [`Permit::finish`](crate::Permit::finish). If the
/// work of a call drops such a rejection and returns an error of the same type that another task
/// has got, that error is taken for the rejection. Where this matters, classify with a closure.
///
/// ```
/// use std::future::ready;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, classify::AnyErrorAsFailure};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::builder("parser").classify(AnyErrorAsFailure).build()?;
/// let input = String::from("not a number");
/// let parse = service_fn(|text: &'static str| {
///     let borrowed = input.as_str();
///     ready(text.parse::<u32>().map_err(|_| borrowed))
/// });
/// layer.layer(parse).oneshot("x").await.unwrap_err();
/// assert_eq!(layer.breaker().stats().consecutive_failures(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyErrorAsFailure;

impl<T, E> Classify<T, E> for AnyErrorAsFailure {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => outcome_of_response::<T>(),
            Err(_) if returned::is_rejection::<E>() => Outcome::Ignore,
            Err(_) => Outcome::failure(),
        }
    }
}

/// Before a poll whose result `C` classifies: if that is one of these, what is a response of
/// another breaker is noted until the returned value is dropped.
// The names of both types begin with that of the module. They are constants, as the answer is.
#[inline]
pub(crate) fn watch<C, T>() -> Watch {
    Watch::begin::<T>(type_name::<C>().starts_with(module_path!()))
}

/// Whatever the response, it is a success, unless a breaker has answered a rejected call with it.
#[inline]
fn outcome_of_response<T>() -> Outcome {
    if returned_response::is_answer::<T>() { Outcome::Ignore } else { Outcome::Success }
}
