#[cfg(feature = "http")]
use std::error::Error as StdError;
use std::{any::type_name, fmt};

#[cfg(feature = "http")]
use http::{HeaderMap, Response};

#[cfg(feature = "http")]
use crate::classify::body::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos};
use crate::{classify::classifier::Classify, outcome::Outcome};

/// Changes the outcomes of another classifier.
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, Outcome, classify::{self, ErrorsAsFailures}};
///
/// // Failures during a maintenance are not held against the dependency.
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

/// The classifier that [`map`] returns.
#[derive(Clone, Copy)]
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

impl<C, F> fmt::Debug for Map<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("classify", &format_args!("{}", type_name::<C>()))
            .field("map", &format_args!("{}", type_name::<F>()))
            .finish()
    }
}

/// Changes the outcome of another classifier at the end of a body. Created by a [`Map`].
#[cfg(feature = "http")]
#[derive(Clone, Copy)]
pub struct MapEos<W, F> {
    eos: W,
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
            ClassifiedResponse::RequiresEos(eos) => {
                ClassifiedResponse::RequiresEos(MapEos { eos, map: self.map.clone() })
            }
        }
    }
}

#[cfg(feature = "http")]
impl<W: ClassifyEos, F: Fn(Outcome) -> Outcome> ClassifyEos for MapEos<W, F> {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        (self.map)(self.eos.classify_eos(trailers))
    }

    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        (self.map)(self.eos.classify_failure(failure))
    }

    fn classify_error(self, error: &(dyn StdError + 'static)) -> Outcome {
        (self.map)(self.eos.classify_error(error))
    }

    fn awaits_trailers(&self) -> bool {
        self.eos.awaits_trailers()
    }
}

#[cfg(feature = "http")]
impl<W, F> fmt::Debug for MapEos<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapEos")
            .field("eos", &format_args!("{}", type_name::<W>()))
            .field("map", &format_args!("{}", type_name::<F>()))
            .finish()
    }
}
