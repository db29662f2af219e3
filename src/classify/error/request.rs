use std::error::Error as StdError;
#[cfg(feature = "http")]
use std::fmt::{self, Write};

use crate::error::causes;
#[cfg(feature = "http")]
use crate::error::downcast;

/// Whether an error, or one of its sources, was caused by the request itself, so that it says
/// nothing about the dependency.
///
/// | error | feature |
/// |---|---|
/// | hyper's user errors: the body of the request failed, or its upload was aborted; over HTTP/2, a URI without a host. (One more says that the task of the connection is gone: it panicked, or its runtime has ended.) | `http` |
/// | those of the crate `http`: a request that could not be built, an invalid URI. (An invalid header may be that of a response that a service could not build. Map such an error to one of your own.) | `http` |
/// | the legacy client of hyper-util: a method or a version that it does not send; a URI without a host, or with a scheme that the connector refuses: its own, that of hyper-rustls or of hyper-tls | `hyper-util` |
/// | reqwest's builder errors (such as a bad scheme) and redirect errors, an invalid `Url` | `reqwest` |
/// | a tonic channel whose endpoint has no scheme or host, or is `https` without TLS | `tonic-channel` |
///
/// Each of them is found in an `Arc` or a `Box` too. Without its feature, an error is not
/// recognized.
///
/// On a server of plain hyper, the error of reading a request that its client has broken off is the
/// same as that of a dependency's response, and is not recognized either. Answer such a request
/// with a 400, as axum does, or map the error to one of your own.
///
/// [The classifiers](crate::classify) of this crate ignore errors of the request, and
/// [`RetryPolicy::network`](crate::RetryPolicy::network) does not retry them. The function is for
/// closures:
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, Outcome, classify::is_request_error};
///
/// let layer = CircuitBreakerLayer::builder("upstream")
///     .classify(|result: &Result<u32, std::io::Error>| match result {
///         Ok(_) => Outcome::Success,
///         Err(error) if is_request_error(error) => Outcome::Ignore,
///         Err(_) => Outcome::failure(),
///     })
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[must_use]
pub fn is_request_error(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        by_hyper(cause)
            || by_http(cause)
            || by_hyper_util(cause)
            || by_reqwest(cause)
            || by_tonic(cause)
    })
}

#[cfg(feature = "http")]
fn by_hyper(cause: &(dyn StdError + 'static)) -> bool {
    downcast(cause).is_some_and(|error: &hyper::Error| {
        // Over HTTP/2, a body that fails resets its stream. The response then fails with an error
        // of h2 that hyper does not take for the user's. Only its text says who reset the stream.
        // A URI without a host has no kind of its own either.
        error.is_user()
            || error.source().is_some_and(|h2| {
                begins_with(h2, "stream error sent by user")
                    || prints(h2, "user error: request URI missing scheme and authority")
            })
    })
}

#[cfg(feature = "http")]
fn by_http(cause: &(dyn StdError + 'static)) -> bool {
    // Only a response has a status.
    let builds_a_response = |error: &http::Error| error.is::<http::status::InvalidStatusCode>();
    downcast(cause).is_some_and(|error| !builds_a_response(error))
        || downcast::<http::uri::InvalidUri>(cause).is_some()
        || downcast::<http::uri::InvalidUriParts>(cause).is_some()
}

/// Whether a body returned this error because the upload of the request failed.
///
/// While an upload is in progress over HTTP/1, a failed upload ends the response's body with the
/// same error, "connection error", as a connection that breaks while hyper writes to it. It counts
/// as the upload's: a client can truncate its upload whenever it wants, and must not open the
/// circuit to a healthy dependency. (What breaks while hyper reads has other errors.)
#[cfg(feature = "http")]
pub(in crate::classify) fn breaks_an_upload(error: &(dyn StdError + 'static)) -> bool {
    let ended_by_the_writer = |cause: &(dyn StdError + 'static)| {
        let cause = downcast::<hyper::Error>(cause).and_then(StdError::source);
        cause
            .is_some_and(|cause| !cause.is::<std::io::Error>() && prints(cause, "connection error"))
    };
    is_request_error(error) || causes(error).any(ended_by_the_writer)
}

#[cfg(feature = "hyper-util")]
fn by_hyper_util(cause: &(dyn StdError + 'static)) -> bool {
    // The kind of the error is private. Of the kinds, those of the user's doing begin like this.
    downcast(cause).is_some_and(|error: &hyper_util::client::legacy::Error| {
        begins_with(error, "client error (User")
            || error.is_connect() && error.source().is_some_and(is_refused_by_a_connector)
    })
}

/// Whether a connector does not connect to such a URI: that of hyper-util, of hyper-rustls and of
/// hyper-tls. The types of these errors are private, or of any text.
#[cfg(feature = "hyper-util")]
fn is_refused_by_a_connector(error: &(dyn StdError + 'static)) -> bool {
    begins_with(error, "invalid URL")
        || begins_with(error, "unsupported scheme ")
        || prints(error, "https required but URI was not https")
}

/// The error of a `reqwest::Url` that cannot be parsed, which reqwest does not name.
#[cfg(feature = "reqwest")]
pub(super) type InvalidUrl = <reqwest::Url as std::str::FromStr>::Err;

#[cfg(feature = "reqwest")]
fn by_reqwest(cause: &(dyn StdError + 'static)) -> bool {
    downcast(cause).is_some_and(|error: &reqwest::Error| error.is_builder() || error.is_redirect())
        || downcast::<InvalidUrl>(cause).is_some()
}

#[cfg(feature = "tonic-channel")]
fn by_tonic(cause: &(dyn StdError + 'static)) -> bool {
    // The kind is private. It stands below an error of the same type, "transport error". The type
    // of the other error is private too.
    downcast::<tonic::transport::Error>(cause).is_some() && prints(cause, "invalid URI")
        || prints(cause, "Connecting to HTTPS without TLS enabled")
}

#[cfg(not(feature = "http"))]
fn by_http(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(not(feature = "tonic-channel"))]
fn by_tonic(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(not(feature = "http"))]
fn by_hyper(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(not(feature = "hyper-util"))]
fn by_hyper_util(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(not(feature = "reqwest"))]
fn by_reqwest(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// Whether an error prints a text that begins like this. It prints no more than that.
#[cfg(feature = "http")]
fn begins_with(error: &(dyn StdError + 'static), start: &str) -> bool {
    let mut find = Find { left: start, more: false };
    let _ = write!(find, "{error}");
    find.left.is_empty()
}

/// Whether an error prints exactly this text.
#[cfg(feature = "http")]
fn prints(error: &(dyn StdError + 'static), text: &str) -> bool {
    let mut find = Find { left: text, more: false };
    let _ = write!(find, "{error}");
    find.left.is_empty() && !find.more
}

/// Compares a text piece by piece; `write_str` fails once the result is known.
#[cfg(feature = "http")]
struct Find<'a> {
    /// What is left to be found.
    left: &'a str,
    /// Whether there was more text than that.
    more: bool,
}

#[cfg(feature = "http")]
impl Write for Find<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let length = text.len().min(self.left.len());
        let agrees = text.as_bytes()[..length] == self.left.as_bytes()[..length];
        if !agrees {
            return Err(fmt::Error);
        }
        self.left = self.left.get(length..).unwrap_or_default();
        self.more = length < text.len();
        if self.more { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    /// tonic's own error is private, and made only with one of its TLS features.
    #[cfg(feature = "tonic-channel")]
    #[test]
    fn an_https_endpoint_without_tls_is_an_error_of_the_request() {
        let refused = std::io::Error::other("Connecting to HTTPS without TLS enabled");
        assert!(is_request_error(&std::io::Error::other(refused)));
        let other = std::io::Error::other("Connecting to HTTPS without TLS enabled: no");
        assert!(!is_request_error(&other));
    }

    #[test]
    fn a_text_is_compared_piece_by_piece_and_no_further() {
        let error = std::io::Error::other("stream error sent by user: gone");
        assert!(begins_with(&error, "stream error sent by user"));
        assert!(begins_with(&error, ""));
        assert!(!begins_with(&error, "stream error sent by us all"));
        assert!(!begins_with(&error, "stream error sent by user: gone for good"));
        assert!(prints(&error, "stream error sent by user: gone"));
        assert!(!prints(&error, "stream error sent by user"));
        assert!(!prints(&error, "stream error sent by user: gone for good"));
    }
}
