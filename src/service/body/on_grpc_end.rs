//! The same setting for gRPC: only responses that declare gRPC wait for their end.

use http::{Request, Response};
use http_body::Body;

use super::{on_body_end::OnBodyEnd, response_body::ResponseBody};
use crate::{
    breaker::Permit,
    classify::{ClassifyBody, grpc_media_type::declares_grpc},
    service::record_when::{AppliesTo, RecordWhen, sealed::Sealed},
};

/// Records the outcome of a gRPC call when its response stream has ended, as [`OnBodyEnd`] does.
/// [`.grpc()`](crate::CircuitBreakerLayer::grpc) sets it.
///
/// Requests that are not gRPC by their `Content-Type` do not count: a health check over HTTP, a
/// preflight, gRPC-Web.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnGrpcEnd {
    pub(super) on_body_end: OnBodyEnd,
}

impl Sealed for OnGrpcEnd {}

impl<B> AppliesTo<Request<B>> for OnGrpcEnd {
    #[inline]
    fn applies_to(&self, request: &Request<B>) -> bool {
        declares_grpc(request.headers()) == Some(true)
    }
}

impl<C, B, E> RecordWhen<C, Response<B>, E> for OnGrpcEnd
where
    C: ClassifyBody<B, E>,
    B: Body,
{
    type Response = Response<ResponseBody<B, C::Eos>>;

    fn record(
        &self,
        classify: &C,
        result: Result<Response<B>, E>,
        permit: &mut Permit,
    ) -> Result<Self::Response, E> {
        self.on_body_end.record(classify, result, permit)
    }

    fn pass_unrecorded(response: Response<B>) -> Self::Response {
        <OnBodyEnd as RecordWhen<C, _, E>>::pass_unrecorded(response)
    }
}
