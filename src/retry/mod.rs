//! A retry policy that respects a circuit breaker.
//!
//! [`RetryPolicy`] works with tower's own `RetryLayer`, backoff and budget. It belongs *outside* of
//! a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer). It retries failed calls, and never a call
//! that the breaker rejected.
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
//! # Presets
//!
//! | preset | for | attempts | delays |
//! |---|---|---|---|
//! | [`RetryPolicy::network`] | HTTP requests | 3 | 50 to 100 ms, doubled |
//! | [`RetryPolicy::rate_limited`] | HTTP requests to an API with a limit | 5 | 1 to 2 s, doubled |
//! | [`RetryPolicy::database`] | transactions | 5 | 50 to 100 ms, doubled |
//! | [`RetryPolicy::http`] | HTTP requests, as a classifier decides | 3 | 50 to 100 ms, doubled |
//! | [`RetryPolicy::new`] | anything, as a classifier decides | 3 | 50 to 100 ms, doubled |
//!
//! Each waits for a `Retry-After` too. All of it can be changed:
//! [`max_attempts`](RetryPolicy::max_attempts), [`backoff`](RetryPolicy::backoff),
//! [`max_retry_after`](RetryPolicy::max_retry_after), [`budget`](RetryPolicy::budget). There is no
//! "aggressive" preset: what can be repeated depends on the dependency, and how often is one
//! number.
//!
//! # The order of layers
//!
//! ```text
//!   caller
//!       |
//!   timeout           limits the whole call, with all attempts and delays
//!       |
//!   retry             sends the request again
//!       |
//!   circuit breaker   counts each attempt, and may reject it
//!       |
//!   timeout           limits one attempt
//!       |
//!   client
//! ```
//!
//! **Put the retry outside of the breaker.** Then the breaker counts attempts, which are the load
//! of the dependency, and can stop a series of them: if the circuit opens after the second attempt,
//! the third is rejected at once, and the caller gets that rejection.
//!
//! In the other order, the breaker sees one failure for three attempts. It opens three times too
//! late, and takes the delays between attempts for a slow dependency. A request that was admitted
//! continues with its attempts after the circuit has opened, and a single half-open probe sends
//! three requests.
//!
//! **A retry policy that does not know breakers** takes a rejection for a failure. While the
//! circuit is open, it waits and retries, so callers get their rejection late, and each rejection
//! consumes the retry budget; when the dependency recovers, the budget is used up.
//!
//! **Put a timeout for each attempt inside of the breaker.** Then a hung dependency counts as
//! failed, and the next attempt starts in time. A timeout outside of the breaker drops the call
//! instead, and [a dropped call](crate::Permit#abandoned-calls) counts only if it was slow, where a
//! setting asks for that. A second timeout, outside of everything, limits
//! how long the caller waits. It must be longer than the timeout of an attempt, or there is never a
//! second one.
//!
//! A breaker with [`Backpressure`](crate::reject::Backpressure) is not ready instead of rejecting:
//! the next attempt waits until the circuit admits it. The answer of a
//! [`Fallback`](crate::reject::Fallback) is an answer like any other, and may be retried.
//!
//! # Requirements
//!
//! The inner service, including the breaker, must implement `Clone`, as tower's `Retry` requires.
//! The request must implement `Clone` too, or [a closure](RetryPolicy::clone_request_with) copies
//! it, or refuses to: a streaming body can be sent only once. The response can have any type. The
//! error must be [searchable](AsCause): a [`std::error::Error`], or tower's boxed error. A timeout
//! inside of a breaker produces boxed errors; with
//! [`RejectAsBoxError`](crate::reject::RejectAsBoxError), the whole stack has the same error type.

mod backoff;
mod condition;
mod database;
mod inspect;
mod network;
mod policy;
mod presets;
mod request;

pub use condition::{Classified, RetryWhen};
pub use database::{Database, SqlStateOf};
pub use inspect::{AsCause, RetryResponse, kind};
pub use network::{Network, is_transient};
pub use policy::RetryPolicy;
pub use request::{CloneRequest, Cloned, ClonedWith};
