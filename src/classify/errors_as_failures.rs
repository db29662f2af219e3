use super::classifier::Classify;
use crate::outcome::Outcome;

/// Every `Err` is a failure, and every `Ok` is a success: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorsAsFailures;

impl<T, E> Classify<T, E> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::failure(),
        }
    }
}
