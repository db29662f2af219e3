//! Requests of tonic's servers that are truncated.

use http::HeaderMap;
use tonic::{Code, Status};

/// Whether a tonic server answers like this because the request could not be read.
pub(super) fn breaks_an_upload(status: &Status) -> bool {
    let is_of_the_server =
        status.code() == Code::Internal && is_of_the_request(status.message().as_bytes());
    is_of_the_server || is_error_of_the_body(status)
}

/// Whether a stream of responses ends with the code `INTERNAL` because the request could not be
/// read: the handler has passed the error of its stream of requests on.
pub(super) fn is_about_an_upload(trailers: &HeaderMap) -> bool {
    trailers
        .get("grpc-message")
        .is_some_and(|message| is_of_the_request(&percent_decoded(message.as_bytes())))
}

/// tonic has no code of its own for a request that it cannot read. What it says of a request, and
/// of nothing else, is known by its text.
fn is_of_the_request(message: &[u8]) -> bool {
    message == b"Missing request message." || message.ends_with(b", while sending request")
}

fn percent_decoded(message: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    let mut decoded = Vec::with_capacity(message.len());
    let mut rest = message;
    while let [byte, after @ ..] = rest {
        let encoded: Option<(u8, u8)> = match after {
            [high, low, ..] if *byte == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        let (byte, length) = encoded.map_or((*byte, 1), |(high, low)| (high << 4 | low, 3));
        decoded.push(byte);
        rest = &rest[length..];
    }
    decoded
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_decoded_and_what_is_not_encoded_stays() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b"a%20b c", b"a b c"),
            (b"%2c%2C", b",,"),
            (b"%C3%A4", "\u{e4}".as_bytes()),
            (b"100%", b"100%"),
            (b"%2%zz%20", b"%2%zz "),
        ];
        for (message, expected) in cases {
            assert_eq!(percent_decoded(message), expected, "{message:?}");
        }
    }
}
