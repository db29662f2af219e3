//! Answers.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;

use super::body::AdminBody;

/// What an answer may do in a browser: nothing, unless it is the page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// The page loads its own files, and talks to this service.
const OWN_FILES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                         connect-src 'self'; base-uri 'none'; form-action 'none'; \
                         frame-ancestors 'none'";

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<AdminBody> {
    respond_with(status, content_type, NOTHING, body.into())
}

/// A file of the page.
pub(super) fn file(content_type: &'static str, text: &'static str) -> Response<AdminBody> {
    respond_with(
        StatusCode::OK,
        content_type,
        OWN_FILES,
        Bytes::from_static(text.as_bytes()).into(),
    )
}

pub(super) fn events(body: AdminBody) -> Response<AdminBody> {
    let mut response = respond_with(StatusCode::OK, "text/event-stream", NOTHING, body);
    // A proxy must not collect events before it passes them on.
    let no_buffering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(no_buffering, HeaderValue::from_static("no"));
    response
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<AdminBody> {
    // Maps with other keys than strings, which are not there, cannot be written.
    let text = serde_json::to_vec(value).unwrap_or_default();
    respond(status, "application/json", text.into())
}

fn respond_with(
    status: StatusCode,
    content_type: &'static str,
    policy: &'static str,
    body: AdminBody,
) -> Response<AdminBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
