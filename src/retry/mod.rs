//! A retry policy that respects a circuit breaker.
//!
//! [`RetryPolicy`] goes into tower's own `RetryLayer`, uses tower's own backoff and budget, and
//! stands *outside* a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer). It tries again what
//! failed, and never what a breaker rejected.
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer, service_fn};
//! use tower_breaker::{CircuitBreakerLayer, RetryPolicy, reject::RejectAsBoxError};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = service_fn(|_: Request<String>| async {
//!     Ok::<_, std::io::Error>(Response::new("paid"))
//! });
//! let service = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(10))
//!     .layer(RetryLayer::new(RetryPolicy::network().max_attempts(3)))
//!     .layer(CircuitBreakerLayer::builder("payments").reject_with(RejectAsBoxError).build()?)
//!     .timeout(Duration::from_secs(2))
//!     .service(client);
//!
//! let response = service.oneshot(Request::new(String::new())).await?;
//! assert_eq!(*response.body(), "paid");
//! # Ok(())
//! # }
//! ```
//!
//! # The order of layers
//!
//! ```text
//!   the caller
//!       |
//!   timeout           the time that the caller has, all attempts and waits included
//!       |
//!   retry             makes the request again
//!       |
//!   circuit breaker   sees each attempt, and may reject it
//!       |
//!   timeout           the time of one attempt
//!       |
//!   the client
//! ```
//!
//! **Retry stands outside the breaker**, so that the breaker counts attempts, which is what the
//! dependency feels, and can stop a row of them: when the circuit opens after the second, the
//! third comes back rejected, at once, and that is what the caller gets.
//!
//! The other way round, the breaker sees one failure where the dependency had three attempts: it
//! opens three times too late, and counts the waits between them as slowness of the dependency. A
//! request that was let through goes on with its attempts after the circuit has opened, and a
//! single probe of the half-open state is three requests.
//!
//! **A policy that knows nothing of breakers**, outside one, takes a rejection for a failure. It
//! waits and asks again while the circuit is open, so that rejections come late, and each one
//! spends of the retry budget; when the dependency is back, there is none left for it.
//!
//! **A timeout belongs to each attempt, inside the breaker**: so a dependency that hangs counts
//! as failed, and the next attempt begins in good time. A timeout outside the breaker drops the
//! call instead, and a call that is dropped counts as nothing. A second timeout, outside of all,
//! bounds what the caller waits; make it longer than that of one attempt, or there is never a
//! second attempt.
//!
//! A breaker with [`Backpressure`](crate::reject::Backpressure) does not reject, it is not ready: then the
//! next attempt waits until the circuit lets it through. What a [`Fallback`](crate::reject::Fallback)
//! answers is an answer like any other, and may be tried again.
//!
//! # What the services must be
//!
//! The service below, breaker included, must be `Clone`: tower's `Retry` asks for it. So must the
//! request, or [a closure](RetryPolicy::clone_request_with) says how it is copied, or that it
//! can't be: a body that streams is sent once. The response may be anything, and the error
//! anything that can be [looked into](AsCause): a [`std::error::Error`], or tower's boxed one.
//! A timeout inside a breaker makes errors of the latter kind; with
//! [`RejectAsBoxError`](crate::reject::RejectAsBoxError) the error is the same from end to end.

mod backoff;
mod condition;
mod inspect;
mod network;
mod policy;
mod request;

pub use condition::{Classified, RetryWhen};
pub use inspect::{AsCause, RetryResponse, kind};
pub use network::{Network, is_transient};
pub use policy::RetryPolicy;
pub use request::{CloneRequest, Cloned, ClonedWith};
