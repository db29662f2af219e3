use std::fmt;

use tower_layer::Layer;

use super::{
    CircuitBreaker,
    record_when::OnResponse,
    reject::{Backpressure, Fallback, FallbackService, RejectAsError},
};
use crate::{
    classify::ErrorsAsFailures,
    config::ConfigError,
    handle::{Breaker, Builder},
};

/// Puts services behind one circuit breaker.
///
/// One layer has one breaker: every service that it makes, every clone of them and every clone
/// of the layer share it. Frameworks call [`layer`](Layer::layer) again and again (axum for each
/// route and each connection); it only clones handles.
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
/// assert_eq!(error.to_string(), "circuit breaker payments is forced open");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    breaker: Breaker,
    face: Face<C, R, O>,
}

impl CircuitBreakerLayer {
    /// Begins a layer with a breaker of that name.
    pub fn builder(name: impl AsRef<str>) -> Builder<Face> {
        Builder::new(name.as_ref(), Face::default())
    }

    /// A layer over a breaker that there is already. An `Err` is a failure, and a rejection is
    /// an error.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self::with(breaker, Face::default())
    }
}

impl<C, R, O> CircuitBreakerLayer<C, R, O> {
    /// A layer over a breaker that there is already, with the face of your choice.
    #[must_use]
    pub fn with(breaker: Breaker, face: Face<C, R, O>) -> Self {
        Self { breaker, face }
    }

    /// The breaker that all services of this layer share.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<S, C: Clone, R: Clone, O: Clone> Layer<S> for CircuitBreakerLayer<C, R, O> {
    type Service = CircuitBreaker<S, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self.breaker.clone(), self.face.clone())
    }
}

impl<C, R, O> fmt::Debug for CircuitBreakerLayer<C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// What a layer adds to a breaker: how results are classified, what a rejection becomes, and when
/// the outcome of a call is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Face<C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    pub(super) classify: C,
    pub(super) rejection: R,
    pub(super) settle: O,
}

impl<C, R> Face<C, R> {
    /// A face that classifies and rejects like this, when the response is there.
    pub const fn new(classify: C, rejection: R) -> Self {
        Self { classify, rejection, settle: OnResponse }
    }
}

impl<C, R, O> Face<C, R, O> {
    fn classifying<D>(self, classify: D) -> Face<D, R, O> {
        Face { classify, rejection: self.rejection, settle: self.settle }
    }

    fn rejecting<Q>(self, rejection: Q) -> Face<C, Q, O> {
        Face { classify: self.classify, rejection, settle: self.settle }
    }

    /// The same face, whose outcomes are known when the body of the response has ended.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn on_body_end(self, settle: super::body::OnBodyEnd) -> Face<C, R, super::body::OnBodyEnd> {
        Face { classify: self.classify, rejection: self.rejection, settle }
    }
}

impl<C, R, O> Builder<Face<C, R, O>> {
    /// Classifies results with this: a [`Classify`](crate::classify::Classify), or a closure
    /// over `&Result<Response, Error>`. Default: an `Err` is a failure.
    pub fn classify<D>(self, classify: D) -> Builder<Face<D, R, O>> {
        self.map(|face| face.classifying(classify))
    }

    /// Answers rejected calls with this. Default: [`RejectAsError`].
    pub fn reject_with<Q>(self, rejection: Q) -> Builder<Face<C, Q, O>> {
        self.map(|face| face.rejecting(rejection))
    }

    /// Answers rejected calls with what this closure makes of the request: see [`Fallback`].
    pub fn fallback<F>(self, fallback: F) -> Builder<Face<C, Fallback<F>, O>> {
        self.reject_with(Fallback(fallback))
    }

    /// Hands rejected calls to another service: see [`FallbackService`].
    pub fn fallback_service<S>(self, service: S) -> Builder<Face<C, FallbackService<S>, O>> {
        self.reject_with(FallbackService(service))
    }

    /// Lets callers wait while the circuit rejects: see [`Backpressure`]. Say it after what a
    /// rejection becomes, which is what the few become that are rejected all the same.
    pub fn backpressure(self) -> Builder<Face<C, Backpressure<R>, O>> {
        self.map(|face| Face {
            classify: face.classify,
            rejection: Backpressure(face.rejection),
            settle: face.settle,
        })
    }

    /// For HTTP: responses of 500 to 599 are failures, and a rejection is a 503 response with
    /// `Retry-After`. So the layer goes straight onto an `axum::Router`.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn http(
        self,
    ) -> Builder<Face<crate::classify::ServerErrorsAsFailures, super::reject::RejectAsResponse, O>>
    {
        self.map(|face| {
            face.classifying(crate::classify::ServerErrorsAsFailures)
                .rejecting(super::reject::RejectAsResponse)
        })
    }

    /// For gRPC: a [`GrpcClassifier`](crate::classify::GrpcClassifier), for which the trailers
    /// decide ([`OnBodyEnd`](super::body::OnBodyEnd)), and a rejection is a response with the status
    /// `UNAVAILABLE`. So the layer goes straight onto a tonic server, and around a tonic channel.
    ///
    /// ```no_run
    /// use tonic::transport::{Channel, Server};
    /// use tower::ServiceBuilder;
    /// use tower_breaker::CircuitBreakerLayer;
    ///
    /// # fn example(routes: tonic::service::Routes, channel: Channel)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let own = CircuitBreakerLayer::builder("stock").grpc().build()?;
    /// let server = Server::builder().layer(own).add_routes(routes);
    ///
    /// let of_others = CircuitBreakerLayer::builder("payments").grpc().build()?;
    /// let channel = ServiceBuilder::new().layer(of_others).service(channel);
    /// // PaymentsClient::new(channel)
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A layer on a whole server covers its health and reflection services too;
    /// `tonic::service::LayerExt::named_layer` puts it around one. It belongs inside of layers
    /// for gRPC-Web and CORS: what is not gRPC has no status in its trailers, and counts as failed.
    ///
    /// A call counts when its stream of answers has ended. A client that drops a stream before has
    /// cancelled the call, which counts as nothing.
    #[cfg(feature = "grpc")]
    #[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
    pub fn grpc(
        self,
    ) -> Builder<
        Face<
            crate::classify::GrpcClassifier,
            super::reject::RejectAsGrpcStatus,
            super::body::OnBodyEnd,
        >,
    > {
        self.map(|face| {
            face.classifying(crate::classify::GrpcClassifier::new())
                .rejecting(super::reject::RejectAsGrpcStatus)
                .on_body_end(super::body::OnBodyEnd::new())
        })
    }

    /// Waits for the end of the response's body before the outcome is known. Default: the
    /// response decides, and what happens to its body does not count.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn on_body_end(
        self,
        settle: super::body::OnBodyEnd,
    ) -> Builder<Face<C, R, super::body::OnBodyEnd>> {
        self.map(|face| face.on_body_end(settle))
    }

    /// Builds the layer with its breaker.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists everything that is wrong with the name and the settings.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, R, O>, ConfigError> {
        let (breaker, face) = self.finish()?;
        Ok(CircuitBreakerLayer::with(breaker, face))
    }
}
