use std::{any::type_name, fmt, marker::PhantomData};

#[cfg(feature = "http")]
use http::Response;

#[cfg(feature = "http")]
use super::body::{ClassifiedResponse, ClassifyBody, SuccessAtEos};
use super::classifier::Classify;
use crate::outcome::Outcome;

/// Makes a classifier from a closure, and lets the compiler infer the type of its argument.
///
/// A plain closure is a classifier too, but has to write the whole type of its argument. In
/// `classify_fn`, a type is needed only if the closure calls a method or reads a field of the
/// response or the error, and then only that type: `|result: &Result<Response<Body>, _>|`.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, Outcome, classify::classify_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::builder("quotes")
///     .classify(classify_fn(|result| match result {
///         Ok(0) | Err(_) => Outcome::failure(),
///         Ok(_) => Outcome::Success,
///     }))
///     .build()?;
/// let service = layer.layer(service_fn(async |quote: u32| Ok::<_, std::io::Error>(quote)));
/// assert_eq!(service.oneshot(7).await?, 7);
/// # Ok(())
/// # }
/// ```
pub fn classify_fn<F, T, E>(classify: F) -> ClassifyFn<F, T, E>
where
    F: Fn(&Result<T, E>) -> Outcome,
{
    ClassifyFn { classify, result: PhantomData }
}

/// A closure as a classifier. Created by [`classify_fn`].
pub struct ClassifyFn<F, T, E> {
    classify: F,
    result: PhantomData<fn(&Result<T, E>)>,
}

impl<F, T, E> Classify<T, E> for ClassifyFn<F, T, E>
where
    F: Fn(&Result<T, E>) -> Outcome,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        (self.classify)(result)
    }
}

#[cfg(feature = "http")]
impl<F, B, E> ClassifyBody<B, E> for ClassifyFn<F, Response<B>, E>
where
    F: Fn(&Result<Response<B>, E>) -> Outcome,
{
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self.classify(result))
    }
}

impl<F: Clone, T, E> Clone for ClassifyFn<F, T, E> {
    #[inline]
    fn clone(&self) -> Self {
        Self { classify: self.classify.clone(), result: PhantomData }
    }
}

impl<F: Copy, T, E> Copy for ClassifyFn<F, T, E> {}

impl<F, T, E> fmt::Debug for ClassifyFn<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClassifyFn").field(&format_args!("{}", type_name::<F>())).finish()
    }
}
