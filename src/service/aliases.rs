//! Short names of services, for struct fields and function signatures.

#[cfg(feature = "grpc")]
use super::{body::OnGrpcEnd, reject::RejectAsGrpcStatus};
#[cfg(feature = "http")]
use super::{record_when::OnResponse, reject::RejectAsResponse, service::CircuitBreaker};
#[cfg(feature = "grpc")]
use crate::classify::GrpcClassifier;
#[cfg(feature = "http")]
use crate::classify::ServerErrorsAsFailures;

/// The service of a layer with [`.http()`](super::CircuitBreakerLayer::http).
///
/// ```
/// use tower::{Layer, util::BoxCloneService};
/// use tower_breaker::{CircuitBreakerLayer, HttpCircuitBreaker};
///
/// type Client = BoxCloneService<http::Request<String>, http::Response<String>, std::io::Error>;
///
/// struct Payments {
///     client: HttpCircuitBreaker<Client>,
/// }
///
/// # fn example(client: Client) -> Result<Payments, tower_breaker::ConfigError> {
/// let layer = CircuitBreakerLayer::builder("payments").http().build()?;
/// Ok(Payments { client: layer.layer(client) })
/// # }
/// ```
///
/// After `.reject_with(..)` or `.on_body_end(..)`, the other parameters say so:
/// `HttpCircuitBreaker<Client, RejectAsError, OnBodyEnd>`. A `reqwest::Client` with
/// `.classify(ServerErrorsAsFailures)` is a
/// `CircuitBreaker<reqwest::Client, ServerErrorsAsFailures>`.
#[cfg(feature = "http")]
pub type HttpCircuitBreaker<S, R = RejectAsResponse, O = OnResponse> =
    CircuitBreaker<S, ServerErrorsAsFailures, R, O>;

/// The service of a layer with [`.grpc()`](super::CircuitBreakerLayer::grpc).
///
/// ```
/// use tonic::transport::Channel;
/// use tower::Layer;
/// use tower_breaker::{CircuitBreakerLayer, GrpcCircuitBreaker};
///
/// struct Payments {
///     channel: GrpcCircuitBreaker<Channel>,
/// }
///
/// # fn example(channel: Channel) -> Result<Payments, tower_breaker::ConfigError> {
/// let layer = CircuitBreakerLayer::builder("payments").grpc().build()?;
/// Ok(Payments { channel: layer.layer(channel) })
/// # }
/// ```
///
/// A generated client around it is a `StockClient<GrpcCircuitBreaker<Channel>>`.
///
/// After `.reject_with(RejectAsTonicStatus)`, it is
/// `GrpcCircuitBreaker<Channel, RejectAsTonicStatus>`.
#[cfg(feature = "grpc")]
pub type GrpcCircuitBreaker<S, R = RejectAsGrpcStatus, O = OnGrpcEnd> =
    CircuitBreaker<S, GrpcClassifier, R, O>;
