use std::{any::type_name, fmt};

/// Makes the classifier of each call from its request. Created by
/// [`CircuitBreakerLayer::classify_with`](crate::CircuitBreakerLayer::classify_with).
//
// Not `Clone`: every `Clone` type is a `MakeClassifier` that ignores the request.
pub struct ClassifyWith<F>(F);

impl<F> ClassifyWith<F> {
    pub(crate) fn new(classify: F) -> Self {
        Self(classify)
    }
}

impl<F> fmt::Debug for ClassifyWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClassifyWith").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

/// Makes the classifier of a call.
///
/// A type that is `Clone` makes clones of itself and does not see the request. [`ClassifyWith`]
/// calls a closure with the request, and `GrpcByDeadline` (feature `grpc`) looks at its deadline.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make the classifier of a call with a `{Request}`",
    note = "a classifier has to be `Clone`; a closure of `.classify_with(..)` takes a reference to \
            the request, with its type written: `.classify_with(|request: &{Request}| ..)`"
)]
pub trait MakeClassifier<Request>: CloneClassifier {
    /// The classifier of one call.
    type Classifier;

    /// Returns the classifier of the call with this request.
    fn make_classifier(&self, request: &Request) -> Self::Classifier;
}

impl<C: Clone, Request> MakeClassifier<Request> for C {
    type Classifier = C;

    #[inline]
    fn make_classifier(&self, _: &Request) -> C {
        self.clone()
    }
}

impl<F, Request, C> MakeClassifier<Request> for ClassifyWith<F>
where
    F: Fn(&Request) -> C + Clone,
{
    type Classifier = C;

    #[inline]
    fn make_classifier(&self, request: &Request) -> C {
        (self.0)(request)
    }
}

/// What a layer and its services clone: a `Clone` type, or one that looks at requests.
#[diagnostic::on_unimplemented(message = "`{Self}` is not `Clone`")]
pub trait CloneClassifier: Sized {
    #[doc(hidden)]
    #[must_use]
    fn clone_classifier(&self) -> Self;
}

impl<C: Clone> CloneClassifier for C {
    #[inline]
    fn clone_classifier(&self) -> Self {
        self.clone()
    }
}

impl<F: Clone> CloneClassifier for ClassifyWith<F> {
    fn clone_classifier(&self) -> Self {
        Self(self.0.clone())
    }
}
