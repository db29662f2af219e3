//! What makes a service, or a layer, from a breaker that exists.

use super::{
    layer::CircuitBreakerLayer, record_when::OnResponse, reject::RejectAsError,
    service::CircuitBreaker,
};
use crate::{classify::ErrorsAsFailures, handle::Breaker};

impl<S> CircuitBreaker<S> {
    /// Wraps a service. Every `Err` is a failure, and a rejected call is an
    /// [`Error::Rejected`](crate::Error::Rejected); a [layer](CircuitBreaker::layer) has other
    /// options.
    ///
    /// ```
    /// use tower::service_fn;
    /// use tower_breaker::{Breaker, CircuitBreaker};
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// let client = service_fn(|amount: u32| async move { Ok::<_, std::io::Error>(amount) });
    /// let client = CircuitBreaker::new(client, breaker);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    pub fn new(inner: S, breaker: Breaker) -> Self {
        Self::with(inner, breaker, ErrorsAsFailures, RejectAsError, OnResponse)
    }
}

impl CircuitBreaker<()> {
    /// Returns a layer that wraps services with this breaker. Short for
    /// [`CircuitBreakerLayer::new`].
    pub fn layer(breaker: Breaker) -> CircuitBreakerLayer {
        CircuitBreakerLayer::new(breaker)
    }
}
