//! The watched body in the body type of the inner service.

use std::{any::type_name, fmt};

use http::Response;

use super::response_body::ResponseBody;
use crate::{
    breaker::Permit,
    service::record_when::{AppliesTo, RecordWhen, sealed::Sealed},
};

/// Wraps each watched body in the body type of the inner service, which most frameworks can make of
/// any body. Created by [`wrap_body`](crate::CircuitBreakerLayer::wrap_body).
#[derive(Clone, Copy)]
pub struct WrapBody<O, F> {
    pub(super) record_when: O,
    pub(super) wrap: F,
}

impl<O, F> WrapBody<O, F> {
    pub(crate) fn new(record_when: O, wrap: F) -> Self {
        Self { record_when, wrap }
    }
}

impl<O, F> Sealed for WrapBody<O, F> {}

impl<O: AppliesTo<Request>, F, Request> AppliesTo<Request> for WrapBody<O, F> {
    const PASSES_WHILE_OPEN: bool = O::PASSES_WHILE_OPEN;

    #[inline]
    fn applies_to(&self, request: &Request) -> bool {
        self.record_when.applies_to(request)
    }
}

impl<O, F, C, B, W, E> RecordWhen<C, Response<B>, E> for WrapBody<O, F>
where
    O: RecordWhen<C, Response<B>, E, Response = Response<ResponseBody<B, W>>>,
    F: Fn(ResponseBody<B, W>) -> B,
{
    type Response = Response<B>;

    fn record(
        &self,
        classify: &C,
        result: Result<Response<B>, E>,
        permit: &mut Permit,
    ) -> Result<Response<B>, E> {
        let response = self.record_when.record(classify, result, permit)?;
        Ok(response.map(|body| body.into_inner_type(&self.wrap)))
    }

    fn pass_unrecorded(response: Response<B>) -> Response<B> {
        response
    }
}

impl<O: fmt::Debug, F> fmt::Debug for WrapBody<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapBody")
            .field("record_when", &self.record_when)
            .field("wrap", &format_args!("{}", type_name::<F>()))
            .finish()
    }
}
