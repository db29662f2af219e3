//! The classifier of a call: one for all calls, or one made from the request.

use std::{any::type_name, fmt};

use http::Extensions;
use reqwest::Request;

use crate::classify::CloneClassifier;

/// Makes the classifier of each call from its request. Created by
/// [`BreakerMiddleware::classify_with`](super::BreakerMiddleware::classify_with).
//
// Not `Clone`: every `Clone` type is a `MakeRequestClassifier` that ignores the request.
pub struct ClassifyRequestWith<F>(F);

impl<F> ClassifyRequestWith<F> {
    pub(super) fn new(classify: F) -> Self {
        Self(classify)
    }
}

impl<F: Clone> CloneClassifier for ClassifyRequestWith<F> {
    fn clone_classifier(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> fmt::Debug for ClassifyRequestWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClassifyRequestWith").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

/// Makes the classifier of a call of a middleware.
///
/// A type that is `Clone` makes clones of itself and does not see the request.
/// [`ClassifyRequestWith`] calls a closure with the request and its extensions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make the classifier of a call of a middleware",
    note = "a classifier has to be `Clone`; a closure that makes one from the request goes to \
            `.classify_with(|request, extensions| ..)`"
)]
pub trait MakeRequestClassifier {
    /// The classifier of one call.
    type Classifier;

    /// Returns the classifier of the call with this request and these extensions.
    fn make_classifier(&self, request: &Request, extensions: &Extensions) -> Self::Classifier;
}

impl<C: Clone> MakeRequestClassifier for C {
    type Classifier = C;

    #[inline]
    fn make_classifier(&self, _: &Request, _: &Extensions) -> C {
        self.clone()
    }
}

impl<F, C> MakeRequestClassifier for ClassifyRequestWith<F>
where
    F: Fn(&Request, &Extensions) -> C,
{
    type Classifier = C;

    #[inline]
    fn make_classifier(&self, request: &Request, extensions: &Extensions) -> C {
        (self.0)(request, extensions)
    }
}
