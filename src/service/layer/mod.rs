//! The layer.

mod builder;
pub(super) mod settings;

use std::fmt;

use tower_layer::Layer;

pub use self::builder::CircuitBreakerLayerBuilder;
use self::settings::{backpressure_setting, layer_settings};
use super::{
    debug::add_types, record_when::OnResponse, reject::RejectAsError, service::CircuitBreaker,
};
use crate::{
    classify::{CloneClassifier, ErrorsAsFailures},
    handle::Breaker,
};

/// Wraps services in a [`CircuitBreaker`].
///
/// One layer has one breaker. Every service that the layer makes shares it, and so do all clones
/// of the services and of the layer. Frameworks call [`layer`](Layer::layer) many times (axum for
/// each route and each connection); it only clones handles.
///
/// [`builder`](Self::builder) makes a layer together with its breaker:
///
/// ```
/// use std::time::Duration;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, Trip};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::builder("payments")
///     .trip_on(Trip::consecutive_failures(5))
///     .recovery_timeout(Duration::from_secs(60))
///     .build()?;
/// let breaker = layer.breaker().clone();
/// let mut service = ServiceBuilder::new()
///     .layer(layer)
///     .service(service_fn(|amount: u32| async move { Ok::<_, std::io::Error>(amount) }));
///
/// assert_eq!(service.ready().await?.call(7).await?, 7);
/// breaker.force_open();
/// let error = service.ready().await?.call(7).await.unwrap_err();
/// assert_eq!(error.to_string(), r#"circuit breaker "payments" is forced open"#);
/// # Ok(())
/// # }
/// ```
///
/// [`new`](Self::new) makes one from an existing breaker, which other layers and other code may
/// share:
///
/// ```
/// # #[cfg(feature = "http")] {
/// use tower_breaker::{Breaker, CircuitBreakerLayer, OnBodyEnd};
///
/// let breaker = Breaker::builder("payments").build()?;
/// let layer = CircuitBreakerLayer::new(breaker).http().on_body_end(OnBodyEnd::new());
/// # }
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[must_use = "a layer does nothing until it wraps a service"]
pub struct CircuitBreakerLayer<C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    breaker: Breaker,
    classify: C,
    reject: R,
    record_when: O,
}

impl CircuitBreakerLayer {
    /// Starts a layer with a new breaker. The name is the breaker's key in the store and its label
    /// in logs and metrics: 1 to 512 bytes of any text.
    pub fn builder(name: impl AsRef<str>) -> CircuitBreakerLayerBuilder {
        CircuitBreakerLayerBuilder::new(name.as_ref())
    }

    /// Creates a layer from an existing breaker. Until its methods say otherwise, every `Err` is a
    /// failure, and a rejected call is an [`Error::Rejected`](crate::Error::Rejected).
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classify: ErrorsAsFailures, reject: RejectAsError, record_when: OnResponse }
    }
}

layer_settings!(CircuitBreakerLayer);
backpressure_setting!(CircuitBreakerLayer);

impl<C, R, O> CircuitBreakerLayer<C, R, O> {
    /// The breaker that all services of this layer share.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<C: CloneClassifier, R: Clone, O: Clone> Clone for CircuitBreakerLayer<C, R, O> {
    fn clone(&self) -> Self {
        Self {
            breaker: self.breaker.clone(),
            classify: self.classify.clone_classifier(),
            reject: self.reject.clone(),
            record_when: self.record_when.clone(),
        }
    }
}

impl<S, C: CloneClassifier, R: Clone, O: Clone> Layer<S> for CircuitBreakerLayer<C, R, O> {
    type Service = CircuitBreaker<S, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { breaker, classify, reject, record_when } = self.clone();
        CircuitBreaker::with(inner, breaker, classify, reject, record_when)
    }
}

impl<C, R, O> fmt::Debug for CircuitBreakerLayer<C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("CircuitBreakerLayer");
        fields.field("breaker", &self.breaker);
        add_types(&mut fields, &self.classify, &self.reject, &self.record_when).finish()
    }
}
