use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::Body;

/// The number of bytes that a body is expected to have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    Unknown,
    /// The body knows it.
    Known(u64),
    /// The head of the response announces it, and the body does not know it.
    Announced(u64),
}

impl Length {
    pub(super) fn of<B: Body>(response: &Response<B>) -> Self {
        match response.body().size_hint().exact() {
            Some(length) => Self::Known(length),
            None => announced(response.headers()).map_or(Self::Unknown, Self::Announced),
        }
    }

    /// Whether all bytes have arrived. A reader that knows the length does not read on after that.
    pub(super) fn is_reached(self, received: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(length) | Self::Announced(length) => received >= length,
        }
    }

    /// Whether a body that ends now ends early.
    pub(super) fn is_missed(self, received: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(length) => received < length,
            // The response to a HEAD request announces a length and has no body.
            Self::Announced(length) => 0 < received && received < length,
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
