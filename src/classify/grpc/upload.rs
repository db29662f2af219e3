//! Requests of tonic's servers that break off.

use tonic::{Code, Status};

/// Whether a tonic server answers like this because the request could not be read.
///
/// It has no code of its own for that. What it says of a request, and of nothing else, is known by
/// its text.
pub(super) fn breaks_an_upload(status: &Status) -> bool {
    let message = status.message();
    let is_of_the_server = status.code() == Code::Internal
        && (message == "Missing request message." || message.ends_with(", while sending request"));
    is_of_the_server || is_error_of_the_body(status)
}

/// The body of a request passes through axum, which wraps its errors. That of a response that a
/// handler reads does not.
#[cfg(feature = "axum")]
fn is_error_of_the_body(status: &Status) -> bool {
    use crate::error::causes;

    causes(status)
        .skip_while(|cause| !cause.is::<axum::Error>())
        .any(<dyn std::error::Error>::is::<hyper::Error>)
}

#[cfg(not(feature = "axum"))]
fn is_error_of_the_body(_: &Status) -> bool {
    false
}
