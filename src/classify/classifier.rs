use crate::outcome::Outcome;

/// Classifies the result of a call.
///
/// A layer clones its classifier for each call, so it should be cheap to clone: to increment a
/// shared reference count would cost more than the rest of a healthy call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a `Result<{T}, {E}>`",
    label = "expected a classifier, or a closure `|result: &Result<{T}, {E}>| -> Outcome`",
    note = "a closure has to write the type of its argument: \
            `.classify(|result: &Result<{T}, {E}>| ..)`, or be passed to `classify_fn`, so that \
            the compiler infers it: `.classify(classify_fn(|result| ..))`",
    note = "`.http()`, `ServerErrorsAsFailures` and `StatusClassifier` classify an \
            `http::Response`, and with the feature `reqwest` a `reqwest::Response`"
)]
pub trait Classify<T, E> {
    /// Returns the outcome of the call.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<F, T, E> Classify<T, E> for F
where
    F: Fn(&Result<T, E>) -> Outcome,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}
