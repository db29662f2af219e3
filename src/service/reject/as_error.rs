use std::future::{Ready, ready};

use super::Reject;
use crate::error::{Error, Rejected};

/// A rejected call is an [`Error::Rejected`], and the inner service's errors are
/// [`Error::Inner`]: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsError;

impl<Request, Response, E> Reject<Request, Response, E> for RejectAsError {
    type Error = Error<E>;
    type Future = Ready<Result<Response, Error<E>>>;

    #[inline]
    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(Error::Rejected(rejected)))
    }
}
