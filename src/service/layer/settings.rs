//! How a layer treats calls: what counts as a failure, what becomes of a rejected call, and when
//! the outcome of a call is known.

/// Defines these settings as methods of a type with the fields `breaker`, `classify`, `reject`
/// and `record_when`, and with the type parameters `C`, `R` and `O`.
///
/// Two types have them: [`CircuitBreakerLayer`](super::CircuitBreakerLayer), and its builder.
macro_rules! layer_settings {
    ($layer:ident $(, $key:ident)?) => {
        impl<$($key,)? C, R, O> $layer<$($key,)? C, R, O> {
            /// Classifies results with this [`Classify`](crate::classify::Classify), or with a
            /// closure that takes a `&Result<Response, Error>`: write the type, or pass the closure
            /// to [`classify_fn`](crate::classify::classify_fn) so that the compiler infers it.
            /// Default: every `Err` is a failure.
            pub fn classify<D>(self, classify: D) -> $layer<$($key,)? D, R, O> {
                let Self { breaker, reject, record_when, .. } = self;
                $layer { breaker, classify, reject, record_when }
            }

            /// Makes the classifier of each call from its request: its method, its path, its
            /// extensions. The closure takes a reference to the request (write the type) and
            /// returns a classifier, which may be a closure too. What the classifier needs of the
            /// request it has to copy. (A closure that panics here has called nothing yet, so the
            /// call counts as nothing.)
            ///
            /// ```
            /// # #[cfg(feature = "http")] {
            /// use http::{Request, Response};
            /// use tower_breaker::classify::{Classify, StatusClassifier};
            /// use tower_breaker::{CircuitBreakerLayer, Outcome};
            ///
            /// let layer = CircuitBreakerLayer::builder("search")
            ///     .classify_with(|request: &Request<String>| {
            ///         let is_export = request.uri().path().starts_with("/export");
            ///         move |result: &Result<Response<String>, std::io::Error>| match result {
            ///             Ok(response) if is_export && response.status() == 504 => {
            ///                 Outcome::Ignore
            ///             }
            ///             _ => StatusClassifier::new().classify(result),
            ///         }
            ///     })
            ///     .build()?;
            /// # }
            /// # Ok::<(), tower_breaker::ConfigError>(())
            /// ```
            pub fn classify_with<F>(
                self,
                classify: F,
            ) -> $layer<$($key,)? $crate::classify::ClassifyWith<F>, R, O> {
                self.classify($crate::classify::ClassifyWith::new(classify))
            }

            /// Lets the requests for which the closure returns `true` bypass the breaker: health
            /// checks, preflights, metrics. They are not recorded, take no probe's slot, and pass
            /// also while the circuit is open. The closure takes a reference to the request (write
            /// the type).
            ///
            /// While the circuit is open, such a request is rejected only if the inner service is
            /// not ready for it at once; it is no call then either, and not counted. With
            /// `.backpressure()` it waits like the others. (A keyed layer is ready only when its
            /// inner service is: there, such a request always passes.)
            ///
            /// ```
            /// # #[cfg(feature = "http")] {
            /// use http::{Method, Request};
            /// use tower_breaker::CircuitBreakerLayer;
            ///
            /// let layer = CircuitBreakerLayer::builder("search")
            ///     .exempt(|request: &Request<String>| {
            ///         request.method() == Method::OPTIONS || request.uri().path() == "/health"
            ///     })
            ///     .build()?;
            /// # }
            /// # Ok::<(), tower_breaker::ConfigError>(())
            /// ```
            pub fn exempt<F>(
                self,
                is_exempt: F,
            ) -> $layer<$($key,)? C, R, $crate::service::record_when::Exempt<O, F>> {
                let Self { breaker, classify, reject, record_when } = self;
                let record_when =
                    $crate::service::record_when::Exempt::new(record_when, is_exempt);
                $layer { breaker, classify, reject, record_when }
            }

            /// Says what becomes of a rejected call: see [`reject`](crate::reject). Default:
            /// [`RejectAsError`](crate::reject::RejectAsError).
            pub fn reject_with<Q>(self, reject: Q) -> $layer<$($key,)? C, Q, O> {
                let Self { breaker, classify, record_when, .. } = self;
                $layer { breaker, classify, reject, record_when }
            }

            /// Answers a rejected call with this closure, which takes the request and the
            /// [`Rejected`](crate::Rejected) and returns a future: see
            /// [`Fallback`](crate::reject::Fallback).
            pub fn fallback<F>(
                self,
                fallback: F,
            ) -> $layer<$($key,)? C, $crate::service::reject::Fallback<F>, O> {
                self.reject_with($crate::service::reject::Fallback(fallback))
            }

            /// Sends a rejected call to another service: see
            /// [`FallbackService`](crate::reject::FallbackService).
            pub fn fallback_service<S>(
                self,
                service: S,
            ) -> $layer<$($key,)? C, $crate::service::reject::FallbackService<S>, O> {
                self.reject_with($crate::service::reject::FallbackService(service))
            }

            /// For HTTP servers: responses with a status of 500 to 599 or 408 are failures, 429 is
            /// throttled ([the whole table](crate::classify#statuses)), and a rejected call is
            /// answered with `503 Service Unavailable` and `Retry-After`. The
            /// error type of the service does not change, so the layer fits an `axum::Router`.
            /// [A timeout belongs inside of
            /// it](crate::classify#a-timeout-belongs-inside-the-breaker).
            ///
            /// Short for `.classify(`[`ServerErrorsAsFailures`]`)` and
            /// `.reject_with(`[`RejectAsResponse`]`)`. The latter needs a response body that
            /// implements `From<String>`. For a client whose body does not, such as hyper's
            /// `Incoming`, choose another way to reject. It replaces everything that an earlier
            /// `.grpc()` has set.
            ///
            /// [`ServerErrorsAsFailures`]: crate::classify::ServerErrorsAsFailures
            /// [`RejectAsResponse`]: crate::reject::RejectAsResponse
            #[cfg(feature = "http")]
            #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
            pub fn http(
                self,
            ) -> $layer<
                $($key,)?
                $crate::classify::ServerErrorsAsFailures,
                $crate::service::reject::RejectAsResponse,
                <O as $crate::service::body::SetPreset>::Http,
            >
            where
                O: $crate::service::body::SetPreset,
            {
                $layer {
                    breaker: self.breaker,
                    classify: $crate::classify::ServerErrorsAsFailures,
                    reject: $crate::service::reject::RejectAsResponse,
                    record_when: self.record_when.set_http(),
                }
            }

            /// For gRPC, on servers and on clients: the status code decides, and a rejected call
            /// is answered with the status `UNAVAILABLE`. The error type of the service does not
            /// change, so the layer fits a tonic server and a tonic channel.
            ///
            /// It sets [`GrpcClassifier::new()`], [`RejectAsGrpcStatus`] and [`OnGrpcEnd`]; later
            /// `.classify(..)`, `.reject_with(..)` and `.on_body_end(..)` change them one by one.
            /// It replaces everything that an earlier `.http()` has set, and keeps the settings of
            /// an earlier `.on_body_end(..)`.
            ///
            /// ```no_run
            /// use tonic::transport::{Channel, Server};
            /// use tower::ServiceBuilder;
            /// use tower_breaker::CircuitBreakerLayer;
            ///
            /// # fn example(routes: tonic::service::Routes, channel: Channel)
            /// # -> Result<(), Box<dyn std::error::Error>> {
            /// let server_breaker = CircuitBreakerLayer::builder("stock").grpc().build()?;
            /// let server = Server::builder().layer(server_breaker).add_routes(routes);
            ///
            /// let client_breaker = CircuitBreakerLayer::builder("payments").grpc().build()?;
            /// let channel = ServiceBuilder::new().layer(client_breaker).service(channel);
            /// // PaymentsClient::new(channel)
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// A layer on a whole server covers its health and reflection services too;
            /// `tonic::service::LayerExt::named_layer` wraps a single service. Put the layer
            /// inside of layers for gRPC-Web and CORS: a response without a gRPC status in its
            /// trailers counts as failed.
            ///
            /// Requests that are not gRPC by their `Content-Type` do not count and take no probe's
            /// slot: health checks over HTTP, preflights, gRPC-Web. They pass through, but while
            /// the circuit rejects calls, they are answered with `503 Service Unavailable`. (On a
            /// keyed layer, they pass then too.)
            ///
            /// # Streams
            ///
            /// The outcome of a call is known when its response stream has ended: by its status, or
            /// a failure if the stream is truncated. A client that drops the stream after the first
            /// message cancels the call, which counts as nothing. Before the first message, it
            /// [abandons](crate::Permit#abandoned-calls) it.
            ///
            /// A stream that lasts for hours must not keep a circuit half-open. So a probe is a
            /// success once its stream has delivered a message and then lived for 5 s: see
            /// [`stream_alive_after`](crate::OnBodyEnd::stream_alive_after). If a healthy call
            /// takes longer than [`half_open_timeout`](crate::Config::half_open_timeout) to its
            /// end, or a stream to its first message, raise that setting.
            ///
            /// [`OnGrpcEnd`]: crate::body::OnGrpcEnd
            /// [`GrpcClassifier::new()`]: crate::classify::GrpcClassifier::new
            /// [`RejectAsGrpcStatus`]: crate::reject::RejectAsGrpcStatus
            #[cfg(feature = "grpc")]
            #[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
            pub fn grpc(
                self,
            ) -> $layer<
                $($key,)?
                $crate::classify::GrpcClassifier,
                $crate::service::reject::RejectAsGrpcStatus,
                <O as $crate::service::body::SetPreset>::Grpc,
            >
            where
                O: $crate::service::body::SetPreset,
            {
                $layer {
                    breaker: self.breaker,
                    classify: $crate::classify::GrpcClassifier::new(),
                    reject: $crate::service::reject::RejectAsGrpcStatus,
                    record_when: self.record_when.set_grpc(),
                }
            }

            /// Records the outcome of a call when its response body has ended, instead of when
            /// the response arrives: see [`OnBodyEnd`](crate::OnBodyEnd).
            ///
            /// The response body becomes a [`ResponseBody`](crate::body::ResponseBody), unless
            /// [`wrap_body`](Self::wrap_body) changes it back. The type of a `reqwest::Response`
            /// does not change.
            #[cfg(feature = "http")]
            #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
            pub fn on_body_end(
                self,
                on_body_end: $crate::service::body::OnBodyEnd,
            ) -> $layer<$($key,)? C, R, <O as $crate::service::body::SetOnBodyEnd>::Output>
            where
                O: $crate::service::body::SetOnBodyEnd,
            {
                let Self { breaker, classify, reject, record_when } = self;
                let record_when = record_when.set_on_body_end(on_body_end);
                $layer { breaker, classify, reject, record_when }
            }

            /// Wraps the watched body, so that the service responds with the same type as the inner
            /// one: for `tower::util::option_layer`, for `Either`, and for struct fields that name
            /// the response. Call it after `.on_body_end(..)` or `.grpc()`, with the function that
            /// makes the framework's body of any body. It allocates once a response.
            ///
            /// ```
            /// use axum::{Router, body::Body, routing::get};
            /// use tower::util::option_layer;
            /// use tower_breaker::{CircuitBreakerLayer, OnBodyEnd};
            ///
            /// # let enabled = true;
            /// let layer = CircuitBreakerLayer::builder("downloads")
            ///     .http()
            ///     .on_body_end(OnBodyEnd::new())
            ///     .wrap_body(Body::new)
            ///     .build()?;
            /// let router: Router = Router::new()
            ///     .route("/", get(async || "hello"))
            ///     .layer(option_layer(enabled.then_some(layer)));
            /// # Ok::<(), tower_breaker::ConfigError>(())
            /// ```
            ///
            /// With tonic it is `.grpc().wrap_body(tonic::body::Body::new)`.
            #[cfg(feature = "http")]
            #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
            pub fn wrap_body<F>(
                self,
                wrap: F,
            ) -> $layer<$($key,)? C, R, $crate::service::body::WrapBody<O, F>> {
                let Self { breaker, classify, reject, record_when } = self;
                let record_when = $crate::service::body::WrapBody::new(record_when, wrap);
                $layer { breaker, classify, reject, record_when }
            }
        }
    };
}
pub(in crate::service) use layer_settings;

/// Defines the setting that has no meaning where each request has a breaker of its own: readiness
/// is polled before the request is known.
macro_rules! backpressure_setting {
    ($layer:ident) => {
        impl<C, R, O> $layer<C, R, O> {
            /// Lets callers wait while the circuit is open, instead of rejecting their calls: see
            /// [`Backpressure`](crate::reject::Backpressure). A few calls are rejected even so;
            /// call this method after the one that says what becomes of them.
            pub fn backpressure(self) -> $layer<C, $crate::service::reject::Backpressure<R>, O> {
                let Self { breaker, classify, reject, record_when } = self;
                let reject = $crate::service::reject::Backpressure(reject);
                $layer { breaker, classify, reject, record_when }
            }
        }
    };
}
pub(super) use backpressure_setting;
