use std::future::{Ready, ready};

use super::Reject;
use crate::error::{BoxError, Rejected};

/// A rejected call is a boxed [`Rejected`], and the inner service's errors are boxed if they are
/// not yet.
///
/// It fits stacks whose error is tower's `BoxError`, such as those with a `Timeout`. The error
/// stays a `BoxError`. By default it is an [`Error<BoxError>`](crate::Error), which is not a
/// `std::error::Error`, so `?` cannot box it.
///
/// It also fits reqwest's `ClientBuilder::connector_layer`, where a breaker counts connections
/// instead of requests.
///
/// [`Rejected::find`] tells a rejection from the other errors.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsBoxError;

#[diagnostic::do_not_recommend]
impl<Request, Response, E> Reject<Request, Response, E> for RejectAsBoxError
where
    BoxError: From<E>,
{
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(rejected.into()))
    }
}
