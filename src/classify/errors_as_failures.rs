use super::{
    classifier::Classify,
    error::{outcome_of_error, returned},
};
use crate::outcome::Outcome;

/// Every `Err` is a failure, and every `Ok` is a success: the default.
///
/// Errors that say nothing about the dependency are ignored: [rejections](crate::Rejected) by
/// another breaker, and [errors of the request itself](super::is_request_error). (A response that
/// another breaker has made is an `Ok` like any other. The classifiers of responses recognize it.)
///
/// To look into an error, its type must be `'static`. For one that borrows, there is
/// [`AnyErrorAsFailure`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorsAsFailures;

impl<T, E: 'static> Classify<T, E> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => outcome_of_error(error),
        }
    }
}

/// Like [`ErrorsAsFailures`], for errors of any type, also one that borrows. It cannot look into
/// them, so an error of the request itself is a failure too.
///
/// A rejection by another breaker is ignored if it is the [`Error`](crate::Error) that the breaker
/// has just returned on the same thread.
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
            Ok(_) => Outcome::Success,
            Err(_) if returned::is_rejection::<E>() => Outcome::Ignore,
            Err(_) => Outcome::failure(),
        }
    }
}
