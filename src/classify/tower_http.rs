use std::any::type_name;

use http::{HeaderMap, Response};
use tower_http::classify::{self as theirs, ClassifyResponse};

use super::{
    body::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos},
    by_status::is_rejection,
    classifier::Classify,
    error::outcome_of_error,
    grpc_notice,
};
use crate::outcome::Outcome;

/// Adapts a classifier of [tower-http 0.7](https://docs.rs/tower-http/0.7): what it classifies as a
/// failure is one. Like the classifiers of this crate, it ignores rejections by another breaker and
/// [errors of the request itself](super::is_request_error).
///
/// With [`OnBodyEnd`](crate::OnBodyEnd), it also classifies the end of the response, including the
/// trailers. Without, a response that it can classify only at its end is a success.
///
/// ```
/// use tower_breaker::{
///     CircuitBreakerLayer, OnBodyEnd, classify::TowerHttp, reject::RejectAsResponse,
/// };
/// use tower_http::classify::StatusInRangeAsFailures;
///
/// let layer = CircuitBreakerLayer::builder("payments")
///     .classify(TowerHttp(StatusInRangeAsFailures::new(400..=599)))
///     .reject_with(RejectAsResponse)
///     .on_body_end(OnBodyEnd::new())
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TowerHttp<C>(pub C);

/// Classifies the end of a response. Created by [`TowerHttp`].
#[derive(Debug, Clone, Copy)]
pub struct TowerHttpEos<W>(Option<W>);

impl<C, B, E> Classify<Response<B>, E> for TowerHttp<C>
where
    C: ClassifyResponse + Clone,
    E: 'static,
{
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match self.classify_head(result) {
            ClassifiedResponse::Ready(outcome) => outcome,
            ClassifiedResponse::RequiresEos(_) => Outcome::Success,
        }
    }
}

impl<C, B, E> ClassifyBody<B, E> for TowerHttp<C>
where
    C: ClassifyResponse + Clone,
    E: 'static,
{
    type Eos = TowerHttpEos<C::ClassifyEos>;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<Self::Eos> {
        // tower-http's classifiers name the kind of an error, but do not say whether it is one.
        let response = match result {
            Ok(response) if is_rejection(response.extensions()) => {
                return ClassifiedResponse::Ready(Outcome::Ignore);
            }
            Ok(response) => response,
            Err(error) => return ClassifiedResponse::Ready(outcome_of_error(error)),
        };
        match self.0.clone().classify_response(response) {
            theirs::ClassifiedResponse::Ready(Ok(())) => {
                if misses_grpc_failures::<C>(response.headers()) {
                    let (status, version) = (response.status(), response.version());
                    grpc_notice::warn_once_if_grpc::<B>(status, version, response.headers());
                }
                ClassifiedResponse::RequiresEos(TowerHttpEos(None))
            }
            theirs::ClassifiedResponse::Ready(Err(_)) => {
                ClassifiedResponse::Ready(Outcome::failure())
            }
            theirs::ClassifiedResponse::RequiresEos(end) => {
                ClassifiedResponse::RequiresEos(TowerHttpEos(Some(end)))
            }
        }
    }
}

/// Whether a classifier that takes this head for a success does not classify gRPC: it waits for no
/// status, or takes a failed one for a success. (tower-http's own can be told to do the latter.)
fn misses_grpc_failures<C>(headers: &HeaderMap) -> bool {
    match headers.get("grpc-status") {
        None => true,
        Some(code) => code != "0" && !type_name::<C>().contains("Grpc"),
    }
}

impl<W: theirs::ClassifyEos> ClassifyEos for TowerHttpEos<W> {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        match self.0.map(|end| end.classify_eos(trailers)) {
            None | Some(Ok(())) => Outcome::Success,
            Some(Err(_)) => Outcome::failure(),
        }
    }

    fn classify_failure(self, _: BodyFailure) -> Outcome {
        Outcome::failure()
    }

    fn awaits_trailers(&self) -> bool {
        self.0.is_some()
    }
}
