use std::fmt;

/// Makes the request that the next attempt sends. Sealed: [`Cloned`] and [`ClonedWith`] are all
/// there are.
pub trait CloneRequest<Request>: sealed::CloneRequest<Request> {}

impl<C: sealed::CloneRequest<Request>, Request> CloneRequest<Request> for C {}

pub(super) mod sealed {
    pub trait CloneRequest<Request> {
        /// `None` for a request that can be made once only.
        fn clone_request(&self, request: &Request) -> Option<Request>;
    }
}

/// Clones requests with `Clone`: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cloned;

impl<Request: Clone> sealed::CloneRequest<Request> for Cloned {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// Clones requests with a closure. Made by
/// [`RetryPolicy::clone_request_with`](super::RetryPolicy::clone_request_with).
#[derive(Clone, Copy)]
pub struct ClonedWith<F>(pub(super) F);

impl<F, Request> sealed::CloneRequest<Request> for ClonedWith<F>
where
    F: Fn(&Request) -> Option<Request>,
{
    fn clone_request(&self, request: &Request) -> Option<Request> {
        self.0(request)
    }
}

impl<F> fmt::Debug for ClonedWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClonedWith").finish_non_exhaustive()
    }
}
