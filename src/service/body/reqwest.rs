//! The bodies of [reqwest](https://docs.rs/reqwest/0.13)'s responses.

use http::response;
use reqwest::{Body, Response, ResponseBuilderExt};

use super::on_body_end::OnBodyEnd;
use crate::{
    breaker::Permit,
    classify::{ClassifiedResponse, Classify, SuccessAtEos},
    service::{inner_call, record_when::RecordWhen},
};

/// The type of the response does not change: its body is wrapped once more.
impl<C, E> RecordWhen<C, Response, E> for OnBodyEnd
where
    C: Classify<Response, E>,
{
    type Response = Response;

    fn record(
        &self,
        classify: &C,
        result: Result<Response, E>,
        permit: &mut Permit,
    ) -> Result<Response, E> {
        if inner_call::is_uncounted(permit) {
            return result;
        }
        let outcome = classify.classify(&result);
        match (ClassifiedResponse::unless_body_fails(outcome), result) {
            (ClassifiedResponse::RequiresEos(SuccessAtEos), Ok(response)) => {
                let url = response.url().clone();
                let response = self.watch(response.into(), SuccessAtEos, permit);
                let (parts, body) = response.into_parts();
                Ok(Response::from(with_url(parts, url).map(|()| Body::wrap(body))))
            }
            (_, result) => {
                permit.record_in_place(outcome, None);
                result
            }
        }
    }

    fn pass_unrecorded(response: Response) -> Response {
        response
    }
}

/// reqwest keeps the URL of a response beside it, and drops it in a conversion.
fn with_url(parts: response::Parts, url: reqwest::Url) -> http::Response<()> {
    let response = http::Response::builder().url(url).body(());
    let (mut with_url, ()) = response.unwrap_or_default().into_parts();
    with_url.status = parts.status;
    with_url.version = parts.version;
    with_url.headers = parts.headers;
    with_url.extensions.extend(parts.extensions);
    http::Response::from_parts(with_url, ())
}
