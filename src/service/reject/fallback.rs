use std::{any::type_name, fmt, future::Future};

use super::Reject;
use crate::error::Rejected;

/// A rejected call is answered by a closure, which takes the request and the [`Rejected`] and
/// returns a future. The error type stays that of the inner service.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, Rejected};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::builder("quotes")
///     .fallback(|symbol: String, _: Rejected| async move {
///         Ok::<_, std::io::Error>(format!("{symbol}: yesterday's price"))
///     })
///     .build()?;
/// layer.breaker().force_open();
/// let quotes = ServiceBuilder::new().layer(layer).service(service_fn(
///     |symbol: String| async move { Ok::<_, std::io::Error>(format!("{symbol}: today's price")) },
/// ));
/// assert_eq!(quotes.oneshot("GOOG".into()).await?, "GOOG: yesterday's price");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Fallback<F>(pub F);

impl<F, Answer, Request, Response, E> Reject<Request, Response, E> for Fallback<F>
where
    F: Fn(Request, Rejected) -> Answer,
    Answer: Future<Output = Result<Response, E>>,
{
    type Error = E;
    type Future = Answer;

    fn reject(&self, request: Request, rejected: Rejected) -> Answer {
        (self.0)(request, rejected)
    }
}

impl<F> fmt::Debug for Fallback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fallback").field(&format_args!("{}", type_name::<F>())).finish()
    }
}
