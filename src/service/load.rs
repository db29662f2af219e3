//! The load of a service behind a circuit breaker, for tower's balancers.

use tower::load::Load;

#[cfg(feature = "keyed")]
use super::keyed::{ByEndpoint, KeyedCircuitBreaker};
use super::service::CircuitBreaker;

/// The load of a service behind a circuit breaker.
///
/// A service whose circuit would reject a call now is more loaded than any other, so that a
/// balancer prefers those that would make the call. One that would admit a call, also as a probe,
/// has the load of the inner service: its share returns by itself. While a circuit ramps up, each
/// question about its load counts as half a call, since balancers such as tower's ask about two
/// services for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerLoad<M> {
    /// The circuit admits calls; the load of the inner service.
    Admits(M),
    /// The circuit rejects calls.
    Rejects,
}

/// ```
/// use tower::{Layer, load::{CompleteOnResponse, Load, PendingRequests}, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, load::BreakerLoad};
///
/// let layer = CircuitBreakerLayer::builder("10.0.0.7").build()?;
/// let endpoint = service_fn(|(): ()| async { Ok::<_, std::io::Error>(()) });
/// let endpoint = layer.layer(PendingRequests::new(endpoint, CompleteOnResponse::default()));
///
/// assert!(matches!(endpoint.load(), BreakerLoad::Admits(_)));
/// layer.breaker().force_open();
/// assert_eq!(endpoint.load(), BreakerLoad::Rejects);
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
impl<S: Load, C, R, O> Load for CircuitBreaker<S, C, R, O> {
    type Metric = BreakerLoad<S::Metric>;

    fn load(&self) -> Self::Metric {
        if self.breaker().cell().would_refuse_balancer() {
            BreakerLoad::Rejects
        } else {
            BreakerLoad::Admits(self.get_ref().load())
        }
    }
}

/// The load of an [endpoint](crate::keyed::KeyedCircuitBreakerLayer::by_endpoint), by the breaker
/// of its key. Without one, as before its first failure, the endpoint admits calls.
#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
impl<S: Load, C, R, O> Load for KeyedCircuitBreaker<S, ByEndpoint, C, R, O> {
    type Metric = BreakerLoad<S::Metric>;

    fn load(&self) -> Self::Metric {
        if self.would_reject_by_default() {
            BreakerLoad::Rejects
        } else {
            BreakerLoad::Admits(self.get_ref().load())
        }
    }
}
