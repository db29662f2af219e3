use http::Response;

use super::Classify;
use crate::Outcome;

/// An HTTP response with a status of 500 to 599 is a failure, and so is an `Err`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerErrorsAsFailures;

impl<B, E> Classify<Response<B>, E> for ServerErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match result {
            Ok(response) if !response.status().is_server_error() => Outcome::Success,
            Ok(_) | Err(_) => Outcome::failure(),
        }
    }
}
