use std::{any::type_name, error::Error as StdError, fmt};

#[cfg(feature = "http")]
use http::Response;

#[cfg(feature = "http")]
use crate::classify::body::{ClassifiedResponse, ClassifyBody};
use crate::{
    classify::{classifier::Classify, error::is_not_of_the_dependency},
    outcome::Outcome,
};

/// Searches errors of your own types, and all of their sources, for errors [of the
/// request](crate::classify::is_request_error) and for rejections by other breakers. They are
/// ignored; everything else is what the other classifier says.
///
/// The error has to implement [`std::error::Error`]. The types that frameworks return are searched
/// [without this](crate::classify#situations).
///
/// ```
/// use std::{error::Error, fmt, future::ready};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_breaker::{
///     Breaker, CircuitBreakerLayer,
///     classify::{ErrorsAsFailures, search_errors},
/// };
///
/// /// An error of your own. Its source may be the rejection of another breaker.
/// #[derive(Debug)]
/// struct CannotPay(Box<dyn Error + Send + Sync>);
/// # impl fmt::Display for CannotPay {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
/// #         f.write_str("cannot pay")
/// #     }
/// # }
///
/// impl Error for CannotPay {
///     fn source(&self) -> Option<&(dyn Error + 'static)> {
///         Some(&*self.0)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn Error>> {
/// let bank = Breaker::builder("bank").build()?;
/// bank.force_open();
/// let layer = CircuitBreakerLayer::builder("payments")
///     .classify(search_errors(ErrorsAsFailures))
///     .build()?;
/// let pay = service_fn(|_: u32| {
///     ready(bank.try_acquire().map(drop).map_err(|rejected| CannotPay(rejected.into())))
/// });
/// layer.layer(pay).oneshot(100).await.unwrap_err();
/// assert_eq!(layer.breaker().stats().consecutive_failures(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # Transparent variants
///
/// The source of a transparent variant (`#[error(transparent)]` of thiserror) is what lies *below*
/// the error that it wraps. A rejection is found there even so. An error of the request is found
/// only if its cause says as much, so match the variant:
///
/// ```
/// use std::{error::Error, fmt};
/// use tower_breaker::{
///     CircuitBreakerLayer, Outcome,
///     classify::{Classify, ErrorsAsFailures, is_request_error, search_errors},
/// };
///
/// #[derive(Debug)]
/// enum CannotQuote {
///     /// `#[error(transparent)]`
///     Upstream(reqwest::Error),
/// }
/// # impl fmt::Display for CannotQuote {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
/// #         let Self::Upstream(error) = self;
/// #         error.fmt(f)
/// #     }
/// # }
/// # impl Error for CannotQuote {
/// #     fn source(&self) -> Option<&(dyn Error + 'static)> {
/// #         let Self::Upstream(error) = self;
/// #         error.source()
/// #     }
/// # }
///
/// let classify = |result: &Result<u32, CannotQuote>| match result {
///     Err(CannotQuote::Upstream(error)) if is_request_error(error) => Outcome::Ignore,
///     result => search_errors(ErrorsAsFailures).classify(result),
/// };
/// let layer = CircuitBreakerLayer::builder("quotes").classify(classify).build()?;
/// # let built = reqwest::Client::new().get("http://[").build();
/// # let result = built.map(|_| 0).map_err(CannotQuote::Upstream);
/// # assert_eq!(classify(&result), Outcome::Ignore);
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
pub fn search_errors<C>(classify: C) -> SearchErrors<C> {
    SearchErrors { classify }
}

/// The classifier that [`search_errors`] returns.
#[derive(Clone, Copy)]
pub struct SearchErrors<C> {
    classify: C,
}

impl<C, T, E> Classify<T, E> for SearchErrors<C>
where
    C: Classify<T, E>,
    E: StdError + 'static,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Err(error) if is_not_of_the_dependency(error) => Outcome::Ignore,
            result => self.classify.classify(result),
        }
    }
}

#[cfg(feature = "http")]
impl<C, B, E> ClassifyBody<B, E> for SearchErrors<C>
where
    C: ClassifyBody<B, E>,
    E: StdError + 'static,
{
    type Eos = C::Eos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<C::Eos> {
        match result {
            Err(error) if is_not_of_the_dependency(error) => {
                ClassifiedResponse::Ready(Outcome::Ignore)
            }
            result => self.classify.classify_head(result),
        }
    }
}

impl<C> fmt::Debug for SearchErrors<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SearchErrors").field(&format_args!("{}", type_name::<C>())).finish()
    }
}
