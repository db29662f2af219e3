//! Rejections as HTTP responses. `Retry-After` is written here; `classify::retry_after` reads it.
//! (`admin::problem` has a fixed one, for an admin service that cannot answer.)

use std::{any::type_name, fmt};

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use super::{Reject, response_future::RejectedResponseFuture};
use crate::error::Rejected;

/// A rejected call is answered with the HTTP response `503 Service Unavailable`, with
/// `Retry-After` and an `application/problem+json` body ([RFC 9457]). The error type stays that of
/// the inner service.
///
/// `Retry-After` is in whole seconds, rounded up and at least 1, also if no time is set (half-open,
/// forced open). The body says the same. It does not contain the breaker's name, which may be
/// internal:
///
/// ```json
/// {"type":"about:blank","title":"Service Unavailable","status":503,
///  "detail":"The service is temporarily unavailable. Try again in 30 s.","retry_after":30}
/// ```
///
/// The response's extensions contain the [`Rejected`], so that outer layers can tell this response
/// from one of the dependency.
///
/// The response body has to implement `From<String>`. [`RejectAsEmptyResponse`] needs only
/// `Default`, and [`RespondWith`] makes any response.
///
/// For code that gets the rejection as an error, [`Rejected::to_response`] makes this response.
///
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsResponse;

#[diagnostic::do_not_recommend]
impl<Request, B: From<String>, E> Reject<Request, Response<B>, E> for RejectAsResponse {
    type Error = E;
    type Future = RejectedResponseFuture<B, E>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        RejectedResponseFuture::new(rejected.to_response())
    }
}

/// Rejections as responses.
impl Rejected {
    /// Makes the response that [`RejectAsResponse`] answers with, for code that gets the rejection
    /// as an error: `503 Service Unavailable` with `Retry-After`, a problem+json body, and this
    /// rejection in its extensions.
    ///
    /// ```
    /// use axum::{body::Body, response::Response};
    /// use tower_breaker::{Breaker, Error};
    ///
    /// async fn pay(breaker: &Breaker) -> Response {
    ///     let payment = async { Ok::<_, std::io::Error>("paid") };
    ///     match breaker.call(payment).await {
    ///         Ok(text) => Response::new(Body::from(text)),
    ///         Err(Error::Rejected(rejected)) => rejected.to_response(),
    ///         Err(error) => panic!("{error}"),
    ///     }
    /// }
    /// # let breaker = Breaker::builder("payments").build()?;
    /// # breaker.force_open();
    /// # let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    /// # assert_eq!(runtime.block_on(pay(&breaker)).status(), 503);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn to_response<B: From<String>>(&self) -> Response<B> {
        let body = B::from(problem(self.retry_after_seconds()));
        let mut response = unavailable(body, self.clone());
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}

/// Like [`RejectAsResponse`], with an empty body.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsEmptyResponse;

#[diagnostic::do_not_recommend]
impl<Request, B: Default, E> Reject<Request, Response<B>, E> for RejectAsEmptyResponse {
    type Error = E;
    type Future = RejectedResponseFuture<B, E>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        RejectedResponseFuture::new(unavailable(B::default(), rejected))
    }
}

/// A rejected call is answered with the response that a closure makes of the [`Rejected`]. The
/// error type stays that of the inner service.
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_breaker::{CircuitBreakerLayer, Rejected, reject::RespondWith};
///
/// let layer = CircuitBreakerLayer::builder("payments")
///     .http()
///     .reject_with(RespondWith(|rejected: &Rejected| {
///         let mut response = Response::new(format!("{} is unavailable", rejected.name()));
///         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///         response
///     }))
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct RespondWith<F>(pub F);

impl<F, Request, B, E> Reject<Request, Response<B>, E> for RespondWith<F>
where
    F: Fn(&Rejected) -> Response<B>,
{
    type Error = E;
    type Future = RejectedResponseFuture<B, E>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        let mut response = (self.0)(&rejected);
        response.extensions_mut().insert(rejected);
        RejectedResponseFuture::new(response)
    }
}

impl<F> fmt::Debug for RespondWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RespondWith").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

pub(super) fn unavailable<B>(body: B, rejected: Rejected) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, rejected.retry_after_seconds().into());
    response.extensions_mut().insert(rejected);
    response
}

fn problem(seconds: u64) -> String {
    format!(
        concat!(
            r#"{{"type":"about:blank","title":"Service Unavailable","status":503,"#,
            r#""detail":"The service is temporarily unavailable. Try again in {seconds} s.","#,
            r#""retry_after":{seconds}}}"#,
        ),
        seconds = seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_problem_is_json_with_the_members_of_rfc_9457() {
        let problem: serde_json::Value = serde_json::from_str(&problem(30)).expect("JSON");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], "Service Unavailable");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["retry_after"], 30);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.ends_with("in 30 s.")));
    }
}
