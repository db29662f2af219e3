//! A breaker for each key of a request: for each host, route, gRPC method or tenant.
//!
//! One dependency behind many names must not take the others down: a
//! [`KeyedCircuitBreakerLayer`] gives each key a breaker of its own.
//!
//! ```
//! # #[cfg(feature = "http")] {
//! use tower_breaker::{KeyedBreakers, keyed::KeyedCircuitBreakerLayer};
//!
//! let breakers = KeyedBreakers::builder("upstream").build()?;
//! let layer = KeyedCircuitBreakerLayer::by_host(breakers).http();
//! # }
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```

mod future;
mod key;
pub(super) mod selector;
mod service;
pub(super) mod unbroken;

use std::{any::type_name, borrow::Cow, fmt};

use tower_layer::Layer;

#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use self::key::ByGrpcMethod;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::key::ByHost;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::key::ByMatchedPath;
use self::selector::Selector;
pub use self::{
    future::KeyedResponseFuture,
    key::{ByEndpoint, ExtractKey},
    service::KeyedCircuitBreaker,
};
use super::{
    debug::add_types, layer::settings::layer_settings, record_when::OnResponse,
    reject::RejectAsError,
};
use crate::{
    classify::{CloneClassifier, ErrorsAsFailures},
    registry::KeyedBreakers,
};

/// Wraps services in a [`KeyedCircuitBreaker`]: each key of the requests has a breaker of its own.
///
/// The breakers are those of [`KeyedBreakers`], which also says when a key gets one and how many
/// there are at most. What counts as a failure and what becomes of a rejected call is said as on a
/// [`CircuitBreakerLayer`](crate::CircuitBreakerLayer). There is no back-pressure: readiness is
/// polled before the request, and so the key, is known.
///
/// With [`OnBodyEnd`](crate::OnBodyEnd) and `.grpc()`, a key gets its breaker with its first call.
///
/// ```
/// use std::time::Duration;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_breaker::{KeyedBreakers, keyed::KeyedCircuitBreakerLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants = KeyedBreakers::builder("tenants").build()?;
/// let layer = KeyedCircuitBreakerLayer::by_key(tenants.clone(), |tenant: &String| {
///     Some(tenant.as_str().into())
/// });
/// let inner = service_fn(|tenant: String| async move {
///     if tenant == "bad" { Err(std::io::Error::other("down")) } else { Ok("served") }
/// });
/// let mut service = ServiceBuilder::new().layer(layer).service(inner);
///
/// for _ in 0..5 {
///     service.ready().await?.call("bad".to_owned()).await.unwrap_err();
/// }
/// let error = service.ready().await?.call("bad".to_owned()).await.unwrap_err();
/// assert_eq!(error.rejected().map(|rejected| rejected.name()), Some("tenants:bad"));
/// assert_eq!(service.ready().await?.call("good".to_owned()).await?, "served");
/// assert_eq!(tenants.len(), 1); // a key without a failure needs no breaker
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer does nothing until it wraps a service"]
pub struct KeyedCircuitBreakerLayer<K, C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    breaker: Selector<K>,
    classify: C,
    reject: R,
    record_when: O,
}

impl<K> KeyedCircuitBreakerLayer<K> {
    /// Creates a layer with a way to extract the key of a request.
    pub fn new(breakers: KeyedBreakers, extract: K) -> Self {
        Self {
            breaker: Selector { breakers, extract, default_key: None },
            classify: ErrorsAsFailures,
            reject: RejectAsError,
            record_when: OnResponse,
        }
    }
}

impl KeyedCircuitBreakerLayer<()> {
    /// A breaker for each key that the closure returns. Write the type of its argument.
    pub fn by_key<F, Request>(breakers: KeyedBreakers, key: F) -> KeyedCircuitBreakerLayer<F>
    where
        F: for<'a> Fn(&'a Request) -> Option<Cow<'a, str>>,
    {
        KeyedCircuitBreakerLayer::new(breakers, key)
    }

    /// The breaker of this key for every request: for a service that is one of several endpoints,
    /// as of a balancer. Its [load](crate::load::BreakerLoad) is that of the endpoint.
    ///
    /// ```
    /// use tower::{Layer, service_fn};
    /// use tower_breaker::{KeyedBreakers, keyed::KeyedCircuitBreakerLayer};
    ///
    /// let breakers = KeyedBreakers::builder("upstream").build()?;
    /// let endpoints = ["10.0.0.7:80", "10.0.0.8:80"].map(|address| {
    ///     let inner = service_fn(move |(): ()| async move { Ok::<_, std::io::Error>(address) });
    ///     KeyedCircuitBreakerLayer::by_endpoint(breakers.clone(), address).layer(inner)
    /// });
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    pub fn by_endpoint(
        breakers: KeyedBreakers,
        key: impl AsRef<str>,
    ) -> KeyedCircuitBreakerLayer<ByEndpoint> {
        KeyedCircuitBreakerLayer::new(breakers, ByEndpoint).default_key(key)
    }

    /// A breaker for each host that requests are sent to: see [`ByHost`].
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn by_host(breakers: KeyedBreakers) -> KeyedCircuitBreakerLayer<ByHost> {
        KeyedCircuitBreakerLayer::new(breakers, ByHost)
    }

    /// A breaker for each gRPC method: see [`ByGrpcMethod`].
    #[cfg(feature = "grpc")]
    #[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
    pub fn by_grpc_method(breakers: KeyedBreakers) -> KeyedCircuitBreakerLayer<ByGrpcMethod> {
        KeyedCircuitBreakerLayer::new(breakers, ByGrpcMethod)
    }

    /// A breaker for each route of an axum router: see [`ByMatchedPath`].
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn by_matched_path(breakers: KeyedBreakers) -> KeyedCircuitBreakerLayer<ByMatchedPath> {
        KeyedCircuitBreakerLayer::new(breakers, ByMatchedPath)
    }
}

layer_settings!(KeyedCircuitBreakerLayer, K);

impl<K, C, R, O> KeyedCircuitBreakerLayer<K, C, R, O> {
    /// Requests without a key go by the breaker of this key. Default: they pass through without a
    /// breaker.
    pub fn default_key(mut self, key: impl AsRef<str>) -> Self {
        self.breaker.default_key = Some(key.as_ref().into());
        self
    }

    /// The breakers that all services of this layer share.
    #[must_use]
    pub fn breakers(&self) -> &KeyedBreakers {
        &self.breaker.breakers
    }
}

impl<K: Clone, C: CloneClassifier, R: Clone, O: Clone> Clone
    for KeyedCircuitBreakerLayer<K, C, R, O>
{
    fn clone(&self) -> Self {
        Self {
            breaker: self.breaker.clone(),
            classify: self.classify.clone_classifier(),
            reject: self.reject.clone(),
            record_when: self.record_when.clone(),
        }
    }
}

impl<S, K: Clone, C: CloneClassifier, R: Clone, O: Clone> Layer<S>
    for KeyedCircuitBreakerLayer<K, C, R, O>
{
    type Service = KeyedCircuitBreaker<S, K, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { breaker, classify, reject, record_when } = self.clone();
        KeyedCircuitBreaker::with(inner, breaker, classify, reject, record_when)
    }
}

impl<K, C, R, O> fmt::Debug for KeyedCircuitBreakerLayer<K, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("KeyedCircuitBreakerLayer");
        fields.field("breakers", &self.breaker.breakers);
        fields.field("key", &format_args!("{}", type_name::<K>()));
        add_types(&mut fields, &self.classify, &self.reject, &self.record_when).finish()
    }
}
