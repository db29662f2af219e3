use std::{
    any::type_name,
    fmt::{self, Write},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};

use super::{Reject, response_future::RejectedResponseFuture};
use crate::{
    classify::{grpc_media_type::declares_grpc, rejection_token},
    error::Rejected,
};

/// A rejected call is answered with a gRPC response without messages: the status `UNAVAILABLE` in
/// the headers. The error type stays that of the inner service.
///
/// The header `grpc-retry-pushback-ms` says what is left of the open time, in milliseconds,
/// rounded up and at least 1. If no time is set (half-open, forced open, ramping up), the header is
/// missing and the client follows its own retry policy.
///
/// A request that is not gRPC by its `Content-Type` is answered with `503 Service Unavailable`, as
/// [`RejectAsEmptyResponse`](super::RejectAsEmptyResponse) does.
///
/// The message does not contain the breaker's name, which may be internal.
/// [`RejectWithGrpcMessage`] sends another message.
///
/// The response's extensions contain the [`Rejected`], so that outer layers can tell this response
/// from one of the dependency. tonic's clients read only the headers; with feature `tonic`,
/// `RejectAsTonicStatus` passes the rejection on to them. The header `tower-breaker-rejection`
/// has a random token of this process: the status that such a client returns contains it, so that a
/// breaker around a handler that returns this status ignores the call. To other processes the token
/// means nothing, and the call has failed.
///
/// The response body has to implement `Default`. tonic's own body does; the body of its
/// interceptors does not, so put the breaker inside of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsGrpcStatus;

#[diagnostic::do_not_recommend]
impl<A, B: Default, E> Reject<Request<A>, Response<B>, E> for RejectAsGrpcStatus {
    type Error = E;
    type Future = RejectedResponseFuture<B, E>;

    fn reject(&self, request: Request<A>, rejected: Rejected) -> Self::Future {
        if declares_grpc(request.headers()) != Some(true) {
            return RejectedResponseFuture::new(super::response::unavailable(
                B::default(),
                rejected,
            ));
        }
        let message = match rejected.retry_after() {
            Some(_) => {
                let seconds = rejected.retry_after_seconds();
                format!("The service is temporarily unavailable. Try again in {seconds} s.")
            }
            None => String::from("The service is temporarily unavailable."),
        };
        RejectedResponseFuture::new(unavailable(&message, rejected))
    }
}

/// Like [`RejectAsGrpcStatus`], with the message that a closure returns. The message is
/// percent-encoded, as gRPC requires.
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, Rejected, reject::RejectWithGrpcMessage};
///
/// let layer = CircuitBreakerLayer::builder("stock")
///     .grpc()
///     .reject_with(RejectWithGrpcMessage(|rejected: &Rejected| rejected.to_string()))
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct RejectWithGrpcMessage<F>(pub F);

impl<F, A, B: Default, E> Reject<Request<A>, Response<B>, E> for RejectWithGrpcMessage<F>
where
    F: Fn(&Rejected) -> String,
{
    type Error = E;
    type Future = RejectedResponseFuture<B, E>;

    fn reject(&self, request: Request<A>, rejected: Rejected) -> Self::Future {
        if declares_grpc(request.headers()) != Some(true) {
            return RejectedResponseFuture::new(super::response::unavailable(
                B::default(),
                rejected,
            ));
        }
        RejectedResponseFuture::new(unavailable(&(self.0)(&rejected), rejected))
    }
}

impl<F> fmt::Debug for RejectWithGrpcMessage<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RejectWithGrpcMessage").field(&format_args!("{}", type_name::<F>())).finish()
    }
}

pub(super) const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn unavailable<B: Default>(message: &str, rejected: Rejected) -> Response<B> {
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message)) {
        headers.insert("grpc-message", message);
    }
    if let Some(milliseconds) = pushback(&rejected) {
        headers.insert(PUSHBACK, milliseconds.into());
    }
    if let Some(token) = rejection_token::header_of_this_process() {
        headers.insert(rejection_token::HEADER, token);
    }
    response.extensions_mut().insert(rejected);
    response
}

/// What is left of the open time, in milliseconds. The header's value is a signed 32-bit number.
pub(super) fn pushback(rejected: &Rejected) -> Option<i32> {
    rejected.retry_after().map(whole_milliseconds)
}

/// Rounded up, so that no client retries too early, and at least 1, so that none retries at once.
fn whole_milliseconds(duration: Duration) -> i32 {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000).max(1);
    i32::try_from(milliseconds).unwrap_or(i32::MAX)
}

/// Encodes every byte of the UTF-8 text except for spaces and visible ASCII characters other than
/// the percent sign ([gRPC over HTTP/2, Responses]).
///
/// [gRPC over HTTP/2, Responses]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a `String` does not fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_at_least_one() {
        let cases = [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (59_999_999_999, 60_000)];
        for (nanos, milliseconds) in cases {
            assert_eq!(whole_milliseconds(Duration::from_nanos(nanos)), milliseconds, "{nanos} ns");
        }
        assert_eq!(whole_milliseconds(Duration::MAX), i32::MAX);
    }

    #[test]
    fn a_message_is_encoded_as_the_spec_says() {
        let cases = [
            ("", ""),
            ("plain text ~!\"#{}", "plain text ~!\"#{}"),
            ("100%", "100%25"),
            ("line\r\nbreak\t\x7f", "line%0D%0Abreak%09%7F"),
            ("Größe", "Gr%C3%B6%C3%9Fe"),
        ];
        for (message, expected) in cases {
            assert_eq!(percent_encoded(message), expected);
        }
    }

    proptest! {
        #[test]
        fn any_message_is_a_header_and_comes_back(message in any::<String>()) {
            let status = tonic::Status::from_header_map(
                &[
                    ("grpc-status", "14".to_owned()),
                    ("grpc-message", percent_encoded(&message)),
                ]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            );
            let status = status.expect("a status");
            prop_assert_eq!(status.message(), message);
        }
    }
}
