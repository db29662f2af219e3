//! The expected length of a body: whether it is complete before its end, or ends early.

use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::Body;

/// The number of bytes that a body is expected to have, in one word: the two highest bits say what
/// is known. No body is that long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length(u64);

const UNKNOWN: u64 = 0;
/// The body knows it.
const KNOWN: u64 = 1 << 62;
/// The head of the response announces it, and the body does not know it.
const ANNOUNCED: u64 = 1 << 63;
const WHAT: u64 = KNOWN | ANNOUNCED;

impl Length {
    pub(super) fn of<B: Body>(response: &Response<B>) -> Self {
        let (what, length) = match response.body().size_hint().exact() {
            Some(length) => (KNOWN, length),
            None => (ANNOUNCED, announced(response.headers()).unwrap_or(u64::MAX)),
        };
        Self(if length & WHAT == 0 { what | length } else { UNKNOWN })
    }

    fn bytes(self) -> u64 {
        self.0 & !WHAT
    }

    /// Whether all bytes have arrived. A reader that knows the length does not read on after that.
    pub(super) fn is_reached(self, received: u64) -> bool {
        self.0 & WHAT != UNKNOWN && received >= self.bytes()
    }

    /// Whether a body that ends now ends early.
    pub(super) fn is_missed(self, received: u64) -> bool {
        match self.0 & WHAT {
            KNOWN => received < self.bytes(),
            // The response to a HEAD request announces a length and has no body.
            ANNOUNCED => 0 < received && received < self.bytes(),
            _ => false,
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
