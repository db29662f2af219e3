use super::{classifier::Classify, error::outcome_of_error};
use crate::outcome::Outcome;

/// Every `Err` is a failure, and every `Ok` is a success: the default.
///
/// Errors that say nothing about the dependency are ignored: [rejections](crate::Rejected) by
/// another breaker, and [errors of the request itself](super::is_request_error).
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
