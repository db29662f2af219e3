//! Classifiers made of others.

#[cfg(feature = "http")]
use http::{HeaderMap, Response};

use super::Classify;
#[cfg(feature = "http")]
use super::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos};
use crate::outcome::Outcome;

/// Changes what another classifier says.
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, Outcome, classify::{self, ErrorsAsFailures}};
///
/// // A dependency that is not to be blamed for one hour of maintenance.
/// let in_maintenance = || false;
/// let classifier = classify::map(ErrorsAsFailures, move |outcome| match outcome {
///     Outcome::Failure { .. } if in_maintenance() => Outcome::Ignore,
///     other => other,
/// });
/// let layer = CircuitBreakerLayer::builder("quotes").classify(classifier).build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
pub fn map<C, F>(classify: C, map: F) -> Map<C, F>
where
    F: Fn(Outcome) -> Outcome,
{
    Map { classify, map }
}

/// Says what the first says, and where that is a success, what the second says.
///
/// ```
/// # #[cfg(feature = "http")] {
/// use http::Response;
/// use tower_breaker::{Outcome, classify::{self, Classify, ServerErrorsAsFailures}};
///
/// let flagged = |result: &Result<Response<()>, ()>| match result {
///     Ok(response) if response.headers().contains_key("x-degraded") => Outcome::failure(),
///     _ => Outcome::Success,
/// };
/// let both = classify::or(ServerErrorsAsFailures, flagged);
/// let degraded = Response::builder().header("x-degraded", "1").body(()).expect("a response");
/// assert_eq!(both.classify(&Ok(degraded)), Outcome::failure());
/// # }
/// ```
pub fn or<A, B>(first: A, second: B) -> Or<A, B> {
    Or { first, second }
}

/// What [`map`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Map<C, F> {
    classify: C,
    map: F,
}

impl<C, F, T, E> Classify<T, E> for Map<C, F>
where
    C: Classify<T, E>,
    F: Fn(Outcome) -> Outcome,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        (self.map)(self.classify.classify(result))
    }
}

/// What [`or`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B, T, E> Classify<T, E> for Or<A, B>
where
    A: Classify<T, E>,
    B: Classify<T, E>,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match self.first.classify(result) {
            Outcome::Success => self.second.classify(result),
            other => other,
        }
    }
}

/// Changes what another says at the end of a body.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy)]
pub struct MapEos<W, F> {
    end: W,
    map: F,
}

#[cfg(feature = "http")]
impl<C, F, B, E> ClassifyBody<B, E> for Map<C, F>
where
    C: ClassifyBody<B, E>,
    F: Fn(Outcome) -> Outcome + Clone,
{
    type Eos = MapEos<C::Eos, F>;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<Self::Eos> {
        match self.classify.classify_head(result) {
            ClassifiedResponse::Ready(outcome) => ClassifiedResponse::Ready((self.map)(outcome)),
            ClassifiedResponse::RequiresEos(end) => {
                ClassifiedResponse::RequiresEos(MapEos { end, map: self.map.clone() })
            }
        }
    }
}

#[cfg(feature = "http")]
impl<W: ClassifyEos, F: Fn(Outcome) -> Outcome> ClassifyEos for MapEos<W, F> {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        (self.map)(self.end.classify_eos(trailers))
    }

    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        (self.map)(self.end.classify_failure(failure))
    }

    fn awaits_trailers(&self) -> bool {
        self.end.awaits_trailers()
    }
}

/// Says what the first of two says at the end of a body, and where that is a success, what the
/// second says.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy)]
pub struct OrEos<A, B> {
    first: ClassifiedResponse<A>,
    second: ClassifiedResponse<B>,
}

#[cfg(feature = "http")]
impl<A, B, Body, E> ClassifyBody<Body, E> for Or<A, B>
where
    A: ClassifyBody<Body, E>,
    B: ClassifyBody<Body, E>,
{
    type Eos = OrEos<A::Eos, B::Eos>;

    fn classify_head(&self, result: &Result<Response<Body>, E>) -> ClassifiedResponse<Self::Eos> {
        match self.first.classify_head(result) {
            ClassifiedResponse::Ready(outcome) if outcome != Outcome::Success => {
                ClassifiedResponse::Ready(outcome)
            }
            first => match (first, self.second.classify_head(result)) {
                (ClassifiedResponse::Ready(_), ClassifiedResponse::Ready(outcome)) => {
                    ClassifiedResponse::Ready(outcome)
                }
                // What the first still has to say of a body without trailers makes it no better.
                (ClassifiedResponse::RequiresEos(first), ClassifiedResponse::Ready(outcome))
                    if outcome != Outcome::Success && !first.awaits_trailers() =>
                {
                    ClassifiedResponse::Ready(outcome)
                }
                (first, second) => ClassifiedResponse::RequiresEos(OrEos { first, second }),
            },
        }
    }
}

#[cfg(feature = "http")]
impl<A: ClassifyEos, B: ClassifyEos> ClassifyEos for OrEos<A, B> {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        match self.first.end(|end| end.classify_eos(trailers)) {
            Outcome::Success => self.second.end(|end| end.classify_eos(trailers)),
            other => other,
        }
    }

    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        match self.first.end(|end| end.classify_failure(failure)) {
            Outcome::Success => self.second.end(|end| end.classify_failure(failure)),
            other => other,
        }
    }

    fn awaits_trailers(&self) -> bool {
        self.first.awaits_trailers() || self.second.awaits_trailers()
    }
}

#[cfg(feature = "http")]
impl<W: ClassifyEos> ClassifiedResponse<W> {
    fn end(self, classify: impl FnOnce(W) -> Outcome) -> Outcome {
        match self {
            Self::Ready(outcome) => outcome,
            Self::RequiresEos(end) => classify(end),
        }
    }

    fn awaits_trailers(&self) -> bool {
        matches!(self, Self::RequiresEos(end) if end.awaits_trailers())
    }
}
