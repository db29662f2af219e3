//! Deadlines of callers.

use std::time::Duration;

use http::Request;

use super::{classifier::GrpcClassifier, deadline};
use crate::classify::with_request::{CloneClassifier, MakeClassifier};

impl GrpcClassifier {
    /// Ignores a call whose caller gave it less time than this, and that ends as one whose time has
    /// run out. Such a call does not show that the dependency is slow. Default: such a call is what
    /// its code says.
    ///
    /// A call that is dropped has no code, and is [abandoned](crate::Permit#abandoned-calls) like
    /// any other. A tonic server drops a call when its `grpc-timeout` has passed, outside of the
    /// server's layers; so does a timeout around a client. Where such calls must not count either,
    /// let `slower_than` and [`abandoned_after`](crate::BreakerBuilder::abandoned_after) be longer
    /// than this time.
    ///
    /// It looks at requests, so it is for layers: pass the [`GrpcByDeadline`] to `.classify(..)`.
    pub fn ignore_deadlines_below(self, shortest: Duration) -> GrpcByDeadline {
        GrpcByDeadline { codes: self, shortest }
    }
}

/// A [`GrpcClassifier`] that knows how much time the caller gives a call. Created by
/// [`ignore_deadlines_below`](GrpcClassifier::ignore_deadlines_below).
///
/// It ignores a call if the request has a shorter `grpc-timeout`, and the code is `CANCELLED` or
/// `DEADLINE_EXCEEDED` (or, on a tonic channel, the error is that the timeout has expired; feature
/// `tonic`). All else is as in the [`GrpcClassifier`].
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{CircuitBreakerLayer, classify::GrpcClassifier};
///
/// let codes = GrpcClassifier::new().ignore_deadlines_below(Duration::from_millis(200));
/// let layer = CircuitBreakerLayer::builder("stock").grpc().classify(codes).build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
//
// Not `Clone`: every `Clone` type is a `MakeClassifier` that ignores the request.
#[derive(Debug)]
#[must_use = "it does nothing until a layer classifies with it"]
pub struct GrpcByDeadline {
    codes: GrpcClassifier,
    shortest: Duration,
}

impl GrpcByDeadline {
    /// The classifier for the response to this request.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response};
    /// use tower_breaker::{Outcome, classify::{Classify, GrpcClassifier}};
    ///
    /// let codes = GrpcClassifier::new();
    /// let request = Request::post("/shop.Stock/Count")
    ///     .header("content-type", "application/grpc")
    ///     .header("grpc-timeout", "50m")
    ///     .body(())?;
    /// let response = Response::builder().header("grpc-status", "4").body(())?;
    /// let result: Result<_, std::io::Error> = Ok(response);
    /// assert_eq!(codes.classify(&result), Outcome::failure());
    /// let codes = codes.ignore_deadlines_below(Duration::from_millis(200));
    /// assert_eq!(codes.for_request(&request).classify(&result), Outcome::Ignore);
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn for_request<B>(&self, request: &Request<B>) -> GrpcClassifier {
        let deadline = deadline::of_request(request.headers());
        let is_short = deadline.is_some_and(|deadline| deadline < self.shortest);
        let codes = self.codes.for_request(request);
        if is_short { codes.ignoring_deadlines() } else { codes }
    }
}

impl<B> MakeClassifier<Request<B>> for GrpcByDeadline {
    type Classifier = GrpcClassifier;

    fn make_classifier(&self, request: &Request<B>) -> GrpcClassifier {
        self.for_request(request)
    }
}

impl CloneClassifier for GrpcByDeadline {
    fn clone_classifier(&self) -> Self {
        Self { codes: self.codes, shortest: self.shortest }
    }
}
