use std::{any::type_name, fmt};

/// Copies a request for another attempt. Sealed: [`Cloned`] and [`ClonedWith`] implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot clone the request `{Request}` for another attempt",
    note = "say how: `.clone_request_with(|request: &{Request}| ..)` returns `None` for a request \
            that can be sent only once; for reqwest, pass `reqwest::Request::try_clone`"
)]
pub trait CloneRequest<Request>: sealed::Sealed {
    /// `None` for a request that can be sent only once.
    #[doc(hidden)]
    fn clone_request(&self, request: &Request) -> Option<Request>;
}

mod sealed {
    pub trait Sealed {}
}

/// Clones requests with `Clone`: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cloned;

impl sealed::Sealed for Cloned {}

#[diagnostic::do_not_recommend]
impl<Request: Clone> CloneRequest<Request> for Cloned {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// Clones requests with a closure. Created by
/// [`RetryPolicy::clone_request_with`](super::RetryPolicy::clone_request_with).
#[derive(Clone, Copy)]
pub struct ClonedWith<F>(pub(super) F);

impl<F> sealed::Sealed for ClonedWith<F> {}

impl<F, Request> CloneRequest<Request> for ClonedWith<F>
where
    F: Fn(&Request) -> Option<Request>,
{
    fn clone_request(&self, request: &Request) -> Option<Request> {
        self.0(request)
    }
}

impl<F> fmt::Debug for ClonedWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClonedWith").field(&format_args!("{}", type_name::<F>())).finish()
    }
}
